"""The contract: every backend agrees with the float64 truth, on every metric that it supports.

An exact backend may confuse two points only if float32 cannot tell their distances apart; an approximate one must return
valid answers and find a point that is itself.
"""

import re

import numpy as np
import pytest
from conftest import CONFIG, DEVICES, ENVIRONMENTS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from knnbench.backends.base import by_halves
from knnbench.backends.sklearn import Backend
from knnbench.config.settings import builds_of
from knnbench.problem.metrics import METRICS, PAGE
from knnbench.problem.own_metrics import valid_points
from knnbench.problem.points import check_points
from knnbench.problem.recall import exact_distances
from knnbench.problem.truth import exact_neighbors

EXACT = [key for key in ENVIRONMENTS if CONFIG["backends"][key[0]]["exact"]]
# What compiles for seconds, and is tried as a whole in the second tier.
SLOW = {"keops-float64", "keops-native", "torch-compile", "pynndescent"}
CONTRACT, APPROXIMATE = (
    [pytest.param(key, marks=pytest.mark.full) if key[0] in SLOW else key for key in keys]
    for keys in (EXACT, [key for key in ENVIRONMENTS if key not in EXACT])
)
ALONE = {"keops_native"}  # modules that set something for their whole process
# Points and dimensions of modules that want more of them than the others get.
WANTED = {"scann": (20_000, 32), "rabitqlib": (2000, 64)}
# These sum differences (FAISS up to some hundred dimensions) or work in float64: an offset of the data costs them nothing.
DIRECT = {
    *("keops", "keops-float64", "keops-native", "faiss-flat", "faiss-knn", "torch-compile", "usearch", "pykdtree", "pynear"),
    *("scipy-kd-tree", "sklearn-auto", "sklearn-ball-tree", "sklearn-kd-tree", "sklearn-brute"),
}
# These expand squares around the origin, however far from it the points are.
UNCENTRED = {"sklearnex-brute", "torch-page", "torch-page-all", "jax-page"}
LIFTED = {"faiss", "faiss_knn", "usearch", "cuvs"}  # modules that search lifted points where they lack a metric
# How far the order of distances may be off that are of numbers with so many bits.
ROUNDED = {"float32": 1e-5, "tf32": 1e-2, "float16": 1e-2, "bfloat16": 5e-2, "int8": 5e-2}
CODED = {"faiss-ivfpq", "rabitqlib-ivf"}  # answer in the order of distances from codes, which is another one
EPSILON = np.finfo(np.float32).eps
N, D, Q, K = 40, 4, 7, 5  # few shapes: KeOps and JAX compile for each

pytestmark = pytest.mark.filterwarnings("ignore")


def name_of(key):
    return "-".join(key)


def builds(name):
    """The builds of an entry, as a run has them: dict, name -> entry."""
    return builds_of(name, {"label": name, "parameters": {}} | CONFIG["backends"][name])


def first_build(name, lists):
    """The first of them, with so many lists in place of an IVF's."""
    entry = next(iter(builds(name).values()))
    parameters = dict(entry["parameters"])
    if "index" in parameters:
        parameters["index"] = re.sub(r"IVF(\d+|{lists})", f"IVF{lists}", parameters["index"])
        parameters.pop("lists_per_sqrt", None)
    return entry | {"parameters": parameters}


def ask(server, backend, metric, train, queries, k):
    name, device = backend
    entry = first_build(name, lists=2)
    ids = server(ENVIRONMENTS[backend], entry["module"] if entry["module"] in ALONE else None).ask(
        module=entry["module"],
        metric=metric,
        device=device,
        parameters=entry["parameters"],
        train=train,
        queries=queries,
        k=k,
        saves=entry.get("saves", False),
        lifts=METRICS[metric].lifts,
        searches=[entry["search"][-1]["set"]] if "search" in entry else [{}],
    )
    if isinstance(ids, str):
        pytest.skip(ids)
    return ids[0]


def check_exact(server, backend, metric, train, queries, k):
    """Compare the distances of an answer with the true ones, up to what float32 can resolve."""
    m = METRICS[metric]
    train, queries = check_points(train, m, "train"), check_points(queries, m, "queries")
    ids = ask(server, backend, metric, train, queries, k)
    assert ids.shape == (len(queries), k)
    assert ids.min() >= 0 and ids.max() < len(train)
    assert all(len(set(row)) == k for row in ids.tolist())
    _, truth = exact_neighbors(m, train, queries, k)
    found = np.sort(exact_distances(m, train, queries, ids), axis=1)
    # Rounding of a squared distance that is expanded around a centre: (d + 4) u (|x| + |y|)², as for a dot product
    # (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). Direct sums lose (d + 4) u of the distance itself.
    centre = 0 if m.normalised or backend[0] in UNCENTRED else train[:1].astype(np.float64)
    reach = max(np.linalg.norm(train - centre, axis=1).max(), np.linalg.norm(queries - centre, axis=1).max())
    noise = (train.shape[1] + 4) * EPSILON * (2 * reach) ** 2
    if m.domain == "half-space":
        noise /= train[:, 0].min() * queries[:, 0].min()
    lifted = m.lifts and CONFIG["backends"][backend[0]]["module"] in LIFTED
    if (
        lifted
    ):  # a product of d + 2 numbers, each rounded, around the mean, which may be twice as far as the nearest point to it
        noise *= 8
    if metric == "manhattan" or (backend[0] in DIRECT and backend[1] == "cpu" and metric != "angular" and not lifted):
        assert (found <= truth * (1 + (train.shape[1] + 4) * EPSILON)).all()
    elif metric == "euclidean":
        assert (found**2 <= truth**2 + noise).all()
    else:
        assert (found <= truth + noise).all()


def test_gpus_are_checked_too():
    if "gpu" not in DEVICES:
        pytest.skip("no NVIDIA GPU here: the contract of the GPU backends was not checked")
    assert {name for name, device in EXACT if device == "gpu"} >= {
        "torch",
        "torch-page",
        "jax",
        "jax-page",
        "keops",
        "faiss-flat",
    }


def sample(seed, n=N, d=D):
    return np.random.default_rng(seed).uniform(0.5, 1.5, (n, d))


@pytest.mark.parametrize("metric", PAGE)
@pytest.mark.parametrize("backend", CONTRACT, ids=name_of)
class TestExact:
    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        seed=st.integers(0, 2**32 - 1),
        grid=st.sampled_from([0.0, 0.25]),
        copies=st.integers(0, N // 2),
        scale=st.sampled_from([1e-3, 1.0, 1e4]),
    )
    def test_random_points_with_ties_and_duplicates(self, server, backend, metric, seed, grid, copies, scale):
        train, queries = sample(seed), sample(seed + 1, Q)
        if grid:
            train, queries = np.ceil(train / grid) * grid, np.ceil(queries / grid) * grid
        train[:copies] = train[N - copies :]
        check_exact(server, backend, metric, train * scale, queries * scale, K)

    def test_all_points_are_neighbours(self, server, backend, metric):
        check_exact(server, backend, metric, sample(2, K), sample(3, Q), K)

    @pytest.mark.full  # KeOps compiles for every dimension
    def test_one_dimension(self, server, backend, metric):
        check_exact(server, backend, metric, sample(4, d=1), sample(5, Q, d=1), K)

    def test_more_than_a_batch(self, server, backend, metric):
        """And points of which PyTorch cuts its rows into chunks, the last one shorter."""
        check_exact(server, backend, metric, sample(15, 10_001), sample(16, 701), K)

    def test_one_query(self, server, backend, metric):
        check_exact(server, backend, metric, sample(6), sample(7, 1), K)

    def test_far_from_the_origin(self, server, backend, metric):
        offset = np.full(D, 1000.0)
        if metric == "hyperbolic":
            offset[0] = 0  # the half-space is invariant under shifts along its boundary
        check_exact(server, backend, metric, sample(8) + offset, sample(9, Q) + offset, K)

    def test_integers_keep_every_digit(self, server, backend, metric):
        """Pixels: squares and sums of integers are exact in float32, so not even a near tie may be confused."""
        if metric in ("angular", "hyperbolic"):
            pytest.skip("divides")
        generator = np.random.default_rng(10)
        train = generator.integers(0, 256, (N, D)).astype(np.float32)
        queries = generator.integers(0, 256, (Q, D)).astype(np.float32)
        ids = ask(server, backend, metric, train, queries, K)
        _, truth = exact_neighbors(METRICS[metric], train, queries, K)
        assert np.array_equal(exact_distances(METRICS[metric], train, queries, ids), truth)

    @pytest.mark.parametrize("layout", ["float64", "fortran", "strided", "integer"])
    def test_any_layout(self, server, backend, metric, layout):
        wide = sample(11, d=2 * D) * 10
        train = {
            "float64": wide[:, :D].copy(),
            "fortran": np.asfortranarray(wide[:, :D], dtype=np.float32),
            "strided": wide.astype(np.float32)[:, ::2],
            "integer": wide[:, :D].astype(np.int16),
        }[layout]
        check_exact(server, backend, metric, train, sample(12, Q) * 10, K)


COMPILED = {"keops", "torch-compile", "jax", "jax-page"}  # which takes seconds for each metric
SAME_FORMULAS = {"keops-float64", "keops-native", "jax-batch"}  # as keops and jax


@pytest.mark.parametrize("metric", [name for name in METRICS if name not in PAGE])
@pytest.mark.parametrize(
    "backend",
    [pytest.param(key, marks=pytest.mark.full) if key[0] in COMPILED else key for key in EXACT if key[0] not in SAME_FORMULAS],
    ids=name_of,
)
def test_other_metrics(server, backend, metric):
    """Points that are far enough apart for float32: the neighbours are the right ones, and so is their order."""
    m = METRICS[metric]
    generator = np.random.default_rng(0)
    train, queries = (valid_points(m.domain, generator).astype(np.float32) for _ in range(2))
    train, queries = check_points(train, m, "train"), check_points(queries[:Q], m, "queries")
    ids = ask(server, backend, metric, train, queries, K)
    _, distances = exact_neighbors(m, train, queries, K)
    found = exact_distances(m, train, queries, ids)
    scale = np.abs(distances[:, -1:]) + np.ptp(distances, axis=1, keepdims=True)
    assert (np.abs(found - distances) <= 1e-4 * scale).all()


@pytest.mark.parametrize("metric", PAGE)
@pytest.mark.parametrize("backend", [key for key in EXACT if key[0] in ("torch-page", "jax-page")], ids=name_of)
def test_more_than_a_batch_of_the_page(server, backend, metric):
    """Of 250 queries each, by its formula."""
    check_exact(server, backend, metric, sample(15, 10_001, 50), sample(16, 701, 50), K)


@pytest.mark.full
@pytest.mark.parametrize("backend", EXACT, ids=name_of)
def test_a_thousand_neighbours(server, backend):
    """The largest K of the schema: no library here has a lower limit."""
    check_exact(server, backend, "euclidean", sample(14, 1200), sample(15, Q), 1000)


# These draw by themselves, others every time: vantage points, centres, rotations, or a number of the file; NMSLIB goes on in a
# process where its last index ended.
UNSEEDED = {"pynear", "scann", "svs-vamana", "rabitqlib-ivf", "rabitqlib-symqg", "nmslib-hnsw"}
# Take none: builds are the same, or differ by how threads take turns, and here is one thread.
SEEDLESS = {"sklearn-auto", "sklearn-ball-tree", "sklearn-kd-tree", "usearch-hnsw", "faiss-nsg"}
# The file of SciPy's tree has addresses of memory in it, PyNNDescent's numbers of compiled functions; NGT's builds differ only
# where threads race.
INCOMPARABLE = {"scipy-kd-tree", "pynndescent", "ngt-onng"}
SAVED = [key for key in ENVIRONMENTS if CONFIG["backends"][key[0]].get("saves") and key[0] not in INCOMPARABLE]


@pytest.mark.parametrize("backend", SAVED, ids=name_of)
def test_builds_differ_where_the_library_takes_a_seed(server, backend):
    """Each has a seed of its own, and the same one twice."""
    entry = first_build(backend[0], lists=8)
    asked = {
        "module": entry["module"],
        "metric": "euclidean",
        "device": backend[1],
        "parameters": entry["parameters"],
        "saves": True,
    }
    train = sample(14, *WANTED.get(entry["module"], (2000, D))).astype(np.float32)

    def build(number):
        return server(ENVIRONMENTS[backend]).ask(**asked, train=train, build=number)

    first, second = build(0), build(1)
    if backend[0] in UNSEEDED:  # two may be the same by chance
        assert second != first or any(build(0) != first for _ in range(8))
    else:
        assert build(0) == first and (second == first) == (backend[0] in SEEDLESS)


@pytest.mark.parametrize("metric", PAGE)
@pytest.mark.parametrize("backend", APPROXIMATE, ids=name_of)
def test_approximate_answers_are_valid(server, backend, metric):
    m = METRICS[metric]
    train = check_points(sample(13, *WANTED.get(CONFIG["backends"][backend[0]]["module"], (400, D))), m, "train")
    ids = ask(server, backend, metric, train, train[:Q], K)
    assert ids.shape == (Q, K)
    assert ids.min() >= -1 and ids.max() < len(train)
    found = exact_distances(m, train, train[:Q], np.maximum(ids, 0))
    precision = CONFIG["backends"][backend[0]].get("parameters", {}).get("precision", "float32")
    if precision == "float32":
        assert (ids[:, 0] == np.arange(Q)).mean() >= 0.5
    else:  # which confuses a point with those that are very near
        everyone = np.tile(np.arange(len(train)), (Q, 1))
        assert (found[:, 0] <= 0.2 * np.median(exact_distances(m, train, train[:Q], everyone))).all()
    if backend[0] not in CODED:
        assert (np.diff(found, axis=1)[ids[:, 1:] >= 0] >= -ROUNDED[precision]).all()


NARROW = [
    (name, device)
    for name, device in ENVIRONMENTS
    if CONFIG["backends"][name].get("parameters", {}).get("precision") in ("float16", "bfloat16", "int8") or "-sq8" in name
]


@pytest.mark.parametrize(("scale", "shift", "refuse"), [(1, 0, ()), (1e5, 0, "float16"), (1e-9, 0, "float16"), (1, 3e4, None)])
@pytest.mark.parametrize("backend", NARROW, ids=name_of)
def test_a_type_that_does_not_hold_points_is_refused(server, backend, scale, shift, refuse):
    """And never answers at random without a word; far from the origin it depends on what the library does first."""
    precision = CONFIG["backends"][backend[0]].get("parameters", {}).get("precision", "int8")
    train = (scale * sample(13, 400, D) + shift).astype(np.float32)
    try:
        ids = ask(server, backend, "euclidean", train, train[:Q], K)
    except pytest.skip.Exception as said:
        assert refuse is None or precision in refuse
        assert str(said).startswith(f"{precision} ")
        return
    assert not refuse or precision not in refuse
    truth, _ = exact_neighbors(METRICS["euclidean"], train, train[:Q], K)
    assert np.mean([np.isin(mine, true).mean() for mine, true in zip(ids, truth, strict=True)]) > 0.5


@pytest.mark.parametrize("algorithm", ["kd_tree", "ball_tree"])
def test_few_queries_of_a_tree_are_one_job(monkeypatch, tmp_path, algorithm):
    """Where jobs would take longer to start than to search: of an estimator of the same tree and points."""
    train, jobs = np.random.default_rng(0).standard_normal((10_000, 6), np.float32), []
    built = Backend(METRICS["euclidean"], "cpu", 2, algorithm)
    assert [*built.fit(train)] == ["transfer", "train", "add"]
    built.save(tmp_path / "index")
    loaded = Backend(METRICS["euclidean"], "cpu", 2, algorithm)
    loaded.load(tmp_path / "index")
    kneighbors = Backend.estimator.kneighbors
    monkeypatch.setattr(
        Backend.estimator, "kneighbors", lambda self, *a, **options: jobs.append(self.n_jobs) or kneighbors(self, *a, **options)
    )
    truth = kneighbors(built.neighbours, train[:1000], 5, return_distance=False)
    for backend in (built, loaded):
        assert backend.alone._tree is backend.neighbours._tree and backend.alone._fit_X is backend.neighbours._fit_X
        jobs.clear()
        for number in (1, 2, 1000, 2, 1):
            assert (backend.query(train[:number], 5) == truth[:number]).all()
        assert jobs == [1, 1, 2, 1, 1]
    few = Backend(METRICS["euclidean"], "cpu", 2, algorithm)
    assert [*few.fit(train[:100])] and len(few.query(train[:1000], 5)) == 1000 and jobs[-1] == 1  # who has 100 points


def test_lists_are_as_many_as_the_points_ask_for(server):
    """FAISS's {lists}: a multiple of the square root of their number, refused where k-means has too few points for it."""
    asked = {"module": "faiss", "metric": "euclidean", "device": "cpu", "train": sample(19, 1600, 4).astype(np.float32)}

    def ask(**parameters):
        return server("faiss-cpu").ask(**asked, queries=asked["train"][:Q], k=K, saves=True, parameters=parameters)

    def lists(number):
        return ask(index=f"IVF{number},Flat").tolist()

    assert ask(index="IVF{lists},Flat", lists_per_sqrt=1).tolist() == lists(40) != lists(39)
    refused = ask(index="IVF{lists},Flat", lists_per_sqrt=4)
    assert "160 lists, 4 times the square root of 1,600 points, would have 10 points each" in refused and "39" in refused
    for parameters in ({"index": "IVF{lists},Flat"}, {"index": "Flat", "lists_per_sqrt": 4}):
        with pytest.raises(ValueError, match="lists_per_sqrt says what {lists} is"):
            ask(**parameters)


@pytest.mark.parametrize("refused", [[], [3], [0, 6], list(range(7))], ids=str)
def test_queries_that_find_too_few_do_not_cost_the_others_theirs(refused):
    """A library that raises for some of its queries: these are answered as far as they can be, by calls that grow with their
    number and its logarithm, and the others as before."""
    calls = []

    def ask(queries, k):
        calls.append(len(queries))
        if k > 2 and set(queries[:, 0]) & set(refused):
            raise RuntimeError
        return np.tile(queries, k) * 10 + np.arange(k)

    queries = np.arange(7)[:, None]
    ids = by_halves(ask, queries, K, RuntimeError)
    assert ids.tolist() == [
        [10 * number, 10 * number + 1] + ([-1] * (K - 2) if number in refused else [10 * number + at for at in range(2, K)])
        for number in range(7)
    ]
    assert len(calls) <= 1 + len(refused) * (2 * 3 + 3)


CURVES = [key for key in ENVIRONMENTS if "search" in CONFIG["backends"][key[0]]]


@pytest.mark.parametrize(
    "backend",
    [pytest.param(key, marks=pytest.mark.full) if key[0] in SLOW else key for key in CURVES if key[0] not in CODED],
    ids=name_of,
)
def test_one_query_is_answered_too(server, backend):
    """By a call of its own, where the library has one."""
    train = sample(13, *WANTED.get(CONFIG["backends"][backend[0]]["module"], (400, D))).astype(np.float32)
    ids = ask(server, backend, "euclidean", train, train[:1], K)
    found = exact_distances(METRICS["euclidean"], train, train[:1], np.maximum(ids, 0))
    assert ids.shape == (1, K) and ids[0, 0] == 0 and ids.min() >= -1 and ids.max() < len(train)
    assert (np.diff(found, axis=1)[ids[:, 1:] >= 0] >= -1e-2).all()


@pytest.mark.full
@pytest.mark.parametrize("backend", CURVES, ids=name_of)
def test_every_setting_answers(server, backend):
    """Of the first build and the last, from an index that was saved and loaded: valid, and who looks at more finds more."""
    asked = {"metric": "euclidean", "device": backend[1], "k": K, "saves": CONFIG["backends"][backend[0]]["saves"]}
    train = sample(16, 20_000, 64 if backend[0].startswith("rabitqlib") else 16).astype(np.float32)
    queries = sample(17, 200, train.shape[1]).astype(np.float32)
    truth, _ = exact_neighbors(METRICS["euclidean"], train, queries, K)
    all_builds, answered = builds(backend[0]), 0
    for name in dict.fromkeys((min(all_builds), max(all_builds))):
        entry = all_builds[name]
        searches = [point["set"] for point in entry["search"]]
        found = server(ENVIRONMENTS[backend]).ask(
            **asked, module=entry["module"], parameters=entry["parameters"], train=train, queries=queries, searches=searches
        )
        if isinstance(found, str) and "lists" in found:  # more than these points are enough for
            continue
        assert not isinstance(found, str), f"{name}: {found}"
        answered += 1
        recalls = [np.mean([len(set(row) & set(right)) / K for row, right in zip(ids, truth, strict=True)]) for ids in found]
        assert all(ids.shape == (200, K) and ids.min() >= -1 and ids.max() < len(train) for ids in found), name
        assert max(recalls) >= 0.8 and recalls[-1] >= max(recalls) - 0.05 and recalls[0] <= recalls[-1], (name, recalls)
    assert answered


TAKE_K = {"hnswlib", "voyager", "usearch-hnsw", "nmslib-hnsw", "svs-vamana", "faiss-nsg", "rabitqlib-symqg", "cuvs-cagra"}


@pytest.mark.parametrize("backend", [key for key in CURVES if key[0] in {*TAKE_K, "faiss-hnsw"}], ids=name_of)
def test_fewer_candidates_than_k_are_one_search_where_the_backend_says_so(server, backend):
    """The answers are the same; those of FAISS's HNSW, which says nothing, are not."""
    entry, k = first_build(backend[0], lists=8), 150
    train = sample(20, *WANTED.get(entry["module"], (2000, 16))).astype(np.float32)
    searches = [point["set"] for point in entry["search"]]
    asked = {"module": entry["module"], "metric": "euclidean", "device": backend[1], "parameters": entry["parameters"]}
    known = server(ENVIRONMENTS[backend]).ask(**asked, train=train, queries=train[:20], k=k, searches=searches, tell=True)
    by_search = {}
    for ids, searched in known:
        by_search.setdefault(str(searched), []).append(ids)
    assert all(np.array_equal(ids, same[0]) for same in by_search.values() for ids in same)
    assert (len(by_search) < len(searches)) == (backend[0] in TAKE_K)
    assert backend[0] in TAKE_K or not np.array_equal(known[0][0], known[1][0])


def test_a_subset_is_searched_as_all_queries_are_by_brute_force_of_sklearn():
    """It shares queries among its threads if there are more than points, or more than four chunks a thread: else the points."""
    backend = Backend(METRICS["euclidean"], "cpu", 2, algorithm="brute")
    list(backend.fit(sample(18, 1500, 4).astype(np.float32)))
    assert [backend.least_queries(queries) for queries in (1500, 1501, 2048, 2049)] == [1, 3072, 3072, 3072]
    list(backend.fit(sample(18, 5000, 4).astype(np.float32)))
    assert [backend.least_queries(queries) for queries in (2048, 2049, 5000, 5001)] == [1, 3072, 3072, 3072]
