"""From records to rows, words and figures: nothing that happened to a cell gets lost on the way."""

import subprocess
import sys

import jsonschema
import pandas as pd
import pytest
import yaml
from conftest import ROOT

from knnbench.config import Cell
from knnbench.figures import styles
from knnbench.results import row, sample_rows, summarise
from plot_speed import draw

SCHEMA = yaml.safe_load((ROOT / "rules/schemas/timings.schema.yaml").read_text())
BACKENDS = {
    "fast": {"label": "Fast", "module": "keops", "exact": True, "environments": {"cpu": "keops"}},
    "rough": {"label": "Rough", "module": "faiss", "exact": False, "environments": {"cpu": "faiss-cpu"}},
    "absent": {"label": "Absent", "module": "torch", "exact": True, "environments": {"cpu": "torch"}},
}
CONFIG = {"suite": "s", "datasets": {"data": {"title": "R^D"}}, "backends": BACKENDS}
DATASET = {"distance": "euclidean", "n": 1000, "dimension": 3, "q": 100}
MACHINE = {"node": "here", "cpu": "A CPU", "cpus": 2, "load": [0.5, 1.5]}


def record(status="ok", samples=(2, 1, 3), **found):
    """A record whose samples are given in seconds."""
    measured = {
        "query_ns": {"host": [int(s * 1e9) for s in samples]},
        "phases_ns": {"import": 5e8, "load": 1e6, "transfer": 1e9, "train": 2e9, "first_query": 9e9},
        "memory_bytes": {"loaded": 10, "fit": 20, "query": 30},
        "recall": 1.0,
        "recall_ids": 0.99,
        "threads": 2,
    }
    always = {
        "schema_version": 1,
        "started": "2026-01-01T00:00:00Z",
        "parameters": {},
        "environment": "keops",
        "machine": MACHINE,
        "max_rss_bytes": 40,
        "status": status,
        "reason": "" if status == "ok" else f"because of {status}",
    }
    return always | (measured if samples else {}) | found


def rows_of(**statuses):
    """Rows of backend -> (status at K = 10, status at K = 50)."""
    rows = []
    for backend, pair in statuses.items():
        for k, status in zip((10, 50), pair, strict=True):
            ran = status in ("ok", "low_recall")
            each = record(status, (2, 1, 3) if ran else (), **({"recall": 0.5} if status == "low_recall" else {}))
            rows.append(row(CONFIG, Cell("data", backend, "cpu", k), DATASET, [each], "host"))
    return rows


def test_row():
    got = row(CONFIG, Cell("data", "fast", "cpu", 10), DATASET, [record()], "host")
    jsonschema.validate(got, SCHEMA)
    assert set(got) == set(SCHEMA["properties"])
    assert (got["query_median_s"], got["query_low_s"], got["query_high_s"], got["queries_per_s"]) == (2, 1, 3, 50)
    assert (got["fit_s"], got["transfer_s"], got["train_s"], got["add_s"]) == (3, 1, 2, None)
    assert (got["loaded_bytes"], got["fit_bytes"], got["query_bytes"], got["max_rss_bytes"]) == (10, 20, 30, 40)


def test_every_column_is_documented():
    text = (ROOT / "docs/results.md").read_text()
    assert [name for name in SCHEMA["properties"] if f"`{name}`" not in text] == []


@pytest.mark.parametrize("order", [1, -1])
def test_rounds_report_the_worst_and_keep_every_sample(order):
    records = [record("low_recall"), record("crashed", (7,)), record()][::order]
    got = row(CONFIG, Cell("data", "fast", "cpu", 10), DATASET, records, "host")
    assert (got["status"], got["reason"], got["rounds"], got["repeats"]) == ("crashed", "because of crashed", 3, 7)
    assert got["query_median_s"] is None and got["query_max_s"] == 7
    assert len(sample_rows(Cell("data", "fast", "cpu", 10), records)) == 7


def test_rounds_are_pooled():
    got = row(CONFIG, Cell("data", "fast", "cpu", 10), DATASET, [record(), record(samples=(4, 5, 6))], "host")
    assert (got["query_median_s"], got["repeats"], got["rounds"]) == (3.5, 6, 2)


def test_summary():
    timings = pd.DataFrame(rows_of(fast=("ok", "timeout_query"), rough=("low_recall", "ok"), absent=("unavailable",) * 2))
    text = summarise(timings)
    assert "6 rows, 2 ok, 2 unavailable, 1 timeout_query, 1 low_recall" in text
    assert "Fastest exact backend at K = 10" in text and "50  Fast (CPU)" in text
    assert "timeout_query, 1 rows: because of timeout_query: fast-cpu" in text
    assert "unavailable, 2 rows: because of unavailable: absent-cpu" in text


def test_figure_shows_what_stopped_and_what_was_not_measured():
    timings = pd.DataFrame(rows_of(fast=("ok", "timeout_query"), rough=("low_recall", "ok"), absent=("unavailable",) * 2))
    figure = draw(timings, styles(BACKENDS))
    top, bottom = figure.axes
    markers = [line.get_marker() for line in top.lines]
    assert markers.count("x") == 1
    assert any(line.get_markerfacecolor() == "white" and len(line.get_xdata()) for line in top.lines)
    words = " ".join(text.get_text() for text in [*figure.texts, *bottom.texts])
    assert "K = 50: timeout_query" in words and "recall 0.50–1.00" in words
    assert "unavailable: because of unavailable: Absent (CPU)" in words


def test_same_numbers_same_files(tmp_path):
    """Each figure is drawn by a process of its own, as in the workflow."""
    pd.DataFrame(rows_of(fast=("ok", "ok"), rough=("low_recall", "ok"))).to_csv(tmp_path / "timings.csv", index=False)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"figures": {"dpi": 100}}))
    command = [sys.executable, ROOT / "scripts/plot_speed.py", "--config", "config.yaml", "--timings", "timings.csv"]
    names = [f"figure.{suffix}" for suffix in ("png", "svg", "pdf")]
    files = []
    for _ in range(2):
        subprocess.run([*command, "--dataset", "data", "--out", *names], cwd=tmp_path, check=True)
        files += [(tmp_path / name).read_bytes() for name in names]
    assert files[:3] == files[3:]
