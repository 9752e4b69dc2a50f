"""KeOps: `argKmin` of a symbolic distance, compiled for each formula, dimension and K and never stored as a matrix."""

import ctypes
import importlib.util
import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from knnbench.system import gpu
from knnbench.system.compiler import COMPILER, missing, refused
from knnbench.system.isolation import fit_for_programs

if reason := missing() or refused():
    raise ImportError(f"KeOps {reason}")
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
if importlib.util.find_spec("pybind11") is None:
    raise ImportError("KeOps needs pybind11: pip install pybind11")
for package in ("keopscore", "pykeops"):
    shutil.copytree(Path(importlib.util.find_spec(package).origin).parent, FOLDER / "lib" / package)
sys.path.insert(0, str(FOLDER / "lib"))
(FOLDER / "python").symlink_to(sysconfig.get_path("include"))
(FOLDER / "pybind11").symlink_to(Path(importlib.util.find_spec("pybind11").origin).parent / "include")
executable, sys.executable = (
    sys.executable,
    program("includes", f"echo -I{FOLDER}/python -I{FOLDER}/pybind11"),
)  # it asks pybind11

import torch


def cuda_of_wheels():
    """Let KeOps find the CUDA that PyTorch came with: then it needs NVIDIA's driver and no toolkit.

    keopscore 2.3 (config/cuda.py) looks for a toolkit: headers in one folder, libraries that `find_library` and the linker know
    by a name without a version, and NVRTC's built-in code, which NVRTC opens by its name alone. A folder of links is one.
    Where wheels lack libraries, or the headers of nvidia-cuda-crt or -cccl, KeOps looks elsewhere: `CUDA_PATH`.
    """
    layout = "cuda_*" if str(torch.version.cuda).startswith("12") else "cu13"
    found = importlib.util.find_spec("nvidia")
    parts = [part for place in found.submodule_search_locations for part in Path(place).glob(layout)] if found else []
    toolkit = FOLDER / "cuda"
    for kind in ("include", "lib"):
        (toolkit / kind).mkdir(parents=True)
        for path in (path for part in parts for path in (part / kind).glob("*")):
            if not (link := toolkit / kind / path.name).exists():
                link.symlink_to(path)
    headers = [toolkit / "include" / name for name in ("cuda.h", "nvrtc.h", "crt/host_defines.h", "nv/target")]
    names = ("nvrtc-builtins", "nvrtc", "cudart")  # each needs the one before it
    libraries = [path for name in names for path in (toolkit / "lib").glob(f"lib{name}.so.*")]
    if len(libraries) != len(names) or not all(path.exists() for path in headers):
        return
    for name, path in zip(names, libraries, strict=True):
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        (toolkit / "lib" / f"lib{name}.so").symlink_to(path.name)
    (toolkit / "lib/libcuda.so").symlink_to(gpu.driver_file())
    os.environ["CUDA_PATH"] = str(toolkit)
    os.environ["LIBRARY_PATH"] = str(toolkit / "lib")


if gpu.count():
    cuda_of_wheels()

import pykeops.config
from pykeops.torch import LazyTensor, Vi, Vj

sys.executable = executable

from knnbench.backends.base import Backend as Base


class Operations:
    """What metrics ask of KeOps' tensors besides operators."""

    def __getattr__(self, name):
        return getattr(LazyTensor, name)  # log, sqrt, exp ...

    def amax(self, terms, axis):
        return terms.max(axis)

    def maximum(self, a, b):
        return (a - b).ifelse(a, b)

    def minimum(self, a, b):
        return (b - a).ifelse(a, b)

    def first(self, points):
        return points[0]


MOST = 16_000_000  # points whose indices are float32: more are refused by pykeops 2.3 (torch/generic/generic_red.py)
STORED = {"float32": torch.float32, "float64": torch.float64}  # its argKmin is not written for float16


class Backend(Base):
    """KeOps on PyTorch tensors, as its authors run it.

    Parameters
    ----------
    precision : {"float32", "float64"}
    """

    packages = ("pykeops", "keopscore", "torch", "numpy")
    compiles = True
    alone = "pykeops keeps where the arguments and the result of a call are in an object that all calls share (LoadKeOps)"

    def __init__(self, metric, device, threads, precision="float32"):
        super().__init__(metric, device, threads)
        self.dtype = STORED[precision]
        torch.set_num_threads(threads)
        self.torch_device = torch.device("cuda" if device == "gpu" else "cpu")
        if device == "gpu":
            # It would compute on the CPU without a word; gpu_available stays True where this library could not be compiled.
            if not (pykeops.config.gpu_available and Path(pykeops.config.pykeops_nvrtc_name("target")).exists()):
                raise ImportError(
                    "KeOps found no CUDA: install nvidia-cuda-crt and nvidia-cuda-cccl beside PyTorch, or a toolkit at"
                    " CUDA_PATH; this cell's log has what its compiler said"
                )
            torch.zeros(1, device=self.torch_device)

    def unsupported(self, k, n, d):
        if n > MOST and self.dtype == torch.float32:
            return f"KeOps keeps indices as float32, and takes {MOST:,} points at most; the dataset has {n:,}"
        return None

    def threads_used(self):
        return int(os.environ["OMP_NUM_THREADS"])  # what its OpenMP code reads; KeOps cannot be asked

    def least_queries(self, queries):
        # A GPU has a thread for each query: one query takes as long as all of them do, until they are more than its threads.
        return queries if self.device == "gpu" else min(self.threads, queries)

    def fit(self, train):
        self.train = self.to_query_device(train)
        yield "transfer"
        d = train.shape[1]
        x, y = Vi(0, d), Vj(1, d)
        if self.metric.like in ("angular", "inner-product"):  # as the page has it: nearest direction first
            self.keys = -(x | y)
        else:
            self.keys = self.metric.keys(x, y, Operations())
        self.reductions = {}
        yield "train"
        yield "add"

    def to_query_device(self, queries):
        return torch.from_numpy(queries).to(self.torch_device, self.dtype)

    def query(self, queries, k):
        # Left to itself KeOps takes a GPU that it sees, for tensors on the host too.
        place = "GPU" if self.device == "gpu" else "CPU"
        if k not in self.reductions:  # made anew for every call, it would cost more than a single query
            self.reductions[k] = self.keys.argKmin(k, dim=1, backend=place)
        return self.reductions[k](queries, self.train)

    def synchronize(self):
        if self.device == "gpu":
            torch.cuda.synchronize()

    def to_host(self, ids):
        return ids.cpu().numpy()
