"""What exact neighbours cost on this CPU: ours, scikit-learn's brute force in float64, and a bare float32 matrix product.

    python benchmarks/truth.py

10,000 queries, K = 100, uniform on [0.5, 1.5)^d, and rows of a graph; every figure in a process of its own, all in one run. To
save an hour, scikit-learn answers 2,000 of the queries among 10⁶ points and its time is scaled: its cost per query does not
depend on how many they are.
"""

import argparse
import functools
import json
import subprocess
import sys
import time

import numpy as np
from shared import made_by  # which puts knnbench on the path

from knnbench.problem.metrics import METRICS, PAGE
from knnbench.problem.points import check_points
from knnbench.problem.truth import exact_neighbors
from knnbench.system import machine

K = 100
# Points, dimension, queries, and the metrics that are searched; without queries of their own, points ask.
PROBLEMS = [
    (1_000_000, 10, 10_000, PAGE),
    (1_000_000, 100, 10_000, PAGE),
    (10_000_000, 100, 10_000, ["euclidean"]),
    (1_000_000, 10, None, ["euclidean"]),
]
ROWS = 100_000  # of a graph
# Unit vectors rank alike by angle and by euclidean distance, which scikit-learn computes fastest.
SKLEARN = {"euclidean": "euclidean", "manhattan": "manhattan", "angular": "euclidean"}
HEADER = (
    "| n | d | queries | metric | ours, s | above the data, MiB | scikit-learn, s | over ours | product, s | ours over it |"
)


def search(method, metric, train, test):
    """Search, or multiply; (seconds for all queries, bytes above what was there)."""
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
        out = np.empty((min(10_000, len(test)), block), np.float32)

        def work():
            for start in range(0, len(test), len(out)):
                for first in range(0, len(train), block):
                    points = train[first : first + block]
                    np.matmul(test[start : start + len(out)], points.T, out=out[:, : len(points)])

    machine.reset_peak_memory()
    before, start = machine.peak_memory(), time.perf_counter()
    work()
    return share * (time.perf_counter() - start), machine.peak_memory() - before


def one(method, metric, n, d, q):
    generator = np.random.default_rng(0)
    train = generator.random((n, d), np.float32)
    train += np.float32(0.5)
    test = generator.random((q, d), np.float32) + np.float32(0.5) if q else train[:ROWS]
    train, test = (check_points(points, METRICS[metric], "points") for points in (train, test))
    print(json.dumps(search(method, metric, train, test)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one", type=json.loads, help="one measurement, as JSON")
    arguments = parser.parse_args()
    if arguments.one:
        return one(*arguments.one)

    def measured(*asked):
        command = [sys.executable, __file__, "--one", json.dumps(asked)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return json.loads(done.stdout.splitlines()[-1])

    print(f"Exact neighbours, K = {K}: {made_by('truth.py')}\n")
    print(HEADER)
    print(f"|{'---|' * HEADER.count(' | ')}---|")
    for n, d, q, metrics in PROBLEMS:
        product, _ = measured("product", "euclidean", n, d, q)
        for metric in metrics:
            ours, peak = measured("ours", metric, n, d, q)
            cells = [f"{ours:.1f}", f"{peak / 2**20:.0f}", "–", "–", "–", "–"]
            if metric in SKLEARN and metrics is PAGE:
                theirs, _ = measured("sklearn", metric, n, d, q)
                cells[2:4] = [f"{theirs:.1f}", f"{theirs / ours:.2f}"]
            if METRICS[metric].expanded:
                cells[4:] = [f"{product:.1f}", f"{ours / product:.2f}"]
            asked = f"{q:,}" if q else f"{ROWS:,} of the points"
            print(f"| {n:,} | {d} | {asked} | {metric} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
