"""Intervals in charts: rules up to the limits that medians set for the axis, with an arrow where one goes on."""

from knnbench.draw.figures import MARGIN

_LEAST = f"(datum.least_speed / ({MARGIN[0]} * pow(datum.most_speed / datum.least_speed, {MARGIN[1]})))"
_MOST = f"(datum.most_speed * {MARGIN[0]} * pow(datum.most_speed / datum.least_speed, {MARGIN[1]}))"
_LOW, _HIGH = "datum.queries_per_s_low", "datum.queries_per_s_high"
# What `rules` draw, of rows with queries_per_s and the ends of its interval, which may be missing; as figures.limits has it.
UP_TO_LIMITS = [
    {
        "joinaggregate": [
            {"op": "min", "field": "queries_per_s", "as": "least_speed"},
            {"op": "max", "field": "queries_per_s", "as": "most_speed"},
        ],
        "groupby": [],  # Vega-Lite adds the panels' field to it
    },
    {"calculate": f"isValid({_LOW}) ? max({_LOW}, {_LEAST}) : null", "as": "shown_low"},
    {"calculate": f"isValid({_HIGH}) ? min({_HIGH}, {_MOST}) : null", "as": "shown_high"},
    {"calculate": f"isValid({_LOW}) && {_LOW} < {_LEAST} ? '▼' : ''", "as": "arrow_low"},
    {"calculate": f"isValid({_HIGH}) && {_HIGH} > {_MOST} ? '▲' : ''", "as": "arrow_high"},
]


def rules(encoding):
    """Layers of the intervals of speeds along y.

    Parameters
    ----------
    encoding : dict, of what all layers have: color and opacity
    """
    arrows = [
        {
            # Words and no points: where none goes on the layer has something all the same, and Vega does not warn of it.
            "mark": {"type": "text", "fontSize": 9, "tooltip": None},
            "encoding": encoding | {"y": {"field": f"shown_{end}"}, "text": {"field": f"arrow_{end}"}},
        }
        for end in ("low", "high")
    ]
    between = {"y": {"field": "shown_low"}, "y2": {"field": "shown_high"}}
    return [{"mark": "rule", "encoding": encoding | between}, *arrows]
