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


@pytest.mark.parametrize("measure", ["loops", "repeats"])
def test_one_answer_is_alive_at_a_time(measure):
    """The peak of memory of repeated passes is that of one."""

    class Answer:
        alive = most = 0

        def __init__(self):
            Answer.alive += 1
            Answer.most = max(Answer.most, Answer.alive)

        def __del__(self):
            Answer.alive -= 1

    if measure == "loops":
        elapsed_ns(Answer, lambda: None, loops=5)
    else:
        repeat(Answer, lambda: None, TIMING, lambda sample, loops: None)
    assert Answer.most == 1


def test_each_call_is_timed_once(monkeypatch):
    clock_of(monkeypatch, lambda i: i + 1.0)
    calls = []
    works = [lambda i=i: calls.append(i) for i in range(10)]
    assert list(each_ns(works, lambda: None, budget_s=25, at_least=2)) == [1e9, 2e9]
    assert calls == [0, 1]


@pytest.mark.parametrize(
    ("took_s", "number"),
    [
        (lambda i: 1e-5, 600),  # all there are
        (lambda i: 0.0019, 500),  # as many as p99 needs, which fit into the budget
        (lambda i: 0.0021, 100),  # which are too many: as many as p95 needs
        (lambda i: 0.009, 100),
        (lambda i: 0.011, 10),  # too many, too: a tenth of the budget
        (lambda i: 0.05, 3),
        (lambda i: 1.0, 3),
        (lambda i: 0.2 if i == 0 else 1e-5, 500),  # one call that was held up
    ],
)
def test_as_many_calls_as_percentiles_need(monkeypatch, took_s, number):
    clock_of(monkeypatch, took_s)
    assert len(list(each_ns([lambda: None] * 600, lambda: None, budget_s=1, at_least=3))) == number


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
