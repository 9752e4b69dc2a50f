"""What the workflow costs: the plan of 10,000 cells, and a cell beyond import, load, fit and queries. Prints Markdown.

Run from the project's root in the environment of requirements.txt: python benchmarks/overhead.py > benchmarks/overhead.md
The cells run in a copy of the project, in environments that are made there.
"""

import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from knnbench.system import machine

DATASETS, BACKENDS, KS = 10, 20, 50
MEASURED = 60  # cells of the second part
PHASES = ("import", "load", "load_index", "transfer", "train", "add", "compile", "first_query")


def overlay(datasets, backends, ks):
    """A suite of small cells: brute force of scikit-learn on 500 points, under many names."""
    return {
        "suite": "many",
        "timing": {"budget_s": 0.05},
        "figures": {"formats": ["svg"]},
        "datasets": {
            f"many-{i}": {"metric": "euclidean", "source": "normal", "n": 500, "d": 4, "queries": 50, "seed": i}
            for i in range(datasets)
        },
        "backends": {
            f"many-{i}": {
                "module": "sklearn",
                "exact": True,
                "environments": {"cpu": "sklearn"},
                "parameters": {"algorithm": "brute"},
            }
            for i in range(backends)
        },
        "suites": {
            "many": {
                "datasets": [f"many-{i}" for i in range(datasets)],
                "backends": [f"many-{i}" for i in range(backends)],
                "n_neighbors": list(range(1, ks + 1)),
            }
        },
    }


def snakemake(project, *arguments):
    """Seconds and largest resident bytes of a call of Snakemake, and what it printed."""
    command = [sys.executable, "-m", "snakemake", "--configfile", "many.yaml", *arguments]
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=project, stdout=log, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        log.seek(0)
        printed = log.read()
    assert os.waitstatus_to_exitcode(status) == 0, printed[-3000:]
    return time.monotonic() - begun, usage.ru_maxrss * 1024, printed


def plan_many(project):
    """Seconds and memory of a dry run of many cells."""
    (project / "many.yaml").write_text(yaml.safe_dump(overlay(DATASETS, BACKENDS, KS)))
    return snakemake(project, "--dry-run", "--quiet", "all", "--")[:2]


def measure_some(project):
    """Run some cells.

    Returns
    -------
    each, beyond, between : float, seconds per cell: from record to record, beyond its phases, and between two workers
    added : int, cells that a dry run lists after one more backend was added
    """
    (project / "many.yaml").write_text(yaml.safe_dump(overlay(1, 6, MEASURED // 6)))
    snakemake(project, "--quiet", "all", "--")
    records = sorted((project / "results/cells").rglob("k*.json"), key=lambda path: path.stat().st_mtime)
    ended = [path.stat().st_mtime for path in records]
    each = [later - earlier for earlier, later in itertools.pairwise(ended)]
    beyond, between = [], []
    for seconds, path in zip(each, records[1:], strict=True):
        record = json.loads(path.read_text())
        phases = sum(record["phases_ns"].get(name, 0) for name in PHASES)
        queries = sum(record["query_ns"]["host"]) * record["loops"]["host"]
        single = record["first_batch_ns"]["host"]["1"] + sum(record["batch_ns"]["host"]["1"])
        beyond.append(seconds - (phases + queries + single) / 1e9)
        between.append(seconds - record["cell_s"])
    (project / "many.yaml").write_text(yaml.safe_dump(overlay(1, 7, MEASURED // 6)))
    added = snakemake(project, "--dry-run", "--")[2].count("many-0: ")
    return statistics.median(each), statistics.median(beyond), statistics.median(between), added


def main():
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "knnbench")
        shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".*", "resources", "results", "logs", "published"))
        seconds, peak = plan_many(project)
        each, beyond, between, added = measure_some(project)
    facts = machine.describe("cpu")
    print(f"{facts['cpu']}, {facts['cpus']} CPUs; made by `python benchmarks/overhead.py` on {time.strftime('%Y-%m-%d')}.\n")
    print("| what | measured |\n|---|---|")
    print(f"| `snakemake -n` of {DATASETS * BACKENDS * KS:,} cells | {seconds:.0f} s, {peak / 2**20:.0f} MiB |")
    print(f"| a cell of 500 points, median of {MEASURED - 1}, from record to record | {each:.2f} s |")
    print(f"| of that beyond import, load, fit and queries | {beyond:.2f} s |")
    print(f"| of that between a cell's record and the next cell's worker: Snakemake, the supervisor | {between:.2f} s |")
    print(f"| cells that one more backend adds to {MEASURED} done ones | {added} |")


if __name__ == "__main__":
    main()
