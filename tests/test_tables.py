"""Names that look like numbers or like nothing, words beyond ASCII, words that several share: in tables, figures and pages."""

import gzip
import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import ROOT

from knnbench.config.names import tell_apart
from knnbench.exchange.validate import validate
from knnbench.results.folder import read
from knnbench.results.tables import BATCH, TEXT, read_csv, with_names_apart

SCHEMA = yaml.safe_load((ROOT / "rules/schemas/timings.schema.yaml").read_text(encoding="utf-8"))
ODD = ("1000", "007", "1e5", "1.0", "NA", "None", "nan", "null", "true", "inf", "-", "N/A")
TITLE = "Größe ≥ 1 – 数据"
# Locales, as a user's machine may have them.
LOCALES = {
    "UTF-8": {"PYTHONUTF8": "1"},
    "C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "Latin-1": {"PYTHONIOENCODING": "latin-1"},
}


def test_types_are_those_of_the_schema():
    kinds = {
        name: entry.get("type", "string" if "enum" in entry else "integer") for name, entry in SCHEMA["properties"].items()
    }
    assert {name for name, kind in kinds.items() if "string" in kind} <= set(TEXT)
    assert not {name for name, kind in kinds.items() if "string" not in kind} & set(TEXT)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_text_is_text_and_empty_is_missing(tmp_path, suffix):
    written = pd.DataFrame({"dataset": [*ODD, None], "n": [*range(len(ODD)), None], "reason": None, "exact": True})
    path = tmp_path / f"table.{suffix}"
    written.to_csv(path, index=False)
    table = read_csv(path)
    assert table["dataset"].tolist()[:-1] == list(ODD) and table.isna().sum().to_dict() == {
        "dataset": 1,
        "n": 1,
        "reason": len(ODD) + 1,
        "exact": 0,
    }
    assert table["n"].tolist()[:-1] == list(range(len(ODD))) and table["exact"].dtype == bool
    assert read_csv(path, dtype=object)["dataset"].tolist()[:-1] == list(ODD)


def test_what_shares_words_is_told_apart():
    assert tell_apart([("one", "Mine"), ("two", "Mine"), ("three", "Theirs")]) == {
        ("one", "Mine"): "Mine (one)",
        ("two", "Mine"): "Mine (two)",
        ("three", "Theirs"): "Theirs",
    }
    pairs = [("one", "Mine"), ("two", "Mine"), ("three", "Mine (one)"), ("four", " Mine"), ("five", "R^D"), ("six", "R^{D}")]
    apart = tell_apart(pairs)
    assert len(set(apart.values())) == 6 and apart["three", "Mine (one)"] == "Mine (one)"
    assert apart["one", "Mine"] == "Mine (one) (one)" and apart["five", "R^D"] == "R^D (five)"
    # A table that says so already, of one backend and another that was told apart elsewhere.
    assert tell_apart([("one", "Mine (one)"), ("one", "Mine"), ("two", "Mine")])["one", "Mine"] == "Mine (one)"
    table = pd.DataFrame({"backend": ["one", "two", "one"], "label": ["Mine", "Mine", None], "dataset": "d", "title": "D"})
    assert with_names_apart(table)["label"].tolist()[:2] == ["Mine (one)", "Mine (two)"]
    unique = table.assign(label=["A", "B", "A"])
    assert with_names_apart(unique) is unique


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Results of version 2, whose dataset is called 1000 and backends NA, None, 1e5 and true; two have one label."""
    source, folder = ROOT / "tests/published/v2", tmp_path_factory.mktemp("odd") / "results"
    shutil.copytree(source, folder)
    names = {
        "toy-euclidean": "1000",
        "sklearn-kd-tree": "NA",
        "sklearn-brute": "None",
        "faiss-hnsw-m4": "1e5",
        "faiss-flat": "true",
    }
    labels = {
        "sklearn, KD-tree": "nan",
        "sklearn, brute force": TITLE,
        "FAISS-HNSW, M=4": TITLE,
        "FAISS-Flat": "1",
        "Toy": TITLE,
    }
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    for old, new in names.items():
        config = config.replace(old, f"'{new}'")
    (folder / "config.yaml").write_text(config, encoding="utf-8")
    for path in folder.glob("*.csv"):
        table = pd.read_csv(path, dtype=object, keep_default_na=False).replace(names | labels)
        for column in {"faster", "slower"} & set(table.columns):
            for old, new in names.items():
                table[column] = table[column].str.replace(f"{old}-", f"{new}-")
        table.to_csv(path, index=False)
    with gzip.open(folder / "samples.csv.gz", "wb") as packed:
        packed.write((folder / "samples.csv").read_bytes())
    (folder / "samples.csv").unlink()
    ceiling = {"status": "failed", "reason": TITLE, "machine": {"cpu": "AMD EPYC", "cpus": 2}}
    provenance = {"ceilings": {"cpu": ceiling}, "datasets": {}, "commit": None, "changed": [], "environments": {}}
    provenance |= dict.fromkeys(("measured", "python", "snakemake")) | {"nodes": []}
    (folder / "provenance.json").write_text(json.dumps(provenance), encoding="utf-8")
    return folder


def test_odd_names_are_as_good_as_others(odd):
    assert validate(odd, SCHEMA) == []
    results = read(odd)
    assert set(results.timings["dataset"]) == {"1000"} and set(results.samples["backend"]) <= {"NA", "None", "1e5", "true"}
    labels = results.timings.drop_duplicates("backend").set_index("backend")["label"].to_dict()
    assert labels == {"NA": "nan", "None": f"{TITLE} (None)", "1e5": f"{TITLE} (1e5)", "true": "1"}


def made(script, locale, *arguments):
    """What a script prints in a locale."""
    command = [sys.executable, ROOT / f"scripts/{script}.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, env=os.environ | LOCALES[locale])
    assert done.returncode == 0, (script, done.stderr.decode(errors="replace")[-2000:])
    return done.stdout


@pytest.mark.full
def test_everything_is_made_of_odd_names_in_any_locale(odd, tmp_path):
    claim = {"says": TITLE, "datasets": ["1000"], "slower": {"backends": ["None-cpu"]}, "faster": {"backends": ["NA-cpu"]}}
    claims, report, tables = (tmp_path / name for name in ("claims.csv", "report.html", "tables"))
    speed, roofline, recall = (tmp_path / f"{name}.svg" for name in ("1000", "roofline", "1000.recall"))
    files, section = ("--config", odd / "config.yaml", "--timings", odd / "timings.csv"), ("--figures", '{"dpi": 100}')
    made("check_claims", "C", "--folder", odd, "--claims", json.dumps({"c": claim | {"ratio": [0, 1e9]}}), "--out", claims)
    made("make_tables", "C", "--folder", odd, "--out", tables)
    made("make_report", "C", "--folder", odd, "--claims", claims, "--logs", tmp_path, "--out", report)
    made("plot_speed", "C", "--folder", odd, "--dataset", "1000", "--out", speed)
    made("plot_roofline", "C", *files, "--provenance", odd / "provenance.json", "--out", roofline)
    made("plot_charts", "C", "--folder", odd, "--dataset", "1000", *section, "--out", recall)
    made("merge", "C", "--sources", odd, *section, "--out", tmp_path / "merged")
    page, table = (path.read_text(encoding="utf-8") for path in (report, tables / "1000.md"))
    for name in (f"{TITLE} (None) (CPU)", f"{TITLE} (1e5) (CPU)", "nan (CPU)", "1 (CPU)"):
        assert page.count(f'data-curve="{name}"') == 1 and f"| {name}" in table
        assert name.encode() in speed.read_bytes() and name.encode() in recall.read_bytes()
    assert TITLE.encode() in roofline.read_bytes()
    assert read_csv(claims)["verdict"].tolist() == ["holds", "holds"]
    merged, timings = read_csv(tmp_path / "merged/timings.csv"), read_csv(odd / "timings.csv")
    assert merged[["dataset", "backend", "label", "title"]].equals(timings[["dataset", "backend", "label", "title"]])
    assert "  1 (CPU)" in (tmp_path / "merged/summary.txt").read_text(encoding="utf-8")


def test_what_merged_results_share_is_told_apart(odd, tmp_path):
    """A label that each source has once; and a backend has one label, as the first source calls it."""
    for name, label in (("1e5", "Mine"), ("two", "Mine"), ("1e5", "Another")):
        folder = tmp_path / f"{name} {label}"
        shutil.copytree(odd, folder)
        for path in (folder / "timings.csv", folder / "samples.csv.gz", folder / "batches.csv"):
            rows = pd.read_csv(path, dtype=object, keep_default_na=False)
            rows = rows[rows["backend"] == "1e5"].assign(backend=name)
            if "label" in rows:
                rows = rows.assign(label=label, node=label, cpu=label)
            rows.to_csv(path, index=False)
        (folder / "batches.csv").write_text(f"{','.join(BATCH)}\n", encoding="utf-8")
    made("merge", "C", "--sources", *sorted(tmp_path.iterdir(), reverse=True), "--figures", "{}", "--out", tmp_path / "merged")
    merged = read_csv(tmp_path / "merged/timings.csv")
    labels = merged.groupby("backend")["label"].unique().map(list).to_dict()
    assert labels == {"1e5": ["Mine (1e5)"], "two": ["Mine (two)"]} and len(merged) == 6


@pytest.mark.parametrize("locale", LOCALES)
def test_a_title_is_printed_in_any_locale(odd, locale):
    ask = {
        "n_train": 500,
        "dimension": 4,
        "metric": "euclidean",
        "n_neighbors": 10,
        "recall": 0,
        "n_queries": 9,
        "device": "cpu",
    }
    shown = {"UTF-8": TITLE.encode(), "C": rb"Gr\xf6\xdfe \u2265 1", "Latin-1": "Größe \\u2265 1".encode("latin-1")}
    assert shown[locale] in made("recommend", locale, "--folders", odd, "--ask", json.dumps(ask))
