"""Is the recorded steady median that of a bare loop? Cells and hand-written loops alternate, in the same environments.

Run from the project's root after `snakemake -- resources/environments/{jax-cpu,keops,faiss-cpu,sklearn}/freeze.txt`.
Prints for each library the median times, and the median over the rounds of recorded to bare with its 95% interval. PyTorch is
not among them: our brute force is another than the bare one (adapters.py).
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from shared import ROOT  # which puts knnbench on the path

from knnbench.measure.clock import median_interval

BACKENDS = {
    "jax": "jax",
    "keops": "keops",
    "faiss-flat": "faiss",
    "sklearn-brute": "sklearn",
}
K = 10
DATA = {"title": "bare loop", "metric": "euclidean", "source": "normal", "n": 100_000, "d": 10, "queries": 1000, "seed": 0}


def run(*command):
    return subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True).stdout


def recorded(python, backend, entry, env, data, out, repeats):
    timing = {
        "min_sample_s": 0.001,
        "min_repeats": repeats,
        "max_repeats": repeats,
        "budget_s": 0,
        "rel_ci": 1e-9,
        "pass_s": 60,
        "max_query_s": 60,
        "min_recall": 0.9,
        "batch_sizes": [],
        "batch_calls": 1,
        "batch_budget_s": 0,
        "seed": 0,
    }
    command = [python, ROOT / "scripts/measure_cell.py", "--data", data, "--device", "cpu", "--module", entry["module"]]
    command += ["--parameters", json.dumps(entry.get("parameters", {})), "--n-neighbors", K, "--threads", 0]
    command += ["--memory-gb", 0, "--max-fit-s", 60, "--timing", json.dumps(timing), "--spec", ROOT / f"envs/{env}.yaml"]
    run(*command, "--out", out)
    record = json.loads(Path(out).read_text(encoding="utf-8"))
    if record["status"] != "ok":
        raise SystemExit(f"{backend} ended as {record['status']}: {record['reason']}")
    return statistics.median(record["query_ns"]["host"]) / 1e9


def bare(python, library, data, repeats):
    script = [python, ROOT / "benchmarks/bare.py", library, "--data", data, "--n-neighbors", K, "--repeats", repeats]
    with tempfile.TemporaryDirectory() as cache:  # as a cell: KeOps compiles anew, and no GPU is seen
        os.environ |= {"KEOPS_CACHE_FOLDER": cache, "CUDA_VISIBLE_DEVICES": ""}
        return statistics.median(json.loads(run(*script).splitlines()[-1]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    arguments = parser.parse_args()

    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder, "data.hdf5"), Path(folder, "record.json")
        run(sys.executable, ROOT / "scripts/make_dataset.py", "--settings", json.dumps(DATA), "--out", data, "--files")
        print(f"n = {DATA['n']:,}, d = {DATA['d']}, {DATA['queries']:,} queries, K = {K}, {arguments.rounds} rounds")
        print(f"{'backend':14} {'recorded':>10} {'bare':>10} {'ratio':>7}  interval")
        for backend in arguments.backends:
            library = BACKENDS[backend]
            entry = config["backends"][backend]
            env = entry["environments"]["cpu"]
            python = ROOT / f"resources/environments/{env}/bin/python"
            measures = [
                functools.partial(recorded, python, backend, entry, env, data, out, arguments.repeats),
                functools.partial(bare, python, library, data, arguments.repeats),
            ]
            pairs = []
            for number in range(arguments.rounds):
                order = (0, 1) if number % 2 == 0 else (1, 0)  # neither always runs first
                times = {which: measures[which]() for which in order}
                pairs.append((times[0], times[1]))
            ratios = [one / other for one, other in pairs]
            low, high = median_interval(ratios)  # no mean: a process that the machine disturbed says nothing of the harness
            cell, loop = (statistics.median(times) for times in zip(*pairs, strict=True))
            ratio = statistics.median(ratios)
            print(f"{backend:14} {cell:8.4f} s {loop:8.4f} s {ratio:7.3f}  {low:.3f} to {high:.3f}", flush=True)


if __name__ == "__main__":
    main()
