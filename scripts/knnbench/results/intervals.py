"""How sure a median is, whether two of them differ, and whether samples look as if something else went on."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from diptest import diptest
from scipy.special import stdtr, stdtrit  # Student's t and its quantiles; scipy.stats takes seconds to import

from knnbench.results.tables import MODERATED, OTHERS

CONFIDENCE = 0.95  # of a median
RATIO_CONFIDENCE = 0.99  # of a ratio; of the verdicts `faster` in a table no more than the rest to 1 are false
LEAST_VARIANCE = 1e-10  # of a logarithm: rounds that agree in five digits agree by chance
WIDEST = 300.0  # of half an interval on the logarithmic scale: beyond, numbers have no room for its ends
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
    moderated : bool, whether they are of moderation.moderate, and not of its own rounds alone
    """

    log: float
    error: float
    freedom: float
    moderated: bool = False


def medians_drawn(rounds, generator):
    """Medians of samples that a bootstrap draws from each of several rounds, shape (rounds, DRAWS)."""
    medians = np.empty((len(rounds), DRAWS))
    for samples, row in zip(rounds, medians, strict=True):
        for some in np.array_split(row, math.ceil(DRAWS * len(samples) / AT_ONCE)):
            some[:] = np.median(generator.choice(samples, (len(some), len(samples))), axis=1)
    return medians


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
    number, medians = len(rounds), medians_drawn(rounds, generator)
    drawn = medians[generator.integers(number, size=(number, DRAWS)), generator.integers(DRAWS, size=(number, DRAWS))]
    error = np.log(drawn).mean(axis=0).std() * math.sqrt(number / (number - 1))
    error = max(float(error), math.sqrt(LEAST_VARIANCE / number))
    return Estimate(float(np.mean([np.log(np.median(samples)) for samples in rounds])), error, number - 1)


def ends(middle, half):
    """The two ends of an interval on the logarithmic scale, as times: finite and positive, however wide it is."""
    half = min(half, WIDEST)
    return math.exp(middle - half), math.exp(middle + half)


def interval(time):
    """Confidence interval of an `Estimate`: low, high in seconds."""
    return ends(time.log, stdtrit(time.freedom, (1 + CONFIDENCE) / 2) * time.error)


def estimate_of(row):
    """The `Estimate` that a row of timings.csv was written from; None where nothing is known of other rounds.

    Parameters
    ----------
    row : dict, with query_median_s, query_low_s, query_high_s and query_freedom
    """
    if pd.isna(row["query_median_s"]) or pd.isna(row["query_freedom"]):
        return None
    middle, low, high, freedom = (float(row[f"query_{name}"]) for name in ("median_s", "low_s", "high_s", "freedom"))
    error = math.log(high / low) / (2 * stdtrit(freedom, (1 + CONFIDENCE) / 2))
    return Estimate(math.log(middle), error, freedom, row["query_interval"] in (MODERATED, OTHERS))


def difference(one, other):
    """Difference of two times on the logarithmic scale, as an `Estimate`.

    Its degrees of freedom are Welch and Satterthwaite's for variances that are estimated from the rounds of each time alone. A
    moderated variance does not scatter around a fixed true one: the true one scatters around it, so that both may be larger
    than they look at once (Behrens and Fisher's problem). Then they are the fewer of both, which is nearly exact for equal
    errors, and never too many.
    """
    a, b = one.error**2, other.error**2
    freedom = min(one.freedom, other.freedom)
    if not (one.moderated or other.moderated):
        freedom = (a + b) ** 2 / (a**2 / one.freedom + b**2 / other.freedom) if a + b else math.inf
    return Estimate(one.log - other.log, math.sqrt(a + b), freedom)


def ratio(one, other, confidence=RATIO_CONFIDENCE):
    """Ratio of two times with its confidence interval (Student's t on logarithms).

    Parameters
    ----------
    one, other : Estimate
    confidence : float, in (0, 1)

    Returns
    -------
    ratio, low, high : float
    """
    found = difference(one, other)
    return math.exp(found.log), *ends(found.log, stdtrit(found.freedom, (1 + confidence) / 2) * found.error)


def chances(differences, beyond):
    """The share of samples that would be as far beyond bounds if the truth was on them, two-sided; 1 where one is not beyond.

    Parameters
    ----------
    differences : list of Estimate
    beyond : ndarray, how far each is beyond its bound, on the logarithmic scale
    """
    errors = np.array([each.error for each in differences])
    scores = np.divide(beyond, errors, out=np.where(beyond > 0, np.inf, 0.0), where=errors > 0)
    return np.where(beyond > 0, 2 * stdtr([each.freedom for each in differences], -scores), 1.0)


def ratios(pairs, same, margins, false_share=1 - RATIO_CONFIDENCE):
    """Ratios of many pairs of times, with intervals of one confidence, so that few of those that are told apart are not.

    Of the pairs whose interval neither has 1 in it, nor lies within `same`, a share of at most `false_share` is expected to be
    false (Benjamini and Hochberg, Controlling the False Discovery Rate, Journal of the Royal Statistical Society B 57, 1995;
    proven for pairs that are independent, or err in the same direction). The confidence is the least one at which there are as
    many of them as it allows for (Benjamini and Yekutieli, False Discovery Rate-Adjusted Multiple Confidence Intervals for
    Selected Parameters, Journal of the American Statistical Association 100, 2005): pairs that are the same do not loosen it
    for the others.

    Parameters
    ----------
    pairs : list of (Estimate, Estimate)
    same : float, share by which times may differ that count as the same
    margins : list of float, factor for each pair that its ratio has to exceed to be told apart
    false_share : float

    Returns
    -------
    found : list of (float, float, float), as `ratio` returns them
    confidence : float, of the intervals
    """
    if not pairs:
        return [], 1 - false_share
    differences = [difference(*pair) for pair in pairs]
    apart, margins = np.abs([each.log for each in differences]), np.log(margins)
    outside = chances(differences, apart - margins)
    inside = np.where(margins > 0, 1.0, chances(differences, math.log1p(same) - apart))
    allowed = false_share * np.arange(1, len(pairs) + 1) / len(pairs)
    told = np.searchsorted(np.sort(outside), allowed, "right")
    told -= np.searchsorted(np.sort(np.maximum(outside, inside)), allowed, "right")
    enough = np.flatnonzero(told >= np.arange(1, len(pairs) + 1))
    confidence = 1 - float(allowed[enough[-1] if len(enough) else 0])
    return [ratio(*pair, confidence) for pair in pairs], confidence


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
