"""The clock, without a clock: nothing here depends on how fast the machine is."""

import math

import pytest

from knnbench.clock import Timing, elapsed_ns, median_interval, repeat

TIMING = Timing(min_repeats=5, max_repeats=50, budget_s=1e9, rel_ci=1e-9, max_fit_s=1, max_query_s=1, min_recall=0.75)


@pytest.mark.parametrize(
    ("n", "rank"),  # 1-based rank of the lower end, from tables of the sign test at 95 %
    [(1, 1), (5, 1), (6, 1), (8, 1), (9, 2), (10, 2), (12, 3), (20, 6), (25, 8), (30, 10)],
)
def test_median_interval(n, rank):
    assert median_interval([float(i) for i in range(n, 0, -1)]) == (rank, n + 1 - rank)


@pytest.mark.parametrize("n", range(6, 60))
def test_median_interval_covers(n):
    low, high = median_interval(range(1, n + 1))
    outside = 2 * sum(math.comb(n, i) for i in range(low)) / 2**n
    assert outside <= 0.05 < outside + 2 * math.comb(n, low) / 2**n
    assert low + high == n + 1


def test_elapsed_synchronises_on_both_sides():
    calls = []
    elapsed, result = elapsed_ns(lambda: calls.append("work") or 7, lambda: calls.append("sync"))
    assert calls == ["sync", "work", "sync"] and result == 7 and elapsed > 0


def repeats(monkeypatch, durations_s, **changes):
    """Number of repeats under a clock that says each of these durations in turn."""
    now, stored = [0], []

    def perf_counter_ns():
        now.append(now[-1] + (int(durations_s(len(stored)) * 1e9) if len(now) % 2 == 0 else 0))
        return now[-1]

    monkeypatch.setattr("time.perf_counter_ns", perf_counter_ns)
    repeat(lambda: None, lambda: None, Timing(**{**vars(TIMING), **changes}), stored.append)
    return len(stored)


def test_repeats_until_precise(monkeypatch):
    assert repeats(monkeypatch, lambda i: 0.01, rel_ci=0.05) == 5


def test_repeats_until_the_budget_is_spent(monkeypatch):
    assert repeats(monkeypatch, lambda i: 0.1 + i, budget_s=60.0) == 12


def test_repeats_at_least(monkeypatch):
    assert repeats(monkeypatch, lambda i: 3.0 + i, budget_s=1.0) == 5


def test_repeats_at_most(monkeypatch):
    assert repeats(monkeypatch, lambda i: 0.1 + i) == 50
