"""scikit-learn's NearestNeighbors: trees and brute force on the CPU."""

import os

import joblib
from sklearn import get_config
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_info

from knnbench.backends.base import Backend as Base

# Unit vectors rank alike by angle and by euclidean distance, which scikit-learn computes much faster than its cosine.
METRICS = {"euclidean": "euclidean", "angular": "euclidean"} | {name: name for name in ("manhattan", "chebyshev", "minkowski")}


class Backend(Base):
    """scikit-learn.

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
        self.neighbours = self.estimator(metric=METRICS[self.metric.like], **options).fit(train)
        yield "train"
        yield "add"

    def save(self, path):
        joblib.dump(self.neighbours, path)

    def load(self, path):
        self.neighbours = joblib.load(path)

    def query(self, queries, k):
        return self.neighbours.kneighbors(queries, n_neighbors=k, return_distance=False)
