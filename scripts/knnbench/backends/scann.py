"""ScaNN, by Google: an inverted file of vectors quantized for inner products, whose best candidates are scored again."""

import math

import numpy as np
import scann

from knnbench.backends.base import Backend as Base
from knnbench.backends.base import padded

# Of unit vectors the inner product ranks as the angle does.
METRICS = {"euclidean": "squared_l2", "angular": "dot_product", "inner-product": "dot_product"}
FEWEST = 20_000  # points; of fewer its authors advise brute force (docs/algorithms.md)
BATCH = 256  # queries that a thread searches together, by default


class Backend(Base):
    """ScaNN's tree, asymmetric hashing and reordering. There are as many leaves as the square root of the number of points.

    Parameters
    ----------
    dimensions_per_block : int, coordinates that are quantized together
    anisotropic_quantization_threshold : float
        Cosine from which on an error along the point counts more than one across. It is for inner products: others have none.
    """

    packages = ("scann", "numpy", "protobuf")
    at_least_k = "pre_reorder_num_neighbors"

    def __init__(self, metric, device, threads, dimensions_per_block=2, anisotropic_quantization_threshold=0.2):
        super().__init__(metric, device, threads)
        self.blocks = dimensions_per_block
        self.threshold = anisotropic_quantization_threshold
        self.leaves, self.candidates = None, 100

    def unsupported(self, k, n, d):
        if self.metric.like not in METRICS:
            return f"ScaNN has no {self.metric.name} metric"
        return f"ScaNN's authors advise brute force below {FEWEST:,} points" if n < FEWEST else None

    def fit(self, train):
        yield "transfer"
        n, distance = len(train), METRICS[self.metric.like]
        leaves = round(math.sqrt(n))
        builder = scann.scann_ops_pybind.builder(train, 10, distance).set_n_training_threads(self.threads)
        builder.tree(leaves, max(1, leaves // 20), n, spherical=self.metric.normalised, quantize_centroids=True)
        builder.score_ah(self.blocks, self.threshold if distance == "dot_product" else math.nan)
        self.open(builder.reorder(self.candidates).build())
        yield "train"
        yield "add"

    def open(self, searcher):
        self.searcher = searcher
        if self.threads > 1:  # by itself it has as many as there are CPUs
            searcher.set_num_threads(self.threads - 1)  # besides the one that asks; 0 would end the process

    def save(self, path):
        path.mkdir()
        self.searcher.serialize(str(path), relative_path=True)

    def load(self, path):
        self.open(scann.scann_ops_pybind.load_searcher(str(path)))

    def set_search(self, leaves_to_search, pre_reorder_num_neighbors):
        self.leaves, self.candidates = leaves_to_search, pre_reorder_num_neighbors

    def query(self, queries, k):
        asked = k, max(k, self.candidates), self.leaves
        if len(queries) == 1:  # its call for one, without a batch that is handed to a thread
            return padded([self.searcher.search(queries[0], *asked)[0].astype(np.int64)], k)
        if self.threads == 1:
            ids, distances = self.searcher.search_batched(queries, *asked)
        else:
            batch = min(BATCH, math.ceil(len(queries) / self.threads))  # so that every thread has one
            ids, distances = self.searcher.search_batched_parallel(queries, *asked, batch)
        return np.where(np.isnan(distances), -1, ids.astype(np.int64))  # where it found none it names the first point
