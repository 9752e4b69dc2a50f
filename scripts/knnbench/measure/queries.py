"""Queries that are timed: passes over all of them or a subset, calls with few, and passes that are weighed."""

import math
import sys
import time

import numpy as np

from knnbench.measure.among_others import Rows
from knnbench.measure.clock import each_ns, elapsed_ns, repeat
from knnbench.system import gpu
from knnbench.system.machine import energy, energy_between

LEAST = 100  # queries of a subset
FEWEST = 20  # asked first; who cannot answer so many within the limit of a pass has no time
DOUBT = 2  # by this factor many queries may take longer than few have told
CALLS = 3  # of a batch size, whatever they take
WARM_S = 0.5  # of passes before the first sample on a GPU, whose clocks rise when it has something to do
ENERGY_S = 1.0  # how long passes go on to be weighed: many updates of the counters


def page_locked(queries):
    """A copy of queries in page-locked memory."""
    if isinstance(queries, Rows):
        return Rows(page_locked(queries.points), queries.numbers)
    memory = np.frombuffer(gpu.page_locked(queries.nbytes), queries.dtype).reshape(queries.shape)
    memory[...] = queries
    return memory


def passes(task, backend, queries):
    """The work that is timed, by residency: functions that search all of `queries`."""
    k = task.n_neighbors
    if task.timing.pinned and task.device == "gpu":
        queries = page_locked(queries)
    works = {"host": lambda: backend.to_host(backend.query(backend.to_query_device(queries), k))}
    if task.device == "gpu":
        on_device = backend.to_query_device(queries)
        works["device"] = lambda: backend.query(on_device, k)
    return works


def choose_queries(task, backend, queries, reporter):
    """Compile, ask for the first time, and choose what a pass asks: all queries, or as many as are answered in `pass_s`.

    How many these are is told by small passes, the last of an eighth of `pass_s` at least. A subset is a multiple of what the
    library searches as it searches all queries (`Backend.least_queries`), but where that may take longer than a pass may.

    Returns
    -------
    rows : ndarray, shape (queries of a pass,)
        Their numbers, ascending, drawn by `timing.seed`. They have been asked once.
    """
    timing, total = task.timing, len(queries)
    order = np.random.default_rng(timing.seed).permutation(total)
    if backend.compiles:
        reporter.enter("compile", timing.max_query_s + task.max_fit_s)
        elapsed, _ = elapsed_ns(lambda: backend.compile(queries, task.n_neighbors), backend.synchronize)
        reporter.add(phases_ns={"compile": elapsed})

    def ask(number):
        """Seconds of a pass over the first of the order."""
        reporter.enter("first_query", timing.max_query_s)
        elapsed, _ = elapsed_ns(passes(task, backend, queries[np.sort(order[:number])])["host"], backend.synchronize)
        return elapsed / 1e9

    own = backend.least_queries(total)
    least = own * math.ceil(LEAST / own)
    chosen = math.isinf(timing.pass_s) or least >= total
    asked = total if chosen else FEWEST
    reporter.add(phases_ns={"first_query": round(ask(asked) * 1e9)})
    while not chosen:
        taken = ask(asked)  # again: the first pass of a size may compile, or warm up
        fits = int(asked * timing.pass_s / taken)
        too_long = asked < least and DOUBT * taken * least / asked > timing.max_query_s
        near = asked >= least and fits < 8 * asked
        chosen = fits >= total or too_long or near
        if fits >= total:
            number = total
        elif too_long:
            number = max(FEWEST, fits)
        else:
            number = max(least, fits // least * least if near else fits // 4)
        if number != asked:
            ask(number)
        asked = number
    reporter.add(queries_timed=asked, least_queries=min(least, total))
    return np.sort(order[:asked])


def measure_queries(task, backend, queries, reporter):
    """Time passes over queries that have been asked before.

    Returns
    -------
    ids : ndarray, shape (q, k), the answer that is graded
    """
    timing, works = task.timing, passes(task, backend, queries)
    reporter.enter("query", timing.max_query_s)
    answers = {}
    start = time.monotonic()
    while task.device == "gpu" and time.monotonic() - start < WARM_S:
        elapsed_ns(works["device"], backend.synchronize)
        reporter.allow(timing.max_query_s)
    for residency, work in works.items():

        def store(sample_ns, loops, residency=residency):
            reporter.add(query_ns={residency: [sample_ns]}, loops={residency: loops})
            reporter.allow(timing.max_query_s)

        answers[residency] = repeat(work, backend.synchronize, timing, store)
    if "device" in answers and not (backend.to_host(answers["device"]) == answers["host"]).all():
        print("the answers of the two residencies differ in some ids (ties, or atomics in the library)", file=sys.stderr)
    return answers["host"]


def measure_batches(task, backend, queries, most, reporter):
    """Time single calls with few queries, one above all: what a service waits for.

    The queries are a seeded subset, each in one call of a size. The first call of a size is apart: JAX and KeOps compile then.
    Of `most` queries, those of a pass, the passes have told it, and more would take longer than one.
    """
    timing = task.timing
    order = np.random.default_rng(timing.seed).permutation(len(queries))
    for size in [1, *(size for size in timing.batch_sizes if size < most)]:
        starts = range(0, len(queries) - size + 1, size)[: timing.batch_calls + 1]
        works = [passes(task, backend, queries[order[first : first + size]]) for first in starts]
        for residency in works[0] if works else ():
            first, *calls = [work[residency] for work in works]
            reporter.enter("batches", timing.max_query_s + task.max_fit_s)
            elapsed, _ = elapsed_ns(first, backend.synchronize)
            reporter.add(first_batch_ns={residency: {str(size): elapsed}})
            reporter.enter("batches", timing.max_query_s)
            for elapsed in each_ns(calls, backend.synchronize, timing.batch_budget_s, min(CALLS, timing.min_repeats)):
                reporter.add(batch_ns={residency: {str(size): [elapsed]}})
                reporter.allow(timing.max_query_s)


def measure_energy(task, backend, queries, reporter):
    """Weigh passes over queries where the machine has counters that can be read."""
    if not energy(task.device):
        return
    for residency, work in passes(task, backend, queries).items():
        reporter.enter("energy", task.timing.max_query_s)
        elapsed, _ = elapsed_ns(work, backend.synchronize)
        loops = max(1, round(ENERGY_S / 10 * 1e9 / elapsed))
        done, before, start = 0, energy(task.device), time.monotonic()
        while time.monotonic() - start < ENERGY_S:
            reporter.allow(ENERGY_S + task.timing.max_query_s)
            elapsed_ns(work, backend.synchronize, loops)
            done += loops
        spent = energy_between(before, energy(task.device))
        reporter.add(energy_j={residency: {name: joules / done for name, joules in spent.items()}})
