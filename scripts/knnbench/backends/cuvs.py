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

    Parameters
    ----------
    precision : {"float32", "float16"}
        What points and queries are stored in.
    """

    packages = ("cuvs-cu12", "cuvs-cu13", "libcuvs-cu12", "libcuvs-cu13", "torch", "numpy")

    def __init__(self, metric, device, threads, precision="float32"):
        super().__init__(metric, device, threads)
        torch.zeros(1, device="cuda")
        self.handle = Resources(stream=torch.cuda.current_stream().cuda_stream)
        self.dtype = PRECISIONS[precision]
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

    def query(self, queries, k):
        ids = torch.empty((len(queries), k), dtype=torch.int64, device="cuda")
        distances = torch.empty((len(queries), k), dtype=torch.float32, device="cuda")
        brute_force.search(self.index, queries, k, neighbors=ids, distances=distances, resources=self.handle)
        return ids

    def synchronize(self):
        self.handle.sync()
        torch.cuda.synchronize()

    def to_host(self, ids):
        return ids.cpu().numpy()
