"""What a device can reach at most: how fast it reads or copies memory, and how fast it multiplies matrices.

The ceilings of the roofline. Float32, as the searches, and the other precisions that the device multiplies in; the best of
several tries, for a ceiling is not exceeded by accident.
A worker measures, as a cell's does: whatever happens to it is said in the record, for results without ceilings are better than
none. Standard library only, but for that worker.
"""

import functools
import json
import time

from knnbench.measure import statuses
from knnbench.system import gpu, isolation, machine, turns
from knnbench.system.files import write_atomically

TRIES = 5
TRIED_S = 1  # after that no other try begins: a second of products of matrices has had its best one
BYTES = 2**30  # of an array that is read or copied: more than the caches hold; less where there is less memory
WARM_S = 0.5  # of copies before the first try: a GPU's clocks rise when it has something to do
SHARE = 8  # of the memory that is available a host's array takes at most one part in this many
SIDES = (2048, 4096)  # of the matrices
LIMIT_S = 600


def fastest(work, synchronize):
    """Seconds of the fastest of several calls."""
    work()
    elapsed = []
    while len(elapsed) < TRIES and sum(elapsed) < TRIED_S:
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        elapsed.append(time.perf_counter() - start)
    return min(elapsed)


def on_host():
    """What is timed on the host: (bytes, callable) of memory, of each precision (operations, callable) of matrices, and
    synchronize."""
    size = min(BYTES, (machine.available_memory() or BYTES * SHARE) // SHARE)
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
    source, target = np.empty(size // 4, np.float32), np.empty(size // 4, np.float32)
    copy(target, source)
    generator = np.random.default_rng(0)
    memory = [(2 * source.nbytes, lambda: copy(source, target)), (source.nbytes, lambda: read(source))]  # as STREAM counts

    def products(dtype, sides):
        typed = [generator.standard_normal((side, side), dtype) for side in sides]
        return [(2 * len(a) ** 3, functools.partial(np.matmul, a, a, out=np.empty_like(a))) for a in typed]

    of = {"float32": SIDES, "float64": SIDES[:1]}  # every run waits for it
    return memory, {name: functools.partial(products, name, sides) for name, sides in of.items()}, lambda: None


def on_device():
    """The same on the GPU."""
    import torch

    source = torch.randn(BYTES // 4, device="cuda")
    target = torch.empty_like(source)
    warm = time.monotonic() + WARM_S
    while time.monotonic() < warm:
        target.copy_(source)
        torch.cuda.synchronize()
    memory = [(2 * BYTES, lambda: target.copy_(source)), (BYTES, source.sum)]

    def products(name):
        torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
        dtype = torch.float32 if name == "tf32" else getattr(torch, name)
        multiply = torch._int_mm if dtype == torch.int8 else torch.mm  # whose sums are int32
        typed = [torch.randn((side, side), device="cuda").to(dtype) for side in (*SIDES, 8192)]
        return [(2 * len(a) ** 3, functools.partial(multiply, a, a)) for a in typed]

    names = ("float32", "tf32", "bfloat16", "float16", "int8", "float64")
    return memory, {name: functools.partial(products, name) for name in names}, torch.cuda.synchronize


def products_per_s(products, synchronize):
    """Operations per second of each precision, as far as this device multiplies in it."""
    found = {}
    for name, made in products.items():
        try:
            found[name] = max(done / fastest(work, synchronize) for done, work in made())
        except RuntimeError as error:
            if name == "float32":
                raise
            print(f"no product of {name} matrices: {statuses.describe(error)}")
    return found


def work(device, threads, supervisor, *descriptors):
    """Be the worker: measure and leave."""
    isolation.confine(supervisor, threads, device, None)
    reporter = isolation.Reporter(*descriptors)
    reporter.enter("ceilings", LIMIT_S)
    watch, gpu_watch = machine.Watch(), gpu.Watch() if device == "gpu" else None
    try:
        memory, products, synchronize = on_device() if device == "gpu" else on_host()
        bytes_per_s = max(moved / fastest(work, synchronize) for moved, work in memory)
        others = products_per_s(products, synchronize)
        operations_per_s = others.pop("float32")
        reporter.add(status="ok", bytes_per_s=bytes_per_s, operations_per_s=operations_per_s, operations_per_s_in=others)
    except Exception as error:
        reporter.add(status=statuses.classify(error, device), reason=statuses.describe(error))
    reporter.add(gpu_state=gpu_watch.report() if gpu_watch else None, noise=watch.report())
    isolation.leave()


def supervise(device, threads, out, command, gpu_mhz=0):
    """Have the ceilings measured, and write their record.

    Parameters
    ----------
    device : {"cpu", "gpu"}
    threads : int
    out : Path
    command : list of str, the worker's, but for what it reports to
    gpu_mhz : int, the clock at which a GPU is held, as for cells; 0 leaves it
    """
    isolation.heed_signals()
    arrived = time.monotonic()
    with turns.machine_lock():
        waited_s = round(time.monotonic() - arrived, 3)
        if device == "gpu":
            gpu.pin()
        facts = machine.describe(device)
        with gpu.locked(gpu_mhz if device == "gpu" else 0):
            outcome = isolation.supervise(command, threads, device == "gpu")
    status, reason = statuses.conclude(outcome, device)
    print(f"{outcome.output}{status} {reason}")
    known = {"schema_version": statuses.SCHEMA_VERSION, "threads": threads, "machine": facts, "waited_s": waited_s}
    found = known | outcome.found | {"status": status, "reason": reason}
    write_atomically(out, json.dumps(found, indent=1) + "\n")
