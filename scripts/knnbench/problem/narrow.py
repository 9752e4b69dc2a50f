"""Numbers that types narrower than float32 do not hold, and distances that float32 itself does not."""

import numpy as np

LARGEST = {"float16": 65_504, "bfloat16": (2 - 2**-7) * 2.0**127, "int8": 127}
SMALLEST = {"float16": "6e-08", "bfloat16": "9e-41", "int8": "a 127th of the largest"}  # that is not rounded to 0
# Share of numbers beyond the largest that no answer suffers from: infinite ones spoil answers to all, and what is cut to the
# range of int8 is near its end.
BEYOND = {"float16": 0, "bfloat16": 0, "int8": 0.01}
VANISHED = 0.5  # share of the numbers that are rounded to 0, and are not 0: those of most, and nothing is left to compare
NUMBERS = 2**20  # that are looked at at once
ASKED, K = 100, 10  # queries whose neighbours are looked at, and how many of them
POINTS = 1000  # that are looked at after an answer was poor
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
    """Say which numbers of points or queries are beyond the type that a backend rounds them to; None if it holds them.

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
        beyond, vanished, others, most = 0, 0, 0, 0.0
        step = max(1, NUMBERS // points.shape[1])
        for start in range(0, len(points), step):
            exact = prepare(points[start : start + step])
            with np.errstate(over="ignore"):
                rounded = ROUND[kind](exact)
            beyond += np.count_nonzero(np.abs(rounded) > LARGEST[kind])
            vanished += np.count_nonzero((rounded == 0) & (exact != 0))
            others += np.count_nonzero(exact)
            most = max(most, float(np.abs(exact).max()))
        if beyond > BEYOND[kind] * points.size:
            return (
                f"{kind} ends at {LARGEST[kind]:,.6g} and does not hold {100 * beyond / points.size:.3g}% of the numbers of the"
                f" {words}, which go up to {most:.3g}; scale them, or search in float32"
            )
        if vanished > VANISHED * others:
            return (
                f"{kind} has nothing between 0 and {SMALLEST[kind]}, and makes 0 of {100 * vanished / others:.3g}% of the"
                f" numbers of the {words} that are not 0; scale them, or search in float32"
            )
    return None


def lost(backend, dataset):
    """Say what of a dataset is lost in the numbers that a backend compares, after its answer was poor; "" if nothing is known.

    Parameters
    ----------
    backend : Backend
    dataset : Dataset
    """
    train = dataset.train
    if not backend.searches:
        return ""
    if kind := backend.rounds_to:
        exact = backend.before_rounding(train)(train[:: max(1, len(train) // POINTS)][:POINTS])
        rounded = ROUND[kind](exact)
        before, after = (len(np.unique(each, axis=0)) for each in (exact, rounded))
        moved = np.sqrt(np.mean((rounded - exact) ** 2, dtype=np.float64))
        spread = np.sqrt(np.mean((exact - exact.mean(axis=0)) ** 2, dtype=np.float64))
        return (
            f"; {kind} leaves {after:,} of {before:,} points distinct and moves their numbers by {moved / (spread or 1):.2g} of"
            " their standard deviation"
        )
    words = outside_float32(dataset.metric, train, dataset.test, dataset.neighbors)
    return f"; {words}" if words else ""


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
