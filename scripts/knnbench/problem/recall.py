"""Score answers. A backend never grades itself: distances are those in float64 of the ids that it returned."""

import numpy as np

TIE_TOLERANCE = 1e-6  # wide enough for exact ties, too narrow to hide float32
BLOCK_NUMBERS = 2**22  # coordinates at a time: 32 MiB as float64
DRAWN = 10  # points for each neighbour that is asked for, where only a sample of them says what chance scores
SHARES = {"recall_p05": 0.05, "recall_p25": 0.25, "recall_p50": 0.5}  # quantiles over queries


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
    block = max(1, BLOCK_NUMBERS // (ids.shape[1] * train.shape[1]))
    for start in range(0, len(ids), block):
        rows = slice(start, start + block)
        near = train[ids[rows]].astype(np.float64)
        distances[rows] = metric.distance(metric.keys(queries[rows, None].astype(np.float64), near))
    return distances


def distances_of(metric, train, queries, ids, true_ids, true_distances):
    """Distances of an answer in float64: known ones of true neighbours, and computed ones of the others.

    Parameters
    ----------
    metric : Metric
    train, queries : ndarray, shapes (n, d) and (q, d)
    ids : ndarray, shape (q, k), int64, rows sorted
    true_ids, true_distances : ndarray, shape (q, k)

    Returns
    -------
    distances : ndarray, shape (q, k), float64, rows sorted; infinite for ids that are no points, or are there already
    found : int, how many are true neighbours
    """
    n = len(train)
    valid = (ids >= 0) & (ids < n)
    valid[:, 1:] &= ids[:, 1:] != ids[:, :-1]
    # With an offset for each query, the ids of all of them are one ascending row.
    offset, order = np.arange(len(ids))[:, None] * n, np.argsort(true_ids, axis=1)
    known = (np.take_along_axis(true_ids, order, 1) + offset).ravel()
    asked = (ids + offset)[valid]
    places = np.minimum(np.searchsorted(known, asked), known.size - 1)
    found = known[places] == asked
    values = np.take_along_axis(true_distances, order, 1).ravel()[places]
    rows, others = np.divmod(asked[~found], n)
    values[~found] = exact_distances(metric, train, queries[rows], others[:, None])[:, 0]
    distances = np.full(ids.shape, np.inf)
    distances[valid] = values
    return np.sort(distances, axis=1), int(found.sum())


def bounds(true_distances, k):
    """Up to which distance a point counts as right: shape (q, 1), float64."""
    last = true_distances[:, k - 1 : k]
    return last + TIE_TOLERANCE * np.abs(last)


def chance(metric, train, queries, k, true_distances, others):
    """The recall that k points at random are expected to have: the share of points that count as right.

    That is k / n, and more where several points are as far away as the k-th, such as those of bits and counts. Where these
    are not all among the neighbours that are kept, their share is that among `DRAWN` * k points at random.

    Parameters
    ----------
    metric, train, queries, k, true_distances : as `score` has them
    others : int, how many points a query may have as neighbours

    Returns
    -------
    chance : float
    """
    farthest, kept = bounds(true_distances, k), true_distances.shape[1]
    shares = (true_distances <= farthest).sum(axis=1) / others
    rows = np.flatnonzero(shares == kept / others) if kept < others else []
    if len(rows):
        ids = np.random.default_rng(0).integers(len(train), size=(len(rows), DRAWN * k))
        shares[rows] = (exact_distances(metric, train, queries[rows], ids) <= farthest[rows]).mean(axis=1)
    return float(shares.mean())


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
    true_distances : ndarray, shape (q, >= k), float64, sorted; those of `exact_distances`

    Returns
    -------
    grades : dict
        recall : share of ids whose float64 distance is within the true k-th distance and `TIE_TOLERANCE` of it more.
        recall_p05, recall_p25, recall_p50 : quantiles of that share over queries, each the share of a query: of the sorted
        ones the last at or before the quantile (NumPy's method "lower").
        recall_zero : share of queries of which no id counts.
        recall_error : standard error of `recall`, as of a mean over queries.
        recall_ids : share of the true ids that were returned, as the KeOps page counts.
        wrong_neighbors : number of places that do not count for `recall`.
        distance_error : largest relative error of a distance, (returned - true) / the larger of both, between the j-th nearest
        point and the j-th nearest one that was returned: what float32 costs an exact backend. None if no id counts.

    Raises
    ------
    ValueError
        The answer is not a (q, k) array of integers.
    """
    ids = np.asarray(ids)
    if ids.shape != (len(queries), k) or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"the answer has shape {ids.shape} and dtype {ids.dtype}; expected {(len(queries), k)} integers")
    # Where every id is the true one in its place nothing is left to ask: of an exact backend, nearly everywhere.
    same = (ids == true_ids[:, :k]).all(axis=1)
    right, found, error = np.full(len(ids), k), k * int(same.sum()), 0.0 if same.any() else None
    farthest = bounds(true_distances, k)
    others = np.flatnonzero(~same)
    block = max(1, BLOCK_NUMBERS // (k * max(16, train.shape[1])))  # of few coordinates, what stays in a cache
    for start in range(0, len(others), block):
        rows = others[start : start + block]
        true = true_distances[rows, :k]
        some = np.sort(ids[rows].astype(np.int64), axis=1)
        distances, here = distances_of(metric, train, queries[rows], some, true_ids[rows, :k], true)
        right[rows] = (distances <= farthest[rows]).sum(axis=1)
        found += here
        returned = np.isfinite(distances)
        if returned.any():
            larger = np.maximum(np.abs(true), np.abs(distances))  # which is `distances`, but where they are negative
            away = returned & (larger > 0)
            error = max(error or 0.0, float(((distances - true)[away] / larger[away]).max(initial=0)))
    return {
        "recall": float(right.sum() / ids.size),
        **{name: float(np.quantile(right / k, share, method="lower")) for name, share in SHARES.items()},
        "recall_zero": float((right == 0).mean()),
        "recall_error": float(np.std(right / k) / np.sqrt(len(ids))),
        "recall_ids": float(found / ids.size),
        "wrong_neighbors": int(ids.size - right.sum()),
        "distance_error": error,
    }
