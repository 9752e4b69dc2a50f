"""Exact neighbours: every distance in float64 by direct differences, for any metric, in bounded memory.

No backend under test takes part. The kernel is compiled from the metric's own definition.
"""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

K_MAX = 100  # one truth per dataset serves every K up to here

TRAIN_BLOCK = 2**14  # rows held as float64, transposed: 13 MiB at d = 100
TILE = 1024  # keys of one query against a tile stay in the first-level cache
QUERY_BLOCK = 16  # queries that read a tile while it is in the second-level cache


def compile_kernel(metric):
    """Compile the search of one block of points for a metric.

    Returns
    -------
    kernel : callable (queries, columns, first, keys, ids)
        Updates the max-heaps `keys` and `ids`, shape (q, k), with the points in `columns`, shape (d, rows), whose ids start
        at `first`. Releases the interpreter's lock.
    """
    term, finish = numba.njit(metric.term), numba.njit(metric.finish)

    @numba.njit(nogil=True)
    def kernel(queries, columns, first, keys, ids):
        q, d = queries.shape
        rows, k = columns.shape[1], keys.shape[1]
        tile_keys = np.empty(TILE)
        for query_block in range(0, q, QUERY_BLOCK):
            for tile in range(0, rows, TILE):
                width = min(TILE, rows - tile)
                for i in range(query_block, min(q, query_block + QUERY_BLOCK)):
                    tile_keys[:width] = 0.0
                    for axis in range(d):
                        x, column = queries[i, axis], columns[axis, tile : tile + width]
                        for j in range(width):
                            tile_keys[j] += term(x, column[j])
                    x0, column = queries[i, 0], columns[0, tile : tile + width]
                    for j in range(width):
                        key = finish(tile_keys[j], x0, column[j])
                        if not key < keys[i, 0]:
                            continue
                        slot = 0  # replace the root of the heap and sift it down
                        while True:
                            child = 2 * slot + 1
                            if child >= k:
                                break
                            if child + 1 < k and keys[i, child + 1] > keys[i, child]:
                                child += 1
                            if keys[i, child] <= key:
                                break
                            keys[i, slot], ids[i, slot] = keys[i, child], ids[i, child]
                            slot = child
                        keys[i, slot], ids[i, slot] = key, first + tile + j

    return kernel


def exact_neighbors(metric, train, test, k=K_MAX):
    """Find the exact nearest neighbours of every query.

    Parameters
    ----------
    metric : Metric
    train, test : ndarray, shapes (n, d) and (q, d), real
    k : int; fewer are returned if n is smaller

    Returns
    -------
    neighbors : ndarray, shape (q, min(k, n)), int32
        Sorted by distance, exact ties by id. Which of several points tied at the last place are listed is arbitrary: compare
        distances, not ids.
    distances : ndarray, same shape, float64
    """
    k = min(k, len(train))
    kernel = compile_kernel(metric)
    queries = test.astype(np.float64)
    keys = np.full((len(test), k), np.inf)
    ids = np.full((len(test), k), -1, dtype=np.int64)
    workers = len(os.sched_getaffinity(0))
    bounds = np.linspace(0, len(test), workers + 1, dtype=int)
    shares = [slice(start, stop) for start, stop in itertools.pairwise(bounds)]
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(train), TRAIN_BLOCK):
            columns = np.ascontiguousarray(train[first : first + TRAIN_BLOCK].T, dtype=np.float64)
            tasks = [pool.submit(kernel, queries[rows], columns, first, keys[rows], ids[rows]) for rows in shares]
            for task in tasks:
                task.result()
    order = np.lexsort((ids, keys))
    keys, ids = np.take_along_axis(keys, order, 1), np.take_along_axis(ids, order, 1)
    return ids.astype(np.int32), metric.distance(keys)
