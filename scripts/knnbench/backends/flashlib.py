"""FlashLib: distances and the nearest of them in one kernel, on an NVIDIA GPU of today."""

import os
import tempfile

# What was compiled would be found again by later cells: a folder of its own lets every first query show its compile time.
os.environ["TRITON_CACHE_DIR"] = tempfile.mkdtemp(prefix="triton-")

import torch
from flashlib.primitives.knn import flash_knn

from knnbench.backends.base import Backend as Base

# Its kernels take 16 dimensions or more, and `flash_knn` fills up points and queries of fewer with zeros in every call.
LEAST_DIMENSIONS = 16
# Its kernels multiply float32 as Triton's `tl.dot` does by default, in TensorFloat-32: `wrong_neighbors` has what that costs.
STORED = {"tf32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def filled_up(rows):
    """Points or queries with columns of zeros up to `LEAST_DIMENSIONS`, which change no distance."""
    lacking = LEAST_DIMENSIONS - rows.shape[1]
    return torch.nn.functional.pad(rows, (0, lacking)) if lacking > 0 else rows


class Backend(Base):
    """FlashLib's `flash_knn`, given points that are filled up already; queries it would fill up itself, within the call.

    Parameters
    ----------
    precision : {"tf32", "bfloat16", "float16"}
    """

    packages = ("flashlib", "triton", "torch", "numpy")
    compiles = True

    def __init__(self, metric, device, threads, precision="tf32"):
        super().__init__(metric, device, threads)
        torch.zeros(1, device="cuda")
        self.dtype = STORED[precision]
        self.rounds_to = None if precision == "tf32" else precision

    def unsupported(self, k, n, d):
        if self.metric.like not in ("euclidean", "angular"):  # unit vectors rank alike by both
            return f"FlashLib has no {self.metric.name} metric"
        return None

    def fit(self, train):
        self.train = filled_up(self.to_query_device(train))
        torch.cuda.synchronize()
        yield "transfer"
        yield "train"
        yield "add"

    def to_query_device(self, queries):
        return torch.from_numpy(queries).to("cuda", self.dtype)

    def compile(self, queries, k):
        self.query(self.to_query_device(queries), k)  # Triton compiles for a shape

    def query(self, queries, k):
        return flash_knn(filled_up(queries), self.train, k, return_distances=False)

    def synchronize(self):
        torch.cuda.synchronize()

    def to_host(self, ids):
        return ids.cpu().numpy()
