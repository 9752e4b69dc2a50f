"""The worker's side of a cell: load, fit, first query, timed repeats, score. Runs in the backend's environment."""

import importlib
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from knnbench.clock import Timing, elapsed_ns, repeat
from knnbench.datasets import read_dataset
from knnbench.environment import installed, mismatches, read_pins
from knnbench.machine import peak_memory, reset_peak_memory
from knnbench.recall import score
from knnbench.record import classify

UNTIMED_LIMIT_S = 600  # import, load and score: generous, but nothing hangs for ever


@dataclass(frozen=True)
class Task:
    """What a worker is told of its cell, by the command line of scripts/measure_cell.py."""

    data: Path
    module: str
    parameters: dict
    device: str
    n_neighbors: int
    threads: int
    timing: Timing
    spec: Path
    pinned: bool
    prefix: Path | None


class NotMeasured(Exception):
    """The cell ends here with a status and a reason."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


def measure(task, reporter):
    """Measure a cell and report everything on the way; never raises."""
    try:
        _measure(task, reporter)
    except NotMeasured as end:
        reporter.add(status=end.status, reason=str(end))
    except BaseException as error:
        traceback.print_exc()
        reporter.add(status=classify(error, task.device), reason=f"{type(error).__name__}: {error}"[:500])


def _measure(task, reporter):
    reporter.enter("import", UNTIMED_LIMIT_S)
    check_environment(task)
    start = time.perf_counter_ns()
    try:
        module = importlib.import_module(f"knnbench.backends.{task.module}")
    except (ImportError, OSError) as error:
        raise NotMeasured("unavailable", f"{type(error).__name__}: {error}") from error
    imported_ns = time.perf_counter_ns() - start
    reporter.add(versions=installed(module.Backend.packages))

    reporter.enter("load", UNTIMED_LIMIT_S)
    start = time.perf_counter_ns()
    dataset = read_dataset(task.data)
    loaded_ns = time.perf_counter_ns() - start
    (n, d), q, k = dataset.train.shape, len(dataset.test), task.n_neighbors
    reporter.add(
        phases_ns={"load": loaded_ns},
        dataset={"metric": dataset.metric.name, "n": n, "d": d, "queries": q, "sha256": dataset.sha256},
    )
    if k > dataset.neighbors.shape[1]:
        raise NotMeasured(
            "unsupported", f"K = {k}, but the exact neighbours of this dataset end at {dataset.neighbors.shape[1]}"
        )
    start = time.perf_counter_ns()
    try:
        backend = module.Backend(dataset.metric, task.device, task.threads, **task.parameters)
    except (ImportError, AssertionError, RuntimeError) as error:
        if task.device == "gpu" and classify(error, "gpu") == "failed":
            raise NotMeasured("unavailable", f"this {task.module} cannot use the GPU: {error}") from error
        raise
    imported_ns += time.perf_counter_ns() - start  # opening the device belongs to loading the library
    reporter.add(phases_ns={"import": imported_ns})
    if reason := backend.unsupported(k, n, d):
        raise NotMeasured("unsupported", reason)
    threads = backend.threads_used()
    reporter.add(threads=threads)
    if threads not in (None, task.threads):
        raise RuntimeError(f"the library uses {threads} threads, {task.threads} were asked for")

    timing = task.timing
    reset_peak_memory()
    reporter.add(memory_bytes={"loaded": peak_memory()})
    reporter.enter("fit", timing.max_fit_s)
    phases = backend.fit(dataset.train)
    while True:
        elapsed, phase = elapsed_ns(lambda: next(phases, None), backend.synchronize)
        if phase is None:
            break
        reporter.add(phases_ns={phase: elapsed})
    reporter.add(memory_bytes={"fit": peak_memory()})
    reset_peak_memory()

    on_device = backend.to_query_device(dataset.test)
    works = {"host": lambda: backend.to_host(backend.query(backend.to_query_device(dataset.test), k))}
    if task.device == "gpu":
        works["device"] = lambda: backend.query(on_device, k)
    reporter.enter("first_query", timing.max_query_s + backend.compiles * timing.max_fit_s)
    elapsed, _ = elapsed_ns(works["host"], backend.synchronize)
    reporter.add(phases_ns={"first_query": elapsed})

    reporter.enter("query", timing.max_query_s)
    answers = {}
    for residency, work in works.items():

        def store(sample_ns, residency=residency):
            reporter.add(query_ns={residency: [sample_ns]})
            reporter.allow(timing.max_query_s)

        answers[residency] = repeat(work, backend.synchronize, timing, store)
    reporter.add(memory_bytes={"query": peak_memory()})

    reporter.enter("score", UNTIMED_LIMIT_S)
    ids = answers["host"]
    if "device" in answers:
        if not (backend.to_host(answers["device"]) == ids).all():
            print("the answers of the two residencies differ in some ids (ties, or atomics in the library)", file=sys.stderr)
        answers.clear()
    recall, recall_ids = score(dataset.metric, dataset.train, dataset.test, ids, k, dataset.neighbors, dataset.distances)
    reporter.add(recall=recall, recall_ids=recall_ids)
    if recall < timing.min_recall:
        raise NotMeasured("low_recall", f"recall {recall:.3f} is below {timing.min_recall:g}")
    reporter.add(status="ok")


def check_environment(task):
    """Refuse to time an environment other than the one that was meant: activation can fail silently."""
    if task.prefix and Path(sys.prefix).resolve() != task.prefix.resolve():
        raise RuntimeError(f"running in {sys.prefix}, meant for {task.prefix}")
    if task.pinned and (wrong := mismatches(read_pins(task.spec)[1])):
        raise RuntimeError(f"{sys.prefix} is not what {task.spec} pins: {', '.join(wrong)}; delete it to have it made again")
