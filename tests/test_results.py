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
from knnbench.results.calls import batch_rows, other_ways, quantiles, same_way, sample_rows, times
from knnbench.results.flags import is_no_control
from knnbench.results.folder import read_table
from knnbench.results.gather import fits_of, row
from knnbench.results.machines import by_machine, rounds_by_machine
from knnbench.results.moderation import set_intervals
from knnbench.results.pairs import compare
from knnbench.results.records import left_out
from knnbench.results.speeds import at_usual_speed, usual_paces
from knnbench.results.tables import COMPARISON, ONE_ROUND, OWN, measured_between
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
        "schema_version": 4,
        "started": "2026-01-01T00:00:00Z",
        "parameters": {},
        "environment": "keops",
        "machine": MACHINE,
        "max_rss_bytes": 40,
        "status": status,
        "reason": "" if status == "ok" else f"because of {status}",
    }
    return always | (measured if samples else {}) | found


def row_of(backend, records, ceiling=CEILING, config=CONFIG):
    """The row of one cell at K = 10, with its intervals."""
    got = row(config, Cell("data", backend, "cpu", 10), DATASET, records, "host", ceiling)
    set_intervals([got], [times(records, "host")], [fits_of(records)])
    return got


def rows_of(**statuses):
    """Rows of backend -> (status at K = 10, status at K = 50)."""
    rows, rounds = [], []
    for backend, pair in statuses.items():
        for k, status in zip((10, 50), pair, strict=True):
            ran = status in ("ok", "low_recall")
            each = record(status, (2, 1, 3) if ran else (), **({"recall": 0.5} if status == "low_recall" else {}))
            rows.append(row(CONFIG, Cell("data", backend, "cpu", k), DATASET, [each], "host", CEILING))
            rounds.append(times([each], "host"))
    set_intervals(rows, rounds)
    return rows


def test_row():
    got = row_of("fast", [record()])
    jsonschema.validate(got, SCHEMA)
    assert set(got) == set(SCHEMA["properties"])
    assert (got["query_median_s"], got["query_low_s"], got["query_high_s"], got["queries_per_s"]) == (2, 1, 3, 50)
    assert (got["query_interval"], got["query_freedom"]) == (ONE_ROUND, None)
    assert (got["fit_s"], got["transfer_s"], got["train_s"], got["add_s"], got["load_s"]) == (4, 1, 2, 1, 1.5)
    single = ("single_p50_s", "single_p95_s", "single_p99_s", "single_first_s", "single_calls")
    assert tuple(got[name] for name in single) == (0.2, None, None, 0.5, 3)
    assert (got["cpu_joules_per_query"], got["gpu_joules_per_query"]) == (0.5, None)
    assert (got["loaded_bytes"], got["fit_bytes"], got["query_bytes"], got["max_rss_bytes"]) == (10, 20, 30, 40)


def test_what_a_driver_says_of_a_gpu():
    """The memory is the process's only if it was in every phase; why clocks were held back has its share of the passes."""
    state = {"sm_mhz": 1500, "celsius": 60, "slowed_by": ["HwThermalSlowdown"], "slowed_share": {"SwPowerCap": 0.426}}
    memory = {"device_memory_bytes": {"loaded": 1, "fit": 2}, "device_memory_of": {"loaded": "process", "fit": "process"}}
    got = row_of("fast", [record(**memory, gpu_state=state)])
    jsonschema.validate(got, SCHEMA)
    assert (got["device_bytes_of"], got["gpu_slowed_by"]) == ("process", "SwPowerCap 43%, HwThermalSlowdown")
    assert got["flags"] == "throttled; power_capped"
    memory["device_memory_of"] = {"loaded": "process", "fit": "card"}
    assert row_of("fast", [record(**memory)])["device_bytes_of"] == "card"


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
    got = row_of("fast", [record(), record(samples=(8, 7, 9))])
    assert (got["repeats"], got["rounds"]) == (6, 2) and got["query_median_s"] == pytest.approx(4)  # of 2 and 8
    assert got["query_low_s"] < 1 and got["query_high_s"] > 16  # two processes that differ fourfold say little
    assert (got["query_interval"], got["query_freedom"], got["flags"]) == (OWN, 1, "rounds_differ")
    jsonschema.validate(got, SCHEMA)


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
        ({"gpu_state": {"slowed_by": ["SwPowerCap"]}}, "power_capped"),
        ({"clock_refused": True}, "clock_free"),
        ({"gpu_state": {"slowed_by": ["SwPowerCap"], "slowed_share": {"SwPowerCap": 0.02, "SwThermalSlowdown": 0.0}}}, ""),
        ({"gpu_state": {"slowed_by": [], "slowed_share": {"SwPowerCap": 0.6, "SwThermalSlowdown": 0.0}}}, "power_capped"),
        ({"gpu_state": {"slowed_by": [], "slowed_share": {"SwPowerCap": 0.0, "SwThermalSlowdown": 0.2}}}, "throttled"),
        ({"machine": MACHINE | {"governor": "powersave", "clock_driver": "acpi-cpufreq"}}, "powersave"),
        ({"machine": MACHINE | {"governor": "powersave", "clock_driver": "intel_pstate"}}, ""),  # the usual one of that driver
        ({"machine": MACHINE | {"topology": {"cores": 1}}, "threads_asked": 2}, "shared_cores"),
        ({"machine": MACHINE | {"topology": {"cores": 2}}, "threads_asked": 2}, ""),
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
    assert (one["batch_size"], one["calls"], one["p50_s"], one["p95_s"], one["queries_per_s"]) == (1, 6, 0.2, None, 5)
    assert (ten["batch_size"], ten["calls"], ten["p50_s"], ten["queries_per_s"]) == (10, 0, None, None)
    assert (all_["batch_size"], all_["calls"], all_["p50_s"], all_["queries_per_s"]) == (100, 6, 2, 50)


@pytest.mark.parametrize(
    ("calls", "p50", "p95", "p99"),
    [
        (0, None, None, None),
        (1, 1, None, None),
        (99, 50, None, None),
        (100, 50, 95, None),
        (499, 250, 475, None),
        (500, 250, 475, 495),
        (1000, 500, 950, 990),
    ],
)
def test_percentiles_that_the_calls_tell(tmp_path, calls, p50, p95, p99):
    """At least five calls are beyond each; of earlier tables, too, which have one of any number of calls."""
    assert quantiles(list(range(1, calls + 1))) == {"calls": calls, "p50_s": p50, "p95_s": p95, "p99_s": p99}
    cell, times_s = Cell("data", "fast", "cpu", 10), {"p50_s": 50.0, "p95_s": 95.0, "p99_s": 99.0}
    timings = row(CONFIG, cell, DATASET, [record()], "host", None) | {"single_calls": calls}
    timings |= {f"single_{name}": value for name, value in times_s.items()}
    batches = batch_rows(CONFIG, cell, [record()], "host")[0] | {"calls": calls} | times_s
    for name, table, prefix in (("timings", timings, "single_"), ("batches", batches, "")):
        pd.DataFrame([table], dtype=object).to_csv(tmp_path / f"{name}.csv", index=False)
        found = read_table(tmp_path, name).iloc[0]
        known = [pd.notna(found[f"{prefix}{each}"]) for each in times_s]
        assert known == [each is not None for each in (p50, p95, p99)]


@pytest.mark.parametrize("name", ["LD_LIBRARY_PATH", "CXX", "CXXFLAGS", "CUDA_HOME"])
def test_variables_that_change_code_are_flagged(name):
    inherited = record(machine=MACHINE | {"variables": {name: "x"}})
    flags = row(CONFIG, Cell("data", "fast", "cpu", 10), DATASET, [inherited], "host", None)["flags"].split("; ")
    assert ("inherited" in flags) == (name != "CUDA_HOME")


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
    other = record(queries_timed=40, samples=(4, 4, 4))  # rounds may have asked other numbers
    got = row(CONFIG, cell, DATASET, [few, other], "host", None)
    assert got["query_median_s"] == pytest.approx(10) and got["queries_timed"] == 20
    assert got["cpu_joules_per_query"] == 1.875  # 50 J for 20 queries, and for 40
    assert [each["batch_size"] for each in batch_rows(CONFIG, cell, [few, other], "host")] == [1, 10, 20]
    slow = row(CONFIG, cell, DATASET, [record(queries_timed=10)], "host", None)
    assert slow["flags"] == "subset; small_subset; over_page_limit"


def test_rounds_that_asked_in_two_ways_are_not_averaged():
    """Few queries may be searched by another algorithm; whoever asked most is kept, and the row says what was left out."""
    cell = Cell("data", "fast", "cpu", 10)
    few = record(queries_timed=11, least_queries=50, samples=(2, 2, 2), recall=0.5)
    many, third = (record(queries_timed=60, least_queries=50, samples=(seconds,) * 3) for seconds in (3, 3.03))
    got = row(CONFIG, cell, DATASET, [few, many, third], "host", None)
    jsonschema.validate(got, SCHEMA)
    assert got["query_median_s"] == pytest.approx(5.025, rel=1e-3) and (got["rounds"], got["repeats"]) == (2, 6)
    assert (got["recall_low"], got["queries_timed"], got["flags"]) == (1, 60, "subset; two_ways")
    assert got["reason"] == "1 of 3 rounds asked 11 queries where the others asked 60, and is left out"
    assert same_way([few, many, third]) == [many, third] and len(sample_rows(cell, [few, many, third])) == 18
    lost = record("timeout_query", ())
    got = row(CONFIG, cell, DATASET, [few, lost, many], "host", None)
    assert (got["status"], got["query_median_s"], got["rounds"]) == ("timeout_query", None, 2)
    assert got["reason"].startswith("because of timeout_query; 1 of 3 rounds")
    chosen_anew = [record(queries_timed=number, least_queries=10) for number in (80, 41)]
    assert same_way(chosen_anew) == chosen_anew
    halved = [record(queries_timed=number, least_queries=10) for number in (80, 39, 38)]
    assert other_ways(halved, same_way(halved)) == (
        "2 of 3 rounds asked 38 or 39 queries where the others asked 80, and are left out"
    )


def test_a_machine_that_was_slow_beside_a_round_is_seen():
    """By the run's median; a machine of another kind has a usual speed of its own, and older records have none."""

    def paced(before, after, cpu="A CPU"):
        return record(pace_ns={"before": before, "after": after}, machine=MACHINE | {"cpu": cpu})

    usual, slow, elsewhere = paced(100, 100), paced(100, 144), paced(1000, 1000, "Another CPU")
    paces = usual_paces([usual, usual, slow, elsewhere, record()])
    assert paces == {"A CPU, 2 CPUs": pytest.approx(100), "Another CPU, 2 CPUs": pytest.approx(1000)}
    cell = Cell("data", "fast", "cpu", 10)
    got = row(CONFIG, cell, DATASET, [usual, slow], "host", None, paces)
    jsonschema.validate(got, SCHEMA)
    assert (got["machine_speed"], got["flags"]) == (pytest.approx(100 / 120), "slow_machine")
    for some in (usual, elsewhere):
        got = row(CONFIG, cell, DATASET, [some], "host", None, paces)
        assert (got["machine_speed"], got["flags"]) == (pytest.approx(1), "")
    got = row(CONFIG, cell, DATASET, [record()], "host", None, paces)
    assert (got["machine_speed"], got["flags"]) == (None, "")


def test_rounds_beside_a_slow_machine_are_left_out_if_two_others_are_there():
    """What decides is fixed work and not the cell's time; a round that came to no time stays, and every sample is kept."""
    rounds = [
        record(samples=(number,) * 3, pace_ns={"before": pace, "after": pace})
        for number, pace in ((1, 100), (2, 101), (50, 150))
    ]
    paces = usual_paces(rounds)
    got = row(CONFIG, Cell("data", "fast", "cpu", 10), DATASET, rounds, "host", None, paces)
    assert (got["rounds"], got["flags"]) == (2, "") and got["reason"].endswith("and is left out")
    assert at_usual_speed(rounds[1:], paces) == rounds[1:]
    failed = rounds[2] | {"status": "crashed"}
    del failed["query_ns"]
    assert at_usual_speed([*rounds[:2], failed], paces) == [*rounds[:2], failed]
    samples = sample_rows(Cell("data", "fast", "cpu", 10), rounds, at_usual_speed(rounds, paces))
    assert {(each["round"], each["counted"]) for each in samples} == {(0, True), (1, True), (2, False)}


def test_builds_that_differ_widen_the_intervals():
    """A fit has an interval over the builds, and a recall its range; of one build there is none."""

    def built(seconds, recall, **more):
        return record(phases_ns={"transfer": 0, "train": seconds * 1e9, "add": 0}, recall=recall, samples=(2, 2, 2), **more)

    got = row_of("rough", [built(2, 0.98), built(8, 0.88), built(4, 0.99)])
    assert (got["recall"], got["recall_low"], got["recall_high"]) == (0.98, 0.88, 0.99)
    assert got["fit_s"] == pytest.approx(4) and got["fit_low_s"] < 2 and got["fit_high_s"] > 8 and got["flags"] == ""
    assert got["fit_freedom"] == 2
    got = row_of("rough", [built(70, 0.98), built(70, 0.98, one_build=True)])
    assert (got["fit_s"], got["fit_low_s"], got["flags"]) == (70, None, "one_build; over_page_limit")
    got = row_of("rough", [built(2, 1.0), built(2, 1.0)])  # results of when rounds shared a build that is always the same
    assert (got["fit_s"], got["fit_low_s"], got["flags"]) == (2, None, "")


@pytest.mark.parametrize(("what", "recall", "flags"), [("null", 1.0, ""), ("null", 0.99, "no_control")])
def test_a_control_that_is_none(what, recall, flags):
    control = BACKENDS["fast"] | {"control": True, "parameters": {"what": what}}
    config = CONFIG | {"backends": BACKENDS | {"control": control}}
    got = row(config, Cell("data", "control", "cpu", 10), DATASET, [record(recall=recall)], "host", None)
    assert (got["control"], got["flags"]) == (True, flags)
    assert not is_no_control("random", 0.01, 0.01, 1000) and is_no_control("random", 0.05, 0.01, 1000)
    assert not is_no_control("random", 0.05, 0.05, 1000)  # several points are as far away as the K-th


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
    assert compare(rows, {}) == []
    tree = row(CONFIG, Cell("data", "tree", "cpu", 10), DATASET, [record()], "host", CEILING)
    assert [each[3] for each in compare([*rows, tree], {})] == ["A CPU, 2 CPUs"]
    gpus = [each | {"device": "gpu", "gpu": gpu} for each in rows[:1] for gpu in ("H100, driver 1", "H200, driver 1")]
    assert compare(gpus, {}) == []

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


def test_summary():
    timings = pd.DataFrame(rows_of(fast=("ok", "timeout_query"), rough=("low_recall", "ok"), absent=("unavailable",) * 2))
    text = summarise(timings, pd.DataFrame(columns=COMPARISON))
    assert "6 rows, 2 ok, 2 unavailable, 1 timeout_query, 1 low_recall" in text
    assert "Fastest exact backend at K = 10" in text and "50  Fast (CPU)" in text
    assert "One round per cell" in text and "  Fast (CPU), spread of one round 33.3 to 100\n" in text
    assert "timeout_query, 1 rows: because of timeout_query: fast-cpu" in text
    assert "unavailable, 2 rows: because of unavailable: absent-cpu" in text


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        (("same", "faster"), "the same as Tree (CPU); faster than Absent (CPU) by a factor of 1.1 (1.07 to 1.2)"),
        (("undecided", "faster"), "faster than Absent (CPU) by a factor of 1.1 (1.07 to 1.2); undecided against Tree (CPU)"),
        (("undecided", "undecided"), "undecided against 2 others"),
        (("same", "same"), "the same as Tree (CPU), Absent (CPU)"),
        (("faster", "faster"), "faster than Tree (CPU) by a factor of 1.1 (1.07 to 1.2)"),
    ],
)
def test_summary_says_how_sure_the_first_place_is(verdicts, words):
    """In a line of its own below the fastest: who is the same, the next that is slower, and how many are undecided."""
    timings = pd.DataFrame(rows_of(fast=("ok", "ok"), tree=("ok", "ok"), absent=("ok", "ok")))
    timings["rounds"], timings["flags"], timings["query_interval"] = 3, "noisy; drift", "moderated"
    pairs = [
        ("data", 10, "host", "A CPU, 2 CPUs", "fast-cpu", f"{name}-cpu", 1.1, 1.07, 1.2, 0.99, verdict)
        for name, verdict in zip(("tree", "absent"), verdicts, strict=True)
    ]
    lines = summarise(timings, pd.DataFrame(pairs, columns=COMPARISON)).splitlines()
    first = next(number for number, line in enumerate(lines) if line.endswith("50  Fast (CPU), 95% interval 33.3 to 100"))
    assert lines[first + 1].strip() == words
    counts = [verdicts.count(verdict) for verdict in ("faster", "same", "undecided")]
    of_pairs = "Of 2 pairs that search the same, {} have a faster one, {} are the same (within timing.same), {} undecided"
    assert any(line.startswith(of_pairs.format(*counts)) for line in lines)
    assert "At most 1% of the verdicts `faster` are expected to be false." in lines
    assert "Flagged rows: 6 noisy, 6 drift" in lines


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
