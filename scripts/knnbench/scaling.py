"""How times grow with n, d, K and the number of queries, from cells that differ in one of them only."""

import math

import numpy as np
from scipy import stats

from knnbench.intervals import CONFIDENCE

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
CROSSINGS = ("machine", "device", "metric", "source", *SIZES, "along", "before", "after", "low", "high", "at")


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
    line = stats.linregress(np.log(sizes), np.log(times))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(sizes) - 2) * line.stderr
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
    """Where the fastest brute force of a device changes from one library to another: rows as `CROSSINGS` name them.

    `at` is between the sizes `low` and `high`, where lines through logarithms cross.
    """
    found = []
    for along, group in series(timings, sources):
        brute = group[group["exact"] & ~group["prunes"]]
        for device, rows in brute.groupby("device", sort=False):
            tables = rows.pivot(index=along, columns="name", values="query_median_s")
            best = tables.idxmin(axis=1)
            for low, high in zip(best.index[:-1], best.index[1:], strict=True):
                before, after = best[low], best[high]
                gains = [math.log(tables.loc[size, after] / tables.loc[size, before]) for size in (low, high)]
                if before == after or any(map(math.isnan, gains)):
                    continue
                share = gains[0] / (gains[0] - gains[1])
                at = math.exp((1 - share) * math.log(low) + share * math.log(high))
                place = rows.iloc[0].to_dict() | {along: None, "device": device, "along": along}
                place |= {"before": before, "after": after, "low": low, "high": high, "at": at}
                found.append({name: place[name] for name in CROSSINGS})
    return found
