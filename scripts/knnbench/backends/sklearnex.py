"""scikit-learn-intelex: scikit-learn's NearestNeighbors, computed by oneDAL."""

import daal4py
from sklearnex.neighbors import NearestNeighbors

from knnbench.backends.sklearn import Backend as Sklearn


class Backend(Sklearn):
    """scikit-learn-intelex.

    Parameters
    ----------
    algorithm : {"kd_tree", "brute"}
    """

    alone = "outside of the main thread scikit-learn-intelex takes every CPU, whatever n_jobs says, and warns in each call"
    packages = ("scikit-learn-intelex", "daal", *Sklearn.packages)
    estimator = NearestNeighbors

    def unsupported(self, k, n, d):
        if self.algorithm == "kd_tree" and self.metric.like not in ("euclidean", "angular"):
            return "oneDAL's k-d tree knows euclidean only"
        return super().unsupported(k, n, d)

    def threads_used(self):
        return daal4py.num_threads()

    def least_queries(self, queries):
        return 1

    def fit(self, train):
        for phase in super().fit(train):
            # What oneDAL cannot do, scikit-learn does without a word.
            if phase == "train" and not hasattr(self.neighbours, "_onedal_estimator"):
                raise RuntimeError("scikit-learn-intelex left this to scikit-learn")
            yield phase
