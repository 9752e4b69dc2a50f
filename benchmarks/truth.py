"""What exact neighbours cost on this CPU: ours, scikit-learn's brute force in float64, and a bare float32 matrix product.

    python benchmarks/truth.py > benchmarks/truth.md

10,000 queries among 10⁶ points, K = 100, uniform on [0.5, 1.5)^d; every figure in a process of its own, all in one run. To save
an hour, scikit-learn answers 2,000 of the queries, as its cost per query does not depend on their number; its time is scaled.
"""

import argparse
import functools
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

from knnbench.problem.metrics import METRICS, PAGE
from knnbench.problem.points import check_points
from knnbench.problem.truth import exact_neighbors
from knnbench.system import machine

N, Q, K = 1_000_000, 10_000, 100
# Unit vectors rank alike by angle and by euclidean distance, which scikit-learn computes fastest.
SKLEARN = {"euclidean": "euclidean", "manhattan": "manhattan", "angular": "euclidean"}
HEADER = "| d | metric | ours, s | above the data, MiB | scikit-learn, s | over ours | product, s | ours over it |"


def search(method, metric, train, test):
    """Search, or multiply; (seconds for all queries)."""
    if method == "ours":
        exact_neighbors(METRICS[metric], train[:2000], test[:10], K)  # compiles
        share, work = 1, functools.partial(exact_neighbors, METRICS[metric], train, test, K)
    elif method == "sklearn":
        from sklearn.neighbors import NearestNeighbors

        share = 5
        model = NearestNeighbors(algorithm="brute", metric=SKLEARN[metric]).fit(train.astype(np.float64))
        some = test[::share].astype(np.float64)
        model.kneighbors(some[:10], K)
        work = functools.partial(model.kneighbors, some, K)
    else:
        share, block = 1, 2**14
        out = np.empty((Q, block), np.float32)

        def work():
            for first in range(0, N, block):
                points = train[first : first + block]
                np.matmul(test, points.T, out=out[:, : len(points)])

    machine.reset_peak_memory()
    before, start = machine.peak_memory(), time.perf_counter()
    work()
    return share * (time.perf_counter() - start), machine.peak_memory() - before


def one(method, metric, d):
    generator = np.random.default_rng(0)
    train, test = (generator.random((rows, d), np.float32) + np.float32(0.5) for rows in (N, Q))
    train, test = (check_points(points, METRICS[metric], "points") for points in (train, test))
    print(json.dumps(search(method, metric, train, test)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", nargs=3, metavar=("METHOD", "METRIC", "D"), help="one measurement, as JSON")
    arguments = parser.parse_args()
    if arguments.one:
        return one(arguments.one[0], arguments.one[1], int(arguments.one[2]))

    def measured(method, metric, d):
        command = [sys.executable, __file__, "--one", method, metric, str(d)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    facts = machine.describe("cpu")
    print(f"Exact neighbours of {Q:,} queries among {N:,} points, K = {K}: {facts['cpu']}, {facts['cpus']} CPUs;")
    print(f"made by `python benchmarks/truth.py` on {time.strftime('%Y-%m-%d')}.\n")
    print(HEADER)
    print("|---|---|---|---|---|---|---|---|")
    for d in (10, 100):
        product, _ = measured("product", "euclidean", d)
        for metric in PAGE:
            ours, peak = measured("ours", metric, d)
            cells = [f"{ours:.1f}", f"{peak / 2**20:.0f}", "–", "–", "–", "–"]
            if metric in SKLEARN:
                theirs, _ = measured("sklearn", metric, d)
                cells[2:4] = [f"{theirs:.1f}", f"{theirs / ours:.2f}"]
            if METRICS[metric].expanded:
                cells[4:] = [f"{product:.1f}", f"{ours / product:.2f}"]
            print(f"| {d} | {metric} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
