"""What float32, in which points are searched, loses of points that are kept with more digits."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from knnbench.problem.recall import TIE_TOLERANCE
from knnbench.problem.truth import SPARE, by_differences

HARMLESS = 1e-5  # of a column's standard deviation: a rounding error that no neighbour depends on
MERGED = 1e-3  # share of distinct points of floating-point numbers that may become equal; of integers, none may
ASKED, K = 1000, 10  # queries that are asked in float64, and their neighbours that are looked at
CHANGED = 1e-3  # share of them that may have others
PART = 2**18  # numbers that are looked at at once: 4 MiB as long doubles


def row_hashes(rows):
    """64-bit hashes by which rows of numbers are told apart: ndarray, shape (rows,)."""
    positive = rows + rows.dtype.type(0)  # -0 and 0 are one number
    return np.fromiter((hash(row.tobytes()) for row in positive), np.int64, len(positive))


def taken(points, rows):
    """Rows of points, by ascending numbers, as float64."""
    found, first = [], 0
    for block in points.blocks:
        here = rows[(rows >= first) & (rows < first + len(block))]
        found.append(block[here - first].astype(np.float64))
        first += len(block)
    return np.concatenate(found)


def losses(rounding, metric, read, neighbors, own=None):
    """What float32 lost of points that came with more digits, as attributes of the dataset; empty if they did not.

    Parameters
    ----------
    rounding : Rounding, which has seen all points
    metric : Metric
    read : callable, which reads points and queries again
    neighbors : ndarray, shape (q, k), in float32
    own : as `queries_changed` has it, of all queries

    Returns
    -------
    found : dict
        rows_merged : share of distinct points that are no longer so. queries_changed : that of a sample of queries.
    """
    if not rounding.lossy:
        return {}
    before, after = rounding.distinct()
    some = np.sort(np.random.default_rng(0).permutation(len(neighbors))[:ASKED])
    mine = None if own is None else own[some]
    train, test, *_ = read()
    queries = taken(test, some) if own is None else taken(read()[0], mine)
    return {
        "rows_merged": (before - after) / before,
        "queries_changed": queries_changed(metric, train, queries, neighbors[some], mine),
    }


def queries_changed(metric, train, queries, neighbors, own=None):
    """Share of queries that have other nearest neighbours in float32 than among the points as they came.

    Parameters
    ----------
    metric : Metric
    train : Points, as they came, of which all blocks are taken
    queries : ndarray, shape (q, d), float64, as they came
    neighbors : ndarray, shape (q, k), of the same queries in float32
    own : ndarray, shape (q,), or None
        Which points the queries are, if they are asked for their neighbours among the others.

    Returns
    -------
    share : float
        Neighbours within `TIE_TOLERANCE` of the last one are equal.
    """
    prepare = metric.prepare or (lambda points: points)
    k = min(K, neighbors.shape[1])

    def parts():
        first = 0
        for block in train.blocks:
            yield first, prepare(block.astype(np.float64))
            first += len(block)

    candidates = min(k + SPARE, train.shape[0])
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        found, _ = by_differences(metric, parts(), prepare(queries), candidates, pool, np.float64)
    if own is not None:
        found.keys[found.ids == own[:, None]] = np.inf
    distances = metric.distance(found.keys)
    last = np.sort(distances, axis=1)[:, k - 1 : k]
    near = distances <= last + TIE_TOLERANCE * np.abs(last)
    told = ~near.all(axis=1) | (candidates == train.shape[0])  # or there may be more that are equally near
    kept = [np.isin(mine[:k], ids[here]).all() for mine, ids, here in zip(neighbors, found.ids, near, strict=True)]
    return float((told & ~np.array(kept)).mean())


def centred(points, centre):
    """Points less a centre, in the digits that they came with.

    Parameters
    ----------
    points : Points
    centre : ndarray, shape (d,), long double
    """
    blocks = ((block.astype(np.longdouble) - centre).astype(np.float64) for block in points.blocks)
    return replace(points, dtype=np.dtype(np.float64), blocks=blocks)


def mean(points):
    """Mean of points, of which all blocks are taken: ndarray, shape (d,), long double."""
    total, first = 0, None
    for block in points.blocks:
        exact = block.astype(np.longdouble)
        first = exact[0] if first is None else first
        total = total + (exact - first).sum(axis=0)
    return first + total / points.shape[0]


class Rounding:
    """What is lost of the points of a dataset, found out block by block as they pass.

    Per column, the root mean square of the errors is compared with the standard deviation of the points: what all points share
    is no distance between them. And distinct points are counted, by 64-bit hashes of their rows, before and after.

    Parameters
    ----------
    train, test : Points; take all blocks of `train` before those of `test`, which is None where points are their own queries

    Attributes
    ----------
    train, test : Points, the same, which are looked at on the way if float32 may not hold them
    """

    def __init__(self, train, test):
        self.lossy = not all(np.can_cast(points.dtype, np.float32) for points in (train, test) if points)
        self.integers = train.dtype.kind in "iu"
        self.first, self.rows, self.errors, self.all_rows = None, 0, 0.0, 0
        self.sums = self.squares = 0.0
        self.hashes = ([], [])
        self.train, self.test = (
            replace(points, blocks=self._watch(points.blocks, searched)) if self.lossy and points else points
            for points, searched in ((train, True), (test, False))
        )

    def _watch(self, blocks, searched):
        for block in blocks:
            step = max(1, PART // block.shape[1])
            for start in range(0, len(block), step):
                with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by who takes it
                    self._look(block[start : start + step], searched)
            yield block

    def _look(self, rows, searched):
        exact = rows.astype(np.longdouble if rows.dtype.itemsize >= 8 and rows.dtype != np.float64 else np.float64)
        rounded = rows.astype(np.float32)
        self.errors = self.errors + ((exact - rounded) ** 2).sum(axis=0)
        self.all_rows += len(rows)
        if not searched:
            return
        if self.first is None:
            self.first = exact[0]
        shifted = exact - self.first  # or the squares of large numbers would hide how they differ
        self.sums, self.squares = self.sums + shifted.sum(axis=0), self.squares + (shifted**2).sum(axis=0)
        self.rows += len(rows)
        unrounded = rows if rows.dtype.itemsize <= 8 else exact.astype(float)  # a long double's bytes are not all its own
        for hashes, values in zip(self.hashes, (unrounded, rounded), strict=True):
            hashes.append(row_hashes(values))

    def distinct(self):
        """Numbers of distinct points before and after: tuple of two int."""
        return tuple(len(np.unique(np.concatenate(hashes))) for hashes in self.hashes)

    def remark(self):
        """Say what was lost, in a sentence with numbers; None if it harms nobody.

        Returns
        -------
        remark : str or None
        """
        if not self.lossy:
            return None
        mean = self.sums / self.rows
        deviation = np.sqrt(np.maximum(self.squares / self.rows - mean**2, 0)).astype(float)
        error = np.sqrt(self.errors / self.all_rows).astype(float)
        # A column that does not vary is the same distance from a query for all points.
        share = np.divide(error, deviation, out=np.zeros_like(error), where=deviation > 0)
        before, after = self.distinct()
        worst = int(share.argmax())
        if share[worst] <= HARMLESS and before - after <= (0 if self.integers else MERGED * before):
            return None
        return (
            f"float32, in which points are searched, does not hold its numbers: those of column {worst} move by"
            f" {error[worst]:.3g} (root mean square), {share[worst]:.2g} of their standard deviation; of {before:,} distinct"
            f" points {after:,} are left. Subtract what all share, such as the earliest time (centre: true), or scale them"
        )
