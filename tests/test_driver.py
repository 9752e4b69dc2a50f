"""What of the GPU code can be checked with a driver that only pretends: KeOps' kernels compile, PyTorch's tensors stay on the
device, JAX's search lowers. up_to_the_driver.py has what runs in the environments of the backends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, alone

from knnbench.problem.metrics import METRICS, PAGE
from knnbench.system.environment import HEADERS, read_pins

# A CUDA driver for KeOps and NVRTC: memory is the host's, a kernel is a cubin (ELF), and a launch is counted. NVRTC 13 opens
# it, too, and asks for a table that it must not find empty.
DRIVER = r"""
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
typedef uintptr_t handle;
int launches = 0;
#define FINE(name) int name() { return 0; }
FINE(cuInit) FINE(cuCtxPushCurrent_v2) FINE(cuCtxSynchronize) FINE(cuDevicePrimaryCtxRelease_v2) FINE(cuModuleUnload)
static int is_one(handle *it) { *it = 1; return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return number ? 101 /* invalid device */ : 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device)
{ int capability = atoi(getenv("CAPABILITY"));
  *value = attribute == 1 /* threads of a block */ ? 1024 : attribute == 8 /* its shared memory */ ? 49152
         : attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 0;
  return 0; }
int cuGetErrorName(int error, const char **name) { *name = "of the stand-in"; return 0; }
int cuDevicePrimaryCtxRetain(handle *context, int device) { return is_one(context); }
int cuCtxGetCurrent(handle *context) { return is_one(context); }
int cuMemAlloc_v2(handle *memory, size_t bytes) { *memory = (handle)calloc(1, bytes + 1); return 0; }
int cuMemFree_v2(handle memory) { free((void *)memory); return 0; }
int cuMemcpyHtoD_v2(handle to, const void *from, size_t bytes) { memcpy((void *)to, from, bytes); return 0; }
int cuMemcpyDtoH_v2(void *to, handle from, size_t bytes) { memcpy(to, (void *)from, bytes); return 0; }
int cuModuleLoadDataEx(handle *module, const void *image)
{ is_one(module); return memcmp(image, "\177ELF", 4) ? 200 /* invalid image */ : 0; }
int cuModuleGetFunction(handle *function, handle module, const char *name) { return is_one(function); }
int cuLaunchKernel(handle function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned ty, unsigned tz,
                   unsigned shared)
{ launches++; return threads == 0 || threads > 1024 || shared > 49152; }
int cuGetExportTable(const void **table, void *name) { static size_t empty[8] = {8}; *table = empty; return 0; }
"""
# PyTorch for CPUs refuses a CUDA device before it looks at a tensor: a guard that does nothing lets it through.
GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
namespace c10::impl { C10_REGISTER_GUARD_IMPL(CUDA, NoOpDeviceGuardImpl<DeviceType::CUDA>) }
"""
CUDA = ("nvidia-cuda-nvrtc", "nvidia-cuda-runtime", *HEADERS)  # what KeOps needs besides the driver


def up_to_the_driver(environments, name, *arguments, check=True, **variables):
    """What up_to_the_driver.py prints in an environment."""
    command = [environments / name / "bin/python", ROOT / "tests/up_to_the_driver.py", *arguments]
    known = os.environ | {"PYTHONPATH": str(ROOT / "scripts"), "OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run(list(map(str, command)), env=known, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]) if check else done.stdout + done.stderr


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """Variables with which a process finds the stand-in for a driver."""
    folder = tmp_path_factory.mktemp("driver")
    compiler = ["gcc", "-x", "c", "-", "-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", "-o", folder / "libcuda.so.1"]
    subprocess.run(compiler, input=DRIVER, text=True, check=True)
    return {"LD_LIBRARY_PATH": str(folder), "CAPABILITY": "90"}


def wheels(spec, folder):
    """Variables with which an environment has its CUDA for KeOps, by its own pins: PyTorch for CPUs brings none of it."""
    _, pins = read_pins(ROOT / f"envs/{spec}.yaml")
    wanted = [f"{name}=={pin}" for name, pin in pins.items() if name.startswith(CUDA)]
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps", "--target", folder, *wanted]
    with alone():
        subprocess.run(list(map(str, command)), check=True)
    return {"PYTHONPATH": os.pathsep.join([str(ROOT / "scripts"), str(folder)])}


@pytest.mark.full
@pytest.mark.parametrize(
    ("spec", "cuda", "capability"),
    [("keops", "13.0", 80), ("keops", "13.0", 100), ("keops-cuda12", "12.8", 90)],
)
def test_keops_needs_nothing_but_a_driver(environments, driver, tmp_path, spec, cuda, capability):
    """36 kernels, 4 metrics x 3 dimensions x 3 K, compiled by NVRTC for a GPU and started; no toolkit is installed."""
    found = wheels(spec, tmp_path)
    launches = up_to_the_driver(environments, "keops", "keops", cuda, **driver | found | {"CAPABILITY": str(capability)})
    assert launches >= 36


@pytest.mark.full
def test_keops_says_what_it_lacks(environments, driver, tmp_path):
    """A driver, and no headers; headers, and a compiler that fails: no answer of a CPU is taken for a GPU's."""
    if list((environments / "keops").glob("lib/python3*/site-packages/nvidia")):
        pytest.skip("this PyTorch brings all of CUDA along")
    said = up_to_the_driver(environments, "keops", "keops", "13.0", check=False, **driver)
    assert "KeOps found no CUDA: install nvidia-cuda-crt" in said
    compiler = tmp_path / "g++"
    compiler.write_text('#!/bin/sh\ncase "$*" in *nvrtc*) exit 1;; esac\nexec g++ "$@"\n')
    compiler.chmod(0o700)
    found = wheels("keops", tmp_path / "wheels")
    said = up_to_the_driver(environments, "keops", "keops", "13.0", check=False, **driver | found | {"CXX": str(compiler)})
    assert "KeOps found no CUDA: " in said


@pytest.fixture(scope="module")
def guard(environments, tmp_path_factory):
    path = tmp_path_factory.mktemp("guard") / "guard.so"
    where = "import torch; print(torch.__path__[0])"
    place = Path(subprocess.check_output([environments / "torch/bin/python", "-c", where], text=True).strip())
    compiler = ["g++", "-x", "c++", "-", "-std=c++20", "-shared", "-fPIC", f"-I{place}/include", f"-L{place}/lib", "-lc10"]
    subprocess.run([*compiler, "-o", path], input=GUARD, text=True, check=True)
    return path


def test_torch_stays_on_the_device(environments, guard):
    """Each metric, each way of batching, each precision it has, in two sizes: ids of the right shape and type, on the GPU."""
    ours = sum(3 if metric.expanded else 1 for metric in METRICS.values()) * 3 * 2
    of_the_page = sum((metric.like or metric.name) in PAGE for metric in METRICS.values()) * 2 * 2
    assert up_to_the_driver(environments, "torch", "torch", guard) == [ours, of_the_page]


def test_no_call_of_torch_is_larger_than_its_kernels_count(environments, guard):
    """`cdist` counts pairs with 32 bits, whatever the batch; what fits into memory is cut below that for all kernels."""
    found = up_to_the_driver(environments, "torch", "large", guard)
    assert {name for name, (_, of_cdist) in found.items() if of_cdist} == {
        f"{metric}, {batch}" for metric in ("manhattan", "minkowski") for batch in ("all", "memory")
    }
    for name, (of_all, of_cdist) in found.items():
        assert of_cdist < 2**31 and (of_all < 2**31 or name.endswith("all")) and of_all > 10**9, name


@pytest.mark.full
@pytest.mark.parametrize(
    "mutant",
    ["queries stay on the host", "the answer is made on the host", "ids are 32 bits", "an axis is lost"],
)
def test_what_leaves_the_device_is_seen(environments, guard, mutant):
    """The check above finds faults that are put in."""
    with pytest.raises(AssertionError, match="Error"):
        up_to_the_driver(environments, "torch", "torch", guard, mutant)


# Libraries of CUDA 12 that FAISS asks for and PyTorch's wheels bring: 660 MB, none of which is run here.
OF_CUDA = {
    "libcudart.so.12": "cuda_runtime",
    **dict.fromkeys(("libcublas.so.12", "libcublasLt.so.12"), "cublas"),
    "libcurand.so.10": "curand",
}
CALLS = """
import ast, sys, faiss, faiss.contrib.torch_utils
for path in sys.argv[1:]:
    for node in ast.walk(ast.parse(open(path).read())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "faiss":
            print(node.attr, hasattr(faiss, node.attr))
"""


@pytest.mark.full
def test_every_build_of_faiss_on_a_gpu_has_a_seed_of_its_own(environments):
    """index_cpu_to_gpu copies centres and points, and not what k-means is told: with it each build would be the same."""
    assert up_to_the_driver(environments, "faiss-cpu", "faiss") == [1234, 1235]


def test_faiss_has_what_is_called(environments, tmp_path):
    """The wheel with GPU code imports, with empty libraries for CUDA's, and has every name that our backends use."""
    _, pins = read_pins(ROOT / "envs/faiss-gpu.yaml")
    place = tmp_path / "wheel"
    wanted = ["--no-deps", "--target", place, *(f"{name}=={pins[name]}" for name in ("faiss-gpu", "packaging"))]
    with alone():
        subprocess.run([sys.executable, "-m", "uv", "pip", "install", "--quiet", *wanted], check=True)
    symbols = subprocess.run(["objdump", "-T", place / "faiss/libfaiss.so"], capture_output=True, text=True, check=True).stdout
    for name, wheel in OF_CUDA.items():
        folder = place / "nvidia" / wheel / "lib"
        folder.mkdir(parents=True, exist_ok=True)
        of_it = {line.split()[-1] for line in symbols.splitlines() if "*UND*" in line and f"({name})" in line}
        (tmp_path / "versions").write_text(f"{name} {{ global: *; }};")
        source = "".join(f"int {symbol}() {{ return 0; }}\n" for symbol in of_it)
        compiler = ["gcc", "-x", "c", "-", "-shared", "-fPIC", "-w", f"-Wl,-soname,{name},--version-script={tmp_path}/versions"]
        subprocess.run([*compiler, "-o", folder / name], input=source, text=True, check=True)
    modules = [ROOT / f"scripts/knnbench/backends/{name}.py" for name in ("faiss", "faiss_knn")]
    done = subprocess.run(
        [environments / "torch/bin/python", "-c", CALLS, *modules],
        env=os.environ | {"PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(line.split() for line in done.stdout.splitlines())
    assert {"knn_gpu", "StandardGpuResources", "GpuClonerOptions", "index_cpu_to_gpu"} <= found.keys()
    assert [name for name, there in found.items() if there != "True"] == []


def test_parts_of_a_matrix_are_the_matrix(environments):
    assert set(up_to_the_driver(environments, "torch", "parts").values()) == {True}


def test_no_matrix_of_jax_is_larger_than_xla_counts(environments):
    found = up_to_the_driver(environments, "jax-cpu", "jax_large")
    assert found.keys() == {"all", "memory"} and all(10**9 < numbers < 2**31 for numbers in found.values())


def test_the_pages_jax_lowers_for_cuda(environments):
    found = up_to_the_driver(environments, "jax-cpu", "jax_page")
    assert found.keys() == METRICS.keys()
    for name, operations in found.items():
        if (METRICS[name].like or name) in PAGE:
            products = [] if name == "manhattan" else ["dot_general", "HIGHEST"]
            assert operations == [*products, "top_k"]
        else:
            assert operations == f"the KeOps page has no function for the {name} metric"


def test_jax_lowers_for_cuda(environments):
    found = up_to_the_driver(environments, "jax-cpu", "jax")
    assert found.keys() == METRICS.keys()
    for name, operations in found.items():
        products = ["dot_general", "HIGHEST"] if METRICS[name].expanded else []
        assert operations == [*products, "top_k"]
