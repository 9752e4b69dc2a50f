"""Measure what a device can reach at most: how fast it reads or copies memory, and how fast it multiplies matrices.

The ceilings of the roofline. Float32, as the searches, and the other precisions that the device multiplies in; the best of
several tries, for a ceiling is not exceeded by accident.
A worker measures, as a cell's does: whatever happens to it is said in the record, for results without ceilings are better than
none.
"""

import argparse
import sys
from pathlib import Path

from knnbench.measure.ceilings import supervise, work
from knnbench.system import machine


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "gpu"), required=True)
    parser.add_argument("--threads", type=int, required=True, help="0: one for each core that this process may use")
    parser.add_argument("--gpu-mhz", type=int, default=0, help="the clock at which a GPU is held; 0 leaves it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--worker", nargs=4, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    threads = arguments.threads or machine.usual_threads(arguments.device)
    if arguments.worker:
        work(arguments.device, threads, *arguments.worker)
    command = [sys.executable, "-X", "faulthandler", *sys.argv, "--threads", str(threads), "--worker"]
    supervise(arguments.device, threads, arguments.out, command, arguments.gpu_mhz)


if __name__ == "__main__":
    main()
