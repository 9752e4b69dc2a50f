"""How sure a median is, whether two of them differ, and whether samples look as if something else went on."""

import math
from dataclasses import dataclass

import numpy as np
from diptest import diptest
from scipy.special import stdtrit  # quantiles of Student's t; scipy.stats takes seconds to import

CONFIDENCE = 0.95  # of a median
RATIO_CONFIDENCE = 0.99  # of a ratio: a table holds hundreds of pairs, and one false winner in twenty is too many
DRAWS = 1000  # of a bootstrap
AT_ONCE = 10**7  # numbers that are drawn at once: of a million samples all draws would be 8 GB
LONGEST = 1000  # samples whose pairs are looked at: their number grows with the square
SUSPICION = 0.01  # p-value below which a sequence of samples is flagged ...
EFFECT = 0.05  # ... if what is suspected moves them by more than this share of their median


@dataclass(frozen=True)
class Estimate:
    """A time on a logarithmic scale, on which ratios are differences.

    Attributes
    ----------
    log : float, logarithm of the time in seconds
    error : float, standard error of `log`
    freedom : float, degrees of freedom of `error`
    """

    log: float
    error: float
    freedom: float


def estimate(rounds, seed=0):
    """Estimate a time from the samples of several processes: the geometric mean of the medians of the rounds.

    The error is from a hierarchical bootstrap, which draws rounds and then samples within them (Kalibera and Jones, Rigorous
    Benchmarking in Reasonable Time, ISMM 2013). A bootstrap of few rounds is too narrow by sqrt(1 - 1/rounds) (Hesterberg, What
    Teachers Should Know About the Bootstrap, The American Statistician 69, 2015), which is made good here; Student's t in
    `interval` does the rest.

    Parameters
    ----------
    rounds : list of at least two sequences of samples, in seconds

    Returns
    -------
    Estimate
    """
    generator = np.random.default_rng(seed)
    number = len(rounds)
    medians = np.empty((number, DRAWS))
    for samples, row in zip(rounds, medians, strict=True):
        for some in np.array_split(row, math.ceil(DRAWS * len(samples) / AT_ONCE)):
            some[:] = np.median(generator.choice(samples, (len(some), len(samples))), axis=1)
    drawn = medians[generator.integers(number, size=(number, DRAWS)), generator.integers(DRAWS, size=(number, DRAWS))]
    error = np.log(drawn).mean(axis=0).std() * math.sqrt(number / (number - 1))
    return Estimate(float(np.mean([np.log(np.median(samples)) for samples in rounds])), float(error), number - 1)


def interval(time):
    """Confidence interval of an `Estimate`: low, high in seconds."""
    half = stdtrit(time.freedom, (1 + CONFIDENCE) / 2) * time.error
    return math.exp(time.log - half), math.exp(time.log + half)


def ratio(one, other, confidence=RATIO_CONFIDENCE):
    """Ratio of two times with its confidence interval (Welch's t on logarithms).

    Parameters
    ----------
    one, other : Estimate
    confidence : float, in (0, 1)

    Returns
    -------
    ratio, low, high : float; the two are not distinguishable if low <= 1 <= high
    """
    a, b = one.error**2, other.error**2
    log = one.log - other.log
    half = 0.0
    if a + b:
        freedom = (a + b) ** 2 / (a**2 / one.freedom + b**2 / other.freedom)
        half = stdtrit(freedom, (1 + confidence) / 2) * math.sqrt(a + b)
    return math.exp(log), math.exp(log - half), math.exp(log + half)


def drifts(samples):
    """Whether samples rise or fall in the order of measurement: Kendall's rank correlation, and Theil and Sen's slope.

    The slope of more than `LONGEST` samples is that of the medians of as many stretches.
    """
    from scipy import stats

    if len(samples) < 6 or stats.kendalltau(range(len(samples)), samples).pvalue >= SUSPICION:
        return False
    if len(samples) > LONGEST:
        samples = [np.median(stretch) for stretch in np.array_split(samples, LONGEST)]
    slope = stats.theilslopes(samples).slope
    return bool(abs(slope) * (len(samples) - 1) > EFFECT * np.median(samples))


def is_bimodal(samples):
    """Whether samples have more than one mode: Hartigan's dip test, and modes that are apart."""
    if len(samples) < 20 or diptest(np.asarray(samples, dtype=float))[1] >= SUSPICION:
        return False
    low, median, high = np.quantile(samples, [0.1, 0.5, 0.9])
    return bool(high - low > 2 * EFFECT * median)
