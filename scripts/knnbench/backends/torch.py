"""Brute force in PyTorch: a matrix of distances, then `topk`.

Keys that can be are expanded into a matrix product; where a shift changes no distance the points are centred first, which keeps
float32 from cancelling when the data lie far from the origin.
"""

import math

import torch

from knnbench.backends.base import Backend as Base
from knnbench.problem.metrics import Operations

OPERATIONS = Operations(torch)
# Copies of the (batch, n) float32 matrix alive at once: measured while the expanded formulas are computed.
MATRICES = 4
# On a CPU larger batches gain nothing: they leave the caches, and their pages are mapped anew for every batch.
HOST_BYTES = 250_000_000
SEED_BYTES = 500_000_000
POWERS = {"manhattan": 1.0, "chebyshev": math.inf, "minkowski": None}  # of differences, for `cdist`
STORED = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Backend(Base):
    """PyTorch brute force.

    Parameters
    ----------
    batch : {"all", "memory", "seed"}
        Queries per matrix: all of them; as many as memory holds of what the computation really allocates; or the formula of
        the KeOps page, 500 MB / (4·d·n), which counts d numbers per pair although a matrix product needs one.
    precision : {"float32", "tf32", "bfloat16", "float16"}
        Of the numbers that the matrix product multiplies: 23, 10, 7 or 10 bits after the point. A GPU sums their products in
        float32; of numbers of 16 bits a CPU's sum has 16 bits too.
    """

    packages = ("torch", "numpy")

    def __init__(self, metric, device, threads, batch="all", precision="float32"):
        super().__init__(metric, device, threads)
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        self.torch_device = torch.device("cuda" if device == "gpu" else "cpu")
        if device == "gpu":
            torch.zeros(1, device=self.torch_device)  # creates the CUDA context: part of the import, not of the data's transfer
        self.batch = batch
        self.precision = precision

    def unsupported(self, k, n, d):
        if self.precision != "float32" and not self.metric.expanded:
            return f"{self.precision} is of matrix products, and the {self.metric.name} metric has none"
        if self.precision == "tf32" and self.device == "cpu":
            return "TensorFloat-32 is a GPU's"
        return None

    def threads_used(self):
        return torch.get_num_threads()

    def fit(self, train):
        self.train = torch.from_numpy(train).to(self.torch_device)
        yield "transfer"
        if self.metric.expanded:
            # A point near the mean rather than the mean: integers stay integers, which float32 squares exactly.
            sample = self.train[:1000]
            nearest = torch.linalg.vector_norm(sample - sample.mean(0), dim=1).argmin()
            # Not sample[nearest]: for that the host waits for a number of the device's.
            self.centre = sample.index_select(0, nearest[None])[0] if self.metric.shifts else torch.zeros_like(sample[0])
            self.weights = self.metric.weight(
                OPERATIONS, self.train
            ).clone()  # a view would keep the points that are replaced next
            self.train = self.stored(self.train)
            self.train_sq = (self.train.float() ** 2).sum(1)
        yield "train"
        self.step = None if self.batch == "all" else self.queries_per_matrix()
        yield "add"

    def to_query_device(self, queries):
        return torch.from_numpy(queries).to(self.torch_device)

    def stored(self, points):
        """Centred points or queries, rounded to what is multiplied."""
        return (points - self.centre).to(STORED[self.precision])

    def queries_per_matrix(self):
        """How many queries make a batch; the points are on the device by now."""
        n, d = self.train.shape
        if self.batch == "seed":
            return max(1, SEED_BYTES // (4 * n * d))
        free = torch.cuda.mem_get_info()[0] // 2 if self.device == "gpu" else HOST_BYTES
        per_pair = MATRICES if self.metric.expanded or self.metric.like in POWERS else MATRICES * d
        return max(1, free // (4 * n * per_pair))

    def least_queries(self, queries):
        return min(self.step or queries, queries)  # the whole matrix is what the variant without batches is about

    def product(self, queries):
        """Inner products of queries and points, float32."""
        if self.device == "gpu" and self.train.dtype != torch.float32:
            return torch.mm(queries, self.train.T, out_dtype=torch.float32)
        return (queries @ self.train.T).float()

    def keys(self, queries):
        if self.metric.expanded:
            centred = self.stored(queries)
            return self.metric.expanded(
                self.product(centred),
                (centred.float() ** 2).sum(1, keepdim=True),
                self.train_sq,
                self.metric.weight(OPERATIONS, queries)[:, None],
                self.weights,
            )
        if self.metric.like in POWERS:  # the same without the (q, n, d) array
            return torch.cdist(queries, self.train, p=POWERS[self.metric.like] or self.metric.parameters["p"])
        return self.metric.keys(queries[:, None], self.train, OPERATIONS)

    def query(self, queries, k):
        ids = torch.empty((len(queries), k), dtype=torch.int64, device=self.torch_device)
        step = self.step or len(queries)
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            ids[rows] = self.keys(queries[rows]).topk(k, dim=1, largest=False).indices
        return ids

    def synchronize(self):
        if self.device == "gpu":
            torch.cuda.synchronize()

    def to_host(self, ids):
        return ids.cpu().numpy()
