"""Draw how times grow with n, d, K and the number of queries; write the exponents, and where libraries overtake others."""

import argparse
import json
import textwrap
from pathlib import Path

import pandas as pd

from knnbench.draw.chart_files import CONFIG, NOTHING, draw_files
from knnbench.draw.charts import LINE, axis, encodings, points
from knnbench.results.folder import read
from knnbench.results.scaling import COLUMNS, CROSSINGS, FEWEST, SIZES, crossings, exponent, exponents, series
from knnbench.results.words import typical_k

LISTED = 12  # crossings in the figure


def fixed(row):
    """The sizes of a series that do not vary, in words."""
    sizes = [f"{name.split()[-1]} = {row[size]:,.0f}" for size, name in SIZES.items() if size != row["along"]]
    return f"{row['metric']}, {', '.join(sizes)}"


def panel(along, rows, backends):
    """Specification of one series: time of all queries against the size that varies, with exponents in the legend."""
    curves = []
    for name, curve in rows.groupby("name", sort=False):
        power = ""
        if len(curve) >= FEWEST:
            middle, _, high = exponent(curve[along], curve["query_median_s"])
            power = f": {middle:.2f} ± {high - middle:.2f}"
        curves.append(curve.assign(name=f"{name}{power}"))
    rows = pd.concat(curves)
    look = encodings(rows, backends)
    first = rows.iloc[0].to_dict() | {"along": along}
    return {
        "title": {
            "text": f"Time against {SIZES[along]}: exponent ± its 95% interval",
            "subtitle": [first["machine"], fixed(first)],
        },
        "data": {"values": json.loads(rows.to_json(orient="records"))},
        "width": 380,
        "height": 280,
        "encoding": {
            "x": axis(along, SIZES[along].capitalize()),
            "y": axis("query_median_s", "Seconds for all queries"),
            "color": look["color"],
        },
        "layer": [{"mark": "line", "encoding": LINE}, points(look)],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="results/SUITE, results/merged or one of published/")
    parser.add_argument("--figures", type=json.loads, required=True, help="section of the configuration, JSON")
    parser.add_argument("--table", type=Path, required=True, help="of exponents")
    parser.add_argument("--crossings", type=Path, required=True, help="table of where libraries overtake each other")
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="figure; the suffix is the format")
    arguments = parser.parse_args()

    results = read(arguments.folder)
    sources = {name: entry["source"] for name, entry in results.config["datasets"].items()}
    found = pd.DataFrame(exponents(results.timings, sources), columns=COLUMNS)
    overtaken = pd.DataFrame(crossings(results.timings, sources), columns=CROSSINGS)
    found.to_csv(arguments.table, index=False)
    overtaken.to_csv(arguments.crossings, index=False)
    k = typical_k(results.timings)
    panels = [
        panel(along, rows, results.config["backends"])
        for along, rows in series(results.timings, sources)
        if along == "n_neighbors" or (rows["n_neighbors"] == k).all()
    ]
    sentences = [
        f"{row['after']} overtakes {row['before']} at {row['along']} = {row['at']:,.0f} (between {row['low']:,.0f} and "
        f"{row['high']:,.0f}; {fixed(row)})."
        for row in overtaken.head(LISTED).to_dict("records")
    ]
    sentences += [f"{len(overtaken) - LISTED} more are in {arguments.crossings.name}."] * (len(overtaken) > LISTED)
    title = f"Suite {results.config['suite']}: how times grow" if panels else f"No series of {FEWEST} sizes was measured"
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, 130)]
    spec = {
        "title": {"text": title, "subtitle": lines},
        "concat": panels or [NOTHING],
        "columns": 2,
    }
    spec |= {"resolve": {"scale": dict.fromkeys(("color", "shape", "fill"), "independent")}, "config": CONFIG}
    draw_files(spec, arguments.out, arguments.figures["dpi"])


if __name__ == "__main__":
    main()
