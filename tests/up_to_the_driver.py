"""GPU code as far as a machine without a GPU can run it: test_driver.py starts this in a backend's environment.

Usage: python up_to_the_driver.py keops CUDA | torch GUARD [MUTANT] | large GUARD | parts | jax | jax_page | jax_large | faiss;
prints JSON. Nothing here computes on a device: what is checked is that code compiles for it, stays on it, and asks the driver
for things that there are.
"""

import contextlib
import ctypes
import functools
import importlib
import itertools
import json
import sys
from unittest import mock

import numpy as np

from knnbench.problem.metrics import METRICS, PAGE

POINTS, QUERIES = 300, 7
DIMENSIONS, KS = (3, 10, 100), (1, 10, 100)


def drawn(rows, d):
    return np.random.default_rng(rows).uniform(0.5, 1.5, (rows, d)).astype(np.float32)


def keops(cuda):
    """Every kernel of the page's grid through our backend: KeOps writes it, NVRTC compiles it, a driver takes and starts it."""
    import torch

    device = torch.device
    torch.device, torch.cuda.synchronize = lambda name: device("cpu"), lambda: None  # this PyTorch may be for CPUs
    torch.version.cuda = cuda
    module = importlib.import_module("knnbench.backends.keops")
    for metric, d in itertools.product((METRICS[name] for name in PAGE), DIMENSIONS):
        backend = module.Backend(metric, "gpu", 1)
        assert list(backend.fit(drawn(POINTS, d))) == ["transfer", "train", "add"]
        assert backend.least_queries(QUERIES) == QUERIES
        for k in KS:
            answer = backend.to_host(backend.query(backend.to_query_device(drawn(QUERIES, d)), k))
            assert answer.shape == (QUERIES, k), answer.shape
    return ctypes.c_int.in_dll(ctypes.CDLL("libcuda.so.1"), "launches").value


# Faults that the check of PyTorch's code has to find: where in our backend, and what is there instead.
MUTANTS = {
    "queries stay on the host": ("to_query_device", lambda self, queries: sys.modules["torch"].from_numpy(queries)),
    "the answer is made on the host": (
        "query",
        lambda self, queries, k: sys.modules["torch"].empty((len(queries), k), dtype=sys.modules["torch"].int64),
    ),
    "ids are 32 bits": ("query", lambda self, queries, k: self.keys(queries).topk(k, dim=1).indices.int()),
    "an axis is lost": ("keys", lambda self, queries: (queries**2).sum(1) + self.train_sq),
}


@contextlib.contextmanager
def without_numbers(guard, memory=2 * 10**9):
    """Tensors have a device, a shape and a type but no numbers; the device says that so many bytes are free."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    ctypes.CDLL(guard)
    from_numpy = torch.from_numpy
    with FakeTensorMode() as mode, contextlib.ExitStack() as stack:
        for patch in (
            mock.patch.object(torch, "from_numpy", lambda array: mode.from_tensor(from_numpy(array))),
            mock.patch.object(torch.cuda, "mem_get_info", return_value=(memory, memory)),
            mock.patch.object(torch.cuda, "synchronize"),
        ):
            stack.enter_context(patch)
        yield


def search(backend, train, queries):
    """Fit and query as a cell does; whether the ids are what and where they are to be."""
    import torch

    assert list(backend.fit(train)) == ["transfer", "train", "add"]
    ids = backend.query(backend.to_query_device(queries), 10)
    backend.synchronize()
    assert (ids.device.type, ids.dtype, tuple(ids.shape)) == ("cuda", torch.int64, (len(queries), 10)), ids


def torch(guard, mutant=None):
    """Fit and query with tensors without numbers; how many variants passed, by module."""
    import torch

    module = importlib.import_module("knnbench.backends.torch")
    page = importlib.import_module("knnbench.backends.torch_page")
    if mutant:
        setattr(module.Backend, *MUTANTS[mutant])
    # What PyTorch knows of this product for a CUDA device only.
    shape_of = torch.library.Library("aten", "IMPL", "Meta")
    shape_of.impl("mm.dtype", lambda a, b, out_dtype: a.new_empty((len(a), b.shape[1]), dtype=out_dtype))
    variants = [
        (module, {"batch": b, "precision": p}) for b in ("all", "memory", "seed") for p in ("float32", "tf32", "bfloat16")
    ]
    variants += [(page, {"batch": batch}) for batch in ("all", "seed")]
    passed = {module.__name__: 0, page.__name__: 0}
    sizes = ((POINTS, 3, QUERIES), (20_000, 100, 3_000))
    for metric, (of, parameters), (n, d, q) in itertools.product(METRICS.values(), variants, sizes):
        with without_numbers(guard):
            backend = of.Backend(metric, "gpu", 1, **parameters)
            if not backend.unsupported(10, n, d):
                search(backend, drawn(n, d), drawn(q, d))
                passed[of.__name__] += 1
    return list(passed.values())


def large(guard):
    """10,000 queries among 10^6 points on a card of 140 GB: numbers of the largest array, and of the largest of `cdist`'s.

    By metric and way of batching; of what is compiled, steps of its loop.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    module, compiled = (importlib.import_module(f"knnbench.backends.{name}") for name in ("torch", "torch_compile"))
    train, queries, found = np.ones((10**6, 10), np.float32), np.ones((10**4, 10), np.float32), {}

    class Largest(TorchDispatchMode):
        of_all = of_cdist = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            made = max(
                (each.numel() for each in (out if isinstance(out, tuple) else (out,)) if isinstance(each, torch.Tensor)),
                default=0,
            )
            self.of_all = max(self.of_all, made)
            self.of_cdist = max(self.of_cdist, made if "cdist" in function.name() else 0)
            return out

    for name, batch in itertools.product(("hyperbolic", "manhattan", "minkowski", "canberra"), ("all", "memory")):
        with without_numbers(guard, 140 * 10**9), Largest() as largest:
            search(module.Backend(METRICS[name], "gpu", 1, batch=batch), train, queries)
        found[f"{name}, {batch}"] = largest.of_all, largest.of_cdist
    with without_numbers(guard, 140 * 10**9):
        backend = compiled.Backend(METRICS["manhattan"], "gpu", 1)
        list(backend.fit(train))
    return found | {"compiled": [backend.step * train.size, 0]}


def parts():
    """Whether `cdist` in parts is `cdist`, by the numbers that a part may have; on this CPU."""
    module, found = importlib.import_module("knnbench.backends.torch"), {}
    backend = module.Backend(METRICS["manhattan"], "cpu", 1)
    list(backend.fit(drawn(POINTS, 3)))
    queries = backend.to_query_device(drawn(QUERIES, 3))
    whole = backend.keys(queries)
    for module.MOST in (1, POINTS, 3 * POINTS + 1, QUERIES * POINTS):
        found[module.MOST] = bool((backend.keys(queries) == whole).all())
    return found


def jax():
    """Our search lowers for CUDA, at the page's largest size; the operations that it consists of, by metric."""
    import jax

    module, found = importlib.import_module("knnbench.backends.jax"), {}
    for metric in METRICS.values():
        backend = module.Backend(metric, "cpu", 1)
        points, queries = (jax.ShapeDtypeStruct((rows, 100), np.float32) for rows in (10**6, 10**4))
        prepared = jax.eval_shape(backend.prepare, points)
        find = jax.jit(functools.partial(backend.find, k=100))
        exported = jax.export.export(find, platforms=["cuda"])(queries, prepared)
        jax.export.export(jax.jit(backend.prepare), platforms=["cuda"])(points)
        (ids,) = exported.out_avals
        assert (ids.shape, ids.dtype) == ((10**4, 100), np.int32)
        text = exported.mlir_module()
        found[metric.name] = [name for name in ("dot_general", "HIGHEST", "top_k", "custom_call") if name in text]
    return found


def jax_page():
    """The page's function lowers for CUDA: its operations by metric, or why it has none."""
    import jax

    module, found = importlib.import_module("knnbench.backends.jax_page"), {}
    for metric in METRICS.values():
        backend = module.Backend(metric, "cpu", 1)
        points, queries = (jax.ShapeDtypeStruct((rows, 10), np.float32) for rows in (10**6, 12))
        if reason := backend.unsupported(10, 10**6, 10):
            found[metric.name] = reason
            continue
        assert backend.queries_per_matrix(points) == 12
        text = jax.export.export(jax.jit(functools.partial(backend.find, k=10)), platforms=["cuda"])(
            queries, points
        ).mlir_module()
        found[metric.name] = [name for name in ("dot_general", "HIGHEST", "top_k", "custom_call") if name in text]
    return found


def jax_large():
    """10,000 queries among 10^6 points on a card of 140 GB: numbers of a batch's matrix, by way of batching."""
    module, found = importlib.import_module("knnbench.backends.jax"), {}
    for batch in ("all", "memory"):
        backend = module.Backend(METRICS["euclidean"], "cpu", 1, batch=batch)
        backend.device = "gpu"
        backend.jax_device = mock.Mock(memory_stats=lambda: {"bytes_limit": 140 * 10**9, "bytes_in_use": 0})
        backend.step = backend.queries_per_matrix(np.empty((10**6, 10), np.float32))
        found[batch] = backend.queries_per_batch(10**4) * 10**6
    return found


def faiss():
    """The seeds of k-means in two builds of an inverted file, where the copy for a GPU has parameters of its own."""
    import faiss

    class OnGpu(importlib.import_module("knnbench.backends.faiss").Backend):
        def to_gpu(self, index):
            return faiss.index_factory(index.d, f"IVF{index.nlist},Flat")

        def set_parameters(self, index, parameters):
            """There is no GpuParameterSpace in this FAISS."""

        def to_query_device(self, queries):
            return queries

        def synchronize(self):
            """Of PyTorch, which this environment does not have."""

    seeds = []
    for build in range(2):
        backend = OnGpu(METRICS["euclidean"], "cpu", 1, index="IVF{lists},Flat", lists_per_sqrt=1)
        backend.device, backend.build = "gpu", build
        assert list(backend.fit(drawn(1600, 4))) == ["transfer", "train", "add"] and backend.index.nlist == 40
        seeds.append(backend.index.cp.seed)
    return seeds


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
