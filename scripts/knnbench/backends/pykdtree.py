"""pykdtree: a k-d tree in float32, for few dimensions, queried by OpenMP's threads."""

import os

from pykdtree.kdtree import KDTree

from knnbench.backends.base import Backend as Base

MOST = 127  # dimensions, which it counts in eight bits
CHUNK = 100  # queries that a thread takes at a time: of 100 all are one thread's, of 300 one has twice as many as the other


class Backend(Base):
    """pykdtree.

    Parameters
    ----------
    leafsize : int, most points of a leaf
    """

    packages = ("pykdtree", "numpy")

    def __init__(self, metric, device, threads, leafsize=16):
        super().__init__(metric, device, threads)
        self.leafsize = leafsize

    def unsupported(self, k, n, d):
        if self.metric.like not in ("euclidean", "angular"):  # unit vectors rank alike by both
            return f"pykdtree has no {self.metric.name} metric"
        return f"pykdtree knows {MOST} dimensions at most" if d > MOST else None

    def threads_used(self):
        return int(os.environ["OMP_NUM_THREADS"])  # what its authors have one set; it cannot be asked

    def least_queries(self, queries):
        return min(CHUNK * self.threads, queries)

    def fit(self, train):
        yield "transfer"
        self.tree = KDTree(train, leafsize=self.leafsize)
        yield "train"
        yield "add"

    def query(self, queries, k):
        return self.tree.query(queries, k=k)[1].reshape(len(queries), k)  # of one neighbour it leaves the axis out
