"""KeOps: `argKmin` of a symbolic distance, compiled for each formula, dimension and K and never stored as a matrix."""

import importlib.util
import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from knnbench.system.isolation import fit_for_programs

if not Path(sysconfig.get_path("include"), "Python.h").exists():
    raise ImportError("KeOps needs Python.h: install the headers of this Python, such as python3-dev")
COMPILER = shlex.split(os.environ.get("CXX", "g++"))  # may have arguments, such as ccache g++
if not COMPILER or not shutil.which(COMPILER[0]):
    raise ImportError(f"KeOps needs a C++ compiler: install g++, or set CXX, which is {os.environ.get('CXX', 'not set')!r}")
# Compiled formulas would be found again by later cells: a folder of its own lets every first query show its compile time.
FOLDER = Path(tempfile.mkdtemp(prefix="keops-"))
if not fit_for_programs(str(FOLDER)):
    raise ImportError(
        f"KeOps compiles through a shell, and cannot in {FOLDER}: its name has a space or so, or no program may run there;"
        " set TMPDIR"
    )


def program(name, line):
    """Write a program that is a line of the shell, and tell its path."""
    (FOLDER / name).write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    (FOLDER / name).chmod(0o700)
    return str(FOLDER / name)


# KeOps calls its compiler by a line of the shell in which it quotes no path: neither where it lies itself, nor Python. It finds
# itself, the headers and the compiler in this folder instead.
os.environ["KEOPS_CACHE_FOLDER"] = str(FOLDER / "cache")
os.environ["CXX"] = program("cxx", f'exec {shlex.join(COMPILER)} "$@"')
for package in ("keopscore", "pykeops"):
    shutil.copytree(Path(importlib.util.find_spec(package).origin).parent, FOLDER / "lib" / package)
sys.path.insert(0, str(FOLDER / "lib"))
(FOLDER / "python").symlink_to(sysconfig.get_path("include"))
(FOLDER / "pybind11").symlink_to(Path(importlib.util.find_spec("pybind11").origin).parent / "include")
executable, sys.executable = (
    sys.executable,
    program("includes", f"echo -I{FOLDER}/python -I{FOLDER}/pybind11"),
)  # it asks pybind11

import pykeops.config
import torch
from pykeops.torch import Vi, Vj

sys.executable = executable

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
