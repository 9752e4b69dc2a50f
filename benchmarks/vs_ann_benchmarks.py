"""ann-benchmarks with --local, and this workflow, on the same five configurations and one file. Prints Markdown.

    python benchmarks/vs_ann_benchmarks.py --ann-benchmarks DIR

DIR is a copy of https://github.com/erikbern/ann-benchmarks, which runs in an environment of the libraries' versions of envs/.
Points, parameters, all queries at once (its --batch) and K are the same; how each calls the libraries is its own, and so is the
number of their threads.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import yaml
from overhead import copy_of_project, environment_of, run_suite, tables
from shared import made_by

K, RUNS = 10, 5
NAME = "random-xs-20-euclidean"  # a dataset that it knows, for a file of ours
POINTS = {"metric": "euclidean", "source": "normal", "n": 100_000, "d": 10, "queries": 10_000, "seed": 0}
PACKAGES = ("ansicolors", "docker", "h5py", "matplotlib", "pyyaml", "psutil", "jinja2", "requests")
LIBRARIES = {"faiss-cpu": ("faiss-cpu",), "sklearn": ("scikit-learn", "scipy", "numpy"), "hnswlib": ("hnswlib",)}
GRAPH = {"M": 16, "efConstruction": 500}
# Name, its constructor in its module, arguments, arguments of the queries.
THEIRS = [
    ("kd", "kdtree", "KDTree", [30], []),
    ("ckdtree", "ckdtree", "CKDTree", [16], []),
    ("faiss-ivf", "faiss", "FaissIVF", [512], [[10]]),
    ("hnsw(faiss)", "faiss_hnsw", "FaissHNSW", [GRAPH], [[40]]),
    ("hnswlib", "hnswlib", "HnswLib", [GRAPH], [[40]]),
]
ENTRIES = {
    "vs-ivf": {"module": "faiss", "environment": "faiss-cpu", "parameters": {"index": "IVF512,Flat", "search": {"nprobe": 10}}},
    "vs-hnsw": {
        "module": "faiss",
        "environment": "faiss-cpu",
        "parameters": {"index": "HNSW16,Flat", "fit": {"efConstruction": 500}, "search": {"efSearch": 40}},
    },
    "vs-hnswlib": {"module": "hnswlib", "environment": "hnswlib", "build": GRAPH, "search": {"ef": 40}},
}
OVERLAY = {
    "suite": "vs-ann",
    "datasets": {"vs-ann": POINTS},
    "backends": {
        name: {key: value for key, value in entry.items() if key != "environment"}
        | {"exact": False, "saves": True, "environments": {"cpu": entry["environment"]}}
        for name, entry in ENTRIES.items()
    },
    "suites": {
        "vs-ann": {
            "datasets": ["vs-ann"],
            "backends": ["sklearn-kd-tree", "scipy-kd-tree", *ENTRIES],
            "n_neighbors": [K],
            "controls": False,
        }
    },
    "timing": {"pass_s": float("inf")},
}


def definitions(folder):
    """Write its definitions of the five."""
    for name, module, constructor, arguments, queries in THEIRS:
        group = {"arg_groups": [arguments[0]], "args": {}} if isinstance(arguments[0], dict) else {"args": [arguments]}
        path = Path(folder, module, "config.yml")
        path.parent.mkdir(parents=True)
        entry = {
            "base_args": ["@metric"],
            "constructor": constructor,
            "disabled": False,
            "docker_tag": module,
            "module": f"ann_benchmarks.algorithms.{module}",
            "name": name,
            "run_groups": {"one": group | ({"query_args": queries} if queries else {})},
        }
        path.write_text(yaml.safe_dump({"float": {"any": [entry]}}), encoding="utf-8")


def run_theirs(source, points, folder):
    """Seconds of ann-benchmarks from its start to its results: in all, by name of the builds, and of all searches."""
    copy = shutil.copytree(source, Path(folder, "ann-benchmarks"), ignore=shutil.ignore_patterns("results", "data"))
    definitions(copy / "five")
    (copy / "data").mkdir()
    shutil.copy(points, copy / f"data/{NAME}.hdf5")
    python = Path(folder, "theirs/bin/python")
    environment_of(LIBRARIES, PACKAGES, python)
    command = [python, "run.py", "--local", "--batch", "--dataset", NAME, "--count", K, "--runs", RUNS, "--definitions", "five"]
    begun = time.monotonic()
    done = subprocess.run(list(map(str, command)), cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wall_s = time.monotonic() - begun
    builds, searches = {}, {}
    for path in (copy / "results").rglob("*.hdf5"):
        with h5py.File(path) as file:
            builds[file.attrs["algo"]] = float(file.attrs["build_time"])
            searches[file.attrs["algo"]] = float(file.attrs["best_search_time"]) * len(file["times"]) * RUNS
    if len(builds) != len(THEIRS):
        sys.exit(f"ann-benchmarks gave {len(builds)} of {len(THEIRS)} results:\n{done.stdout[-3000:]}")
    return wall_s, builds, searches


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ann-benchmarks", type=Path, required=True)
    source = parser.parse_args().ann_benchmarks
    with tempfile.TemporaryDirectory() as folder:
        project = copy_of_project(folder)
        (project / "vs_ann.yaml").write_text(yaml.safe_dump(OVERLAY))
        seconds, cells, gap = run_suite(project, "--configfile", "vs_ann.yaml")
        theirs_s, builds, searches = run_theirs(source, project / "resources/datasets/vs-ann.hdf5", folder)
    print(f"100,000 x 10, 10,000 queries at once, K = {K}: {made_by('vs_ann_benchmarks.py')}")
    print(f"From start to results, of environments and data that are there: ann-benchmarks {theirs_s:.0f} s,")
    print(f"the workflow {seconds['all']:.0f} s, {seconds['all'] / theirs_s:.2f} of that.\n")
    print("| ann-benchmarks | build, s | five searches, s (five times the best) |\n|---|---|---|")
    for name, build_s in builds.items():
        print(f"| {name} | {build_s:.1f} | {searches[name]:.1f} |")
    rest = theirs_s - sum(builds.values()) - sum(searches.values())
    print(
        f"\nThe other {rest:.0f} s of it are the distances of every answer, in Python, once for each search, and its start.\n"
    )
    print("\n".join(tables(seconds, cells, gap)))


if __name__ == "__main__":
    main()
