"""benchmarks/gpu_suite.sh, rehearsed: from wheels, in an interpreter of its own, without a network and on the CPU."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest

pytestmark = pytest.mark.full

# What a machine for computations on a GPU has by itself, as far as we use it.
THERE = (
    *("torch==2.13.0", "jax", "numpy", "scipy", "pandas", "matplotlib", "pillow", "h5py", "numba", "scikit-learn"),
    *("fonttools", "threadpoolctl", "nvidia-ml-py", "pip"),
)


def test_from_wheels_to_published(bare, tmp_path):
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-n", "true"]).returncode:
        pytest.skip("no network can be taken away here")
    there = tmp_path / "there"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, there], check=True)
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", there, *THERE], check=True)
    of_tests = ("PYTEST_", "PYTHONPATH", "VIRTUAL_ENV")
    known = {name: value for name, value in os.environ.items() if not name.startswith(of_tests)}
    known |= {"PYTHON": str(there / "bin/python"), "SUITES": "float32", "TARGET_PYTHON": "{}.{}".format(*sys.version_info)}
    known["SMOKE"] = "--shapes 2000x4 --queries 150 --metrics euclidean --backends torch faiss-flat"

    def call(*arguments, network=False, minutes="60"):
        command = [*([] if network else [unshare, "-n"]), "bash", "benchmarks/gpu_suite.sh", *arguments]
        done = subprocess.run(
            command,
            cwd=bare,
            env=known | {"MINUTES": minutes},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    said = call("wheels", network=True)
    folders = sorted((bare / "wheels").iterdir())
    assert said[0] == 0 and [path.name for path in folders] == [str(number) for number in range(1, len(folders) + 1)], said[1]
    for folder in folders:
        assert sum(path.stat().st_size for path in folder.iterdir()) < 64 * 2**20
        assert call("setup", folder.name) == (0, "")
    assert call("all", "rehearsal", minutes="0") == (75, "There is more to do: call it again.\n")
    (bare / ".gpu/done").mkdir()
    (bare / ".gpu/done/selftest").touch()  # minutes, and a test of its own
    status, said = call("all", "rehearsal")
    assert status == 0 and said.endswith("published/rehearsal\n"), said[-3000:]
    assert "Nothing wrong was seen." in said and "| torch | euclidean-2000x4 |" in (bare / ".gpu/smoke.md").read_text()
    timings = pd.read_csv(bare / "published/rehearsal/timings.csv")
    found = timings[timings["device"] == "cpu"].set_index(["dataset", "backend"])["status"]
    assert set(found.drop("faiss-flat", level="backend")) == {"ok"}
    assert set(found.xs("faiss-flat", level="backend")) <= {"ok", "low_recall"}  # which float32 costs far from the origin
    assert (bare / "published/rehearsal/provenance.json").exists()
    # What is done is done: nothing is measured again.
    assert call("all", "rehearsal", minutes="0") == (0, "published/rehearsal\n")
