"""A cell always leaves its record, whatever happens to its worker, and keeps what was measured until then."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from knnbench import machine
from knnbench.datasets import write_dataset
from knnbench.isolation import merge
from knnbench.metrics import METRICS
from knnbench.record import STATUSES, classify, write_atomically
from knnbench.truth import exact_neighbors

TIMING = {
    "min_repeats": 3,
    "max_repeats": 5,
    "budget_s": 0.1,
    "rel_ci": 0.05,
    "max_fit_s": 2,
    "max_query_s": 2,
    "min_recall": 0.75,
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A copy of the scripts with the hostile backend among the others, and a dataset."""
    folder = tmp_path_factory.mktemp("bench")
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests/hostile.py", folder / "scripts/knnbench/backends/hostile.py")
    generator = np.random.default_rng(0)
    train, test = generator.random((200, 3), np.float32), generator.random((10, 3), np.float32)
    write_dataset(folder / "data.hdf5", METRICS["euclidean"], train, test, *exact_neighbors(METRICS["euclidean"], train, test))
    (folder / "env.yaml").write_text("dependencies:\n  - python >=3.11\n  - pip\n  - pip:\n      - numpy==0.0.1\n")
    return folder


def command(bench, what, when="query", timing=TIMING, *extra, module="hostile", memory_gb=2, k=5, device="cpu"):
    return [
        sys.executable,
        str(bench / "scripts/measure_cell.py"),
        *("--data", str(bench / "data.hdf5"), "--device", device, "--n-neighbors", str(k), "--spec", str(bench / "env.yaml")),
        *("--module", module, "--parameters", json.dumps({"what": what, "when": when})),
        *("--timing", json.dumps(timing), "--threads", "0", "--memory-gb", str(memory_gb)),
        *("--out", str(bench / "record.json"), *(extra or ["--unpinned"])),
    ]


def run(bench, *arguments, **options):
    """Measure a cell and return its record; the exit status is 0 whatever happened."""
    (bench / "record.json").unlink(missing_ok=True)
    done = subprocess.run(command(bench, *arguments, **options), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert sorted(each.name for each in bench.iterdir()) == ["data.hdf5", "env.yaml", "record.json", "scripts"]
    return json.loads((bench / "record.json").read_text())


def test_ok(bench):
    record = run(bench, "")
    assert (record["status"], record["reason"], record["recall"], record["recall_ids"]) == ("ok", "", 1.0, 1.0)
    assert 3 <= len(record["query_ns"]["host"]) <= 5 and min(record["query_ns"]["host"]) > 0
    assert set(record["phases_ns"]) == {"import", "load", "train", "first_query"}
    assert record["dataset"]["n"] == 200 and record["versions"] == {"numpy": np.__version__}
    assert record["threads"] == record["threads_asked"] == len(os.sched_getaffinity(0))
    assert record["memory_bytes"]["loaded"] <= record["max_rss_bytes"]


@pytest.mark.parametrize(
    ("what", "status", "words"),
    [
        ("segfault", "crashed", "SIGSEGV"),
        ("abort", "crashed", "SIGABRT"),
        ("kill", "crashed", "SIGKILL"),
        ("exit", "failed", "exit code 3"),
        ("fork", "failed", "exit code 4"),
        ("sys.exit", "failed", "SystemExit"),
        ("exception", "failed", "ValueError: not today"),
        ("aborting allocator", "oom_host", "memory was refused"),
        ("memory", "oom_host", "Unable to allocate"),
        ("torch memory", "oom_host", "can't allocate memory"),
    ],
)
@pytest.mark.parametrize("when", ["fit", "query"])
def test_deaths(bench, what, status, words, when):
    record = run(bench, what, when)
    assert record["status"] == status and words in record["reason"]
    assert record["stage"] == {"fit": "fit", "query": "first_query"}[when]
    assert record["phases_ns"]["load"] > 0 and ("train" in record["phases_ns"]) == (when == "query")


@pytest.mark.parametrize("what", ["sleep in C", "ignore signals"])
@pytest.mark.parametrize(("when", "status"), [("fit", "timeout_fit"), ("query", "timeout_query")])
def test_time_limits_end_what_cannot_be_interrupted(bench, what, when, status):
    start = time.monotonic()
    record = run(bench, what, when, {**TIMING, "max_fit_s": 0.7, "max_query_s": 0.7})
    assert record["status"] == status and time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("what", "status", "words"),
    [
        ("pad", "low_recall", "recall 0.200"),
        ("repeat", "low_recall", "recall 0.200"),
        ("shape", "failed", "the answer has shape"),
        ("fewer", "failed", "the answer has shape (10, 4)"),
        ("unsupported", "unsupported", "only on Sundays"),
        ("threads", "failed", "threads"),
        ("print", "ok", ""),
    ],
)
def test_wrong_answers(bench, what, status, words):
    record = run(bench, what)
    assert record["status"] == status and words in record["reason"]
    assert record.get("recall") == (0.2 if status == "low_recall" else 1.0 if status == "ok" else None)


def test_k_beyond_the_points(bench):
    record = run(bench, "", k=150)
    assert record["status"] == "unsupported" and "K = 150" in record["reason"]


def test_missing_library(bench):
    (bench / "scripts/knnbench/backends/absent.py").write_text("import no_such_library\n")
    record = run(bench, "", module="absent")
    assert record["status"] == "unavailable" and "No module named 'no_such_library'" in record["reason"]


def test_no_gpu(bench):
    record = run(bench, "", device="gpu")
    if "gpu" in record["machine"]:
        pytest.skip("there is one")
    assert record["status"] == "unavailable" and "no NVIDIA GPU" in record["reason"]


@pytest.mark.parametrize(
    ("text", "device", "status"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 GiB", "gpu", "oom_device"),
        ("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", "gpu", "oom_device"),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 40000400016 bytes", "gpu", "oom_device"),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 40000400016 bytes", "cpu", "oom_host"),
        ("StandardGpuResources: alloc fail type TemporaryMemoryBuffer dev 0", "gpu", "oom_device"),
        ("std::bad_alloc", "gpu", "oom_host"),
        ("an illegal memory access was encountered", "gpu", "failed"),
    ],
)
def test_out_of_memory_in_many_words(text, device, status):
    assert classify(RuntimeError(text), device) == status


def test_wrong_environment(bench, tmp_path):
    record = run(bench, "", "query", TIMING, "--unpinned", "--prefix", str(tmp_path))
    assert record["status"] == "failed" and "meant for" in record["reason"]
    record = run(bench, "", "query", TIMING, "--prefix", sys.prefix)
    assert record["status"] == "failed" and "numpy" in record["reason"] and "pinned 0.0.1" in record["reason"]


def children(pid):
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("victim", ["worker", "supervisor", "supervisor, politely"])
def test_kill_from_outside(bench, victim):
    """Killing the worker gives its record; killing the supervisor leaves no record and no worker."""
    (bench / "record.json").unlink(missing_ok=True)
    process = subprocess.Popen(command(bench, "ignore signals", "fit", {**TIMING, "max_fit_s": 50}), stdout=subprocess.DEVNULL)
    while not children(process.pid):
        time.sleep(0.05)
    time.sleep(1)
    worker = children(process.pid)[0]
    if victim == "worker":
        os.kill(worker, signal.SIGKILL)
    else:
        process.send_signal(signal.SIGKILL if victim == "supervisor" else signal.SIGTERM)
    process.wait(timeout=20)
    if victim == "worker":
        assert json.loads((bench / "record.json").read_text())["status"] == "crashed"
    else:
        assert not (bench / "record.json").exists()
    for _ in range(100):
        if machine.read_field(f"/proc/{worker}/status", "State") in (None, "Z (zombie)"):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the worker lives on")


def test_cells_do_not_overlap(bench):
    """Two cells started at once take turns, whoever started them."""
    outs = [bench / "first.json", bench / "second.json"]
    processes = []
    for out in outs:
        words = command(bench, "ignore signals", "fit", {**TIMING, "max_fit_s": 1})
        words[words.index("--out") + 1] = str(out)
        processes.append(subprocess.Popen(words, stdout=subprocess.DEVNULL))
    start = time.monotonic()
    for process in processes:
        process.wait(timeout=30)
    assert time.monotonic() - start > 2
    for out in outs:
        assert json.loads(out.read_text())["status"] == "timeout_fit"
        out.unlink()


def test_record_is_whole_or_absent(tmp_path):
    path = tmp_path / "record.json"
    write_atomically(path, "old")
    with pytest.raises(TypeError):
        write_atomically(path, None)
    assert path.read_text() == "old" and [each.name for each in tmp_path.iterdir()] == ["record.json"]


def test_merge():
    into = {"a": 1, "d": {"x": [1]}}
    merge(into, {"a": 2, "d": {"x": [2], "y": 3}})
    assert into == {"a": 2, "d": {"x": [1, 2], "y": 3}}


def test_statuses_are_documented():
    text = (ROOT / "docs/results.md").read_text()
    assert all(f"`{status}`" in text for status in STATUSES)
