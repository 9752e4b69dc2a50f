"""Draw the charts of one dataset: recall, build time, break-even, batches, memory and phases."""

import argparse
import itertools
import json
import textwrap
from pathlib import Path

import pandas as pd

from knnbench.config.names import plain
from knnbench.draw.calls import call_rows
from knnbench.draw.chart_files import CONFIG, NOTHING, draw_files
from knnbench.draw.charts import VIEWS, encodings
from knnbench.draw.figures import CUT, key, limits
from knnbench.measure.statuses import MISSING
from knnbench.results.findings import break_even_words, intervals_of
from knnbench.results.folder import read
from knnbench.results.words import typical_k

WIDTH = 110  # letters of a line
BARS = ("memory", "phases")


def is_cut(rows):
    """Whether an interval goes on beyond the axis of speeds in the panel of its K."""
    ends = rows.groupby("n_neighbors")["queries_per_s"].agg(limits).loc[rows["n_neighbors"]]
    low, high = (rows[f"queries_per_s_{end}"].to_numpy() for end in ("low", "high"))
    return any(low < [least for least, _ in ends]) or any(high > [most for _, most in ends])


def panel(kind, rows, batches, look, k):
    """Specification of one machine's chart."""
    make, title, every_k = VIEWS[kind]
    first = rows.iloc[0]
    rows = rows if every_k else rows[rows["n_neighbors"] == k]
    chosen = rows.dropna(subset=["query_median_s"])
    marks = "NumPy in, NumPy out." if kind in BARS else f"{key(chosen)} NumPy in, NumPy out.".strip()
    subtitle = [first["machine"], *textwrap.wrap(marks, WIDTH)] if first["machine"] else textwrap.wrap(marks, WIDTH)
    cells = rows[~rows["control"]]
    without = cells[cells["status"].isin(MISSING)]
    if len(without):
        counts = ", ".join(f"{count} {status}" for status, count in without["status"].value_counts().items())
        subtitle.append(f"Of {len(cells)} {'points' if every_k else 'cells'}, {len(without)} are not here: {counts}.")
    if kind == "break-even":
        against, sentences = break_even_words(chosen)
        subtitle += textwrap.wrap(f"Against {against}, the fastest brute force:", WIDTH) if sentences else []
        subtitle += [line for sentence in sentences for line in textwrap.wrap(sentence, WIDTH)]
    words = f"{plain(first['title'])}: {title}" + ("" if every_k else f", K = {k}")
    if chosen.empty:
        return {"title": {"text": words, "subtitle": subtitle}, **NOTHING}
    if kind == "recall" and (called := intervals_of(chosen)):
        subtitle.append(f"Bars: {called}.{f' {CUT}' * is_cut(chosen)}")
    panels = every_k and chosen["n_neighbors"].nunique() > 1
    width, height = (300, 220) if panels else (560, 400) if every_k else (420, 300)
    size = {"width": width} if kind in BARS else {"width": width, "height": height}
    spec = make(look)
    if kind == "batches":
        chosen, spec = call_rows(chosen, batches), spec | {"hconcat": [part | size for part in spec["hconcat"]]}
    else:
        spec |= size
    if every_k:
        facet = {"field": "n_neighbors", "type": "ordinal", "title": None, "header": {"labelExpr": "'K = ' + datum.value"}}
        spec = {"facet": facet, "columns": 2, "spec": spec}
    return {
        "title": {"text": words, "subtitle": subtitle},
        "data": {"values": json.loads(chosen.to_json(orient="records"))},
        **spec,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="results/SUITE, or one of published/")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--figures", type=json.loads, required=True, help="section of the configuration, JSON")
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="DATASET.KIND.FORMAT")
    arguments = parser.parse_args()

    results = read(arguments.folder)
    points, timings, controls = (
        table[(table["dataset"] == arguments.dataset) & (table["residency"] == "host")]
        for table in (results.points, results.timings, results.controls)
    )
    k = typical_k(timings)
    for kind, paths in itertools.groupby(arguments.out, lambda path: path.stem.removeprefix(f"{arguments.dataset}.")):
        drawn = {"batches": pd.concat([timings, controls]), "recall": points, "build": points}.get(kind, timings)
        look = encodings(drawn.dropna(subset=["query_median_s"]), results.config["backends"])
        panels = [panel(kind, rows, results.batches, look, k) for _, rows in drawn.groupby("machine", sort=False)]
        draw_files({"config": CONFIG, "vconcat": panels}, paths, arguments.figures["dpi"])


if __name__ == "__main__":
    main()
