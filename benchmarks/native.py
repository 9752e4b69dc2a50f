"""What KeOps gains by instructions of this CPU: keops-native over keops. Prints Markdown.

Run from the project's root, when there are environments (shared.py): python benchmarks/native.py
Each has a process in which it compiles; then these take turns, pass by pass. CPU time of all threads, for others may use the
machine meanwhile.
"""

import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
from shared import entries, fitted, inside, made_by  # which puts knnbench on the path

from knnbench.problem.metrics import METRICS

K, N, ROUNDS = 10, 100_000, 21
CASES = [(metric, d, queries) for metric in ("euclidean", "manhattan") for d, queries in ((10, 2_000), (100, 300))]
NAMES = ("keops", "keops-native")


def serve(entry):
    """Prepare all cases and print what they find; then print the CPU seconds of a pass over each case that is asked for."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # KeOps says there that it compiles

    def say(value):
        print(json.dumps(value), file=answers, flush=True)

    works, found = [], []
    for metric, d, number in CASES:
        generator = np.random.default_rng(d)
        train, queries = (generator.standard_normal((rows, d), np.float32) for rows in (N, number))
        backend = fitted(entry, train, K, METRICS[metric])
        works.append(lambda backend=backend, queries=queries: backend.query(backend.to_query_device(queries), K))
        found.append(backend.to_host(works[-1]()).tolist())
    say(found)
    for line in sys.stdin:
        start = time.process_time()
        works[int(line)]()
        say(time.process_time() - start)


def main():
    backends = entries(NAMES)
    running = {name: subprocess.Popen(**inside(backends[name], __file__), stdin=subprocess.PIPE) for name in NAMES}
    ids = {name: json.loads(process.stdout.readline()) for name, process in running.items()}

    def taken(name, case):
        print(case, file=running[name].stdin, flush=True)
        return json.loads(running[name].stdout.readline())

    print(f"{N:,} normal points, K = {K}: {made_by('native.py')}")
    print(f"CPU seconds of all threads, medians of {ROUNDS} passes that took turns, and of their ratios, with quartiles.\n")
    print("| metric | d | queries | keops | keops-native | native over default | same ids |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for case, (metric, d, queries) in enumerate(CASES):
        rounds = [{name: taken(name, case) for name in NAMES[:: 1 if number % 2 else -1]} for number in range(ROUNDS)]
        default, native = ([each[name] for each in rounds] for name in NAMES)
        low, middle, high = statistics.quantiles([ours / theirs for ours, theirs in zip(native, default, strict=True)])
        same = np.mean(np.equal(*(ids[name][case] for name in NAMES)))
        seconds = " | ".join(f"{statistics.median(each):.3g}" for each in (default, native))
        print(f"| {metric} | {d} | {queries:,} | {seconds} | {middle:.2f} ({low:.2f} to {high:.2f}) | {same:.2%} |", flush=True)
    for process in running.values():
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        serve(*json.loads(sys.argv[2]))
    else:
        main()
