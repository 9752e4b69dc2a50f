"""GPU code as far as a machine without a GPU can run it: test_driver.py starts this in a backend's environment.

Usage: python up_to_the_driver.py keops CUDA | torch GUARD [MUTANT] | jax; prints JSON. Nothing here computes on a device: what
is checked is that code compiles for it, stays on it, and asks the driver for things that there are.
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


def torch(guard, mutant=None):
    """Fit and query with tensors that have a device, a shape and a type but no numbers; how many variants passed."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    ctypes.CDLL(guard)
    module = importlib.import_module("knnbench.backends.torch")
    if mutant:
        setattr(module.Backend, *MUTANTS[mutant])
    # What PyTorch knows of this product for a CUDA device only.
    shape_of = torch.library.Library("aten", "IMPL", "Meta")
    shape_of.impl("mm.dtype", lambda a, b, out_dtype: a.new_empty((len(a), b.shape[1]), dtype=out_dtype))
    from_numpy, variants = torch.from_numpy, 0
    sizes = ((POINTS, 3, QUERIES), (20_000, 100, 3_000))
    of = METRICS.values(), ("all", "memory", "seed"), ("float32", "tf32", "bfloat16"), sizes
    for metric, batch, precision, (n, d, q) in itertools.product(*of):
        with contextlib.ExitStack() as stack:
            mode = stack.enter_context(FakeTensorMode())
            for patch in (
                mock.patch.object(torch, "from_numpy", lambda array, mode=mode: mode.from_tensor(from_numpy(array))),
                mock.patch.object(torch.cuda, "mem_get_info", return_value=(2 * 10**9, 2 * 10**9)),
                mock.patch.object(torch.cuda, "synchronize"),
            ):
                stack.enter_context(patch)
            backend = module.Backend(metric, "gpu", 1, batch=batch, precision=precision)
            if backend.unsupported(10, n, d):
                continue
            assert list(backend.fit(drawn(n, d))) == ["transfer", "train", "add"]
            ids = backend.query(backend.to_query_device(drawn(q, d)), 10)
            backend.synchronize()
            assert (ids.device.type, ids.dtype, tuple(ids.shape)) == ("cuda", torch.int64, (q, 10)), ids
            variants += 1
    return variants


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


if __name__ == "__main__":
    print(json.dumps({"keops": keops, "torch": torch, "jax": jax}[sys.argv[1]](*sys.argv[2:])))
