"""Pins: one source of truth, complete, without hosts, and what is installed is what is pinned."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import yaml
from conftest import CONFIG, ROOT
from conftest import ENVIRONMENTS as INSTALLED

from knnbench.problem.datasets import write_neighbors, write_points
from knnbench.problem.metrics import METRICS
from knnbench.problem.points import in_blocks
from knnbench.problem.truth import exact_neighbors
from knnbench.system.environment import is_optional, mismatches, read_hashes, read_pins

ENVIRONMENTS = sorted({path.stem for path in (ROOT / "envs").glob("*.yaml")})
GPU_ENVIRONMENTS = {entry["environments"]["gpu"] for entry in CONFIG["backends"].values() if "gpu" in entry["environments"]}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_have_hashes_and_no_host(name):
    text = (ROOT / name).read_text()
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text)
    assert len(blocks) > 50
    assert all("==" in block and "--hash=sha256:" in block for block in blocks)
    assert "http" not in text and "/" not in re.sub(r"#.*", "", text)


def test_pipeline_environment_pins_what_requirements_pin():
    pinned = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE))
    _, pins = read_pins(ROOT / "envs/pipeline.yaml")
    assert pins.items() <= pinned.items() and {"snakemake", "numba", "h5py"} <= set(pins)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environment_files(name):
    path = ROOT / f"envs/{name}.yaml"
    python, pins = read_pins(path)
    hashes = read_hashes(path)
    assert hashes.keys() == pins.keys() and all(hashes.values())
    # Conda hands each entry of the list to pip as one line.
    entries = yaml.safe_load(path.read_text())["dependencies"][-1]["pip"]
    assert entries == [" ".join([f"{name}=={version}", *hashes[name]]) for name, version in pins.items()]
    assert python == ">=3.11,<3.15" and {"numpy", "h5py"} <= set(pins)


@pytest.mark.parametrize("change", ["another hash", "no hash"])
def test_a_file_with_another_hash_is_not_installed(tmp_path, change):
    text = (ROOT / "envs/faiss-cpu.yaml").read_text()
    before, pin, hashes = text.partition("      - packaging==")
    version, _, _ = hashes.partition("\n")
    wrong = f"        --hash=sha256:{'0' * 64}\n" if change == "another hash" else ""
    (tmp_path / "env.yaml").write_text(f"{before.split('      - ')[0]}{pin}{version}\n{wrong}")
    command = [
        sys.executable,
        ROOT / "scripts/make_environment.py",
        "--spec",
        tmp_path / "env.yaml",
        "--prefix",
        tmp_path / "env",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"UV_NO_CACHE": "1"})
    assert done.returncode and not (tmp_path / "env/freeze.txt").exists()
    assert ("hash mismatch" in done.stderr.lower()) if wrong else "packaging without --hash" in done.stderr


def test_one_version_of_what_all_share():
    pins = [read_pins(ROOT / f"envs/{name}.yaml")[1] for name in ENVIRONMENTS]
    for package in ("numpy", "h5py"):
        assert len({each.get(package) for each in pins} - {None}) == 1
    for cuda12 in (False, True):  # PyTorch has one version with each CUDA
        torch = [each["torch"] for each in pins if "torch" in each and ("nvidia-cublas-cu12" in each) == cuda12]
        assert len(torch) >= 2 and len(set(torch)) == 1


def test_older_drivers_have_environments():
    """Of every GPU environment that has newer CUDA than 12."""
    pins = {name: read_pins(ROOT / f"envs/{name}.yaml")[1] for name in GPU_ENVIRONMENTS}
    newer = {name for name, of in pins.items() if not any(each.endswith("-cu12") and "cutlass" not in each for each in of)}
    assert newer == {"torch", "keops", "jax-gpu", "cuvs", "flashlib"} and {f"{name}-cuda12" for name in newer} <= set(
        ENVIRONMENTS
    )


@pytest.mark.parametrize("name", sorted(set(INSTALLED.values())))
def test_installed_is_pinned(environments, name):
    _, pins = read_pins(ROOT / f"envs/{name}.yaml")
    installed = dict(line.split("+")[0].split("==") for line in (environments / name / "freeze.txt").read_text().split())
    assert installed.items() <= pins.items()
    assert all(is_optional(each, pins) for each in set(pins) - set(installed))


def test_a_package_that_only_conda_has(tmp_path):
    path = tmp_path / "env.yaml"
    path.write_text("dependencies:\n  - python >=3.11\n  - cuda-nvcc\n  - pip\n  - pip:\n      - numpy==2.4.6\n")
    with pytest.raises(ValueError, match="env.yaml: only conda can install 'cuda-nvcc'"):
        read_pins(path)


def test_mismatches():
    assert mismatches({}) == []
    assert mismatches({"numpy": "0.1", "no-such": "1"})[1:] == ["no-such missing (pinned 1)"]
    # A CPU build of PyTorch comes without the CUDA libraries; JAX's plugins never do.
    assert mismatches({"nvidia-no-such": "1"}) == ["nvidia-no-such missing (pinned 1)"]
    assert mismatches({"nvidia-no-such": "1", "torch": "2"}) == ["torch missing (pinned 2)"]


@pytest.mark.full
def test_what_cannot_be_compiled_makes_its_own_cells_unavailable(tmp_path):
    """A library without a wheel, where the compiler fails: the environment is there, and says why its cells are not."""
    prefix = tmp_path / "hnswlib"
    command = [sys.executable, ROOT / "scripts/make_environment.py", "--spec", ROOT / "envs/hnswlib.yaml", "--prefix", prefix]
    broken = os.environ | {"UV_CACHE_DIR": str(tmp_path / "cache"), "CC": "false", "CXX": "/no/compiler"}
    done = subprocess.run(command, capture_output=True, text=True, env=broken)
    assert done.returncode == 0, done.stderr
    assert "numpy==" in (prefix / "freeze.txt").read_text() and "hnswlib" not in (prefix / "freeze.txt").read_text()
    said = (prefix / "lacking.txt").read_text()
    assert said.startswith("hnswlib==") and "needs a C++ compiler" in said and said.endswith(f"then delete {prefix}")
    generator = np.random.default_rng(0)
    points = [generator.random((number, 3), np.float32) for number in (50, 5)]
    write_points(tmp_path / "data.hdf5", METRICS["euclidean"], *map(in_blocks, points))
    write_neighbors(tmp_path / "data.hdf5", *exact_neighbors(METRICS["euclidean"], *points))
    command = [prefix / "bin/python", ROOT / "scripts/measure_cell.py", "--data", tmp_path / "data.hdf5", "--device", "cpu"]
    command += ["--module", "hnswlib", "--index", tmp_path / "index", "--threads", "0", "--memory-gb", "0", "--max-fit-s", "9"]
    subprocess.run([*command, "--spec", ROOT / "envs/hnswlib.yaml", "--prefix", prefix], check=True, capture_output=True)
    record = json.loads((tmp_path / "index/fit.json").read_text())
    assert (record["status"], record["reason"]) == ("unavailable", said)
