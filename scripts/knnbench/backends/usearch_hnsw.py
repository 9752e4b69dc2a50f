"""USearch's index: an HNSW graph; its exact search is usearch.py."""

import numpy as np
from usearch.index import Index, MetricKind

from knnbench.backends.base import Backend as Base
from knnbench.backends.base import padded

# Of unit vectors the inner product ranks as the angle does, and divides nothing.
METRICS = {"euclidean": MetricKind.L2sq, "angular": MetricKind.IP, "inner-product": MetricKind.IP}
SERIAL = 4  # so many queries for each thread, and fewer, are left to one thread, as hnswlib does by itself


class Backend(Base):
    """USearch's HNSW. It takes no seed: builds differ by how their threads take turns.

    Parameters
    ----------
    connectivity : int, links of a point in a layer; in the lowest one it has twice as many
    expansion_add : int, size of the list of candidates for them
    """

    packages = ("usearch", "numkong", "numpy")
    at_least_k = "expansion_search"

    def __init__(self, metric, device, threads, connectivity=16, expansion_add=128):
        super().__init__(metric, device, threads)
        self.connectivity = connectivity
        self.expansion_add = expansion_add

    def unsupported(self, k, n, d):
        return None if self.metric.like in METRICS else f"USearch has no {self.metric.name} metric"

    def fit(self, train):
        yield "transfer"
        self.index = Index(
            ndim=train.shape[1],
            metric=METRICS[self.metric.like],
            dtype="f32",  # by itself it would store bfloat16 or float16, as the CPU has it
            connectivity=self.connectivity,
            expansion_add=self.expansion_add,
        )
        yield "train"
        self.index.add(None, train, threads=self.threads)
        yield "add"

    def save(self, path):
        self.index.save(path)

    def load(self, path):
        self.index = Index.restore(path)

    def set_search(self, expansion_search):
        self.index.expansion_search = expansion_search

    def query(self, queries, k):
        threads = self.threads if len(queries) > SERIAL * self.threads else 1  # which it starts anew in every call
        found = self.index.search(queries, k, threads=threads)
        ids = np.atleast_2d(found.keys).view(np.int64)
        if len(queries) == 1:  # then only what was found is there
            return ids if ids.shape[1] == k else padded(ids, k)
        ids[np.arange(k) >= found.counts[:, None]] = -1
        return ids
