"""The clock: how a stretch of work is timed and when it has been repeated often enough."""

import gc
import math
import statistics
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """When to stop repeating and when to give up; the `timing` section of the configuration, in seconds."""

    min_repeats: int
    max_repeats: int
    budget_s: float
    rel_ci: float
    max_fit_s: float
    max_query_s: float
    min_recall: float


def elapsed_ns(work, synchronize):
    """Time one call until the device has finished it.

    Returns
    -------
    elapsed : int, nanoseconds
    result : what `work` returned
    """
    synchronize()
    start = time.perf_counter_ns()
    result = work()
    synchronize()
    return time.perf_counter_ns() - start, result


def median_interval(samples, confidence=0.95):
    """Distribution-free confidence interval of the median, from order statistics.

    The number of samples below the median is binomial(n, 1/2); the interval goes from the j-th smallest to the j-th largest
    sample with the largest j that keeps the confidence (Conover, Practical Nonparametric Statistics, 3.2). Under six samples
    no pair reaches 95 %, and the range of the samples is returned.

    Returns
    -------
    low, high : float, in the unit of the samples
    """
    ordered, n = sorted(samples), len(samples)
    tail, j = 0.5**n, 0  # tail = P(at most j samples on one side)
    while j + 1 < n / 2 and 2 * (tail + math.comb(n, j + 1) * 0.5**n) <= 1 - confidence:
        j += 1
        tail += math.comb(n, j) * 0.5**n
    return ordered[j], ordered[n - 1 - j]


def repeat(work, synchronize, timing, store):
    """Time `work` until its median is known well enough.

    Stops at `max_repeats`, or after `min_repeats` when the 95 % interval of the median is narrower than ± `rel_ci` of it
    or `budget_s` is spent. The garbage collector is off meanwhile.

    Parameters
    ----------
    work, synchronize : callables without arguments
    timing : Timing
    store : callable (sample_ns), called with every repeat as soon as it is over

    Returns
    -------
    result : of the last call
    """
    samples_ns = []
    gc.collect()
    gc.disable()
    try:
        while True:
            sample, result = elapsed_ns(work, synchronize)
            samples_ns.append(sample)
            store(sample)
            if len(samples_ns) >= timing.min_repeats:
                low, high = median_interval(samples_ns)
                precise = high - low <= 2 * timing.rel_ci * statistics.median(samples_ns)
                spent = sum(samples_ns) >= timing.budget_s * 1e9
                if precise or spent or len(samples_ns) >= timing.max_repeats:
                    return result
    finally:
        gc.enable()
