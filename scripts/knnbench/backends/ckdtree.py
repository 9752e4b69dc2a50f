"""SciPy's cKDTree: a k-d tree in float64, queried by threads."""

import math
import pickle

from scipy.spatial import cKDTree

from knnbench.backends.base import Backend as Base

# Minkowski's p. Unit vectors rank alike by angle and by euclidean distance.
METRICS = {"euclidean": 2, "manhattan": 1, "angular": 2, "chebyshev": math.inf, "minkowski": None}


class Backend(Base):
    """SciPy's cKDTree, with the defaults of its authors.

    Parameters
    ----------
    leafsize : int, most points of a leaf
    """

    packages = ("scipy", "numpy")

    def __init__(self, metric, device, threads, leafsize=16):
        super().__init__(metric, device, threads)
        self.leafsize = leafsize

    def unsupported(self, k, n, d):
        if self.metric.parameters.get("p", 1) < 1:
            return "trees need the triangle inequality, which Minkowski's p < 1 does not have"
        return None if self.metric.like in METRICS else f"SciPy's cKDTree has no {self.metric.name} metric"

    def fit(self, train):
        yield "transfer"
        self.tree = cKDTree(train, leafsize=self.leafsize)
        yield "train"
        yield "add"

    def save(self, path):
        path.write_bytes(pickle.dumps(self.tree, protocol=5))

    def load(self, path):
        self.tree = pickle.loads(path.read_bytes())

    def query(self, queries, k):
        p = METRICS[self.metric.like] or self.metric.parameters["p"]
        ids = self.tree.query(queries, k=k, p=p, workers=self.threads)[1]
        return ids.reshape(len(queries), k)  # of one neighbour it leaves the axis out
