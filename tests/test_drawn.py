"""What is a subset, over the page's limits, or a control: seen where it is drawn, and in no ranking."""

import gzip
import json
import shutil

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, run

from knnbench.draw.calls import call_rows, calls_of
from knnbench.draw.figures import FAINT, GREY, MARKS, limits, styles
from knnbench.draw.page import page
from knnbench.draw.page_rows import chart_rows
from knnbench.draw.speed import draw
from knnbench.exchange.compare_runs import compare
from knnbench.exchange.validate import validate
from knnbench.problem.datasets import write_neighbors, write_points
from knnbench.problem.metrics import METRICS
from knnbench.problem.points import in_blocks
from knnbench.problem.truth import exact_neighbors
from knnbench.results.findings import findings
from knnbench.results.folder import read, read_table
from knnbench.results.merge import merge
from knnbench.results.pairs import compare as pairs
from knnbench.results.samples import passes
from knnbench.results.tables import write_rows
from knnbench.results.words import control_words, summarise

SCHEMA = yaml.safe_load((ROOT / "rules/schemas/timings.schema.yaml").read_text(encoding="utf-8"))
OLD = ROOT / "tests/published/v2"
CONTROLS = {"control-null": ("Control: nothing", 1e-6, 1.0), "control-random": ("Control: chance", 2e-4, 0.02)}
BRUTE, FLAT = ("sklearn-brute", "cpu"), ("faiss-flat", "cpu")


@pytest.fixture
def folder(tmp_path):
    """Results in which brute force asked 10 of 50 queries, FAISS is over the page's limits, and there are controls."""
    folder = tmp_path / "results"
    shutil.copytree(OLD, folder)
    timings, samples, batches = (read_table(folder, name) for name in ("timings", "samples", "batches"))
    timings = timings.drop(columns="from_version").assign(schema_version=2)
    brute = timings["backend"] == "sklearn-brute"
    timings.loc[brute, ["queries_timed", "flags"]] = [10, "subset; drift"]
    timings.loc[(timings["backend"] == "faiss-flat") & (timings["device"] == "cpu"), "flags"] = "over_page_limit"
    timings["fit_low_s"], timings["fit_high_s"] = timings["fit_s"] * 0.5, timings["fit_s"] * 2
    ten = (samples["backend"] == "sklearn-brute") & samples["batch"].isna()
    samples.loc[ten, ["queries", "seconds"]] = pd.DataFrame({"queries": 10.0, "seconds": samples[ten]["seconds"] / 5})
    like = timings[timings["backend"] == "sklearn-brute"]
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    for name, (label, seconds, recall) in CONTROLS.items():
        times = dict.fromkeys((f"query_{each}_s" for each in ("median", "low", "high")), seconds)
        control = like.assign(backend=name, family=name, label=label, exact=recall == 1, control=True, flags="", **times)
        low = {"status": "low_recall", "reason": "recall 0.020 is below 0.75"} if recall < 1 else {}
        control = control.assign(**low, queries_per_s=50 / seconds, recall=recall, single_p50_s=3e-6, queries_timed=50)
        timings = pd.concat([timings, control])
        same = samples[samples["backend"] == "sklearn-brute"].assign(backend=name, seconds=seconds, queries=50)
        samples = pd.concat([samples, same])
        entry = {"label": label, "module": "control", "exact": recall == 1, "prunes": False, "saves": False, "parameters": {}}
        config["suites"]["old"]["backends"].append(name)
        config["backends"][name] = entry | {"control": True, "environments": {"cpu": "pipeline"}}
    write_rows(timings, folder)
    for name, table in (("samples", samples), ("batches", batches)):
        table.to_csv(folder / f"{name}.csv", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def test_controls_are_apart(folder):
    """From everything that is made of Results.timings; older results have none."""
    results, old = read(folder), read(OLD)
    assert set(results.controls["backend"]) == set(CONTROLS) and len(results.controls) == 4
    assert results.timings["backend"].tolist() == old.timings["backend"].tolist() and len(old.controls) == 0
    assert list(results.controls.columns) == list(results.timings.columns)
    assert not any("Control" in answer for _, answer in findings(results.timings, results.comparisons, 10))
    run("check_claims", "--folder", folder, "--out", folder / "claims.csv", "--claims", json.dumps(CLAIM))
    assert pd.read_csv(folder / "claims.csv")["faster"].tolist() == ["faiss-hnsw-m4-cpu"]
    run("make_tables", "--folder", folder, "--out", folder / "tables")
    tables = [path.read_text(encoding="utf-8") for path in (folder / "tables").iterdir()]
    assert len(tables) == 4 and not any("Control" in text for text in tables)
    assert all("scaled from a subset of the queries" in text for text in tables)


CLAIM = {
    "fastest": {
        "says": "The fastest is a search",
        "datasets": ["toy-euclidean"],
        "n_neighbors": [10],
        "slower": {"backends": ["sklearn-kd-tree-cpu"]},
        "faster": {"backends": ["*"]},
        "ratio": [1, 1e9],
    }
}


def test_older_tables_have_the_new_columns():
    results = read(OLD)
    done = results.timings["query_median_s"].notna()
    assert (results.timings[done]["queries_timed"] == 50).all() and results.timings[~done]["queries_timed"].isna().all()
    assert not results.timings[["control", "subset", "over"]].any(axis=None)
    # Intervals and verdicts are computed from the samples, as those of today's tables are; there are too few cells for more.
    timed, compared = results.timings[done], results.comparisons
    assert set(timed["query_interval"]) == {"own rounds"} and set(timed["query_freedom"]) == {1}
    assert compared["confidence"].nunique() == 1
    assert ((compared["verdict"] == "faster") == (compared["ratio_low"] > 1)).all()
    assert set(compared["verdict"]) == {"faster", "undecided"}
    assert results.samples["queries"].tolist() == results.samples["batch"].fillna(50).tolist()
    assert results.timings["recall_p05"].isna().all()
    assert passes(results.samples, results.timings)["seconds"].equals(
        results.samples[results.samples["batch"].isna()]["seconds"]
    )


def test_a_subset_is_scaled(folder, tmp_path):
    """Wherever times are made of samples: a fifth of the queries in a fifth of the time is the same speed."""
    results, old = read(folder), read(OLD)
    assert passes(results.samples, results.timings)["seconds"].tolist()[:20] == pytest.approx(
        passes(old.samples, old.timings)["seconds"].tolist()[:20]
    )
    cells, _, _ = compare(OLD, folder, 0.25, 0.01)
    assert cells["ratio"].dropna().tolist() == pytest.approx([1] * 8) and not set(cells["backend"]) & set(CONTROLS)
    rows = {(row["curve"], row["n_neighbors"]): row for row in chart_rows(results.timings, results)}
    before = {(row["curve"], row["n_neighbors"]): row for row in chart_rows(old.timings, old)}
    brute = rows["sklearn-brute-cpu", 10]
    assert brute["rounds_per_s"] == pytest.approx(before["sklearn-brute-cpu", 10]["rounds_per_s"], rel=1e-4)
    assert brute["asked"] == "10 of 50 queries" and before["sklearn-brute-cpu", 10]["asked"] == "all 50 queries"
    (folder / "samples.csv.gz").write_bytes(gzip.compress((folder / "samples.csv").read_bytes()))
    (folder / "samples.csv").unlink()
    merge([folder], {}, tmp_path / "merged")
    merged, theirs = pd.read_csv(tmp_path / "merged/comparisons.csv"), pd.read_csv(OLD / "comparisons.csv")
    assert merged["ratio"].tolist() == pytest.approx(theirs["ratio"].tolist())
    assert read(tmp_path / "merged").controls["backend"].nunique() == 2


def test_what_does_not_agree_is_wrong(folder):
    assert validate(folder, SCHEMA) == []
    timings = pd.read_csv(folder / "timings.csv")
    controls = pd.read_csv(folder / "controls.csv")
    controls.assign(status="ok").to_csv(folder / "controls.csv", index=False)
    assert validate(folder, SCHEMA)[0] == "controls.csv, line 4: ok, with a recall below timing.min_recall"
    controls.to_csv(folder / "controls.csv", index=False)
    for column, value, words in (
        ("flags", "drift", "queries_timed and the flag subset do not agree"),
        ("recall_low", 1, "the recall is not inside its range"),
        ("fit_low_s", 1, "the fit is not inside its interval"),
    ):
        wrong = timings.copy()
        row = 2 if column != "recall_low" else 4
        wrong.loc[row, column] = value
        wrong.to_csv(folder / "timings.csv", index=False)
        assert validate(folder, SCHEMA) == [f"timings.csv, line {row + 2}: {words}"]


def test_controls_are_in_no_pair():
    row = {"dataset": "d", "n_neighbors": 1, "residency": "host", "cpu": "A", "cpus": 2, "gpu": None, "device": "cpu"}
    rows = [
        row | {"family": name, "query_median_s": time, "control": time < 1} for name, time in (("a", 1), ("b", 2), ("c", 0.1))
    ]
    rows = [each | dict.fromkeys(("query_low_s", "query_high_s", "query_freedom", "flags")) for each in rows]
    assert [each[4:6] for each in pairs(rows, {})] == [("a-cpu", "b-cpu")]


def test_controls_say_a_sentence(folder):
    results = read(folder)
    words = "A call costs 3 µs here (control-null); chance scores a recall of 0.02 at K = 10 (control-random)"
    assert control_words(results.controls, 10) == words and control_words(results.timings, 10) == ""
    every = read_table(folder, "timings")
    text = summarise(every, results.comparisons)
    assert f"{words}.\n" in text and "12 rows, 8 ok, 4 unavailable" in text and "Control" not in text
    doubtful = every.assign(flags=every["flags"].where(every["backend"] != "control-null", "no_control"))
    text = summarise(doubtful, results.comparisons)
    assert "A call costs" not in text and "chance scores" in text and "2 no_control" in text
    wide = results.controls.assign(recall=[1, 1, 1e-5, 1e-5], n_neighbors=10, single_p50_s=[3e-6, 12e-6, 1, 1])
    words = "A call costs 3 to 12 µs here (control-null); chance scores a recall of 0.00001 at K = 10 (control-random)"
    assert control_words(wide, 10) == words


def test_marks_of_the_figure(folder):
    """A ring for a subset, faint what is over the limits, grey and last the controls; the key has no other marks."""
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    timings = read_table(folder, "timings").query("residency == 'host'")
    top, bottom, below = draw(timings, styles(config["backends"])).axes
    note = below.texts[0].get_text()
    assert {words for words in MARKS if words in note} == {words for words in MARKS if "GPU" not in words}
    look = styles(config["backends"])
    rings = [line for line in top.lines if line.get_markersize() > 1.5 * look[BRUTE]["markersize"] and len(line.get_xdata())]
    assert [ring.get_color() for ring in rings] == [look[BRUTE]["color"]] and rings[0].get_xdata().tolist() == [1, 10]
    faint = {line.get_color() for line in top.lines if line.get_alpha() == FAINT and len(line.get_xdata())}
    assert faint == {look[FLAT]["color"]}
    labels = bottom.get_yticklabels()
    assert [label.get_text() for label in labels][-2:] == ["Control: nothing (CPU)", "Control: chance (CPU)"]
    assert [label.get_color() for label in labels].count(GREY) == 2
    words = [text.get_text() for text in bottom.texts]
    assert any(text.endswith("10 of 50 queries; drift") for text in words) and "K = 1:" not in " ".join(words)
    assert words[-2:] == [
        "50,000,000 queries/s, above the figure; recall 1",
        "250,000 queries/s; recall 0.02",
    ]
    medians = timings[~timings["control"]]["queries_per_s"].dropna()
    assert 2.5e5 < top.get_ylim()[1] < 5e7 and top.get_ylim() == pytest.approx(limits(medians))
    old = read_table(OLD, "timings").query("residency == 'host'")
    *_, below = draw(old, styles(config["backends"])).axes
    assert {words for words in MARKS if words in below.texts[0].get_text()} == {"Solid: exact; dashed: approximate."}


def test_some_k_are_a_subset(folder):
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    timings = read_table(folder, "timings").query("residency == 'host'")
    timings.loc[(timings["backend"] == "sklearn-brute") & (timings["n_neighbors"] == 1), ["queries_timed", "flags"]] = [50, ""]
    bottom = draw(timings, styles(config["backends"])).axes[1]
    assert any("K = 10: 10 of 50 queries; K = 10: drift" in text.get_text() for text in bottom.texts)


def test_calls(folder):
    """One query, batches, and the whole pass, which older tables do not have; of a subset it has fewer queries."""
    results = read(folder)
    rows = results.timings[results.timings["n_neighbors"] == 10].to_dict("records")
    calls = {row["curve"]: each for row, each in zip(rows, calls_of(rows, results.batches), strict=True)}
    assert list(calls["sklearn-brute-cpu"]) == [1, 10] and list(calls["faiss-flat-cpu"]) == [1, 10, 50]
    assert calls["faiss-flat-gpu"] == {} and calls["faiss-flat-cpu"][1][1:] == [None, None, 98]
    whole = results.timings.query("curve == 'faiss-flat-cpu' and n_neighbors == 10")["query_median_s"].item()
    assert calls["faiss-flat-cpu"][50] == [whole]
    long = call_rows(results.timings, results.batches.assign(machine="AMD EPYC, 2 CPUs"))
    assert len(long) == sum(map(len, calls_of(results.timings.to_dict("records"), results.batches)))
    assert set(long[long["subset"]]["batch_size"]) == {10} and set(long[long["subset"]]["backend"]) == {"sklearn-brute"}
    beside = results.timings.assign(machine=results.timings["machine"] + "; H100").to_dict("records")
    assert calls_of(beside, results.batches) == calls_of(results.timings.to_dict("records"), results.batches)


def test_charts_are_drawn(folder, tmp_path):
    out = tmp_path / "toy-euclidean.batches.svg"
    run("plot_charts", "--folder", folder, "--dataset", "toy-euclidean", "--figures", '{"dpi": 50}', "--out", out)
    for words in ("Queries in a call", "Median latency of a call, s", "Control: nothing (CPU)", "Grey: controls."):
        assert words in out.read_text(encoding="utf-8")
    out = tmp_path / "toy-euclidean.recall.svg"
    run("plot_charts", "--folder", folder, "--dataset", "toy-euclidean", "--figures", '{"dpi": 50}', "--out", out)
    assert "Control" not in out.read_text(encoding="utf-8") and "Ringed: a subset" in out.read_text(encoding="utf-8")


def test_the_page_says_it(folder):
    run("check_claims", "--folder", folder, "--out", folder / "claims.csv", "--claims", json.dumps(CLAIM))
    text = page(folder, folder / "claims.csv", folder)
    data = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert {row["curve"] for row in data["controls"]} == {"control-null-cpu", "control-random-cpu"}
    assert not any(row.get("control") for row in data["rows"]) and sum(row.get("subset", False) for row in data["rows"]) == 2
    assert "What bounds it?" in text and "chance scores a recall of 0.02" in text
    assert "over the page's limits (60 s to fit, 10 s for all queries)" in text and "<fieldset><legend>Limits" in text
    assert "<fieldset hidden><legend>Limits" in page(OLD, folder / "claims.csv", folder)
    table = text.split('<table class="sortable">')[1].split("</table>")[0]
    for name in ("queries_timed", "recall_low", "recall_p05", "fit_low_s"):
        assert f'data-name="{name}"' in table
    assert "Control" not in table and table.count("<tr>") == 13


def test_a_page_of_two_machines(folder):
    """Its numbers say of which they are, and what ran nowhere counts once."""
    run("check_claims", "--folder", folder, "--out", folder / "claims.csv", "--claims", json.dumps(CLAIM))
    timings = read_table(folder, "timings").drop(columns="from_version")
    timings.loc[timings["device"] == "gpu", ["cpu", "cpus", "node"]] = None  # as where no job was made of them
    write_rows(timings, folder)
    one = page(folder, folder / "claims.csv", folder)
    ran = timings["cpu"].notna()
    write_rows(pd.concat([timings, timings[ran].assign(cpu="Other", node="other")]), folder)
    two = page(folder, folder / "claims.csv", folder)
    assert 'data-name="machine"' not in one and 'data-name="machine"' in two
    table = two.split('<table class="sortable">')[1].split("</table>")[0]
    competes = ran[~timings["control"]]
    assert table.count("<tr>") == 1 + 2 * competes.sum() + (~competes).sum()
    assert table.count("Other, 2 CPUs") == competes.sum() == table.count("AMD EPYC, 2 CPUs")
    words = "What did not run, and why: 2 cells"
    assert words in one and words in two and two.count('-failures">2</a>') == 2


def test_charts_of_one_k_count_the_cells_of_that_k(folder, tmp_path):
    out = tmp_path / "toy-euclidean.memory.svg"
    run("plot_charts", "--folder", folder, "--dataset", "toy-euclidean", "--figures", '{"dpi": 50}', "--out", out)
    assert "Of 5 cells, 1 are not here: 1 unavailable." in out.read_text(encoding="utf-8")  # there are two K


def test_others_results_without_a_fit_are_drawn(folder, tmp_path):
    """And without an interval: on the page, in the charts and in the figure."""
    timings = read_table(folder, "timings").drop(columns="from_version")
    unknown = ["fit_s", "fit_low_s", "fit_high_s", "query_low_s", "query_high_s"]
    timings.loc[timings["backend"] == "faiss-hnsw-m4", unknown] = None
    write_rows(timings, folder)
    run("check_claims", "--folder", folder, "--out", folder / "claims.csv", "--claims", json.dumps(CLAIM))
    text = page(folder, folder / "claims.csv", folder)
    assert "nan" not in text.split('<main id="main">')[1].split("<script")[0] and "its interval is not known" in text
    speed, build = tmp_path / "toy-euclidean.svg", tmp_path / "toy-euclidean.build.svg"
    run("plot_speed", "--folder", folder, "--dataset", "toy-euclidean", "--out", speed)
    assert ">not known" in speed.read_text(encoding="utf-8")
    run("plot_charts", "--folder", folder, "--dataset", "toy-euclidean", "--figures", '{"dpi": 50}', "--out", build)
    run("make_tables", "--folder", folder, "--out", tmp_path / "tables")
    assert "no number" not in "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "tables").iterdir())


def test_what_ann_benchmarks_cannot_have_is_named(folder, tmp_path):
    """Its files have a row for each query: a cell that asked some of them is left out, and controls are."""
    generator = np.random.default_rng(0)
    train, test = (generator.normal(size=(size, 4)).astype("f4") for size in (500, 50))
    metric, data = METRICS["euclidean"], tmp_path / "datasets/toy-euclidean.hdf5"
    data.parent.mkdir()
    write_points(data, metric, in_blocks(train), in_blocks(test))
    neighbors, distances = exact_neighbors(metric, train, test)
    write_neighbors(data, neighbors, distances)
    for row in read(folder).timings.dropna(subset=["query_median_s"]).to_dict("records"):
        answer = tmp_path / f"cells/toy-euclidean/{row['curve']}/k{row['n_neighbors']}.round0.npz"
        answer.parent.mkdir(parents=True, exist_ok=True)
        np.savez(answer, ids=neighbors[:, : row["n_neighbors"]])
    places = (
        "--config",
        folder / "config.yaml",
        "--cells",
        tmp_path / "cells",
        "--datasets",
        data.parent,
        "--names",
        '{"toy-euclidean": "toy"}',
    )
    run("export_results", "--timings", folder / "timings.csv", *places, "--out", tmp_path / "out")
    found = sorted(path.parent.name for path in (tmp_path / "out/results").rglob("*.hdf5"))
    assert found == sorted(2 * ["faiss-flat-cpu-batch", "faiss-hnsw-m4-cpu-batch", "sklearn-kd-tree-cpu-batch"])
    said = (tmp_path / "out/left-out.txt").read_text(encoding="utf-8").splitlines()
    assert said == [
        "Asked a subset of the queries:",
        "toy-euclidean: sklearn-brute-cpu, K = 1",
        "toy-euclidean: sklearn-brute-cpu, K = 10",
    ]
    with h5py.File(next((tmp_path / "out/results").rglob("*.hdf5"))) as file:
        assert file["times"].shape == (50,)
