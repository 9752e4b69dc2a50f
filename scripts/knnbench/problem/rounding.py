"""What float32, in which points are searched, loses of points that are kept with more digits."""

from dataclasses import replace

import numpy as np

HARMLESS = 1e-5  # of a column's standard deviation: a rounding error that no neighbour depends on
MERGED = 1e-3  # share of distinct points of floating-point numbers that may become equal; of integers, none may
PART = 2**18  # numbers that are looked at at once: 4 MiB as long doubles


def row_hashes(rows):
    """64-bit hashes by which rows of numbers are told apart: ndarray, shape (rows,)."""
    positive = rows + rows.dtype.type(0)  # -0 and 0 are one number
    return np.fromiter((hash(row.tobytes()) for row in positive), np.int64, len(positive))


class Rounding:
    """What is lost of the points of a dataset, found out block by block as they pass.

    Per column, the root mean square of the errors is compared with the standard deviation of the points: what all points share
    is no distance between them. And distinct points are counted, by 64-bit hashes of their rows, before and after.

    Parameters
    ----------
    train, test : Points; take all blocks of `train` before those of `test`

    Attributes
    ----------
    train, test : Points, the same, which are looked at on the way if float32 may not hold them
    """

    def __init__(self, train, test):
        self.lossy = not all(np.can_cast(points.dtype, np.float32) for points in (train, test))
        self.integers = train.dtype.kind in "iu"
        self.first, self.rows, self.errors, self.all_rows = None, 0, 0.0, 0
        self.sums = self.squares = 0.0
        self.hashes = ([], [])
        self.train, self.test = (
            replace(points, blocks=self._watch(points.blocks, searched)) if self.lossy else points
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
        before, after = (len(np.unique(np.concatenate(hashes))) for hashes in self.hashes)
        worst = int(share.argmax())
        if share[worst] <= HARMLESS and before - after <= (0 if self.integers else MERGED * before):
            return None
        return (
            f"float32, in which points are searched, does not hold its numbers: those of column {worst} move by"
            f" {error[worst]:.3g} (root mean square), {share[worst]:.2g} of their standard deviation; of {before:,} distinct"
            f" points {after:,} are left. Subtract what all share, such as the earliest time, or scale them, and save them anew"
        )
