"""Annoy: a forest of trees, each of which halves the points by random hyperplanes."""

from multiprocessing.pool import ThreadPool

import numpy as np
from annoy import AnnoyIndex

from knnbench.backends.base import Backend as Base
from knnbench.backends.base import padded

METRICS = {"euclidean": "euclidean", "angular": "angular", "inner-product": "dot", "manhattan": "manhattan"}
NODE_BYTES = 25  # of a tree for each point, about, while the index grows


class Backend(Base):
    """Annoy, whose Python takes one point, and answers one query, at a time; it lets other threads run meanwhile.

    Parameters
    ----------
    n_trees : int
    """

    packages = ("annoy", "numpy")

    def __init__(self, metric, device, threads, n_trees=100):
        super().__init__(metric, device, threads)
        self.n_trees = n_trees
        self.search_k = -1  # its own default: n_trees times k
        self.pool = ThreadPool(threads) if threads > 1 else None

    def unsupported(self, k, n, d):
        return None if self.metric.like in METRICS else f"Annoy has no {self.metric.name} metric"

    def fit(self, train):
        n, d = train.shape
        self.index = AnnoyIndex(d, METRICS[self.metric.like])
        if self.build:  # a thread has the next seed of the thread before it
            self.index.set_seed(1 + self.build * self.threads)
        for number, point in enumerate(train):
            self.index.add_item(number, point.tolist())
        yield "transfer"
        np.empty(NODE_BYTES * n * self.n_trees, np.int8)  # MemoryError: Annoy would not see that there is no memory, and crash
        self.index.build(self.n_trees, self.threads)
        yield "train"
        yield "add"

    def save(self, path):
        path.mkdir()
        self.index.save(str(path / str(self.index.f)))  # load must be told

    def load(self, path):
        [file] = path.iterdir()
        self.index = AnnoyIndex(int(file.name), METRICS[self.metric.like])
        self.index.load(str(file), prefault=True)  # before the first query

    def set_search(self, search_k):
        self.search_k = search_k

    def query(self, queries, k):
        def ask(query):
            return self.index.get_nns_by_vector(query, k, self.search_k)

        several = self.pool and len(queries) > 1
        return padded(self.pool.map(ask, queries.tolist()) if several else [ask(query) for query in queries.tolist()], k)
