"""Measure one cell: a worker process does it, this one enforces the limits and always writes the record.

The command can be pasted into a terminal from the cell's log.
"""

import argparse
import json
import shlex
import signal
import sys
import time
from pathlib import Path

from knnbench import isolation, machine, record


def parse_arguments(words):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the record, JSON")
    parser.add_argument("--data", type=Path, required=True, help="dataset file")
    parser.add_argument("--module", required=True, help="of knnbench.backends")
    parser.add_argument("--parameters", type=json.loads, default={}, help="of the backend, a JSON object")
    parser.add_argument("--device", choices=("cpu", "gpu"), required=True)
    parser.add_argument("--n-neighbors", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True, help="0: every CPU that this process may use")
    parser.add_argument("--memory-gb", type=float, required=True, help="0: nine tenths of what is available now")
    parser.add_argument("--timing", type=json.loads, required=True, help="the timing section, a JSON object")
    parser.add_argument("--spec", type=Path, required=True, help="envs/NAME.yaml of this environment")
    parser.add_argument("--unpinned", action="store_true", help="accept other versions than the spec's")
    parser.add_argument("--prefix", type=Path, help="where this environment must be; unchecked if absent")
    parser.add_argument("--no-gpu", action="store_true", help="a gpu cell is unavailable, whatever the driver says")
    parser.add_argument("--worker", nargs=4, type=int, help=argparse.SUPPRESS)
    return parser.parse_args(words)


def work(arguments, threads):
    """Be the worker."""
    gpu = arguments.device == "gpu"
    memory = int(arguments.memory_gb * 1e9) or int(0.9 * (machine.available_memory() or 0))
    supervisor, *descriptors = arguments.worker
    isolation.confine(supervisor, threads, None if gpu else memory)
    reporter = isolation.Reporter(*descriptors)

    from knnbench import cell  # NumPy and h5py: after the limits, and not in the supervisor

    cell.measure(
        cell.Task(
            data=arguments.data,
            module=arguments.module,
            parameters=arguments.parameters,
            device=arguments.device,
            n_neighbors=arguments.n_neighbors,
            threads=threads,
            timing=cell.Timing(**arguments.timing),
            spec=arguments.spec,
            pinned=not arguments.unpinned,
            prefix=arguments.prefix,
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
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    command = [sys.executable, "-X", "faulthandler", *sys.argv]
    print(shlex.join(command), flush=True)
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    no_gpu = arguments.device == "gpu" and (arguments.no_gpu or not machine.gpu_count())
    facts = machine.describe(gpu=arguments.device == "gpu" and not no_gpu)
    if no_gpu:
        outcome = isolation.Outcome({"status": "unavailable", "reason": "no NVIDIA GPU here, or gpu: false"})
    else:
        with isolation.machine_lock():
            load_before = machine.load()
            outcome = isolation.supervise([*command, "--worker"], threads, gpu=arguments.device == "gpu")
            facts["load"] = [load_before, machine.load()]
    status, reason = record.conclude(outcome, arguments.device)
    written = (
        {
            "schema_version": record.SCHEMA_VERSION,
            "started": started,
            "parameters": arguments.parameters,
            "threads_asked": threads,
            "environment": arguments.spec.stem,
            "machine": facts,
            "max_rss_bytes": outcome.max_rss_bytes,
        }
        | outcome.found
        | {"status": status, "reason": reason}
    )
    record.write_atomically(arguments.out, json.dumps(written, indent=1) + "\n")
    print(f"{outcome.output}{status} {reason}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
