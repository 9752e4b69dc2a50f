"""Score answers. A backend never grades itself: distances are recomputed in float64 from the ids that it returned."""

import numpy as np

TIE_TOLERANCE = 1e-6  # wide enough for exact ties, too narrow to hide float32


def exact_distances(metric, train, queries, ids):
    """Distances of given neighbours by direct differences in float64.

    Parameters
    ----------
    metric : Metric
    train : ndarray, shape (n, d)
    queries : ndarray, shape (q, d)
    ids : ndarray, shape (q, k), integer in 0 .. n-1

    Returns
    -------
    distances : ndarray, shape (q, k), float64
    """
    distances = np.empty(ids.shape)
    block = max(1, 2**22 // (ids.shape[1] * train.shape[1]))  # 32 MiB of float64 differences
    for start in range(0, len(ids), block):
        rows = slice(start, start + block)
        near = train[ids[rows]].astype(np.float64)
        distances[rows] = metric.distance(metric.keys(queries[rows, None].astype(np.float64), near))
    return distances


def score(metric, train, queries, ids, k, true_ids, true_distances):
    """Recall of an answer.

    Parameters
    ----------
    metric : Metric
    train, queries : ndarray, shapes (n, d) and (q, d)
    ids : ndarray, shape (q, k), integer
        The answer. Ids that are negative, out of range or repeated never count.
    k : int, how many neighbours were asked for
    true_ids : ndarray, shape (q, >= k), integer
    true_distances : ndarray, shape (q, >= k), float64

    Returns
    -------
    recall : float
        Share of ids whose float64 distance is within the true k-th distance times 1 + `TIE_TOLERANCE`.
    recall_ids : float
        Share of the true ids that were returned, as the KeOps page counts.

    Raises
    ------
    ValueError
        The answer is not a (q, k) array of integers.
    """
    ids = np.asarray(ids)
    if ids.shape != (len(queries), k) or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"the answer has shape {ids.shape} and dtype {ids.dtype}; expected {(len(queries), k)} integers")
    ids = np.sort(ids.astype(np.int64), axis=1)
    counts = (ids >= 0) & (ids < len(train))
    counts[:, 1:] &= ids[:, 1:] != ids[:, :-1]
    distances = exact_distances(metric, train, queries, np.where(counts, ids, 0))
    near = distances <= true_distances[:, k - 1 : k] * (1 + TIE_TOLERANCE)
    offset = np.arange(len(ids))[:, None] * len(train)  # makes ids of different queries different
    found = np.isin((ids + offset)[counts], true_ids[:, :k] + offset)
    return float((near & counts).sum() / counts.size), float(found.sum() / counts.size)
