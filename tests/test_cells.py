"""A cell always leaves its record, whatever happens to its worker, and keeps what was measured until then."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, wait_until
from hostile import PERFECT

from knnbench.backends.base import Backend as Base
from knnbench.measure import ceilings, supervisor
from knnbench.measure.clock import Timing
from knnbench.measure.queries import choose_queries, measure_batches
from knnbench.measure.statuses import STATUSES, classify
from knnbench.problem.datasets import write_neighbors, write_points
from knnbench.problem.metrics import METRICS
from knnbench.problem.own_rows import without_own
from knnbench.problem.points import in_blocks
from knnbench.problem.truth import exact_neighbors
from knnbench.results.calls import at_point, same_way, times
from knnbench.system import machine
from knnbench.system.files import write_atomically
from knnbench.system.isolation import Outcome, merge

TIMING = {
    "min_sample_s": 0.001,
    "min_repeats": 3,
    "max_repeats": 5,
    "budget_s": 0.1,
    "rel_ci": 0.05,
    "pass_s": 2,
    "max_query_s": 60,
    "min_recall": 0.75,
    "batch_sizes": [3, 11],
    "batch_calls": 4,
    "batch_budget_s": 60,
    "seed": 0,
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A copy of the scripts with the hostile backend among the others, and a dataset."""
    folder = tmp_path_factory.mktemp("bench")
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests/hostile.py", folder / "scripts/knnbench/backends/hostile.py")
    generator = np.random.default_rng(0)
    train, test = generator.random((200, 3), np.float32), generator.random((10, 3), np.float32)
    write_points(folder / "data.hdf5", METRICS["euclidean"], in_blocks(train), in_blocks(test))
    write_neighbors(folder / "data.hdf5", *exact_neighbors(METRICS["euclidean"], train, test))
    (folder / "env.yaml").write_text("dependencies:\n  - python >=3.11\n  - pip\n  - pip:\n      - numpy==0.0.1\n")
    return folder


def command(bench, what, when="query", timing=TIMING, *extra, module="hostile", memory_gb=2, k=5, device="cpu", max_fit_s=60):
    return [
        sys.executable,
        str(bench / "scripts/measure_cell.py"),
        *("--data", str(bench / "data.hdf5"), "--device", device, "--spec", str(bench / "env.yaml")),
        *("--module", module),
        *("--parameters", json.dumps({"what": what, **({"seconds": when} if module == "selftest" else {"when": when})})),
        *("--threads", "0", "--memory-gb", str(memory_gb), "--max-fit-s", str(max_fit_s), *(extra or ["--unpinned"])),
        *(("--n-neighbors", str(k), "--timing", json.dumps(timing), "--out", str(bench / "record.json")) if k else ()),
    ]


def run(bench, *arguments, others=(), **options):
    """Measure a cell beside `others` and return its record; the exit status is 0 whatever happened."""
    (bench / "record.json").unlink(missing_ok=True)
    done = subprocess.run(command(bench, *arguments, **options), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads((bench / "record.json").read_text())
    answer = ["record.npz"] if "graded" in record else []
    assert sorted(each.name for each in bench.iterdir()) == sorted(
        ["data.hdf5", "env.yaml", "record.json", *answer, "scripts", *others]
    )
    return record


def test_ok(bench):
    record = run(bench, "")
    assert (record["status"], record["reason"], record["recall"], record["recall_ids"]) == ("ok", "", 1.0, 1.0)
    assert 3 <= len(record["query_ns"]["host"]) <= 5 and min(record["query_ns"]["host"]) > 0
    assert set(record["phases_ns"]) == {"import", "load", "transfer", "train", "add", "first_query"}
    assert all(ns > 0 for ns in record["phases_ns"].values())
    assert list(record["stages_s"])[:7] == ["import", "load", "fit", "first_query", "query", "score", "batches"]
    assert record["phases_ns"]["first_query"] / 1e9 <= record["stages_s"]["first_query"]
    assert sum(record["stages_s"].values()) < record["cell_s"]
    assert record["dataset"]["n"] == 200 and record["versions"] == {"numpy": np.__version__}
    assert record["threads"] == record["threads_asked"] == len(os.sched_getaffinity(0))
    assert record["memory_bytes"]["loaded"] <= record["max_rss_bytes"]
    assert set(record["memory_bytes"]) == {"loaded", "fit", "query"}
    assert record["noise"]["seconds"] > 0 and record["noise"]["others_cpus"] >= 0
    assert record["pace_ns"]["before"] > 0 and record["pace_ns"]["after"] > 0
    assert len(record["machine"]["load"]) == 2 and record["machine"]["attempts"] == 1
    assert (record["wrong_neighbors"], record["distance_error"]) == (0, 0.0)


def test_calls_with_few_queries(bench):
    """Each query is in one call of a size at most; a size that there are not enough queries for is not measured."""
    record = run(bench, "")
    assert {size: len(calls) for size, calls in record["batch_ns"]["host"].items()} == {"1": 4, "3": 3}
    assert set(record["first_batch_ns"]["host"]) == {"1", "3"}


@pytest.mark.parametrize(("asked", "sizes"), [(100, [1, 10]), (900, [1, 10, 200])])
def test_calls_ask_what_was_not_just_asked(monkeypatch, asked, sizes):
    """No query twice in a size, none of the passes and none of the size before, as long as there are others."""

    class Backend(Base):
        def query(self, queries, k):
            return queries

    calls, total = [], 1000
    monkeypatch.setattr("knnbench.measure.queries.elapsed_ns", lambda work, _: (1, calls.append(work())))
    monkeypatch.setattr(
        "knnbench.measure.queries.each_ns", lambda works, *_: [len(work()) for work in works if not calls.append(work())]
    )
    timing = Timing(**TIMING | {"batch_sizes": [10, 200], "batch_calls": 40})
    first = {"queries_timed": asked}
    task = SimpleNamespace(timing=timing, n_neighbors=5, device="cpu", max_fit_s=60, few=[], first=first, threads=1)
    backend = Backend(METRICS["euclidean"], "cpu", 1)
    reporter = SimpleNamespace(enter=lambda *_: None, add=lambda **_: None, allow=lambda _: None)
    rows = choose_queries(task, backend, np.arange(total), reporter)
    calls.clear()
    measure_batches(task, backend, np.arange(total), len(rows), reporter)
    before = set(rows)
    for size in sizes:
        _, *works = [each for each in calls if len(each) == size]
        found = np.concatenate(works)
        assert len(works) == min(40, total // size) and len(set(found)) == len(found)
        others = total - len(before)
        assert not before & set(found[:others])
        before = set(rows) | set(found) if size == 1 else set(found)


@pytest.mark.parametrize("what", ["segfault", "sleep in C", "exception", "memory"])
def test_what_fails_after_the_passes_takes_nothing_away(bench, what):
    # The limit is that of the whole passes too, which take no time.
    record = run(bench, what, "single query", {**TIMING, "max_query_s": 5}, max_fit_s=5)
    assert (record["status"], record["recall"]) == ("ok", 1.0) and len(record["query_ns"]["host"]) >= 3
    assert "in batches, whose columns are incomplete" in record["reason"] and "batch_ns" not in record


def test_a_worker_that_was_killed_after_the_passes_runs_again(bench):
    """What the second one has in full is kept, however quiet the machine was beside the first."""
    (bench / "scripts/knnbench/backends/hostile.sleeper").unlink(missing_ok=True)
    record = run(bench, "kill once", "single query")
    assert (record["status"], record["reason"], record["machine"]["attempts"]) == ("ok", "", 2)
    assert set(record["batch_ns"]["host"]) == {"1", "3"}


def test_peak_memory_of_a_life(bench):
    """The peaks of the phases do not hide each other: 256 MiB in the fit, given back before the queries."""
    record = run(bench, "hoard", "fit")
    assert 0.9 * 2**28 < record["memory_bytes"]["fit"] < 2**29 and record["memory_bytes"]["query"] < 2**27
    assert record["max_rss_bytes"] >= record["memory_bytes"]["loaded"] + record["memory_bytes"]["fit"]


def points(bench, searches, *options, timing=TIMING, **more):
    """The points of a cell, in their order, and the cell's record."""
    answers = [f"record.point{number}.npz" for number in range(len(searches))]
    words = command(bench, "", "query", timing, "--unpinned", "--search", json.dumps(searches), *options, **more)
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads((bench / "record.json").read_text())
    for number, answer in enumerate(answers):
        graded = "graded" in record["points"].get(str(number), {})
        assert (bench / answer).exists() == graded
        (bench / answer).unlink(missing_ok=True)
    return [record["points"][str(number)] for number in range(len(searches))], record


def test_points_of_a_cell(bench):
    """Each has its own numbers; the fit is of all."""
    found, record = points(bench, [{"what": ""}, {"what": "fewer"}, {"what": "", "when": "x"}])
    assert [point["status"] for point in found] == ["ok", "failed", "ok"] and record["status"] == "failed"
    assert all(len(found[number]["query_ns"]["host"]) >= 3 and found[number]["recall"] == 1 for number in (0, 2))
    assert set(record["phases_ns"]) == {"import", "load", "transfer", "train", "add"} and "query_ns" not in record
    assert set(found[0]["phases_ns"]) == {"first_query"} and set(found[0]["memory_bytes"]) == {"query"}
    assert {"fit", "set_search", "query"} < set(record["stages_s"]) and "stages_s" not in found[0]  # of all points together
    assert (at_point(record, 0)["recall"], at_point(record, 0)["phases_ns"]["add"]) == (1, record["phases_ns"]["add"])


EFFORTS = [{"effort": PERFECT + number} for number in range(6)]


def test_points_of_later_rounds_are_measured_in_orders_of_their_own(bench, tmp_path):
    (tmp_path / "first.json").write_text(json.dumps(points(bench, EFFORTS)[1]))
    later = ("--asked", str(tmp_path / "first.json"))
    orders = [tuple(points(bench, EFFORTS, *later, "--build", str(number))[1]["points"]) for number in range(1, 4)]
    assert len(set(orders)) == 3 and {tuple(sorted(order)) for order in orders} == {tuple("012345")}
    assert tuple(points(bench, EFFORTS)[1]["points"]) == tuple("012345")  # in which a curve finds its end


def test_points_that_there_is_no_need_to_measure(bench, tmp_path):
    """Of several that are one search, since K is larger, the last is measured, and none that looks at more than is enough; a
    later round measures those of the first, though its own recall would not have ended there."""
    searches = [{"effort": effort} for effort in (1, 2, 4, 8, PERFECT, 100, 200)]
    enough = TIMING | {"enough_recall": 0.995}
    found, record = points(bench, searches, timing=enough)
    assert record["status"] == "ok" and [point["searched"]["effort"] for point in found] == [5, 5, 5, 8, PERFECT, 100, 200]
    ends = ["not_needed", "not_needed", "low_recall", "low_recall", "ok", "not_needed", "not_needed"]
    assert [point["status"] for point in found] == ends
    assert found[0]["reason"] == "the same search as effort=4: K = 5 takes the place of smaller numbers"
    assert found[6]["reason"] == f"a curve ends at recall 0.995, and effort={PERFECT} has 1.0000" and "recall" not in found[6]
    (tmp_path / "first.json").write_text(json.dumps(record))
    later, _ = points(bench, searches, "--asked", str(tmp_path / "first.json"), "--build", "1", timing=TIMING)
    assert [(point["status"], point["reason"]) for point in later] == [(point["status"], point["reason"]) for point in found]
    every, _ = points(bench, searches)
    assert [point["status"] for point in every][2:] == ["low_recall"] * 2 + ["ok"] * 3


def test_a_curve_of_two_parameters_ends_where_both_are_more(bench):
    pairs = itertools.product((1, PERFECT, 100), ("", "fewer at once"))
    searches = [{"effort": effort, "what": what} for effort, what in pairs]
    found, _ = points(bench, searches, timing=TIMING | {"enough_recall": 0.995, "min_recall": 0})
    assert [point["status"] for point in found] == ["ok", "ok", "ok", *["not_needed"] * 3]


@pytest.mark.parametrize(
    ("what", "stage"),
    [*itertools.product(["kill", "exception"], ["set", "query", "single query"]), ("sleep in C", "query")],
)
def test_who_dies_in_one_point_of_six_loses_that_one_alone(bench, what, stage):
    """A worker that is killed or hangs is started again for the points that are left; what a point had before is kept."""
    timing = {**TIMING, "max_query_s": 3}
    searches = [*EFFORTS[:2], {"what": what, "when": stage}, *EFFORTS[3:]]
    found, record = points(bench, searches, timing=timing, max_fit_s=3)
    third = found.pop(2)
    assert [(point["status"], point["recall"]) for point in found] == [("ok", 1.0)] * 5
    assert all(set(point["batch_ns"]["host"]) == {"1", "3"} for point in found)
    status = {"kill": "crashed", "exception": "failed", "sleep in C": "timeout_query"}[what]
    if stage == "single query":  # the passes were over
        assert (third["status"], third["recall"]) == ("ok", 1.0) and "whose columns are incomplete" in third["reason"]
    else:
        assert third["status"] == status and record["status"] == status and third["reason"]


def test_all_points_end_as_their_index_did(bench):
    """A fit that fails has no points; all of them say why."""
    words = command(bench, "exception", "fit", TIMING, "--unpinned", "--search", json.dumps([{}, {}]))
    subprocess.run(words, check=True, capture_output=True)
    record = json.loads((bench / "record.json").read_text())
    assert [(at_point(record, number)["status"], at_point(record, number)["reason"]) for number in (0, 1)] == [
        ("failed", "ValueError: not today")
    ] * 2


GRAPH = """
import numpy as np

from knnbench.backends.base import Backend as Base
from knnbench.problem.own_rows import without_own


class Backend(Base):
    packages = ("numpy",)
    graphs = True

    def __init__(self, metric, device, threads, **ignored):
        super().__init__(metric, device, threads)

    def fit(self, train):
        self.train = train
        yield from ("transfer", "train", "add")

    def query(self, queries, k):
        distances = ((self.train[:, None] - self.train) ** 2).sum(axis=2)
        return without_own(np.argsort(distances, axis=1)[queries, : k + 1], queries)
"""


def test_who_makes_a_graph_is_asked_for_all_of_it(bench, tmp_path):
    """However few of its rows are graded: its time is that of all points."""
    (bench / "scripts/knnbench/backends/whole.py").write_text(GRAPH)
    points = np.random.default_rng(0).random((200, 3), np.float32)
    own, metric = np.arange(0, 200, 4), METRICS["euclidean"]
    write_points(tmp_path / "self.hdf5", metric, in_blocks(points), None, own=own)
    found = exact_neighbors(metric, points, points[own], 11)
    write_neighbors(tmp_path / "self.hdf5", *without_own(found[0], own, found[1]))
    record = run(bench, "", "query", TIMING, "--unpinned", "--data", str(tmp_path / "self.hdf5"), module="whole")
    assert (record["status"], record["recall"], record["dataset"]["queries"], record["queries_timed"]) == ("ok", 1.0, 50, 200)
    assert "batch_ns" not in record  # it answers no queries
    of_sample = [seconds for rounds in times([record], "host") for seconds in rounds]
    assert of_sample == pytest.approx([ns / 1e9 / 4 for ns in record["query_ns"]["host"]])
    record = run(bench, "", module="whole")
    assert record["status"] == "unsupported" and "self: true" in record["reason"]


@pytest.fixture(scope="module")
def many(bench, tmp_path_factory):
    """Words for a dataset with 1,000 queries, of which a backend that is slow if they are few wants 500 at once."""
    path = tmp_path_factory.mktemp("many") / "data.hdf5"
    generator, metric = np.random.default_rng(0), METRICS["euclidean"]
    train, test = generator.random((200, 3), np.float32), generator.random((1000, 3), np.float32)
    write_points(path, metric, in_blocks(train), in_blocks(test))
    write_neighbors(path, *exact_neighbors(metric, train, test))
    return ("--data", str(path), "--unpinned")


MANY = {**TIMING, "pass_s": 0.5, "min_recall": 0, "batch_sizes": []}


def test_rounds_ask_in_one_way(bench, many, tmp_path):
    """Who cannot answer many in time has a number of few, in every round; alone, a later round might have asked many."""
    hasty, patient = MANY | {"max_query_s": 1.5}, MANY | {"max_query_s": 60}  # 500 queries take 2 s
    first = run(bench, "slow few", 0.004, hasty, *many, module="selftest")
    assert (first["status"], first["tried"], first["least_queries"]) == ("ok", 500, 500)
    assert 20 <= first["queries_timed"] < 500 and "query_ns" in first
    (tmp_path / "first.json").write_text(json.dumps(first))
    other = run(bench, "slow few", 0.004, patient, *many, module="selftest")
    assert (other["status"], other["tried"], other["queries_timed"]) == ("ok", 1000, 1000)  # of which 500 are half
    later = run(bench, "slow few", 0.004, patient, *many, "--asked", str(tmp_path / "first.json"), module="selftest")
    assert later["queries_timed"] == first["queries_timed"] and "tried" not in later
    assert same_way([first, later]) == [first, later] and same_way([first, other, later]) == [other]
    (tmp_path / "failed.json").write_text(json.dumps({"status": "failed"}))
    alone = run(bench, "slow few", 0.0001, patient, *many, "--asked", str(tmp_path / "failed.json"), module="selftest")
    assert alone["queries_timed"] == 1000


def test_a_point_that_cannot_answer_many_is_asked_few(bench, many, tmp_path):
    """The others ask as many as they can, and each point of a later round asks what it asked in the first one."""
    searches, hasty = [{"seconds": seconds} for seconds in (0, 0.004, 1e-9)], MANY | {"max_query_s": 1.5}
    words = (*many, "--parameters", '{"what": "slow few"}')
    found, record = points(bench, searches, *words, timing=hasty, module="selftest", k=5)
    asked = [point["queries_timed"] for point in found]
    assert [point["status"] for point in found] == ["ok"] * 3 and asked[::2] == [1000, 1000] and 20 <= asked[1] < 500
    assert [point["tried"] for point in found] == [1000, 500, 1000]
    (tmp_path / "first.json").write_text(json.dumps(record))
    words += ("--asked", str(tmp_path / "first.json"))
    later, _ = points(bench, searches, *words, timing=MANY, module="selftest", k=5)
    assert [point["queries_timed"] for point in later] == asked


def test_a_job_that_is_over_has_no_second_worker():
    """Nor has who ran out of time in another stage, or who holds the whole matrix and so is in no such stage."""
    outcome = Outcome({"stage": "try_many", "tried": 500}, timed_out=True)
    assert supervisor.tried_in_vain(outcome, outcome.found)
    assert not supervisor.tried_in_vain(Outcome(outcome.found, timed_out=True, job_over=True), outcome.found)
    assert not supervisor.tried_in_vain(outcome, {"stage": "query", "tried": 500})


def test_short_passes_are_looped(bench):
    record = run(bench, "sleep", 0.0, {**TIMING, "min_sample_s": 0.5}, module="selftest")
    assert record["loops"]["host"] > 1 and record["status"] == "ok"


def index(bench, what, when="save", **options):
    """Build an index; the folder with its record."""
    folder = bench / "index"
    shutil.rmtree(folder, ignore_errors=True)
    words = command(bench, what, when, TIMING, "--unpinned", "--index", str(folder), k=None, **options)
    subprocess.run(words, check=True, capture_output=True)
    return folder, json.loads((folder / "fit.json").read_text())


def test_an_index_is_built_once_and_loaded(bench):
    folder, fit = index(bench, "", 0.0, module="selftest")
    assert set(fit["pace_ns"]) == {"before", "after"}
    assert fit["status"] == "ok" and fit["index_bytes"] == (folder / "index").stat().st_size > 200 * 3 * 4
    assert {"transfer", "train", "add"} < set(fit["phases_ns"]) and "query_ns" not in fit
    extra = ("--unpinned", "--index", str(folder))
    for k in (3, 5):
        words = command(bench, "", 0.0, TIMING, *extra, module="selftest", k=k)
        subprocess.run(words, check=True, capture_output=True)
        record = json.loads((bench / "record.json").read_text())
        assert (record["status"], record["recall"], record["index_bytes"]) == ("ok", 1.0, fit["index_bytes"])
        for phase in ("transfer", "train", "add"):
            assert record["phases_ns"][phase] == fit["phases_ns"][phase]
        assert record["phases_ns"]["load_index"] > 0 and record["memory_bytes"]["fit"] == fit["memory_bytes"]["fit"]
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("what", "when", "status"),
    [("sleep in C", "fit", "timeout_fit"), ("segfault", "save", "crashed"), ("unsupported", "", "unsupported")],
)
def test_a_fit_that_ended_gets_no_second_try(bench, what, when, status):
    folder, fit = index(bench, what, when, max_fit_s=0.7 if what == "sleep in C" else 60)
    assert fit["status"] == status
    words = command(bench, what, when, TIMING, "--unpinned", "--index", str(folder))
    subprocess.run(words, check=True, capture_output=True)
    record = json.loads((bench / "record.json").read_text())
    assert record["status"] == status and record["reason"] == f"{fit['reason']} (building the index)"
    assert "query_ns" not in record and "cell_s" not in record  # no worker was started
    shutil.rmtree(folder)


def test_noise_is_seen_and_measured_again(bench):
    """Another process on all of our CPUs makes a cell noisy; with --retry-noisy the quietest of three attempts is kept."""
    spin = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * machine.available_cpus())]
    try:
        timing = {**TIMING, "min_repeats": 20, "max_repeats": 20}
        record = run(bench, "sleep", 0.05, timing, "--unpinned", "--retry-noisy", module="selftest")
    finally:
        for each in spin:
            each.kill()
            each.wait()
    assert record["noise"]["noisy"] and record["noise"]["others_cpus"] > 0.2 * machine.available_cpus()
    assert record["machine"]["attempts"] == 3


def test_the_answers_of_the_attempt_that_is_kept(tmp_path, monkeypatch):
    """Not those of the last one: whoever counts the recall again finds the record's."""
    noises = iter((0.5, 0.1, 0.9))

    def attempt(*_):
        others = next(noises)
        for name in ("k10.round0.npz", "k10.round0.point3.npz"):
            (tmp_path / name).write_text(str(others))
        return Outcome({"status": "ok", "noise": {"noisy": True, "others_cpus": others}})

    monkeypatch.setattr(supervisor, "run", attempt)
    (tmp_path / "k10.round1.npz").write_text("another's")
    asked = SimpleNamespace(out=tmp_path / "k10.round0.json", device="cpu", search=None, retry_noisy=True)
    facts = {}
    assert supervisor.measure_quietly(asked, [], 1, facts).found["noise"]["others_cpus"] == 0.1 and facts["attempts"] == 3
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept == {"k10.round0.npz": "0.1", "k10.round0.point3.npz": "0.1", "k10.round1.npz": "another's"}


def test_ceilings_are_of_the_gpu_that_cells_use(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(ceilings.isolation, "heed_signals", lambda: None)
    monkeypatch.setattr(ceilings.turns, "machine_lock", contextlib.nullcontext)
    monkeypatch.setattr(ceilings.gpu, "pin", lambda: monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1"))
    monkeypatch.setattr(
        ceilings.isolation, "supervise", lambda *_: seen.append(os.environ["CUDA_VISIBLE_DEVICES"]) or Outcome({"status": "ok"})
    )
    ceilings.supervise("gpu", 1, tmp_path / "gpu.json", [])
    assert seen == ["1"] and json.loads((tmp_path / "gpu.json").read_text())["status"] == "ok"


def test_energy_counters(tmp_path):
    """RAPL's files as the kernel writes them: packages count, their parts do not, and the counter starts again."""
    for zone, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:1", "package-1")):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(f"{name}\n")
        (tmp_path / zone / "energy_uj").write_text("9000000\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("10000000\n")
    before = machine.energy("cpu", tmp_path)
    (tmp_path / "intel-rapl:0/energy_uj").write_text("9500000\n")
    (tmp_path / "intel-rapl:1/energy_uj").write_text("1000000\n")
    assert machine.energy_between(before, machine.energy("cpu", tmp_path)) == {"cpu": 0.5 + 2.0}
    assert machine.energy_between({}, machine.energy("cpu", tmp_path)) == {}


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
    limits = {"fit": (60, 0.7), "query": (0.7, 60)}
    max_query_s, max_fit_s = limits[when]
    record = run(bench, what, when, {**TIMING, "max_query_s": max_query_s}, max_fit_s=max_fit_s)
    assert record["status"] == status


@pytest.mark.parametrize(
    ("what", "status", "words"),
    [
        ("skip a phase", "failed", "'train' was due"),
        ("shape", "failed", "the answer has shape"),
        ("fewer", "failed", "the answer has shape (10, 4)"),
        ("unsupported", "unsupported", "only on Sundays"),
        ("int8", "unsupported", "int8 ends at 127 and does not hold 7"),
        ("threads", "failed", "threads"),
        ("print", "ok", ""),
    ],
)
def test_wrong_answers(bench, what, status, words):
    record = run(bench, what)
    assert record["status"] == status and words in record["reason"]
    assert record.get("recall") == (1.0 if status == "ok" else None)


@pytest.mark.parametrize(
    ("what", "recall", "wrong"), [("pad", 0.2, 40), ("repeat", 0.2, 40), ("one wrong", 0.8, 10), ("wrong distances", 1, 0)]
)
def test_lies_do_not_count(bench, what, recall, wrong):
    record = run(bench, what, 0.0, module="selftest")
    assert (record["recall"], record["wrong_neighbors"]) == (recall, wrong)
    assert record["status"] == ("low_recall" if recall < 0.75 else "ok")
    assert (record["distance_error"] > 0) == (what == "one wrong")


def test_several_callers(bench):
    """After all else, and for cells that are to be; what several get wrong changes nothing of the cell."""
    record = run(bench, "share", 0.002, TIMING | {"callers": [3]}, module="selftest")
    assert list(record["stages_s"])[-1] == "callers" and (record["status"], record["recall"]) == ("ok", 1.0)
    assert {size: list(found) for size, found in record["callers"].items()} == {"1": ["3"], "10": ["3"]}
    assert record["callers"]["1"]["3"]["wrong"] > 0


def test_work_that_outlives_its_call_is_waited_for(bench):
    record = run(bench, "leak", 0.05, module="selftest")
    assert min(record["query_ns"]["host"]) >= 0.05e9 and record["recall"] == 1


def test_a_slow_first_call_is_apart(bench):
    record = run(bench, "slow first", 3, module="selftest")
    assert record["phases_ns"]["first_query"] >= 3e9 > max(record["query_ns"]["host"])


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


DRIVER = """
int cuInit(int flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
"""


@pytest.fixture(scope="module")
def two_gpus(tmp_path_factory):
    """Folder of a driver that shows two GPUs, and has none."""
    folder = tmp_path_factory.mktemp("driver")
    compiler = ["gcc", "-x", "c", "-", "-shared", "-fPIC", "-o", folder / "libcuda.so.1"]
    subprocess.run(compiler, input=DRIVER, text=True, check=True)
    return str(folder)


@pytest.mark.parametrize(
    ("words", "when", "status"),
    [
        ("CUDA error: CUDA-capable device(s) is/are busy or unavailable", "open", "unavailable"),  # another's, exclusively
        ("The NVIDIA driver on your system is too old (found version 11040)", "open", "unavailable"),
        ("CUDA error: no kernel image is available for execution on the device", "open", "unavailable"),
        ("CUDA out of memory. Tried to allocate 20.00 GiB", "open", "oom_device"),
        ("CUDA out of memory. Tried to allocate 20.00 GiB", "query", "oom_device"),
        ("CUDA error: an illegal memory access was encountered", "query", "failed"),
    ],
)
def test_a_gpu_that_refuses(bench, two_gpus, monkeypatch, words, when, status):
    """As PyTorch says it, when it opens the device or after a batch."""
    monkeypatch.setenv("LD_LIBRARY_PATH", two_gpus)
    record = run(bench, f"say: {words}", when, device="gpu")
    assert record["status"] == status and words in record["reason"]


@pytest.mark.parametrize(
    ("visible", "seen"),
    [(None, "0"), ("1,0", "1"), ("MIG-11111111-2222-3333-4444-555555555555", "MIG-11111111-2222-3333-4444-555555555555")],
)
def test_a_cell_sees_one_gpu(bench, two_gpus, monkeypatch, visible, seen):
    monkeypatch.setenv("LD_LIBRARY_PATH", two_gpus)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    record = run(bench, "", device="gpu")
    assert (record["status"], record["machine"]["gpu_visible"]) == ("ok", seen)
    assert set(record["query_ns"]) == {"host", "device"}


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
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()]


@pytest.mark.parametrize("victim", ["worker", "supervisor", "supervisor, politely"])
def test_kill_from_outside(bench, victim):
    """A worker that is killed runs once more, then it has its record; killing the supervisor leaves no record and no worker."""
    sleeper = bench / "scripts/knnbench/backends/hostile.sleeper"
    sleeper.unlink(missing_ok=True)
    (bench / "record.json").unlink(missing_ok=True)
    process = subprocess.Popen(command(bench, "ignore signals", "fit", max_fit_s=600), stdout=subprocess.DEVNULL)

    def in_its_fit():
        """The worker, once it is there."""
        wait_until(lambda: sleeper.exists() and sleeper.read_text().endswith("\n"), process)
        worker = int(sleeper.read_text())
        sleeper.unlink()
        return worker

    worker = in_its_fit()
    if victim == "worker":
        os.kill(worker, signal.SIGKILL)
        os.kill(in_its_fit(), signal.SIGKILL)
    else:
        process.send_signal(signal.SIGKILL if victim == "supervisor" else signal.SIGTERM)
    process.wait()
    if victim == "worker":
        record = json.loads((bench / "record.json").read_text())
        assert record["status"] == "crashed" and record["machine"]["attempts"] == 2
    else:
        assert not (bench / "record.json").exists()
    wait_until(lambda: machine.read_field(f"/proc/{worker}/status", "State") in (None, "Z (zombie)"))
    assert not sleeper.exists(), "the worker lived on"


def test_a_job_with_too_little_memory_asks_for_more(bench):
    """A cell that was refused memory leaves no record as long as another attempt gets more."""
    (bench / "record.json").unlink(missing_ok=True)
    words = [*command(bench, "memory"), "--job", "10"]
    done = subprocess.run([*words, "1500", "2000"], capture_output=True, text=True)
    assert done.returncode == 1 and "1500 MiB were too few" in done.stderr and not (bench / "record.json").exists()
    subprocess.run([*words, "1500", "1500"], check=True, capture_output=True)
    assert json.loads((bench / "record.json").read_text())["status"] == "oom_host"
    (bench / ".record.json.attempt").unlink()


def test_cells_do_not_overlap(bench):
    """Two cells started at once take turns, whoever started them."""
    outs = [bench / "first.json", bench / "second.json"]
    processes = []
    for out in outs:
        words = command(bench, "ignore signals", "fit", max_fit_s=1)
        words[words.index("--out") + 1] = str(out)
        processes.append(subprocess.Popen(words, stdout=subprocess.DEVNULL))
    first, second = processes
    while first.poll() is None and second.poll() is None:
        before, beside, after = (children(each.pid) for each in (first, second, first))
        assert not (before and beside and before == after)
        time.sleep(0.01)
    assert [process.wait() for process in processes] == [0, 0]
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


def test_a_long_build_serves_all_rounds(bench):
    """Each round builds its own index, but where that takes too long: then all search the first one, and say so."""
    first, fit = index(bench, "", 0.0, module="selftest")
    folder = bench / "second"
    for rebuild_s, own in ((60, True), (1e-9, False)):
        more = ("--index", str(folder), "--first", str(first), "--rebuild-s", str(rebuild_s), "--build", "1")
        words = command(bench, "", 0.0, TIMING, "--unpinned", *more, module="selftest", k=None)
        subprocess.run(words, check=True, capture_output=True)
        built = json.loads((folder / "fit.json").read_text())
        assert (folder / "index").is_symlink() != own and (built["phases_ns"] != fit["phases_ns"]) == own
        record = run(
            bench, "", 0.0, TIMING, "--unpinned", "--index", str(folder), module="selftest", others=("index", "second")
        )
        assert (record["status"], record.get("one_build", False)) == ("ok", not own)
        shutil.rmtree(folder)
    failed, _ = index(bench, "segfault", "save")
    words = command(
        bench, "", 0.0, TIMING, "--unpinned", "--index", str(folder), "--first", str(failed), module="selftest", k=None
    )
    subprocess.run(words, check=True, capture_output=True)
    assert json.loads((folder / "fit.json").read_text())["status"] == "crashed" and not (folder / "index").exists()
    for each in (folder, first):
        shutil.rmtree(each)


@pytest.mark.parametrize(
    ("seconds", "least", "total", "asked"),
    [
        (lambda q: 0.001 + 1e-5 * q, 1, 10_000, 10_000),  # all fit
        (lambda q: 0.001 * q, 1, 10_000, 2000),
        (lambda q: 0.001 * q, 300, 10_000, 1800),  # a multiple of what it searches at once
        (lambda q: 0.006 * q if q < 1280 else 0.001 * q, 1280, 10_000, 1280),  # slow if they are few
        (lambda q: 0.006 * q if q < 500 else 0.0001 * q, 500, 10_000, 10_000),
        (lambda q: 0.5 * q if q < 1280 else 0.01 * q, 1280, 10_000, 1280),  # few would take ten minutes for as many
        (lambda q: 0.05 * q, 1, 10_000, 100),  # 5 s are over pass_s, and 100 the fewest
        (lambda q: 1.0 * q, 1, 10_000, 20),  # but for 100 that would take over a minute
        (lambda q: 1.0 * q, 2, 10_000, 20),  # also of who shares them among two threads
        (lambda q: 0.4 * q, 1, 10_000, 20),  # or might: 20 have told 40 s
        (lambda q: 5.0 * q, 10_000, 10_000, 10_000),  # the whole matrix at any cost
        (lambda q: 0.1 * q, 1, 50, 50),  # there are no more
        # Where few do not tell what all take, all are asked, or as many as the limit of a minute allows.
        *((lambda q, card_s=card_s: card_s * -(-q // (132 * 192)), 1, 10_000, 10_000) for card_s in (0.26, 0.5, 1.7, 9, 29)),
        (lambda q: 1.7 * -(-q // (132 * 192)), 1, 200_000, 200_000),
        (lambda q: 0.5 * -(-q // 1000), 1, 10_000, 10_000),
        (lambda q: 0.002 * q * (3 if q < 500 else 1), 1, 10_000, 2400),  # slow if they are few, and nobody says so
        (lambda q: 0.2 * q**0.5, 1, 10_000, 10_000),
        (lambda q: 0.3 * -(-q // 500), 1, 5000, 5000),  # 4,800 take as long as these
        (lambda q: 0.001 * q, 1, 3000, 3000),  # not worth a subset
        (lambda q: 0.05 * -(-q // 48), 1, 10_000, 1700),  # threads that share them
    ],
)
def test_as_many_queries_as_fit_into_a_pass(monkeypatch, seconds, least, total, asked):
    """Told by a clock that knows what each number takes; the last pass asks what is timed then."""

    class Search:
        compiles = graphs = whole = False

        def least_queries(self, queries):
            return least

        def to_query_device(self, queries):
            return queries

        def query(self, queries, k):
            return queries

        def to_host(self, ids):
            return ids

        synchronize = None

    class Reporter:
        def __init__(self):
            self.found, self.stages = {}, []

        def enter(self, stage, limit_s):
            self.stages.append(stage)
            assert stage in ("first_query", "try_many") and limit_s == 60

        def add(self, **found):
            self.found |= found

    def clock(work, synchronize):
        backend.calls.append(len(work()))
        return round(1e9 * seconds(backend.calls[-1])), None

    monkeypatch.setattr("knnbench.measure.queries.elapsed_ns", clock)
    backend, reporter = Search(), Reporter()
    backend.calls = []
    task = SimpleNamespace(timing=Timing(**TIMING), n_neighbors=5, device="cpu", max_fit_s=60, few=[], first=None, threads=2)
    rows = choose_queries(task, backend, np.arange(total), reporter)
    assert len(rows) == len(set(rows)) == reporter.found["queries_timed"] == asked and asked in backend.calls
    assert "not_linear" not in reporter.found
    assert reporter.found["phases_ns"]["first_query"] == round(1e9 * seconds(backend.calls[0]))
    assert reporter.found["first_queries"] == backend.calls[0]
    assert reporter.found["least_queries"] == min(total, -(-100 // least) * least)
    # A later round asks as many, once before they are timed, whatever its own clock says.
    backend.calls = []
    monkeypatch.setattr("knnbench.measure.queries.elapsed_ns", lambda work, _: (backend.calls.append(len(work())) or 1, None))
    later = SimpleNamespace(**vars(task) | {"first": reporter.found})
    assert np.array_equal(choose_queries(later, backend, np.arange(total), Reporter()), rows)
    assert backend.calls[-1] == asked and len(backend.calls) <= 2
    for name in ("whole", "graphs"):  # that all cannot be asked is what these show: another worker would not ask them less
        monkeypatch.setattr(Search, name, True)
        choose_queries(task, backend, np.arange(total), reporter := Reporter())
        assert "try_many" not in reporter.stages
        monkeypatch.setattr(Search, name, False)
