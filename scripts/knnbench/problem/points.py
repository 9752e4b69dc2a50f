"""Points that can be searched: what is asked of them, and how they come, block by block."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from knnbench.problem.domains import DOMAINS

REAL = "fiub"  # kinds of dtype that are searched, as float32
BROKEN = (zlib.error, zipfile.BadZipFile)  # what is said of archives that are damaged, besides errors of files
BLOCK_NUMBERS = 2**24  # of points that are held at once: 128 MiB as float64


class DataError(ValueError):
    """Points that cannot be searched; the message names the source, the row and the next step."""


@dataclass(frozen=True)
class Points:
    """Rows of points that come block by block, so that nobody needs to hold them all.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    blocks : iterator of ndarray, consecutive rows
    kept : ndarray of bool or None, which rows of their source these are, if some are left out
    """

    shape: tuple
    dtype: np.dtype
    blocks: Iterator
    kept: np.ndarray | None = None


@dataclass(frozen=True)
class Stream:
    """An array of a file that can only be read from its beginning, as often as one likes.

    Attributes
    ----------
    n : int, number of rows; or a callable that counts them, where that takes reading the file
    d : int
    dtype : numpy.dtype
    blocks : callable without arguments -> iterator of ndarray, consecutive rows
    """

    n: int | Callable
    d: int
    dtype: np.dtype
    blocks: Callable

    @property
    def shape(self):
        return (self.n() if callable(self.n) else self.n, self.d)


def block_rows(d):
    """How many rows of dimension `d` make a block."""
    return max(1, BLOCK_NUMBERS // max(1, d))


def in_blocks(values, kept=None):
    """Points of an array, of a dataset in an HDF5 file or of a stream: of all rows, or of those that are True in `kept`."""
    shape = values.shape
    step = block_rows(shape[1]) if len(shape) == 2 else 1

    def read():
        if isinstance(values, Stream):
            yield from values.blocks()
            return
        for first in range(0, len(values), step):
            yield values[first : first + step]

    def blocks():
        first, read_blocks = 0, read()
        while True:
            try:
                block = next(read_blocks, None)
            except (OSError, EOFError, RuntimeError, MemoryError, *BROKEN) as error:
                raise DataError(f"rows from {first} cannot be read ({error}); make or download the file again") from error
            if block is None:
                return
            some = block if kept is None else block[kept[first : first + len(block)]]
            first += len(block)
            if len(some):
                yield some

    return Points(shape if kept is None else (int(kept.sum()), *shape[1:]), values.dtype, blocks(), kept)


def covariance(points):
    """Covariance of points, taking all of their blocks.

    Parameters
    ----------
    points : Points

    Returns
    -------
    matrix : ndarray, shape (d, d), float64

    Raises
    ------
    DataError
        It has no inverse: coordinates depend on each other.
    """
    sums, products, n, centre = 0.0, 0.0, 0, None
    for block in points.blocks:
        block = block.astype(np.float64)
        centre = block[0] if centre is None else centre  # or what all points share would take the digits
        sums, products, n = sums + (block - centre).sum(0), products + (block - centre).T @ (block - centre), n + len(block)
    matrix = products / n - np.outer(sums / n, sums / n)
    if not np.isfinite(matrix).all() or np.linalg.cond(matrix) > 1e12:
        raise DataError(
            "the covariance of the points has no inverse: a coordinate is constant, or depends on others; leave it out"
        )
    return matrix


def check_form(shape, dtype, origin):
    """Raise DataError if an array of this shape and dtype cannot hold points."""
    if dtype.kind not in REAL:
        raise DataError(f"{origin}: dtype {dtype}; allowed are real numbers (floats and integers)")
    if len(shape) != 2 or 0 in shape:
        raise DataError(f"{origin}: shape {shape}; expected (rows, d) with at least one row and one column")
    if shape[1] > BLOCK_NUMBERS:
        raise DataError(f"{origin}: shape {shape}; a row has {BLOCK_NUMBERS:,} numbers at most")


def check_points(points, metric, origin, first=0, kept=None):
    """Turn an array into searchable points or say what is wrong with it.

    Parameters
    ----------
    points : ndarray, shape (rows, d), any real dtype
    metric : Metric
    origin : str, where the points come from, for the message
    first : int, number of the first row, for the message
    kept : ndarray of bool or None, which rows of their source these points are from, if some are left out, for the message

    Returns
    -------
    points : ndarray, shape (rows, d), float32, C-contiguous, as the metric prepares them

    Raises
    ------
    DataError
    """
    check_form(points.shape, points.dtype, origin)
    with np.errstate(over="ignore"):
        points = np.ascontiguousarray(points, dtype=np.float32)

    def refuse(bad, what):
        if bad.any():
            others = f", and {bad.sum() - 1} more rows near it" if bad.sum() > 1 else ""
            number = first + int(bad.argmax())
            number = number if kept is None else np.flatnonzero(kept)[number]
            raise DataError(f"{origin}: row {number} {what}{others}; remove or repair")

    if metric.dimension not in (None, points.shape[1]):
        raise DataError(
            f"{origin}: its points have dimension {points.shape[1]}, and the {metric.name} metric is for {metric.dimension}"
        )
    refuse(~np.isfinite(points).all(axis=1), "is not finite in float32 (NaN, inf or over 3.4e38)")
    if metric.domain != "any" or metric.prepare:
        outside, words = DOMAINS[metric.domain]
        exact = points.astype(np.float64)
        refuse(outside(exact), words.format(metric.name))
        points = np.ascontiguousarray(metric.prepare(exact), dtype=np.float32) if metric.prepare else points
    return points
