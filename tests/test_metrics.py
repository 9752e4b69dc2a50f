"""Every metric against other libraries and by hand, its exact neighbours against sorted matrices, and metrics of one's own."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, snakemake
from jsonschema import validate
from scipy.spatial.distance import cdist
from scipy.special import rel_entr
from sklearn.metrics.pairwise import haversine_distances

from knnbench.config.checks import check_dataset, count_points, dimensions_of
from knnbench.config.metrics import check_own_metric
from knnbench.config.values import ConfigError
from knnbench.problem import truth
from knnbench.problem.domains import DOMAINS
from knnbench.problem.metrics import EARTH_M, METRICS, mahalanobis, minkowski
from knnbench.problem.own_metrics import (
    MetricError,
    check_metric,
    content_of,
    define,
    ignores_origin,
    metric_of,
    takes_zero,
    valid_points,
)
from knnbench.problem.points import DataError, check_points, covariance, in_blocks
from knnbench.problem.recall import exact_distances, score
from knnbench.problem.sources import DRAWN, draw, load
from knnbench.problem.symbols import Symbol
from knnbench.problem.truth import exact_neighbors

COLUMNS = yaml.safe_load((ROOT / "rules/schemas/timings.schema.yaml").read_text(encoding="utf-8"))["properties"]


def hyperbolic(x, y):
    return ((x[:, None] - y) ** 2).sum(-1) / (x[:, :1] * y[:, 0])


def poincare(x, y):
    """As textbooks have it."""
    norms = [1 - (each**2).sum(-1) for each in (x, y)]
    return np.arccosh(1 + 2 * ((x[:, None] - y) ** 2).sum(-1) / (norms[0][:, None] * norms[1]))


def shares(x):
    return x / x.sum(1, keepdims=True)


def divergence(x, y):
    return rel_entr(shares(x)[:, None], shares(y)).sum(-1)


REFERENCES = {
    "euclidean": cdist,
    "manhattan": lambda x, y: cdist(x, y, "cityblock"),
    "angular": lambda x, y: cdist(x, y, "cosine"),
    "hyperbolic": hyperbolic,
    "inner-product": lambda x, y: -(x @ y.T),
    "chebyshev": lambda x, y: cdist(x, y, "chebyshev"),
    "minkowski": lambda x, y: cdist(x, y, "minkowski", p=3),
    "poincare": poincare,
    "hellinger": lambda x, y: cdist(np.sqrt(shares(x)), np.sqrt(shares(y))) / np.sqrt(2),
    "jensen-shannon": lambda x, y: cdist(x, y, "jensenshannon"),
    "kullback-leibler": divergence,
    "haversine": lambda x, y: EARTH_M * haversine_distances(np.radians(x), np.radians(y)),
    "canberra": lambda x, y: cdist(x, y, "canberra"),
    "correlation": lambda x, y: cdist(x, y, "correlation"),
}


def raw(metric, seed, rows=60):
    """Points that a metric takes, before it prepares them; drawn as other seeds draw others."""
    generator = np.random.default_rng(seed)
    if metric.domain == "degrees":
        return generator.uniform((-90, -180), (90, 180), (rows, 2))
    points = generator.uniform(0.05, 0.45, (rows, 4))
    return points - 0.25 if metric.domain in ("any", "directions", "varied") else points


def prepared(metric, points):
    """In float64, unlike `check_points`."""
    return metric.prepare(points) if metric.prepare else points


@pytest.mark.parametrize("name", METRICS)
def test_distances_are_those_of_other_libraries(name):
    metric, (x, y) = METRICS[name], (raw(METRICS[name], seed) for seed in (0, 1))
    everyone = np.tile(np.arange(len(y)), (len(x), 1))
    found = exact_distances(metric, prepared(metric, y), prepared(metric, x), everyone)
    np.testing.assert_allclose(found, REFERENCES[name](x, y), rtol=1e-9, atol=1e-9 * (EARTH_M if name == "haversine" else 1))


def test_other_parameters():
    x, y = (raw(METRICS["minkowski"], seed) for seed in (0, 1))
    everyone = np.tile(np.arange(len(y)), (len(x), 1))
    np.testing.assert_allclose(exact_distances(minkowski(1.5), y, x, everyone), cdist(x, y, "minkowski", p=1.5), rtol=1e-9)
    matrix = np.linalg.inv(np.cov(np.vstack([x, y]).T))
    metric = mahalanobis(matrix)
    found = exact_distances(metric, metric.prepare(y), metric.prepare(x), everyone)
    np.testing.assert_allclose(found, cdist(x, y, "mahalanobis", VI=matrix), rtol=1e-9)


def test_covariance_block_by_block():
    points = raw(METRICS["euclidean"], 0, 500) + 1e6
    np.testing.assert_allclose(covariance(in_blocks(points)), np.cov(points.T, bias=True), rtol=1e-6)
    with pytest.raises(DataError, match="has no inverse"):
        covariance(in_blocks(np.column_stack([points, points[:, 0]])))


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("rows", [900])
def test_exact_neighbours_equal_a_sorted_matrix(name, rows, monkeypatch):
    """By the kernels that search large sets, in float32 where a bound is proven and in float64 where none is."""
    monkeypatch.setattr(truth, "SMALL", -1)
    metric = METRICS[name]
    train, queries = (check_points(raw(metric, seed, number), metric, "points") for seed, number in ((0, rows), (1, 20)))
    train[:30] = train[30:60]  # ties
    neighbors, distances = exact_neighbors(metric, train, queries, 50)
    matrix = exact_distances(metric, train, queries, np.tile(np.arange(rows), (20, 1)))
    assert np.array_equal(distances, np.sort(matrix, axis=1)[:, :50])
    assert np.array_equal(np.take_along_axis(matrix, neighbors, 1), distances)
    grades = score(metric, train, queries, neighbors, 50, neighbors, distances)
    assert (grades["recall"], grades["distance_error"]) == (1, 0)
    worse, worst = (
        score(metric, train, queries, np.argsort(matrix, axis=1)[:, places], 50, neighbors, distances)
        for places in (slice(50, 100), slice(-50, None))
    )
    assert worse["recall"] < 0.2 and 0 < worse["distance_error"] <= worst["distance_error"] <= 2
    for grade, value in [pair for each in (grades, worse, worst) for pair in each.items() if pair[0] in COLUMNS]:
        validate(value, COLUMNS[grade])  # whatever a backend answers, there is a table of it


@pytest.mark.parametrize(
    ("name", "point", "said"),
    [
        ("poincare", [0.6, 0.8, 0, 0.1], "outside the ball"),
        ("hellinger", [0.5, -0.1, 0.3, 0.3], "shares of a whole"),
        ("jensen-shannon", [0.5, 0, 0.2, 0.3], "takes positive ones"),
        ("correlation", [1, 1, 1, 1], "correlates with nothing"),
        ("haversine", [91, 0], "latitude and longitude"),
        ("haversine", [1, 2, 3], "latitude and longitude"),
    ],
)
def test_points_outside_of_a_domain(name, point, said):
    valid = raw(METRICS[name], 0, 1) if len(point) != 3 else np.ones((1, 3))
    row = int(len(point) != 3)  # all rows are wrong where the dimension is
    with pytest.raises(DataError, match=f"row {row} .*{said}"):
        check_points(np.vstack([valid, [point]]), METRICS[name], "points")


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.lifts])
@pytest.mark.parametrize("centre", [0.0, 0.2])
def test_lifted_points_rank_as_the_metric_does(name, centre):
    """Up to a factor that a query has, and the sign."""
    metric, (x, y) = METRICS[name], (raw(METRICS[name], seed) for seed in (0, 1))
    products = metric.lift(x, np.full(4, centre), queries=True) @ metric.lift(y, np.full(4, centre)).T
    expected = metric.keys(x[:, None], y) * metric.weight(np, x)[:, None]
    np.testing.assert_allclose(-products, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", DRAWN)
def test_drawn_points_are_valid(kind):
    """Each source draws what its metrics take, the same for one seed."""
    names = {
        "ball": "poincare",
        "simplex": "jensen-shannon",
        "earth": "haversine",
        "sphere": "angular",
        "uniform": "hyperbolic",
    }
    d = 2 if kind == "earth" else 5
    points, again = (next(iter(draw(kind, 5000, d, np.random.default_rng(3)).blocks)) for _ in range(2))
    assert np.array_equal(points, again) and points.dtype == np.float32
    assert len(check_points(points, METRICS[names.get(kind, "euclidean")], kind)) == 5000
    if kind == "ball":  # uniform: half of the volume is within 2^(-1/d)
        assert np.mean(np.linalg.norm(points, axis=1) < 0.999 * 0.5 ** (1 / d)) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("name", METRICS)
def test_shipped_metrics_pass_their_own_check(name):
    check_metric(METRICS[name], symmetric=name != "kullback-leibler")


def test_domains_have_points():
    for domain, (outside, _) in DOMAINS.items():
        assert not outside(valid_points(domain, np.random.default_rng(1))).any(), domain


CHI = {"term": "(x - y)**2 / (x + y)", "domain": "positive"}


def test_a_formula():
    metric = define("chi", CHI)
    x, y = (raw(metric, seed) for seed in (0, 1))
    expected = ((x[:, None] - y) ** 2 / (x[:, None] + y)).sum(-1)
    np.testing.assert_allclose(metric.keys(x[:, None], y), expected, rtol=1e-12)
    largest = define("far", {"term": "max(abs(x - y), 0.1)", "reduce": "max", "finish": "sqrt(total) + 0 * x0 * y0"})
    found = largest.keys(x[:, None], y)
    np.testing.assert_allclose(found, np.sqrt(np.maximum(cdist(x, y, "chebyshev"), 0.1)), rtol=1e-12)
    for entry in (CHI, {"term": "abs(x - y)**1.5", "finish": "exp(total)"}):
        check_own_metric("mine", dict(entry))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"term": "__import__('os').system('true')"}, "is not allowed"),
        ({"term": "(lambda: x)()"}, "is not allowed"),
        ({"term": "x.__class__"}, "is not allowed"),
        ({"term": "[x for x in y]"}, "is not allowed"),
        ({"term": "open(x)"}, "is not allowed"),
        ({"term": "abs(x - y, y)"}, "is not allowed"),
        ({"term": "m.log(x)"}, "is not allowed"),
        ({"term": "z"}, "'z' in 'z' is not allowed; allowed are x, y, numbers"),
        ({"term": "'text'"}, "is not allowed"),
        ({"term": "x if x > y else y"}, "is not allowed"),
        ({"term": "x ** y"}, "an exponent is a number"),
        ({"term": "(x - y"}, "is no formula"),
        ({"term": "x - y" * 1000}, "characters"),
        ({"term": "(" * 300 + "x" + ")" * 300}, "is no formula"),
        ({"term": "log(x - y)"}, "it is .* of .* say which: domain"),
        ({"term": "(x - y)**2", "finish": "-total"}, "finds the farthest first"),
        ({"term": "x"}, "points are not their own nearest neighbours|one way and"),
        ({"term": "0 * x"}, "it is 0 of any two points"),
        ({"term": "x * log(x / y)", "domain": "positive"}, "say symmetric: false|their own nearest"),
        ({"term": "abs(x - y)", "domain": "imaginary"}, "domain 'imaginary' is unknown; known are any"),
        ({"p": 3, "term": "x"}, "needs just one"),
        ({}, "has none of term, module, p and matrix"),
        ({"p": 3, "domain": "ball"}, "domain belong to a formula"),
        ({"matrix": "none.npy"}, "none.npy"),
        ({"p": 3, "symmetric": True}, "that of p is known"),
        ({"module": "none.py"}, "none.py"),
    ],
)
def test_metrics_that_are_refused(entry, said):
    with pytest.raises(ConfigError, match=f"(?s)metrics.mine: .*({said})") as error:
        check_own_metric("mine", entry)
    assert "\n" not in str(error.value)


def test_shipped_names_are_taken():
    with pytest.raises(ConfigError, match="has a metric of this name"):
        check_own_metric("euclidean", dict(CHI))


OWN = """
from knnbench.problem.metrics import Metric

def term(m):
    return lambda x, y: {term}

METRIC = Metric("mine", term, length=None)
"""


def test_a_file_of_one_s_own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN.format(term="abs(x - y)"))
    entry = {"module": str(path)}
    check_own_metric("mine", entry)
    assert len(entry["sha256"]) == 64 and metric_of("mine", entry).name == "mine"
    for term, said in (
        ("x - y if x > y else y - x", "cannot be computed|cannot compile"),
        ("m.log(x) - m.log(y)", "it is|not their own"),
    ):
        path.write_text(OWN.format(term=term))
        with pytest.raises(ConfigError, match=said):
            check_own_metric("mine", {"module": str(path)})
    with pytest.raises(MetricError, match="was changed since"):
        define("mine", entry)
    path.write_text("METRIC = 3")
    with pytest.raises(ConfigError, match="defines no METRIC"):
        check_own_metric("mine", {"module": str(path)})


def test_what_only_numpy_can_do_is_said():
    """A function of the values, which KeOps and JAX do not have when they compile."""
    with pytest.raises(TypeError, match="asks for the value"):
        bool(Symbol() + 1)


ARRAYS = ["torch-batch", "torch-compile", "jax", "keops"]
LARGEST = {"term": "max(abs(x - y), log(2) / 1000)", "reduce": "max", "finish": "sqrt(total) + 2**3"}  # numbers, too


@pytest.mark.full
def test_a_metric_of_one_s_own_from_overlay_to_table(project):
    """In every array backend, by a formula and by a file; libraries that do not have it say so, or search lifted points."""
    (project / "mine.py").write_text(OWN.format(term="m.log(1 + abs(x - y))"))
    points = {"source": "uniform", "n": 2000, "d": 5, "seed": 1}
    datasets = {name: points | {"metric": name, "queries": 100} for name in ("chi", "slow", "largest", "hyperbolic")}
    datasets["graph"] = points | {"metric": "manhattan", "self": True}
    overlay = {
        "suite": "own",
        "metrics": {"chi": CHI, "slow": {"module": "mine.py"}, "largest": LARGEST},
        "datasets": datasets,
        "suites": {
            "own": {"datasets": [*datasets], "n_neighbors": [7], "controls": True}
            | {"backends": [*ARRAYS, "sklearn-brute", "faiss-flat", "faiss-hnsw-m36", "pynndescent-graph-n_neighbors20"]}
        },
        "timing": {"budget_s": 0.01, "max_fit_s": 3600, "max_query_s": 3600},
    }
    (project / "own.yaml").write_text(yaml.safe_dump(overlay))
    asked = ("--configfile", "own.yaml", "--", "results/own/timings.csv")
    snakemake(*asked, cwd=project)
    rows = pd.read_csv(project / "results/own/timings.csv")
    rows = rows[rows["device"] == "cpu"].set_index(["dataset", "backend"])
    words = rows[["status", "reason", "recall", "flags"]].to_string()
    arrays = rows[rows.index.get_level_values("backend").isin(ARRAYS)]
    assert (arrays["recall"] == 1).all() and len(arrays) == 4 * len(datasets), words
    others = rows.drop(arrays.index)["status"].unstack("backend")
    lacking = ["chi", "slow", "largest"]
    assert (others.loc[lacking] == "unsupported").all(axis=None), words
    assert others.loc["hyperbolic"].to_dict() == {
        "faiss-flat": "ok",
        "faiss-hnsw-m36": "unsupported",
        "pynndescent-graph-n_neighbors20": "unsupported",
        "sklearn-brute": "unsupported",
    }
    flat = rows.loc[("hyperbolic", "faiss-flat")]
    assert flat["recall"] == 1 and "lifted" in flat["flags"] and not arrays["flags"].fillna("").str.contains("lifted").any()
    graph, approximate = rows.loc["graph"], ["faiss-hnsw-m36", "pynndescent-graph-n_neighbors20"]
    assert (graph["queries"] == 2000).all() and (graph.drop(approximate)["recall"] == 1).all(), words
    assert (graph.loc[approximate, "recall"] > 0.9).all()
    assert graph.loc[approximate[1], ["queries_timed", "single_calls"]].tolist() == [2000, 0]  # it answers no queries
    controls = pd.read_csv(project / "results/own/controls.csv").set_index(["dataset", "backend"])
    assert controls.loc[("graph", "control-null"), "recall"] == 1
    with np.load(project / "results/cells/graph/keops-cpu/k7.round0.npz") as kept:
        assert not (kept["ids"] == kept["queries"][:, None]).any()  # all are asked: their numbers are the points'
    (project / "mine.py").write_text(OWN.format(term="abs(x - y)"))
    again = snakemake("-n", *asked, cwd=project).stdout
    assert "slow" in again and "chi:" not in again  # only what it was used for is made again


@pytest.mark.parametrize("d", [2, 4, 10])
def test_a_matrix_of_any_dimension(tmp_path, d):
    path = tmp_path / "inverse.npy"
    np.save(path, np.eye(d) + 0.1)
    entry = {"matrix": str(path)}
    check_own_metric("maha", entry)
    assert metric_of("maha", entry).dimension == d
    x, y = np.random.default_rng(0).normal(size=(2, d))
    metric = metric_of("maha", entry)
    x, y = metric.prepare(np.stack([x, y]))
    assert metric.keys(x, y) == pytest.approx(metric.keys(y, x))
    drawn = {"metric": "maha", "metric_entry": entry, "source": "normal", "n": 9, "d": 7}
    with pytest.raises(ConfigError, match=f"have dimension 7, and the maha metric is for {d} coordinates"):
        check_dataset("mine", drawn)
    data = {"metric": "maha", "metric_entry": entry, "source": "file", "train": str(tmp_path / "points.npy"), "split": 2}
    np.save(tmp_path / "points.npy", np.ones((9, 7)))
    with pytest.raises(ConfigError, match=f"have dimension 7, and the maha metric is for {d} coordinates"):
        count_points("mine", data)


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (np.array([[2, 0, 1.9], [0, 2, 0], [0, 0, 2]]), "not symmetric: 1.9 in row 0 and column 2, 0 in row 2 and column 0"),
        (np.ones((2, 3)), r"its shape is \(2, 3\)"),
        (np.diag([1.0, -1.0]), "positive"),
        (np.diag([1.0, np.nan]), "not finite"),
        (np.array(["a"]), "could not convert"),
    ],
)
def test_matrices_that_are_refused(tmp_path, matrix, said):
    np.save(tmp_path / "a.npy", matrix)
    with pytest.raises(ConfigError, match=f"metrics.mine: matrix .*{said}"):
        check_own_metric("mine", {"matrix": str(tmp_path / "a.npy")})


def test_formulas_of_shares():
    """Kullback and Leibler's divergence ranks points that sum to 1, and no others."""
    entry = {"term": "x * log(x / y)", "domain": "positive", "symmetric": False}
    with pytest.raises(ConfigError, match="of shares of a whole, whose sum is 1, it finds the nearest: say domain: shares"):
        check_own_metric("kl", dict(entry))
    check_own_metric("kl", entry | {"domain": "shares"})
    outside, _ = DOMAINS["shares"]
    assert outside(np.array([[0.5, 0.5], [0.5, 0.6], [1, 0]])).tolist() == [False, True, True]


def test_what_a_metric_is():
    """Two of one name are told apart by what they are, and by nothing else."""
    same = [{"term": "abs(x-y)"}, {"term": " abs(x - y) ", "reduce": "sum"}, {"term": "abs(x - y)", "symmetric": True}]
    assert len({content_of(entry) for entry in same}) == 1
    assert content_of({"p": 3}) == content_of({"p": 3.0})
    assert content_of({"term": "abs(x - y)", "finish": "total"}) == content_of(same[0])
    others = [{"term": "abs(x - y)", "reduce": "max"}, {"term": "abs(y - x)"}, {"p": 0.5}, {"p": 4.0}, {"matrix": "data"}]
    others += [{"module": "a.py", "sha256": "1"}, {"module": "a.py", "sha256": "2"}]
    assert len({content_of(entry) for entry in [*same, *others]}) == 1 + len(others)
    assert content_of({"module": "a.py", "sha256": "1"}) == content_of({"module": "b/a.py", "sha256": "1"})


WEIGHTED = """
from pathlib import Path
import numpy as np
from knnbench.problem.metrics import Metric

WEIGHTS = np.load({where})
METRIC = Metric("mine", lambda m: lambda x, y: abs(x - y) * float(WEIGHTS[0]), length=None)
"""


def test_files_that_a_module_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("weights.npy", np.ones(3))
    Path("mine.py").write_text(WEIGHTED.format(where='Path(__file__).with_name("weights.npy")'), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"metrics.mine: mine.py reads .*weights.npy, .*; say reads: \[.*weights.npy\]"):
        check_own_metric("mine", {"module": "mine.py"})
    entries = [{"module": "mine.py", "reads": ["weights.npy"]} for _ in range(2)]
    check_own_metric("mine", entries[0])
    np.save("weights.npy", np.full(3, 2.0))
    with pytest.raises(MetricError, match="mine.py or what it reads was changed since"):
        metric_of("mine", entries[0])
    check_own_metric("mine", entries[1])
    assert entries[0]["sha256"] != entries[1]["sha256"]
    Path("mine.py").write_text(WEIGHTED.format(where='"weights.npy"'), encoding="utf-8")
    with pytest.raises(ConfigError, match="in the folder that a program runs in, which is another one elsewhere"):
        check_own_metric("mine", {"module": "mine.py", "reads": ["weights.npy"]})


KEYS = {"centre": True, "zero_rows": "drop"}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_a_dataset_under_every_metric(tmp_path, name, key):
    """It does what it says, or is refused by a sentence that names it and the metric."""
    metric = METRICS[name]
    points = raw(metric, 0)[:60].astype(np.float64)
    np.save(tmp_path / "points.npy", points)
    entry = {"metric": name, "source": "file", "train": str(tmp_path / "points.npy"), "split": 5, key: KEYS[key]}
    applies = ignores_origin(metric) if key == "centre" else not takes_zero(metric)
    if not applies:
        with pytest.raises(ConfigError, match=rf"datasets.mine.{key}: .*{name} metric"):
            check_dataset("mine", dict(entry))
        return
    check_dataset("mine", dict(entry))
    if key == "zero_rows":
        points[::10] = 0
        np.save(tmp_path / "points.npy", points)
        train, test, _, _, remarks = load(entry)
        assert train.shape[0] + test.shape[0] == 54 and "of the file are zero, which" in remarks[0]
        for part in (train, test):
            check_points(np.concatenate(list(part.blocks)), metric, "points")


def test_a_pipe_is_no_file(tmp_path):
    """Who opens one waits until somebody writes: it is refused, also where only the dimension is wanted."""
    os.mkfifo(tmp_path / "points.npy")
    entry = {"metric": "mine", "source": "file", "train": str(tmp_path / "points.npy"), "split": 5}
    assert list(dimensions_of("mine", {"d": entry})) == []
