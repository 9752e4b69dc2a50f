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
from conftest import ROOT, run, snakemake

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


def test_nothing_of_others_is_lost(tmp_path):
    """Results whose names differ only in their ends are two, one that failed says so, and one that is there twice is an error."""
    search = tmp_path / "theirs/rd-a/result/search"
    search.mkdir(parents=True)
    long = "x" * 80
    rows = [
        {"name": f"{long}{end}/process_time", "Recall": 0.9, "items_per_second": 1e5, "k": 10, "nprobe": probes, "n_new": 3}
        for end, probes in (("a", 1), ("b", 1), ("b", 2))
    ]
    failed = {"name": "bad/process_time", "k": 10, "error_occurred": True, "error_message": "out of memory"}
    path = search / "algo,base,k10,bs1.json"
    path.write_text(json.dumps({"benchmarks": [*rows, failed]}))
    settings = {"title": "a", "metric": "euclidean", "n": 100, "d": 3, "queries": 10}
    config = {"datasets": {"rd-a": settings}, "timing": {"min_recall": 0.75}, "figures": {}}
    arguments = ["--foreign", tmp_path / "theirs", "--names", '{"rd-a": "rd-a"}', "--config", json.dumps(config)]
    arguments += ["--datasets", tmp_path, "--schema", ROOT / "rules/schemas/timings.schema.yaml", "--out", tmp_path / "out"]
    run("import_results", *arguments)
    found = pd.read_csv(tmp_path / "out/timings.csv").set_index("backend")
    assert len(found) == found.index.nunique() == 4 and found["status"].tolist() == ["ok"] * 3 + ["failed"]
    assert found["reason"].iloc[3] == "out of memory" and "n_new=3" in found["label"].iloc[0]
    path.with_name("algo,base,k10,bs2.json").write_text(path.read_text().replace("bs1", "bs2"))
    run("import_results", *arguments)  # another size of batches is another note
    (search / "algo,other,k10,bs1.json").write_text(json.dumps({"benchmarks": rows[:1]}))
    with pytest.raises(AssertionError, match="is there twice; remove one"):
        run("import_results", *arguments)
