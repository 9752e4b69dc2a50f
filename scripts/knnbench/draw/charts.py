"""Charts as Vega-Lite specifications: drawn to files by chart_files.py, and by the browser in the report.

A specification takes rows with the columns of Results.timings, and leaves out what has no number; that of batches takes a row
for each number of queries in a call, from `calls.call_rows`.
"""

from knnbench.draw.bars import HAS_SPEED, memory, phases
from knnbench.draw.ends import UP_TO_LIMITS, rules
from knnbench.draw.figures import FAINT, places

# In the order that a family's variants get them; Unicode has each for legends in words.
SHAPES = {
    "circle": "●",
    "square": "■",
    "diamond": "◆",
    "triangle-up": "▲",
    "triangle-down": "▼",
    "cross": "✚",
    "triangle-right": "▶",
    "triangle-left": "◀",
}
TOOLTIP = [
    {"field": "name", "title": "backend"},
    {"field": "at", "title": "setting"},
    {"field": "n_neighbors", "title": "K"},
    {"field": "queries_per_s", "title": "queries/s", "format": ",.4~r"},
    {"field": "interval", "title": "interval"},
    {"field": "asked", "title": "asked"},
    {"field": "recall", "format": ".4~f"},
    {"field": "fit_s", "title": "fit, s", "format": ".3~r"},
    {"field": "memory", "title": "memory"},
    {"field": "note", "title": "note"},
]


def looks(backends):
    """Family, colour and shape of every backend of the configuration: dict, name -> (module, colour, shape)."""
    return {
        name: (module, colour, list(SHAPES)[position % len(SHAPES)])
        for name, (module, colour, position) in places(backends).items()
    }


def curve(names, colours, shapes):
    """Encodings that tell the curves apart: colour and shape by name."""
    return {
        "color": {"field": "name", "type": "nominal", "title": None, "scale": {"domain": names, "range": colours}},
        "shape": {"field": "name", "type": "nominal", "title": None, "scale": {"domain": names, "range": shapes}},
    }


HAS_RECALL = {"filter": "isValid(datum.recall)"}  # nor is the recall known of others' results of a dataset that is not here
HAS_FIT = {"filter": "isValid(datum.fit_s)"}  # others' results may lack one
OPACITY = {"condition": {"test": "datum.over", "value": FAINT}, "value": 1}  # faint over the page's limits
LINE = {  # dashed if approximate, thick on a GPU, thin of a control
    "strokeDash": {"condition": {"test": "datum.exact", "value": [1, 0]}, "value": [5, 3]},
    "strokeWidth": {
        "condition": [{"test": "datum.control", "value": 0.8}, {"test": "datum.device == 'gpu'", "value": 3}],
        "value": 1.5,
    },
}


def points(look, tooltip=TOOLTIP):
    """Marks of measured cells: hollow where recall is low, with a ring where a subset of the queries was asked."""
    return {
        "encoding": {"color": look["color"], "opacity": OPACITY, "tooltip": tooltip},
        "layer": [
            {
                "mark": {"type": "point"},
                "encoding": {
                    "shape": look["shape"],
                    "fill": {
                        "condition": {"test": "datum.status == 'low_recall'", "value": "transparent"},
                        **look["color"],
                    },
                    "size": {"condition": {"test": "datum.device == 'gpu'", "value": 110}, "value": 55},
                },
            },
            {
                "transform": [{"filter": "datum.subset"}],  # page.js leaves out this layer where it is empty
                "mark": {"type": "point", "strokeWidth": 1},
                "encoding": {"size": {"condition": {"test": "datum.device == 'gpu'", "value": 360}, "value": 180}},
            },
        ],
    }


def axis(field, title, kind="log", **more):
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"type": kind, "nice": False, "padding": 8, **more},
    }


SPEED = axis("queries_per_s", "Queries per second")


def speed(look):
    """Queries per second against K; a line is faint where it leads to what is over the page's limits."""
    within = {"condition": {"test": "datum.over", "value": 0}, "value": 1}
    return {
        "transform": [HAS_SPEED, *UP_TO_LIMITS],
        "encoding": {"x": axis("n_neighbors", "Number of neighbours K"), "y": SPEED, "color": look["color"]},
        "layer": [
            {"mark": {"type": "line", "opacity": FAINT}, "encoding": LINE},
            {"mark": "line", "encoding": LINE | {"opacity": within, "detail": {"field": "over"}}},
            *rules({"color": look["color"], "opacity": OPACITY}),
            points(look),
        ],
    }


# Recall by its nines: what is between 0.9 and 1 matters most. What misses less than one in 10,000 stands at 1.
WHOLE = 4
NINES = axis("nines", "Recall", "linear", zero=False) | {
    "axis": {
        "values": [0, 0.301, 0.699, 1, 1.301, 2, 3, WHOLE],
        "tickCount": 8,  # of fewer Vega leaves out every other value
        "labelOverlap": "greedy",
        "labelExpr": f"datum.value == {WHOLE} ? '1' : format(1 - pow(10, -datum.value), '.3~f')",
    }
}


def nines(field, name):
    known = f"(isValid(datum.{field}) ? datum.{field} : datum.recall)"  # older results have no range of it
    return {"calculate": f"-log(max(1 - {known}, 1e-{WHOLE})) / LN10", "as": name}


def recall(look):
    """Queries per second against recall at one K, with the cells that no other beats in both: the Pareto front."""
    front = [
        {"filter": "!datum.control"},  # which bound the others and are not ranked with them
        {
            "sort": [{"field": "queries_per_s", "order": "descending"}],
            "window": [{"op": "max", "field": "recall", "as": "best_recall"}],
            "frame": [None, 0],
            "groupby": [],
        },
        {"filter": "datum.recall == datum.best_recall"},
        {"aggregate": [{"op": "max", "field": "queries_per_s", "as": "queries_per_s"}], "groupby": ["recall", "nines"]},
    ]
    return {
        "transform": [
            HAS_SPEED,
            HAS_RECALL,
            *UP_TO_LIMITS,
            nines("recall", "nines"),
            *(nines(f"recall_{end}", f"nines_{end}") for end in ("low", "high")),
        ],
        "encoding": {"x": NINES, "y": SPEED},
        "layer": [
            {
                "transform": front,
                "mark": {"type": "line", "interpolate": "step-before", "color": "#888888", "strokeWidth": 5, "opacity": 0.35},
                "encoding": {"order": {"field": "recall"}},
            },
            {
                "mark": {"type": "line", "strokeWidth": 1},
                "encoding": {"order": {"field": "recall"}, "color": look["color"], "detail": {"field": "build"}},
            },
            *rules({"color": look["color"], "opacity": OPACITY}),
            {
                "mark": "rule",
                "encoding": {"x": {"field": "nines_low"}, "x2": {"field": "nines_high"}, "color": look["color"]},
            },
            points(look),
        ],
    }


def along_recall(look, field, title):
    """Something that a point of a curve costs, against its recall, at one K."""
    return {
        "transform": [HAS_SPEED, HAS_RECALL, {"filter": f"isValid(datum.{field})"}, nines("recall", "nines")],
        "encoding": {"x": NINES, "y": axis(field, title)},
        "layer": [
            {
                "mark": {"type": "line", "strokeWidth": 1},
                "encoding": {"order": {"field": "recall"}, "color": look["color"], "detail": {"field": "build"}},
            },
            points(look),
        ],
    }


def latency(look):
    """What nineteen of twenty single queries take at most, against recall at one K; of at least 100 calls."""
    return along_recall(look, "single_p95_s", "A single query, 95% within, s")


def room(look):
    """Peak memory on the host against recall at one K."""
    return along_recall(look, "memory_bytes", "Peak memory, bytes")


def build(look):
    """Queries per second against fit time at one K."""
    fitted = {"calculate": "max(datum.fit_s, 1e-6)", "as": "shown_fit_s"}
    return {
        "transform": [HAS_SPEED, HAS_FIT, fitted],
        "encoding": {"x": axis("shown_fit_s", "Fit: seconds before the first query"), "y": SPEED, "color": look["color"]},
        "layer": [points(look)],
    }


def break_even(look):
    """Time of the fit and of all queries against the number of queries at one K."""
    return {
        "transform": [
            HAS_SPEED,
            HAS_FIT,
            {"calculate": "sequence(0, 9.05, 0.1)", "as": "exponent"},
            {"flatten": ["exponent"]},
            {"calculate": "pow(10, datum.exponent)", "as": "asked"},
            {"calculate": "datum.fit_s + (datum.compile_s || 0) + datum.asked / datum.queries_per_s", "as": "total_s"},
        ],
        "encoding": {
            "x": axis("asked", "Number of queries"),
            "y": axis("total_s", "Seconds: compiling, fit and all queries"),
            "color": look["color"],
        },
        "layer": [
            {"mark": {"type": "line", "clip": True}, "encoding": LINE | {"opacity": OPACITY}},
            {
                "transform": [{"filter": "datum.exponent % 1 < 0.05"}],
                **points(look),
            },
        ],
    }


def batches(look):
    """Latency of a call, and queries per second, against the number of queries in it at one K."""
    tooltip = [
        {"field": "name", "title": "backend"},
        {"field": "batch_size", "title": "queries in a call", "format": ",d"},
        {"field": "p50_s", "title": "median, s", "format": ".3~r"},
        {"field": "p95_s", "title": "95%, s", "format": ".3~r"},
        {"field": "p99_s", "title": "99%, s", "format": ".3~r"},
        {"field": "calls", "title": "calls", "format": ",d"},
        {"field": "queries_per_s", "title": "queries/s", "format": ",.4~r"},
    ]
    layer = [{"mark": "line", "encoding": LINE | {"opacity": OPACITY}}, points(look, tooltip)]
    encoding = {"x": axis("batch_size", "Queries in a call"), "color": look["color"]}
    latency = {"encoding": encoding | {"y": axis("p50_s", "Median latency of a call, s")}, "layer": layer}
    rate = {"encoding": encoding | {"y": SPEED}, "layer": layer}
    # A control that does nothing answers without end: of calls it says what they cost, of rates nothing.
    return {"hconcat": [latency, rate | {"transform": [{"filter": "!datum.control"}]}]}


def roofline(look):
    """Share of the machine's measured ceiling that brute forces reach at one K."""
    return {
        "transform": [
            {"filter": "isValid(datum.ceiling_fraction)"},
            {"calculate": "100 * datum.ceiling_fraction", "as": "share"},
        ],
        "encoding": {
            "x": axis("share", "Share of what the machine allows, %"),
            "y": {"field": "name", "type": "nominal", "title": None, "axis": {"labelLimit": 260}},
            "color": look["color"],
        },
        "layer": [points(look)],
    }


# Kind -> (specification, title, whether it has a panel for every K); without, at one K.
VIEWS = {
    "speed": (speed, "Queries per second against K", False),
    "recall": (recall, "Recall against queries per second; the broad line is the Pareto front", True),
    "build": (build, "Fit time against queries per second", True),
    "latency": (latency, "Recall against what a single query takes", False),
    "room": (room, "Recall against memory", False),
    "break-even": (break_even, "Time of compiling, fit and queries against the number of queries", False),
    "batches": (batches, "Latency and queries per second against the queries in a call", False),
    "memory": (memory, "Memory", False),
    "phases": (phases, "Phases of a cell", False),
    "roofline": (roofline, "Share of the machine's ceiling", False),
}


def encodings(rows, backends):
    """How the curves of rows look.

    Parameters
    ----------
    rows : DataFrame, of Results.timings
    backends : dict, name -> entry of the configuration

    Returns
    -------
    look : dict, encodings for the functions of `VIEWS`
    """
    look = looks(backends)
    curves = rows.drop_duplicates("name")
    return curve(curves["name"].tolist(), *([look[name][part] for name in curves["backend"]] for part in (1, 2)))
