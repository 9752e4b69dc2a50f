"""What adapters of GPU libraries ask of them, and when: libraries that stand in for them compute with NumPy."""

import collections
import ctypes
import importlib
import sys
import types
from unittest import mock

import numpy as np
import pytest

from knnbench.problem.metrics import METRICS

POINTS = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
QUERIES = np.random.default_rng(1).standard_normal((20, 3)).astype(np.float32)


class Tensor(np.ndarray):
    """An array with the names of PyTorch's methods."""

    def to(self, device, dtype):
        return self.astype(dtype)

    def cpu(self):
        return self

    def numpy(self):
        return np.asarray(self)


def nearest(points, queries, k):
    return ((np.asarray(queries)[:, None] - np.asarray(points)) ** 2).sum(2).argsort(1)[:, :k]


@pytest.fixture
def libraries():
    """Stand-ins for PyTorch, cuVS, FlashLib and FAISS, and what is counted of their use: `made` and `given`."""
    counted = types.SimpleNamespace(made=collections.Counter(), given=[])

    def made(name, value):
        counted.made[name] += 1
        return value

    def empty(shape, dtype, device):
        return made("empty", np.empty(shape, dtype).view(Tensor))

    def pad(rows, widths):
        return np.pad(rows, ((0, 0), widths)).view(Tensor)

    def search(points, queries, k, neighbors, distances, resources):
        counted.given.append(points)
        neighbors[:] = nearest(points, queries, k)
        assert distances.shape == neighbors.shape and distances.dtype == np.float32

    def search_index(parameters, points, queries, k, **outputs):
        counted.given.append(parameters)
        search(points, queries, k, **outputs)

    def refine(points, queries, candidates, metric, indices, distances, resources):
        assert candidates.shape[1] == 2 * indices.shape[1]
        search(points, queries, indices.shape[1], indices, distances, resources)

    def flash_knn(queries, points, k, return_distances):
        assert queries.shape[1] == points.shape[1]
        counted.given.append(points)
        return nearest(points, queries, k).view(Tensor)

    class SearchParams:
        def __init__(self, **arguments):
            counted.made["SearchParams"] += 1
            self.arguments = arguments

    def module(name, **names):
        new = types.ModuleType(name)
        vars(new).update(names)
        return new

    dtypes = {name: getattr(np, name) for name in ("float32", "float16", "int64", "uint32")} | {"bfloat16": np.float16}
    cuda = types.SimpleNamespace(synchronize=lambda: None)
    functional = types.SimpleNamespace(pad=pad)
    torch = module(
        "torch",
        **dtypes,
        empty=empty,
        zeros=lambda *_, device: None,
        from_numpy=lambda array: array.view(Tensor),
        cuda=cuda,
        nn=types.SimpleNamespace(functional=functional),
    )
    index = {"IndexParams": lambda **_: None, "SearchParams": SearchParams, "build": lambda _, points, resources: points}
    kinds = {name: module(name, **index, search=search_index) for name in ("cagra", "ivf_flat", "ivf_pq")}
    brute_force = module("brute_force", build=lambda points, metric, resources: points, search=search)
    neighbors = module("cuvs.neighbors", brute_force=brute_force, refine=refine, **kinds)
    common = module("cuvs.common", Resources=lambda: types.SimpleNamespace(sync=lambda: None))
    metrics = {f"METRIC_{name}": number for number, name in enumerate(("L2", "INNER_PRODUCT", "L1", "Linf", "Lp"))}
    faiss = module("faiss", **metrics, cvar=types.SimpleNamespace(distance_compute_blas_threshold=1))
    stand_ins = [torch, module("cuvs"), common, neighbors, faiss, module("flashlib"), module("flashlib.primitives")]
    stand_ins.append(module("flashlib.primitives.knn", flash_knn=flash_knn))
    ours = [name for name in sys.modules if name.startswith("knnbench.backends.") and name != "knnbench.backends.base"]
    with mock.patch.dict(sys.modules, {each.__name__: each for each in stand_ins}):
        for name in ours:
            del sys.modules[name]
        yield counted


def fitted(name, **parameters):
    backend = importlib.import_module(f"knnbench.backends.{name}").Backend(METRICS["euclidean"], "gpu", 1, **parameters)
    assert list(backend.fit(POINTS)) == ["transfer", "train", "add"]
    return backend


def ask(backend, queries, k):
    return backend.query(backend.to_query_device(queries), k)


BACKENDS = {
    "brute force": ("cuvs", {}),
    "cagra": ("cuvs_index", {"index": "cagra"}),
    "ivf_flat": ("cuvs_index", {"index": "ivf_flat"}),
    "ivf_pq": ("cuvs_index", {"index": "ivf_pq"}),
    "flashlib": ("flashlib", {}),
}


@pytest.mark.parametrize("name", BACKENDS)
def test_an_answer_stays_what_it_was(libraries, name):
    """A later call of the same size writes its ids somewhere else."""
    module, parameters = BACKENDS[name]
    backend = fitted(module, **parameters)
    if name == "ivf_pq":
        backend.set_search(refine_ratio=2)
    first, second = ask(backend, QUERIES[:7], 5), ask(backend, QUERIES[7:14], 5)
    assert (backend.to_host(first) == nearest(POINTS, QUERIES[:7], 5)).all()
    assert (backend.to_host(second) == nearest(POINTS, QUERIES[7:14], 5)).all()


def test_calls_of_one_size_make_their_ids_and_nothing_else(libraries):
    backend = fitted("cuvs_index", index="ivf_pq")
    backend.set_search(refine_ratio=2, n_probes=3)
    ask(backend, QUERIES, 5)
    before = libraries.made.copy()
    ask(backend, QUERIES, 5)
    assert libraries.made - before == {"empty": 2}  # ids of the candidates and of the answer


def test_arguments_of_a_search_are_made_once_for_each_setting_and_k(libraries):
    backend = fitted("cuvs_index", index="cagra")
    for itopk_size in (32, 128):
        backend.set_search(itopk_size=itopk_size)
        for k in (10, 100, 10, 100):
            ask(backend, QUERIES, k)
    sizes = [each.arguments["itopk_size"] for each in libraries.given if hasattr(each, "arguments")]
    assert sizes == [32, 100, 32, 100, 128, 128, 128, 128] and libraries.made["SearchParams"] == 4


@pytest.mark.parametrize(("scale", "halves"), [(1, True), (1e3, False)])
def test_squares_that_float16_does_not_hold_are_float32_s(libraries, scale, halves):
    """In the tables and the coarse search of cuVS's IVF-PQ."""
    backend = importlib.import_module("knnbench.backends.cuvs_index").Backend(METRICS["euclidean"], "gpu", 1, index="ivf_pq")
    list(backend.fit(POINTS * np.float32(scale)))
    ask(backend, QUERIES, 5)
    assert [np.float16 in vars(each)["arguments"].values() for each in libraries.given if hasattr(each, "arguments")] == [
        halves
    ]


def test_flashlib_s_points_are_filled_up_in_the_fit(libraries):
    backend = fitted("flashlib")
    assert (ask(backend, QUERIES, 5) == nearest(POINTS, QUERIES, 5)).all()
    ask(backend, QUERIES[:1], 5)
    first, second = libraries.given
    assert first is second and first.shape == (200, 16) and not first[:, 3:].any()


@pytest.mark.parametrize(
    ("error", "mode", "says"), [(0, 3, ""), (0, 0, "the mode of its cuBLAS handle is 0"), (1, 3, "cublasSetMathMode: error 1")]
)
def test_tf32_of_faiss_is_read_back(libraries, monkeypatch, error, mode, says):
    """A handle that is none, or a library that ignores the mode, is an error and no row of another precision."""
    module = importlib.import_module("knnbench.backends.faiss")
    handle, seen = ctypes.c_void_p(4321), []
    address = ctypes.addressof(handle)

    def set_mode(of, wanted):
        seen.append((of.value, wanted))
        return error

    def get_mode(of, place):
        place._obj.value = mode
        return 0

    cublas = types.SimpleNamespace(cublasSetMathMode=set_mode, cublasGetMathMode=get_mode)
    monkeypatch.setattr(module.ctypes, "CDLL", lambda _: cublas)
    backend = object.__new__(module.Backend)
    shared = types.SimpleNamespace(getBlasHandleCurrentDevice=lambda: address)
    backend.resources = types.SimpleNamespace(getResources=lambda: shared)
    if says:
        with pytest.raises(RuntimeError, match=says):
            backend.allow_tf32()
    else:
        backend.allow_tf32()
    assert seen == [(4321, 3)]
