"""Who is faster, pair by pair: comparisons.csv."""

import itertools

from knnbench.config.suite import AUTO
from knnbench.results.intervals import RATIO_CONFIDENCE, estimate_of, ratios
from knnbench.results.machines import machine_of
from knnbench.results.tables import SEARCH

SAME_WITHIN = 0.05  # timing.same of results that do not have it
# By how much a library may be faster in another way of searching: FAISS at d = 100 is six times as fast with BLAS.
OTHER_WAY = 10.0
DOUBTED = {"small_subset", "not_linear"}  # flags
FASTER, SAME, UNDECIDED = "faster", "same", "undecided"


def may_be_faster(row):
    """By what factor a backend may be faster than its row says: by `OTHER_WAY` if it was asked fewer queries than it needs to
    search as it searches all of them, or its time did not grow as their number did (`DOUBTED`); every other one by none."""
    return OTHER_WAY if DOUBTED & set(str(row["flags"]).split("; ")) else 1.0


def verdict_of(low, high, same, margin=1.0):
    """Verdict on two backends by the interval of the ratio of their times.

    Parameters
    ----------
    low, high : float, or None where nothing is known of other rounds
    same : float, share by which times may differ that count as the same
    margin : float, factor by which the slower one may be faster than it was measured (`may_be_faster`)
    """
    if low is None or (margin > 1 and low <= margin):
        return UNDECIDED
    if 1 / (1 + same) <= low and high <= 1 + same:
        return SAME
    return FASTER if low > 1 or high < 1 else UNDECIDED


def looks(timing):
    """How often results are looked at before it is decided which cells have another round: each look costs its share of the
    verdicts that may be false.

    Parameters
    ----------
    timing : dict, section of the configuration
    """
    return timing["max_rounds"] - 1 if timing.get("rounds") == AUTO else 1


def judge(pairs, timing):
    """Judge pairs of rows that search the same, all together.

    Parameters
    ----------
    pairs : list of (dict, dict), rows of timings.csv, the faster one first
    timing : dict, section of the configuration

    Returns
    -------
    judged : list of (float, float, float, float, str)
        The slower one's time over its own, with an interval and its confidence as intervals.ratios has them, and the verdict;
        there is no interval where one of both has one round and no prior.
    """
    same = timing.get("same", SAME_WITHIN)
    estimates = [(estimate_of(slow), estimate_of(fast)) for fast, slow in pairs]
    known = [number for number, pair in enumerate(estimates) if all(pair)]
    margins = [may_be_faster(slow) for _, slow in pairs]
    found, confidence = ratios(
        [estimates[number] for number in known],
        same,
        [margins[number] for number in known],
        (1 - RATIO_CONFIDENCE) / looks(timing),
    )
    judged = [(slow["query_median_s"] / fast["query_median_s"], None, None, None, UNDECIDED) for fast, slow in pairs]
    for number, (middle, low, high) in zip(known, found, strict=True):
        judged[number] = middle, low, high, confidence, verdict_of(low, high, same, margins[number])
    return judged


def compare(rows, timing):
    """Compare all pairs of rows that search the same on the same machine.

    Parameters
    ----------
    rows : list of dict, of timings.csv
        Those that have a time, one for each family (curves.standing); controls are left out.
    timing : dict, section of the configuration

    Returns
    -------
    comparisons : list of tuple, as `tables.COMPARISON` names them
        The faster of a pair is first, with what `judge` says of it.
    """
    groups = {}
    for row in rows:
        if not row["control"]:
            search = *(row[name] for name in SEARCH[:-1]), machine_of(row)[0]
            groups.setdefault(search, []).append(row)
    pairs = []
    for search, group in groups.items():
        ranked = sorted(group, key=lambda row: row["query_median_s"])
        for fast, slow in itertools.combinations(ranked, 2):
            models = {machine_of(row)[1] for row in (fast, slow)} - {None}
            if len(models) < 2:  # of one CPU with two GPUs nothing is compared
                pairs.append(((*search[:-1], "; ".join([search[-1], *models])), fast, slow))
    judged = judge([(fast, slow) for _, fast, slow in pairs], timing)
    return [
        (*search, *(f"{row['family']}-{row['device']}" for row in (fast, slow)), *found)
        for (search, fast, slow), found in zip(pairs, judged, strict=True)
    ]
