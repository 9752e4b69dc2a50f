"""Measure one cell: a worker process does it, this one enforces the limits and always writes the record.

With --index the cell loads the index that is there; without --n-neighbors that index is built, for all K, and its fit recorded.
The command can be pasted into a terminal from the cell's log.
"""

import argparse
import json
import math
import os
import shlex
import signal
import sys
import time
from pathlib import Path

from knnbench.measure import record
from knnbench.measure.job import Job, begin, earlier, finish
from knnbench.system import gpu, isolation, machine
from knnbench.system.files import write_atomically

WAIT_S = 5  # for others' cells on this machine, after which the end of the job's time says nothing of the cell
UNKNOWN = "unknown"  # how gpu.describe begins if the driver does not answer


def parse_arguments(words):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="the record, JSON; of an index it is fit.json in its folder")
    parser.add_argument("--data", type=Path, required=True, help="dataset file")
    parser.add_argument("--module", required=True, help="of knnbench.backends")
    parser.add_argument("--parameters", type=json.loads, default={}, help="of the backend, a JSON object")
    parser.add_argument("--device", choices=("cpu", "gpu"), required=True)
    parser.add_argument("--n-neighbors", type=int, help="absent: build the index and stop")
    parser.add_argument("--index", type=Path, help="folder of a saved index and its record, fit.json")
    parser.add_argument("--threads", type=int, required=True, help="0: every CPU that this process may use")
    parser.add_argument("--memory-gb", type=float, required=True, help="0: nine tenths of what is available now")
    parser.add_argument("--max-fit-s", type=float, required=True, help="limit of the fit")
    parser.add_argument("--timing", type=json.loads, help="how queries are timed, a JSON object")
    parser.add_argument("--retry-noisy", action="store_true", help="measure a cell up to three times while others use its CPUs")
    parser.add_argument("--spec", type=Path, required=True, help="envs/NAME.yaml of this environment")
    parser.add_argument("--unpinned", action="store_true", help="accept other versions than the spec's")
    parser.add_argument("--prefix", type=Path, help="where this environment must be; unchecked if absent")
    parser.add_argument(
        "--job",
        type=int,
        nargs=3,
        default=(0, 0, 0),
        metavar=("MINUTES", "MIB", "MOST"),
        help="asked of a queue, and the most memory that may be",
    )
    parser.add_argument("--worker", nargs=4, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args(words)
    arguments.job = Job(*arguments.job) if arguments.job[0] else None
    return arguments


def work(arguments, threads):
    """Be the worker."""
    memory = int(arguments.memory_gb * 1e9) or int(0.9 * (machine.available_memory() or 0))
    if arguments.job:
        memory = min(memory or sys.maxsize, arguments.job.data_bytes(arguments.data))
    supervisor, *descriptors = arguments.worker
    isolation.confine(supervisor, threads, memory if arguments.device == "cpu" else None)
    reporter = isolation.Reporter(*descriptors)

    from knnbench.measure import cell  # NumPy and h5py: after the limits, and not in the supervisor

    cell.measure(
        cell.Task(
            data=arguments.data,
            module=arguments.module,
            parameters=arguments.parameters,
            device=arguments.device,
            n_neighbors=arguments.n_neighbors,
            index=arguments.index,
            threads=threads,
            max_fit_s=arguments.max_fit_s,
            timing=arguments.timing and cell.Timing(**arguments.timing),
            spec=arguments.spec,
            pinned=not arguments.unpinned,
            prefix=arguments.prefix,
            answer=arguments.out and record.answer_of(arguments.out),
        ),
        reporter,
    )
    isolation.leave()


def main(words):
    arguments = parse_arguments(words)
    threads = arguments.threads or machine.available_cpus()
    if arguments.worker:
        work(arguments, threads)

    isolation.die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who ignores it, as some daemons do, never hears of a child's end
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    command = [sys.executable, "-X", "faulthandler", *sys.argv]
    print(shlex.join(command), flush=True)
    out, job = arguments.out or arguments.index / "fit.json", arguments.job
    out.parent.mkdir(parents=True, exist_ok=True)
    if job and (left := earlier(out, job)):
        write(out, left, job)
        return
    record.answer_of(out).unlink(missing_ok=True)  # of an earlier measurement
    arrived, waited = time.monotonic(), 0.0
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    cpus = len(os.sched_getaffinity(0))
    lacking = f"{threads} threads were asked for, and this machine gives {cpus} CPUs" if threads > cpus else ""
    no_gpu = arguments.device == "gpu" and not gpu.count()
    if no_gpu:
        lacking = "the driver shows no NVIDIA GPU here"
    facts = machine.describe("cpu" if no_gpu else arguments.device)
    built = {}
    if arguments.index and arguments.n_neighbors:
        built = json.loads((arguments.index / "fit.json").read_text(encoding="utf-8"))
    known = {
        "schema_version": record.SCHEMA_VERSION,
        "started": started,
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
        with isolation.machine_lock():
            begun = time.monotonic()
            waited = begun - arrived
            if arguments.device == "gpu":
                visible = gpu.pin()
                facts |= machine.describe("gpu") | {"gpu_visible": visible}
            outcome = measure_quietly(arguments, command, threads, facts)
            outcome.found["cell_s"] = round(time.monotonic() - begun, 3)
    status, reason = record.conclude(outcome, arguments.device)
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
    peak = max(outcome.max_rss_bytes, found.pop("peak_rss_bytes", 0))
    write(out, known | {"max_rss_bytes": peak} | found | {"status": status, "reason": reason}, job)


def write(out, written, job, note=finish):
    """Write the note of a job and, at its end, the record: in this order, for the case that the queue fails it after all."""
    try:
        if job:
            note(out, job, written)
        if note is finish:
            write_atomically(out, json.dumps(written, indent=1) + "\n")
    except OSError as error:
        sys.exit(f"{out}: {error.strerror}; make room, or let it be written, and run again: what is complete is kept")


def fit_of(built):
    """What the record of a cell takes over from the record of its index: the fit, which the cell did not repeat."""
    fit = {"phases_ns": ("transfer", "train", "add"), "memory_bytes": ("fit",), "device_memory_bytes": ("fit",)}
    found = {
        key: {name: built[key][name] for name in names if name in built[key]} for key, names in fit.items() if key in built
    }
    renamed = {"index_bytes": "index_bytes", "noise": "fit_noise", "machine": "fit_machine"}
    return found | {new: built[old] for old, new in renamed.items() if old in built}


def measure_quietly(arguments, command, threads, facts):
    """Run the worker, again if somebody killed it, with --retry-noisy while disturbed; keep the quietest whole attempt."""
    attempts = []
    for number in range(3):
        around = {"load": [machine.load()], "gpu_before": gpu.state() if arguments.device == "gpu" else None}
        until = arguments.job.deadline if arguments.job else math.inf
        outcome = isolation.supervise([*command, "--worker"], threads, arguments.device == "gpu", until)
        around["load"].append(machine.load())
        status, _ = record.conclude(outcome, arguments.device)
        noise = outcome.found.get("noise", {})
        rank = (record.STATUSES.index(status), outcome.signal is not None, noise.get("others_cpus", 0), len(attempts))
        attempts.append((*rank, outcome, around))
        killed = number == 0 and outcome.signal == "SIGKILL" and not (outcome.timed_out or outcome.oom_killed)
        if not (killed or (arguments.retry_noisy and noise.get("noisy"))):
            break
    *_, outcome, around = min(attempts)
    facts |= around | {"attempts": len(attempts)}
    return outcome


if __name__ == "__main__":
    main(sys.argv[1:])
