"""How the times of cells changed against a baseline: the figure."""

import json
import textwrap

from knnbench.draw.chart_files import NOTHING
from knnbench.draw.figures import CUT, limits
from knnbench.results.pairs import UNDECIDED

COLOURS = {
    "reproduced": "#009E73",
    UNDECIDED: "#7F7F7F",
    "faster": "#0072B2",
    "slower": "#D55E00",
    "answer changed": "#000000",
}
ARROWS = {"low": "◀", "high": "▶"}


def figure(cells, words, within):
    """Specification of the figure: a panel per backend and device, a line per cell with its interval, cut at the axis."""
    drawn = cells.dropna(subset=["normalised"])
    subtitle = [each for line in words.splitlines()[:4] for each in textwrap.wrap(line, 110)]
    title = {"text": "Time over the baseline's", "subtitle": subtitle}
    if drawn.empty:
        return {"title": title, **NOTHING}
    least, most = limits([*drawn["normalised"], 1 / (1 + within), 1 + within])
    cut = {"low": drawn["normalised_low"] < least, "high": drawn["normalised_high"] > most}
    title["subtitle"] += [CUT] * any(each.any() for each in cut.values())
    drawn = drawn.assign(
        curve=drawn["backend"] + "-" + drawn["device"],
        cell=drawn["dataset"]
        + ", K = "
        + drawn["n_neighbors"].astype(str)
        + drawn["residency"].map({"host": "", "device": ", on the device"}),
        low=drawn["normalised_low"].clip(lower=least),
        high=drawn["normalised_high"].clip(upper=most),
        **{f"{end}_arrow": goes_on.map({True: ARROWS[end], False: ""}) for end, goes_on in cut.items()},
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
    arrows = [
        {
            "mark": {"type": "text", "fontSize": 9},
            "encoding": {"x": x | {"field": end}, "y": y, "color": colour, "text": {"field": f"{end}_arrow"}},
        }
        for end in ARROWS
    ]
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
    keep = ["curve", "cell", "low", "high", "low_arrow", "high_arrow", "normalised", "verdict"]
    return {
        "title": title,
        "data": {"values": json.loads(drawn[keep].to_json(orient="records"))},
        "facet": {"field": "curve", "type": "nominal", "title": None, "sort": None},
        "columns": 2,
        "spec": {"width": 260, "height": {"step": 12}, "layer": [band, *layers, *arrows]},
        "resolve": {"scale": {"y": "independent"}},
    }
