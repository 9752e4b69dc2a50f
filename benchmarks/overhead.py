"""Where the time of a suite goes, and what a plan of 10,000 cells costs. Prints Markdown.

Run from the project's root in the environment of requirements.txt: python benchmarks/overhead.py [SUITE]
The suite runs in a copy of the project, with environments and datasets that are made there first, each timed apart.
"""

import argparse
import collections
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
from shared import ROOT, made_by  # which puts knnbench on the path

from knnbench.system.environment import read_pins

DATASETS, BACKENDS, KS = 10, 20, 50  # of the plan
# Columns, and the stages of a worker that are in each; what is left of a cell is the start of its processes and its record.
STAGES = {
    "import": ("import",),
    "load": ("load", "load_index"),
    "fit": ("fit", "save"),
    "compile": ("compile",),
    "first": ("first_query",),
    "passes": ("query",),
    "batches": ("batches", "set_search"),
    "energy": ("energy",),
    "score": ("score",),
}
STEPS = {"environments": "make_environment", "datasets": "make_dataset", "ceilings": "measure_ceilings"}
BEYOND = ("score", "start, record")  # what is none of the library's work


def copy_of_project(folder):
    """Copy what a clone has."""
    made = shutil.ignore_patterns(
        ".*", "resources", "results", "logs", "published"
    )  # of the root: knnbench has a room `results`
    caches = shutil.ignore_patterns("__pycache__")
    return shutil.copytree(
        ROOT, Path(folder, "knnbench"), ignore=lambda at, names: (made if at == str(ROOT) else caches)(at, names)
    )


def environment_of(libraries, packages, python):
    """Make an environment for somebody else's program.

    Parameters
    ----------
    libraries : dict, name of one of our environments -> libraries that are taken in its version
    packages : list of str, whatever else the program needs
    python : Path, where its interpreter shall be
    """
    pins = [
        f"{library}=={read_pins(ROOT / f'envs/{name}.yaml')[1][library]}" for name in libraries for library in libraries[name]
    ]
    subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, python.parents[1]], check=True)
    subprocess.run(["uv", "pip", "install", "--quiet", "--python", python, *pins, *packages], check=True)


def snakemake(project, *arguments):
    """Seconds and largest resident bytes of a call of Snakemake."""
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments], cwd=project, stdout=log, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        log.seek(0)
        assert os.waitstatus_to_exitcode(status) == 0, log.read()[-3000:]
    return time.monotonic() - begun, usage.ru_maxrss * 1024


def plan_many(project):
    """Seconds and memory of a dry run of many cells: brute force of scikit-learn, under many names."""
    entry = {"module": "sklearn", "exact": True, "environments": {"cpu": "sklearn"}, "parameters": {"algorithm": "brute"}}
    points = {"metric": "euclidean", "source": "normal", "n": 500, "d": 4, "queries": 50}
    datasets = {f"many-{i}": points | {"seed": i} for i in range(DATASETS)}
    backends = {f"many-{i}": entry for i in range(BACKENDS)}
    suite = {"datasets": list(datasets), "backends": list(backends), "n_neighbors": list(range(1, KS + 1))}
    overlay = {"suite": "many", "datasets": datasets, "backends": backends, "suites": {"many": suite}}
    (project / "many.yaml").write_text(yaml.safe_dump(overlay))
    return snakemake(project, "--configfile", "many.yaml", "--dry-run", "--quiet", "all", "--")


def run_suite(project, *asked):
    """Run a suite, in steps.

    Parameters
    ----------
    asked : words for Snakemake that say which

    Returns
    -------
    seconds : dict, by step
        `cells` is all of them from the start of the first to the end of the last, `between` what passed among them.
    cells : dict of lists of dicts, by backend
        Seconds of each cell, by the columns of `STAGES` and "start, record"; `k` is its K, None for the build of an index.
    """
    seconds = {}
    for step, rule in STEPS.items():
        seconds[step] = snakemake(project, "--cores", "1", *asked, "--until", rule)[0]
    seconds["plan"] = snakemake(project, *asked, "--dry-run", "--quiet", "all", "--")[0]
    begun = time.time()
    snakemake(project, "--cores", "1", *asked, "--")
    ended = time.time()

    paths = [*(project / "results/cells").rglob("k*.json"), *(project / "results/indexes").rglob("fit.json")]
    paths.sort(key=lambda path: path.stat().st_mtime)
    records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    ends = [path.stat().st_mtime for path in paths]
    gaps = [
        end - before - record.get("cell_s", 0)
        for (before, end), record in zip(itertools.pairwise(ends), records[1:], strict=True)
    ]
    seconds["before the first cell"] = ends[0] - records[0].get("cell_s", 0) - begun
    seconds["cells"] = ends[-1] - ends[0] + records[0].get("cell_s", 0)
    seconds["between"] = sum(gaps)
    seconds["tables, figures, page"] = ended - ends[-1]
    seconds["all"] = ended - begun
    cells = collections.defaultdict(list)
    for path, record in zip(paths, records, strict=True):
        if "cell_s" not in record:
            continue
        spent = record.get("stages_s", {})
        cell = {column: sum(spent.get(stage, 0) for stage in stages) for column, stages in STAGES.items()}
        cell["start, record"] = record["cell_s"] - sum(spent.values())
        folder = path.parent if path.name != "fit.json" else path.parent.parent
        k = path.name.split(".")[0].removeprefix("k") if path.name != "fit.json" else None
        cells[folder.name.removesuffix("-cpu")].append(cell | {"k": k})
    return seconds, dict(cells), statistics.median(gaps)


def tables(seconds, cells, gap):
    """What `run_suite` found, as Markdown."""
    yield "| step | s |\n|---|---|"
    for step, taken in seconds.items():
        yield f"| {step} | {taken:.1f} |"
    columns = [*STAGES, "start, record"]
    columns = [column for column in columns if any(cell[column] for each in cells.values() for cell in each)]
    yield f"\n| s, in all cells of | cells | {' | '.join(columns)} | all |"
    yield f"|---|{'---|' * (len(columns) + 2)}"
    everything = {"all": [cell for each in cells.values() for cell in each]}
    for name, each in (cells | everything).items():
        sums = [sum(cell[column] for cell in each) for column in columns]
        yield f"| {name} | {len(each)} | {' | '.join(f'{taken:.1f}' for taken in sums)} | {sum(sums):.1f} |"
    most = max((cell["k"] for cell in everything["all"] if cell["k"]), key=int)
    beyond = [sum(cell[column] for column in BEYOND) for cell in everything["all"] if cell["k"] == most]
    yield f"\nBeyond the library's work a cell with K = {most} takes {statistics.median(beyond):.2f} s in the median"
    yield f"(scoring, its processes' start, its record), and {gap:.2f} s pass between two cells."


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", nargs="?", default="quick")
    suite = parser.parse_args().suite
    with tempfile.TemporaryDirectory() as folder:
        project = copy_of_project(folder)
        taken, peak = plan_many(project)
        found = run_suite(project, "--config", f"suite={suite}")
    print(f"Suite `{suite}`: {made_by(f'overhead.py {suite}')}")
    print(f"A plan (`snakemake -n`) of {DATASETS * BACKENDS * KS:,} cells: {taken:.0f} s, {peak / 2**20:.0f} MiB.\n")
    print("\n".join(tables(*found)))


if __name__ == "__main__":
    main()
