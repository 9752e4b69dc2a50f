"""A first look at every backend that has a GPU, under every metric: are its neighbours right where sizes overflow, how does its
time grow with the number of queries, do its builds differ, how does it multiply, how much of the card does it take? Prints
Markdown, and ends with what is wrong; the status is 1 if something is.

Called by gpu_smoke.sh. A process for each backend looks at one problem after the other; where it ends, another one goes on
behind. The time is shared among the backends, and what is not reached is said. Without a GPU the backends are asked on the CPU,
as far as they have one: a rehearsal. Metrics that are another one between prepared points are left out.
"""

import argparse
import functools
import gc
import importlib
import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from shared import METRICS, ROOT, entries, middle  # which puts knnbench on the path

from knnbench.measure.clock import elapsed_ns
from knnbench.measure.lifted import Lifted
from knnbench.measure.statuses import classify, describe
from knnbench.system import gpu, machine

K = 10
LIMIT_S = 20  # a pass that would take longer is not tried
ROWS = 2048  # points whose distances to the queries that are checked are in memory at once
# What is less is wrong: of exact backends (near the origin float32 confuses a few points) and of indexes. How many neighbours
# rounded numbers find depends on how dense the points are.
LEAST_EXACT, LEAST_RECALL = 0.98, 0.05
COMPILED = ("keops", "torch_compile", "jax")  # modules that compile for each problem: they come last, and ...
LONGER = 3  # ... have so many times as much time
UNREACHED = "not reached"
POINTS = {"half-space": "uniform", "ball": "ball", "positive": "simplex", "distributions": "simplex"}  # by domain; or normal


def numbers_of_queries(most):
    return [1, 100, most] if most > 100 else [1, most]


def checked(most):
    """Numbers of the queries that are checked: some of the first hundred, and some of all, the last among them."""
    return np.unique(np.concatenate([np.linspace(0, last, 10, dtype=int) for last in (min(99, most - 1), most - 1)]))


@functools.lru_cache(maxsize=2)
def drawn(kind, n, d, q):
    """Points and queries."""
    from knnbench.problem.sources import draw

    generator = np.random.default_rng(0)
    return [np.concatenate(list(draw(kind, rows, d, generator).blocks)) for rows in (n, q)]


def make(folder, metric, n, d, q):
    """Write a problem, with the neighbours of the queries that are checked, found in float64; its folder."""
    prepare = metric.prepare or (lambda points: points)
    points = drawn(POINTS.get(metric.domain, "normal"), n, d, q)
    train, queries = (prepare(each.astype(np.float64)).astype(np.float32) for each in points)
    asked = queries[checked(q)].astype(np.float64)

    def nearest(first):
        keys = metric.keys(asked[:, None], train[first : first + ROWS].astype(np.float64))
        ids = np.argpartition(keys, min(K, keys.shape[1]) - 1, axis=1)[:, :K]
        return first + ids, np.take_along_axis(keys, ids, 1)

    with ThreadPoolExecutor() as pool:
        ids, keys = (np.concatenate(parts, axis=1) for parts in zip(*pool.map(nearest, range(0, n, ROWS)), strict=True))
    order = np.argsort(keys, axis=1)[:, :K]
    place = folder / f"{metric.name}-{n}x{d}"
    place.mkdir()
    found = {"train": train, "queries": queries, "ids": np.take_along_axis(ids, order, 1)}
    found["distances"] = metric.distance(np.take_along_axis(keys, order, 1))
    for name, array in found.items():
        np.save(place / f"{name}.npy", array)
    return str(place)


def read(place):
    """The metric, and the arrays of a problem, mapped from their files."""
    names = ("train", "queries", "ids", "distances")
    arrays = [np.load(Path(place, f"{name}.npy"), mmap_mode="r") for name in names]
    return METRICS[Path(place).name.rsplit("-", 1)[0]], *arrays


def fitted(entry, device, metric, train, build=0):
    """The backend of an entry, its lists in their middle, with the points, and the seconds of its fit; or None and why not."""
    module = importlib.import_module(f"knnbench.backends.{entry['module']}")
    parameters = entry.get("parameters", {}) | middle(entry.get("build", {}))

    def backend_of(metric):
        made = module.Backend(metric, device, machine.usual_threads(device), **parameters)
        made.build = build
        return made

    backend = backend_of(metric)
    reason = backend.unsupported(K, *train.shape)
    if reason and backend.lifts and metric.lifts:
        backend = Lifted(backend_of(METRICS["inner-product"]), metric)
        reason = backend.unsupported(K, *train.shape)
    if reason:
        return None, reason
    elapsed, _ = elapsed_ns(lambda: list(backend.fit(train)), backend.synchronize)
    if "search" in entry:
        backend.set_search(**middle(entry["search"]))
    return backend, elapsed / 1e9


def precision_fault(entry, backend):
    """What is wrong with the precision that a library says it multiplies in; empty if nothing is, or it cannot be asked."""
    wanted = entry.get("parameters", {}).get("precision") == "tf32"
    if entry["module"] == "torch" and sys.modules["torch"].backends.cuda.matmul.allow_tf32 != wanted:
        return f"PyTorch's allow_tf32 is {not wanted}"
    if entry["module"] == "faiss" and backend.device == "gpu" and (backend.math_mode() == 3) != wanted:
        return f"the mode of FAISS's cuBLAS handle is {backend.math_mode()}"
    return ""


def look(entry, device, place, memory):
    """What is seen of a backend in one problem: a dict, of what can be said as JSON."""
    metric, train, queries, *_ = read(place)
    backend, fit = fitted(entry, device, metric, train)
    if backend is None:
        return {"says": fit}
    found = {"fit_s": fit, "fault": precision_fault(entry, backend), "seconds": {}}
    ids, elapsed, at = None, 0, checked(len(queries))
    for q in numbers_of_queries(len(queries)):
        if ids is not None and elapsed * q / len(ids) > LIMIT_S * 1e9:
            found["says"] = f"{q:,} queries might take longer than {LIMIT_S} s"
            break
        if backend.compiles:
            backend.compile(queries[:q], K)

        def ask(some=queries[:q]):
            return backend.to_host(backend.query(backend.to_query_device(some), K))

        elapsed_ns(ask, backend.synchronize)
        elapsed, ids = min((elapsed_ns(ask, backend.synchronize) for _ in range(2)), key=lambda pair: pair[0])
        if ids.shape != (q, K):
            raise ValueError(f"the answer to {q:,} queries has shape {ids.shape}")
        found["seconds"][q] = elapsed / 1e9
    found["ids"] = ids[at[at < len(ids)]].tolist()
    found["bytes"], found["of"] = memory.taken() if memory else (None, None)
    if entry.get("saves"):
        del backend
        gc.collect()
        other, _ = fitted(entry, device, metric, train, build=1)
        again = other.to_host(other.query(other.to_query_device(queries[: len(ids)]), K))
        found["alike"] = bool((again == ids).all())
    return found


def inside(entry, device, places):
    """Print what is seen of a backend, a line for each problem, in the environment of its library."""
    memory = gpu.Memory() if device == "gpu" else None
    for place in places:
        try:
            found = look(entry, device, place, memory)
        except ImportError as error:
            found = {"says": describe(error)}
        except Exception as error:
            found = {"fault" if classify(error, device) == "failed" else "says": describe(error)}
        print(json.dumps(found), flush=True)
        if device == "gpu" and found.get("fault"):  # after an illegal access nothing succeeds: another process goes on
            return
        gc.collect()
        if device == "gpu" and "torch" in sys.modules:
            sys.modules["torch"].cuda.empty_cache()


def environment_of(entry, device):
    """The folder of the environment with the library."""
    from knnbench.workflow.cells import for_driver

    cuda = gpu.cuda() if device == "gpu" else 0
    return ROOT / "resources/environments" / for_driver(entry["environments"][device], cuda, ROOT / "envs")


def looks(entry, device, places, seconds):
    """A generator of what is seen of a backend in each problem that is reached in time."""
    left, end = list(places), time.monotonic() + seconds
    own = environment_of(entry, device) / "bin/python"
    while left:
        command = [own if own.exists() else sys.executable, __file__, "--inside", json.dumps([entry, device, left])]
        try:
            done = subprocess.run(command, capture_output=True, timeout=max(1, end - time.monotonic()))
            said = done.stdout
        except subprocess.TimeoutExpired as late:
            done, said = None, late.stdout or b""
        found = [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]
        for each in found:
            yield left.pop(0), each
        if done is None:
            yield from ((place, {"says": UNREACHED}) for place in left)
            return
        if left and (done.returncode or not found):
            said = done.stderr.decode(errors="replace")[-300:]
            yield left.pop(0), {"fault": f"its process ended with {done.returncode}: {said}"}


def faults_of(entry, place, found):
    """What is wrong with what was seen, in words, and the recall of the queries that were checked; None without an answer."""
    from knnbench.problem.recall import score

    faults = [found["fault"]] if found.get("fault") else []
    if "ids" not in found:
        return faults, None
    metric, train, queries, ids, distances = read(place)
    count, at = len(found["ids"]), checked(len(queries))
    asked = queries[at[:count]], np.array(found["ids"]), K, ids[:count], distances[:count]
    recall = score(metric, train, *asked)["recall"]
    least = LEAST_EXACT if entry["exact"] else 0 if entry.get("brute_force") else LEAST_RECALL
    if recall < least:
        faults.append(f"recall {recall:.3f} of {count} queries, expected {least} or more")
    if found.get("alike") and entry["module"] == "faiss":
        faults.append("two builds with two seeds answer alike")
    return faults, recall


def row(name, place, found, recall):
    seconds = {int(q): f"{elapsed:.3g}" for q, elapsed in found.get("seconds", {}).items()}
    memory = "" if found.get("bytes") is None else f"{found['bytes'] / 2**20:,.0f} ({found['of']})"
    builds = {None: "", True: "alike", False: "differ"}[found.get("alike")]
    fit, times = f"{found['fit_s']:.3g}" if "fit_s" in found else "", [*seconds.values(), "", "", ""][:3]
    words = [name, Path(place).name, fit, *times, "" if recall is None else f"{recall:.3f}", builds, memory]
    return f"| {' | '.join(words)} | {found.get('fault') or found.get('says', '')} |".replace("\n", " ")


def shape(words):
    """Points and dimensions of a word such as 1000000x100."""
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", words):
        raise argparse.ArgumentTypeError(f"{words!r} is not of the form POINTSxDIMENSIONS, such as 1000000x100")
    return tuple(map(int, words.split("x")))


def main():
    own = [name for name, metric in METRICS.items() if metric.like in ("", name)]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", type=shape, default=[(10**6, 100), (3 * 10**6, 3)], help="points x dimensions")
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--metrics", nargs="+", choices=own, default=own)
    parser.add_argument("--backends", nargs="*", default=[])
    parser.add_argument("--environments", action="store_true", help="print what Snakemake has to make before, and stop")
    parser.add_argument("--inside", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        inside(*arguments.inside)
        return
    device, end = "gpu" if gpu.count() else "cpu", time.monotonic() + 60 * arguments.minutes
    some = entries(arguments.backends, {"gpu", device})
    some = dict(sorted(some.items(), key=lambda item: item[1]["module"] in COMPILED))
    if arguments.environments:
        files = {environment_of(entry, device) / "freeze.txt" for entry in some.values()}
        print(*sorted(str(file.relative_to(ROOT)) for file in files if not file.exists()), sep="\n")
        return
    wrong, unreached, weights = [], 0, [1 + (LONGER - 1) * (entry["module"] in COMPILED) for entry in some.values()]
    with tempfile.TemporaryDirectory() as folder:
        made = {
            (name, size): make(Path(folder), METRICS[name], *size, arguments.queries)
            for size in arguments.shapes
            for name in arguments.metrics
        }
        places = [made[name, size] for name in arguments.metrics for size in arguments.shapes]
        counts = numbers_of_queries(arguments.queries)
        times = [f"{q:,} queries, s" for q in counts] + [""] * (3 - len(counts))
        where = gpu.describe() if device == "gpu" else "No GPU: a rehearsal on the CPU"
        print(f"{where}. K = {K}; recall of {len(checked(arguments.queries))} queries.\n")
        print(f"| backend | metric, n x d | fit, s | {' | '.join(times)} | recall | two builds | MiB (of) | says |")
        print(f"|{'---|' * 10}")
        for number, (name, entry) in enumerate(some.items()):
            share = (end - time.monotonic()) * weights[number] / sum(weights[number:])
            for place, found in looks(entry, device, places, share):
                faults, recall = faults_of(entry, place, found)
                unreached += found.get("says") == UNREACHED
                wrong += [f"{name}, {Path(place).name}: {fault}" for fault in faults]
                print(row(name, place, found, recall), flush=True)
    print("\nNothing wrong was seen." if not wrong else "\nWrong:\n" + "\n".join(f"- {each}" for each in wrong))
    if unreached:
        print(f"{unreached} problems were not reached in {arguments.minutes:g} minutes (--minutes).")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
