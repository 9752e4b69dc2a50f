"""Results in others' formats."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, run, snakemake

from knnbench.exchange.ann_benchmarks import read_ann
from knnbench.exchange.cuvs_bench import read_cuvs
from knnbench.exchange.validate import validate
from knnbench.problem.datasets import write_neighbors, write_points
from knnbench.problem.metrics import METRICS
from knnbench.problem.points import in_blocks
from knnbench.problem.truth import exact_neighbors

TINY = """
suite: tiny
suites:
  tiny: {datasets: [toy-euclidean], backends: [sklearn-kd-tree, faiss-hnsw-m4, curve], controls: false, n_neighbors: [10]}
backends:
  curve:
    {label: Curve, module: faiss, exact: false, saves: true, environments: {cpu: faiss-cpu},
     build: {index: ["IVF8,Flat", "IVF16,Flat"]}, search: {nprobe: [1, 2, 8]}}
timing: {budget_s: 0.01}
figures: {formats: [svg]}
"""


@pytest.mark.full
def test_ours_as_ann_benchmarks_and_back(project):
    """What is written is what was measured, comes back with the same recall, and is drawn beside ours."""
    (project / "tiny.yaml").write_text(TINY)
    targets = ("export", "results/tiny/provenance.json")
    snakemake("--quiet", "rules", "--configfile", "tiny.yaml", "--", *targets, cwd=project)
    ours = pd.read_csv(project / "results/tiny/timings.csv").dropna(subset=["query_median_s"]).set_index("backend")
    folder = project / "results/tiny/ann-benchmarks"
    with h5py.File(folder / "data/toy-euclidean.hdf5") as data:
        truth = data["distances"][:, 9]
    assert len(ours) == 8
    schema = yaml.safe_load((ROOT / "rules/schemas/timings.schema.yaml").read_text())
    assert validate(project / "results/tiny", schema) == []
    for name, row in ours.iterrows():
        with h5py.File(folder / f"results/toy-euclidean/10/{row['family']}-cpu-batch/{name}.hdf5") as file:
            assert file["neighbors"].shape == file["distances"].shape == (50, 10) and file["times"].shape == (50,)
            attributes = dict(file.attrs)
            assert attributes["best_search_time"] == pytest.approx(row["query_min_s"] / 50) and attributes["batch_mode"]
            # Its recall, by its definition.
            assert (file["distances"][:] <= truth[:, None] + 1e-3).mean() == pytest.approx(row["recall"], abs=0.02)

    snakemake("--quiet", "rules", "--config", f"foreign={folder / 'results'}", "--", "import", cwd=project)
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
    found = read_ann(path, lambda name: None)
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
    for (row,), left_out in (read_cuvs(path), read_cuvs(table)):
        assert not left_out
        assert row["dataset"] == "deep-image-96-inner" and row["device"] == "gpu" and row["n_neighbors"] == 10
        assert row["recall"] == 0.9 and row["seconds_per_query"] == 1e-5 and row["fit_s"] == 4
        assert row["name"] == f"{index} nprobe=20" and row["note"] == "cuvs-bench: batches of 10, its own recall"


@pytest.fixture
def theirs(tmp_path):
    """A folder of cuvs-bench, a function that writes a file of searches into it, and one that imports it."""

    def write(name, rows, part="search"):
        path = tmp_path / "theirs/rd-a/result" / part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rows if isinstance(rows, str) else json.dumps({"benchmarks": rows}), encoding="utf-8")
        return path

    def import_all(names=("rd-a",), **dataset):
        settings = {"title": "a", "metric": "euclidean", "n": 100, "d": 3, "queries": 10} | dataset
        config = {"datasets": dict.fromkeys(names, settings), "timing": {"min_recall": 0.75}, "figures": {}}
        arguments = ["--foreign", tmp_path / "theirs", "--names", json.dumps({name: name for name in names})]
        arguments += ["--config", json.dumps(config), "--datasets", tmp_path, "--out", tmp_path / "out"]
        run("import_results", *arguments, "--schema", ROOT / "rules/schemas/timings.schema.yaml")
        schema = yaml.safe_load((ROOT / "rules/schemas/timings.schema.yaml").read_text())
        assert validate(tmp_path / "out", schema) == []
        left_out = [line for line in (tmp_path / "out/summary.txt").read_text().splitlines() if "Not imported: " in line]
        return pd.read_csv(tmp_path / "out/timings.csv").set_index("backend"), left_out

    return tmp_path / "theirs", write, import_all


SEARCH = {
    "name": "x.M16/process_time/real_time",
    "run_type": "iteration",
    "Recall": 0.9,
    "items_per_second": 1e5,
    "k": 10,
    "ef": 1,
}


def test_names_of_others_neither_collide_nor_vanish(theirs):
    """Results whose names differ only in their ends are two; so are one search in two files, or of two algorithms."""
    _, write, import_all = theirs
    ends = (("a", 1), ("b", 1), ("b", 2))
    rows = [SEARCH | {"name": f"{'x' * 80}{end}/process_time", "nprobe": probes, "n_new": 3} for end, probes in ends]
    write("algo,base,k10,bs1.json", [*rows, {"name": f"{'x' * 80}a/process_time", "k": 10}])
    found, left_out = import_all()
    assert len(found) == found.index.nunique() == found["label"].nunique() == 3 and "n_new=3" in found["label"].iloc[0]
    assert len(left_out) == 1 and "bs1.json: row 4, xxxx" in left_out[0] and "throughput nan" in left_out[0]
    write("algo,base,k10,bs2.json", rows)  # another size of batches is another note
    write("algo,other,k10,bs1.json", rows[:1])
    write("algo2,base,k10,bs1.json", rows[:1])
    write("algo,base,k100,bs1.json", [row | {"k": 100} for row in rows])  # the same curves
    found, _ = import_all()
    assert len(found) == 11 and found.index.nunique() == found["label"].nunique() == 8
    assert found["label"].str.endswith("rd-a/result/search/algo,other,k10,bs1.json").sum() == 1


def test_what_cuvs_bench_measured_otherwise(theirs):
    """Aggregates and failed searches are no rows, repetitions are one; what is left out is named with its row and reason."""
    _, write, import_all = theirs
    repeated = [
        SEARCH | {"items_per_second": speed, "repetitions": 3, "repetition_index": i} for i, speed in enumerate((1, 4, 2))
    ]
    aggregates = [SEARCH | {"run_type": "aggregate", "aggregate_name": name} for name in ("mean", "stddev")]
    failed = {"name": SEARCH["name"], "run_type": "iteration", "error_occurred": True, "error_message": "ef is\nbelow k"}
    threads = [SEARCH | {"threads": 4, "ef": 2}, SEARCH | {"threads": 8, "ef": 2}, SEARCH | {"ef": 3, "Recall": None}]
    write("hnswlib,base,k10,bs7.json", [*repeated, *aggregates, failed, *threads])
    built = {"name": SEARCH["name"], "real_time": 12.5, "time_unit": "ms"}
    write("hnswlib,base.json", [built | {"real_time": 0, "error_occurred": True, "name": "y"}, built], "build")
    found, left_out = import_all()
    assert sorted(found["label"].str.split(",").str[0]) == [
        "x.M16 ef=1",
        "x.M16 ef=2 threads=4",
        "x.M16 ef=2 threads=8",
        "x.M16 ef=3",
    ]
    one = found[found["label"].str.startswith("x.M16 ef=1")].iloc[0]
    assert one["queries_per_s"] == 2 and one["label"].endswith("batches of 7, its own recall, median of 3 repetitions")
    assert set(found["fit_s"]) == {0.0125} and found["recall"].isna().sum() == 1
    said = [line.split("bs7.json: ")[1] for line in left_out]
    assert said == [
        "row 4, x.M16: it is the mean of other rows",
        "row 5, x.M16: it is the stddev of other rows",
        "row 6, x.M16: the search failed: ef is below k",
    ]


@pytest.mark.parametrize("builds", [None, "", "{", [], [{"name": 7}]])
def test_a_broken_build_file_costs_the_time_of_the_build(theirs, builds):
    _, write, import_all = theirs
    write("hnswlib,base,k10,bs7.json", [SEARCH])
    if builds is not None:
        write("hnswlib,base.json", builds, "build")
    found, left_out = import_all()
    assert len(found) == 1 and found["fit_s"].isna().all()
    assert len(left_out) == (builds not in (None, []))
    assert all("build/hnswlib,base.json: cannot be read" in line and "times of its builds" in line for line in left_out)


def test_one_bad_file_is_left_out(theirs):
    """Of both, among good ones; only if nothing at all is left it is an error."""
    folder, write, import_all = theirs
    write("hnswlib,base,k10,bs7.json", "")
    write("hnswlib,empty,k10,bs7.json", [])
    write("hnswlib,base,k10,bs7,latency.csv", "algo_name\n")
    ann = folder / "rd-a/10/annoy"
    ann.mkdir(parents=True)
    (ann / "empty.hdf5").write_bytes(b"")
    with h5py.File(ann / "other.hdf5", "w") as file:
        file["train"] = [1.0]
    with pytest.raises(SystemExit, match="nothing in it can be imported; of 5 reasons the first: .*: no search"):
        import_all()
    columns = "algo_name,index_name,recall,throughput,latency,k,n_queries,nprobe,build time"
    write("hnswlib,base,k10,bs7,raw.csv", f"{columns}\nhnswlib,x.M16,0.9,100000.0,0.0001,10.0,10.0,20.0,4.0\n")
    with h5py.File(ann / "good.hdf5", "w") as file:
        known = {"algo": "annoy", "name": "A", "dataset": "rd-a", "count": 10, "best_search_time": 1e-3, "batch_mode": True}
        file.attrs.update(known)
        file["neighbors"] = np.zeros((10, 10), "i4")
    found, left_out = import_all()
    assert sorted(found["environment"]) == ["ann-benchmarks", "cuvs-bench"] and len(left_out) == 5
    for name, reason in (
        ("empty.hdf5", "cannot be read .*file signature not found"),
        ("other.hdf5", "it has no count and best_search_time"),
        ("bs7,latency.csv", "no search results by its name"),
        ("hnswlib,base,k10,bs7.json", "cannot be read .*JSONDecodeError"),
        ("hnswlib,empty,k10,bs7.json", "there is no search in it"),
    ):
        assert sum(bool(re.search(f"{name}: {reason}", line)) for line in left_out) == 1
    with pytest.raises(SystemExit, match="rd-a: how many queries it has is not known; say n, d and queries in its entry"):
        import_all(queries=None)
    with pytest.raises(SystemExit, match="results of rd-a, which are no datasets of ours; give them"):
        import_all(names=["sift"])


def test_ids_of_others_are_those_of_their_file(theirs, tmp_path):
    """Also where rows of the file are left out here because they have no direction."""
    folder, _, import_all = theirs
    generator = np.random.default_rng(0)
    train, test = generator.normal(size=(50, 3)).astype("f4"), generator.normal(size=(4, 3)).astype("f4")
    train[::9], test[2] = 0, 0
    kept = [points.any(axis=1) for points in (train, test)]
    metric = METRICS["angular"]
    write_points(tmp_path / "rd-a.hdf5", metric, *map(in_blocks, (train, test), kept))
    with h5py.File(tmp_path / "rd-a.hdf5") as file:
        neighbors, distances = exact_neighbors(metric, file["train"][:], file["test"][:])
    write_neighbors(tmp_path / "rd-a.hdf5", neighbors, distances)
    ids = np.zeros((4, 5), "i4")  # row 0 is zero: nobody's neighbour
    ids[kept[1]] = np.flatnonzero(kept[0])[neighbors[:, :5]]
    ids[0, 0] = 0
    path = folder / "rd-a/5/annoy/a.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        file.attrs.update({"algo": "annoy", "name": "A", "count": 5, "best_search_time": 1e-3, "batch_mode": True})
        file["neighbors"] = ids
    found, left_out = import_all(metric="angular")
    assert found["recall"].tolist() == [14 / 15] and not left_out and found["n"].tolist() == [44]
