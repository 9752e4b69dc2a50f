"""The clock: how a stretch of work is timed and when it has been repeated often enough. Standard library only."""

import bisect
import contextlib
import functools
import gc
import math
import time
from dataclasses import dataclass

PATIENCE = 5  # times `pass_s` for the repeats of a pass that is longer than it should be, but ...
FEWEST = 3  # ... so many repeats
# Percentile of latencies -> the fewest calls that tell it. Five of them are beyond it, of the median half of them.
TOLD_BY = {50: 1, 95: 100, 99: 500}
SHARE = 0.1  # of the budget of calls, which is spent on them if no further percentile can be told within it


@dataclass(frozen=True)
class Timing:
    """How queries are timed and when they are given up: keys of the `timing` section of the configuration."""

    min_sample_s: float
    min_repeats: int
    max_repeats: int
    budget_s: float
    rel_ci: float
    pass_s: float
    max_query_s: float
    min_recall: float
    batch_sizes: list
    batch_calls: int
    batch_budget_s: float
    seed: int
    enough_recall: float = math.inf
    gpu_mhz: int = 0
    pinned: bool = False
    callers: tuple = ()  # of the suite


def elapsed_ns(work, synchronize, loops=1):
    """Time one call until the device has finished it, or the mean of several in a row.

    Returns
    -------
    elapsed : int, nanoseconds per call
    result : what the last call of `work` returned
    """
    synchronize()
    start = time.perf_counter_ns()
    for _ in range(loops):
        result = None  # one answer is alive at a time
        result = work()
        synchronize()
    return round((time.perf_counter_ns() - start) / loops), result


@functools.cache
def rank(n, confidence=0.95):
    """How many of n samples are outside the interval of the median, on each side.

    The number of samples below the median is binomial(n, 1/2). Its probabilities are summed from ten standard deviations below
    the middle on, each from the one before: 2**n has no place in a float beyond n = 1,023.

    Returns
    -------
    j : int, the largest with P(at most j samples on one side) of no more than (1 - confidence) / 2; 0 if there is none
    """
    j = max(0, math.floor(n / 2 - 5 * math.sqrt(n)))
    part = math.exp(math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) - n * math.log(2))  # P(just j)
    tail = part
    while j + 1 < n / 2:
        part *= (n - j) / (j + 1)
        if 2 * (tail + part) > 1 - confidence:
            break
        tail += part
        j += 1
    return j


def median_interval(samples):
    """Distribution-free 95 % confidence interval of the median, from order statistics.

    It goes from the j-th smallest to the j-th largest sample with the largest j that keeps the confidence (Conover, Practical
    Nonparametric Statistics, 3.2). Under six samples no pair reaches 95 %, and the range of the samples is returned.

    Returns
    -------
    low, high : float, in the unit of the samples
    """
    ordered, j = sorted(samples), rank(len(samples))
    return ordered[j], ordered[-1 - j]


@contextlib.contextmanager
def no_garbage_collection():
    """Keep the collector of cyclic garbage from running inside a sample, as timeit does."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def enough_repeats(timing, pass_s):
    """How many repeats are enough of passes that take `pass_s`: `min_repeats`, or fewer if they take longer than they should.

    Parameters
    ----------
    timing : Timing
    pass_s : float, seconds
    """
    return min(timing.min_repeats, max(FEWEST, PATIENCE * timing.pass_s / pass_s)) if pass_s else timing.min_repeats


def repeat(work, synchronize, timing, store):
    """Time `work` until its median is known well enough.

    A call shorter than `min_sample_s` is looped, so that a sample is far longer than the clock's own resolution; a sample is
    then the mean of its loops. Stops at `max_repeats`, or after `enough_repeats` when the 95 % interval of the median is within
    ± `rel_ci` of it or `budget_s` is spent.

    Parameters
    ----------
    work, synchronize : callables without arguments
    timing : Timing
    store : callable (sample_ns, loops), called with every repeat as soon as it is over

    Returns
    -------
    result : of the last call
    """
    ordered, spent, loops = [], 0, 1  # samples by their size: sorting a million of them again takes longer than one
    with no_garbage_collection():
        while True:
            result = None
            sample, result = elapsed_ns(work, synchronize, loops)
            if not ordered and loops == 1 and sample < timing.min_sample_s * 1e9:
                loops = math.ceil(timing.min_sample_s * 1e9 / max(1, sample))
                continue
            store(sample, loops)
            bisect.insort(ordered, sample)
            spent, done = spent + sample * loops, len(ordered)
            if done >= enough_repeats(timing, spent / done / 1e9):
                j = rank(done)
                median = (ordered[(done - 1) // 2] + ordered[done // 2]) / 2
                precise = ordered[-1 - j] - ordered[j] <= 2 * timing.rel_ci * median
                if precise or spent >= timing.budget_s * 1e9 or done >= timing.max_repeats:
                    return result


def each_ns(works, synchronize, budget_s, at_least):
    """Time each of some calls once, in turn: latencies rather than a throughput.

    They end when `SHARE` of the budget is spent, unless the calls that the next percentile needs (`TOLD_BY`) fit into the whole
    of it: a call of a millisecond is made 500 times, one of 5 ms 100 times, and one of 50 ms only until that share is spent.

    Parameters
    ----------
    works : list of callables without arguments
    synchronize : callable without arguments
    budget_s : float
    at_least : int, calls that are made at any cost

    Yields
    ------
    elapsed : int, nanoseconds
    """
    ordered, spent, budget = [], 0, budget_s * 1e9
    with no_garbage_collection():
        for done, work in enumerate(works):
            if done >= at_least and spent >= SHARE * budget:
                left = min((calls - done for calls in TOLD_BY.values() if calls > done), default=math.inf)
                if spent + left * ordered[done // 2] > budget:  # by the median: one call that was held up decides nothing
                    return
            elapsed = elapsed_ns(work, synchronize)[0]
            bisect.insort(ordered, elapsed)
            spent += elapsed
            yield elapsed
