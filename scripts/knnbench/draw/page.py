"""The page: one file with everything in it, made from the tables of a folder."""

import json
import re
from pathlib import Path

import jinja2
import pandas as pd
import vl_convert
from markupsafe import Markup

from knnbench.draw.chart_files import CONFIG, register_font
from knnbench.draw.charts import SHAPES, VIEWS, curve, looks
from knnbench.draw.figures import CUT
from knnbench.draw.hardness import hardness
from knnbench.draw.page_rows import COLUMNS, MACHINE, chart_rows, claim_rows, dataset_entry, interval_bars, machine_entries
from knnbench.draw.threads import threads_of
from knnbench.results.curves import RECALLS, STANDS_AT
from knnbench.results.findings import INTERVAL, intervals_of
from knnbench.results.folder import read, read_table
from knnbench.results.pairs import SAME_WITHIN
from knnbench.results.recommend import LISTED, NEAR
from knnbench.results.tables import ONE_ROUND, SPREAD, controls_apart, measured_between
from knnbench.results.words import typical_k

PAGE = Path(__file__)  # whose template, style and script lie beside it
ASK = {"n": 100_000, "d": 10, "metric": "euclidean"}  # of the form, if nothing was measured


def legend(curves, backends):
    """The curves as the page tells them apart.

    Returns
    -------
    encodings : dict, for the charts
    families : list of dict, the same for the switches
    """
    look, families = looks(backends), {}
    # Black is the page's ink, which is light at night.
    inks = {name: "var(--ink)" if colour == "#000000" else colour for name, (_, colour, _) in look.items()}
    for row in curves.to_dict("records"):
        family, _, shape = look[row["backend"]]
        entry = {name: row[name] for name in ("name", "device", "exact", "control")}
        families.setdefault(family, []).append(entry | {"colour": inks[row["backend"]], "glyph": SHAPES[shape]})
    encodings = curve(
        curves["name"].tolist(), [inks[name] for name in curves["backend"]], [look[name][2] for name in curves["backend"]]
    )
    without = {channel: entry | {"legend": None} for channel, entry in encodings.items()}
    return without, [{"name": name, "curves": entries} for name, entries in families.items()]


def page_config():
    """The charts' configuration with the page's colours, which follow its theme."""
    colours = {f"{part}Color": "var(--ink)" for part in ("label", "title")}
    colours |= {f"{part}Color": "var(--line)" for part in ("grid", "tick", "domain")}
    legend = CONFIG["legend"] | {"labelColor": "var(--ink)"}
    return CONFIG | {"background": None, "view": {"stroke": None}, "axis": CONFIG["axis"] | colours, "legend": legend}


def picture(rows, encodings):
    """Recall against speed as a picture without axes, SVG; empty where nothing was measured."""
    if not any("queries_per_s" in row for row in rows):
        return ""
    register_font()
    spec = VIEWS["recall"][0](encodings)
    spec["encoding"] = {channel: each | {"axis": None} for channel, each in spec["encoding"].items()}
    shown = [{key: value for key, value in row.items() if key != "batches"} for row in rows]  # whose keys are numbers
    spec |= {"data": {"values": shown}, "width": 150, "height": 64, "padding": 2, "config": page_config()}
    svg = vl_convert.vegalite_to_svg({"$schema": "https://vega.github.io/schema/vega-lite/v6.json", **spec})
    return Markup(re.sub(r' (role|aria-\w+)="[^"]*"', "", svg))  # its place in the page has a label


def page(folder, claims, logs):
    """Make the page of a folder.

    Parameters
    ----------
    folder : Path, results/SUITE, results/merged or one of published/
    claims : Path, claims.csv of the same folder
    logs : Path, folder of the logs; excerpts are shown where there are any

    Returns
    -------
    text : str, HTML
    """
    results = read(folder)
    config, timings, controls = results.config, results.timings, results.controls
    k, rows = typical_k(timings), chart_rows(timings, results)
    curves = pd.concat([timings, controls]).dropna(subset=["query_median_s"]).drop_duplicates("name")
    encodings, families = legend(curves, config["backends"])
    columns = COLUMNS if timings["machine"].nunique() == 1 else MACHINE | COLUMNS
    datasets = [
        dataset_entry(
            name,
            here,
            results.points[results.points["dataset"] == name],
            controls[controls["dataset"] == name],
            results,
            k,
            logs,
            columns,
        )
        for name, here in timings.groupby("dataset", sort=False)
    ]
    data = {
        "suite": config["suite"],
        "rows": rows,
        "points": chart_rows(results.points, results),
        "controls": chart_rows(controls, results),  # apart, so that nothing ranks them
        "views": {name: make(encodings) for name, (make, _, _) in VIEWS.items()},
        "config": page_config(),
        "recommend": {"NEAR": NEAR, "LISTED": LISTED, "SPREAD": SPREAD, "ONE_ROUND": ONE_ROUND},
        "words": {"intervals": f"{INTERVAL}s", "spread": SPREAD, "cut": CUT},
    }
    interval_bars([each for dataset in datasets for answer in dataset["answers"] for each in answer["headline"] if each])
    near = results.points[(results.points["residency"] == "host") & (results.points["n_neighbors"] == k)]
    pictures = {
        key: picture(chart_rows(here, results), encodings) for key, here in near.groupby(["dataset", "machine"], sort=False)
    }
    ran, measured = timings.dropna(subset=["versions"]), measured_between(timings)
    table, _ = controls_apart(read_table(folder, "timings"))
    cells = table[table["residency"] == "host"]["status"].value_counts()
    origin = folder / "provenance.json"
    provenance = json.loads(origin.read_text(encoding="utf-8")) if origin.exists() else {}
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        PAGE.with_suffix(".html").read_text(encoding="utf-8")
    )
    return template.render(
        suite=config["suite"],
        css=Markup(PAGE.with_suffix(".css").read_text(encoding="utf-8")),
        script=Markup(PAGE.with_suffix(".js").read_text(encoding="utf-8")),
        library=Markup(vl_convert.javascript_bundle().replace("</script", "<\\/script")),
        data=Markup(json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")),
        machines=machine_entries(timings, provenance.get("ceilings", {})),
        measured=" to ".join(measured) if measured else "nothing",
        cells=int(cells.sum()),
        statuses=", ".join(f"{count} {status}" for status, count in cells.items()),
        k=k,
        ks=sorted(timings["n_neighbors"].unique()),
        views_by_name={name: title for name, (_, title, _) in VIEWS.items()},
        views=[(name, title) for name, (_, title, _) in VIEWS.items()],
        on_device=bool((timings["residency"] == "device").any()),
        rounds=range(max((len(row.get("rounds_per_s", [])) for row in rows), default=0)),
        batch_sizes=[
            size
            for size in sorted({1, *config["timing"].get("batch_sizes", ())})
            if any(size in row.get("batches", ()) for row in rows)
        ],
        devices=sorted(timings["device"].unique()),
        families=families,
        datasets=datasets,
        hardness=hardness(results.datasets, k, page_config()),
        threads=threads_of(results, page_config()),
        pictures=pictures,
        stands_at=STANDS_AT,
        recalls=RECALLS,
        intervals=intervals_of(near),
        breaks=[answer["break_even"] for dataset in datasets for answer in dataset["answers"] if answer["break_even"]],
        columns=[(header, name) for header, (name, _) in columns.items()],
        ask=timings.dropna(subset=["n"]).astype({"n": int, "d": int}).iloc[0].to_dict() if timings["n"].notna().any() else ASK,
        limits=config["timing"],
        same=SAME_WITHIN,
        cut=CUT,
        over=bool(timings["over"].any()),
        versions=sorted({(row["environment"], row["versions"]) for row in ran.to_dict("records")}),
        metrics=list(dict.fromkeys(timings["metric"])),
        claims=claim_rows(claims),
        schema_version=timings["schema_version"].max(),
        provenance=provenance,
    )
