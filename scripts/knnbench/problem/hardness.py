"""How hard a dataset is to search, whoever searches it: numbers of its points and exact neighbours (docs/measuring.md)."""

import itertools

import numpy as np

from knnbench.problem.recall import TIE_TOLERANCE, exact_distances
from knnbench.problem.rounding import row_hashes
from knnbench.problem.truth import blocks, exact_neighbors

SAMPLE = 1000  # queries and points that stand for all of them where pairs are computed
SEED = 0


def sample(rows):
    """Some rows of many, the same for the same number, in their order."""
    return np.sort(np.random.default_rng(SEED).choice(rows, min(rows, SAMPLE), replace=False))


def median(values):
    """The median of what is a number, NaN if that is none or infinite."""
    known = values[~np.isnan(values)]
    found = np.median(known) if len(known) else np.nan
    return found if np.isfinite(found) else np.nan


def local_dimensions(lengths):
    """Estimate the local intrinsic dimensionality of queries from their k nearest points, for k = 1, 2, ... in turn.

    The maximum likelihood of Levina and Bickel (2004): k - 1 over the sum of ln(r_k / r_j). Points at distance 0 say nothing of
    how fast a ball fills, and are left out.

    Parameters
    ----------
    lengths : ndarray, shape (q, K), rows sorted

    Yields
    ------
    dimensions : ndarray, shape (q,)
        Infinite where all are equally far; NaN where fewer than two are apart from the query.
    """
    known, sums = np.zeros((2, len(lengths)))
    for column in lengths.T:
        apart = column > 0
        logs = np.log(column, out=np.zeros(len(column)), where=apart)
        known, sums = known + apart, sums + logs
        spread = known * logs - sums
        spread[spread <= TIE_TOLERANCE * known] = 0
        with np.errstate(divide="ignore", invalid="ignore"):
            yield np.where(known > 1, (known - 1) / spread, np.nan)


def duplicates_and_norms(train):
    """Share of the rows that equal another one before them, and the rows' euclidean norms."""
    hashes, norms = [], []
    for _, block in blocks(train):
        hashes.append(row_hashes(block))
        norms.append(np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64)))
    return 1 - len(np.unique(np.concatenate(hashes))) / len(train), np.concatenate(norms)


def nearest_other(metric, train, rows):
    """Distance from some points to the nearest of all others, which may be a duplicate; infinite if there is no other."""
    ids, distances = exact_neighbors(metric, train, train[rows], 2)
    if ids.shape[1] == 1:
        return np.full(len(rows), np.inf)
    return np.where(ids[:, 0] == rows, distances[:, 1], distances[:, 0])


def hardness(metric, train, queries, distances):
    """Say how hard it is to find the nearest points.

    Parameters
    ----------
    metric : Metric
    train, queries : ndarray, shapes (n, d) and (q, d)
    distances : ndarray, shape (q, K), of the exact neighbours

    Returns
    -------
    found : dict
        lid, relative_contrast, ties : ndarray, shape (K,), for every k from 1; NaN where it is not known.
        duplicates, norm_spread, query_distance_ratio : float; None where it is not known.
    """
    tied = [(after <= before + TIE_TOLERANCE * np.abs(before)).mean() for before, after in itertools.pairwise(distances.T)]
    duplicates, norms = duplicates_and_norms(train)
    unknown = np.full(distances.shape[1], np.nan)
    lengths, among, dimensions, contrasts = np.full(distances.shape, np.nan), 0.0, unknown, unknown
    if metric.length:
        lengths, some = metric.length(distances), sample(len(queries))
        points = train[sample(len(train))]
        everyone = np.tile(np.arange(len(points)), (len(some), 1))
        far = metric.length(exact_distances(metric, points, queries[some], everyone)).mean(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            contrasts = np.array([median(far / column) for column in lengths[some].T])
        dimensions = np.array([median(each) for each in local_dimensions(lengths)])
        among = median(metric.length(nearest_other(metric, train, sample(len(train)))))
    return {
        "lid": dimensions,
        "relative_contrast": contrasts,
        "ties": np.array([*tied, np.nan]),
        "duplicates": duplicates,
        "norm_spread": 0.0 if metric.normalised else float(norms.std() / norms.mean()) if norms.any() else None,
        "query_distance_ratio": float(median(lengths[:, 0]) / among) if among > 0 else None,
    }
