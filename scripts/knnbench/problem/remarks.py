"""What is odd about the points of a file: said, and refused for nothing, as it may be what is meant."""

from dataclasses import replace

import numpy as np

LEAST = 20  # rows; what is true of fewer may be by chance
PART = 2**18  # numbers that are looked at at once
LISTED = 5  # columns that a remark names
RADIANS = np.array([np.pi, 2 * np.pi])  # latitude and longitude, or longitude and latitude, are within these


class Columns:
    """What the columns of points hold, found out block by block as they pass.

    Parameters
    ----------
    points : Points

    Attributes
    ----------
    points : Points, the same, which are looked at on the way
    rows : int
    low, high : ndarray, shape (d,), the least and the largest number of each column, of the dtype of the points
    whole : ndarray of int, numbers of the columns without a fraction
    rising : ndarray of bool, shape (d,), where each of the whole numbers is larger than the one before
    sums, squares : ndarray, shape (d,), uint64, of the whole numbers, modulo 2^64
    """

    def __init__(self, points):
        self.points = replace(points, blocks=self._watch(points.blocks))
        self.rows = 0

    def _watch(self, blocks):
        for block in blocks:
            step = max(1, PART // block.shape[1])
            for start in range(0, len(block), step):
                with np.errstate(invalid="ignore"):  # what is not finite is refused by who takes it
                    self._look(np.asarray(block[start : start + step]))
            yield block

    def _look(self, rows):
        if not self.rows:
            self.low, self.high, self.whole = rows[0], rows[0], np.arange(rows.shape[1])
            self.rising, self.last = np.ones(rows.shape[1], bool), None
            self.sums, self.squares = np.zeros((2, rows.shape[1]), np.uint64)
        self.low, self.high = np.minimum(self.low, rows.min(axis=0)), np.maximum(self.high, rows.max(axis=0))
        if rows.dtype.kind == "f":  # numbers so large have no fractions in this type, and are no counts for that
            most = 2.0 ** np.finfo(rows.dtype).nmant
            some = rows[:, self.whole]
            self.whole = self.whole[((np.floor(some) == some) & (np.abs(some) <= most)).all(axis=0)]
        some = rows[:, self.whole]
        numbers = some.astype(np.int64).view(np.uint64)
        self.sums[self.whole] += numbers.sum(axis=0)
        self.squares[self.whole] += (numbers * numbers).sum(axis=0)
        rises = (some[1:] > some[:-1]).all(axis=0)
        self.rising[self.whole] &= rises if self.last is None else rises & (some[0] > self.last[self.whole])
        self.last, self.rows = rows[-1], self.rows + len(rows)


def numbering(parts):
    """Columns that have every whole number of a range once, in any order, as sums and sums of squares tell.

    Parameters
    ----------
    parts : list of Columns, whose rows are counted together

    Returns
    -------
    columns : list of int
    """
    rows, found = sum(part.rows for part in parts), []
    for column in set.intersection(*(set(part.whole.tolist()) for part in parts)):
        low, high = min(int(part.low[column]) for part in parts), max(int(part.high[column]) for part in parts)
        if high - low != rows - 1:
            continue
        total = rows * (low + high) // 2
        squares = [number * (number + 1) * (2 * number + 1) // 6 for number in (high, low - 1)]
        sums = sum(int(part.sums[column]) for part in parts), sum(int(part.squares[column]) for part in parts)
        if (sums[0] - total) % 2**64 == 0 and (sums[1] - squares[0] + squares[1]) % 2**64 == 0:
            found.append(column)
    return sorted(found)


def listed(columns, d, one, several):
    """Some of `d` columns in words, by their numbers, with a verb for one of them and for several."""
    if len(columns) == 1:
        return f"column {columns[0]} of {d:,} {one}"
    some = [*map(str, columns[:LISTED]), *["..."] * (len(columns) > LISTED)]
    return f"{len(columns):,} of {d:,} columns ({', '.join(some)}) {several}"


def oddities(metric, points, queries=None):
    """What is odd about points that have passed.

    Parameters
    ----------
    metric : Metric
    points : Columns
    queries : Columns, or None where points are their own queries

    Returns
    -------
    remarks : list of str
    """
    n, d = points.rows, len(points.low)
    parts = {"points": points} | ({"queries": queries} if queries else {})
    remarks = []
    if n < d:
        remarks.append(
            f"{n:,} points are fewer than their {d:,} dimensions: if the file is stored by columns, as R, Julia and MATLAB"
            " write it, exchange its rows and columns"
        )
    if metric.domain == "degrees":
        angles = [name for name, part in parts.items() if part.rows >= LEAST and within(part, RADIANS)]
        if angles:
            remarks.append(
                f"all angles of the {' and '.join(angles)} are within pi and 2 pi, as radians are, and are taken for degrees:"
                " if they are radians, such as scikit-learn's haversine takes, convert them (numpy.degrees)"
            )
    if n < LEAST:
        return remarks
    constant = points.low == points.high
    rising = [column for column in points.whole.tolist() if points.rising[column]]
    index = sorted({*rising, *numbering([points]), *(numbering([points, queries]) if queries else [])})
    if index:
        remarks.append(
            f"{listed(index, d, 'may be an index', 'may be indexes')}: whole numbers that rise from row to row, or all of a"
            " range, each once; an index counts in distances as a coordinate does, so leave it out unless it is one"
        )
    whole = set(points.whole.tolist())
    counts = [
        column
        for column in sorted(whole - set(index))
        if float(points.high[column]) - float(points.low[column]) > 1  # one of two neighbours is yes or no
    ]
    fractions = [column for column in range(d) if column not in whole and not constant[column]]
    if counts and fractions:
        most = max(max(abs(float(points.low[column])), abs(float(points.high[column]))) for column in counts)
        remarks.append(
            f"{listed(counts, d, 'holds', 'hold')} whole numbers, up to {most:,.6g}, beside fractions in others: if these are"
            " identifiers, labels or counts, leave them out or scale them"
        )
    if constant.any():
        same = listed(np.flatnonzero(constant).tolist(), d, "has", "have")
        remarks.append(f"{same} one value in all {n:,} points")
    return remarks


def within(part, limits):
    """Whether the numbers of two columns are within limits: of the first, and of the second."""
    return len(part.low) == 2 and bool((np.maximum(-part.low.astype(float), part.high) <= limits).all())
