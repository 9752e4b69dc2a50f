"""What is odd about points is said, and nothing of ordinary ones; types that do not hold their numbers are refused."""

import json
import re
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from knnbench.backends.base import Backend
from knnbench.problem.making import make_dataset
from knnbench.problem.metrics import METRICS
from knnbench.problem.narrow import ROUND, bits_of_bfloat16, lost, not_held, outside_float32
from knnbench.problem.points import in_blocks
from knnbench.problem.remarks import Columns, oddities

RANDOM = np.random.default_rng(0)
NORMAL = RANDOM.normal(size=(400, 5))
PLACES = np.column_stack([RANDOM.uniform(36, 60, 400), RANDOM.uniform(-9, 30, 400)])
SHUFFLED = np.random.default_rng(1).permutation(400)


def beside(column, points=NORMAL):
    return np.column_stack([points[:, :2], column, points[:, 2:]])


def said(points, queries=None, metric="euclidean", monkeypatch=None):
    """Remarks about points that come in blocks."""
    parts = [Columns(in_blocks(np.asarray(part))) for part in (points, queries) if part is not None]
    for part in parts:
        for _ in part.points.blocks:
            pass
    return oddities(METRICS[metric], *parts)


ODD = {
    "fewer points than dimensions": (NORMAL.T, "5 points are fewer than their 400 dimensions"),
    "an index": (beside(np.arange(400)), "column 2 of 6 may be an index"),
    "an index from 1": (beside(np.arange(1, 401)).astype("f4"), "column 2 of 6 may be an index"),
    "a shuffled index": (beside(SHUFFLED), "column 2 of 6 may be an index"),
    "an index with gaps": (beside(3 * np.arange(400)), "column 2 of 6 may be an index"),
    "an index of integers": (
        np.column_stack([SHUFFLED + 7, RANDOM.integers(0, 50, (400, 3))]),
        "column 0 of 4 may be an index",
    ),
    "labels": (beside(SHUFFLED % 10), "column 2 of 6 holds whole numbers, up to 9, beside fractions"),
    "identifiers": (beside(RANDOM.integers(0, 10**9, 400)), "column 2 of 6 holds whole numbers, up to 9"),
    "many counts": (
        np.column_stack([RANDOM.poisson(9, (400, 9)), NORMAL]),
        "9 of 14 columns (0, 1, 2, 3, 4, ...) hold whole numbers",
    ),
    "a constant": (beside(np.full(400, 0.1)), "column 2 of 6 has one value in all 400 points"),
}
ORDINARY = {
    "normal": NORMAL,
    "float16": NORMAL.astype("f2"),
    "large numbers, which are whole": np.column_stack([NORMAL, 1e9 * NORMAL[:, 0]]).astype("f4"),
    "bytes": RANDOM.integers(0, 256, (400, 20), dtype="u1"),
    "whole numbers as float32": RANDOM.integers(0, 256, (400, 20)).astype("f4"),
    "yes and no": beside(SHUFFLED % 2),
    "shares with zeros": np.maximum(NORMAL, 0),
    "few": np.arange(10.0)[:, None],
    "unsigned numbers that wrap": RANDOM.integers(0, 2**63, (400, 2), dtype="u8") * np.uint64(2),
}


@pytest.mark.parametrize("size", [50, 10**6])
@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_is_said(case, size, monkeypatch):
    monkeypatch.setattr("knnbench.problem.points.BLOCK_NUMBERS", size)
    points, words = ODD[case]
    remarks = said(points)
    assert len(remarks) == 1 and remarks[0].startswith(words)


@pytest.mark.parametrize("case", ORDINARY)
def test_ordinary_points_get_no_remark(case):
    assert said(ORDINARY[case], ORDINARY[case][:5]) == []


def test_an_index_is_found_across_points_and_queries():
    """As where a split drew the queries; and that of queries alone says nothing of the points."""
    points, drawn = beside(SHUFFLED), SHUFFLED < 40
    assert any("may be an index" in remark for remark in said(points[~drawn], points[drawn]))
    assert not any("may be an index" in remark for remark in said(beside(SHUFFLED // 2), beside(np.arange(400))))


def test_angles_that_may_be_radians():
    radians, small = np.radians(PLACES), np.array([[2.5, -6.0]] * 40) * RANDOM.uniform(0, 1, (40, 1))
    whole_earth = np.radians(np.column_stack([RANDOM.uniform(-90, 90, 400), RANDOM.uniform(0, 360, 400)]))
    for points, queries, words in (
        (radians, radians[:30], "all angles of the points and queries are"),
        (radians[:, ::-1], None, "all angles of the points are"),
        (whole_earth, None, "all angles of the points are"),
        (PLACES, radians[:30], "all angles of the queries are"),
        (small, None, "all angles of the points are"),  # which may be degrees: nothing is refused
    ):
        remarks = said(points, queries, "haversine")
        assert len(remarks) == 1 and remarks[0].startswith(words) and "radians" in remarks[0]
    for points in (PLACES, PLACES - PLACES.mean(0), [[1.0, 7.0]] * 25 + PLACES[:1].tolist(), -PLACES):
        assert said(points, PLACES, "haversine") == []
    assert said(radians, None, "euclidean") == []


def test_remarks_are_kept_with_the_dataset(tmp_path, monkeypatch, capsys):
    """And what the log says is what the file has."""
    monkeypatch.chdir(tmp_path)
    np.save("places.npy", np.radians(PLACES))
    settings = {"metric": "haversine", "source": "file", "path": "places.npy", "split": 50}
    make_dataset({"title": "A title"} | settings, ["places.npy"], tmp_path / "out.hdf5")
    with h5py.File("out.hdf5") as file:
        found = json.loads(file.attrs["remarks"])
    assert (
        len(found) == 1
        and found[0].startswith("all angles of the points and queries are")
        and found[0] in capsys.readouterr().out
    )


class Narrow(Backend):
    def __init__(self, kind, rounds_queries=True, scale=1.0):
        super().__init__(METRICS["euclidean"], "cpu", 1)
        self.rounds_to, self.rounds_queries, self.scale = kind, rounds_queries, np.float32(scale)

    def before_rounding(self, train):
        return lambda points: points * self.scale


POINTS = NORMAL.astype("f4")
LARGE = 100 * np.mean(np.abs(NORMAL) > 0.6552)


@pytest.mark.parametrize(
    ("kind", "points", "queries", "words"),
    [
        (
            "float16",
            1e5 * POINTS,
            POINTS,
            f"^float16 ends at 65,504 and does not hold {LARGE:.3g}% of the numbers of the points",
        ),
        ("float16", POINTS, 1e5 * POINTS, "of the numbers of the queries"),
        (
            "float16",
            np.vstack([POINTS, np.full((10, 5), 7e4, "f4")]),
            POINTS,
            r"2\.44% .* \(in 2\.44% of these\), .* up to 7e\+04",
        ),
        (
            "float16",
            beside(np.full(400, 1e6)).astype("f4"),
            POINTS,
            r"16\.7% of the numbers of the points \(in 100% of these\)",
        ),
        (
            "float16",
            1e-9 * POINTS,
            POINTS,
            "float16 leaves 1 of 400 points distinct and makes 0 of 100% of their numbers, .* 6e-08",
        ),
        ("float16", POINTS + np.float32(3e4), POINTS, r"float16 leaves \d of 400 points distinct; scale or shift"),
        ("bfloat16", np.full((3, 2), 3.4e38, "f4"), POINTS[:, :2], r"bfloat16 ends at 3\.38953e\+38"),
        ("int8", POINTS, 1e3 * POINTS, "int8 ends at 127 and does not hold"),
        ("int8", 1e-3 * POINTS, POINTS, "int8 leaves 1 of 400 points distinct and makes 0 of 100% .* a 127th of the largest"),
    ],
)
def test_a_type_that_does_not_hold_numbers_is_refused_with_their_share(kind, points, queries, words):
    assert_matches(not_held(Narrow(kind), points, queries), words)


def assert_matches(text, words):
    assert text and re.search(words, text), f"{text!r} has no {words!r}"


@pytest.mark.parametrize(
    ("backend", "points", "queries"),
    [
        (Narrow(None), 1e30 * POINTS, POINTS),
        (Narrow("float16"), 1.5e4 * POINTS, 1.5e4 * POINTS),
        (Narrow("float16"), np.maximum(POINTS, 0), POINTS),
        (Narrow("float16"), np.vstack([POINTS, [[1e6, 0, 0, 0, 0]]]).astype("f4"), POINTS),  # whom nobody finds, and all others
        (Narrow("float16"), beside(np.full(400, 1e-9)).astype("f4"), beside(np.zeros(400)).astype("f4")),
        (Narrow("float16"), np.where(RANDOM.random(POINTS.shape) < 0.1, 1e-9, POINTS).astype("f4"), POINTS),
        (Narrow("float16", rounds_queries=False), POINTS, 1e30 * POINTS),
        (Narrow("bfloat16"), 1e30 * POINTS, POINTS),
        (Narrow("int8", scale=127 / np.abs(POINTS).max()), POINTS, 1.05 * POINTS),
        (Narrow("int8"), np.zeros((3, 2), "f4"), np.zeros((3, 2), "f4")),
    ],
)
def test_a_type_that_holds_them_is_not(backend, points, queries):
    assert not_held(backend, points, queries) is None


def test_rounding_is_that_of_the_types():
    values = np.concatenate([np.float32([0, 1, -1, 1 / 3, 65_504, 65_519, 65_520, 1e-8, 3e38]), POINTS.ravel()])
    with np.errstate(over="ignore"):
        rounded = {kind: ROUND[kind](values) for kind in ROUND}
    assert np.isinf(rounded["float16"][6]) and rounded["float16"][5] == 65_504 and rounded["float16"][7] == 0
    assert (np.abs(rounded["bfloat16"] - values) <= 2.0**-8 * np.abs(values)).all()
    assert (bits_of_bfloat16(rounded["bfloat16"]) == bits_of_bfloat16(values)).all()  # it is one already


def test_a_poor_answer_has_its_cause():
    """Of a type that makes points one, of squares that float32 does not hold; nothing where nothing is lost."""
    near = np.argsort(((POINTS[:20, None] - POINTS) ** 2).sum(-1), axis=1)
    far = SimpleNamespace(
        train=POINTS + np.float32(1e4), test=POINTS[:20] + np.float32(1e4), neighbors=near[:, 1:], metric=METRICS["euclidean"]
    )
    said = re.search(
        r"^; bfloat16 leaves (\d+) of 400 points distinct, and moves a neighbour by (\S+) where a query is (\S+) away",
        lost(Narrow("bfloat16"), far),
    )
    assert (
        lost(
            Narrow("bfloat16"),
            SimpleNamespace(train=POINTS, test=POINTS[:20], neighbors=near[:, 1:], metric=METRICS["euclidean"]),
        )
        == ""
    )
    assert int(said[1]) < 40 and float(said[2]) > 10 and 0.5 < float(said[3]) < 2
    for scale, metric, found in (
        (1, "euclidean", False),
        (1e20, "euclidean", True),
        (1e20, "manhattan", False),
        (1e-22, "euclidean", True),
        (1e-22, "chebyshev", False),
        (1e14, "minkowski", True),
        (1e20, "inner-product", True),
    ):
        points = POINTS * np.float32(scale)
        data = SimpleNamespace(train=points, test=points[:20] * np.float32(1.01), neighbors=near, metric=METRICS[metric])
        assert bool(outside_float32(data.metric, data.train, data.test, near)) == found, (scale, metric)
        assert ("; float32 does not hold what" in lost(Narrow(None), data)) == found
    far = np.float32(1e20) + np.float32(1e15) * POINTS  # near each other, and their own squares are too large
    assert outside_float32(METRICS["euclidean"], far, far[:20], near)
    duplicates = np.ones((400, 5), "f4")
    assert outside_float32(METRICS["euclidean"], duplicates, duplicates[:20], near) is None
