"""Metrics, exact neighbours and scores, against values that a reader can check by hand."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from knnbench.problem import truth
from knnbench.problem.datasets import TRUTH_K, map_array, write_points
from knnbench.problem.metrics import METRICS, PAGE
from knnbench.problem.points import check_points, in_blocks
from knnbench.problem.recall import exact_distances, score
from knnbench.problem.truth import SPARE, blocks, by_differences, by_products, exact_neighbors, rank


@pytest.fixture(autouse=True, scope="module")
def kernels():
    """Small problems too are searched by what searches large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(truth, "SMALL", -1)
        yield


@pytest.mark.parametrize("metric", PAGE)
def test_a_small_problem_needs_no_kernel(metric, monkeypatch):
    """The same neighbours, the same distances; points that are there twice are in the order of their numbers."""
    points = np.random.default_rng(0).integers(1, 4, (200, 3)).astype(np.float32)
    train, queries = (check_points(each, METRICS[metric], "points") for each in (points[:180], points[180:]))
    by_kernel = exact_neighbors(METRICS[metric], train, queries, 180)
    monkeypatch.setattr(truth, "SMALL", 2**24)
    monkeypatch.setattr(truth, "compile_kernel", None)
    for one, other in zip(by_kernel, exact_neighbors(METRICS[metric], train, queries, 180), strict=True):
        assert (one == other).all()


@pytest.mark.parametrize(
    ("metric", "x", "y", "expected"),
    [
        ("euclidean", [1, 2], [4, 6], 5),
        ("manhattan", [1, 2], [4, 6], 7),
        ("angular", [0.6, 0.8], [0.8, 0.6], 1 - 24 / 25),
        ("hyperbolic", [1, 2], [4, 6], 25 / 4),
    ],
)
def test_distance_by_hand(metric, x, y, expected):
    x, y = np.array([x], float), np.array([y], float)
    assert exact_distances(METRICS[metric], y, x, np.array([[0]]))[0, 0] == pytest.approx(expected, rel=1e-12)


def points_of(metric, generator, shape, grid):
    points = generator.uniform(0.5, 1.5, shape)
    return check_points(np.ceil(points / grid) * grid if grid else points, METRICS[metric], "points")


@pytest.mark.parametrize("metric", PAGE)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 300), d=st.integers(1, 20), grid=st.sampled_from([0, 0.25]))
def test_exact_neighbors_equal_a_sorted_matrix(metric, seed, n, d, grid):
    generator = np.random.default_rng(seed)
    train, queries = points_of(metric, generator, (n, d), grid), points_of(metric, generator, (11, d), grid)
    neighbors, distances = exact_neighbors(METRICS[metric], train, queries)
    matrix = exact_distances(METRICS[metric], train, queries, np.tile(np.arange(n), (11, 1)))
    k = min(TRUTH_K, n)
    assert neighbors.shape == distances.shape == (11, k)
    np.testing.assert_allclose(distances, np.sort(matrix, axis=1)[:, :k], rtol=1e-12, atol=0)
    np.testing.assert_allclose(np.take_along_axis(matrix, neighbors, 1), distances, rtol=1e-12, atol=0)
    assert all(len(set(row)) == k for row in neighbors.tolist())


def check_against_a_sorted_matrix(metric, train, queries, k=TRUTH_K):
    neighbors, distances = exact_neighbors(METRICS[metric], train, queries, k)
    matrix = exact_distances(METRICS[metric], train, queries, np.tile(np.arange(len(train)), (len(queries), 1)))
    assert np.array_equal(distances, np.sort(matrix, axis=1)[:, :k])
    assert np.array_equal(np.take_along_axis(matrix, neighbors, 1), distances)
    assert all(len(set(row)) == min(k, len(train)) for row in neighbors.tolist())


# Points, and whether float32 is enough to tell their neighbours apart, as sqrt(d) times its precision.
HARD = {
    "spread": (lambda points: points, True),
    "heavy tails": (lambda points: np.exp(8 * (points - 1)), None),
    "sorted": (lambda points: np.sort(points, axis=0), None),
    "far": (lambda points: points + 1000, None),
    "clusters": (lambda points: np.round(points * 2) * 100 + points * 1e-4, None),
    "ties": (lambda points: np.round(points * 2) / 2 + 0.5, False),
    "duplicates": (lambda points: points[np.arange(len(points)) % 10], False),
    "beyond float32": (lambda points: points * 1e15, None),
    "below float32": (lambda points: points * 1e-25, None),
}


@pytest.mark.parametrize("metric", PAGE)
@pytest.mark.parametrize("d", [3, 17, 100])  # differences; matrix products
@pytest.mark.parametrize("kind", HARD)
def test_float32_is_never_believed(metric, d, kind, capsys):
    """The fast pass is float32; the answer is float64's on any data, and easy data need no second search."""
    change, certain = HARD[kind]
    generator = np.random.default_rng(0)
    train, queries = (change(generator.uniform(0.5, 1.5, (rows, d))) for rows in (3000, 20))
    check_against_a_sorted_matrix(metric, *(check_points(points, METRICS[metric], kind) for points in (train, queries)))
    if certain is not None and (certain or d == 3) and not METRICS[metric].normalised:
        assert ("no certificate" in capsys.readouterr().out) == (not certain)


@pytest.mark.parametrize("metric", PAGE)
@pytest.mark.parametrize("n", [400, 1000, 1010, 20_000])  # fewer than K, as many, fewer than candidates, several blocks
@pytest.mark.parametrize("d", [3, 20])
def test_a_thousand_neighbors(metric, n, d, capsys):
    generator = np.random.default_rng(0)
    train, queries = (points_of(metric, generator, (rows, d), 0) for rows in (n, 20))
    check_against_a_sorted_matrix(metric, train, queries, 1000)
    assert "no certificate" not in capsys.readouterr().out
    check_against_a_sorted_matrix(metric, train[np.arange(n) % 300], queries, 1000)  # every point several times


@pytest.mark.parametrize("metric", PAGE)
@pytest.mark.parametrize("kind", ["spread", "heavy tails", "clusters", "far"])
def test_no_other_point_is_below_the_floor(metric, kind):
    """The certificate itself: a bound on float32's error that holds, and that is not so low that it never serves."""
    generator = np.random.default_rng(0)
    points = [HARD[kind][0](generator.uniform(0.5, 1.5, (rows, 20))) for rows in (3000, 30)]
    train, queries = (check_points(each, METRICS[metric], kind) for each in points)
    queries = queries.astype(float)
    exact = METRICS[metric].keys(queries[:, None], train.astype(float))
    with ThreadPoolExecutor(2) as pool:
        passes = [by_differences(METRICS[metric], blocks(train), queries, 10, pool, np.float32)]
        if METRICS[metric].expanded:
            passes.append(by_products(METRICS[metric], train, queries, 10, pool))
    for found, floor in passes:
        ids, others = found.ids, exact.copy()
        np.put_along_axis(others, ids, np.inf, axis=1)
        assert (floor <= others.min(axis=1)).all()
        assert kind != "spread" or (floor > 0.999 * np.take_along_axis(exact, ids, 1).max(axis=1)).all()


@pytest.mark.parametrize("metric", PAGE)
@pytest.mark.parametrize("k", [TRUTH_K, 1000])
def test_a_gpu_proposes_the_same_neighbors(metric, k, environments, tmp_path):
    """The script that searches on a GPU, here on PyTorch's CPU."""
    generator = np.random.default_rng(0)
    train, queries = (generator.uniform(0.5, 1.5, (rows, 7)) for rows in (20_000, 15))
    write_points(tmp_path / "data.hdf5", METRICS[metric], in_blocks(train), in_blocks(queries))
    command = [environments / "torch/bin/python", ROOT / "scripts/propose_neighbors.py", "--data", tmp_path / "data.hdf5"]
    subprocess.run([*command, "--k", str(k + SPARE), "--device", "cpu", "--out", tmp_path / "ids.npy"], check=True)
    train, queries = map_array(tmp_path / "data.hdf5", "train"), map_array(tmp_path / "data.hdf5", "test")
    proposed = rank(METRICS[metric], train, queries, np.load(tmp_path / "ids.npy"), k)
    for ours, theirs in zip(exact_neighbors(METRICS[metric], train, queries, k), proposed, strict=True):
        assert np.array_equal(ours, theirs)


def test_exact_neighbors_across_blocks(monkeypatch, capsys):
    """More points than one block and one tile hold; the last point is the nearest. It says how far it is."""
    monkeypatch.setattr("knnbench.problem.truth.SAY_S", 0)
    train = np.linspace(5, 1, 40_000, dtype=np.float32)[:, None]
    neighbors, distances = exact_neighbors(METRICS["manhattan"], train, np.zeros((3, 1), np.float32), 3)
    assert neighbors.tolist() == [[39_999, 39_998, 39_997]] * 3
    assert distances[0, 0] == 1
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" points")[0] for line in said] == ["searched 16,384 of 40,000", "searched 32,768 of 40,000"]


def test_exact_neighbors_far_from_the_origin():
    """Offsets cost nothing: differences are taken before squares."""
    generator = np.random.default_rng(0)
    train, queries = generator.integers(0, 1000, (200, 3)), generator.integers(0, 1000, (5, 3))
    near = exact_neighbors(METRICS["euclidean"], train, queries)
    far = exact_neighbors(METRICS["euclidean"], train + 2**23, queries + 2**23)
    assert np.array_equal(near[0], far[0]) and np.array_equal(near[1], far[1])


TRAIN = np.array([[0.0], [1.0], [1.0], [2.0], [5.0]], np.float32)
QUERIES = np.array([[0.0]], np.float32)


@pytest.mark.parametrize(
    ("ids", "recall", "recall_ids"),
    [
        ([0, 1], 1.0, 1.0),
        ([0, 2], 1.0, 0.5),  # a tie by distance, another id
        ([1, 0], 1.0, 1.0),  # order does not count
        ([0, 0], 0.5, 0.5),  # repeated ids count once
        ([0, -1], 0.5, 0.5),
        ([-1, -1], 0.0, 0.0),
        ([0, 5], 0.5, 0.5),  # out of range
        ([0, 3], 0.5, 0.5),
    ],
)
def test_score(ids, recall, recall_ids):
    true_ids, true_distances = np.array([[0, 1]]), np.array([[0.0, 1.0]])
    grades = score(METRICS["euclidean"], TRAIN, QUERIES, np.array([ids]), 2, true_ids, true_distances)
    assert (grades["recall"], grades["recall_ids"]) == (recall, recall_ids)
    assert grades["wrong_neighbors"] == round(2 * (1 - recall))
    assert grades["distance_error"] == (None if ids == [-1, -1] else 0.5 if 3 in ids else 0.0)


def test_score_does_not_hide_float32():
    """A neighbour that is 1e-5 too far does not count, one that is 1e-7 too far is a tie."""
    train = np.array([[1.0], [1.0 + 1e-5], [1.0 + 1.2e-7]], np.float32)
    true_ids, true_distances = np.array([[0]]), np.array([[1.0]])
    grades = [score(METRICS["euclidean"], train, QUERIES, np.array([[i]]), 1, true_ids, true_distances) for i in range(3)]
    assert [each["recall"] for each in grades] == [1.0, 0.0, 1.0]
    assert [each["distance_error"] for each in grades] == pytest.approx([0, 1e-5, 1.2e-7], rel=0.02)


@pytest.mark.parametrize("ids", [np.zeros((2, 1), int), np.zeros((1, 2), int), np.zeros(1, int), np.zeros((1, 1))])
def test_score_refuses_what_is_no_answer(ids):
    with pytest.raises(ValueError, match="the answer has shape"):
        score(METRICS["euclidean"], TRAIN, QUERIES, ids, 1, np.array([[0]]), np.array([[0.0]]))
