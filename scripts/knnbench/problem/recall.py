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
    """Grade an answer.

    Parameters
    ----------
    metric : Metric
    train, queries : ndarray, shapes (n, d) and (q, d)
    ids : ndarray, shape (q, k), integer
        The answer. Ids that are negative, out of range or repeated never count.
    k : int, how many neighbours were asked for
    true_ids : ndarray, shape (q, >= k), integer
    true_distances : ndarray, shape (q, >= k), float64, sorted

    Returns
    -------
    grades : dict
        recall : share of ids whose float64 distance is within the true k-th distance times 1 + `TIE_TOLERANCE`.
        recall_ids : share of the true ids that were returned, as the KeOps page counts.
        wrong_neighbors : number of places that do not count for `recall`.
        distance_error : largest relative error of a distance, 1 - true / returned, between the j-th nearest point and the
        j-th nearest one that was returned: what float32 costs an exact backend. None if no id counts.

    Raises
    ------
    ValueError
        The answer is not a (q, k) array of integers.
    """
    ids = np.asarray(ids)
    if ids.shape != (len(queries), k) or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"the answer has shape {ids.shape} and dtype {ids.dtype}; expected {(len(queries), k)} integers")
    ids = np.sort(ids.astype(np.int64), axis=1)
    valid = (ids >= 0) & (ids < len(train))
    valid[:, 1:] &= ids[:, 1:] != ids[:, :-1]
    distances = np.where(valid, exact_distances(metric, train, queries, np.where(valid, ids, 0)), np.inf)
    near = distances <= true_distances[:, k - 1 : k] * (1 + TIE_TOLERANCE)
    offset = np.arange(len(ids))[:, None] * len(train)  # makes ids of different queries different
    found = np.isin((ids + offset)[valid], true_ids[:, :k] + offset)
    distances.sort(axis=1)
    returned = np.isfinite(distances) & (distances > 0)
    errors = 1 - true_distances[:, :k][returned] / distances[returned]
    return {
        "recall": float(near.sum() / near.size),
        "recall_ids": float(found.sum() / near.size),
        "wrong_neighbors": int((~near).sum()),
        "distance_error": max(0.0, float(errors.max(initial=0))) if valid.any() else None,
    }
