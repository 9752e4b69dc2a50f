"""How hard the datasets are, for the page: a table and a chart."""

import pandas as pd
import vl_convert

from knnbench.config.names import plain
from knnbench.draw.bars import PARTS
from knnbench.draw.chart_files import register_font
from knnbench.draw.charts import axis
from knnbench.results.findings import number


def share(value):
    return f"{number(100 * value)}%"


# Of the page's table: header -> column of datasets.csv, and a number of it in words.
COLUMNS = {
    "Local intrinsic dimensionality": ("lid", number),
    "Relative contrast": ("relative_contrast", number),
    "Ties": ("ties", share),
    "Duplicates": ("duplicates", share),
    "Spread of norms": ("norm_spread", number),
    "Queries' distance": ("query_distance_ratio", number),
    "Changed by float32": ("queries_changed", share),
}


def panel(field, title):
    return {
        "transform": [{"filter": f"isValid(datum.{field})"}],
        "width": 220,
        "height": {"step": 20},
        "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
        "encoding": {
            "x": axis(field, title),
            "y": {"field": "title", "type": "nominal", "sort": None, "title": None, "axis": {"grid": True, "labelLimit": 150}},
            "color": {
                "field": "n_neighbors",
                "type": "ordinal",
                "title": "K",
                "scale": {"range": PARTS},
                "legend": {"orient": "bottom", "titleColor": "var(--ink)"},
            },
        },
    }


def chart(rows, config):
    """Dimension and contrast of every dataset at every K, as SVG."""
    register_font()
    panels = [panel("lid", "Local intrinsic dimensionality"), panel("relative_contrast", "Relative contrast")]
    spec = {"data": {"values": rows}, "vconcat": panels, "config": config}
    return vl_convert.vegalite_to_svg({"$schema": "https://vega.github.io/schema/vega-lite/v6.json", **spec})


def hardness(datasets, k, config):
    """What the page says of how hard the datasets are.

    Parameters
    ----------
    datasets : DataFrame, datasets.csv
    k : int, K of the table
    config : dict, of the chart

    Returns
    -------
    found : dict, None if nothing is known: results of earlier versions
        headers; rows, their title and texts; chart, SVG.
    """
    known = datasets.dropna(subset=["query_distance_ratio", "lid", "relative_contrast"], how="all")
    if known.empty:
        return None
    here = known[known["n_neighbors"] == k].to_dict("records")
    return {
        "headers": list(COLUMNS),
        "rows": [
            (plain(row["title"]), ["" if pd.isna(row.get(name)) else text(row[name]) for name, text in COLUMNS.values()])
            for row in here
        ],
        "chart": chart(
            [
                {"title": plain(row["title"])}
                | {name: value for name in ("n_neighbors", "lid", "relative_contrast") if pd.notna(value := row[name])}
                for row in known.to_dict("records")
            ],
            config,
        ),
    }
