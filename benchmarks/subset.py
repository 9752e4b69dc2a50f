"""What a subset of the queries predicts of a pass over all of them, for every backend on a CPU. Prints Markdown.

Run from the project's root: python benchmarks/subset.py > benchmarks/subset.md, when there are environments:
snakemake -- resources/environments/{torch,jax-cpu,keops,faiss-cpu,sklearn,sklearnex,usearch,pykdtree,pynear}/freeze.txt
Cells with all queries and cells that may take a fifth of that time alternate. There are so many queries that all of them take a
second: where a backend answers faster, no subset is ever asked.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from knnbench.problem.datasets import write_neighbors, write_points
from knnbench.problem.metrics import METRICS
from knnbench.problem.points import in_blocks
from knnbench.results.calls import times
from knnbench.system import machine
from knnbench.workflow.cells import query_flags

K, ROUNDS, N, DIMENSIONS, QUERIES = 10, 2, 100_000, (10, 100), (10_000, 100_000, 1_000_000)
PART = 5  # a subset has this part of the time of all queries
LONG_S = 1.0
TIMING = {"min_repeats": 4, "budget_s": 0.5, "max_query_s": 600, "batch_sizes": [], "batch_calls": 1, "batch_budget_s": 0}


def defaults():
    """The timing section of config.yaml, with ours over it."""
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["timing"] | TIMING


def make(path, d, queries):
    """Write normal points, and neighbours that are none: nothing is said here of the answers."""
    generator, metric = np.random.default_rng(d), METRICS["euclidean"]
    points = (generator.standard_normal((number, d), np.float32) for number in (N, queries))
    write_points(path, metric, *map(in_blocks, points))
    write_neighbors(path, np.zeros((queries, K), np.int32), np.ones((queries, K)))


def measure(folder, name, entry, data, pass_s, index):
    """Measure a cell, its index from `index` if it saves one; its record."""
    out, env = Path(folder, "record.json"), entry["environments"]["cpu"]
    python = ROOT / f"resources/environments/{env}/bin/python"
    command = [python, ROOT / "scripts/measure_cell.py", "--data", data, "--device", "cpu", "--module", entry["module"]]
    command += ["--parameters", json.dumps(entry.get("parameters", {})), "--threads", 0, "--memory-gb", 0, "--max-fit-s", 600]
    command += ["--spec", ROOT / f"envs/{env}.yaml"]
    if entry.get("saves"):
        command += ["--index", index]
        if not index.exists():
            subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    command += ["--n-neighbors", K, *query_flags(defaults() | {"pass_s": pass_s}), "--out", out]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    record = json.loads(out.read_text(encoding="utf-8"))
    if "graded" not in record:
        raise SystemExit(f"{name}: {record['status']}: {record['reason']}")
    return record


def seconds(record):
    """Of all queries, measured or predicted."""
    return statistics.median(times([record], "host")[0])


def main():
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    backends = {
        name: entry
        for name, entry in config["backends"].items()
        # The variants that hold the whole matrix ask no subset.
        if "cpu" in entry["environments"] and not entry.get("control") and entry.get("parameters", {}).get("batch") != "all"
    }
    facts = machine.describe("cpu")
    print(f"What a subset predicts of all queries among {N:,} points, K = {K}: {facts['cpu']}, {facts['cpus']} CPUs;")
    print(f"made by `python benchmarks/subset.py` on {time.strftime('%Y-%m-%d')}. Ratios: predicted over measured, by round.\n")
    print("| backend | d | all queries | queries of the subset | of these at least | ratios |")
    print("|---|---|---|---|---|---|", flush=True)
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for d in DIMENSIONS:
            for name, entry in backends.items():
                index, pairs = Path(folder, f"{name}-{d}"), []
                for queries in QUERIES:
                    data = Path(folder, f"{d}-{queries}.hdf5")
                    if not data.exists():
                        make(data, d, queries)
                    whole = measure(folder, name, entry, data, float("inf"), index)
                    if seconds(whole) > LONG_S:
                        break
                for number in range(ROUNDS):
                    whole = measure(folder, name, entry, data, float("inf"), index) if number else whole
                    pairs.append((whole, measure(folder, name, entry, data, seconds(whole) / PART, index)))
                ratios = [seconds(some) / seconds(whole) for whole, some in pairs]
                wrong.append(abs(statistics.median(ratios) - 1))
                asked = ", ".join(f"{some['queries_timed']:,}" for _, some in pairs)
                words = ", ".join(f"{ratio:.3f}" for ratio in ratios)
                least = pairs[0][1]["least_queries"]
                whole = f"{queries:,} in {seconds(pairs[0][0]):.3g} s"
                print(f"| {name} | {d} | {whole} | {asked} | {least:,} | {words} |", flush=True)
    print(f"\nOff by {statistics.median(wrong):.1%} in the median, {max(wrong):.1%} at worst.")


if __name__ == "__main__":
    main()
