"""PyNNDescent: a graph of neighbours that descends to better ones, in functions that numba compiles; any metric of its own."""

import copy
import functools
import pickle

import numba
import numpy as np
from pynndescent import NNDescent, distances

from knnbench.backends.base import Backend as Base

# Its names, by those of metrics that rank alike. Unit vectors rank alike by angle and by euclidean distance: its `dot` takes
# all that is 90° away or more for equally far. So does its `inner_product` with all that is not positive, and is left out.
METRICS = {"angular": "euclidean", "jensen-shannon": "jensen_shannon"} | {
    name: name for name in ("euclidean", "manhattan", "chebyshev", "canberra")
}
# Points and dimensions of an index that is thrown away: more than the mebibyte below which its trees leave out steps.
WARM_UP = (5000, 64)
SEED = 0  # of these points


@functools.cache
def minkowski(p):
    """Its distance with this p, compiled once: as a name and an argument it would be another function for every index."""
    return numba.njit(fastmath=True)(lambda x, y: distances.minkowski(x, y, p))


class Backend(Base):
    """PyNNDescent.

    What numba compiles for a metric is compiled when the backend is opened, by an index of a few points, or taken from its
    cache in the environment as far as PyNNDescent has it cached: that belongs to loading the library, and no fit has it. What
    is compiled anew for every index is part of the fit: under other metrics than euclidean its search function.

    Parameters
    ----------
    n_neighbors : int, of a point in the graph
    diversify_prob : float, probability that an edge which another one makes superfluous is removed
    pruning_degree_multiplier : float, edges of a point in the graph that is searched, as a multiple of n_neighbors
    """

    packages = ("pynndescent", "numba", "numpy", "scipy", "scikit-learn")
    alone = "an index of PyNNDescent has one place for what a call has visited and found, for all calls"

    def __init__(self, metric, device, threads, n_neighbors=30, diversify_prob=1.0, pruning_degree_multiplier=1.5):
        super().__init__(metric, device, threads)
        self.parameters = {
            "n_neighbors": n_neighbors,
            "diversify_prob": diversify_prob,
            "pruning_degree_multiplier": pruning_degree_multiplier,
        }
        self.search = {}
        numba.set_num_threads(threads)
        like = metric.like or metric.name
        self.distance = minkowski(metric.parameters["p"]) if like == "minkowski" else METRICS.get(like)
        if self.distance:
            points = np.random.default_rng(SEED).random(WARM_UP, np.float32)
            points.flags.writeable = False  # as points are that are mapped from their file: numba compiles for these apart
            warm = self.descend(points)
            warm.prepare()
            self.open(warm)

    def unsupported(self, k, n, d):
        return None if self.distance else f"PyNNDescent has no {self.metric.name} metric"

    def threads_used(self):
        return numba.get_num_threads()

    def descend(self, train):
        return NNDescent(
            train,
            metric=self.distance,
            n_jobs=self.threads,
            parallel_batch_queries=self.distance
            == "euclidean",  # version 0.7 cannot compile it for others: one thread searches
            random_state=self.build,
            **self.parameters,
        )

    def open(self, index):
        """Take an index that is prepared, and a view of it without threads, which its authors advise for a single query."""
        self.index = self.single = index
        if index.parallel_batch_queries:
            index.parallel_batch_queries = False
            self.single = copy.copy(index)  # has its search function made anew, and no array
            index.parallel_batch_queries = True

    def fit(self, train):
        yield "transfer"
        index = self.descend(train)
        yield "train"
        index.prepare()
        self.open(index)
        yield "add"

    def save(self, path):
        path.write_bytes(pickle.dumps(self.index, protocol=5))

    def load(self, path):
        self.open(pickle.loads(path.read_bytes()))

    def set_search(self, epsilon):
        self.search = {"epsilon": epsilon}

    def query(self, queries, k):
        index = self.single if len(queries) == 1 else self.index
        ids, found = index.query(queries, k, **self.search)
        return np.where(np.isinf(found), -1, ids)  # where it found none it names the last point, infinitely far
