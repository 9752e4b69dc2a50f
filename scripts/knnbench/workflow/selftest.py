"""The harness tested on this machine: backends that lie in known ways, and pairs that do not differ."""

import contextlib
import functools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from knnbench.problem.datasets import write_neighbors, write_points
from knnbench.problem.metrics import METRICS
from knnbench.problem.points import in_blocks
from knnbench.problem.truth import exact_neighbors
from knnbench.results.calls import same_way, times
from knnbench.results.flags import is_no_control
from knnbench.results.gather import recalls_of
from knnbench.results.intervals import estimate, interval, ratio, ratios
from knnbench.results.moderation import moderate, rounds_of
from knnbench.results.speeds import SLOW, speed_of, usual_paces
from knnbench.system import machine
from knnbench.workflow.half_a_cpu import half_a_cpu

SCRIPTS = Path(__file__).parents[2]
K = 10
TIMING = {
    "min_sample_s": 0.001,
    "min_repeats": 10,
    "max_repeats": 1000,
    "budget_s": 0.2,
    "rel_ci": 0.01,
    "pass_s": 2,
    "max_query_s": 10,
    "min_recall": 0,
    "batch_sizes": [],
    "batch_calls": 1,
    "batch_budget_s": 0,
    "seed": 0,
}
ROUNDS = 3
ROUNDS_ALONE = 5  # of a pair whose variances are not estimated with those of others


class Bench:
    """A folder with a dataset, where cells of the selftest backend are measured as the workflow measures cells."""

    def __init__(self, folder, queries=20):
        self.data, self.out = Path(folder, f"{queries}.hdf5"), Path(folder, "record.json")
        generator = np.random.default_rng(0)
        train, test = generator.random((2000, 4), np.float32), generator.random((queries, 4), np.float32)
        metric = METRICS["euclidean"]
        write_points(self.data, metric, in_blocks(train), in_blocks(test))
        write_neighbors(self.data, *exact_neighbors(metric, train, test))

    def record(self, what, seconds=0.0, **how):
        """Measure a cell of the selftest backend; its record."""
        return self.measure("selftest", {"what": what, "seconds": seconds}, **how)

    def measure(self, module, parameters, before=(), build=0, **timing):
        """Measure a cell by a command that stands behind the words `before`, with what differs of `TIMING`; its record."""
        command = [*before, sys.executable, SCRIPTS / "measure_cell.py", "--data", self.data, "--device", "cpu"]
        command += ["--module", module, "--parameters", json.dumps(parameters), "--build", str(build)]
        command += ["--n-neighbors", str(K), "--threads", "0", "--memory-gb", "0", "--max-fit-s", "10"]
        command += ["--timing", json.dumps(TIMING | timing), "--spec", SCRIPTS.parent / "envs/pipeline.yaml", "--unpinned"]
        subprocess.run([*command, "--out", self.out], check=True, capture_output=True)
        record = json.loads(self.out.read_text(encoding="utf-8"))
        if record["status"] != "ok":
            raise SystemExit(f"a cell of backend {module} ended as {record['status']}: {record['reason']}")
        return record


def samples_of(record):
    return [ns / 1e9 for ns in record["query_ns"]["host"]]


def bias(bench, what, seconds, limit):
    """A pass of known duration: how far the median is from it."""
    found = statistics.median(samples_of(bench.record(what, seconds))) / seconds - 1
    return f"{seconds * 1e3:g} ms ± {limit:.0%}", f"{found:+.3%}", abs(found) < limit


def grade(bench, what, recall):
    found = bench.record(what)["recall"]
    return f"recall {recall:g}", f"{found:g}", abs(found - recall) < 1e-9


def first_call(bench):
    """A first call that takes half a second must not enter the median."""
    record = bench.record("slow first", 0.5)
    first, median = record["phases_ns"]["first_query"] / 1e9, statistics.median(samples_of(record))
    return "first over 0.5 s, median under 0.1 s", f"{first:.3f} s, {median:.4f} s", first > 0.5 and median < 0.1


def resolution(bench):
    """Two durations that differ by a hundredth must be told apart, as pairs are in comparisons.csv."""
    pairs = [[samples_of(bench.record("sleep", seconds)) for seconds in (0.0101, 0.01)] for _ in range(ROUNDS_ALONE)]
    found, low, high = ratio(*map(estimate, zip(*pairs, strict=True)))
    return "10 and 10.1 ms differ", f"ratio {found:.4f} ({low:.4f} to {high:.4f})", low > 1 and high < 1.02


class Twins:
    """Pairs of cells of the same code, a pair of which one takes a tenth longer, and a cell one of whose rounds was disturbed.

    Parameters
    ----------
    bench : Bench
    pairs : int, of the same code
    """

    def __init__(self, bench, pairs):
        self.pairs = pairs
        jobs = [(pair, name, "", 0.0) for pair in range(pairs) for name in "ab"] * ROUNDS
        jobs += [("twin", name, "sleep", seconds) for name, seconds in (("a", 0.01), ("b", 0.011))] * ROUNDS
        jobs += [("disturbed", "a", "sleep", seconds) for seconds in (0.01, 0.01, 0.05)]
        random.Random(0).shuffle(jobs)
        self.times = {}
        for pair, name, what, seconds in jobs:
            self.times.setdefault((pair, name), []).append(samples_of(bench.record(what, seconds)))
        kinds = [("brute force", "selftest")] * len(self.times)
        estimates = moderate([rounds_of(rounds) for rounds in self.times.values()], kinds)
        self.estimates = dict(zip(self.times, estimates, strict=True))

    def same(self):
        """Two names for the same code must not be told apart in more than one pair in twenty."""
        pairs = [(self.estimates[pair, "a"], self.estimates[pair, "b"]) for pair in range(self.pairs)]
        found, _ = ratios(pairs, 0.0, [1.0] * self.pairs)
        told_apart = sum(not low <= 1 <= high for _, low, high in found)
        return (
            f"at most {self.pairs // 20} of {self.pairs} pairs differ",
            f"{told_apart} differ",
            told_apart <= self.pairs // 20,
        )

    def slower(self):
        """A twin that takes a tenth longer must be told apart."""
        found, low, high = ratio(*(estimate(self.times["twin", name]) for name in "ba"))  # other code than the pairs have
        return "10 and 11 ms differ", f"ratio {found:.3f} ({low:.3f} to {high:.3f})", low > 1

    def disturbed(self):
        """The interval of a cell with a disturbed round stays wide, however narrow those of all others are."""
        low, high = interval(self.estimates["disturbed", "a"])
        return "10 and 50 ms are in the interval", f"{low * 1e3:.3g} to {high * 1e3:.3g} ms", low < 0.01 and high > 0.05


def builds(bench):
    """Indexes whose recall differs from build to build: the row must say between what."""
    found = recalls_of([bench.record("builds differ", build=number) for number in range(ROUNDS)])
    low, high = found["recall_low"], found["recall_high"]
    return f"recall {1 - (ROUNDS - 1) / K:g} to 1", f"{low:g} to {high:g}", (low, high) == (1 - (ROUNDS - 1) / K, 1)


def all_queries(folder, what, seconds, expected_s):
    """A library whose time does not grow as the number of queries does: a subset, or all, must tell the time of all 5,000."""
    record = Bench(folder, 5000).record(what, seconds)
    found = statistics.median(samples for rounds in times([record], "host") for samples in rounds) / expected_s - 1
    return (
        f"{expected_s:g} s for 5,000 queries ± 1%",
        f"{found:+.3%} from {record['queries_timed']:,} of them",
        abs(found) < 0.01,
    )


def two_ways(folder):
    """Of two rounds one cannot ask many queries in its time, and takes three times as long for each: they are not averaged."""
    bench = Bench(folder, 1000)
    rounds = [bench.record("slow few", 0.001, max_query_s=0.4, pass_s=0.2), bench.record("slow few", 0.001)]
    kept = same_way(rounds)
    found = statistics.median(samples for each in times(kept, "host") for samples in each) - 1
    asked = " and ".join(f"{record['queries_timed']:,}" for record in rounds)
    return "1 s for 1,000 queries ± 1%", f"{found:+.3%}; asked {asked}", abs(found) < 0.01 and kept == rounds[1:]


def slow_machine(bench):
    """While others burn every CPU, a cell is noisy, or its machine slow beside what is usual."""
    usual = usual_paces([bench.record("") for _ in range(ROUNDS)])
    with contextlib.ExitStack() as stack:
        for _ in range(2 * len(os.sched_getaffinity(0))):
            stack.callback(stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"])).kill)
        record = bench.record("sleep", 0.05)
    speed, noisy = speed_of(record, usual), record["noise"]["noisy"]
    return f"noisy, or speed below {SLOW:g}", f"{'noisy, ' * noisy}speed {speed:.2f}", noisy or speed < SLOW


def control(bench, what, recall):
    """A control is what it is called, and one that is not is seen."""
    n, q = 2000, 20
    found = bench.measure("control", {"what": what})["recall"]
    other = bench.record("one wrong" if what == "null" else "pad")["recall"]
    held = not is_no_control(what, found, K / n, q * K) and is_no_control(what, other, K / n, q * K)
    return f"recall about {recall:g}, and {other:g} is refused", f"{found:g}", held


def affinity(bench):
    """A process that may run on one CPU has one thread, and the record says so."""
    one = min(os.sched_getaffinity(0))
    code = f"import os, sys; os.sched_setaffinity(0, [{one}]); os.execv(sys.argv[1], sys.argv[1:])"
    record = bench.record("", before=[sys.executable, "-c", code])
    found = record["machine"]["cpus"], record["threads_asked"]
    return "1 CPU, 1 thread", f"{found[0]} CPU, {found[1]} thread", found == (1, 1)


def thread_limit(bench):
    """A limit in the caller's variables does not reach a library that uses OpenMP."""
    threads = machine.usual_threads("cpu")
    record = bench.measure("sklearn", {"algorithm": "brute"}, before=["env", "OMP_THREAD_LIMIT=1", "OMP_PROC_BIND=true"])
    used = record["threads"]
    return f"{threads} threads in spite of OMP_THREAD_LIMIT", f"{used} threads", used == threads


def quota(bench):
    """With half a CPU there is one thread, and the record says for how long the kernel held it back."""
    expected = "0.5 CPUs: 1 thread, held back"
    with half_a_cpu() as before:
        if before is None:
            return expected, "not tried: no control group here", True
        record = bench.record("", before=before)
    found = record["machine"]["cpu_quota"], record["threads_asked"], record["noise"]["held_s"]
    return expected, f"{found[0]} CPUs: {found[1]} thread, held {found[2]:.2f} s", found[:2] == (0.5, 1) and found[2] > 0


def selftest(pairs):
    """Print a table of checks.

    Parameters
    ----------
    pairs : int, of the A/A test; 0 leaves it out

    Raises
    ------
    SystemExit
        The harness missed something.
    """
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder)
        checks = {
            "bias at 100 ms": lambda: bias(bench, "sleep", 0.1, 0.01),
            "bias at 1 ms": lambda: bias(bench, "sleep", 0.001, 0.05),
            "bias at 0.05 ms, looped": lambda: bias(bench, "sleep", 0.00005, 0.1),
            "resolution": lambda: resolution(bench),
            "work that outlives its call": lambda: bias(bench, "leak", 0.02, 0.05),
            "slow first call": lambda: first_call(bench),
            "honest answer": lambda: grade(bench, "", 1),
            "-1 padding": lambda: grade(bench, "pad", 1 / K),
            "repeated neighbours": lambda: grade(bench, "repeat", 1 / K),
            "one wrong neighbour": lambda: grade(bench, "one wrong", 1 - 1 / K),
            "wrong distances": lambda: grade(bench, "wrong distances", 1),
            "builds that differ": lambda: builds(bench),
            "slow in small calls": lambda: all_queries(folder, "slow few", 0.001, 5),
            "slow in small calls, undeclared": lambda: all_queries(folder, "hidden slow few", 0.002, 10),
            "as long for few as for all": lambda: all_queries(folder, "flat", 2.5, 2.5),
            "as long up to a step": lambda: all_queries(folder, "steps", 0.3, 3),
            "rounds that asked in two ways": lambda: two_ways(folder),
            "others on all CPUs": lambda: slow_machine(bench),
            "control: nothing": lambda: control(bench, "null", 1),
            "control: chance": lambda: control(bench, "random", K / 2000),
            "inherited affinity": lambda: affinity(bench),
            "inherited thread limit": lambda: thread_limit(bench),
            "quota": lambda: quota(bench),
        }
        if pairs:
            twins = functools.cache(lambda: Twins(bench, pairs))  # measured when its turn comes
            checks |= {
                "A/A: the same code twice": lambda: twins().same(),
                "a twin that is a tenth slower": lambda: twins().slower(),
                "a disturbed round": lambda: twins().disturbed(),
            }
        missed = 0
        print(f"{'check':32} {'expected':40} {'measured':34}", flush=True)
        for name, check in checks.items():
            expected, measured, held = check()
            missed += not held
            print(f"{name:32} {expected:40} {measured:34} {'ok' if held else 'MISSED'}", flush=True)
    if missed:
        raise SystemExit(f"{missed} of {len(checks)} checks missed: do not trust numbers from this machine as it is now")
    print(f"All {len(checks)} checks hold.")
