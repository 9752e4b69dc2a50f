"""Queries that are timed: passes over all of them, calls with few, and passes that are weighed."""

import sys
import time

import numpy as np

from knnbench.measure.clock import each_ns, elapsed_ns, repeat
from knnbench.system.machine import energy, energy_between

ENERGY_S = 1.0  # how long passes go on to be weighed: many updates of the counters


def passes(task, backend, queries):
    """The work that is timed, by residency: functions that search all of `queries`."""
    k = task.n_neighbors
    works = {"host": lambda: backend.to_host(backend.query(backend.to_query_device(queries), k))}
    if task.device == "gpu":
        on_device = backend.to_query_device(queries)
        works["device"] = lambda: backend.query(on_device, k)
    return works


def measure_queries(task, backend, queries, reporter):
    """Time passes over all queries, the first one apart.

    Returns
    -------
    ids : ndarray, shape (q, k), the answer that is graded
    """
    timing, works = task.timing, passes(task, backend, queries)
    if backend.compiles:
        reporter.enter("compile", timing.max_query_s + task.max_fit_s)
        elapsed, _ = elapsed_ns(lambda: backend.compile(queries, task.n_neighbors), backend.synchronize)
        reporter.add(phases_ns={"compile": elapsed})
    reporter.enter("first_query", timing.max_query_s)
    elapsed, _ = elapsed_ns(works["host"], backend.synchronize)
    reporter.add(phases_ns={"first_query": elapsed})

    reporter.enter("query", timing.max_query_s)
    answers = {}
    for residency, work in works.items():

        def store(sample_ns, loops, residency=residency):
            reporter.add(query_ns={residency: [sample_ns]}, loops={residency: loops})
            reporter.allow(timing.max_query_s)

        answers[residency] = repeat(work, backend.synchronize, timing, store)
    if "device" in answers and not (backend.to_host(answers["device"]) == answers["host"]).all():
        print("the answers of the two residencies differ in some ids (ties, or atomics in the library)", file=sys.stderr)
    return answers["host"]


def measure_batches(task, backend, queries, reporter):
    """Time single calls with few queries, one above all: what a service waits for.

    The queries are a seeded subset, each in one call of a size. The first call of a size is apart: JAX and KeOps compile then.
    """
    timing = task.timing
    order = np.random.default_rng(timing.seed).permutation(len(queries))
    for size in [1, *timing.batch_sizes]:
        batches = [queries[order[first : first + size]] for first in range(0, len(queries) - size + 1, size)]
        works = [passes(task, backend, batch) for batch in batches[: timing.batch_calls + 1]]
        for residency in works[0] if works else ():
            first, *calls = [work[residency] for work in works]
            reporter.enter("batches", timing.max_query_s + task.max_fit_s)
            elapsed, _ = elapsed_ns(first, backend.synchronize)
            reporter.add(first_batch_ns={residency: {str(size): elapsed}})
            reporter.enter("batches", timing.max_query_s)
            for elapsed in each_ns(calls, backend.synchronize, timing.batch_budget_s, timing.min_repeats):
                reporter.add(batch_ns={residency: {str(size): [elapsed]}})
                reporter.allow(timing.max_query_s)


def measure_energy(task, backend, queries, reporter):
    """Weigh passes over all queries where the machine has counters that can be read."""
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
