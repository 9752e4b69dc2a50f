"""What more threads of a library, and more callers at once, give: charts, and tables in words."""

import json

import pandas as pd
import vl_convert

from knnbench.config.names import plain
from knnbench.config.settings import in_words
from knnbench.draw.chart_files import NOTHING, register_font
from knnbench.draw.charts import SPEED, axis, encodings
from knnbench.results.callers import thread_rows
from knnbench.results.findings import number, seconds
from knnbench.results.words import typical_k

PLACE = ["dataset", "machine", "n_neighbors"]  # of a chart, and of a table
APART = {"resolve": {"scale": dict.fromkeys(("color", "shape"), "independent")}}  # charts have legends of their own


def standing(rows, results):
    """The rows of one setting of each family: of the point that stands for it, with the fewest threads where it has several."""
    timings = results.timings[results.timings["residency"] == "host"].sort_values("threads_asked", kind="stable")
    place = ["dataset", "family", "device", "n_neighbors"]
    chosen = timings.drop_duplicates(place)[[*place, "setting"]].apply(tuple, axis=1)
    controls = results.controls[[*place, "setting"]].apply(tuple, axis=1)
    known = {*chosen, *controls}
    return rows[[key in known for key in rows[[*place, "setting"]].itertuples(index=False, name=None)]]


def panel(rows, along, title, backends):
    """Specification of a chart: queries per second along a number, with how they would grow with it in grey, of each curve.

    Parameters
    ----------
    rows : DataFrame, of threads.csv or callers.csv, those of a chart
    along : {"threads", "callers"}
    title : dict, text and subtitle
    backends : dict, of the configuration
    """
    rows = rows.assign(name=[f"{row['label']} ({row['device'].upper()})" for row in rows.to_dict("records")])
    first = rows.sort_values(along, kind="stable").groupby("name", sort=False)[[along, "queries_per_s"]].first()
    ideal = rows["name"].map(first["queries_per_s"]) * rows[along] / rows["name"].map(first[along])
    look = encodings(rows, backends)
    shown = rows.assign(ideal=ideal)[["name", along, "queries_per_s", "ideal", "speed_up", "setting"]]
    values = json.loads(shown.to_json(orient="records"))
    ticks = {"axis": {"values": sorted(rows[along].unique().tolist()), "format": "d"}}
    x = axis(along, {"threads": "Threads of the library", "callers": "Callers"}[along]) | ticks
    grey = {"type": "line", "color": "#888888", "strokeWidth": 1, "opacity": 0.35}
    return {
        "title": title,
        "data": {"values": values},
        "width": 380,
        "height": 280,
        "encoding": {"x": x},
        "layer": [
            {"mark": grey, "encoding": {"y": {"field": "ideal", "type": "quantitative"}, "detail": {"field": "name"}}},
            {"mark": "line", "encoding": {"y": SPEED, "color": look["color"]}},
            {"mark": {"type": "point", "filled": True, "size": 55}, "encoding": {"y": SPEED, **look}},
        ],
    }


def charts(results, threads):
    """Specifications of the charts of all datasets and machines, at the K that is the most usual.

    Parameters
    ----------
    results : Results
    threads : DataFrame, of results.callers.thread_rows
    """
    found, backends, k = [], results.config["backends"], typical_k(results.timings)
    asked = results.callers.dropna(subset=["queries_per_s"])
    for rows, along, by in (
        (threads.dropna(subset=["queries_per_s"]), "threads", []),
        (asked, "callers", ["queries", "threads"]),
    ):
        rows = standing(rows[rows["n_neighbors"] == k], results)
        for _, here in rows.groupby([*PLACE, *by], sort=False) if len(rows) else ():
            first = here.iloc[0]
            words = "all queries in one call"
            if by:
                size, each = (int(first[name]) for name in by)
                words = (
                    f"calls of {size} {'query' if size == 1 else 'queries'}, {each} {'thread' if each == 1 else 'threads'} each"
                )
            subtitle = [first["machine"], f"{words}. Grey: as many times faster."]
            found.append(panel(here, along, {"text": f"{plain(first['title'])}, K = {k}", "subtitle": subtitle}, backends))
    return found


# Columns of the tables in words, behind backend and setting: header -> column of the CSV file, and its number in words.
SPEEDS = {"Queries/s": ("queries_per_s", number), "Over one": ("speed_up", "{:.2f}".format)}
RECALL = {"Recall": ("recall", "{:.3f}".format)}
COLUMNS = {
    "threads": {"Threads": ("threads", "{:.0f}".format)}
    | SPEEDS
    | {"One query": ("single_p50_s", seconds), "Fit": ("fit_s", seconds), "Fit, over one": ("fit_speed_up", "{:.2f}".format)}
    | RECALL,
    "callers": {"Queries in a call": ("queries", "{:.0f}".format), "Callers": ("callers", "{:.0f}".format)}
    | SPEEDS
    | {"Call, median": ("p50_s", seconds), "Call, 95%": ("p95_s", seconds), "Calls": ("calls", "{:,.0f}".format)}
    | {"Wrong answers": ("wrong", "{:,.0f}".format)}
    | RECALL,
}
TITLES = {"threads": "numbers of threads", "callers": "callers at once"}


def tables(results, threads):
    """The rows of threads.csv and callers.csv in words, a table for each dataset, machine and K.

    Parameters
    ----------
    results : Results
    threads : DataFrame, of results.callers.thread_rows

    Returns
    -------
    tables : list of dict
        title; headers; rows, lists of str; notes, on what is not there.
    """
    found = []
    for name, every in (("threads", threads), ("callers", results.callers)):
        for (_, machine, k), rows in every.groupby(PLACE, sort=False):
            done = rows.dropna(subset=["queries_per_s"])
            reasons = rows.get("reason", pd.Series("", rows.index)).fillna("")
            silent = rows[reasons != ""].groupby(reasons[reasons != ""], sort=False)["label"].unique()
            found.append(
                {
                    "title": f"{rows['title'].iloc[0]}, K = {k}: {TITLES[name]}, {machine}",
                    "headers": ["Backend", "Setting", *COLUMNS[name]],
                    "rows": [line(row, COLUMNS[name]) for row in done.to_dict("records")],
                    "notes": [f"{', '.join(labels)}: {why}." for why, labels in silent.items()],
                }
            )
    return found


def line(row, columns):
    """A row of a table: texts, empty where nothing was measured."""
    setting = ", ".join(in_words(json.loads(row["setting"])))
    numbers = ["" if pd.isna(row[name]) else words(row[name]) for name, words in columns.values()]
    return [f"{row['label']} ({row['device'].upper()})", setting, *numbers]


def threads_of(results, config):
    """What the page says of several threads and callers.

    Parameters
    ----------
    results : Results
    config : dict, of the charts

    Returns
    -------
    found : dict, None if nothing was measured with several
        tables, as `tables` returns them; chart, SVG.
    """
    rows = thread_rows(results.points)
    if rows.empty and results.callers.empty:
        return None
    panels = charts(results, rows)
    spec = {"concat": panels or [NOTHING], "columns": 2, "config": config, **APART}
    register_font()
    svg = vl_convert.vegalite_to_svg({"$schema": "https://vega.github.io/schema/vega-lite/v6.json", **spec})
    words = [table | {"title": plain(table["title"])} for table in tables(results, rows)]
    return {"tables": words, "chart": svg}
