"""NMSLIB: the HNSW graph in the library where it was first, with more metrics than its successor hnswlib."""

import nmslib

from knnbench.backends.base import Backend as Base
from knnbench.backends.base import padded

# The spaces that HNSW has kernels and an index with the points in it for; of the others it keeps the points apart.
SPACES = {
    "euclidean": "l2",
    "angular": "cosinesimil",
    "inner-product": "negdotprod",
    "manhattan": "l1",
    "chebyshev": "linf",
}
SERIAL = 4  # so many queries for each thread, and fewer, are left to one thread, as its successor hnswlib does by itself


class Backend(Base):
    """NMSLIB's HNSW. Its seed is fixed: builds differ by how their threads take turns.

    Parameters
    ----------
    M : int, links of a point in a layer; in the lowest one it has twice as many
    efConstruction : int, size of the list of candidates for them
    post : {0, 1, 2}, how much the graph is gone over once more when it is complete
    """

    packages = ("nmslib", "numpy")
    at_least_k = "efSearch"

    def __init__(self, metric, device, threads, M=16, efConstruction=200, post=0):
        super().__init__(metric, device, threads)
        self.efSearch = 20  # its own default
        self.parameters = {"M": M, "efConstruction": efConstruction, "post": post, "indexThreadQty": threads}

    def unsupported(self, k, n, d):
        return None if self.metric.like in SPACES else f"NMSLIB has no {self.metric.name} metric"

    def open(self):
        self.index, self.set_to = nmslib.init(method="hnsw", space=SPACES[self.metric.like]), None

    def fit(self, train):
        self.open()
        self.index.addDataPointBatch(train)
        yield "transfer"
        yield "train"
        self.index.createIndex(self.parameters)
        yield "add"

    def save(self, path):
        self.index.saveIndex(str(path))

    def load(self, path):
        self.open()
        self.index.loadIndex(str(path))

    def set_search(self, efSearch):
        self.efSearch = efSearch

    def query(self, queries, k):
        # Of fewer candidates than k it would give fewer, and those worse. Its successors take k then, by themselves.
        if (candidates := max(self.efSearch, k)) != self.set_to:  # to say so costs as much as to search a little
            self.index.setQueryTimeParams({"efSearch": candidates})
            self.set_to = candidates
        if len(queries) == 1:  # its call for one
            ids = self.index.knnQuery(queries[0], k)[0]
            return ids[None] if len(ids) == k else padded([ids], k)
        threads = self.threads if len(queries) > SERIAL * self.threads else 1  # which it starts anew in every call
        return padded([ids for ids, _ in self.index.knnQueryBatch(queries, k, threads)], k)
