"""A number keeps its doubt on every road to its reader: tables, words, figures, charts, the report, answers."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, run

from knnbench.draw.chart_files import CONFIG, draw_files
from knnbench.draw.charts import VIEWS, encodings
from knnbench.draw.compare_runs import figure as figure_of_comparison
from knnbench.draw.figures import COLOURS, CUT, OTHER_COLOURS, limits, places, styles
from knnbench.draw.page import page
from knnbench.draw.speed import draw
from knnbench.draw.typeset import Latex, Markdown, write_table
from knnbench.results.findings import ends_of, interval_of, intervals_of
from knnbench.results.flags import WORDS
from knnbench.results.folder import read, read_timings
from knnbench.results.recommend import recommend
from knnbench.results.tables import MODERATED, ONE_ROUND, read_csv
from knnbench.results.words import summarise
from plot_charts import panel

SINGLE = ROOT / "published/cpu-2core-modern"  # of one round
FLAGS_IN_DOCS = (ROOT / "docs/results.md").read_text(encoding="utf-8").split("| `flags` |")[1].split("\n")[0]
NAME = re.compile(r"95\s?%")


def test_the_two_ends_have_the_right_name():
    row = {"queries_per_s_low": 381.2, "queries_per_s_high": 539.4, "query_interval": MODERATED}
    assert (ends_of(row), interval_of(row)) == ("381 to 539", "95% interval 381 to 539")
    assert interval_of(row | {"query_interval": "own rounds"}) == "95% interval 381 to 539"
    assert interval_of(row | {"query_interval": ONE_ROUND}) == "spread of one round 381 to 539"
    assert interval_of(row | {"queries_per_s_low": None, "query_interval": None}) == ""
    kinds = {"95% intervals": [MODERATED, None], "spread of one round": [ONE_ROUND], "": [None]}
    kinds["95% intervals, or the spread of one round where a cell has no more"] = [MODERATED, ONE_ROUND]
    for words, made in kinds.items():
        assert intervals_of(pd.DataFrame({"query_interval": made})) == words


@pytest.fixture(scope="module")
def single():
    return read(SINGLE)


def test_ends_without_use_are_not_written_out():
    row = {"queries_per_s_low": 2e-11, "queries_per_s_high": 3e18, "query_interval": "own rounds"}
    assert interval_of(row) == "95% interval wider than a factor of 1,000"


def test_one_round_is_one_round_in_tables(single, tmp_path):
    assert set(single.points.dropna(subset=["query_median_s"])["query_interval"]) == {ONE_ROUND}
    assert single.points["query_freedom"].isna().all() and set(single.comparisons["verdict"]) == {"undecided"}
    assert single.comparisons[["ratio_low", "ratio_high", "confidence"]].isna().all(axis=None)
    run("trace_curves", "--folder", SINGLE, "--out", tmp_path / "curves.csv")
    assert set(read_csv(tmp_path / "curves.csv")["query_interval"]) == {ONE_ROUND}
    run("make_tables", "--folder", SINGLE, "--out", tmp_path / "tables")
    texts = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "tables").iterdir()}
    assert not [name for name, text in texts.items() if NAME.search(text.replace("\\", ""))]
    assert (
        "in parentheses: spread of one round" in texts["rd-c.recalls.md"] and "spread of one round" in texts["rd-c.recalls.tex"]
    )
    assert "One round per cell: nothing is bold" in texts["rd-c.md"] and "**" not in texts["rd-c.md"]


def test_a_table_of_both_says_which_is_which(single, tmp_path):
    """Some cells have several rounds, and others one."""
    timings = read_timings(SINGLE)
    several = (timings["family"] == "hnswlib") & timings["query_median_s"].notna()
    timings.loc[several, ["query_interval", "query_freedom", "rounds"]] = [MODERATED, 5.0, 3]
    folder = tmp_path / "results"
    folder.mkdir()
    for path in SINGLE.glob("*.[cy]*"):
        (folder / path.name).write_bytes(path.read_bytes())
    timings[~timings["control"]].drop(columns="from_version").to_csv(folder / "timings.csv", index=False)
    (folder / "controls.csv").unlink()
    run("make_tables", "--folder", folder, "--out", tmp_path / "tables")
    text = (tmp_path / "tables/rd-c.recalls.md").read_text(encoding="utf-8")
    assert "in parentheses: 95% intervals, or the spread of one round where a cell has no more" in text
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("| ")}
    assert "spread" not in lines["hnswlib (CPU)"] and "(spread of one round 381 to 539)" in lines["FAISS-Flat (CPU)"]


def test_one_round_is_one_round_in_words(single, capsys):
    text = summarise(pd.concat([single.points, single.controls]), single.comparisons)
    assert not NAME.search(text) and "sklearn, KD-tree (CPU), spread of one round 453 to 545\n" in text
    assert "nothing was decided, since each cell has one round" in text
    ask = {"n_train": 1e6, "dimension": 10, "metric": "euclidean", "n_neighbors": 10, "recall": 0.9, "n_queries": 1e5}
    run("recommend", "--folders", SINGLE, "--ask", json.dumps(ask | {"device": "cpu"}))
    said = capsys.readouterr().out
    places = [line for line in said.splitlines() if "rests on" in line]
    assert len(places) == 5 and all("; spread of one round" in line for line in places) and not NAME.search(said)


def test_one_round_is_one_round_in_the_report(single, tmp_path):
    text = page(SINGLE, SINGLE / "claims.csv", tmp_path)
    shown = text.split('<section id="summary"')[1].split('<section id="about"')[0]
    shown = shown.replace("one query, 95%", "")  # what so many of the calls take
    assert not NAME.search(shown) and "Bars: spread of one round, on one scale." in shown
    assert "nothing was decided, since each cell has one round" in shown and "(CPU): 495 queries/s" in shown
    data = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    timed = [row for row in data["points"] if "queries_per_s" in row]
    assert timed and all(row["interval"].startswith("spread of one round ") for row in timed)
    assert {row["query_interval"] for row in timed} == {ONE_ROUND}
    views = {name: view for name, view in data["views"].items() if name not in ("latency", "batches")}
    assert not NAME.search(json.dumps(views))  # of the others: those draw what 95% of the calls take


def drawn(results, tmp_path, rows):
    """The figure of speeds, and the chart of recall as SVG, of some points of a curve."""
    timings = results.timings[results.timings["n_neighbors"] == 10]
    stands = rows[rows["backend"].isin(timings["backend"])]
    figure = draw(stands, styles(results.config["backends"]))
    spec = panel("recall", rows, results.batches, encodings(rows, results.config["backends"]), 10)
    draw_files({"config": CONFIG, **spec}, [tmp_path / "chart.svg"], 50)
    return figure, (tmp_path / "chart.svg").read_text(encoding="utf-8")


def test_one_round_is_one_round_in_figures(single, tmp_path):
    rows = single.points.dropna(subset=["query_median_s"])
    figure, chart = drawn(single, tmp_path, rows)
    assert "Bars: spread of one round." in figure.axes[2].texts[0].get_text()
    assert "Bars: spread of one round." in chart and not NAME.search(chart)
    captions = {
        name: (ROOT / f"rules/captions/{name}.rst").read_text(encoding="utf-8") for name in ("speed", "recall", "curves")
    }
    assert all("spread of one round" in text for text in captions.values())


def test_an_interval_of_ten_decades_does_not_set_the_axis(single, tmp_path):
    """Axes have the limits of the medians; what goes on beyond them has an arrow, and the caption says so."""
    rows = single.points.dropna(subset=["query_median_s"]).copy()
    quiet, _ = drawn(single, tmp_path, rows)
    assert CUT not in quiet.axes[2].texts[0].get_text()
    flat = rows["backend"] == "faiss-flat"
    for name, ends in (("query", ("query_low_s", "query_high_s")), ("fit", ("fit_low_s", "fit_high_s"))):
        middle = rows.loc[flat, "query_median_s" if name == "query" else "fit_s"]
        rows.loc[flat, list(ends)] = np.array([[1e-5, 1e5]]) * middle.to_numpy()[:, None]
    rows["queries_per_s_low"], rows["queries_per_s_high"] = (
        rows["queries"] / rows[f"query_{end}_s"] for end in ("high", "low")
    )
    figure, chart = drawn(single, tmp_path, rows)
    top, bottom, below = figure.axes
    stands = rows[rows["backend"].isin(single.timings["backend"])]
    assert top.get_ylim() == pytest.approx(limits(stands["queries_per_s"]))
    assert top.get_ylim()[1] < 3 * stands["queries_per_s"].max() and top.get_ylim()[0] > stands["queries_per_s"].min() / 3
    arrows = {(line.get_marker(), float(line.get_ydata()[0])) for line in top.lines if line.get_marker() in ("v", "^")}
    assert {("v", top.get_ylim()[0]), ("^", top.get_ylim()[1])} <= arrows
    assert bottom.get_xlim() == quiet.axes[1].get_xlim()
    ends = {(line.get_marker(), float(line.get_xdata()[0])) for line in bottom.lines if line.get_markersize() == 4}
    assert {marker for marker, _ in ends} == {"<", ">"}
    assert all(bottom.get_xlim()[0] <= fit <= 10 * stands["fit_s"].max() for _, fit in ends)
    assert CUT in below.texts[0].get_text().replace("\n", " ") and CUT in chart
    assert chart.count(">▲</text>") == chart.count(">▼</text>") == flat.sum()
    numbers = [float(text.replace(",", "")) for text in re.findall(r">([\d,]+(?:\.\d+)?)</text>", chart)]
    assert max(numbers) < 10 * rows["queries_per_s"].max()


def test_a_ratio_of_ten_decades_does_not_set_the_axis():
    cells = {"dataset": "data", "backend": ["a", "b"], "device": "cpu", "n_neighbors": 10, "residency": "host"}
    cells |= {"normalised": [1.0, 1.2], "normalised_low": [1e-5, 1.1], "normalised_high": [1e5, 1.3], "verdict": "undecided"}
    spec = figure_of_comparison(pd.DataFrame(cells), "words", 0.25)
    wide, narrow = spec["data"]["values"]
    assert 0.5 < wide["low"] < 0.8 and 1.25 < wide["high"] < 2 and (wide["low_arrow"], wide["high_arrow"]) == ("◀", "▶")
    assert (narrow["low"], narrow["high"], narrow["low_arrow"], narrow["high_arrow"]) == (1.1, 1.3, "", "")
    assert CUT in spec["title"]["subtitle"]


@pytest.mark.parametrize("flag", WORDS)
def test_every_flag_along_every_road(single, flag):
    """A number that is doubted is marked in tables for papers, in the summary, in answers and in the docs."""
    rows = single.timings.dropna(subset=["query_median_s"])
    rows = rows[(rows["residency"] == "host") & (rows["status"] == "ok")].iloc[[0]].assign(flags=flag, at_k="K = 10")
    for form in (Latex, Markdown):
        text = write_table(form, rows, "at_k", single.comparisons, {}, "caption", "label")
        assert form.text(WORDS[flag]) in text
        plain = write_table(form, rows.assign(flags=None), "at_k", single.comparisons, {}, "caption", "label")
        assert form.text(WORDS[flag]) not in plain
    row = rows.astype(object).where(rows.notna(), None).iloc[0].to_dict()
    ask = {"n_train": row["n"], "dimension": row["d"], "n_neighbors": row["n_neighbors"], "n_queries": 100}
    ranked, _ = recommend(ask | {"metric": row["metric"], "recall": 0, "device": "any"}, [row])
    assert f"flagged {flag}" in ranked[0]["doubts"]
    table = read_csv(SINGLE / "timings.csv")
    assert f"1 {flag}" in summarise(table.assign(flags=[flag, *[None] * (len(table) - 1)]), single.comparisons)
    for name in ("results", "measuring"):
        if (name, flag) != ("measuring", "imported"):  # nothing is measured of these
            assert f"`{flag}`" in (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")


def test_flags_are_those_that_have_words():
    """No flag is given that no footnote explains, and the docs list them all."""
    code = "".join((ROOT / f"scripts/knnbench/results/{name}.py").read_text(encoding="utf-8") for name in ("flags", "gather"))
    given = set(re.findall(r'^ {8}"(\w+)": ', code, re.MULTILINE)) & set(re.findall(r"`(\w+)`", FLAGS_IN_DOCS))
    assert given <= set(WORDS) and {"small_subset", "noisy", "drift"} <= given


def test_controls_and_unknown_recalls_are_in_no_front():
    """Controls bound the others; what nobody knows the recall of stands at none."""
    layers = VIEWS["recall"][0]({"color": {}, "shape": {}})
    assert {"filter": "isValid(datum.recall)"} in layers["transform"]
    assert layers["layer"][0]["transform"][0] == {"filter": "!datum.control"}


def test_no_library_has_the_grey_of_controls(single):
    def greyish(colour):
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        return max(red, green, blue) - min(red, green, blue) < 24 and 60 < red < 210

    colours = {name: colour for name, (_, colour, _) in places(single.config["backends"]).items()}
    controls = {name for name, entry in single.config["backends"].items() if entry["module"] == "control"}
    assert {name for name, colour in colours.items() if greyish(colour)} <= controls
    assert len(set(OTHER_COLOURS) | set(COLOURS.values())) == len(OTHER_COLOURS) + len(COLOURS)
