"""Charts of stacked bars as Vega-Lite specifications: memory, and the phases of a cell."""

MEMORY = {
    "loaded_bytes": "library and data",
    "fit_bytes": "peak of the fit above that",
    "query_bytes": "peak of the queries above that",
    "device_loaded_bytes": "GPU: library and data",
    "device_fit_bytes": "GPU: fit",
    "device_query_bytes": "GPU: queries",
}
PHASES = ("import_s", "load_s", "transfer_s", "train_s", "add_s", "compile_s", "first_query_s", "query_median_s")
PARTS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F", "#8C564B"]  # Okabe and Ito's
HAS_SPEED = {"filter": "isValid(datum.queries_per_s)"}


def bars(fields, title, unit):
    """Stacked bars, one per cell: the parts of something at one K."""
    names = list(fields.values())
    return {
        "transform": [
            HAS_SPEED,
            {"fold": list(fields), "as": ["part", "amount"]},
            {"filter": "isValid(datum.amount) && datum.amount > 0"},
            {"calculate": f"{fields}[datum.part]", "as": "part_name"},
            {"calculate": f"indexof({names}, datum.part_name)", "as": "part_order"},
            {"calculate": f"datum.amount / {unit}", "as": "shown"},
        ],
        "mark": {"type": "bar"},
        "encoding": {
            "y": {"field": "name", "type": "nominal", "title": None, "axis": {"labelLimit": 260}},
            "x": {"field": "shown", "type": "quantitative", "title": title, "stack": "zero"},
            "color": {
                "field": "part_name",
                "type": "nominal",
                "title": None,
                "scale": {"domain": names, "range": PARTS[: len(names)]},
            },
            "order": {"field": "part_order"},
            "tooltip": [
                {"field": "name", "title": "backend"},
                {"field": "part_name", "title": "part"},
                {"field": "shown", "title": title, "format": ".3~g"},
            ],
        },
    }


def memory(look):
    """Peaks of memory at one K, host and GPU."""
    return bars(MEMORY, "Megabytes", 1e6)


def phases(look):
    """Where the time of a cell goes, from import to one pass over all queries."""
    words = {name: name.removesuffix("_s").replace("_", " ") for name in PHASES}
    return bars(words | {"query_median_s": "all queries"}, "Seconds", 1)
