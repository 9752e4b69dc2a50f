"""What the KeOps page's functions of PyTorch and JAX take, over what this project does with these libraries. Prints Markdown.

Run from the project's root, when there are environments (shared.py): python benchmarks/page_functions.py
The two take turns in one process, on the same points and queries, euclidean, from arrays of the host to ids there. CPU time is
compared, with which a machine that has other things to do interferes less: on one core, say taskset -c 0 before the command.
"""

import json
import statistics
import sys
import time

import numpy as np
from shared import entries, fitted, made_by, run_inside  # which puts knnbench on the path

PAIRS = (("torch-page", "torch-batch"), ("jax-page", "jax-batch"))
SIZES = ((10_000, 3, 10_000), (100_000, 10, 1_000), (100_000, 100, 500))  # points, d, queries
KS = (1, 10, 100)
ROUNDS = 5


def seconds(work):
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(page, ours, n, d, q):
    """CPU seconds of both in every round, by K: dict of lists of (the page's, ours)."""
    generator = np.random.default_rng(n + d)
    train, queries = (generator.standard_normal((rows, d), np.float32) for rows in (n, q))
    backends, found = [fitted(entry, train, max(KS)) for entry in (page, ours)], {}
    for k in KS:
        works = [lambda each=each, k=k: each.to_host(each.query(each.to_query_device(queries), k)) for each in backends]
        for work in works:
            work()  # which compiles, and is no round
        rounds = []
        for number in range(ROUNDS):
            order = works if number % 2 else works[::-1]  # neither is always first
            taken = {work: seconds(work) for work in order}
            rounds.append([taken[work] for work in works])
        found[k] = rounds
    return found


def main():
    print(f"The page's functions over ours: {made_by('page_functions.py')}")
    print(f"CPU time: medians of {ROUNDS} rounds that took turns in one process, their range, and the page's own time.\n")
    print(f"| | points, d, queries | {' | '.join(f'K = {k}' for k in KS)} |")
    print(f"|---|---|{'---|' * len(KS)}", flush=True)
    for names in PAIRS:
        page, ours = (entries([name])[name] for name in names)
        for size in SIZES:
            cells = []
            for rounds in run_inside(page, __file__, ours, *size).values():
                ratios = [theirs / own for theirs, own in rounds]
                middle = statistics.median(theirs for theirs, _ in rounds)
                cells.append(
                    f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) of {middle * 1e3:.3g} ms"
                )
            print(f"| {' over '.join(names)} | {', '.join(f'{each:,}' for each in size)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        print(json.dumps(compare(*json.loads(sys.argv[2]))))
    else:
        main()
