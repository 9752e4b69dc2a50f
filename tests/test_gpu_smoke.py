"""benchmarks/gpu_smoke.py, rehearsed on the CPU, and shown answers, builds and processes that are wrong."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import CONFIG, ROOT

from knnbench.problem.metrics import METRICS
from knnbench.problem.truth import exact_neighbors

LOOKED_AT = ["faiss-flat", "faiss-ivfflat-fast", "faiss-flat-float16"]


@pytest.fixture
def smoke(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import gpu_smoke

    return gpu_smoke


@pytest.fixture
def place(smoke, tmp_path):
    return smoke.make(tmp_path, METRICS["angular"], 3000, 4, 150)


def test_rehearsal(environments):
    words = "--shapes 2000x4 --queries 150 --minutes 2 --metrics euclidean manhattan --backends"
    command = ["bash", ROOT / "benchmarks/gpu_smoke.sh", *words.split(), *LOOKED_AT]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHON": sys.executable})
    assert done.returncode == 0 and done.stdout.endswith("\nNothing wrong was seen.\n"), done.stdout + done.stderr
    rows = [re.split(r" *\| *", line)[1:-1] for line in done.stdout.splitlines() if line.startswith("| faiss")]
    assert [row[:2] for row in rows] == [
        [name, f"{metric}-2000x4"] for name in LOOKED_AT for metric in ("euclidean", "manhattan")
    ]
    for name, metric, fit, one, some, all_, recall, builds, _, says in rows:
        if name == "faiss-flat-float16" and metric.startswith("manhattan"):
            assert says == "FAISS's quantizers know euclidean and inner product only" and not fit
            continue
        assert min(map(float, (fit, one, some, all_))) > 0 and float(recall) > (0.05 if "ivf" in name else 0.98)
        assert builds == ("differ" if "ivf" in name else "") and says == ""


def test_the_neighbours_that_answers_are_compared_with(smoke, place):
    metric, train, queries, ids, distances = smoke.read(place)
    at = smoke.checked(len(queries))
    known, exact = exact_neighbors(metric, np.asarray(train), np.asarray(queries[at]), smoke.K)
    assert (ids == known).all() and np.allclose(distances, exact) and {0, 99, 149} <= set(at)


def test_what_is_wrong_is_said(smoke, place):
    *_, ids, _ = smoke.read(place)
    exact, index = CONFIG["backends"]["faiss-flat"], CONFIG["backends"]["faiss-ivfflat-fast"]
    right = {"ids": ids.tolist()}
    assert smoke.faults_of(exact, place, right) == ([], 1.0)
    tail = np.where(np.arange(len(ids))[:, None] < len(ids) - 1, ids, 0)  # the last query's are not written
    (fault,), recall = smoke.faults_of(exact, place, {"ids": tail.tolist()})
    assert fault.startswith(f"recall {recall:.3f} of {len(ids)} queries, expected 0.98") and recall < 0.98
    assert smoke.faults_of(index, place, {"ids": tail.tolist(), "alike": False})[0] == []
    assert smoke.faults_of(index, place, right | {"alike": True})[0] == ["two builds with two seeds answer alike"]
    assert smoke.faults_of(exact, place, {"fault": "it crashed"}) == (["it crashed"], None)
    assert smoke.faults_of(exact, place, {"says": "no such metric"}) == ([], None)


DIES = """
import json, os, sys
for place in json.loads(sys.argv[2])[2]:
    if place == "b":
        os.kill(os.getpid(), 11)
    if place == "e":
        import time
        time.sleep(60)
    print("KeOps says something")
    print(json.dumps({"says": place}), flush=True)
    if place == "c":
        break
"""


def test_a_process_that_dies_is_gone_on_behind(smoke, tmp_path, monkeypatch):
    script = tmp_path / "dies.py"
    script.write_text(DIES)
    monkeypatch.setattr(smoke, "__file__", str(script))
    monkeypatch.setattr(smoke, "environment_of", lambda entry, device: tmp_path)
    found = dict(smoke.looks({}, "cpu", ["a", "b", "c", "d", "e", "f"], 5))
    assert found.pop("b")["fault"].startswith("its process ended with -11")
    reached = {place: {"says": place} for place in "acd"}  # one process ended after c without a fault
    assert found == reached | {place: {"says": "not reached"} for place in "ef"}
