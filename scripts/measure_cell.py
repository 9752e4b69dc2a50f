"""Measure one cell: a worker process does it, this one enforces the limits and always writes the record.

With --index the cell loads the index that is there; without --n-neighbors that index is built, for all K, and its fit recorded.
The command can be pasted into a terminal from the cell's log.
"""

import argparse
import json
import sys
from pathlib import Path

from knnbench.measure.halves import HALVES
from knnbench.measure.job import Job
from knnbench.measure.supervisor import supervise
from knnbench.measure.worker import work
from knnbench.system import machine


def parse_arguments(words):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="the record, JSON; of an index it is fit.json in its folder")
    parser.add_argument("--data", type=Path, required=True, help="dataset file")
    parser.add_argument("--module", required=True, help="of knnbench.backends")
    parser.add_argument("--parameters", type=json.loads, default={}, help="of the backend, a JSON object")
    parser.add_argument("--device", choices=("cpu", "gpu"), required=True)
    parser.add_argument("--n-neighbors", type=int, help="absent: build the index and stop")
    parser.add_argument("--index", type=Path, help="folder of a saved index and its record, fit.json")
    parser.add_argument("--build", type=int, default=0, help="number of this build: another seed for each")
    parser.add_argument("--first", type=Path, help="folder of the first index, which is taken again if it took ...")
    parser.add_argument("--rebuild-s", type=float, default=0, help="... longer than this to build")
    parser.add_argument("--threads", type=int, required=True, help="0: one for each core that this process may use")
    parser.add_argument("--memory-gb", type=float, required=True, help="0: nine tenths of what is available now")
    parser.add_argument("--max-fit-s", type=float, required=True, help="limit of the fit")
    parser.add_argument("--search", type=json.loads, help="what is set for each point of the cell, a JSON list of objects")
    parser.add_argument("--points", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--few", type=json.loads, default=[], help=argparse.SUPPRESS)
    parser.add_argument("--asked", type=Path, help="record of the cell's first round, which said how many queries a pass asks")
    parser.add_argument("--half", choices=HALVES, help="of the queries: one to tune a setting on, one to test it")
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


def main(words):
    arguments = parse_arguments(words)
    threads = arguments.threads or machine.usual_threads(arguments.device)
    if arguments.worker:
        work(arguments, threads)
    supervise(arguments, threads, [sys.executable, "-X", "faulthandler", *sys.argv])


if __name__ == "__main__":
    main(sys.argv[1:])
