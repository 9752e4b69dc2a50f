"""Several threads of a library, and several callers at once: cells of their own, which nothing averages or compares."""

import copy
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, run
from test_results import CEILING, CONFIG, DATASET, record

from knnbench.backends.selftest import Backend
from knnbench.config.checks import resolve
from knnbench.config.settings import entries_of, points_of
from knnbench.config.suite import Cell, cells, claimed, figures, findings, used
from knnbench.config.values import ConfigError
from knnbench.config.variants import add_variants
from knnbench.draw.figures import styles
from knnbench.draw.speed import draw
from knnbench.draw.threads import threads_of
from knnbench.measure import callers
from knnbench.measure.clock import Timing
from knnbench.problem.metrics import METRICS
from knnbench.results.callers import caller_notes, caller_rows, thread_rows
from knnbench.results.curves import standing
from knnbench.results.folder import read
from knnbench.results.gather import row
from knnbench.results.machines import by_machine, rounds_by_machine
from knnbench.results.pairs import compare
from knnbench.workflow.cells import fit_flags, query_flags

SHIPPED = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
SCHEMA = yaml.safe_load((ROOT / "rules/schemas/config.schema.yaml").read_text(encoding="utf-8"))
SUITE = {"datasets": ["toy-euclidean"], "n_neighbors": [1, 10], "controls": False}


def resolved(most=2, **suite):
    """The shipped configuration with a suite `mine`, of a machine with so many CPUs."""
    mine = {"suites": SHIPPED["suites"] | {"mine": SUITE | suite}, "suite": "mine", "claims": {}}
    config = copy.deepcopy(SHIPPED) | mine
    resolve(config, SCHEMA)
    add_variants(config, most)
    return config


def test_numbers_of_threads_are_cells_of_their_own():
    """All threads are the cells that every suite has; fewer have names of their own, more than there are have none."""
    config = resolved(threads=[1, 2, 4], backends=["faiss-flat", "sklearn-kd-tree"])
    found = dict.fromkeys((cell.backend, cell.device) for cell in cells(config))
    assert list(found) == [
        (name, "cpu") for name in ("faiss-flat-threads1", "faiss-flat", "sklearn-kd-tree-threads1", "sklearn-kd-tree")
    ]
    assert Cell("d", "faiss-flat-threads1", "cpu", 1).record(0) == "d/faiss-flat-threads1-cpu/k1.round0.json"
    one, every = (config["backends"][name] for name in ("faiss-flat-threads1", "faiss-flat"))
    flags = [fit_flags(entry, config["timing"], None, False) for entry in (one, every)]
    assert [words[words.index("--threads") + 1] for words in flags] == ["1", "0"]
    assert one["family"] == "faiss-flat" and one["label"] == every["label"]
    assert "threads.csv" in findings(config) and "threads.png" in figures(config)
    plain = resolved(backends=["faiss-flat"])
    assert {(cell.backend, cell.device) for cell in cells(plain)} == {("faiss-flat", "cpu"), ("faiss-flat", "gpu")}
    assert "threads.csv" not in findings(plain) and query_flags(plain["timing"]) == query_flags(plain["timing"], (), ())
    assert {"faiss-flat", "faiss-flat-threads1"} <= used(config)["backends"].keys()
    assert not any("threads1" in name for name in claimed(config)["backends"])


def test_what_several_callers_ask_are_cells_of_their_own():
    """Others' records stay as they are; points of a curve follow, and what is handed on is what was written."""
    config = resolved(threads=[1], callers=[1, 2], backends=["hnswlib", "faiss-flat"])
    builds = config["suites"]["mine"]["builds"]
    assert "faiss-flat-threads1-callers" in builds and all(name.endswith("-threads1-callers") for name in builds)
    assert {cell.device for cell in cells(config) if cell.backend.startswith("faiss-flat")} == {"cpu", "gpu"}
    words = query_flags(config["timing"], (), config["backends"]["faiss-flat-threads1-callers"]["callers"])
    assert json.loads(words[1])["callers"] == [1, 2]
    points = [point for point in points_of(config["backends"]).values() if point["build"] == builds[0]]
    assert len(points) > 1 and all(point["variant_of"] and point["family"] == "hnswlib" for point in points)
    entries = entries_of(used(config)["backends"])
    assert entries["hnswlib"]["search"] == SHIPPED["backends"]["hnswlib"]["search"]
    assert not entries.keys() & set(builds) and "threads" not in entries["hnswlib"]


def test_threads_that_cannot_be():
    with pytest.raises(ConfigError, match=r"suites\.mine\.threads: \[4\], and a cell has 2 here; name 2 or fewer"):
        resolved(threads=[4], backends=["faiss-flat"])
    entry = SHIPPED["backends"]["faiss-flat"]
    shipped = copy.deepcopy(SHIPPED) | {"suite": "mine", "claims": {}}
    shipped["backends"]["faiss-flat-threads1"] = copy.deepcopy(entry)
    shipped["suites"]["mine"] = SUITE | {"threads": [1], "backends": ["faiss-flat"]}
    resolve(shipped, SCHEMA)
    with pytest.raises(ConfigError, match="faiss-flat would be measured as faiss-flat-threads1, which is another entry"):
        add_variants(shipped, 2)
    with pytest.raises(ConfigError, match=r"suites\.mine\.threads\[0\]: 0 is less than the minimum"):
        resolved(threads=[0], backends=["faiss-flat"])


def test_numbers_of_threads_are_never_mixed():
    """Not averaged, not compared, not drawn together; two rounds of one number are."""
    records = [record(threads_asked=1), record(threads_asked=2), record(), record(threads_asked=1)]
    groups = rounds_by_machine(records)
    assert [len(group) for group in groups] == [2, 2]  # older records do not say it: they had all
    cell, reached = Cell("data", "fast", "cpu", 10), CEILING | {"threads": 2}
    rows = [row(CONFIG, cell, DATASET, group, "host", reached) for group in groups]
    assert [(each["threads_asked"], each["rounds"]) for each in rows] == [(1, 2), (2, 2)]
    assert rows[0]["ceiling_fraction"] is None and rows[1]["ceiling_fraction"]
    assert compare(rows, {}) == []
    trees = [row(CONFIG, Cell("data", "tree", "cpu", 10), DATASET, group, "host", None) for group in groups]
    assert sorted(each[3] for each in compare([*rows, *trees], {})) == ["A CPU, 1 of 2 CPUs", "A CPU, 2 CPUs"]
    assert len(standing(rows)) == 2
    timings = pd.DataFrame([*rows, *trees])
    assert {words: len(part) for words, part in by_machine(timings)} == {"A CPU, 1 of 2 CPUs": 2, "A CPU, 2 CPUs": 2}
    titles = [axes.get_title(loc="left") for axes in draw(timings, styles(CONFIG["backends"])).axes]
    assert sum("1 of 2 CPUs" in title for title in titles) == 1


def config_of(entry, **suite):
    """A saved configuration of one dataset and backend, which is asked by callers."""
    backends = {"fast": CONFIG["backends"]["fast"] | {"callers": [1, 2]} | entry}
    suites = {"s": {"datasets": ["data"], "backends": ["fast"], "n_neighbors": [10], **suite}}
    return CONFIG | {"backends": backends, "suites": suites}


def asked(calls, seconds, wrong=0, **more):
    return {"calls": calls, "span_ns": seconds * 1e9, "p50_ns": 1e6, "p95_ns": 2e6, "checked": calls, "wrong": wrong} | more


def test_rows_of_callers():
    """Queries per second of all callers, over those of one; a 95th percentile has a hundred calls in each round."""
    config, cell = config_of({}), Cell("data", "fast", "cpu", 10)
    rounds = [
        {"1": {"1": asked(1000, 1), "2": asked(3000, 2, wrong=3)}, "10": {"1": asked(50, 1), "2": {"error": "it fell over"}}},
        {"1": {"1": asked(4000, 1), "2": asked(6000, 1)}, "10": {"1": asked(200, 1)}},
    ]
    rows = caller_rows(config, {cell: [record(callers=each, threads_asked=1) for each in rounds]}, {"data": DATASET})
    found = {(each["queries"], each["callers"]): each for each in rows}
    assert len(rows) == len(found) == 4
    one, two, ten, fell = (found[place] for place in ((1, 1), (1, 2), (10, 1), (10, 2)))
    assert one["queries_per_s"] == pytest.approx(2000) and (one["speed_up"], one["rounds"]) == (1, 2)
    assert (one["queries_per_s_low"], one["queries_per_s_high"]) == (1000, 4000)
    assert two["queries_per_s"] == pytest.approx(3000) and two["speed_up"] == pytest.approx(1.5)
    assert (two["wrong"], two["checked"], two["p50_s"], two["p95_s"]) == (3, 9000, 0.001, 0.002)
    assert ten["queries_per_s"] == pytest.approx(1000) and ten["p95_s"] is None  # 50 calls in one of its rounds
    assert (fell["calls"], fell["queries_per_s"], fell["reason"]) == (0, None, "it fell over")
    assert {(each["machine"], each["threads"]) for each in rows} == {("A CPU, 2 CPUs", 1)}
    assert caller_notes(rows)[0] == "Wrong answers where several callers asked at once (callers.csv): fast-cpu\n"
    for found, reason in (
        (record(callers={"alone": "it keeps its queries"}), "it keeps its queries"),
        (record("crashed", ()), "crashed: because of crashed"),
        (record("ok", reason="timeout_query in batches"), "timeout_query in batches"),
    ):
        [only] = caller_rows(config, {cell: [found]}, {"data": DATASET})
        assert (only["calls"], only["reason"], only["queries_per_s"]) == (0, reason, None)
    assert caller_rows(CONFIG | {"suites": config["suites"]}, {cell: [record()]}, {"data": DATASET}) == []


def task_of(*numbers):
    timing = Timing(*(1.0,) * 8, [], 1, 1.0, 0, callers=numbers)
    return SimpleNamespace(timing=timing, n_neighbors=3, device="cpu", max_fit_s=1.0, cpus=callers.os.sched_getaffinity(0))


class Heard:
    """A reporter that keeps what is added."""

    def __init__(self):
        self.found, self.stages = {}, []

    def enter(self, stage, limit_s):
        self.stages.append(stage)

    def allow(self, limit_s):
        pass

    def add(self, callers):
        for size, found in callers.items():
            self.found[size] = self.found.get(size, {}) | found if isinstance(found, dict) else found


def measured(what, numbers, monkeypatch, seconds=0.0, queries=50, **more):
    """What is reported of the self-test backend that is asked by callers."""
    monkeypatch.setattr(callers, "SECONDS", 0.05)
    generator, heard = np.random.default_rng(0), Heard()
    backend = Backend(METRICS["euclidean"], "cpu", 1, what, seconds)
    for name, value in more.items():
        setattr(backend, name, value)
    list(backend.fit(generator.random((200, 4), np.float32)))
    callers.measure_callers(task_of(*numbers), backend, generator.random((queries, 4), np.float32), heard)
    return heard


def test_callers_are_answered_as_one_alone_is(monkeypatch):
    """Every number of callers and of queries in a call; each call is timed, and each answer compared."""
    heard = measured("", (1, 3), monkeypatch)
    assert heard.found.keys() == {"1", "10"} and set(heard.stages) == {"callers"}
    for size in heard.found.values():
        assert size.keys() == {"1", "3"}
        for found in size.values():
            assert found["calls"] == found["checked"] > 0 and found["wrong"] == 0
            assert found["span_ns"] >= 0.05e9 and 0 < found["p50_ns"] <= found["p95_ns"] <= found["span_ns"]
    assert measured("", (), monkeypatch).stages == []
    assert measured("", (2,), monkeypatch, queries=7).found.keys() == {"1"}  # there are no ten queries


def test_answers_of_what_threads_share_are_wrong(monkeypatch):
    """Who keeps what is asked in one place gives callers the answers of others: they are counted, and one alone gets none."""
    heard = measured("share", (1, 4), monkeypatch, seconds=0.002)
    for size in heard.found.values():
        assert size["1"]["wrong"] == 0 and size["4"]["wrong"] > 0
    only = measured("share", (1, 4), monkeypatch, alone="it keeps its queries")
    assert only.found == {"alone": "it keeps its queries"} and only.stages == []


def test_calls_that_fail_or_differ(monkeypatch):
    """A caller's error ends all of them; who never answers the same is not checked."""

    def fail(*_):
        raise RuntimeError("no second thread, please")

    heard = measured("", (2,), monkeypatch, begin_thread=fail)
    assert heard.found["1"]["2"] == {"error": "RuntimeError: no second thread, please"}
    draws = iter(range(10**9))
    heard = measured("", (2,), monkeypatch, search=lambda queries, k: np.full((len(queries), k), next(draws)))
    assert heard.found["10"]["2"]["checked"] == 0 < heard.found["10"]["2"]["calls"]


def test_callers_have_cpus_of_their_own():
    """They run where the job may, and the worker is bound as before afterwards."""
    every = callers.os.sched_getaffinity(0)
    callers.os.sched_setaffinity(0, {min(every)})
    try:
        with callers.bound_to(every):
            assert callers.os.sched_getaffinity(0) == every
        assert callers.os.sched_getaffinity(0) == {min(every)}
    finally:
        callers.os.sched_setaffinity(0, every)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Some published results of two threads, with the same of one thread, half as fast, and with callers."""
    folder, names = tmp_path_factory.mktemp("threads") / "results", ["keops", "faiss-flat", "sklearn-kd-tree"]
    shutil.copytree(ROOT / "tests/published/v3", folder)
    for name in ("timings.csv", "batches.csv", "samples.csv.gz", "comparisons.csv"):
        table = pd.read_csv(folder / name, dtype=object)
        table = table[(table["dataset"] == "rd-a") & (table["n_neighbors"] == "10")]
        table = table[table["backend"].isin(names)] if "backend" in table else table.iloc[:0]
        table.to_csv(folder / name, index=False)
    timings = pd.read_csv(folder / "timings.csv", dtype=object)
    ran = timings["cpu"].notna() & (timings["device"] == "cpu")
    slow = timings[ran].assign(backend=timings["backend"] + "-threads1", threads_asked=1, family=timings["backend"])
    for name in ("query_median_s", "query_low_s", "query_high_s", "fit_s"):
        slow[name] = slow[name].astype(float) * 2
    slow["queries_per_s"] = slow["queries_per_s"].astype(float) / 2
    whole = timings.assign(threads_asked=timings["cpus"], family=timings["backend"])
    pd.concat([whole, slow]).to_csv(folder / "timings.csv", index=False)
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    variants = {
        f"{name}-threads1": entry | {"threads": 1, "variant_of": name, "family": name}
        for name, entry in config["backends"].items()
    }
    config["backends"] |= variants
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    cell = Cell("rd-a", "keops", "cpu", 10)
    saved = {
        **config,
        "datasets": {"rd-a": {"title": "R^D a"}},
        "backends": {
            "keops": config["backends"]["keops"] | {"callers": [1, 2], "family": "keops", "environments": {"cpu": "keops"}}
        },
        "suites": {config["suite"]: {"datasets": ["rd-a"], "backends": ["keops"], "n_neighbors": [10]}},
    }
    found = {"1": {"1": asked(1000, 1), "2": asked(1900, 1)}, "10": {"1": asked(90, 1), "2": asked(100, 1)}}
    rows = caller_rows(saved, {cell: [record(callers=found, threads_asked=1)]}, {"rd-a": DATASET})
    pd.DataFrame(rows).to_csv(folder / "callers.csv", index=False)
    return folder


def test_numbers_of_threads_side_by_side(folder):
    results = read(folder)
    assert results.timings["machine"].nunique() == 2
    rows = thread_rows(results.points)
    assert set(rows["threads"]) == {1, 2} and rows["machine"].nunique() == 1
    up = rows.dropna(subset=["speed_up"]).groupby("threads")[["speed_up", "fit_speed_up"]].agg(["min", "max"])
    assert up.loc[1].eq(1).all() and np.allclose(up.loc[2], 2)
    assert thread_rows(results.points[results.points["threads_asked"] == 2]).empty


def test_what_is_drawn_and_written_of_threads(folder, tmp_path):
    """A figure and a table with both, the tables in words, and what the page has of them."""
    run(
        "plot_threads",
        "--folder",
        folder,
        "--figures",
        '{"dpi": 50}',
        "--table",
        tmp_path / "threads.csv",
        "--out",
        tmp_path / "t.svg",
    )
    svg = (tmp_path / "t.svg").read_text(encoding="utf-8")
    assert "Threads of the library" in svg and "Callers" in svg and "calls of 10 queries, 1 thread each" in svg
    assert len(pd.read_csv(tmp_path / "threads.csv")) > 2
    run("make_tables", "--folder", folder, "--out", tmp_path / "tables")
    words = (tmp_path / "tables/threads.md").read_text(encoding="utf-8")
    assert all(each in words for each in ("Over one", "callers at once", "1,900", "numbers of threads, "))
    assert "tab:threads-2" in (tmp_path / "tables/threads.tex").read_text(encoding="utf-8")
    found = threads_of(read(folder), {})
    assert "Callers" in found["chart"] and len(found["tables"]) == 2
    assert threads_of(read(ROOT / "tests/published/v3"), {}) is None


@pytest.mark.full
def test_the_page_has_threads(folder, tmp_path):
    claims, out = tmp_path / "claims.csv", tmp_path / "report.html"
    run("check_claims", "--folder", folder, "--claims", "{}", "--out", claims)
    run("make_report", "--folder", folder, "--claims", claims, "--logs", folder, "--out", out)
    page = out.read_text(encoding="utf-8")
    assert 'id="threads"' in page and "1 of 2 CPUs" in page and "Wrong answers" in page
