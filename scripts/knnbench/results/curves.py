"""Curves: the points of a backend with settings, which one stands for them where there is room for one, speed at a recall."""

import math

import pandas as pd

from knnbench.measure.statuses import NOT_RUN, STATUSES
from knnbench.results.machines import machine_words
from knnbench.results.tables import MODERATED, ONE_ROUND, OTHERS, OWN

STANDS_AT = 0.95  # recall that a point should reach which stands for its family
RECALLS = (0.8, 0.9, 0.95, 0.99)  # at which curves are compared
SEARCH = ("dataset", "n_neighbors", "device", "residency", "machine")
SPEEDS = ("queries_per_s", "queries_per_s_low", "queries_per_s_high")
KNOWN = (ONE_ROUND, OWN, OTHERS, MODERATED)  # intervals, from the one that says the least of other processes
COLUMNS = (
    *SEARCH,
    "family",
    "label",
    "recall",
    *SPEEDS,
    "query_interval",
    "rounds",
    "between",
)


def place_of(row):
    """What a point is of: its cell, and the machine in words."""
    return row["dataset"], row["backend"], row["device"], row["n_neighbors"], row.get("machine") or machine_words(row)


def standing(rows):
    """The points that stand for their families, one for each dataset, device, K and machine: the fastest whose recall is
    `STANDS_AT`, else that with the best recall; an entry without settings is its own one.

    Parameters
    ----------
    rows : list of dict, of timings.csv; None or NaN where nothing was measured

    Returns
    -------
    places : list of tuple, as `place_of` has them
    """

    def merit(row):
        if row["status"] in NOT_RUN or pd.isna(row["queries_per_s"]):
            return 0, -STATUSES.index(row["status"])
        # Of tables that are merged they are text; others' results may lack a recall.
        speed, recall = float(row["queries_per_s"]), 0.0 if pd.isna(row["recall"]) else float(row["recall"])
        return (2, speed) if recall >= STANDS_AT else (1, recall)

    best = {}
    for row in rows:
        if row["residency"] == "host":
            dataset, _, *others = place_of(row)
            family = (dataset, row["family"], *others)
            if family not in best or merit(row) > merit(best[family]):
                best[family] = row
    return [place_of(row) for row in best.values()]


def front(points):
    """The points of some that none of them beats in both recall and speed, from the best recall on: a list of dict."""
    found = []
    for row in sorted(points, key=lambda row: (-row["recall"], -row["queries_per_s"])):
        if not found or row["queries_per_s"] > found[-1]["queries_per_s"]:
            found.append(row)
    return found


def at_recall(points, recall):
    """Queries per second that the points of one index give at a recall: between two of its front, on a line through the recall
    and the logarithm of the speed; never beyond them.

    Parameters
    ----------
    points : list of dict, measured rows
    recall : float

    Returns
    -------
    found : dict
        queries_per_s and its interval; query_interval, what that is made from, of the point of which less is known; between,
        the backends of the two points, or of the one that has more recall than that and is the fastest. None if no point has
        so much.
    """
    better = [row for row in front(points) if row["recall"] >= recall]
    worse = [row for row in front(points) if row["recall"] < recall]
    if not better:
        return None
    near = better[-1]
    if not worse:
        return {**{name: near[name] for name in (*SPEEDS, "query_interval")}, "between": near["backend"]}
    far = worse[0]
    share = (recall - near["recall"]) / (far["recall"] - near["recall"])
    found = {name: math.exp((1 - share) * math.log(near[name]) + share * math.log(far[name])) for name in SPEEDS}
    used = [each["query_interval"] for each in ((near, far) if share else (near,))]
    found["query_interval"] = None if any(map(pd.isna, used)) else min(used, key=KNOWN.index)
    return found | {"between": near["backend"] if share == 0 else f"{far['backend']}; {near['backend']}"}


def curves(points):
    """What each family gives at `RECALLS`, by the best of its indexes, of every search: rows as `COLUMNS` name them.

    Parameters
    ----------
    points : DataFrame, of Results.points
    """
    done = points[points["queries_per_s"].notna() & points["recall"].notna()]
    rows = []
    for search, group in done.groupby([*SEARCH, "family"], sort=False):
        builds = [build.to_dict("records") for _, build in group.groupby("parameters", sort=False)]
        for recall in RECALLS:
            found = [each for each in (at_recall(build, recall) for build in builds) if each]
            if found:
                best = max(found, key=lambda each: each["queries_per_s"])
                known = dict(zip((*SEARCH, "family"), search, strict=True))
                known |= {"label": group["label"].iloc[0], "recall": recall, "rounds": group["rounds"].min()}
                rows.append(known | best)
    return pd.DataFrame(rows, columns=COLUMNS)
