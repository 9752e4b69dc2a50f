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
PER_THREAD = 10  # of these, at least: of threads that share them one may have one more than others, a tenth then
FEWEST = 20  # asked first; who cannot answer so many within the limit of a pass has no time
FEWER = 5  # asked where it matters whether their time grows with their number
DOUBT = 2  # by this factor many queries may take longer than few have told
MORE, LINEAR = 8, 0.1  # so many times a subset takes so many times longer, within a tenth, where time is linear
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


def asked_before(first, point):
    """How many queries a pass of the cell's first round asked, or of a point of it; None if it came to none, or this is it.

    Parameters
    ----------
    first : dict or None, record of that round
    point : int or None
    """
    of_point = (first or {}) if point is None else (first or {}).get("points", {}).get(str(point), {})
    return of_point.get("queries_timed")


def choose_queries(task, backend, queries, reporter, point=None):
    """Compile, ask for the first time, and choose what a pass asks: all queries, or as many as are answered in `pass_s`.

    How many these are is told by small passes, the last of an eighth of `pass_s` at least. A subset is a multiple of what the
    library searches as it searches all queries (`Backend.least_queries`), and `PER_THREAD` queries for each thread at least.
    A subset tells the time of all queries only where time grows as their number does. So a pass over `MORE` times as many is
    asked as well: if it does not take as many times longer, that is the subset, until it is all queries, or more would take too
    long; then the record has `not_linear`. Numbers from which on a library may take another way are asked in a stage of their
    own, "try_many". Where it is ended there, the next worker stays with fewer (`Task.few`). A later round asks as many as the
    first one did.

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

    own = backend.least_queries(total)
    alike = min(own * math.ceil(max(LEAST, PER_THREAD * task.threads) / own), total)  # the fewest that tell the speed of all
    few = point in task.few
    least, most = (FEWEST, alike - 1) if few else (alike, total)
    at_once = math.isinf(timing.pass_s) or least >= most
    may_try = not (few or backend.graphs or backend.whole or math.isinf(timing.pass_s))
    known = 0  # the largest number that was answered

    def ask(number):
        """Seconds of a pass over the first of the order."""
        nonlocal known
        trying = may_try and number > max(known, FEWEST) and number >= alike
        if trying:
            reporter.add(tried=number)
        reporter.enter("try_many" if trying else "first_query", timing.max_query_s)
        elapsed, _ = elapsed_ns(passes(task, backend, queries[np.sort(order[:number])])["host"], backend.synchronize)
        known = max(known, number)
        return elapsed / 1e9

    before = None if few else asked_before(task.first, point)
    number = min(before, total) if before else most
    asked = number if at_once and number == most else min(FEWEST, most)
    reporter.add(phases_ns={"first_query": round(ask(asked) * 1e9)}, first_queries=asked)
    if before and number != asked:
        ask(asked := number)
    chosen = at_once or before
    while not chosen:
        taken = ask(asked)  # again: the first pass of a size may compile, or warm up
        fits = int(asked * timing.pass_s / taken)
        near = asked >= least and fits < 8 * asked
        too_long = own <= FEWEST and asked < least and takes_too_long(taken, ask(FEWER), asked, least, timing.max_query_s)
        chosen = fits >= most or too_long or near
        if fits >= most:
            number = most
        elif too_long:
            number = max(FEWEST, fits)
        else:
            number = max(least, fits // least * least if near else fits // 4)
        if number != asked:
            ask(asked := number)
    if not (at_once or before or few) and asked >= least:
        asked, linear = until_linear(ask, asked, least, total, timing.max_query_s, declared=own > FEWEST)
        if not linear:
            reporter.add(not_linear=True)
    reporter.add(queries_timed=asked, least_queries=alike)
    return np.sort(order[:asked])


def takes_too_long(taken, taken_fewer, asked, least, limit_s):
    """Whether `least` queries may not be answered in `limit_s`, by the seconds of `asked` queries and of `FEWER`."""
    of_each = max(0, taken - taken_fewer) / (asked - FEWER)  # what is taken by any number of queries is not counted for each
    return taken + DOUBT * of_each * (least - asked) > limit_s


def until_linear(ask, asked, least, total, limit_s, declared):
    """Ask more and more queries until their time grows as their number does.

    Parameters
    ----------
    ask : callable (number) -> seconds of a pass
    asked : int, with which to begin
    least : int, of which a subset is a multiple
    total : int, all queries
    limit_s : float, of a pass
    declared : bool, whether the backend says that `least` queries are searched as all are

    Returns
    -------
    asked : int
        A pass over more queries takes as much longer as they are more; or these are all, or no more can be answered in time.
        Half of all are never a subset, where all can be asked.
    linear : bool
        In the last case, whether it was declared, or time has grown so from `FEWEST` queries on; otherwise True.
    """
    if asked == total:
        return total, True
    taken = ask(asked)
    as_expected = declared or growth(FEWEST, ask(FEWEST), asked, taken) >= 1 - LINEAR
    # What has grown less than the number of queries will not grow more than it.
    doubt = DOUBT if as_expected else 1
    while asked < total:
        more = min(MORE * asked, total, int(asked * limit_s / doubt / taken) // least * least)
        if more < min(2 * asked, total):
            return asked, as_expected
        longer = ask(more)
        if growth(asked, taken, more, longer) > 1 + LINEAR:  # a first pass of its size may compile, and any may be disturbed
            taken, longer = min(taken, ask(asked)), min(longer, ask(more))
        if abs(growth(asked, taken, more, longer) - 1) <= LINEAR:
            return total if more == total <= 2 * asked else asked, True  # half of all saves too little to foretell the rest
        as_expected, doubt = False, 1 if longer * asked < taken * more else DOUBT
        asked, taken = more, longer
    return total, True


def growth(asked, taken, more, longer):
    """How many times longer `more` queries take than `asked` ones, as a multiple of how many times more they are."""
    return longer / taken * asked / more


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

    The queries are drawn by the seed, each in one call of a size. They come from the other end of the order than those of a
    pass (`choose_queries`), and each size and residency goes on where the last one ended, so that queries which were just asked
    come last. The first call of a size is apart, for JAX and KeOps compile then, and its queries may be any.
    Of `most` queries, those of a pass, the passes have told it, and more would take longer than one.
    """
    timing = task.timing
    order = np.random.default_rng(timing.seed).permutation(len(queries))[::-1]
    for size in [1, *(size for size in timing.batch_sizes if size < most)]:
        asked = min(timing.batch_calls, len(queries) // size) * size
        for residency in ("host", "device") if task.device == "gpu" else ("host",):
            some = [order[-size:], *order[:asked].reshape(-1, size)]
            first, *calls = [passes(task, backend, queries[rows])[residency] for rows in some]
            order = np.roll(order, -asked)
            reporter.enter("batches", timing.max_query_s + task.max_fit_s)
            elapsed = elapsed_ns(first, backend.synchronize)[0]
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
