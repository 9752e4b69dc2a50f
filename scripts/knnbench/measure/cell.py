"""The worker's side of a cell: load, fit, queries, score, single queries. Runs in the backend's environment."""

import importlib
import os
import sys
import time
import traceback
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from knnbench.measure.among_others import AmongOthers
from knnbench.measure.callers import measure_callers
from knnbench.measure.clock import Timing, elapsed_ns
from knnbench.measure.curve import Curve
from knnbench.measure.halves import half_of
from knnbench.measure.lifted import Lifted
from knnbench.measure.memory import Memory
from knnbench.measure.queries import choose_queries, measure_batches, measure_energy, measure_queries
from knnbench.measure.statuses import answer_of, classify, describe
from knnbench.problem.datasets import Unavailable, read_dataset
from knnbench.problem.metrics import METRICS
from knnbench.problem.narrow import lost, not_held
from knnbench.problem.recall import chance, score
from knnbench.system import gpu
from knnbench.system.environment import LACKING, installed, mismatches, read_pins
from knnbench.system.machine import Watch

UNTIMED_LIMIT_S = 600  # import, load, save and score: generous, but nothing hangs for ever
PHASES = ["transfer", "train", "add"]


@dataclass(frozen=True)
class Task:
    """What a worker is told of its cell, by the command line of scripts/measure_cell.py.

    Without `n_neighbors` the worker fits, saves the index in the folder `index` and ends; with both it loads the index from
    there in place of the fit. With `search`, a list of what is set for each point, it measures all of these, or those whose
    numbers are `points`. With `half` it asks that one of `HALVES`. `first` is the record of the cell's first round, which says
    how many queries a pass asks. `few` are the points where many at once took too long before, or [None] if it has no points.
    `cpus` are those of the job, which the worker gives its callers.
    """

    data: Path
    module: str
    parameters: dict
    device: str
    n_neighbors: int | None
    index: Path | None
    build: int
    threads: int
    cpus: set
    max_fit_s: float
    search: list | None
    points: list | None
    half: str | None
    first: dict | None
    few: list
    timing: Timing | None
    spec: Path
    pinned: bool
    prefix: Path | None
    out: Path | None


class NotMeasured(Exception):
    """The cell ends here with a status and a reason."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


def measure(task, reporter):
    """Measure a cell and report everything on the way; never raises."""
    try:
        reporter.add(**_measure(task, reporter))
    except NotMeasured as end:
        reporter.add(status=end.status, reason=str(end))
    except BaseException as error:
        traceback.print_exc()
        reporter.add(status=classify(error, task.device), reason=describe(error))
    reporter.end_stage()


def _measure(task, reporter):
    """Measure a cell; its status and reason."""
    memory = Memory(task.device, reporter)
    backend, dataset = prepare(task, reporter)
    memory.report("loaded")
    watch = Watch()
    if task.n_neighbors is None:
        fit(task, backend, dataset.train, reporter)
        memory.report("fit")
        reporter.add(noise=watch.report())
        reporter.enter("save", UNTIMED_LIMIT_S)
        backend.save(task.index / "index")
        reporter.add(index_bytes=size_of(task.index / "index"))
        return {"status": "ok"}
    if task.index:
        load_index(task, backend, reporter)
    else:
        fit(task, backend, dataset.train, reporter)
        memory.report("fit")
    if task.search is None:
        return search(task, backend, dataset, memory, watch, reporter)
    curve = Curve(task, backend)
    for number in curve.order():
        if task.points is None or number in task.points:
            with reporter.point(number):
                measure_point(task, backend, dataset, memory, reporter, curve, number)
    return {"status": "ok"}


def measure_point(task, backend, dataset, memory, reporter, curve, number):
    """Measure a point of a cell, if there is need to: its failure is its own."""
    reporter.add(searched=curve.searched[number])
    if reason := curve.why_not(number):
        return reporter.add(status="not_needed", reason=reason)
    reporter.enter("set_search", UNTIMED_LIMIT_S)
    try:
        backend.set_search(**task.search[number])
        found = search(task, backend, dataset, memory, Watch(), reporter, number)
        reporter.add(**found)
        curve.add(number, found["recall"])
    except BaseException as error:
        traceback.print_exc()
        reporter.add(status=classify(error, task.device), reason=describe(error))


def search(task, backend, dataset, memory, watch, reporter, point=None):
    """Time the queries of a fitted backend, and score their answer; status, reason and recall of the cell, or of a point."""
    queries = backend.questions(dataset)
    rows = choose_queries(task, backend, queries, reporter, point)
    if backend.graphs:
        reporter.add(queries_timed=len(dataset.train))  # all points, however few of them are graded
    gpu_watch = gpu.Watch() if task.device == "gpu" else None
    ids = measure_queries(task, backend, queries[rows], reporter)
    reporter.add(noise=watch.report(), gpu_state=gpu_watch.report() if gpu_watch else None)
    memory.report("query")
    grades = grade(task, backend, dataset, rows, ids, reporter)
    # From here on there are numbers: what goes wrong below cannot take them away (statuses.conclude).
    reporter.add(graded=grades)
    write_answer(answer_of(task.out, point), rows, ids)
    watch = Watch()
    if not backend.graphs:
        measure_batches(task, backend, queries, len(rows), reporter)
        reporter.add(batch_noise=watch.report())
    measure_energy(task, backend, queries[rows], reporter)
    if not backend.graphs:
        measure_callers(task, backend, queries, reporter)
    return grades


def prepare(task, reporter):
    """Import the library, read the dataset and open the backend.

    Returns
    -------
    backend : Backend
    dataset : Dataset
    """
    reporter.enter("import", UNTIMED_LIMIT_S)
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # PyTorch, of points mapped from their file
    if task.prefix and (lacking := task.prefix / LACKING).is_file():
        raise NotMeasured("unavailable", lacking.read_text(encoding="utf-8"))
    check_environment(task)
    start = time.perf_counter_ns()
    try:
        module = importlib.import_module(f"knnbench.backends.{task.module}")
    except (ImportError, OSError) as error:
        raise NotMeasured("unavailable", describe(error)) from error
    imported_ns = time.perf_counter_ns() - start
    reporter.add(versions=installed(module.Backend.packages))

    reporter.enter("load", UNTIMED_LIMIT_S)
    start = time.perf_counter_ns()
    try:
        dataset = half_of(read_dataset(task.data), task.half) if task.half else read_dataset(task.data)
    except Unavailable as error:
        raise NotMeasured("unavailable", str(error)) from error
    loaded_ns = time.perf_counter_ns() - start
    (n, d), q, k = dataset.train.shape, len(dataset.test), task.n_neighbors or 1
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
        backend = open_backend(task, module, dataset.metric)
        reason = backend.unsupported(k, n, d)
        if reason and backend.lifts and dataset.metric.lifts:
            backend = Lifted(open_backend(task, module, METRICS["inner-product"]), dataset.metric)
            reason = backend.unsupported(k, n, d)
            reporter.add(lifted=True)
        if backend.graphs and dataset.own is None:
            reason = "it makes the graph of the neighbours of a set, and these queries are others (self: true)"
        elif dataset.own is not None and backend.searches and not backend.graphs:
            backend = AmongOthers(backend)
            reason = reason or backend.unsupported(k, n, d)
    except (ImportError, AssertionError, RuntimeError) as error:
        if task.device == "gpu" and classify(error, "gpu") == "failed":
            raise NotMeasured("unavailable", f"this {task.module} cannot use the GPU: {error}") from error
        raise
    imported_ns += time.perf_counter_ns() - start  # opening the device belongs to loading the library
    reporter.add(phases_ns={"import": imported_ns})
    if reason := reason or not_held(backend, dataset.train, dataset.test):
        raise NotMeasured("unsupported", reason)
    threads = backend.threads_used()
    reporter.add(threads=threads)
    if threads not in (None, task.threads):
        raise RuntimeError(f"the library uses {threads} threads, {task.threads} were asked for")
    return backend, dataset


def open_backend(task, module, metric):
    backend = module.Backend(metric, task.device, task.threads, **task.parameters)
    backend.build = task.build
    return backend


def fit(task, backend, train, reporter):
    reporter.enter("fit", task.max_fit_s)
    phases = backend.fit(train)
    for expected in PHASES:
        elapsed, phase = elapsed_ns(lambda: next(phases, None), backend.synchronize)
        if phase != expected:
            raise RuntimeError(f"the fit yielded {phase!r} where {expected!r} was due; it must yield {', '.join(PHASES)}")
        reporter.add(phases_ns={phase: elapsed})


def load_index(task, backend, reporter):
    reporter.enter("load_index", UNTIMED_LIMIT_S)
    elapsed, _ = elapsed_ns(lambda: backend.load(task.index / "index"), backend.synchronize)
    reporter.add(phases_ns={"load_index": elapsed})


def size_of(path):
    """Bytes of a file, or of all files of a folder."""
    return sum(each.stat().st_size for each in [path, *path.rglob("*")] if each.is_file())


def grade(task, backend, dataset, rows, ids, reporter):
    """Score an answer to the queries of these numbers; the cell's status, reason and recall."""
    reporter.enter("score", UNTIMED_LIMIT_S)
    if dataset.own is not None:  # nobody is its own neighbour
        ids = np.where(ids == dataset.own[rows, None], -1, ids.astype(np.int64))  # some libraries' have no sign
    asked = dataset.test[rows], ids, task.n_neighbors, dataset.neighbors[rows], dataset.distances[rows]
    grades = score(dataset.metric, dataset.train, *asked)
    reporter.add(**grades)
    if task.parameters.get("what") == "random":  # of a control
        others = len(dataset.train) - (dataset.own is not None)
        reporter.add(
            chance=chance(dataset.metric, dataset.train, dataset.test[rows], task.n_neighbors, dataset.distances[rows], others)
        )
    recall, least = {"recall": grades["recall"]}, task.timing.min_recall
    if grades["recall"] >= least:
        return recall | {"status": "ok"}
    return recall | {
        "status": "low_recall",
        "reason": f"recall {grades['recall']:.3f} is below {least:g}{lost(backend, dataset)}",
    }


def write_answer(path, rows, ids):
    """Keep which queries were asked, shape (q,), and the ids that were returned, shape (q, k), int32: whoever doubts the recall
    can count again."""
    part = path.with_name(f".{path.name}")
    # As numpy.savez_compressed, which takes seven times as long for a twentieth less: ids are nearly random.
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, numbers in (("queries", rows), ("ids", ids)):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(numbers, np.int32))
    os.replace(part, path)


def check_environment(task):
    """Refuse to time an environment other than the one that was meant: activation can fail silently."""
    if task.prefix and Path(sys.prefix).resolve() != task.prefix.resolve():
        raise RuntimeError(f"running in {sys.prefix}, meant for {task.prefix}")
    if task.pinned and (wrong := mismatches(read_pins(task.spec)[1])):
        raise RuntimeError(f"{sys.prefix} is not what {task.spec} pins: {', '.join(wrong)}; delete it to have it made again")
