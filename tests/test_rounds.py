"""`timing.rounds: auto`: which cells another round may decide something of, within which hours, and a whole run of it."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from conftest import snakemake

from knnbench.config.suite import Cell
from knnbench.config.values import ConfigError
from knnbench.results.pairs import compare
from knnbench.results.records import cells_of_round
from knnbench.results.undecided import choose, contests, undecided
from knnbench.workflow.run import RunError, check_one_machine

TIMING = {"rounds": "auto", "max_rounds": 9, "budget_h": 0, "same": 0.05, "max_fit_s": 60, "max_query_s": 10}
T_95 = 4.3026527  # Student's t of two degrees of freedom, from tables
MACHINE = {"cpu": "a CPU", "cpus": 2, "gpu": None}


def row(family, seconds, error, **more):
    """A row with an interval of a standard error, in three rounds."""
    half = math.exp(T_95 * error)
    return {
        **{"dataset": "data", "backend": family, "family": family, "device": "cpu", "residency": "host", "n_neighbors": 10},
        **{"status": "ok", "reason": "", "flags": "", "control": False, "exact": True, "recall": 1.0, "rounds": 3},
        **{"query_median_s": seconds, "query_low_s": seconds / half, "query_high_s": seconds * half, "query_freedom": 2.0},
        "query_interval": "own rounds",
        **{"queries": 100, "queries_per_s": 100 / seconds, "index": "in the cell", "cell_s": 5.0, "fit_s": 1.0},
        **{"fit_low_s": None, "fit_high_s": None, **MACHINE, **more},
    }


def families(found):
    return sorted({each["family"] for each, _ in found})


def test_only_who_may_be_the_fastest_goes_on():
    """The third is decided against the first; the fastest graph with recall 0.99 is not one of those that are exact."""
    near, far = row("near", 1.02, 0.02), row("far", 30.0, 0.02)
    rows = [row("first", 1.0, 0.02), near, far, row("null", 0.001, 0.02, control=True)]
    assert families(undecided(rows, {}, TIMING)) == ["first", "near"]
    graphs = [row(name, time, 0.02, exact=False, recall=0.97) for name, time in (("graph", 0.1), ("other", 0.101))]
    assert families(undecided([*rows, *graphs], {}, TIMING)) == ["first", "graph", "near", "other"]
    assert {words for _, _, words in contests(graphs)} == {"the fastest with recall 0.9 of data at K = 10 on a CPU"}
    with_same = [row("first", 1.0, 1e-4), row("near", 1.02, 1e-4)]  # within 5%, and known to be
    assert not undecided(with_same, {}, TIMING)


def test_nothing_is_decided_against_a_small_subset_and_no_round_is_spent_on_it():
    """FAISS without BLAS takes six times as long for a query as with it."""
    rows = [
        row("a", 1.0, 0.001),
        row("b", 6.0, 0.001, flags="subset; small_subset"),
        row("c", 60.0, 0.001, flags="small_subset"),
    ]
    rows.append(row("d", 6.0, 0.001))
    verdicts = {each[5]: each[-1] for each in compare(rows, TIMING) if each[4] == "a-cpu"}
    assert verdicts == {"b-cpu": "undecided", "c-cpu": "faster", "d-cpu": "faster"}
    assert not undecided(rows, {}, TIMING)


def test_one_round_decides_nothing_and_a_slow_machine_is_tried_again():
    alone = [row(name, time, 0.0, query_freedom=None) for name, time in (("a", 1.0), ("b", 9.0))]
    assert families(undecided(alone, {}, TIMING)) == ["a", "b"]
    slow = [row("a", 1.0, 0.001), row("b", 9.0, 0.001, flags="subset; slow_machine")]
    lost = row("lost", 1.0, 0.001, flags="slow_machine") | {"query_median_s": None, "status": "timeout_query"}
    control = row("null", 0.01, 0.001, flags="slow_machine", control=True)
    assert undecided([*slow, lost, control], {}, TIMING) == [(slow[1], "the machine was slow")]


def test_cells_of_claims_go_on_until_the_claim_is_decided():
    claim = {"says": "", "datasets": ["data"], "slower": {"backends": ["slow-cpu"]}, "faster": {"backends": ["fast-cpu"]}}
    rows = [row("first", 0.01, 0.01), row("fast", 1.0, 0.01), row("slow", 2.0, 0.01)]
    assert families(undecided(rows, {"one": claim | {"ratio": [2.0, math.inf]}}, TIMING)) == ["fast", "slow"]
    assert not undecided(rows, {"one": claim | {"ratio": [0.1, math.inf]}}, TIMING)


def test_the_second_round_has_all_that_have_a_number_and_hours_are_kept():
    entries = {name: {"label": name, "family": name} for name in ("a", "b", "lost", "index")}
    config = {"timing": TIMING, "backends": entries}
    rows = [row("a", 1.0, 0.0), row("b", 2.0, 0.0, cell_s=100.0), row("lost", 1.0, 0.0)]
    rows[2] |= {"query_median_s": None, "status": "timeout_query", "cell_s": 60.0}
    done = {Cell("data", name, "cpu", 10): 1 for name in ("a", "b", "lost")}
    chosen, left_out = choose(config, rows, {}, 1, done)
    assert [cell.backend for cell, _ in chosen] == ["a", "b"] and not left_out
    config["timing"] = TIMING | {"budget_h": 180 / 3600}  # 165 s were spent, and 5 more fit
    chosen, left_out = choose(config, rows, {}, 1, done)
    assert [cell.backend for cell, _ in chosen] == ["a"] and [cell.backend for cell, _ in left_out] == ["b"]
    index = [row("index", 1.0, 0.0, n_neighbors=k, index="saved", fit_s=600.0, cell_s=10.0) for k in (1, 10, 50, 100)]
    done = {Cell("data", "index", "cpu", k): 1 for k in (1, 10, 50, 100)}
    for hours, many in ((1280 / 3600, 4), (1275 / 3600, 3), (1200 / 3600, 0)):  # the index counts once in a round
        config["timing"] = TIMING | {"budget_h": hours}
        assert len(choose(config, index, {}, 1, done)[0]) == many


def test_rounds_of_two_machines_are_refused(tmp_path):
    paths = [tmp_path / f"{number}.json" for number in range(3)]
    for path, cpu in zip(paths, ("a CPU", "a CPU"), strict=False):
        path.write_text(json.dumps({"machine": MACHINE | {"cpu": cpu}}))
    check_one_machine(paths, MACHINE)
    with pytest.raises(RunError, match=r"of one machine, .* another CPU, 2 CPUs \(this machine\), and a CPU, 2 CPUs"):
        check_one_machine(paths, MACHINE | {"cpu": "another CPU"})
    paths[2].write_text(json.dumps({"machine": MACHINE | {"cpus": 4}}))
    with pytest.raises(RunError, match="measure in another folder"):
        check_one_machine(paths, MACHINE)
    paths[0].write_text("")
    with pytest.raises(RunError, match=r"0\.json: it is no whole record .* delete it"):
        check_one_machine(paths, MACHINE)


def test_a_list_of_a_round_that_was_cut_off_is_named(tmp_path):
    (tmp_path / "1.json").write_text('{"cells": [')
    with pytest.raises(ConfigError, match=r"1\.json: it is not whole .* delete it"):
        cells_of_round(tmp_path / "1.json")


OVERLAY = """
suite: mine
suites:
  mine: {datasets: [toy-euclidean], backends: [sklearn-brute, sklearn-kd-tree, faiss-flat], n_neighbors: [10], rounds: auto}
timing: {max_rounds: 4, budget_s: 0.01, batch_calls: 1}
figures: {formats: [png]}
"""


@pytest.mark.full
def test_a_run_has_rounds_where_they_are_needed_and_a_second_call_nothing_to_do(project):
    overlay = project / "mine.yaml"
    overlay.write_text(OVERLAY)
    wanted = ("--configfile", overlay, "--", "results/mine/timings.csv")
    done = snakemake(*wanted, cwd=project).stdout
    lists = [json.loads(path.read_text()) for path in sorted((project / "results/mine/rounds").glob("*.json"))]
    sizes = [len(each["cells"]) for each in lists]
    assert sizes[0] == 5 and sizes == sorted(sizes, reverse=True)  # three backends and two controls
    names = ["sklearn-brute", "sklearn-kd-tree", "faiss-flat"]
    measured = {name: 1 + sum(name in {cell["backend"] for cell in each["cells"]} for each in lists) for name in names}
    samples = pd.read_csv(project / "results/mine/samples.csv").groupby("backend")["round"].nunique()
    assert samples[names].to_dict() == measured and samples[names].between(2, 4).all()
    timings = pd.read_csv(project / "results/mine/timings.csv").query("device == 'cpu'").set_index("backend")
    assert (timings["rounds"] <= samples[names]).all() and (timings["rounds"] >= 2).all()  # but for those beside a slow machine
    cells = Path(project, "results/cells/toy-euclidean")
    assert len(list(cells.glob("*/*.json"))) == 5 + sum(sizes)
    assert "round 1" in done
    assert "Nothing to be done" in snakemake(*wanted, cwd=project).stdout
    before = {path: path.stat().st_mtime_ns for path in cells.glob("*/*.json")}
    for path in (cells / "faiss-flat-cpu/k10.round1.json", project / "results/mine/timings.csv"):
        path.unlink()
    snakemake(*wanted, cwd=project)
    after = {path: path.stat().st_mtime_ns for path in before}
    changed = [path for path in before if before[path] != after[path] and path.name in ("k10.round0.json", "k10.round1.json")]
    assert changed == [cells / "faiss-flat-cpu/k10.round1.json"]
