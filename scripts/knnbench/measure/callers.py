"""Several threads of one process that ask at once, as those of a service do: how many queries are answered for all of them.

Each asks call after call, the next one as soon as an answer is there, and shares nothing with the others but the backend. The
library has as many threads of its own for a call as in the rest of the cell; the callers have every CPU of the job.
"""

import contextlib
import math
import os
import threading
import time

import numpy as np

from knnbench.measure.clock import no_garbage_collection
from knnbench.measure.queries import passes
from knnbench.measure.statuses import describe

SIZES = (1, 10)  # queries of a call
SECONDS = 0.5  # that the callers ask; calls that have begun are waited for
CALLS = 100  # different ones of each caller, which begins again after the last one


def measure_callers(task, backend, queries, reporter):
    """Time calls of each number of callers in `timing.callers`, and compare every answer with the one that a caller alone gets.

    Parameters
    ----------
    task : Task
    backend : Backend, fitted
    queries : ndarray, shape (q, d), or what else the backend asks (Backend.questions)
    reporter : Reporter
        Gets `callers`: queries of a call -> callers -> as `ask_at_once` returns it; or `alone`, why one alone may ask.
    """
    if backend.alone and task.timing.callers:
        reporter.add(callers={"alone": backend.alone})
        return
    for size in SIZES if task.timing.callers else ():
        reporter.enter("callers", task.timing.max_query_s + task.max_fit_s)  # the first call of a size may compile
        calls = calls_alone(task, backend, queries, size, reporter)
        for number in task.timing.callers if calls else ():
            reporter.enter("callers", SECONDS + task.timing.max_query_s)
            with bound_to(task.cpus), no_garbage_collection():
                found = ask_at_once(calls, number, SECONDS, backend.begin_thread)
            reporter.add(callers={str(size): {str(number): found}})


def calls_alone(task, backend, queries, size, reporter):
    """Calls of a size, with the answers that they get while nobody else asks.

    Returns
    -------
    calls : list of (callable, bytes)
        The call, which returns ids on the host, and these; None where a second call had another answer, as of a library that
        draws points at random. As many as `SECONDS` allow, but one for each caller if there are so many queries.
    """
    order = np.random.default_rng(task.timing.seed).permutation(len(queries))
    most, calls, begun = max(task.timing.callers), [], time.monotonic()
    for first in range(0, len(queries) - size + 1, size)[: CALLS * most]:
        work = passes(task, backend, queries[order[first : first + size]])["host"]
        answer, again = work().tobytes(), work().tobytes()
        calls.append((work, answer if answer == again else None))
        reporter.allow(task.timing.max_query_s)
        if len(calls) >= most and time.monotonic() - begun > SECONDS:
            break
    return calls


@contextlib.contextmanager
def bound_to(cpus):
    """Let this thread, and those that it starts, run on these CPUs for a while."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def ask_at_once(calls, number, seconds, begin_thread):
    """Have callers ask for some time, each its own calls in turn.

    Parameters
    ----------
    calls : list of (callable, bytes), as `calls_alone` returns them
    number : int, of callers
    seconds : float, after which no call begins
    begin_thread : callable without arguments, which each caller calls first

    Returns
    -------
    found : dict
        calls, their number; span_ns, from the first caller's beginning to the last one's end; p50_ns and p95_ns of a call, by
        nearest rank; checked, how many answers were compared, and wrong, how many were others than alone. Of callers one of
        which failed its `error` alone.
    """
    barrier, results, errors = threading.Barrier(number), [], []

    def ask(own):
        took, checked, wrong = [], 0, 0
        try:
            begin_thread()
            barrier.wait()
            begun = now = time.perf_counter_ns()
            while now - begun < seconds * 1e9:
                work, answer = own[len(took) % len(own)]
                start = time.perf_counter_ns()
                ids = work()
                now = time.perf_counter_ns()
                took.append(now - start)
                if answer is not None:
                    checked += 1
                    wrong += ids.tobytes() != answer
            results.append((begun, now, took, checked, wrong))
        except threading.BrokenBarrierError:
            pass  # another one failed before it asked
        except BaseException as error:
            errors.append(describe(error))
            barrier.abort()

    threads = [threading.Thread(target=ask, args=(calls[caller::number] or calls,)) for caller in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        return {"error": errors[0]}
    begun, ended, took, checked, wrong = zip(*results, strict=True)
    every = sorted(ns for each in took for ns in each)
    p50, p95 = (every[math.ceil(share * len(every)) - 1] for share in (0.5, 0.95))
    found = {"calls": len(every), "span_ns": max(ended) - min(begun), "p50_ns": p50, "p95_ns": p95}
    return found | {"checked": sum(checked), "wrong": sum(wrong)}
