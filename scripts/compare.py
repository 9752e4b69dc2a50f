"""Compare results with a baseline: every cell, every ordering of backends, in words and as a figure."""

import argparse
import json
import textwrap
from pathlib import Path

import pandas as pd
import yaml

from knnbench.draw.vega import CONFIG, NOTHING, draw_file
from knnbench.exchange.reproduction import CELLS, ORDERINGS, Side, compare_cell, compare_orders, summarise
from knnbench.results.folder import opened, read_table
from knnbench.results.words import SAME

COLOURS = {
    "reproduced": "#009E73",
    SAME: "#7F7F7F",
    "faster": "#0072B2",
    "slower": "#D55E00",
    "answer changed": "#000000",
}


def side(name, folder):
    """Read one side.

    Raises
    ------
    SystemExit
        A table is missing, or there are several machines in it.
    """
    timings, origin = read_table(folder, "timings"), folder / "provenance.json"
    ran = timings.dropna(subset=["cpu"])
    if len(ran[["cpu", "cpus"]].drop_duplicates()) > 1:
        raise SystemExit(f"{name}: it has results of several machines; compare the folders that it was merged from")
    ceilings = json.loads(origin.read_text(encoding="utf-8"))["ceilings"] if origin.exists() else {}
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return Side(name, timings, read_table(folder, "samples"), config, ceilings)


def figure(cells, words, within):
    """Specification of the figure: a panel per backend and device, a line per cell with its interval."""
    drawn = cells.dropna(subset=["normalised"])
    subtitle = [each for line in words.splitlines()[:4] for each in textwrap.wrap(line, 110)]
    title = {"text": "Time over the baseline's", "subtitle": subtitle}
    if drawn.empty:
        return {"title": title, **NOTHING}
    drawn = drawn.assign(
        curve=drawn["backend"] + "-" + drawn["device"],
        cell=drawn["dataset"]
        + ", K = "
        + drawn["n_neighbors"].astype(str)
        + drawn["residency"].map({"host": "", "device": ", on the device"}),
        low=drawn["normalised_low"].clip(lower=1e-3),
        high=drawn["normalised_high"].clip(upper=1e3),
    )
    x = {"type": "quantitative", "scale": {"type": "log"}}
    y = {"field": "cell", "type": "nominal", "title": None, "sort": None}
    colour = {
        "field": "verdict",
        "type": "nominal",
        "title": None,
        "scale": {"domain": list(COLOURS), "range": list(COLOURS.values())},
    }
    allowed = [{"from": 1 / (1 + within), "to": 1 + within}]
    layers = [
        {
            "mark": {"type": "rule", "strokeWidth": 1.5},
            "encoding": {"x": x | {"field": "low", "title": "Ratio"}, "x2": {"field": "high"}, "y": y, "color": colour},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 40},
            "encoding": {"x": x | {"field": "normalised"}, "y": y, "color": colour},
        },
        {
            "data": {"values": [{"one": 1}]},
            "mark": {"type": "rule", "color": "#555555", "strokeDash": [2, 2]},
            "encoding": {"x": x | {"field": "one"}},
        },
    ]
    band = {
        "data": {"values": allowed},
        "mark": {"type": "rect", "color": "#009E73", "opacity": 0.1},
        "encoding": {"x": x | {"field": "from"}, "x2": {"field": "to"}},
    }
    keep = ["curve", "cell", "low", "high", "normalised", "verdict"]
    return {
        "title": title,
        "data": {"values": json.loads(drawn[keep].to_json(orient="records"))},
        "facet": {"field": "curve", "type": "nominal", "title": None, "sort": None},
        "columns": 2,
        "spec": {"width": 260, "height": {"step": 12}, "layer": [band, *layers]},
        "resolve": {"scale": {"y": "independent"}},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--baseline", type=Path, required=True, help="results/SUITE, one of published/, or an artifact.zip")
    parser.add_argument("--folder", type=Path, required=True, help="the same, what is compared with it")
    parser.add_argument("--within", type=float, required=True, help="share by which a time may differ and be reproduced")
    parser.add_argument("--recall-within", type=float, required=True, help="difference of the recall that is no other answer")
    parser.add_argument("--fail-on", nargs="*", default=[], help="verdicts")
    parser.add_argument("--dpi", type=int, required=True)
    parser.add_argument("--cells", type=Path, required=True)
    parser.add_argument("--orderings", type=Path, required=True)
    parser.add_argument("--summary", type=Path, required=True)
    parser.add_argument("--failures", type=Path, required=True, help="what --fail-on found, empty if nothing")
    parser.add_argument("--figures", type=Path, nargs="+", required=True, help="the suffix is the format")
    arguments = parser.parse_args()

    with opened(arguments.baseline) as baseline, opened(arguments.folder) as folder:
        base, new = side(str(arguments.baseline), baseline), side(str(arguments.folder), folder)
    asked = {(key[0], key[3]) for key in new.rows}  # datasets and values of K
    keys = [key for key in base.rows if (key[0], key[3]) in asked]
    if not keys:
        raise SystemExit(f"{base.name} and {new.name} have no dataset with the same K; take another suite or baseline")
    rows = [compare_cell(new, base, key, arguments.within, arguments.recall_within) for key in keys]
    cells = pd.DataFrame(rows, columns=CELLS)
    same = cells[cells["ratio"].notna() & (cells["verdict"] != "answer changed")]
    comparable = list(same[list(CELLS[:5])].itertuples(index=False, name=None))
    orderings = pd.DataFrame(compare_orders(new, base, comparable), columns=ORDERINGS)
    words = summarise(new, base, cells, orderings, arguments.within)
    failed = [
        f"{count} {verdict}"
        for table in (cells, orderings)
        for verdict, count in table["verdict"].value_counts().items()
        if verdict in arguments.fail_on
    ]
    cells.to_csv(arguments.cells, index=False)
    orderings.to_csv(arguments.orderings, index=False)
    arguments.summary.write_text(words, encoding="utf-8")
    arguments.failures.write_text(", ".join(failed), encoding="utf-8")
    for path in arguments.figures:
        draw_file({"config": CONFIG, **figure(cells, words, arguments.within)}, path, arguments.dpi)


if __name__ == "__main__":
    main()
