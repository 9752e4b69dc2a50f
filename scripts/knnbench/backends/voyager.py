"""Voyager: Spotify's HNSW graph, made from hnswlib's, in the place of Annoy."""

import numpy as np
from voyager import Index, RecallError, Space

from knnbench.backends.base import Backend as Base
from knnbench.backends.base import by_halves

# Points under inner product are given one more coordinate, with which the graph is one of euclidean distances. Cosine has none.
SPACES = {"euclidean": Space.Euclidean, "angular": Space.Cosine, "inner-product": Space.InnerProduct}
LEVELS_SEED = 1  # the one that Voyager has by itself: of the points' levels
SERIAL = 4  # so many queries for each thread, and fewer, are left to one thread (TypedIndex.h)


class Backend(Base):
    """Voyager.

    Parameters
    ----------
    M : int, links of a point in a layer; in the lowest one it has twice as many
    ef_construction : int, size of the list of candidates for them
    """

    packages = ("voyager", "numpy")
    at_least_k = "ef"

    def __init__(self, metric, device, threads, M=12, ef_construction=200):
        super().__init__(metric, device, threads)
        self.M = M
        self.ef_construction = ef_construction

    def unsupported(self, k, n, d):
        return None if self.metric.like in SPACES else f"Voyager has no {self.metric.name} metric"

    def least_queries(self, queries):
        few = SERIAL * self.threads
        return few + 1 if self.threads > 1 and few < queries else 1

    def fit(self, train):
        points = np.array(train)  # it takes none that may not be written, as those of a mapped file
        yield "transfer"
        n, d = train.shape
        seed = LEVELS_SEED + self.build
        self.index = Index(SPACES[self.metric.like], d, self.M, self.ef_construction, random_seed=seed, max_elements=n)
        yield "train"
        self.index.add_items(points, num_threads=self.threads)
        yield "add"

    def save(self, path):
        self.index.save(str(path))

    def load(self, path):
        self.index = Index.load(str(path))

    def set_search(self, ef):
        self.index.ef = ef

    def ask(self, queries, k):
        return self.index.query(queries, k, num_threads=self.threads)[0].view(np.int64)

    def query(self, queries, k):
        return by_halves(self.ask, queries, k, RecallError)  # raised if fewer than k can be reached, as of many that are equal
