"""KeOps: with which flags it is compiled, and how it wants to be asked."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from knnbench.system import compiler, installing

# Ids by one of our two modules, and the libraries that its formulas became.
SEARCH = """
import json, sys, importlib, numpy as np
module = importlib.import_module(f"knnbench.backends.{sys.argv[1]}")
from knnbench.problem.metrics import METRICS
found = {}
for metric, d in (("euclidean", 10), ("euclidean", 100), ("manhattan", 10), ("hyperbolic", 10), ("angular", 10)):
    train, queries = (np.random.default_rng(n).uniform(0.5, 1.5, (n, d)).astype(np.float32) for n in (2000, 100))
    backend = module.Backend(METRICS[metric], "cpu", 1)
    list(backend.fit(train))
    found[f"{metric} {d}"] = backend.to_host(backend.query(backend.to_query_device(queries), 10)).tolist()
folder = sys.modules["pykeops"].get_build_folder()
print(json.dumps([found, folder]))
"""
# What KeOps answers without a GPU, where a stand-in has one; its code for GPUs is text until a driver compiles it.
ASK = """
import json, types
from knnbench.backends import keops
asked = {}
for device in ("cpu", "gpu"):
    backend = keops.Backend.__new__(keops.Backend)
    backend.device, backend.threads = device, 3
    asked[device] = [backend.least_queries(queries) for queries in (1, 1000)]
from keopscore.config import cuda_config
cuda_config.get_cuda_version = lambda out_type=None: 13000
from keopscore.mapreduce.MapReduce import MapReduce
from keopscore.mapreduce.gpu.GpuReduc1D import GpuReduc1D
from keopscore.mapreduce.gpu.GpuReduc2D import GpuReduc2D
written = {}
for scheme in (GpuReduc1D, GpuReduc2D):
    for reduction, by in (("ArgKMin", "direct_sum"), ("Sum", "block_sum")):
        code = scheme.__new__(scheme)
        formula = f"{reduction}_Reduction(Sum(Square((Var(0,3,0)-Var(1,3,1)))),{'10,' * (reduction == 'ArgKMin')}0)"
        MapReduce.__init__(code, formula, [], 2, "float", "float", by, 1, 1, 1, 0, 1, 0)
        code.dimy = code.varloader.dimy
        try:
            code.get_code()
            written[f"{scheme.__name__} {reduction}"] = "__global__" in code.code
        except AttributeError as error:
            written[f"{scheme.__name__} {reduction}"] = str(error)
print(json.dumps([asked, written]))
"""


def inside(environments, code, *arguments, **variables):
    """What a program in KeOps' environment prints last, from JSON."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("CXX")}
    known |= {"PYTHONPATH": str(ROOT / "scripts"), "OMP_NUM_THREADS": "1"} | variables
    command = [environments / "keops/bin/python", "-c", code, *arguments]
    done = subprocess.run(command, env=known, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def instructions(folder):
    """Those of all libraries in a folder, as objdump writes them."""
    libraries = sorted(Path(folder).glob("pykeops_cpp_*.so"))
    assert libraries
    return "".join(subprocess.check_output(["objdump", "-d", path], text=True) for path in libraries)


@pytest.mark.full
def test_native_finds_the_same_with_newer_instructions(environments, tmp_path):
    """The same ids, by wide registers and fused sums where the CPU has them; by default KeOps' code has neither."""
    (tmp_path / "tmp").mkdir()
    found, wide = {}, {}
    for module in ("keops", "keops_native"):
        found[module], folder = inside(environments, SEARCH, module, TMPDIR=str(tmp_path / "tmp"))
        wide[module] = bool(re.search(r"%ymm|\bvfn?m(add|sub)", instructions(folder)))
    assert found["keops"] == found["keops_native"] and len(found["keops"]) == 5
    if not re.search(r"^flags.* avx2 .*", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE):
        pytest.skip("this CPU has nothing that is newer than the compiler's default")
    assert wide == {"keops": False, "keops_native": True}


def test_native_wants_a_process_of_its_own(environments):
    """Flags are read once: who came too late would time the code of the default."""
    late = "import json\nfrom knnbench.backends import keops\ntry:\n    from knnbench.backends import keops_native\n"
    words = inside(environments, late + "except ImportError as error:\n    print(json.dumps(str(error)))")
    assert words == "KeOps was imported before with other flags; this backend wants a process of its own"


def test_flags_of_the_user_come_along(environments):
    code = "import json, knnbench.backends.keops_native\nfrom keopscore.config import config\n"
    code += "print(json.dumps(config.get_cpp_flags()))"
    assert inside(environments, code, CXXFLAGS="-DMINE=1").split()[:3] == ["-DMINE=1", "-march=native", "-shared"]


@pytest.mark.parametrize("flags", ["-march=of-no-cpu", "--no-such-flag", "-DX='"])
def test_flags_that_the_compiler_does_not_take(monkeypatch, flags):
    monkeypatch.setattr(compiler, "COMPILER", ["g++"])
    monkeypatch.setenv("CXXFLAGS", flags)
    said = compiler.refused()
    assert said.startswith(f"needs other CXXFLAGS: the compiler does not take {flags!r}: ") and len(said.splitlines()) == 1


@pytest.mark.parametrize("flags", ["", "-march=native -DX='a b'"])
def test_flags_that_the_compiler_takes(monkeypatch, flags):
    monkeypatch.setattr(compiler, "COMPILER", ["env", "g++"])
    monkeypatch.setenv("CXXFLAGS", flags)
    assert compiler.refused() is None


def test_environments_are_made_without_them(monkeypatch):
    """What is compiled for an environment is used on other days, too."""
    monkeypatch.setenv("CXXFLAGS", "-ffast-math")
    monkeypatch.setenv("CXX", "g++-12")
    monkeypatch.setattr(installing.subprocess, "run", lambda command, env, **options: env)
    known = installing.uv("pip", "freeze")
    assert "CXXFLAGS" not in known and known["CXX"] == "g++-12"


def test_how_it_is_asked(environments):
    """On a GPU, where a query is one thread, all queries; on a CPU as many as threads share evenly.

    KeOps' other scheme for GPUs, which shares out the points too, writes no code for argKmin. When a version does, few queries
    should be asked by it.
    """
    asked, written = inside(environments, ASK)
    assert asked == {"cpu": [1, 3], "gpu": [1, 1000]}
    refused = written.pop("GpuReduc2D ArgKMin")
    assert refused is not True and "tmp_acc" in refused
    assert set(written.values()) == {True} and len(written) == 3
