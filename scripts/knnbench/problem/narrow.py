"""Numbers that types narrower than float32 do not hold, and distances that float32 itself does not."""

import numpy as np

LARGEST = {"float16": 65_504, "bfloat16": (2 - 2**-7) * 2.0**127, "int8": 127}
SMALLEST = {"float16": "6e-08", "bfloat16": "9e-41", "int8": "a 127th of the largest"}  # what is nearer to 0 becomes 0, about
# int8 is cut to its range, which those queries bear that are a little outside of the points'; the others become infinite.
ROOM = {"float16": 1, "bfloat16": 1, "int8": 2}
BEYOND = 0.01  # share of points, or of queries, with a number beyond the largest: an infinite one spoils no answer but its own
DISTINCT = 0.1  # share of a sample of points that has to be told apart
SAMPLE = 1000  # of points
NUMBERS = 2**20  # that are looked at at once
FEW_MERGED, MOVED = 0.01, 0.1  # share of that sample, and of a neighbour's distance, that no answer is poor for
ASKED, K = 100, 10  # queries whose neighbours are looked at, and how many of them
OUTSIDE = 0.01  # share of neighbours whose keys float32 does not hold


def bits_of_bfloat16(values):
    """float32 values rounded to bfloat16, to even, as the upper halves of their bits: NumPy has no such type."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


ROUND = {
    "float16": lambda values: values.astype(np.float16).astype(np.float32),
    "bfloat16": lambda values: (bits_of_bfloat16(values).astype(np.uint32) << 16).view(np.float32),
    "int8": np.rint,
}


def not_held(backend, train, queries):
    """Say which share of points or queries the type that a backend rounds them to does not hold; None if it holds them.

    Parameters
    ----------
    backend : Backend
    train, queries : ndarray, shapes (n, d) and (q, d), float32

    Returns
    -------
    reason : str or None
    """
    kind = backend.rounds_to
    if kind is None:
        return None
    prepare = backend.before_rounding(train)
    for points, words in ((train, "points"), (queries, "queries"))[: 1 + backend.rounds_queries]:
        numbers, rows, most = 0, 0, 0.0
        step = max(1, NUMBERS // points.shape[1])
        for start in range(0, len(points), step):
            exact = prepare(points[start : start + step])
            beyond = np.abs(rounded_to(kind, exact)) > ROOM[kind] * LARGEST[kind]
            numbers, rows = numbers + np.count_nonzero(beyond), rows + np.count_nonzero(beyond.any(axis=1))
            most = max(most, float(np.abs(exact).max()))
        if rows > BEYOND * len(points):
            shares = [f"{100 * share:.3g}%" for share in (numbers / points.size, rows / len(points))]
            return (
                f"{kind} ends at {LARGEST[kind]:,.6g} and does not hold {shares[0]} of the numbers of the {words}"
                f" (in {shares[1]} of these), which go up to {most:.3g}; scale them, or search in float32"
            )
    before, after, words = told_apart(kind, prepare, train)
    return f"{words}; scale or shift them, or search in float32" if after < DISTINCT * before else None


def rounded_to(kind, values):
    with np.errstate(over="ignore"):
        return ROUND[kind](values)


def told_apart(kind, prepare, train):
    """How many of a sample of points differ before and after they are rounded to a type, and this in words."""
    exact = prepare(train[:: max(1, len(train) // SAMPLE)][:SAMPLE])
    rounded = rounded_to(kind, exact)
    before, after = (len(np.unique(each, axis=0)) for each in (exact, rounded))
    zeros = np.count_nonzero((rounded == 0) & (exact != 0)) / max(1, np.count_nonzero(exact))
    words = f"{kind} leaves {after:,} of {before:,} points distinct"
    if zeros > 0.5:  # of numbers near 0 some always are
        words += f" and makes 0 of {100 * zeros:.3g}% of their numbers, for it has nothing nearer to 0 than {SMALLEST[kind]}"
    return before, after, words


def lost(backend, dataset):
    """Say what of a dataset is lost in the numbers that a backend compares, after its answer was poor; "" if nothing is known.

    Parameters
    ----------
    backend : Backend
    dataset : Dataset
    """
    if not backend.searches:
        return ""
    train, queries, kind = dataset.train, dataset.test, backend.rounds_to
    if words := outside_float32(dataset.metric, train, queries, dataset.neighbors):
        return f"; {words}"
    if kind is None:
        return ""
    prepare = backend.before_rounding(train)
    nearest = prepare(train[dataset.neighbors[:ASKED, 0]])
    apart = np.median(np.linalg.norm(prepare(queries[:ASKED]) - nearest, axis=1))
    moved = np.median(np.linalg.norm(rounded_to(kind, nearest) - nearest, axis=1))
    before, after, words = told_apart(kind, prepare, train)
    if after > (1 - FEW_MERGED) * before and moved < MOVED * apart:  # then the answer is poor for something else
        return ""
    return f"; {words}, and moves a neighbour by {moved:.2g} where a query is {apart:.2g} away"


def outside_float32(metric, train, queries, neighbors):
    """Say for how many neighbours float32 does not hold what a metric ranks, such as squares; None for (nearly) none.

    Parameters
    ----------
    metric : Metric
    train, queries : ndarray, shapes (n, d) and (q, d), float32
    neighbors : ndarray, shape (q, k), of the queries

    Returns
    -------
    words : str or None
    """
    few = max(1, min(ASKED, NUMBERS // (K * train.shape[1])))
    x, y = queries[:few, None], train[neighbors[:few, :K]]
    least, largest = (getattr(np.finfo(np.float32), name) for name in ("tiny", "max"))
    with np.errstate(all="ignore"):
        keys, exact = metric.keys(x, y), metric.keys(x.astype(np.float64), y.astype(np.float64))
        lost = ~np.isfinite(keys) | ((np.abs(keys) < least) & (exact != 0))
        if metric.expanded:  # into squares of the points themselves
            lost |= np.isinf((y * y).sum(-1))
    if lost.mean() <= OUTSIDE:
        return None
    return (
        f"float32 does not hold what {metric.name} ranks of {lost.mean():.0%} of the nearest neighbours, such as squares of"
        f" their differences: it ends at {largest:.2g} and {least:.2g}, so scale the points"
    )
