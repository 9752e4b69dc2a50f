"""How hard a dataset is: numbers that are known by hand, or by what the points were drawn from."""

import json
import math
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, run
from test_datasets import make

from knnbench.exchange.validate import validate
from knnbench.problem.hardness import hardness, local_dimensions
from knnbench.problem.metrics import METRICS, PAGE
from knnbench.problem.points import check_points
from knnbench.problem.truth import exact_neighbors
from knnbench.results.datasets import dataset_rows, remarks_of
from knnbench.results.folder import read
from knnbench.results.tables import DATASET, read_csv


def found(metric, train, queries, k=100):
    train, queries = (check_points(points, METRICS[metric], "points") for points in (train, queries))
    return hardness(METRICS[metric], train, queries, exact_neighbors(METRICS[metric], train, queries, k)[1])


def uniform(rows, d, seed, low=0.5):
    return np.random.default_rng(seed).uniform(low, low + 1, (rows, d))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([1, math.e, math.e**2], [math.nan, 1, 2 / 3]),
        ([0, 1, math.e], [math.nan, math.nan, 1]),  # what is at distance 0 is left out
        ([0, 0, 0], [math.nan] * 3),
        ([2, 2, 2], [math.nan, math.inf, math.inf]),
    ],
)
def test_dimension_by_hand(row, expected):
    lengths = np.array([row], float)
    np.testing.assert_allclose([each[0] for each in local_dimensions(lengths)], expected, rtol=1e-12)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "hyperbolic"])
@pytest.mark.parametrize("d", [1, 2, 4])
def test_uniform_points_have_their_dimension(metric, d):
    dimensions = found(metric, uniform(20_000, d, 0), uniform(300, d, 1))["lid"]
    assert np.isnan(dimensions[0])
    assert dimensions[9] == pytest.approx(d, rel=0.2) and dimensions[99] == pytest.approx(d, rel=0.1)


@pytest.mark.parametrize("d", [2, 3, 5])
def test_directions_have_one_dimension_less(d):
    train, queries = (np.random.default_rng(seed).normal(size=(rows, d)) for seed, rows in ((0, 20_000), (1, 300)))
    assert found("angular", train, queries)["lid"][99] == pytest.approx(d - 1, rel=0.1)
    assert found("angular", train, queries)["norm_spread"] == 0


def test_dimension_of_a_surface_in_space():
    """Two coordinates, and 20 that follow from them."""
    maps = np.random.default_rng(2).normal(size=(2, 22))
    train, queries = (uniform(rows, 2, seed) @ maps for seed, rows in ((0, 10_000), (1, 300)))
    assert found("euclidean", train, queries)["lid"][99] == pytest.approx(2, rel=0.1)


def test_contrast_and_ties_by_hand():
    """One query at 0: on average points are 3 away, the nearest is 1 away, and the second and third are equally far."""
    result = found("manhattan", np.array([[1.0], [2], [-2], [3], [7]]), np.zeros((1, 1)), 5)
    np.testing.assert_allclose(result["relative_contrast"], [3, 1.5, 1.5, 1, 3 / 7])
    np.testing.assert_array_equal(result["ties"], [0, 1, 0, 0, np.nan])


def test_contrast_is_of_lengths():
    """Chords, not 1 - cos: from one corner of an octagon to the others."""
    corners = np.exp(2j * np.pi * np.arange(8) / 8)
    train = np.column_stack([corners.real, corners.imag])
    chords = np.sort(abs(corners - corners[0]))
    np.testing.assert_allclose(
        found("angular", train, train[:1])["relative_contrast"][1:], chords.mean() / chords[1:], rtol=1e-6
    )


def test_points_on_a_grid_are_tied():
    grid = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0)), -1).reshape(-1, 2)
    inner = grid[((grid > 2) & (grid < 27)).all(axis=1)]
    ties = found("euclidean", grid, inner)["ties"]
    assert ties[:6].tolist() == [0, 1, 1, 1, 0, 1]  # itself, four neighbours, four on diagonals


def test_duplicates():
    points = uniform(1000, 3, 0)
    points[900:] = points[:100]
    assert found("euclidean", points, points[:5])["duplicates"] == pytest.approx(0.1)
    assert found("euclidean", points[:900], points[:5])["duplicates"] == 0
    signed = np.array([[0.0, 1.0], [-0.0, 1.0], [1.0, 1.0], [1.0, 2.0]])
    assert found("euclidean", signed, signed[:1])["duplicates"] == 0.25


def test_norms():
    points = np.diag([1.0, 1.0, 3.0, 3.0])
    assert found("euclidean", points, points)["norm_spread"] == 0.5
    assert found("euclidean", np.zeros((3, 2)), points[:, :2])["norm_spread"] is None


@pytest.mark.parametrize("metric", PAGE)
def test_queries_from_elsewhere_are_far_away(metric):
    train, same = (np.abs(np.random.default_rng(seed).normal(size=(5000, 6))) + 0.1 for seed in (0, 1))
    assert found(metric, train, same)["query_distance_ratio"] == pytest.approx(1, rel=0.1)
    other = same * [1, 1, 1, 1, 1, -1] - [0, 0, 0, 0, 0, 1]
    assert found(metric, train, other)["query_distance_ratio"] > 1.5
    assert found(metric, train, train[:100])["query_distance_ratio"] == 0


@pytest.mark.parametrize("rows", [1, 7])
@pytest.mark.parametrize("shift", [0, 1])
def test_little_is_known_of_points_that_are_all_one(rows, shift):
    """Numbers, or what is not known, without a warning."""
    points = np.ones((rows, 2))
    with np.errstate(all="raise"):
        result = found("euclidean", points, points[:1] + shift)
    assert np.isnan(result["lid"]).all() and np.isnan(result["ties"][-1]) and (result["ties"][:-1] == 1).all()
    np.testing.assert_allclose(result["relative_contrast"], [1.0 if shift else np.nan] * rows)
    assert result["duplicates"] == 1 - 1 / rows and result["query_distance_ratio"] is None


def test_a_dataset_file_says_how_hard_it_is(tmp_path):
    settings = {"metric": "euclidean", "source": "normal", "n": 500, "d": 3, "queries": 20, "seed": 3, "truth_k": 10}
    with h5py.File(make(tmp_path, settings)) as file:
        attributes = dict(file.attrs)
        expected = hardness(METRICS["euclidean"], file["train"][:], file["test"][:], file["distances_float64"][:])
    for name, value in expected.items():
        np.testing.assert_array_equal(attributes[name], value)
    assert all(len(attributes[name]) == 10 for name in ("lid", "relative_contrast", "ties"))


OLD = ROOT / "tests/published/v2"
TITLE = "</script><b> & R^D"
ATTRIBUTES = {"distance": "euclidean", "n": 500, "q": 50, "dimension": 4}
HARD = {
    "lid": np.array([np.nan, 2.5]),
    "relative_contrast": np.array([4.0, 3.0]),
    "ties": np.array([0.5, np.nan]),
    "duplicates": 0.125,
    "norm_spread": 0.75,
    "query_distance_ratio": 1.5,
    "rows_merged": 0.25,
    "queries_changed": 0.5,
}


REMARKS = ["column 3 of 4 may be an index; <leave> it out", "read as 500 points x 4"]


def table(has, ks=(1, 2, 50)):
    config = {"datasets": {"data": {"title": "Data"}}, "suite": "s", "suites": {"s": {"n_neighbors": list(ks)}}}
    return [tuple(row.values()) for row in dataset_rows(config, {"data": has})]


def test_a_row_per_dataset_and_k():
    size, rounded = ("data", "Data", "euclidean", 500, 4, 50), (0.25, 0.5)
    assert table(ATTRIBUTES | HARD) == [
        (*size, 1, None, 4.0, 0.5, 0.125, 0.75, 1.5, *rounded, None),
        (*size, 2, 2.5, 3.0, None, 0.125, 0.75, 1.5, *rounded, None),
        (*size, 50, None, None, None, 0.125, 0.75, 1.5, *rounded, None),  # beyond what is kept
    ]
    assert table(ATTRIBUTES, [1]) == [(*size, 1, *[None] * 9)]  # a file of an earlier version
    assert table({"distance": "euclidean", "unavailable": "no host"}, [1]) == [(*size[:3], *[None] * 3, 1, *[None] * 9)]


@pytest.fixture
def results(tmp_path):
    """Results with a title to be afraid of, and datasets.csv."""
    folder = shutil.copytree(OLD, tmp_path / "results")
    (folder / "config.yaml").write_text((OLD / "config.yaml").read_text().replace("title: Toy", f"title: '{TITLE}'"))
    timings = pd.read_csv(folder / "timings.csv", dtype=object).assign(title=TITLE)
    timings.to_csv(folder / "timings.csv", index=False)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    values = {"lid": np.full(10, 3.25), "relative_contrast": np.full(10, 4.5), "ties": np.full(10, 0.25)}
    values["remarks"] = json.dumps(REMARKS)
    rows = dataset_rows(config, {"toy-euclidean": ATTRIBUTES | HARD | values})
    pd.DataFrame(rows, columns=DATASET, dtype=object).to_csv(folder / "datasets.csv", index=False)
    return folder


def page(folder, tmp_path):
    run("check_claims", "--folder", folder, "--claims", "{}", "--out", tmp_path / "claims.csv")
    claims = ("--claims", tmp_path / "claims.csv", "--logs", tmp_path)
    run("make_report", "--folder", folder, *claims, "--out", tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_page_says_it(results, tmp_path):
    text = page(results, tmp_path)
    section = text[text.index('<section id="hardness"') :].split("</section>")[0]
    cells = "".join(f"<td>{words}</td>" for words in ("3.25", "4.5", "25%", "12.5%", "0.75", "1.5"))
    title = "&lt;/script&gt;&lt;b&gt; &amp; Rᴰ"
    assert f'<th scope="row">{title}</th>{cells}' in section and "the table is at K = 10" in section
    assert (
        section.count("<svg") == 1 and section.count('aria-roledescription="point"') == 4 and title in section.split("<svg")[1]
    )
    assert '<a href="#hardness">' in text


def test_remarks_are_read_in_the_table_and_on_the_page(results, tmp_path):
    assert set(read(results).datasets["remarks"]) == {" | ".join(REMARKS)}
    section = page(results, tmp_path).split('data-dataset="toy-euclidean"')[1].split("</section>")[0]
    assert "<li>column 3 of 4 may be an index; &lt;leave&gt; it out</li><li>read as 500 points x 4</li>" in section
    for text, found in (
        ("", []),
        (json.dumps(REMARKS), REMARKS),
        ("as earlier files\nhave them", ["as earlier files", "have them"]),
    ):
        assert remarks_of({"remarks": text} if text else {}) == found
    pd.read_csv(results / "datasets.csv", dtype=object).drop(columns="remarks").to_csv(results / "datasets.csv", index=False)
    assert "Noticed about its points" not in page(results, tmp_path)


def test_earlier_results_say_nothing_of_it(tmp_path):
    assert list(read(OLD).datasets.columns) == list(DATASET) and read(OLD).datasets.empty
    assert 'id="hardness"' not in page(OLD, tmp_path)


def test_tables_that_do_not_agree_are_found(results):
    schema = yaml.safe_load((ROOT / "rules/schemas/timings.schema.yaml").read_text())
    assert validate(results, schema) == []
    right = pd.read_csv(results / "datasets.csv", dtype=object)
    for column, value, words in (
        ("n", 499, "toy-euclidean, K = 1: n is not that of timings.csv"),
        ("ties", 1.5, "toy-euclidean, K = 1: ties is 1.5, outside of 0 to 1"),
        ("lid", -1, "toy-euclidean, K = 1: lid is -1.0, outside of 0 to inf"),
        ("dataset", "other", "other, K = 1: timings.csv has no such dataset"),
        ("n_neighbors", 2, "toy-euclidean, K = 2, is missing, or not in the suite"),
        ("lid", "many", "datasets.csv is not what docs/results.md says"),
    ):
        wrong = right.copy()
        wrong.loc[0, column] = value
        wrong.to_csv(results / "datasets.csv", index=False)
        assert any(words in problem for problem in validate(results, schema)), (column, validate(results, schema))


def test_merged_results_have_what_any_source_knows(results, tmp_path):
    other = shutil.copytree(results, tmp_path / "other")
    unknown = pd.read_csv(results / "datasets.csv", dtype=object)
    unknown.loc[unknown["n_neighbors"] == "10", "lid"] = None
    unknown.iloc[1:].to_csv(other / "datasets.csv", index=False)
    run("merge", "--sources", OLD, other, results, "--figures", "{}", "--out", tmp_path / "merged")
    merged = read_csv(tmp_path / "merged/datasets.csv")
    assert merged.set_index("n_neighbors")["lid"].to_dict() == {1: 3.25, 10: 3.25}
    assert set(merged["title"]) == {"Toy"} and merged["origin"].tolist() == [str(other), str(results)]
    assert not read(tmp_path / "merged").datasets.empty
    run("merge", "--sources", OLD, "--figures", "{}", "--out", tmp_path / "old")
    assert read(tmp_path / "old").datasets.empty


def test_rerender_takes_tables_with_and_without_it(results, tmp_path):
    for baseline in (OLD, results):
        out = [tmp_path / baseline.name / name for name in ("datasets.csv", "timings.csv")]
        out[0].parent.mkdir(exist_ok=True)
        run("rerender", "copy", "--baseline", baseline, "--out", *out[:: 1 if baseline == OLD else -1])
        assert len(read_csv(out[0])) == (0 if baseline == OLD else 2)
