"""The clock, without a clock: nothing here depends on how fast the machine is."""

import math
from fractions import Fraction

import pytest
from scipy import stats

from knnbench.measure.clock import Timing, each_ns, elapsed_ns, median_interval, rank, repeat

TIMING = Timing(
    min_sample_s=0.001,
    min_repeats=5,
    max_repeats=50,
    budget_s=1e9,
    rel_ci=1e-9,
    pass_s=1,
    max_query_s=1,
    min_recall=0.75,
    batch_sizes=[],
    batch_calls=1,
    batch_budget_s=0,
    seed=0,
)


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


def test_every_loop_is_synchronised():
    calls = []
    elapsed_ns(lambda: calls.append("work"), lambda: calls.append("sync"), loops=3)
    assert calls == ["sync", *["work", "sync"] * 3]


def clock_of(monkeypatch, durations_s):
    """A clock under which work takes these durations in turn; returns the list of what was timed."""
    now, timed = [0], []

    def perf_counter_ns():
        if len(now) % 2 == 0:
            timed.append(durations_s(len(timed)))
        now.append(now[-1] + (round(timed[-1] * 1e9) if len(now) % 2 == 0 else 0))
        return now[-1]

    monkeypatch.setattr("time.perf_counter_ns", perf_counter_ns)
    return timed


def repeats(monkeypatch, durations_s, **changes):
    """Number of repeats under a clock that says each of these durations in turn."""
    clock_of(monkeypatch, durations_s)
    stored = []
    timing = Timing(**{**vars(TIMING), **changes})
    repeat(lambda: None, lambda: None, timing, lambda sample, loops: stored.append((sample, loops)))
    assert {loops for _, loops in stored} == {1}
    return len(stored)


def test_short_work_is_looped(monkeypatch):
    """A first pass of 10 µs asks for 100 loops of it in a sample of 1 ms, and is no sample itself."""
    clock_of(monkeypatch, lambda i: 10e-6 if i == 0 else 2e-3)
    stored = []
    repeat(lambda: None, lambda: None, TIMING, lambda sample, loops: stored.append((sample, loops)))
    assert stored == [(20_000, 100)] * len(stored) and len(stored) == TIMING.min_repeats


def test_each_call_is_timed_once(monkeypatch):
    clock_of(monkeypatch, lambda i: i + 1.0)
    calls = []
    works = [lambda i=i: calls.append(i) for i in range(10)]
    assert list(each_ns(works, lambda: None, budget_s=5.5, at_least=2)) == [1e9, 2e9, 3e9]
    assert calls == [0, 1, 2]


def test_repeats_until_precise(monkeypatch):
    assert repeats(monkeypatch, lambda i: 0.01, rel_ci=0.05) == 5


@pytest.mark.parametrize(("pass_s", "took", "number"), [(1, 0.9, 5), (1, 1.2, 5), (1, 1.6, 4), (1, 4.0, 3), (math.inf, 4.0, 5)])
def test_long_passes_have_fewer_repeats(monkeypatch, pass_s, took, number):
    """Five times what a pass should take, three repeats at least; whoever wants all queries at any cost gets all repeats."""
    assert repeats(monkeypatch, lambda i: took, pass_s=pass_s, budget_s=0.1) == number


def test_repeats_until_the_budget_is_spent(monkeypatch):
    assert repeats(monkeypatch, lambda i: 0.1 + i, budget_s=60.0) == 12


def test_repeats_at_least(monkeypatch):
    assert repeats(monkeypatch, lambda i: 3.0 + i, budget_s=1.0, pass_s=math.inf) == 5


def test_repeats_at_most(monkeypatch):
    assert repeats(monkeypatch, lambda i: 0.1 + i) == 50


def test_ranks_of_many_samples():
    """Exact against whole numbers where 2**n is no float any more, and against another library up to a million."""
    for n in (1023, 1024, 1030, 1031, 1100, 2000):
        allowed = Fraction(2**n, 40)  # of the ways in which samples fall on one side
        assert sum(math.comb(n, i) for i in range(rank(n) + 1)) <= allowed < sum(math.comb(n, i) for i in range(rank(n) + 2))
    for n in (5_000, 10**5, 10**6):
        assert stats.binom.cdf(rank(n), n, 0.5) <= 0.025 < stats.binom.cdf(rank(n) + 1, n, 0.5)


def test_thousands_of_repeats(monkeypatch):
    assert repeats(monkeypatch, lambda i: 0.1 + i % 2, max_repeats=3000) == 3000
