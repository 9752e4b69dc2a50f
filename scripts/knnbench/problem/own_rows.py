"""Points that are their own queries, for the kNN graph of a set: which are asked, and their neighbours without themselves."""

import numpy as np

EVERY = 100_000  # as many points are all asked; of more, so many if the entry does not say how many (queries)


def choose_own(settings, n):
    """Which points are asked for their neighbours among the others.

    Parameters
    ----------
    settings : dict, an entry of `datasets` with `self: true`
    n : int, points

    Returns
    -------
    own : ndarray, shape (q,), int64, ascending; all of them, or a sample that is drawn by `seed`
    """
    q = min(n, settings.get("queries", EVERY))
    return np.sort(np.random.default_rng(settings.get("seed", 0)).choice(n, q, replace=False))


def without_own(ids, own, values=None):
    """The k of k + 1 neighbours that are left when each row leaves itself out; where it is not among them, the last one.

    Parameters
    ----------
    ids : ndarray, shape (q, k + 1), int
    own : ndarray, shape (q,), int
    values : ndarray like `ids`, or None

    Returns
    -------
    ids : ndarray, shape (q, k)
    values : the same of `values`, if there are
    """
    found = ids == own[:, None]
    k = ids.shape[1] - 1
    place = np.where(found.any(axis=1), found.argmax(axis=1), k)
    kept = np.arange(k) + (np.arange(k) >= place[:, None])
    left = np.take_along_axis(ids, kept, 1)
    return left if values is None else (left, np.take_along_axis(values, kept, 1))
