"""hnswlib: the HNSW graph by the authors of its paper."""

import hnswlib
import numpy as np

from knnbench.backends.base import Backend as Base
from knnbench.backends.base import by_halves

# Unit vectors rank alike by angle and by inner product; hnswlib's cosine is that, and normalises once more.
SPACES = {"euclidean": "l2", **dict.fromkeys(("angular", "inner-product"), "ip")}
LEVELS_SEED = 100  # the one that hnswlib has by itself: of the points' levels
SERIAL = 4  # so many queries for each thread, and fewer, are left to one thread (knnQuery_return_numpy, bindings.cpp)


class TooFew(RuntimeError):
    """Fewer than k points can be reached, as it happens among many that are equal."""


class Backend(Base):
    """hnswlib.

    Parameters
    ----------
    M : int, links of a point in a layer; in the lowest one it has twice as many
    efConstruction : int, size of the list of candidates for them, which hnswlib's Python calls ef_construction
    """

    packages = ("hnswlib", "numpy")
    at_least_k = "ef"

    def __init__(self, metric, device, threads, M=16, efConstruction=200):
        super().__init__(metric, device, threads)
        self.M = M
        self.efConstruction = efConstruction

    def unsupported(self, k, n, d):
        return None if self.metric.like in SPACES else f"hnswlib has no {self.metric.name} metric"

    def least_queries(self, queries):
        few = SERIAL * self.threads
        return few + 1 if self.threads > 1 and few < queries else 1

    def fit(self, train):
        yield "transfer"
        n, d = train.shape
        self.index = hnswlib.Index(SPACES[self.metric.like], d)
        self.index.init_index(n, self.M, self.efConstruction, random_seed=LEVELS_SEED + self.build)
        yield "train"
        self.index.add_items(train, num_threads=self.threads)
        yield "add"

    def save(self, path):
        path.mkdir()
        self.index.save_index(str(path / str(self.index.dim)))  # load_index must be told

    def load(self, path):
        [file] = path.iterdir()
        self.index = hnswlib.Index(SPACES[self.metric.like], int(file.name))
        self.index.load_index(str(file))

    def set_search(self, ef):
        self.index.set_ef(ef)

    def ask(self, queries, k):
        try:
            return self.index.knn_query(queries, k, num_threads=self.threads)[0].view(np.int64)
        except RuntimeError as error:
            raise (TooFew if "contiguous" in str(error) else RuntimeError)(str(error)) from error

    def query(self, queries, k):
        return by_halves(self.ask, queries, k, TooFew)
