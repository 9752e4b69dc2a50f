"""KeOps: `argKmin` of a symbolic distance, compiled for each formula, dimension and K and never stored as a matrix."""

import os
import shutil
import sysconfig
import tempfile
from pathlib import Path

# Compiled formulas would be found again by later cells: a cache of its own lets every first query show its compile time.
os.environ["KEOPS_CACHE_FOLDER"] = tempfile.mkdtemp(prefix="keops-")
if not shutil.which(os.environ.get("CXX", "g++")):
    raise ImportError("KeOps needs a C++ compiler: install g++ or set CXX")
if not Path(sysconfig.get_path("include"), "Python.h").exists():
    raise ImportError("KeOps needs Python.h: install the headers of this Python, such as python3-dev")

import pykeops.config
import torch
from pykeops.torch import Vi, Vj

from knnbench.backends.base import Backend as Base


class Backend(Base):
    """KeOps on PyTorch tensors, as its authors run it."""

    packages = ("pykeops", "keopscore", "torch", "numpy")
    compiles = True

    def __init__(self, metric, device, threads):
        super().__init__(metric, device, threads)
        torch.set_num_threads(threads)
        self.torch_device = torch.device("cuda" if device == "gpu" else "cpu")
        if device == "gpu":
            if not pykeops.config.gpu_available:  # it would compute on the CPU without a word
                raise ImportError("KeOps found no CUDA: it needs the toolkit's headers and libraries, see CUDA_PATH")
            torch.zeros(1, device=self.torch_device)

    def threads_used(self):
        return int(os.environ["OMP_NUM_THREADS"])  # what its OpenMP code reads; KeOps cannot be asked

    def fit(self, train):
        self.train = torch.from_numpy(train).to(self.torch_device)
        yield "transfer"
        d = train.shape[1]
        x, y = Vi(0, d), Vj(1, d)
        if self.metric.normalised:  # the page's inner product: nearest direction first
            self.keys = -(x | y)
        else:
            self.keys = self.metric.finish(self.metric.term(x, y).sum(-1), x[0], y[0])
        yield "train"
        yield "add"

    def to_query_device(self, queries):
        return torch.from_numpy(queries).to(self.torch_device)

    def query(self, queries, k):
        # Left to itself KeOps takes a GPU that it sees, for tensors on the host too.
        place = "GPU" if self.device == "gpu" else "CPU"
        return self.keys.argKmin(k, dim=1, backend=place)(queries, self.train)

    def synchronize(self):
        if self.device == "gpu":
            torch.cuda.synchronize()

    def to_host(self, ids):
        return ids.cpu().numpy()
