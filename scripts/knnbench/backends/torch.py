"""Brute force in PyTorch: a matrix of distances, then the smallest of each row, which a selection in two steps finds.

Keys that can be are expanded into a matrix product; where a shift changes no distance the points are centred first, which keeps
float32 from cancelling when the data lie far from the origin. What is the same for all points of a row is left out of its keys.
"""

import math
import threading

import torch

from knnbench.backends.base import Backend as Base
from knnbench.problem.metrics import Operations, negative_product, of_squares_by_weights

OPERATIONS = Operations(torch)
# Copies of the (batch, n) float32 matrix alive at once, at most: of a product of fewer bits there is one of these beside it.
MATRICES = 2
# On a CPU a matrix is to stay in the caches, if it has rows enough for its product to be fast, and in any case below a bound.
CACHE_BYTES, ROWS, HOST_BYTES = 16_000_000, 64, 500_000_000
SEED_BYTES = 500_000_000
# Numbers of an array that kernels of a GPU count with 32 bits. `cdist` launches a block of threads for each pair, and cannot
# launch more of them (ATen/native/cuda/DistanceKernel.cu); the other kernels used here have variants of 64 bits for more.
MOST = 2**31 - 1
# Rows are cut into chunks if they are so long, for one neighbour, and have so many numbers in all: else that costs more than it
# saves (on two CPUs, 1 to 100 neighbours).
LONG, MANY = 4096, 100_000
POWERS = {"manhattan": 1.0, "chebyshev": math.inf, "minkowski": None}  # of differences, for `cdist`
STORED = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def smallest(keys, k):
    """Where the k smallest numbers of each row are, in their order.

    `topk` of whole rows takes most of the time of a search on a CPU. A row is cut into chunks, and only the k chunks with the
    smallest least numbers can have them: before any number of another chunk there are these k.

    Parameters
    ----------
    keys : Tensor, shape (q, n)

    Returns
    -------
    ids : Tensor, shape (q, k), int64
    """
    q, n = keys.shape
    if n < LONG * math.sqrt(k) or q * n < MANY:
        return keys.topk(k, dim=1, largest=False).indices
    size = 2 ** max(4, round(math.log2(n / k) / 2))  # as many least numbers as numbers of the chunks that are left, about
    chunks = n // size
    cut, rest = keys[:, : chunks * size].unflatten(1, (chunks, size)), keys[:, chunks * size :]
    best = cut.amin(2).topk(k, dim=1, largest=False, sorted=False).indices
    left = torch.cat([cut.gather(1, best[:, :, None].expand(-1, -1, size)).flatten(1), rest], dim=1)
    found = left.topk(k, dim=1, largest=False).indices
    chunk = best.gather(1, (found // size).clamp(max=k - 1))
    return torch.where(found < k * size, chunk * size + found % size, found + (chunks - k) * size)


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
        self.whole = batch == "all"
        self.precision = precision
        self.rounds_to = precision if precision in ("bfloat16", "float16") else None
        self.own = threading.local()  # each thread's room for a matrix: a new one for each batch would be mapped anew

    def unsupported(self, k, n, d):
        if self.precision != "float32" and not self.metric.expanded:
            return f"{self.precision} is of matrix products, and the {self.metric.name} metric has none"
        if self.precision == "tf32" and self.device == "cpu":
            return "TensorFloat-32 is a GPU's"
        return None

    def centre_of(self, points):
        """A point near the mean rather than the mean: integers stay integers, which float32 squares exactly."""
        sample = points[:1000]
        if not self.metric.shifts:
            return torch.zeros_like(sample[0])
        nearest = torch.linalg.vector_norm(sample - sample.mean(0), dim=1).argmin()
        return sample.index_select(0, nearest[None])[
            0
        ]  # not sample[nearest]: for that the host waits for a number of the device's

    def before_rounding(self, train):
        centre = self.centre_of(torch.from_numpy(train)).numpy()
        return lambda points: points - centre

    def threads_used(self):
        return torch.get_num_threads()

    def fit(self, train):
        self.train = torch.from_numpy(train).to(self.torch_device)
        yield "transfer"
        if self.metric.expanded:
            self.centre = self.centre_of(self.train)
            self.weights = self.metric.weight(
                OPERATIONS, self.train
            ).clone()  # a view would keep the points that are replaced next
            self.train = self.stored(self.train)
            self.train_sq = (self.train.float() ** 2).sum(1)
        yield "train"
        self.step = None if self.batch == "all" else self.queries_per_matrix()
        yield "add"

    def begin_thread(self):
        torch.set_grad_enabled(False)  # which is a thread's

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
        # Direct differences have d numbers for each pair, of which four copies are alive.
        per_pair = MATRICES if self.metric.expanded or self.metric.like in POWERS else 4 * d
        if self.device == "gpu":
            return max(1, min(torch.cuda.mem_get_info()[0] // 2 // (4 * n * per_pair), MOST // self.numbers_per_query()))
        return max(1, min(HOST_BYTES // (4 * n * per_pair), max(ROWS, CACHE_BYTES // (4 * n))))

    def numbers_per_query(self):
        """Of the largest array that a batch makes."""
        n, d = self.train.shape
        return n if self.metric.expanded or self.metric.like in POWERS else n * d

    def least_queries(self, queries):
        return min(self.step or queries, queries)  # the whole matrix is what the variant without batches is about

    def product(self, queries):
        """What ranks as the expanded keys do, from the inner products of queries and points; float32."""
        points = self.train.T
        if self.metric.expanded is negative_product:
            return self.matrix(queries.neg(), points)
        keys = self.matrix(queries, points, self.train_sq)
        if self.metric.expanded is of_squares_by_weights:
            keys.add_((queries.float() ** 2).sum(1, keepdim=True)).div_(self.weights)
        return keys

    def matrix(self, queries, points, squares=None):
        """Their products, or squares less twice of these: shape (q, n)."""
        if self.train.dtype == torch.float32:
            shape = len(queries), points.shape[1]
            room = getattr(self.own, "room", None)
            if room is None or room.numel() < math.prod(shape):
                room = self.own.room = torch.empty(math.prod(shape), device=self.torch_device)
            out = room[: math.prod(shape)].view(shape)
            if squares is None:
                return torch.mm(queries, points, out=out)
            return torch.addmm(squares, queries, points, alpha=-2, out=out)
        # What is multiplied in fewer bits is summed in float32: on a GPU within the product.
        fewer = torch.mm(queries, points, out_dtype=torch.float32) if self.device == "gpu" else (queries @ points).float()
        return fewer if squares is None else fewer.mul_(-2).add_(squares)

    def keys(self, queries):
        if self.metric.expanded:
            return self.product(self.stored(queries))
        if self.metric.like in POWERS:  # the same without the (q, n, d) array
            return self.distances(queries, POWERS[self.metric.like] or self.metric.parameters["p"])
        return self.metric.keys(queries[:, None], self.train, OPERATIONS)

    def distances(self, queries, p):
        """`cdist`, by calls of as many queries as it counts pairs of: shape (q, n)."""
        step = max(1, MOST // len(self.train))
        if len(queries) <= step:
            return torch.cdist(queries, self.train, p=p)
        keys = torch.empty((len(queries), len(self.train)), device=self.torch_device)
        for rows, some in zip(keys.split(step), queries.split(step), strict=True):
            rows.copy_(torch.cdist(some, self.train, p=p))
        return keys

    def nearest(self, queries, k):
        """Where the k nearest points of each query of a batch are."""
        return smallest(self.keys(queries), k)

    def query(self, queries, k):
        step = self.step or len(queries)
        if len(queries) <= step:
            return self.nearest(queries, k)
        ids = torch.empty((len(queries), k), dtype=torch.int64, device=self.torch_device)
        for start in range(0, len(queries), step):
            rows = slice(start, start + step)
            ids[rows] = self.nearest(queries[rows], k)
        return ids

    def synchronize(self):
        if self.device == "gpu":
            torch.cuda.synchronize()

    def to_host(self, ids):
        return ids.cpu().numpy()
