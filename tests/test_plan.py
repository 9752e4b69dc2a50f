"""The plan: what was measured is scaled, nothing is over its limits, and a budget is spent in order."""

from dataclasses import replace

import pandas as pd
import pytest

from knnbench.config.suite import Cell
from knnbench.config.values import ConfigError
from knnbench.workflow import plan
from knnbench.workflow.plan import Expected, Size, affordable, check_hours, expect_cell
from knnbench.workflow.progress import Progress, in_words
from knnbench.workflow.seen import Seen, nearest, read_seen

TIMING = {"max_fit_s": 60, "max_query_s": 10, "pass_s": 10, "min_repeats": 6, "max_repeats": 1000, "budget_s": 0.5}
BRUTE = {"saves": False, "control": False, "parameters": {}}
TREE = {"saves": True, "control": False, "parameters": {}}
SMALL = Size("euclidean", 10_000, 10, 1000)


def seen(status="ok", metric="euclidean", n=10_000, d=10, q=1000, k=10, query_s=0.1, fit_s=1.0):
    return Seen("b", "cpu", metric, n, d, q, k, status, 2.0, fit_s, 0.0, query_s, 1.0, True)


def seconds(backend, size, like, k=10):
    return expect_cell(Cell("data", "b", "cpu", k), size, backend, like, TIMING)[:2]


def test_the_same_cell_takes_the_same():
    # before 2, fit 1, first 0.1, six repeats or the budget 0.6, after 1
    assert seconds(BRUTE, SMALL, [seen()])[0] == pytest.approx(2 + 1 + 0.1 + 0.6 + 1)


def test_work_is_scaled_up_to_the_limits():
    ten_times = Size("euclidean", 100_000, 10, 1000)
    assert seconds(BRUTE, ten_times, [seen()])[0] == pytest.approx(2 + 10 + 1 + 6 + 1)
    # a pass of 20 s asks what takes 10, or is ended at 10 if it asks all at any cost; a fit of 100 s is ended at 60
    hundred_times = Size("euclidean", 10**6, 10, 1000)
    assert seconds(BRUTE, hundred_times, [seen(fit_s=0.1, query_s=0.2)])[0] == pytest.approx(2 + 10 + 7 * 10 + 1)
    whole = BRUTE | {"parameters": {"batch": "all"}}
    assert seconds(whole, hundred_times, [seen(fit_s=0.1, query_s=0.2)])[0] == pytest.approx(2 + 10 + 10 + 1)
    assert seconds(BRUTE, hundred_times, [seen()])[0] == pytest.approx(2 + 60 + 1)


def test_an_index_is_built_once_and_its_failure_ends_all_cells():
    assert seconds(TREE, SMALL, [seen()]) == (pytest.approx(2 + 0.1 + 0.6 + 1), 2)
    assert seconds(TREE, SMALL, [seen("timeout_fit", fit_s=None, query_s=None)]) == (plan.NO_INDEX_S, 61)


@pytest.mark.parametrize("status", ["unsupported", "oom_host", "crashed", "failed"])
def test_what_did_not_run_is_expected_to_end_at_once(status):
    assert seconds(BRUTE, SMALL, [seen(status, query_s=None, fit_s=None)])[0] == 3


def test_a_curve_that_was_published_is_one_cell_of_its_middle_point(tmp_path):
    """Its rows have the seconds of the whole cell, each."""
    rows = pd.DataFrame(
        {"backend": ["curve-ef10", "curve-ef20", "curve-ef40", "brute"], "query_median_s": [0.2, 0.1, 0.4, 3.0], "cell_s": 30.0}
        | {"dataset": "data", "device": "cpu", "metric": "euclidean", "status": "ok", "n": 10**4, "d": 10, "queries": 1000}
        | {"n_neighbors": 10, "residency": "host", "cpu": "a CPU", "import_s": 1.0, "load_s": 0.5, "fit_s": 2.0}
        | {"index": "saved", "compile_s": None, "first_query_s": 0.2}
    )
    (tmp_path / "other").mkdir()
    rows.to_csv(tmp_path / "other/timings.csv", index=False)
    points = [{"name": f"curve-ef{ef}", "set": {"ef": ef}} for ef in (10, 20, 40)]
    found = read_seen(tmp_path / "none", tmp_path, TIMING, {}, {"curve": {"search": points}, "brute": {}})
    assert {name: len(cells) for name, cells in found.items()} == {"curve": 1, "brute": 1}
    (curve,), (brute,) = found["curve"], found["brute"]
    assert curve.query_s == 0.2 and curve.after_s == pytest.approx(30 / 3 - 1.5 - 0.2 - 6 * 0.2)
    assert brute.query_s == 3.0 and brute.after_s == pytest.approx(30 - 1.5 - 0.2 - 6 * 3.0)


def test_an_unknown_backend_is_guessed():
    assert 0 < seconds(BRUTE, SMALL, [])[0] < 30


def test_the_nearest_cell_has_the_metric_then_the_work():
    cells = [seen(n=10**6), seen(n=20_000), seen(metric="manhattan")]
    assert nearest(cells, "cpu", SMALL, 10) is cells[1]
    assert nearest(cells, "cpu", Size("manhattan", 10**5, 10, 1000), 10) is cells[2]
    assert nearest([], "cpu", SMALL, 10) is None


def test_a_budget_buys_the_cells_near_ten_first():
    sizes = (("a", 1, 10), ("a", 10, 30), ("b", 10, 20), ("a", 100, 10))
    expected = [Expected(Cell(name, "b", "cpu", k), seconds, seconds, 0, False) for name, k, seconds in sizes]
    order = [Cell("b", "b", "cpu", 10), Cell("a", "b", "cpu", 10), Cell("a", "b", "cpu", 1), Cell("a", "b", "cpu", 100)]
    for hours, many in ((19, 0), (20, 1), (55, 2), (65, 3), (71, 4), (0, 4)):
        assert affordable(expected, {"rounds": 1, "budget_h": hours / 3600}) == set(order[:many])


def test_hours_of_auto_are_of_all_rounds_and_reach_one_of_every_cell():
    """What is measured counts no more, and an index that two K share counts once."""
    expected = [Expected(Cell("a", "b", "cpu", k), 60, 30, 0, False, 10) for k in (1, 10)]
    assert affordable(expected, {"rounds": "auto", "budget_h": 0.001}) == {each.cell for each in expected}
    for hours in (0, 70 / 3600, 1):
        check_hours(expected, hours)
    with pytest.raises(ConfigError, match=r"budget_h: 0\.019 hours are not enough .* about 0\.019"):
        check_hours(expected, 0.019)
    check_hours([replace(each, begun=True) for each in expected], 0.001)


def test_progress():
    """Each kind goes on as it went; ten seconds of the plan are believed, and a slow network says nothing about cells."""
    jobs = {1: ("environments", 20), 2: ("environments", 20)} | dict.fromkeys((3, 4, 5), ("cells", 10)) | {6: ("results", 10)}
    progress = Progress(jobs, 1000.0)
    assert progress.line() == "Cells: 0 of 3; ; about 1 min left" and progress.left_s() == 80
    assert progress.end(1, 1110.0) == "environments"  # 110 s for 20
    assert progress.left_s() == pytest.approx(20 * 120 / 30 + 40)
    progress.end(2, 1130.0)
    assert progress.left_s() == 40
    assert progress.end(3, 1140.0, "ok") == "cells"
    assert progress.line() == "Cells: 1 of 3; 1 ok; about 30 s left"
    progress.end(4, 1170.0, "failed")  # 40 s for 20, and results are of the same processor
    here = (40 + 10) / (20 + 10)
    assert progress.left_s() == pytest.approx(10 * (40 + 10 * here) / 30 + 10 * (0 + 10 * here) / 10)
    progress.end(6, 1180.0)
    progress.end(5, 1180.0, "ok")  # at the same time: the time counts once
    assert progress.line() == "Cells: 3 of 3; 2 ok, 1 failed; about 0 s left" and sum(progress.taken_s.values()) == 180


def test_durations():
    assert [in_words(each) for each in (0, 59.4, 90, 3600, 5400)] == ["0 s", "59 s", "2 min", "1 h 00 min", "1 h 30 min"]


def test_progress_of_rounds_that_nobody_expected():
    """Jobs of a further round are counted as they begin; one that draws and gets another number was expected."""
    progress = Progress({1: ("cells", 10), 2: ("results", 4)}, 0.0)
    progress.end(1, 12.0, "ok")
    progress.join(3, "cells")
    progress.join(4, "results")
    assert progress.total == {"cells": 2, "results": 1} and progress.waiting == {3: ("cells", 10), 4: ("results", 4)}
    progress.end(3, 22.0, "ok")
    progress.end(4, 30.0)
    assert progress.line() == "Cells: 2 of 2; 2 ok; about 0 s left"
