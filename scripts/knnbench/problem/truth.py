"""Exact neighbours: float64-grade for any metric, in bounded memory, by none of the backends under test.

A fast pass in float32 proposes candidates, a few more than are wanted. Their distances are computed again in float64 by direct
differences, which decides the order. A certificate then shows for every query that no other point can be nearer: the largest
candidate's float32 key, less the most that float32 can be wrong by, is no nearer than the last neighbour in float64. Queries
without a certificate are searched again in float64 throughout, and so is all under a metric for which that bound is not proven.
"""

import functools
import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from knnbench.problem.datasets import TRUTH_K
from knnbench.problem.metrics import by_weights
from knnbench.problem.recall import exact_distances

SPARE = 28  # candidates besides those that are wanted, so that the certificate has room
SAY_S = 10  # between two lines on how far a search is

SMALL = 2**24  # coordinates of all pairs: up to here float64 throughout is done before a kernel is compiled
TRAIN_BLOCK = 2**14  # rows that are prepared at a time: 13 MiB at d = 100, as float64
TILE = 1024  # keys of one query against a tile stay in the first-level cache
QUERY_BLOCK = 16  # queries that read a tile while it is in the second-level cache
PRODUCT_TILE = (256, 512)  # queries x points of a matrix product: half a MiB, in the second-level cache
CHUNK = 64  # keys that are compared with the worst candidate at once
PRODUCT_DIMENSION = 16  # from here on a matrix product is faster than differences

UNIT = 2.0**-24  # unit roundoff of float32
LARGEST = 1e9  # of a coordinate: its square over the smallest allowed first coordinate is far from float32's end
TINY = float(np.finfo(np.float32).tiny)  # what a product loses when it underflows is less


@numba.njit(inline="always")
def replace_root(keys, ids, key, new):
    """Put a key in place of the largest of a max-heap."""
    slot, k = 0, len(keys)
    while True:
        child = 2 * slot + 1
        if child >= k:
            break
        if child + 1 < k and keys[child + 1] > keys[child]:
            child += 1
        if keys[child] <= key:
            break
        keys[slot], ids[slot] = keys[child], ids[child]
        slot = child
    keys[slot], ids[slot] = key, new


@numba.njit(inline="always")
def offer(candidates, first, keys, ids):
    """Put those keys of a row into the heap that belong there; most chunks have none, which vector instructions find out."""
    for start in range(0, len(candidates), CHUNK):
        stop = min(len(candidates), start + CHUNK)
        worst = keys[0]
        nearer = 0
        for j in range(start, stop):
            nearer += candidates[j] < worst
        if nearer:
            for j in range(start, stop):
                if candidates[j] < keys[0]:
                    replace_root(keys, ids, candidates[j], first + j)


@numba.njit(nogil=True)
def offer_rows(products, first, keys, ids):
    for i in range(len(products)):
        offer(products[i], first, keys[i], ids[i])


@functools.cache
def compile_kernel(metric):
    """Compile the search of one block of points by direct differences, in the precision of its arguments.

    Returns
    -------
    kernel : callable (queries, weights, columns, point_weights, first, keys, ids)
        Updates the max-heaps `keys` and `ids`, shape (q, k), with the points in `columns`, shape (d, rows), whose ids start
        at `first`. Releases the interpreter's lock.
    """
    term, finish = (numba.njit(formula(np), error_model="numpy") for formula in (metric.term, metric.finish))
    join = numba.njit((lambda a, b: max(a, b)) if metric.reduce == "max" else (lambda a, b: a + b))
    nothing = -np.inf if metric.reduce == "max" else 0

    @numba.njit(nogil=True, error_model="numpy")  # or every division looks for a zero
    def kernel(queries, weights, columns, point_weights, first, keys, ids):
        q, d = queries.shape
        rows = columns.shape[1]
        tile_keys = np.empty(TILE, queries.dtype)
        fours = d // 4 * 4
        for query_block in range(0, q, QUERY_BLOCK):
            for tile in range(0, rows, TILE):
                width = min(TILE, rows - tile)
                stop = tile + width
                for i in range(query_block, min(q, query_block + QUERY_BLOCK)):
                    x = queries[i]
                    tile_keys[:width] = nothing
                    for axis in range(0, fours, 4):  # four at once: the sums are read and written a quarter as often
                        x0, x1, x2, x3 = x[axis], x[axis + 1], x[axis + 2], x[axis + 3]
                        y0, y1 = columns[axis, tile:stop], columns[axis + 1, tile:stop]
                        y2, y3 = columns[axis + 2, tile:stop], columns[axis + 3, tile:stop]
                        for j in range(width):
                            two, others = join(term(x0, y0[j]), term(x1, y1[j])), join(term(x2, y2[j]), term(x3, y3[j]))
                            tile_keys[j] = join(tile_keys[j], join(two, others))
                    for axis in range(fours, d):
                        x0, y0 = x[axis], columns[axis, tile:stop]
                        for j in range(width):
                            tile_keys[j] = join(tile_keys[j], term(x0, y0[j]))
                    x0, y0 = weights[i], point_weights[tile:stop]
                    for j in range(width):
                        tile_keys[j] = finish(tile_keys[j], x0, y0[j])
                    offer(tile_keys[:width], first + tile, keys[i], ids[i])

    return kernel


class Heaps:
    """The nearest points so far of every query, as max-heaps, and threads that share the queries."""

    def __init__(self, q, k, dtype):
        self.keys = np.full((q, k), np.inf, dtype)
        self.ids = np.full((q, k), -1, np.int64)

    def run(self, pool, work, *arguments):
        """Call `work` (*arguments, rows, keys, ids) for every thread's share of the queries."""
        bounds = np.linspace(0, len(self.keys), len(os.sched_getaffinity(0)) + 1, dtype=int)
        shares = [slice(start, stop) for start, stop in itertools.pairwise(bounds)]
        for task in [pool.submit(work, *arguments, rows, self.keys[rows], self.ids[rows]) for rows in shares]:
            task.result()


def blocks(points):
    """First row and rows of every block of points, of at most 2²⁴ numbers."""
    size = max(TILE, min(TRAIN_BLOCK, 2**24 // points.shape[1]))
    return ((first, points[first : first + size]) for first in range(0, len(points), size))


def searched(train):
    """`blocks`, with a line now and then, for the log, on how far the search is."""
    begun = said = time.monotonic()
    for first, block in blocks(train):
        now = time.monotonic()
        if first and now - said > SAY_S:
            left = (now - begun) / first * (len(train) - first)
            print(f"searched {first:,} of {len(train):,} points for exact neighbours; about {left:.0f} s more", flush=True)
            said = now
        yield first, block


def by_differences(metric, parts, queries, k, pool, dtype):
    """Search by direct differences in `dtype`.

    Parameters
    ----------
    parts : iterable of (int, ndarray), the number of a first row and the points from there on, as `blocks` has them

    Returns
    -------
    heaps : Heaps
    floor : ndarray, shape (q,), float64
        No other point has an exact key below it. Every term is of one sign and rounded a few times, so a float32 key is within
        (d + 8) units of its value (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
    """
    kernel, heaps = compile_kernel(metric), Heaps(len(queries), k, dtype)
    d, rounded, weights = queries.shape[1], queries.astype(dtype), metric.weight(np, queries)
    rounded_weights, least, most = weights.astype(dtype), np.inf, -np.inf

    def work(columns, point_weights, first, rows, keys, ids):
        kernel(rounded[rows], rounded_weights[rows], columns, point_weights, first, keys, ids)

    for first, block in parts:
        of_block = metric.weight(np, block.astype(np.float64))
        least, most = min(least, of_block.min()), max(most, of_block.max())
        heaps.run(pool, work, np.ascontiguousarray(block.T, dtype=dtype), of_block.astype(dtype), first)
    worst = heaps.keys[:, 0].astype(np.float64)
    lost = np.maximum(*(metric.finish(np)(d * TINY, weights, each) for each in (least, most)))
    return heaps, worst * (1 - 1.01 * (d + 8) * UNIT) - lost - TINY


def by_products(metric, train, queries, k, pool):
    """Search by matrix products in float32: for metrics whose key is w(y) c(x) |x - y|².

    Around a centre, w |x - y|² is the inner product of (w y, w |y|², w) and (-2 x, 1, |x|²). Its float32 value is wrong by at
    most (d + 8) units of the sum of the absolute values of its terms (Higham, as above), which is at most w (|x| + |y|)².

    Returns
    -------
    heaps, floor : as `by_differences` has them
    """
    heaps, d, finish = Heaps(len(queries), k, np.float32), train.shape[1], metric.finish(np)
    centre = train[:: max(1, len(train) // 10_000)].mean(0, dtype=np.float64).astype(np.float32).astype(np.float64)
    centred = queries - centre
    squares = (centred**2).sum(1)
    left = np.column_stack([-2 * centred, np.ones(len(queries)), squares]).astype(np.float32)
    query_tile, train_tile = PRODUCT_TILE

    def work(right, first, rows, keys, ids):
        mine, products = left[rows], np.empty(PRODUCT_TILE, np.float32)
        for column in range(0, right.shape[1], train_tile):
            tile = np.ascontiguousarray(right[:, column : column + train_tile])
            for row in range(0, len(mine), query_tile):
                some = slice(row, row + query_tile)
                out = products[: len(mine[some]), : tile.shape[1]]
                offer_rows(np.matmul(mine[some], tile, out=out), first + column, keys[some], ids[some])

    longest = heaviest = 0.0  # largest sqrt(w) |y| and sqrt(w)
    with threadpool_limits(1, "blas"):  # the threads are ours
        for first, block in searched(train):
            points = block - centre
            norms = (points**2).sum(1)
            weights = np.broadcast_to(finish(1.0, 1.0, metric.weight(np, block.astype(np.float64))), len(block))
            longest = max(longest, np.sqrt(weights * norms).max())
            heaviest = max(heaviest, np.sqrt(weights).max())
            right = np.vstack([points.T * weights, weights * norms, weights]).astype(np.float32)
            heaps.run(pool, work, right, first)
    worst = heaps.keys[:, 0].astype(np.float64)
    wrong = 1.01 * (d + 8) * UNIT * (longest + heaviest * np.sqrt(squares)) ** 2 + (d + 2) * TINY * max(1, heaviest**2)
    return heaps, (worst - wrong) * finish(1.0, metric.weight(np, queries), 1.0) / finish(1.0, 1.0, 1.0)


def rank(metric, train, queries, ids, k):
    """The k nearest of given candidates by float64 distances, exact ties by id.

    Returns
    -------
    neighbors : ndarray, shape (q, k), int32
    distances : ndarray, shape (q, k), float64
    """
    ids = np.sort(ids, axis=1)
    threads = len(os.sched_getaffinity(0))
    shares = np.array_split(np.arange(len(ids)), 4 * threads)
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda rows: exact_distances(metric, train, queries[rows], ids[rows]), shares)
        distances = np.concatenate(list(found))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(ids, order, 1).astype(np.int32), np.take_along_axis(distances, order, 1)


def exact_neighbors(metric, train, test, k=TRUTH_K):
    """Find the exact nearest neighbours of every query.

    Parameters
    ----------
    metric : Metric
    train, test : ndarray, shapes (n, d) and (q, d), of values that float32 holds; `train` may be mapped from a file
    k : int; fewer are returned if n is smaller

    Returns
    -------
    neighbors : ndarray, shape (q, min(k, n)), int32
        Sorted by distance, exact ties by id. Which of several points tied at the last place are listed is arbitrary: compare
        distances, not ids.
    distances : ndarray, same shape, float64
    """
    n, d = train.shape
    k, queries = min(k, n), np.asarray(test, dtype=np.float64)
    if n * d * len(queries) <= SMALL:
        return rank(metric, train, queries, np.broadcast_to(np.arange(n), (len(queries), n)), k)
    candidates = min(k + SPARE, n)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        if not (metric.proven and fits_float32(metric, train, queries)):
            found, _ = by_differences(metric, searched(train), queries, candidates, pool, np.float64)
            return rank(metric, train, queries, found.ids, k)
        if metric.expanded and d >= PRODUCT_DIMENSION:
            found, floor = by_products(metric, train, queries, candidates, pool)
        else:
            found, floor = by_differences(metric, searched(train), queries, candidates, pool, np.float32)
        neighbors, distances = rank(metric, train, queries, found.ids, k)
        doubtful = np.flatnonzero(metric.distance(np.maximum(floor, 0)) < distances[:, -1]) if candidates < n else []
        if len(doubtful):
            print(f"{len(doubtful)} of {len(queries)} queries have no certificate; they are searched in float64")
            found, _ = by_differences(metric, searched(train), queries[doubtful], candidates, pool, np.float64)
            neighbors[doubtful], distances[doubtful] = rank(metric, train, queries[doubtful], found.ids, k)
    return neighbors, distances


def fits_float32(metric, train, queries):
    """Whether no key overflows float32, or divides by what is too small for it: then a key is a number, or rightly infinite."""
    sized = all(np.abs([points.min(), points.max()]).max() < LARGEST for points in (train, queries))
    if not sized or metric.finish is not by_weights:
        return sized
    return all(
        metric.weight(np, block.astype(np.float64)).min() > 1 / LARGEST
        for points in (train, queries)
        for _, block in blocks(points)
    )
