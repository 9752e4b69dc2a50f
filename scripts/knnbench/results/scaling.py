"""How times grow with n, d, K and the number of queries, from cells that differ in one of them only."""

import itertools
import math

import numpy as np
from scipy.special import stdtrit

from knnbench.results.intervals import CONFIDENCE

SIZES = {"n": "points n", "d": "dimension d", "queries": "queries", "n_neighbors": "K"}
FEWEST = 3  # sizes of a series: with two, a power law has no error
TIMES = {
    along: ["query_median_s", "fit_s"] if along in ("n", "d") else ["query_median_s"] for along in SIZES
}  # what depends on it
COLUMNS = (
    "machine",
    "backend",
    "device",
    "name",
    "metric",
    "source",
    *SIZES,
    "along",
    "sizes",
    "time",
    "exponent",
    "low",
    "high",
)
CROSSINGS = ("machine", "device", "metric", "source", *SIZES, "along", "before", "after", "low", "high", "at", "fastest")


def series(timings, sources):
    """Split measured rows, NumPy to NumPy, into series in which one size varies.

    Parameters
    ----------
    timings : DataFrame, of Results.timings
    sources : dict, dataset -> where its points come from; only drawn points of one kind are of one series

    Yields
    ------
    along : str, the size that varies
    rows : DataFrame, sorted by it, of all curves of one search
    """
    rows = timings[(timings["residency"] == "host") & (timings["status"] == "ok")]
    rows = rows.assign(source=rows["dataset"].map(sources))
    rows = rows[rows["source"].isin(("normal", "uniform", "sphere"))]
    for along in SIZES:
        same = ["machine", "metric", "source", *(size for size in SIZES if size != along)]
        for _, group in rows.groupby(same, sort=False):
            if group[along].nunique() >= FEWEST:
                yield along, group.drop_duplicates(["curve", along]).sort_values(along)


def exponent(sizes, times):
    """Exponent of a power law, and its interval: a line through logarithms.

    Returns
    -------
    exponent, low, high : float
    """
    from scipy.stats import linregress

    line = linregress(np.log(sizes), np.log(times))
    half = stdtrit(len(sizes) - 2, (1 + CONFIDENCE) / 2) * line.stderr
    return line.slope, line.slope - half, line.slope + half


def exponents(timings, sources):
    """Exponents of all series: rows as `COLUMNS` name them; a size that varies is empty."""
    found = []
    for along, group in series(timings, sources):
        for _, rows in group.groupby("curve", sort=False):
            if len(rows) < FEWEST:
                continue
            first = rows.iloc[0].to_dict() | {
                along: None,
                "along": along,
                "sizes": " ".join(f"{size:g}" for size in rows[along]),
            }
            for time in TIMES[along]:
                values = dict(zip(("exponent", "low", "high"), exponent(rows[along], rows[time]), strict=True))
                found.append({**first, **values, "time": time})
    return [{name: row[name] for name in COLUMNS} for row in found]


def crossings(timings, sources):
    """Where one brute force overtakes another of the same device: rows as `CROSSINGS` name them, those of the fastest first.

    Only where their 95% intervals are apart at both sizes. `at` is between the sizes `low` and `high`, where lines through
    logarithms cross; `fastest` says whether the one that is overtaken was the fastest of all before.
    """
    found = []
    for along, group in series(timings, sources):
        brute = group[group["exact"] & ~group["prunes"]]
        for device, rows in brute.groupby("device", sort=False):
            ends = ("query_median_s", "query_low_s", "query_high_s")
            times, least, most = (np.log(rows.pivot(index=along, columns="curve", values=end)) for end in ends)
            names = rows.drop_duplicates("curve").set_index("curve")["name"]
            place = rows.iloc[0].to_dict() | {along: None, "device": device, "along": along}
            for before, after in itertools.permutations(times, 2):
                behind = (times[after] - times[before]).dropna()
                for (low, first), (high, second) in itertools.pairwise(behind.items()):
                    if least.loc[low, after] > most.loc[low, before] and least.loc[high, before] > most.loc[high, after]:
                        share = first / (first - second)
                        at = math.exp((1 - share) * math.log(low) + share * math.log(high))
                        fastest = times.loc[low].idxmin() == before
                        pair = {"before": names[before], "after": names[after], "low": low, "high": high}
                        pair |= {"at": at, "fastest": fastest}
                        found.append({name: (place | pair)[name] for name in CROSSINGS})
    return sorted(found, key=lambda row: not row["fastest"])
