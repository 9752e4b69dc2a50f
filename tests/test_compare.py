"""Comparisons with a baseline and published results: every verdict, on tables that were changed on purpose."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, run, snakemake

from knnbench.exchange.validate import validate
from knnbench.system.archive import pack

PUBLISHED = ROOT / "tests/published"
SCHEMA = yaml.safe_load((ROOT / "rules/schemas/timings.schema.yaml").read_text())
CELL = ["dataset", "backend", "device", "n_neighbors", "residency"]
BRUTE = {"backend": "sklearn-brute", "device": "cpu", "n_neighbors": 10}


@pytest.fixture
def baseline(tmp_path):
    """Results of two rounds; the rounds of each cell are made equal but for 1%, so that verdicts are certain."""
    folder = tmp_path / "baseline"
    shutil.copytree(PUBLISHED / "v2", folder)
    timings, samples = (pd.read_csv(folder / f"{name}.csv", dtype={"reason": object}) for name in ("timings", "samples"))
    for number, row in timings.iterrows():
        here = (samples[CELL] == row[CELL]).all(axis=1) & samples["batch"].isna()
        for each in (0, 1):
            samples.loc[here & (samples["round"] == each), "seconds"] = row["query_median_s"] * (1 + 0.0001 * each)
        timings.loc[number, ["query_low_s", "query_high_s"]] = row["query_median_s"] * np.array([0.99, 1.01])
    timings["flags"] = ""
    timings.to_csv(folder / "timings.csv", index=False)
    samples.to_csv(folder / "samples.csv", index=False)
    return folder


def change(folder, new, factor=1, cell=BRUTE, **columns):
    """A copy of results in which one cell takes `factor` times as long and has other values in `columns`."""
    shutil.copytree(folder, new)
    for name in ("timings", "samples"):
        table = pd.read_csv(new / f"{name}.csv", dtype={"reason": object, "flags": object})
        here = np.logical_and.reduce([table[key] == value for key, value in cell.items()])
        for column in {"timings": [f"query_{each}_s" for each in ("median", "low", "high")], "samples": ["seconds"]}[name]:
            table.loc[here, column] *= factor
        if name == "timings":
            for column, value in columns.items():
                table.loc[here, column] = value
        table.to_csv(new / f"{name}.csv", index=False)
    return new


def compare(base, new, fail_on=()):
    """What compare.py says: the cells, the orderings, its words, and what --fail-on found."""
    out = new.parent / f"{new.name}.compared"
    out.mkdir()
    names = {name: out / name for name in ("cells", "orderings", "summary", "failures")}
    files = [word for name, path in names.items() for word in (f"--{name}", path)]
    limits = ("--within", 0.25, "--recall-within", 0.01, "--dpi", 60, "--fail-on", *fail_on)
    run("compare", "--baseline", base, "--folder", new, *limits, *files, "--figures", out / "figure.svg")
    tables = (pd.read_csv(names[name], keep_default_na=False) for name in ("cells", "orderings"))
    assert "svg" in (out / "figure.svg").read_text()
    return *tables, names["summary"].read_text(), names["failures"].read_text()


def verdict_of(cells):
    return cells[np.logical_and.reduce([cells[key] == value for key, value in BRUTE.items()])].iloc[0]


@pytest.mark.parametrize(
    ("factor", "columns", "verdict"),
    [
        (1.0, {}, "reproduced"),
        (1.2, {}, "reproduced"),
        (1.6, {}, "slower"),
        (0.5, {}, "faster"),
        (1.0, {"recall": 0.9}, "answer changed"),
        (1.0, {"dataset_sha256": "0" * 64}, "not comparable"),
        (1.0, {"parameters": "{}"}, "not comparable"),
        (np.nan, {"status": "timeout_query", "reason": "query was ended at its time limit"}, "slower"),
        # How long a pass takes is not known where something else took too long.
        (np.nan, {"status": "timeout_query", "reason": "compile was ended at its time limit"}, "answer changed"),
        (np.nan, {"status": "crashed", "reason": "SIGSEGV during query"}, "answer changed"),
        (np.nan, {"status": "unavailable", "reason": "no such library"}, "missing"),
        (np.nan, {"status": "not_needed", "reason": "a curve ends"}, "not measured"),  # a point earlier than the other one
    ],
)
def test_verdicts(baseline, tmp_path, factor, columns, verdict):
    cells, orderings, words, failures = compare(
        baseline, change(baseline, tmp_path / "new", factor, **columns), ["slower", "missing"]
    )
    found = verdict_of(cells)
    assert found["verdict"] == verdict, found
    others = cells.drop(found.name)["verdict"]
    assert set(others) == {"reproduced", "not measured"}
    assert failures == (f"1 {verdict}" if verdict in ("slower", "missing") else "")
    assert words.splitlines()[0].startswith(
        f"{(orderings['verdict'] == 'holds').sum()} of {len(orderings)} orderings of backends hold"
    )


def test_an_interval_with_a_bound_in_it(baseline, tmp_path):
    new = change(baseline, tmp_path / "new", 1.25)
    assert verdict_of(compare(baseline, new)[0])["verdict"] == "undecided"


def test_a_reversed_ordering(baseline, tmp_path):
    """The fastest becomes the slowest: its orderings are reversed and said to be unexplained; a flag explains them."""
    fast = {"backend": "faiss-flat", "device": "cpu", "n_neighbors": 10}
    for flag, expected in (("", "unexplained"), ("noisy", "is noisy here")):
        new = change(baseline, tmp_path / f"new{flag}", 1e4, fast, flags=flag)
        _, orderings, words, failures = compare(baseline, new, ["reversed"])
        reversed_ones = orderings[orderings["verdict"] == "reversed"]
        assert len(reversed_ones) >= 2 and "faiss-flat-cpu" in set(reversed_ones["faster"])
        assert f"{len(orderings) - len(reversed_ones)} of {len(orderings)}" in words and expected in words
        assert failures == f"{len(reversed_ones)} reversed"


def test_another_machine_is_normalised_by_its_ceilings(baseline, tmp_path):
    """Twice the time on a machine with half the operations and bytes per second is what is to be expected."""
    new = change(baseline, tmp_path / "new", 2.0, {"device": "cpu"})
    timings = pd.read_csv(new / "timings.csv")
    timings["cpu"] = timings["cpu"].where(timings["cpu"].isna(), "Another CPU")
    timings.to_csv(new / "timings.csv", index=False)
    for folder, speed in ((baseline, 1e9), (new, 5e8)):
        ceilings = {"cpu": {"status": "ok", "operations_per_s": speed, "bytes_per_s": speed}}
        (folder / "provenance.json").write_text(json.dumps({"ceilings": ceilings}))
    cells, _, words, _ = compare(baseline, new)
    assert set(cells["verdict"]) == {"reproduced", "not measured"} and "normalised" in words
    assert float(verdict_of(cells)["expected_ratio"]) == pytest.approx(2)
    (new / "provenance.json").unlink()
    found = verdict_of(compare(baseline, new.rename(tmp_path / "unknown"))[0])
    assert found["verdict"] == "slower" and "a ceiling is not known" in found["why"]


@pytest.mark.full
def test_an_archive_as_baseline_and_the_gate(baseline, tmp_path, project):
    """As a library's CI would: the exit status is 1 for what fail_on names, and the summary is printed again each time."""
    (tmp_path / "tree/published").mkdir(parents=True)
    shutil.copytree(baseline, tmp_path / "tree/published/old")
    pack(tmp_path / "tree", tmp_path / "artifact.zip")
    new = change(baseline, tmp_path / "new", 1.6)
    settings = [f"baseline={tmp_path / 'artifact.zip'}", f"candidate={new}", "figures={formats: [svg]}"]
    for fail_on, status in (("[]", 0), ("[slower]", 1), ("[slower]", 1), ("[faster, answer changed]", 0)):
        arguments = ("--quiet", "rules", "--config", *settings, f"fail_on={fail_on}", "--", "compare")
        done = snakemake(*arguments, cwd=project, check=False)
        assert done.returncode == status and "orderings of backends hold" in done.stdout, done.stdout
        assert ("fail_on: 1 slower" in done.stdout) == (status == 1)
    done = snakemake("-n", "--config", f"baseline={tmp_path / 'none'}", "--", "compare", cwd=project, check=False)
    assert done.returncode == 1 and "baseline: " in done.stdout and "expected a folder with timings.csv" in done.stdout


@pytest.mark.full
@pytest.mark.parametrize(
    "folder", [PUBLISHED / "v1", PUBLISHED / "v2", PUBLISHED / "v3", ROOT / "published/cpu-2core"], ids=lambda path: path.name
)
def test_every_version_is_readable(folder, tmp_path):
    """Tables of each version are right, and the page, the tables and the claims can be made of them."""
    assert validate(folder, SCHEMA) == []
    (tmp_path / "claims").write_text("{}")
    run("check_claims", "--folder", folder, "--claims", "{}", "--out", tmp_path / "claims.csv")
    run(
        "make_report",
        "--folder",
        folder,
        "--claims",
        tmp_path / "claims.csv",
        "--logs",
        tmp_path,
        "--out",
        tmp_path / "report.html",
    )
    run("make_tables", "--folder", folder, "--out", tmp_path / "tables")
    assert (tmp_path / "report.html").stat().st_size > 500_000 and (tmp_path / "tables/suite.md").read_text().count("|") > 10
    cells, *_ = compare(folder, shutil.copytree(folder, tmp_path / "copy"))
    assert not set(cells["verdict"]) & {"faster", "slower", "answer changed", "missing", "not comparable"}
    old = pd.read_csv(folder / "timings.csv")["schema_version"][0]
    newer = shutil.copytree(folder, tmp_path / "newer")
    for name in ("timings.csv", "controls.csv"):  # read together
        if (newer / name).exists():
            (newer / name).write_text((folder / name).read_text().replace(f"\n{old},", "\n99,"))
    assert "schema_version is 99, this knnbench reads 1 to 4" in validate(newer, SCHEMA)[0]


def test_the_validator_says_what_is_wrong(baseline):
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/validate_results.py", PUBLISHED / "v2", baseline], capture_output=True, text=True
    )
    assert done.returncode == 1 and f"{PUBLISHED / 'v2'}: right" in done.stdout
    assert "query_median_s is" in done.stdout  # the fixture's samples are not those of its medians
