"""pynear: a vantage-point tree, which needs nothing but distances."""

import os
import pickle

from pynear import VPTreeChebyshevIndex, VPTreeL1Index, VPTreeL2Index

from knnbench.backends.base import Backend as Base

# Unit vectors rank alike by angle and by euclidean distance, which alone is a metric.
METRICS = {
    **dict.fromkeys(("euclidean", "angular"), VPTreeL2Index),
    "manhattan": VPTreeL1Index,
    "chebyshev": VPTreeChebyshevIndex,
}


class Backend(Base):
    """pynear's VP-tree."""

    packages = ("pynear", "numpy")

    def unsupported(self, k, n, d):
        return None if self.metric.like in METRICS else f"pynear has no {self.metric.name} metric"

    def threads_used(self):
        return int(os.environ["OMP_NUM_THREADS"])  # it cannot be asked

    def fit(self, train):
        yield "transfer"
        self.tree = METRICS[self.metric.like]()
        self.tree.set(train)
        yield "train"
        yield "add"

    def save(self, path):
        path.write_bytes(pickle.dumps(self.tree, protocol=5))

    def load(self, path):
        self.tree = pickle.loads(path.read_bytes())

    def query(self, queries, k):
        return self.tree.searchKNN_arrays(queries, k)[0]  # nearest first, unlike searchKNN
