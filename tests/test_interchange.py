"""Results in others' formats."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, snakemake

from knnbench.interchange import read_ann, read_cuvs
from knnbench.published import validate

TINY = """
suite: tiny
suites:
  tiny: {datasets: [toy-euclidean], backends: [sklearn-kd-tree, faiss-hnsw-m4], n_neighbors: [10]}
timing: {budget_s: 0.01}
figures: {formats: [svg]}
"""


def test_ours_as_ann_benchmarks_and_back(project):
    """What is written is what was measured, comes back with the same recall, and is drawn beside ours."""
    (project / "tiny.yaml").write_text(TINY)
    snakemake("--quiet", "rules", "--configfile", "tiny.yaml", "--", "export", cwd=project)
    ours = pd.read_csv(project / "results/tiny/timings.csv").dropna(subset=["query_median_s"]).set_index("backend")
    folder = project / "results/tiny/ann-benchmarks"
    with h5py.File(folder / "data/toy-euclidean.hdf5") as data:
        truth = data["distances"][:, 9]
    for name, row in ours.iterrows():
        with h5py.File(folder / f"results/toy-euclidean/10/{name}-cpu-batch/knnbench.hdf5") as file:
            assert file["neighbors"].shape == file["distances"].shape == (50, 10) and file["times"].shape == (50,)
            attributes = dict(file.attrs)
            assert attributes["best_search_time"] == pytest.approx(row["query_min_s"] / 50) and attributes["batch_mode"]
            # Its recall, by its definition.
            assert (file["distances"][:] <= truth[:, None] + 1e-3).mean() == pytest.approx(row["recall"], abs=0.02)

    snakemake("--quiet", "rules", "--config", f"foreign={folder / 'results'}", "--", "import", cwd=project)
    schema = yaml.safe_load((ROOT / "rules/schemas/timings.schema.yaml").read_text())
    assert validate(project / "results/imported", schema) == []
    theirs = pd.read_csv(project / "results/imported/timings.csv").sort_values("recall")
    assert theirs["recall"].tolist() == pytest.approx(sorted(ours["recall"])) and set(theirs["flags"]) == {"imported"}
    assert sorted(theirs["query_median_s"]) == pytest.approx(sorted(ours["query_min_s"]))
    merge = ("--configfile", "tiny.yaml", "--config", "sources=[results/tiny, results/imported]", "--", "merge")
    snakemake("--quiet", "rules", *merge, cwd=project)
    figure = (project / "results/merged/figures/toy-euclidean.recall.svg").read_text()
    assert "ann-benchmarks: all queries at once" in figure
    done = snakemake("--config", "foreign=docs", "--", "import", cwd=project, check=False)
    assert done.returncode == 1 and "docs: no results in it" in done.stdout


@pytest.mark.skipif("ANN_BENCHMARKS" not in os.environ, reason="ANN_BENCHMARKS is not set to a copy of its repository")
def test_ann_benchmarks_draws_ours(project):
    """With its own code."""
    (project / "tiny.yaml").write_text(TINY)
    snakemake("--quiet", "rules", "--configfile", "tiny.yaml", "--", "export", cwd=project)
    theirs = Path(os.environ["ANN_BENCHMARKS"]).resolve()
    command = [
        sys.executable,
        theirs / "plot.py",
        "--dataset",
        "toy-euclidean",
        "--count",
        "10",
        "--batch",
        "--output",
        "out.png",
    ]
    folder = project / "results/tiny/ann-benchmarks"
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(theirs)}, capture_output=True, text=True)
    assert done.returncode == 0 and (folder / "out.png").stat().st_size > 10_000, done.stderr
    assert "sklearn, KD-tree (CPU)        1.000" in done.stdout


def test_one_query_at_a_time(tmp_path):
    path = tmp_path / "results/glove-25-angular/10/annoy/annoy_100.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        known = {"algo": "annoy", "name": "Annoy(n_trees=100)", "count": 10, "best_search_time": 1e-3, "build_time": 2.0}
        file.attrs.update(known | {"batch_mode": False, "run_count": 5, "distance": "angular"})
        file["times"], file["neighbors"] = np.linspace(1e-3, 2e-3, 7, dtype="f4"), np.zeros((7, 10), "i4")
    found = read_ann(path, tmp_path / "results", lambda name: None)
    assert found["dataset"] == "glove-25-angular" and found["n_neighbors"] == 10 and found["recall"] is None
    assert found["seconds_per_query"] == 1e-3 and found["fit_s"] == 2 and len(found["latencies_s"]) == 7
    assert found["note"] == "ann-benchmarks: one query at a time, on one CPU, best of 5"


def test_cuvs_bench(tmp_path):
    """Its JSON, and the CSV file that it makes of it, say the same."""
    result = tmp_path / "deep-image-96-inner/result"
    (result / "search").mkdir(parents=True)
    (result / "build").mkdir()
    name = "cuvs_ivf_flat,base"
    index = "cuvs_ivf_flat.nlist1024"
    built = {"name": f"{index}/process_time/real_time", "real_time": 4000.0, "time_unit": "ms"}
    (result / f"build/{name}.json").write_text(json.dumps({"benchmarks": [built]}))
    found = {
        "name": f"{index}/process_time",
        "Recall": 0.9,
        "items_per_second": 1e5,
        "Latency": 1e-4,
        "k": 10.0,
        "n_queries": 10.0,
    }
    path = result / f"search/{name},k10,bs10.json"
    path.write_text(json.dumps({"benchmarks": [found | {"nprobe": 20.0}]}))
    table = path.with_name(f"{name},k10,bs10,raw.csv")
    columns = "algo_name,index_name,recall,throughput,latency,k,n_queries,nprobe,build time"
    table.write_text(f"{columns}\ncuvs_ivf_flat,{index},0.9,100000.0,0.0001,10.0,10.0,20.0,4.0\n")
    for (row,) in (read_cuvs(path), read_cuvs(table)):
        assert row["dataset"] == "deep-image-96-inner" and row["device"] == "gpu" and row["n_neighbors"] == 10
        assert row["recall"] == 0.9 and row["seconds_per_query"] == 1e-5 and row["fit_s"] == 4
        assert row["name"] == f"{index} nprobe=20.0" and row["note"] == "cuvs-bench: batches of 10, its own recall"
