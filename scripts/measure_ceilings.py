"""Measure what a device can reach at most: how fast it copies memory, and how fast it multiplies matrices.

The ceilings of the roofline. Float32, as the searches; the best of several tries, for a ceiling is not exceeded by accident.
"""

import argparse
import functools
import json
import os
import time
from pathlib import Path

from knnbench import gpu, isolation, machine, record

TRIES = 5
COPIED_BYTES = 2**28  # far more than the caches hold
SIDES = (2048, 4096)  # of the matrices


def best(work, synchronize):
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
    import numba
    import numpy as np

    @numba.njit(parallel=True)
    def copy(source, target):
        for i in numba.prange(source.size):
            target[i] = source[i]

    source = np.ones(COPIED_BYTES // 4, np.float32)
    target = np.empty_like(source)
    factors = {side: np.ones((side, side), np.float32) for side in SIDES}
    products = {side: functools.partial(np.matmul, a, a, out=np.empty_like(a)) for side, a in factors.items()}
    return lambda: copy(source, target), products, lambda: None


def on_device():
    import torch

    torch.set_float32_matmul_precision("highest")  # no TF32: exact backends do not use it
    source = torch.ones(COPIED_BYTES, device="cuda")  # 1 GiB: a GPU's caches are large too
    target = torch.empty_like(source)
    factors = {side: torch.ones((side, side), device="cuda") for side in (*SIDES, 8192)}
    products = {side: functools.partial(torch.mm, a, a, out=torch.empty_like(a)) for side, a in factors.items()}
    return lambda: target.copy_(source), products, torch.cuda.synchronize


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "gpu"), required=True)
    parser.add_argument("--threads", type=int, required=True, help="0: every CPU that this process may use")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    threads = arguments.threads or machine.available_cpus()
    os.environ.update(dict.fromkeys(isolation.THREAD_VARIABLES, str(threads)))
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    with isolation.machine_lock():
        watch = machine.Watch()
        copy, products, synchronize = on_device() if arguments.device == "gpu" else on_host()
        copied = 2 * 4 * COPIED_BYTES if arguments.device == "gpu" else 2 * COPIED_BYTES  # read and written, as STREAM counts
        rates = {side: 2 * side**3 / best(product, synchronize) for side, product in products.items()}
        found = {
            "schema_version": record.SCHEMA_VERSION,
            "bytes_per_s": copied / best(copy, synchronize),
            "operations_per_s": max(rates.values()),
            "operations_per_s_by_side": rates,
            "threads": threads,
            "machine": machine.describe(arguments.device),
            "gpu_state": gpu.state() if arguments.device == "gpu" else None,
            "noise": watch.report(),
        }
    record.write_atomically(arguments.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
