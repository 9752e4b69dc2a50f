"""Read tables: which columns are text is said once, here, and empty is the only missing value."""

import pandas as pd

from knnbench.config.names import tell_apart
from knnbench.measure.clock import TOLD_BY

# Of all tables that a run makes; the others are numbers, or true and false. A dataset may be called 1000, NA or true.
TEXT = (
    *(
        "suite",
        "dataset",
        "title",
        "metric",
        "backend",
        "family",
        "setting",
        "label",
        "device",
        "residency",
        "status",
        "reason",
    ),
    *("flags", "index", "query_interval", "device_bytes_of"),
    *("precision", "environment", "versions", "parameters", "node", "cpu", "governor", "gpu", "gpu_slowed_by"),
    *("dataset_sha256", "started", "ended"),
    *("origin", "machine", "faster", "slower", "verdict", "claim", "says", "missing", "left_out"),
    *("name", "source", "along", "sizes", "time", "before", "after", "baseline_status", "why", "between", "remarks"),
)
# What the ends of an interval are made from: values of query_interval.
MODERATED, OTHERS, OWN, ONE_ROUND = "moderated", "others' rounds", "own rounds", "one round"
SPREAD = "spread of one round"  # what these ends are called that are no interval
# Columns of the other tables than timings.csv.
SEARCH = ("dataset", "n_neighbors", "residency", "machine")
SAMPLE = ("dataset", "backend", "device", "residency", "n_neighbors", "machine", "round", "batch", "queries", "repeat")
SAMPLE += ("loops", "seconds", "counted")
CALLER = ("dataset", "title", "metric", "backend", "family", "setting", "label", "device", "n_neighbors", "machine", "threads")
CALLER += ("callers", "queries", "calls", "rounds", "queries_per_s", "queries_per_s_low", "queries_per_s_high", "speed_up")
CALLER += ("p50_s", "p95_s", "recall", "checked", "wrong", "reason")
THREAD = ("dataset", "title", "metric", "backend", "family", "setting", "label", "device", "n_neighbors", "machine", "threads")
THREAD += ("status", "queries_per_s", "queries_per_s_low", "queries_per_s_high", "query_interval", "speed_up", "single_p50_s")
THREAD += ("fit_s", "fit_speed_up", "recall", "rounds", "flags")
BATCH = ("dataset", "backend", "device", "residency", "n_neighbors", "machine", "batch_size", "calls", "p50_s", "p95_s")
BATCH += ("p99_s", "first_s", "queries_per_s")
COMPARISON = (*SEARCH, "faster", "slower", "ratio", "ratio_low", "ratio_high", "confidence", "verdict")
DATASET = ("dataset", "title", "metric", "n", "d", "queries", "n_neighbors", "lid", "relative_contrast", "ties", "duplicates")
DATASET += ("norm_spread", "query_distance_ratio", "rows_merged", "queries_changed", "remarks")
# What a name has for figures and tables.
WORDS = {"family": "label", "dataset": "title"}


def read_csv(path, **options):
    """Read one of our tables, compressed or not: text is as it is written, NaN is what is empty.

    Several backends of one label have a label each, and datasets of one title.

    Parameters
    ----------
    path : Path
    options : of pandas.read_csv

    Returns
    -------
    table : DataFrame
    """
    table = pd.read_csv(path, **{"dtype": dict.fromkeys(TEXT, str), "keep_default_na": False, "na_values": [""], **options})
    return with_names_apart(table)


def controls_apart(timings):
    """Rows of what competes, and those of controls, which bound it and are in no ranking; older results have none.

    Returns
    -------
    timings, controls : DataFrame
    """
    control = timings.get("control", pd.Series(False, timings.index)).astype(str) == "True"
    return timings[~control], timings[control]


def measured_between(timings):
    """When the first cell of timings.csv started and the last one ended, in UTC; None if none did."""
    started = timings["started"].dropna()
    return [started.min(), timings.get("ended", started).fillna(started).max()] if len(started) else None


def read_rows(path, **options):
    """Rows of timings.csv, and below them those of controls.csv beside it; of older results it is not there, or empty."""
    beside = path.with_name("controls.csv")
    parts = [read_csv(each, **options) for each in (path, beside) if each == path or (each.exists() and each.stat().st_size)]
    return with_names_apart(pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True))


def told(table, prefix=""):
    """A table of earlier results without the percentiles that its calls are too few to tell; `prefix` is of all its columns."""
    calls = pd.to_numeric(table[f"{prefix}calls"])
    names = {f"{prefix}p{percent}_s": least for percent, least in TOLD_BY.items()}
    return table.assign(**{name: table[name].where(calls >= least) for name, least in names.items()})


def write_rows(rows, folder):
    """Write timings.csv, and the rows of controls into controls.csv: whoever counts or ranks the first sees what competes."""
    for name, some in zip(("timings", "controls"), controls_apart(rows), strict=True):
        some.to_csv(folder / f"{name}.csv", index=False)


def flagged(timings, flag):
    """Whether each row of timings.csv has a flag: a Series of bool."""
    return timings["flags"].fillna("").map(lambda flags: flag in flags.split("; ")).astype(bool)


def with_names_apart(timings):
    """A table with a label for each backend and a title for each dataset, by words.tell_apart; the same if it has them."""
    for name, words in WORDS.items():
        name = "backend" if name == "family" and name not in timings.columns else name  # of results older than settings
        if {name, words} <= set(timings.columns):
            pairs = timings[[name, words]]
            apart = tell_apart(pairs.dropna().drop_duplicates().itertuples(index=False, name=None))
            if any(found != label for (_, label), found in apart.items()):
                shown = [apart.get(pair, pair[1]) for pair in pairs.itertuples(index=False, name=None)]
                timings = timings.assign(**{words: shown})
    return timings
