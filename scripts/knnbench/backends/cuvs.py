"""cuVS: brute force on an NVIDIA GPU."""

import torch  # whose tensors cuVS takes where they are
from cuvs.common import Resources
from cuvs.neighbors import brute_force

from knnbench.backends.base import Backend as Base

# Squared distances rank alike without a root; of unit vectors the inner product ranks as the angle does.
METRICS = {"euclidean": "sqeuclidean", "manhattan": "l1", "angular": "inner_product"} | {
    "inner-product": "inner_product",
    "chebyshev": "chebyshev",
}
PRECISIONS = {"float32": torch.float32, "float16": torch.float16}


class Backend(Base):
    """cuVS's brute force, with one handle for all calls and outputs of PyTorch's pool, as its authors advise.

    Ids are written where PyTorch has room, anew in every call, for they are the answer; distances, which nobody asks for, where
    those of the last call of this size are.

    Parameters
    ----------
    precision : {"float32", "float16"}
        What points and queries are stored in.
    """

    alone = "a handle of cuVS (Resources) serves one thread at a time"
    packages = ("cuvs-cu12", "cuvs-cu13", "libcuvs-cu12", "libcuvs-cu13", "torch", "numpy")

    def __init__(self, metric, device, threads, precision="float32"):
        super().__init__(metric, device, threads)
        torch.zeros(1, device="cuda")
        # Its stream is the thread's own default one. PyTorch's is the device's: each waits for the other (CUDA's Runtime API,
        # stream synchronization behavior), and PyTorch's number, 0, would be taken for none.
        self.handle = Resources()
        self.distances = {}
        self.dtype = PRECISIONS[precision]
        self.rounds_to = "float16" if precision == "float16" else None
        self.lifts = precision == "float32"

    def unsupported(self, k, n, d):
        return None if self.metric.like in METRICS else f"cuVS has no {self.metric.name} metric"

    def fit(self, train):
        points = self.to_query_device(train)
        self.synchronize()
        yield "transfer"
        self.train = points  # the index looks at it, and keeps no copy
        self.index = brute_force.build(points, metric=METRICS[self.metric.like], resources=self.handle)
        yield "train"
        yield "add"

    def to_query_device(self, queries):
        return torch.from_numpy(queries).to("cuda", self.dtype)

    def outputs(self, queries, k, dtype=torch.int64):
        """Room for ids, and for distances."""
        shape = len(queries), k
        if shape not in self.distances:
            self.distances[shape] = torch.empty(shape, dtype=torch.float32, device="cuda")
        return torch.empty(shape, dtype=dtype, device="cuda"), self.distances[shape]

    def query(self, queries, k):
        ids, distances = self.outputs(queries, k)
        brute_force.search(self.index, queries, k, neighbors=ids, distances=distances, resources=self.handle)
        return ids

    def synchronize(self):
        self.handle.sync()
        torch.cuda.synchronize()

    def to_host(self, ids):
        return ids.cpu().numpy()
