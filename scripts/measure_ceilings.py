"""Measure what a device can reach at most: how fast it reads or copies memory, and how fast it multiplies matrices.

The ceilings of the roofline. Float32, as the searches; the best of several tries, for a ceiling is not exceeded by accident.
Whatever goes wrong is said in the record: results without ceilings are better than none.
"""

import argparse
import functools
import json
import os
import signal
import time
from pathlib import Path

from knnbench import gpu, isolation, machine, record

TRIES = 5
BYTES = 2**30  # of an array that is read or copied: more than the caches hold
SIDES = (2048, 4096)  # of the matrices
LIMIT_S = 600


def fastest(work, synchronize):
    """Seconds of the fastest of several calls."""
    work()
    elapsed = []
    for _ in range(TRIES):
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        elapsed.append(time.perf_counter() - start)
    return min(elapsed)


def on_host():
    """What is timed on the host: (bytes, callable) of memory, (operations, callable) of matrices, and synchronize."""
    import numba
    import numpy as np

    @numba.njit(parallel=True)
    def copy(source, target):
        for i in numba.prange(source.size):
            target[i] = source[i]

    @numba.njit(parallel=True, fastmath=True)
    def read(source):
        total = np.float32(0)
        for i in numba.prange(source.size):
            total += source[i]
        return total

    # Empty arrays: their pages are first touched by the threads that use them.
    source, target = np.empty(BYTES // 4, np.float32), np.empty(BYTES // 4, np.float32)
    copy(target, source)
    generator = np.random.default_rng(0)
    matrices = [generator.standard_normal((side, side), np.float32) for side in SIDES]
    memory = [(2 * BYTES, lambda: copy(source, target)), (BYTES, lambda: read(source))]  # read and written, as STREAM counts
    products = [(2 * len(a) ** 3, functools.partial(np.matmul, a, a, out=np.empty_like(a))) for a in matrices]
    return memory, products, lambda: None


def on_device():
    """The same on the GPU."""
    import torch

    torch.set_float32_matmul_precision("highest")  # no TF32: exact backends do not use it
    source = torch.randn(BYTES // 4, device="cuda")
    target = torch.empty_like(source)
    matrices = [torch.randn((side, side), device="cuda") for side in (*SIDES, 8192)]
    memory = [(2 * BYTES, lambda: target.copy_(source)), (BYTES, source.sum)]
    products = [(2 * len(a) ** 3, functools.partial(torch.mm, a, a, out=torch.empty_like(a))) for a in matrices]
    return memory, products, torch.cuda.synchronize


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "gpu"), required=True)
    parser.add_argument("--threads", type=int, required=True, help="0: every CPU that this process may use")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    isolation.die_with_parent(signal.SIGTERM)
    facts = machine.describe(arguments.device)  # before it is confined, as for a cell
    threads = arguments.threads or machine.available_cpus()
    os.environ.update(dict.fromkeys(isolation.THREAD_VARIABLES, str(threads)))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    found = {
        "schema_version": record.SCHEMA_VERSION,
        "status": "ok",
        "threads": threads,
        "machine": facts,
    }
    with isolation.machine_lock():
        signal.alarm(LIMIT_S)
        watch = machine.Watch()
        try:
            memory, products, synchronize = on_device() if arguments.device == "gpu" else on_host()
            found["bytes_per_s"] = max(moved / fastest(work, synchronize) for moved, work in memory)
            found["operations_per_s"] = max(done / fastest(work, synchronize) for done, work in products)
            found["gpu_state"] = gpu.state() if arguments.device == "gpu" else None
        except Exception as error:
            found |= {"status": record.classify(error, arguments.device), "reason": f"{type(error).__name__}: {error}"}
        found["noise"] = watch.report()
    record.write_atomically(arguments.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
