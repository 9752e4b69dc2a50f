"""Scores of any answer, good, wrong or nonsense, against a slow way to count that a reader can follow."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knnbench.problem.metrics import METRICS, PAGE
from knnbench.problem.points import check_points
from knnbench.problem.recall import TIE_TOLERANCE, chance, exact_distances, score


def slow_score(metric, train, queries, ids, k, true_ids, true_distances):
    """What score() is to return, id by id."""
    shares, found, wrong, errors = [], 0, 0, []
    for query, row, truth, limits in zip(queries, ids.tolist(), true_ids[:, :k].tolist(), true_distances[:, :k], strict=True):
        known = {each for each in row if 0 <= each < len(train)}
        near = sorted(exact_distances(metric, train, query[None], np.array([[each]])).item() for each in known)
        right = sum(distance <= limits[k - 1] * (1 + TIE_TOLERANCE) for distance in near)
        shares.append(right / k)
        wrong += k - right
        found += len(known & set(truth))
        pairs = list(zip(near, limits, strict=False))
        errors += [(one - true) / max(abs(one), abs(true)) if one or true else 0.0 for one, true in pairs]
    shares.sort()

    def quantile(share):  # of 21 queries, 5% is the second one
        return shares[math.floor(share * (len(shares) - 1))]

    return {
        "recall": pytest.approx(sum(shares) / len(shares), rel=1e-12),
        "recall_error": pytest.approx(np.std(shares) / len(shares) ** 0.5),
        "recall_p05": quantile(0.05),
        "recall_p25": quantile(0.25),
        "recall_p50": quantile(0.5),
        "recall_zero": shares.count(0) / len(shares),
        "recall_ids": found / ids.size,
        "wrong_neighbors": wrong,
        "distance_error": max(0.0, *errors) if errors else None,
    }


def problem(metric, seed, n, d, grid, more=3):
    """Points, 21 queries, and their exact neighbours, a few more than are asked for; a coarse grid has ties and duplicates."""
    generator = np.random.default_rng(seed)
    train, queries = (
        check_points(np.ceil(generator.uniform(0.5, 1.5, (rows, d)) / grid) * grid, METRICS[metric], "points")
        for rows in (n, 21)
    )
    matrix = exact_distances(METRICS[metric], train, queries, np.tile(np.arange(n), (21, 1)))
    k = int(generator.integers(1, n + 1))
    true_ids = np.argsort(matrix, axis=1, kind="stable")[:, : k + more]
    return train, queries, k, true_ids.astype(np.int32), np.take_along_axis(matrix, true_ids, 1), generator


# Ways to spoil an answer: functions of the true ids, the number of points and a generator.
SPOILED = {
    "exact": lambda ids, n, generator: ids,
    "in another order": lambda ids, n, generator: generator.permuted(ids, axis=1),
    "partly random": lambda ids, n, generator: np.where(
        generator.random(ids.shape) < 0.5, ids, generator.integers(0, n, ids.shape)
    ),
    "random": lambda ids, n, generator: generator.integers(0, n, ids.shape),
    "padded": lambda ids, n, generator: np.where(generator.random(ids.shape) < 0.3, -1, ids),
    "repeated": lambda ids, n, generator: np.where(generator.random(ids.shape) < 0.3, ids[:, :1], ids),
    "out of range": lambda ids, n, generator: np.where(
        generator.random(ids.shape) < 0.3, generator.integers(-n, 3 * n, ids.shape), ids
    ),
    "nothing": lambda ids, n, generator: np.full_like(ids, -1),
    "extreme": lambda ids, n, generator: generator.choice(
        [np.iinfo(np.int64).min, np.iinfo(np.int64).max, n, n - 1, 0], ids.shape
    ),
}


@pytest.mark.parametrize("metric", PAGE)
@pytest.mark.parametrize("kind", SPOILED)
@settings(max_examples=10)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 40),
    d=st.integers(1, 5),
    grid=st.sampled_from([2**-20, 0.25]),
    dtype=st.sampled_from([np.int32, np.int64, np.uint64]),
)
def test_score_counts_as_one_would_by_hand(metric, kind, seed, n, d, grid, dtype):
    train, queries, k, true_ids, true_distances, generator = problem(metric, seed, n, d, grid)
    ids = SPOILED[kind](true_ids[:, :k].astype(np.int64), n, generator).astype(dtype)
    grades = score(METRICS[metric], train, queries, ids, k, true_ids, true_distances)
    assert grades == slow_score(METRICS[metric], train, queries, ids.astype(np.int64), k, true_ids, true_distances)


def test_score_is_the_same_in_blocks(monkeypatch):
    """Of all queries at once, of some, and of one."""
    train, queries, k, true_ids, true_distances, generator = problem("euclidean", 3, 40, 3, 0.25)
    ids, grades = SPOILED["out of range"](true_ids[:, :k], 40, generator), []
    for numbers in (2**22, 16 * k * 5, 1):
        monkeypatch.setattr("knnbench.problem.recall.BLOCK_NUMBERS", numbers)
        grades.append(score(METRICS["euclidean"], train, queries, ids, k, true_ids, true_distances))
    assert grades[0] == grades[1] == grades[2]


def test_score_of_many_neighbours_takes_little_memory():
    """10⁶ ids in dimension 100, none of which is a true one."""
    generator = np.random.default_rng(0)
    train, queries = (generator.normal(size=(rows, 100)).astype("f4") for rows in (4000, 1000))
    true_ids = np.tile(np.arange(1000, dtype=np.int32), (1000, 1))
    ids = true_ids + 2000
    true_distances = np.full(ids.shape, 1.0)
    tracemalloc.start()
    grades = score(METRICS["euclidean"], train, queries, ids, 1000, true_ids, true_distances)
    assert tracemalloc.get_traced_memory()[1] < 150e6
    tracemalloc.stop()
    assert (grades["recall"], grades["recall_zero"], grades["recall_p50"]) == (0.0, 1.0, 0.0)


def test_shares_of_queries():
    """Ten queries of ten ids, of which 0, 1, ... 9 are right: the lower of the two at a quantile counts."""
    train = np.arange(200, dtype=np.float32)[:, None]
    queries, true_ids = np.zeros((10, 1), np.float32), np.tile(np.arange(10), (10, 1))
    ids = np.where(np.arange(10) < np.arange(10)[:, None], true_ids, true_ids + 100)
    grades = score(METRICS["manhattan"], train, queries, ids, 10, true_ids, true_ids.astype(float))
    assert grades["recall"] == 0.45 and grades["recall_zero"] == 0.1
    assert [grades[f"recall_p{share}"] for share in ("05", "25", "50")] == [0.0, 0.2, 0.4]


@pytest.mark.parametrize(("n", "kept", "within"), [(60, 60, 1e-12), (300, 300, 1e-12), (3000, 40, 0.02)])
def test_what_chance_scores_counts_those_that_are_as_far_as_the_last(n, kept, within):
    """Points of 6 bits: at most 64 places, so that many points are at one distance, and not all of them are kept."""
    train, queries = (np.random.default_rng(n).integers(0, 2, (rows, 6)).astype(np.float32) for rows in (n, 200))
    metric, k = METRICS["manhattan"], 10
    every = exact_distances(metric, train, queries, np.tile(np.arange(n), (200, 1)))
    truth = np.sort(every, axis=1)
    expected = (every <= truth[:, k - 1 : k]).mean()
    found = chance(metric, train, queries, k, truth[:, :kept], n)
    assert expected > 1.5 * k / n and found == pytest.approx(expected, abs=within)
    assert chance(metric, train, queries, k, truth[:, :1] + np.arange(float(kept)), n) == pytest.approx(k / n)  # none ties
