"""From records to rows, words and figures: nothing that happened to a cell gets lost on the way."""

import shutil
import subprocess
import sys

import jsonschema
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from knnbench.config.suite import Cell
from knnbench.draw.figures import styles
from knnbench.results import intervals
from knnbench.results.calls import batch_rows, sample_rows
from knnbench.results.flags import is_no_control
from knnbench.results.gather import left_out, row
from knnbench.results.machines import by_machine, rounds_by_machine
from knnbench.results.pairs import compare
from knnbench.results.tables import COMPARISON, measured_between
from knnbench.results.words import summarise
from plot_roofline import draw as draw_roofline
from plot_speed import draw

SCHEMA = yaml.safe_load((ROOT / "rules/schemas/timings.schema.yaml").read_text())
BACKENDS = {
    "fast": {"label": "Fast", "module": "keops", "exact": True, "environments": {"cpu": "keops"}},
    "rough": {"label": "Rough", "module": "faiss", "exact": False, "saves": True, "environments": {"cpu": "faiss-cpu"}},
    "tree": {"label": "Tree", "module": "sklearn", "exact": True, "prunes": True, "environments": {"cpu": "sklearn"}},
    "absent": {"label": "Absent", "module": "torch", "exact": True, "environments": {"cpu": "torch"}},
}
for name, entry in BACKENDS.items():
    entry.update(family=name, setting={})
    entry.setdefault("prunes", False)
    entry.setdefault("brute_force", False)
    entry.setdefault("saves", False)
    entry.setdefault("deterministic", False)
    entry.setdefault("control", False)
    entry.setdefault("parameters", {})
CONFIG = {
    "suite": "s",
    "datasets": {"data": {"title": "R^D"}},
    "backends": BACKENDS,
    "timing": {"batch_sizes": [10], "max_fit_s": 60, "max_query_s": 60, "min_recall": 0.75}
    | {"page_fit_s": 60, "page_query_s": 10},
}
CEILING = {"status": "ok", "operations_per_s": 1e6, "bytes_per_s": 1e5, "machine": {"node": "here", "cpu": "A CPU", "cpus": 2}}
DATASET = {"distance": "euclidean", "n": 1000, "dimension": 3, "q": 100}
MACHINE = {
    "node": "here",
    "cpu": "A CPU",
    "cpus": 2,
    "load": [0.5, 1.5],
    "gpu_before": None,
}


def record(status="ok", samples=(2, 1, 3), **found):
    """A record whose samples are given in seconds."""
    measured = {
        "query_ns": {"host": [int(s * 1e9) for s in samples]},
        "loops": {"host": 1},
        "first_batch_ns": {"host": {"1": 5e8}},
        "batch_ns": {"host": {"1": [1e8, 3e8, 2e8]}},
        "phases_ns": {
            "import": 5e8,
            "load": 1e9,
            "load_index": 5e8,
            "transfer": 1e9,
            "train": 2e9,
            "add": 1e9,
            "compile": 8e9,
            "first_query": 9e9,
        },
        "memory_bytes": {"loaded": 10, "fit": 20, "query": 30},
        "energy_j": {"host": {"cpu": 50.0}},
        "noise": {"noisy": False, "others_cpus": 0.01},
        "recall": 1.0,
        "recall_ids": 0.99,
        "wrong_neighbors": 0,
        "distance_error": 1e-8,
        "recall_p05": 0.9,
        "recall_p25": 1.0,
        "recall_p50": 1.0,
        "recall_zero": 0.0,
        "queries_timed": 100,
        "least_queries": 100,
        "dataset": {"queries": 100, "sha256": "digest"},
        "threads": 2,
        "cell_s": 30.0,
    }
    always = {
        "schema_version": 3,
        "started": "2026-01-01T00:00:00Z",
        "parameters": {},
        "environment": "keops",
        "machine": MACHINE,
        "max_rss_bytes": 40,
        "status": status,
        "reason": "" if status == "ok" else f"because of {status}",
    }
    return always | (measured if samples else {}) | found


def rows_of(**statuses):
    """Rows of backend -> (status at K = 10, status at K = 50)."""
    rows = []
    for backend, pair in statuses.items():
        for k, status in zip((10, 50), pair, strict=True):
            ran = status in ("ok", "low_recall")
            each = record(status, (2, 1, 3) if ran else (), **({"recall": 0.5} if status == "low_recall" else {}))
            rows.append(row(CONFIG, Cell("data", backend, "cpu", k), DATASET, [each], "host", CEILING))
    return rows


def test_row():
    got = row(CONFIG, Cell("data", "fast", "cpu", 10), DATASET, [record()], "host", CEILING)
    jsonschema.validate(got, SCHEMA)
    assert set(got) == set(SCHEMA["properties"])
    assert (got["query_median_s"], got["query_low_s"], got["query_high_s"], got["queries_per_s"]) == (2, 1, 3, 50)
    assert (got["fit_s"], got["transfer_s"], got["train_s"], got["add_s"], got["load_s"]) == (4, 1, 2, 1, 1.5)
    assert (got["single_p50_s"], got["single_p99_s"], got["single_first_s"], got["single_calls"]) == (0.2, 0.3, 0.5, 3)
    assert (got["cpu_joules_per_query"], got["gpu_joules_per_query"]) == (0.5, None)
    assert (got["loaded_bytes"], got["fit_bytes"], got["query_bytes"], got["max_rss_bytes"]) == (10, 20, 30, 40)


def test_cells_without_a_job_have_rows():
    """No GPU, no budget, or no dataset."""
    CONFIG["backends"]["fast"]["parameters"] = {}
    cell = Cell("data", "fast", "cpu", 10)
    left = left_out(CONFIG, cell, "skipped", "over timing.budget_h = 1")
    for dataset in (DATASET, {"distance": "euclidean", "unavailable": "no such host"}):
        got = row(CONFIG, cell, dataset, [left], "host", CEILING)
        jsonschema.validate(got, SCHEMA)
        assert (got["status"], got["cpu"], got["query_median_s"]) == ("skipped", None, None)
        assert got["n"] == dataset.get("n")
    frame = pd.DataFrame([got])
    axes = draw(frame, styles(BACKENDS)).axes[0]
    assert "there is no such dataset" in axes.get_title(loc="left") and axes.texts[0].get_text() == "no cell was measured"


def test_every_column_is_documented():
    text = (ROOT / "docs/results.md").read_text()
    assert [name for name in SCHEMA["properties"] if f"`{name}`" not in text] == []


@pytest.mark.parametrize("order", [1, -1])
def test_rounds_report_the_worst_and_keep_every_sample(order):
    records = [record("low_recall"), record("crashed", (7,)), record()][::order]
    got = row(CONFIG, Cell("data", "fast", "cpu", 10), DATASET, records, "host", CEILING)
    assert (got["status"], got["reason"], got["rounds"], got["repeats"]) == ("crashed", "because of crashed", 3, 7)
    assert got["query_median_s"] is None and got["query_max_s"] == 7
    assert len([each for each in sample_rows(Cell("data", "fast", "cpu", 10), records) if each["batch"] is None]) == 7


def test_a_cell_lasts_from_its_first_round_to_its_last():
    times = [("2026-01-01T02:00:00Z", "2026-01-01T02:05:00Z"), ("2026-01-01T01:00:00Z", "2026-01-01T01:05:00Z")]
    records = [record(started=started, ended=ended) for started, ended in times]
    got = row(CONFIG, Cell("data", "fast", "cpu", 10), DATASET, records, "host", CEILING)
    assert (got["started"], got["ended"]) == ("2026-01-01T01:00:00Z", "2026-01-01T02:05:00Z")
    never = row(CONFIG, Cell("data", "fast", "cpu", 10), DATASET, [record("skipped", (), started=None)], "host", CEILING)
    assert measured_between(pd.DataFrame([got, never])) == ["2026-01-01T01:00:00Z", "2026-01-01T02:05:00Z"]
    # Older tables do not know when a cell ended, and lack the column where they were not upgraded.
    assert measured_between(pd.DataFrame([got, never]).assign(ended=None)) == ["2026-01-01T01:00:00Z"] * 2
    assert measured_between(pd.DataFrame([got, never]).drop(columns="ended")) == ["2026-01-01T01:00:00Z"] * 2
    assert measured_between(pd.DataFrame([never])) is None


def test_rounds_are_pooled():
    got = row(CONFIG, Cell("data", "fast", "cpu", 10), DATASET, [record(), record(samples=(8, 7, 9))], "host", CEILING)
    assert (got["repeats"], got["rounds"]) == (6, 2) and got["query_median_s"] == pytest.approx(4)  # of 2 and 8
    assert got["query_low_s"] < 1 and got["query_high_s"] > 16  # two processes that differ fourfold say little


def test_ceiling():
    """2·1000·100·3 operations at 10⁶ per second take 0.6 s; the 13 to 18 thousand bytes take less."""
    cell = Cell("data", "fast", "cpu", 10)
    got = row(CONFIG, cell, DATASET, [record()], "host", CEILING)
    assert (got["least_operations"], got["least_bytes"]) == (600_000, 4 * (3 * 1100 + 1000))
    assert got["ceiling_fraction"] == pytest.approx(0.3) and got["flags"] == ""
    fast = row(CONFIG, cell, DATASET, [record(samples=(0.5, 0.5, 0.5))], "host", CEILING)
    assert fast["ceiling_fraction"] == pytest.approx(1.2) and fast["flags"] == "above_ceiling"
    moved = row(CONFIG, cell, DATASET, [record()], "host", CEILING | {"operations_per_s": 1e9, "bytes_per_s": 17_200})
    assert moved["ceiling_fraction"] == pytest.approx(0.5)
    for other in (None, CEILING | {"status": "failed"}, CEILING | {"machine": {"node": "here", "cpu": "A CPU", "cpus": 4}}):
        assert row(CONFIG, cell, DATASET, [record()], "host", other)["ceiling_fraction"] is None
    tree = row(CONFIG, Cell("data", "tree", "cpu", 10), DATASET, [record()], "host", CEILING)
    assert tree["ceiling_fraction"] is None and tree["least_operations"] == 600_000
    rough = row(CONFIG, Cell("data", "rough", "cpu", 10), DATASET, [record()], "host", CEILING)
    assert rough["ceiling_fraction"] is None and rough["least_operations"] is None and rough["index"] == "saved"


@pytest.mark.parametrize(
    ("found", "flags"),
    [
        ({"noise": {"noisy": True, "others_cpus": 1.0}}, "noisy"),
        ({"fit_noise": {"noisy": True}}, "noisy_fit"),
        ({"samples": [1 + i / 50 for i in range(20)]}, "drift"),
        ({"samples": [1.3 + i % 7 / 1000 if i % 3 else 1 + i % 5 / 1000 for i in range(60)]}, "bimodal"),
        ({"batch_noise": {"noisy": True}}, "noisy"),
        ({"gpu_state": {"slowed_by": ["HwThermalSlowdown"]}}, "throttled"),
        ({"gpu_state": {"slowed_by": ["SwPowerCap"]}}, ""),
        ({"machine": MACHINE | {"gpu_before": {"busy_percent": None, "processes": None}}}, ""),
        ({"machine": MACHINE | {"gpu_before": {"busy_percent": 40, "processes": 1}}}, "noisy"),
        # Of the processes after the passes one is the cell's own.
        ({"machine": MACHINE | {"gpu_before": {"processes": 0}}, "gpu_state": {"processes": 1, "slowed_by": []}}, ""),
        ({"machine": MACHINE | {"gpu_before": {"processes": 0}}, "gpu_state": {"processes": 2, "slowed_by": []}}, "noisy"),
        ({"machine": MACHINE | {"gpu_before": {"processes": 1}}, "gpu_state": {"processes": 2, "slowed_by": []}}, ""),
        ({}, ""),
    ],
)
def test_flags(found, flags):
    got = row(CONFIG, Cell("data", "tree", "cpu", 10), DATASET, [record(), record(**found)], "host", CEILING)
    assert got["flags"] == flags


def test_thousands_of_samples(monkeypatch):
    """No pairs of all of them for the slope, and no more numbers at once than there is memory; the estimate is the same."""
    generator = np.random.default_rng(0)
    still = generator.lognormal(0, 0.1, 50_000)
    assert not intervals.drifts(still) and intervals.drifts(still * np.linspace(1, 1.2, len(still)))
    rounds = [still[:500], still[500:800]]
    at_once = intervals.estimate(rounds)
    monkeypatch.setattr(intervals, "AT_ONCE", 10_000)
    assert intervals.estimate(rounds) == at_once


def test_batches():
    one, ten, all_ = batch_rows(CONFIG, Cell("data", "fast", "cpu", 10), [record(), record()], "host")
    assert (one["batch_size"], one["calls"], one["p50_s"], one["p99_s"], one["queries_per_s"]) == (1, 6, 0.2, 0.3, 5)
    assert (ten["batch_size"], ten["calls"], ten["p50_s"], ten["queries_per_s"]) == (10, 0, None, None)
    assert (all_["batch_size"], all_["calls"], all_["p50_s"], all_["queries_per_s"]) == (100, 6, 2, 50)


def test_a_subset_says_the_time_of_all_queries():
    """20 of 100 queries in 2 s are 10 s for all; every sample is kept as it was, with how many queries it asked."""
    few = record(queries_timed=20, least_queries=50)
    cell = Cell("data", "fast", "cpu", 10)
    got = row(CONFIG, cell, DATASET, [few], "host", None)
    jsonschema.validate(got, SCHEMA)
    assert (got["query_median_s"], got["query_min_s"], got["queries_per_s"], got["queries_timed"]) == (10, 5, 10, 20)
    assert got["cpu_joules_per_query"] == 2.5 and got["flags"] == "subset; small_subset"
    passes = [each for each in sample_rows(cell, [few]) if each["batch"] is None]
    assert [(each["queries"], each["seconds"]) for each in passes] == [(20, 2), (20, 1), (20, 3)]
    other = record(queries_timed=50, samples=(5, 5, 5))  # rounds may have asked other numbers
    got = row(CONFIG, cell, DATASET, [few, other], "host", None)
    assert got["query_median_s"] == pytest.approx(10) and got["queries_timed"] == 20
    assert got["cpu_joules_per_query"] == 1.75  # 50 J for 20 queries, and for 50
    assert [each["batch_size"] for each in batch_rows(CONFIG, cell, [few, other], "host")] == [1, 10, 20]
    slow = row(CONFIG, cell, DATASET, [record(queries_timed=10)], "host", None)
    assert slow["flags"] == "subset; small_subset; over_page_limit"


def test_builds_that_differ_widen_the_intervals():
    """A fit has an interval over the builds, and a recall its range; of one build there is none."""

    def built(seconds, recall, **more):
        return record(phases_ns={"transfer": 0, "train": seconds * 1e9, "add": 0}, recall=recall, **more)

    cell = Cell("data", "rough", "cpu", 10)
    got = row(CONFIG, cell, DATASET, [built(2, 0.98), built(8, 0.88), built(4, 0.99)], "host", None)
    assert (got["recall"], got["recall_low"], got["recall_high"]) == (0.98, 0.88, 0.99)
    assert got["fit_s"] == pytest.approx(4) and got["fit_low_s"] < 2 and got["fit_high_s"] > 8 and got["flags"] == ""
    got = row(CONFIG, cell, DATASET, [built(70, 0.98), built(70, 0.98, one_build=True)], "host", None)
    assert (got["fit_s"], got["fit_low_s"], got["flags"]) == (70, None, "one_build; over_page_limit")
    same = CONFIG | {"backends": BACKENDS | {"rough": BACKENDS["rough"] | {"deterministic": True}}}
    got = row(same, cell, DATASET, [built(2, 1.0), built(2, 1.0)], "host", None)
    assert (got["fit_s"], got["fit_low_s"], got["flags"]) == (2, None, "")


@pytest.mark.parametrize(("what", "recall", "flags"), [("null", 1.0, ""), ("null", 0.99, "no_control")])
def test_a_control_that_is_none(what, recall, flags):
    control = BACKENDS["fast"] | {"control": True, "parameters": {"what": what}}
    config = CONFIG | {"backends": BACKENDS | {"control": control}}
    got = row(config, Cell("data", "control", "cpu", 10), DATASET, [record(recall=recall)], "host", None)
    assert (got["control"], got["flags"]) == (True, flags)
    assert not is_no_control("random", 0.01, 1000, 10, 1000) and is_no_control("random", 0.05, 1000, 10, 1000)


def entries(**times):
    """Measured cells of backend -> list of rounds of samples."""
    return [
        ({"dataset": "data", "n_neighbors": 10, "residency": "host", "family": name, "device": "cpu"}
         | {"cpu": "A CPU", "cpus": 2, "control": False} | {"query_median_s": float(np.median(rounds))}, rounds)
        for name, rounds in times.items()
    ]  # fmt: skip


def test_comparisons():
    generator = np.random.default_rng(0)

    def rounds(median, number=3):
        """Processes that differ by 3 %, and samples within them."""
        return [list(median * np.exp(generator.normal(0, 0.03)) * generator.lognormal(0, 0.05, 20)) for _ in range(number)]

    twice, same = rounds(2.0), rounds(1.01)
    found = {(each[4], each[5]): each for each in compare(entries(a=rounds(1.0), b=twice, c=same))}
    pair = next(each for names, each in found.items() if set(names) == {"a-cpu", "b-cpu"})
    assert pair[4] == "a-cpu" and pair[9] == "faster" and 1 < pair[7] < pair[6] < pair[8] < 3
    pair = next(each for names, each in found.items() if set(names) == {"a-cpu", "c-cpu"})
    assert pair[9] == "not distinguishable" and pair[7] <= 1 <= pair[8]
    single = compare(entries(a=rounds(1.0, 1), b=rounds(9.0, 1)))
    assert [each[9] for each in single] == ["one round"] and single[0][7] is None


def test_machines_are_not_mixed():
    """Rounds of two kinds of machine are two rows; only cells of one kind are compared; a figure has a part for each."""
    other = MACHINE | {"cpu": "Another CPU", "node": "there"}
    records = [record(), record(machine=other), record(machine=MACHINE | {"node": "a twin"})]
    groups = rounds_by_machine(records)
    assert [len(group) for group in groups] == [2, 1]
    cell = Cell("data", "fast", "cpu", 10)
    rows = [row(CONFIG, cell, DATASET, group, "host", CEILING) for group in groups]
    assert [(each["cpu"], each["rounds"]) for each in rows] == [("A CPU", 2), ("Another CPU", 1)]
    assert rows[0]["ceiling_fraction"] and rows[1]["ceiling_fraction"] is None
    assert compare([(each, [[1.0]]) for each in rows]) == []
    tree = row(CONFIG, Cell("data", "tree", "cpu", 10), DATASET, [record()], "host", CEILING)
    assert [each[3] for each in compare([(each, [[1.0]]) for each in (*rows, tree)])] == ["A CPU, 2 CPUs"]
    gpus = [each | {"device": "gpu", "gpu": gpu} for each in rows[:1] for gpu in ("H100, driver 1", "H200, driver 1")]
    assert compare([(each, [[1.0]]) for each in gpus]) == []

    absent = row(CONFIG, Cell("data", "absent", "cpu", 10), DATASET, [left_out(CONFIG, cell, "skipped", "why")], "host", None)
    timings = pd.DataFrame([*rows, tree, *gpus, absent])
    parts = dict(by_machine(timings))
    assert {words: len(part) for words, part in parts.items()} == {
        "A CPU, 2 CPUs; H100": 4,  # both CPU cells, the GPU's, and what ran nowhere
        "A CPU, 2 CPUs; H200": 4,
        "Another CPU, 2 CPUs": 2,
    }
    figure = draw(timings[timings["gpu"].isna()], styles(BACKENDS))
    assert len(figure.axes) == 6 and "1 cells were measured on other machines only" in figure.axes[5].texts[0].get_text()
    elsewhere = row(CONFIG, cell, DATASET, [record(fit_machine=other)], "host", CEILING)
    assert "fit_elsewhere" in elsewhere["flags"] and "fit_elsewhere" not in rows[0]["flags"]


def write_source(folder, cpu, median):
    """Results of a machine as a run leaves them."""
    found = record(samples=(median, median, median), machine=MACHINE | {"cpu": cpu})
    cell = Cell("data", "fast", "cpu", 10)
    folder.mkdir()
    pd.DataFrame([row(CONFIG, cell, DATASET, [found], "host", None)], dtype=object).to_csv(folder / "timings.csv", index=False)
    pd.DataFrame(sample_rows(cell, [found])).to_csv(folder / "samples.csv.gz", index=False)
    pd.DataFrame(batch_rows(CONFIG, cell, [found], "host")).to_csv(folder / "batches.csv", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


def merge(folder, *sources):
    command = [sys.executable, ROOT / "scripts/merge.py", "--figures", "{}", "--out", folder / "merged", "--sources", *sources]
    return subprocess.run(command, capture_output=True, text=True)


def test_merge(tmp_path):
    """Machines stay apart, origins are kept, what is there twice is kept once, and what disagrees is refused."""
    first, second = write_source(tmp_path / "first", "A CPU", 2), write_source(tmp_path / "second", "Another CPU", 1)
    copy = shutil.copytree(first, tmp_path / "copy")
    done = merge(tmp_path, first, second, copy)
    assert done.returncode == 0, done.stderr
    merged = pd.read_csv(tmp_path / "merged/timings.csv")
    assert merged["origin"].tolist() == [str(first), str(second)] and merged["query_median_s"].tolist() == [2, 1]
    samples = pd.read_csv(tmp_path / "merged/samples.csv")
    assert samples.groupby("origin").size().to_dict() == dict.fromkeys(map(str, (first, second)), 6)
    assert len(pd.read_csv(tmp_path / "merged/comparisons.csv")) == 0
    words = (tmp_path / "merged/summary.txt").read_text()
    assert "50  Fast (CPU); A CPU, 2 CPUs" in words and f"1 rows from {second}" in words

    again = write_source(tmp_path / "again", "A CPU", 3)
    refused = merge(tmp_path, first, again)
    assert (
        refused.returncode == 1
        and f"{first} and {again} both have data: fast on cpu, K = 10, on A CPU, 2 CPUs" in refused.stderr
    )
    assert "query_median_s" in refused.stderr
    for column, value in (("dataset_sha256", "other"), ("parameters", "[]"), ("schema_version", 2)):
        rows = pd.read_csv(second / "timings.csv", dtype=object)
        rows.assign(**{"dataset_sha256": "same", column: value}).to_csv(tmp_path / "again/timings.csv", index=False)
        pd.read_csv(first / "timings.csv").assign(dataset_sha256="same").to_csv(tmp_path / "copy/timings.csv", index=False)
        refused = merge(tmp_path, copy, again)
        assert refused.returncode == 1 and f"{column} is " in refused.stderr and "Traceback" not in refused.stderr
    rows = pd.read_csv(first / "timings.csv", dtype=object).assign(n_neighbors=50, threads=1)
    rows.to_csv(again / "timings.csv", index=False)
    refused = merge(tmp_path, first, again)
    assert refused.returncode == 1 and "fast on cpu, A CPU, 2 CPUs: threads is " in refused.stderr
    nowhere = merge(tmp_path, tmp_path / "nowhere")
    assert nowhere.returncode == 1 and "there is no timings.csv; a source is results/SUITE of a run" in nowhere.stderr


def test_the_same_code_is_rarely_told_apart():
    """The verdict's error on simulated rounds: under 2 % of 300 pairs, although processes vary more than samples."""
    generator = np.random.default_rng(1)

    def rounds():
        return [list(np.exp(generator.normal(0, 0.05)) * generator.lognormal(0, 0.02, 15)) for _ in range(3)]

    told_apart = sum(each[9] == "faster" for _ in range(300) for each in compare(entries(a=rounds(), b=rounds())))
    assert told_apart <= 6


def test_summary():
    timings = pd.DataFrame(rows_of(fast=("ok", "timeout_query"), rough=("low_recall", "ok"), absent=("unavailable",) * 2))
    text = summarise(timings, pd.DataFrame(columns=COMPARISON))
    assert "6 rows, 2 ok, 2 unavailable, 1 timeout_query, 1 low_recall" in text
    assert "Fastest exact backend at K = 10" in text and "50  Fast (CPU)" in text
    assert "One round per cell" in text
    assert "timeout_query, 1 rows: because of timeout_query: fast-cpu" in text
    assert "unavailable, 2 rows: because of unavailable: absent-cpu" in text


def test_summary_says_what_is_not_distinguishable():
    timings = pd.DataFrame(rows_of(fast=("ok", "ok"), tree=("ok", "ok")))
    timings["rounds"], timings["flags"] = 3, "noisy; drift"
    pair = ("data", 10, "host", "A CPU, 2 CPUs", "fast-cpu", "tree-cpu", 1.01, 0.9, 1.1, "not distinguishable")
    text = summarise(timings, pd.DataFrame([pair], columns=COMPARISON))
    assert "Fast (CPU); not distinguishable from it: Tree (CPU)" in text
    assert "Of 1 pairs that search the same, 1 are not distinguishable" in text
    assert "Flagged rows: 4 noisy, 4 drift" in text


def test_figure_shows_what_stopped_and_what_was_not_measured():
    timings = pd.DataFrame(rows_of(fast=("ok", "timeout_query"), rough=("low_recall", "ok"), absent=("unavailable",) * 2))
    timings.loc[timings["backend"] == "rough", "flags"] = "drift; noisy"
    figure = draw(timings, styles(BACKENDS))
    top, bottom, below = figure.axes
    markers = [line.get_marker() for line in top.lines]
    assert markers.count("x") == 1
    assert any(line.get_markerfacecolor() == "white" and len(line.get_xdata()) for line in top.lines)
    words = " ".join(text.get_text() for text in [*below.texts, *bottom.texts])
    assert "K = 50: timeout_query" in words and "recall 0.50–1.00" in words
    assert "recall 0.50–1.00; drift; noisy" in words  # of all K
    assert "unavailable: because of unavailable: Absent (CPU)" in words


def test_roofline_shows_what_was_not_measured():
    timings = pd.DataFrame(rows_of(fast=("ok", "timeout_query"), rough=("ok", "ok"), tree=("ok", "ok"), absent=("failed",) * 2))
    axes = draw_roofline(timings, {"cpu": CEILING}, styles(BACKENDS)).axes[0]
    assert [line.get_label() for line in axes.lines][:1] == ["Fast (CPU)"] and len(axes.lines) == 2  # and the line at 100 %
    assert axes.lines[0].get_xdata() == pytest.approx([30])
    assert "not measured: 2 failed, 1 timeout_query" in [text.get_text() for text in axes.texts]


def test_same_numbers_same_files(tmp_path):
    """Each figure is drawn by a process of its own, as in the workflow."""
    pd.DataFrame(rows_of(fast=("ok", "ok"), rough=("low_recall", "ok"))).to_csv(tmp_path / "timings.csv", index=False)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"figures": {"dpi": 100}}))
    command = [sys.executable, ROOT / "scripts/plot_speed.py", "--folder", "."]
    names = [f"figure.{suffix}" for suffix in ("png", "svg", "pdf")]
    files = []
    for _ in range(2):
        subprocess.run([*command, "--dataset", "data", "--out", *names], cwd=tmp_path, check=True)
        files += [(tmp_path / name).read_bytes() for name in names]
    assert files[:3] == files[3:]
