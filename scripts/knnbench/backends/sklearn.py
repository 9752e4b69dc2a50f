"""scikit-learn's NearestNeighbors: trees and brute force on the CPU."""

import copy
import os

import joblib
from sklearn import get_config
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_info

from knnbench.backends.base import Backend as Base

# Unit vectors rank alike by angle and by euclidean distance, which scikit-learn computes much faster than its cosine.
METRICS = {"euclidean": "euclidean", "angular": "euclidean"} | {name: name for name in ("manhattan", "chebyshev", "minkowski")}
# joblib starts threads in every call and looks every 10 ms whether they are done (Parallel, version 1.6): 13 to 15 ms with two
# of them for a query of 4 µs. That long a tree compares some 500,000 points, at 11 to 220 ns each in dimension 3 to 50.
AT_ONCE = 500_000
MOST = 2**30  # its counter of comparisons is an int


class Backend(Base):
    """scikit-learn. A tree is asked with one job, which is its default, as long as its jobs would take longer to start.

    Parameters
    ----------
    algorithm : {"auto", "ball_tree", "kd_tree", "brute"}
    """

    packages = ("scikit-learn", "numpy", "scipy")
    estimator = NearestNeighbors

    def __init__(self, metric, device, threads, algorithm="auto"):
        super().__init__(metric, device, threads)
        self.algorithm = algorithm

    def unsupported(self, k, n, d):
        if self.metric.like not in METRICS:
            return f"scikit-learn has no {self.metric.name} metric (a Python function per pair is not a competitor)"
        if self.metric.parameters.get("p", 1) < 1 and self.algorithm != "brute":
            return "trees need the triangle inequality, which Minkowski's p < 1 does not have"
        return None

    def threads_used(self):
        pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp"]
        return max(pools, default=len(os.sched_getaffinity(0)))

    def least_queries(self, queries):
        # Brute force shares the points among its threads rather than the queries, if there are so few of these and no more than
        # points (the heuristic of sklearn.metrics._pairwise_distances_reduction.ArgKmin).
        # Just above four chunks a thread one of them has a chunk more than the others; six a thread are as fast as many.
        chunks = get_config()["pairwise_dist_chunk_size"] * self.threads
        brute = self.neighbours._fit_method == "brute"
        return 6 * chunks if brute and min(4 * chunks, len(self.neighbours._fit_X)) < queries else 1

    def fit(self, train):
        yield "transfer"
        options = {"algorithm": self.algorithm, "n_jobs": self.threads, **self.metric.parameters}
        self.open(self.estimator(metric=METRICS[self.metric.like], **options).fit(train))
        yield "train"
        yield "add"

    def open(self, neighbours):
        self.neighbours, self.tree = neighbours, neighbours._tree
        self.alone = copy.copy(neighbours).set_params(n_jobs=1)  # of the same tree
        self.compared = neighbours.n_samples_fit_  # points, for a query

    def save(self, path):
        joblib.dump(self.neighbours, path)

    def load(self, path):
        self.open(joblib.load(path))

    def query(self, queries, k):
        if self.tree is None:
            return self.neighbours.kneighbors(queries, n_neighbors=k, return_distance=False)
        q, countable = len(queries), len(queries) * self.neighbours.n_samples_fit_ < MOST
        neighbours = self.alone if q == 1 or q * self.compared < AT_ONCE else self.neighbours
        self.tree.reset_n_calls()
        ids = neighbours.kneighbors(queries, n_neighbors=k, return_distance=False)
        if countable:
            self.compared = self.tree.get_n_calls() / q
        return ids
