"""The harness tested on this machine: backends that lie in known ways, and pairs that do not differ."""

import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import numpy as np

from knnbench.problem.datasets import write_neighbors, write_points
from knnbench.problem.metrics import METRICS
from knnbench.problem.points import in_blocks
from knnbench.problem.truth import exact_neighbors
from knnbench.results.calls import times
from knnbench.results.flags import is_no_control
from knnbench.results.gather import ranges
from knnbench.results.intervals import estimate, ratio
from knnbench.system import machine

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

    def measure(self, module, parameters, before=(), build=0):
        """Measure a cell by a command that stands behind the words `before`; its record."""
        command = [*before, sys.executable, SCRIPTS / "measure_cell.py", "--data", self.data, "--device", "cpu"]
        command += ["--module", module, "--parameters", json.dumps(parameters), "--build", str(build)]
        command += ["--n-neighbors", str(K), "--threads", "0", "--memory-gb", "0", "--max-fit-s", "10"]
        command += ["--timing", json.dumps(TIMING), "--spec", SCRIPTS.parent / "envs/pipeline.yaml", "--unpinned"]
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
    times = {0.01: [], 0.0101: []}
    for _ in range(ROUNDS):
        for seconds, rounds in times.items():
            rounds.append(samples_of(bench.record("sleep", seconds)))
    found, low, high = ratio(estimate(times[0.0101]), estimate(times[0.01]))
    return "10 and 10.1 ms differ", f"ratio {found:.4f} ({low:.4f} to {high:.4f})", low > 1 and high < 1.02


def same(bench, pairs):
    """Two names for the same code must not be told apart in more than one pair in twenty."""
    jobs = [(pair, name, number) for pair in range(pairs) for name in "ab" for number in range(ROUNDS)]
    random.Random(0).shuffle(jobs)
    times = {}
    for pair, name, _ in jobs:
        times.setdefault((pair, name), []).append(samples_of(bench.record("")))
    told_apart = 0
    for pair in range(pairs):
        _, low, high = ratio(estimate(times[pair, "a"]), estimate(times[pair, "b"]))
        told_apart += not low <= 1 <= high
    return f"at most {pairs // 20} of {pairs} pairs differ", f"{told_apart} differ", told_apart <= pairs // 20


def builds(bench):
    """Indexes whose recall differs from build to build: the row must say between what."""
    found = ranges([bench.record("builds differ", build=number) for number in range(ROUNDS)], deterministic=False)
    low, high = found["recall_low"], found["recall_high"]
    return f"recall {1 - (ROUNDS - 1) / K:g} to 1", f"{low:g} to {high:g}", (low, high) == (1 - (ROUNDS - 1) / K, 1)


def slow_few(folder):
    """A library that takes three times as long per query in calls with few: the least subset must tell its true speed."""
    record = Bench(folder, 5000).record("slow few", 0.001)
    found = statistics.median(samples for rounds in times([record], "host") for samples in rounds) / 5 - 1
    asked = record["queries_timed"]
    return "5 s for 5,000 queries ± 1%", f"{found:+.3%} from {asked:,} of them", abs(found) < 0.01 and asked < 5000


def control(bench, what, recall):
    """A control is what it is called, and one that is not is seen."""
    n, q = 2000, 20
    found = bench.measure("control", {"what": what})["recall"]
    other = bench.record("one wrong" if what == "null" else "pad")["recall"]
    held = not is_no_control(what, found, n, K, q * K) and is_no_control(what, other, n, K, q * K)
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
    cpus = machine.available_cpus()
    used = bench.measure("sklearn", {"algorithm": "brute"}, before=["env", "OMP_THREAD_LIMIT=1", "OMP_PROC_BIND=true"])[
        "threads"
    ]
    return f"{cpus} threads in spite of OMP_THREAD_LIMIT", f"{used} threads", used == cpus


def make_group(folder, files):
    """Make a control group below another one, with these files; None where that may not be, or where they have other names."""
    group = folder / f"knnbench-{uuid.uuid4().hex}"
    try:
        group.mkdir()
        for name, text in files.items():
            (group / name).write_text(text, encoding="utf-8")
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        return None
    return group


@contextlib.contextmanager
def half_a_cpu():
    """Words to put before a command that shall have half a CPU; None where that cannot be had."""
    both = {"cpu.max": "50000 100000"}, {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"}  # versions 2 and 1
    made = (make_group(folder, files) for _, folder in machine.control_groups() for files in both)
    group = next(filter(None, made), None)
    try:
        yield group and ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        if group:
            group.rmdir()


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
            "slow in small calls": lambda: slow_few(folder),
            "control: nothing": lambda: control(bench, "null", 1),
            "control: chance": lambda: control(bench, "random", K / 2000),
            "inherited affinity": lambda: affinity(bench),
            "inherited thread limit": lambda: thread_limit(bench),
            "quota": lambda: quota(bench),
        }
        if pairs:
            checks["A/A: the same code twice"] = lambda: same(bench, pairs)
        missed = 0
        print(f"{'check':28} {'expected':40} {'measured':34}", flush=True)
        for name, check in checks.items():
            expected, measured, held = check()
            missed += not held
            print(f"{name:28} {expected:40} {measured:34} {'ok' if held else 'MISSED'}", flush=True)
    if missed:
        raise SystemExit(f"{missed} of {len(checks)} checks missed: do not trust numbers from this machine as it is now")
    print(f"All {len(checks)} checks hold.")
