"""What a subset of the queries predicts of a pass over all of them, for every backend on a CPU. Prints Markdown.

Run from the project's root, when there are environments (shared.py): python benchmarks/subset.py [BACKEND ...]
A process for each backend chooses a subset as a cell does that may take a fifth of the time of all queries; then passes over
all and over the subset alternate. There are so many queries that all of them take a second: where a backend answers faster, no
subset is ever asked.
"""

import argparse
import json
import statistics
import sys
import time
from types import SimpleNamespace

import numpy as np
from shared import entries, fitted, made_by, measured  # which puts knnbench on the path

from knnbench.measure.clock import Timing, elapsed_ns
from knnbench.measure.queries import choose_queries, passes
from knnbench.system import machine

K, N, DIMENSIONS, QUERIES = 10, 100_000, (10, 100), (500, 2_000, 10_000, 100_000, 1_000_000)
FEWEST, MOST, BUDGET_S = 3, 9, 15  # rounds, and the seconds after which there are no more
PART = 5  # a subset has this part of the time of all queries
LONG_S = 1.0
TIMING = {
    "min_sample_s": 0.001,
    "min_repeats": 4,
    "max_repeats": 4,
    "budget_s": 0,
    "rel_ci": 0.05,
    "max_query_s": 600,
    "seed": 0,
}
TIMING |= {"min_recall": 0, "batch_sizes": [], "batch_calls": 1, "batch_budget_s": 0}


class Unheard:
    """In place of the reporter of a worker: nobody waits, and only what was chosen is kept."""

    def enter(self, stage, limit_s):
        pass

    def add(self, **found):
        self.__dict__ |= found


def predict(entry, d):
    """What subsets of one backend predict: all queries and their seconds, the subset, the least one, and ratios by round."""
    generator = np.random.default_rng(d)
    train, queries = (generator.standard_normal((number, d), np.float32) for number in (N, QUERIES[-1]))
    backend = fitted(entry, train, K)
    if isinstance(backend, str):
        return {"reason": backend}
    task = SimpleNamespace(n_neighbors=K, device="cpu", max_fit_s=600, few=(), first=None, threads=machine.available_cpus())
    task.timing = Timing(**TIMING, pass_s=float("inf"))
    for number in QUERIES:
        every = passes(task, backend, queries[:number])["host"]
        backend.compile(queries[:number], K)
        every()
        whole_s = elapsed_ns(every, backend.synchronize)[0] / 1e9
        if whole_s > LONG_S:
            break
    chosen = Unheard()
    task.timing = Timing(**TIMING, pass_s=whole_s / PART)
    rows = choose_queries(task, backend, queries[:number], chosen)
    some = passes(task, backend, queries[:number][rows])["host"]
    ratios, begun = [], time.monotonic()
    while len(ratios) < FEWEST or (len(ratios) < MOST and time.monotonic() - begun < BUDGET_S):
        parts = [elapsed_ns(some, backend.synchronize)[0] for _ in range(PART)]
        whole = elapsed_ns(every, backend.synchronize)[0]
        ratios.append(statistics.median(parts) * number / len(rows) / whole)
    return {"queries": number, "whole_s": whole_s, "subset": len(rows), "least": chosen.least_queries, "ratios": ratios}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backends", nargs="*", help="entries of config.yaml; all of them if none is named")
    backends = {
        name: entry
        for name, entry in entries(parser.parse_args().backends).items()
        # The variants that hold the whole matrix ask no subset.
        if entry.get("parameters", {}).get("batch") != "all"
    }
    print(f"What a subset predicts of all queries among {N:,} points, K = {K}: {made_by('subset.py')}")
    print(f"Ratios: predicted over measured, of {FEWEST} to {MOST} alternating passes in one process.\n")
    print("| backend | d | all queries | queries of the subset | of these at least | median ratio | of the rounds |")
    print("|---|---|---|---|---|---|---|", flush=True)
    wrong = {}
    for name, d, found in measured(backends, __file__, DIMENSIONS, 7):
        median = statistics.median(found["ratios"])
        wrong[name, d] = abs(median - 1)
        whole = f"{found['queries']:,} in {found['whole_s']:.3g} s"
        span = f"{min(found['ratios']):.3f} to {max(found['ratios']):.3f}"
        print(f"| {name} | {d} | {whole} | {found['subset']:,} | {found['least']:,} | {median:.3f} | {span} |", flush=True)
    worst = max(wrong, key=wrong.get)
    print(f"\nOff by {statistics.median(wrong.values()):.1%} in the median.")
    print(f"At worst by {wrong[worst]:.1%}: {worst[0]}, d = {worst[1]}.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(predict(*json.loads(sys.argv[2]))))
    else:
        main()
