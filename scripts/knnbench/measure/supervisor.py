"""The supervisor's side of a cell: it enforces the limits and always writes the record.

It imports the standard library only, and nothing that a worker measures with.
"""

import dataclasses
import json
import math
import os
import shlex
import sys
import time

from knnbench.measure import statuses
from knnbench.measure.job import begin, earlier, finish
from knnbench.system import gpu, isolation, machine, turns
from knnbench.system.files import write_atomically
from knnbench.system.pace import pace

WAIT_S = 5  # for others' cells on this machine, after which the end of the job's time says nothing of the cell
FIT = ("transfer", "train", "add")  # phases
UNKNOWN = "unknown"  # how gpu.describe begins if the driver does not answer


def supervise(arguments, threads, command):
    """Have a cell measured, or an index built, and write its record; exit for attempts that the queue shall make again.

    Parameters
    ----------
    arguments : Namespace, the command line of scripts/measure_cell.py
    threads : int
    command : list of str, this process's own; with --worker it is the worker's
    """
    isolation.heed_signals()
    print(shlex.join(command), flush=True)
    out, job = arguments.out or arguments.index / "fit.json", arguments.job
    out.parent.mkdir(parents=True, exist_ok=True)
    if job and (left := earlier(out, job)):
        write(out, left, job)
        return
    for answer in [*answers(out), *out.parent.glob(f".*.{out.stem}.*npz")]:  # of an earlier measurement
        answer.unlink()
    arrived, waited = time.monotonic(), 0.0
    cpus = len(os.sched_getaffinity(0))
    lacking = f"{threads} threads were asked for, and this machine gives {cpus} CPUs" if threads > cpus else ""
    no_gpu = arguments.device == "gpu" and not gpu.count()
    if no_gpu:
        lacking = "the driver shows no NVIDIA GPU here"
    facts = machine.describe("cpu" if no_gpu else arguments.device)
    built = record_of(arguments.index) if arguments.index and arguments.n_neighbors else {}
    if arguments.first and (first := take_again(arguments.first, arguments.index, arguments.rebuild_s)):
        write(out, first, job)
        return
    known = {
        "schema_version": statuses.SCHEMA_VERSION,
        "started": utc_time(),
        "parameters": arguments.parameters,
        "threads_asked": threads,
        "environment": arguments.spec.stem,
        "machine": facts,
    }
    if job:
        write(out, known | {"max_rss_bytes": 0}, job, begin)
    if lacking:
        outcome = isolation.Outcome({"status": "unavailable", "reason": lacking})
    elif built and built["status"] != "ok":  # the fit gets no second try
        outcome = isolation.Outcome({"status": built["status"], "reason": f"{built['reason']} (building the index)"})
    else:
        with turns.machine_lock():
            begun = time.monotonic()
            waited = begun - arrived
            if arguments.device == "gpu":
                visible = gpu.pin()
                facts |= machine.describe("gpu") | {"gpu_visible": visible}
            outcome = measure_quietly(arguments, command, threads, facts)
            if arguments.search:
                outcome = measure_the_rest(arguments, command, threads, outcome)
            outcome.found |= {"cell_s": round(time.monotonic() - begun, 3), "waited_s": round(waited, 3)}
    status, reason = statuses.conclude(outcome, arguments.device)
    had_gpu = not facts.get("gpu", UNKNOWN).startswith(UNKNOWN)
    if had_gpu and status in ("failed", "crashed", "timeout_fit", "timeout_query") and gpu.describe().startswith(UNKNOWN):
        status, reason = "unavailable", f"the driver lost the GPU: {reason}"
    print(f"{outcome.output}{status} {reason}", flush=True)
    if outcome.job_over and waited > WAIT_S:
        sys.exit(f"others had this machine for {waited:.0f} s of the job's {job.minutes} minutes: no fault of the cell's")
    if status == "oom_host" and job and not job.final:
        sys.exit(f"{job.memory_mb} MiB were too few; the next attempt asks for more")
    found = fit_of(built)
    isolation.merge(found, outcome.found)
    # The kernel's figure of a whole life starts again when the worker resets its peak.
    parts = [found, *found.get("points", {}).values()]
    peak = max([outcome.max_rss_bytes, *(part.pop("peak_rss_bytes", 0) for part in parts)])
    write(out, known | {"max_rss_bytes": peak, "ended": utc_time()} | found | {"status": status, "reason": reason}, job)


def answers(out):
    """Where the answers of a cell are that have been written: the ids of the cell, or of its points."""
    paths = [statuses.answer_of(out), *out.parent.glob(statuses.answer_of(out, "*").name)]
    return [path for path in paths if path.exists()]


def utc_time():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def write(out, written, job, note=finish):
    """Write the note of a job and, at its end, the record: in this order, for the case that the queue fails it after all."""
    try:
        if job:
            note(out, job, written)
        if note is finish:
            write_atomically(out, json.dumps(written, indent=1) + "\n")
    except OSError as error:
        sys.exit(f"{out}: {error.strerror}; make room, or let it be written, and run again: what is complete is kept")


def record_of(index):
    """The record of the fit of an index."""
    return json.loads((index / "fit.json").read_text(encoding="utf-8"))


def take_again(first, index, rebuild_s):
    """Take the first round's index for this one, if it took longer than `rebuild_s` to build, or could not be built.

    Returns
    -------
    record : dict, of that fit; None if this round has to build its own
    """
    record = record_of(first)
    if record["status"] == "ok":
        if sum(record["phases_ns"][phase] for phase in FIT) <= rebuild_s * 1e9:
            return None
        os.symlink(os.path.relpath(first / "index", index), index / "index")
    return record | {"one_build": True}


def fit_of(built):
    """What the record of a cell takes over from the record of its index: the fit, which the cell did not repeat."""
    fit = {"phases_ns": FIT, "memory_bytes": ("fit",), "device_memory_bytes": ("fit",), "device_memory_of": ("fit",)}
    found = {
        key: {name: built[key][name] for name in names if name in built[key]} for key, names in fit.items() if key in built
    }
    renamed = {"index_bytes": "index_bytes", "one_build": "one_build", "noise": "fit_noise", "machine": "fit_machine"}
    return found | {new: built[old] for old, new in renamed.items() if old in built}


def run(arguments, command, threads):
    """Run the worker once; how it ended, with how fast the machine was before and after."""
    until = arguments.job.deadline if arguments.job else math.inf
    before = pace()
    mhz = (arguments.timing or {}).get("gpu_mhz", 0) if arguments.device == "gpu" else 0
    with gpu.locked(mhz) as held:
        told = [*command, "--threads", str(threads), "--worker"]  # whatever GPU the worker sees
        outcome = isolation.supervise(told, threads, arguments.device == "gpu", until)
    outcome.found["pace_ns"] = {"before": before, "after": pace()}
    if mhz and not held:
        outcome.found["clock_refused"] = True
    return outcome


def tried_in_vain(outcome, found):
    """Whether a worker was ended while it asked many queries at once, and another one may ask few of them.

    Parameters
    ----------
    outcome : Outcome
    found : dict, of a cell, or of the point that the worker was in
    """
    return outcome.timed_out and not outcome.job_over and found.get("stage") == "try_many"


def measure_quietly(arguments, command, threads, facts):
    """Run the worker, again if somebody killed it, with --retry-noisy while disturbed; keep the quietest whole attempt."""
    attempts, out = [], arguments.out or arguments.index / "fit.json"
    for number in range(3):
        around = {"load": [machine.load()], "gpu_before": gpu.state() if arguments.device == "gpu" else None}
        outcome = run(arguments, command, threads)
        if tried_in_vain(outcome, outcome.found):
            tried = {"tried": outcome.found["tried"]}
            print(f"{outcome.output}{tried['tried']} queries at once took too long; another worker asks fewer", flush=True)
            outcome = run(arguments, [*command, "--few", "[null]"], threads)
            outcome.found |= tried
        around["load"].append(machine.load())
        status, _ = statuses.conclude(outcome, arguments.device)
        for answer in answers(out):  # the next attempt would replace it
            answer.rename(answer.with_name(f".{number}.{answer.name}"))
        noises = [part.get("noise", {}) for part in (outcome.found, *outcome.found.get("points", {}).values())]
        others = max(noise.get("others_cpus", 0) for noise in noises)
        attempts.append((statuses.STATUSES.index(status), outcome.signal is not None, others, number, outcome, around))
        # Who is killed in a point loses that one alone.
        killed = (
            number == 0 and outcome.signal == "SIGKILL" and not (outcome.timed_out or outcome.oom_killed or arguments.search)
        )
        if not (killed or (arguments.retry_noisy and any(noise.get("noisy") for noise in noises))):
            break
    *_, kept, outcome, around = min(attempts)
    for answer in out.parent.glob(f".*.{out.stem}.*npz"):
        attempt, name = answer.name[1:].split(".", 1)
        answer.rename(out.with_name(name)) if attempt == str(kept) else answer.unlink()
    facts |= around | {"attempts": len(attempts)}
    return outcome


def measure_the_rest(arguments, command, threads, outcome):
    """Have the points of a cell measured that a worker which died in one of them left, and say how each ended.

    That one too, with few queries, if it died while it asked many of them at once.

    Parameters
    ----------
    outcome : Outcome, of the first worker

    Returns
    -------
    outcome : the last worker's
        With what the first one found, and in `points` the status and reason of each. The cell's are those of the worst point
        that has no numbers and should have; else it is ok if one is: a curve may begin with a low recall.
    """
    found, points, tried = outcome.found, {}, {}
    while True:
        parts, died_in = outcome.found.pop("points", {}), outcome.found.pop("point", None)
        if died_in is not None:
            parts.setdefault(str(died_in), {})
        if died_in is not None and tried_in_vain(outcome, parts[str(died_in)]):
            tried[str(died_in)] = {"tried": parts.pop(str(died_in))["tried"]}
        for number, part in parts.items():
            status, reason = statuses.conclude(dataclasses.replace(outcome, found=part), arguments.device)
            points[number] = part | tried.get(number, {}) | {"status": status, "reason": reason}
        left = [number for number in range(len(arguments.search)) if str(number) not in points]
        if not left or died_in is None or outcome.job_over:
            break
        print(f"{outcome.output}the worker died in point {died_in}; another one measures {left}", flush=True)
        only = ["--points", json.dumps(left), "--few", json.dumps([int(number) for number in tried])]
        outcome = run(arguments, [*command, *only], threads)
    found["pace_ns"] |= {"after": outcome.found["pace_ns"]["after"]}
    status, reason = statuses.conclude(outcome, arguments.device)
    points |= {str(number): {"status": status, "reason": reason} for number in left}
    ranked = sorted(points.values(), key=lambda point: statuses.STATUSES.index(point["status"]))
    shown = ranked[-1] if ranked[-1]["status"] in statuses.MISSING else ranked[0]
    found |= {key: shown[key] for key in ("status", "reason")} | {"points": points}
    return dataclasses.replace(outcome, found=found)
