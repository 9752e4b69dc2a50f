"""RaBitQ's library: points as codes of their random rotations, in an inverted file (IVF-RaBitQ) or a graph (SymphonyQG)."""

import math

import numpy as np
from rabitqlib import FinalAssignmentMode, IvfIndex, QGKMeans, RaBitQKMeans, SymqgIndex

from knnbench.backends.base import Backend as Base

# Of unit vectors the inner product ranks as the angle does.
METRICS = {"euclidean": "l2", "angular": "ip", "inner-product": "ip"}
LEAST_D, DEGREE = 64, 32  # dimensions that its rotations and its k-means take, and edges of a point in its graph
MANY = 256  # clusters; more are found by a graph of their centres, as its authors advise
SEED = 42  # its k-means' own
NONE = 2**32 - 1  # id of a neighbour that was not found


class Backend(Base):
    """IVF-RaBitQ, of four times as many clusters as the square root of the number of points, or SymphonyQG.

    Parameters
    ----------
    index : {"ivf", "symqg"}
    nbits : int, of a coordinate in an inverted file: 1 to 9, or 32 for codes of one bit and the points, to rank again by
    ef_construction : int, candidates for the edges of a point of a graph
    """

    packages = ("rabitqlib", "numpy")

    def __init__(self, metric, device, threads, index="ivf", nbits=32, ef_construction=200):
        super().__init__(metric, device, threads)
        self.kind, self.nbits, self.ef_construction = index, nbits, ef_construction
        self.search = {"nprobe": 32} if index == "ivf" else {"ef": 100}
        self.at_least_k = "ef" if index == "symqg" else None

    def unsupported(self, k, n, d):
        if self.metric.like not in METRICS:
            return f"rabitqlib has no {self.metric.name} metric"
        if d < LEAST_D:
            return f"rabitqlib rotates {LEAST_D} dimensions or more, the dataset has {d}"
        if self.kind == "symqg" and n <= DEGREE:
            return f"SymphonyQG gives a point {DEGREE} edges, the dataset has {n} points"
        return None

    def fit(self, train):
        yield "transfer"
        n, d = train.shape
        name = METRICS[self.metric.like]
        if self.kind == "symqg":
            yield "train"
            self.index = SymqgIndex(d, DEGREE, name)
            self.index.build(train, self.ef_construction, num_threads=self.threads)
        else:
            clusters = min(n, round(4 * math.sqrt(n)))
            kmeans = (QGKMeans if clusters > MANY else RaBitQKMeans)(
                d,
                clusters,
                niter=10,
                num_threads=self.threads,
                spherical=self.metric.normalised,
                seed=SEED + self.build,
                final_assignment=FinalAssignmentMode.Exact,
            )
            kmeans.train(train)
            yield "train"
            self.index = IvfIndex(d, n, clusters, self.nbits, name)
            self.index.build(train, kmeans.centroids, kmeans.assignments, num_threads=self.threads)
        yield "add"

    def save(self, path):
        self.index.save(str(path))

    def load(self, path):
        self.index = (IvfIndex if self.kind == "ivf" else SymqgIndex).load(str(path))

    def set_search(self, **search):
        self.search = search

    def query(self, queries, k):
        search = self.search if self.kind == "ivf" else {"ef": max(k, self.search["ef"])}  # a graph keeps as many as it returns
        ids = self.index.search(queries, k, num_threads=self.threads, **search)[0].astype(np.int64)
        return np.where(ids == NONE, -1, ids)
