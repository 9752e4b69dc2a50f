"""Which cells another round may decide something of: rounds where they are needed (`timing.rounds: auto`)."""

import itertools
from dataclasses import replace

from knnbench.config.settings import points_of
from knnbench.config.suite import Cell
from knnbench.measure.statuses import NOT_RUN
from knnbench.results.claims import check_all
from knnbench.results.curves import place_of, standing
from knnbench.results.machines import machine_words
from knnbench.results.pairs import UNDECIDED, judge, may_be_faster

RECALLS = (0.9, 0.95, 0.99)  # at which the fastest of all are to be known, besides the fastest exact one


def contests(rows):
    """Who is to be told apart: of every search, the fastest exact row and the fastest with each recall, each with its rivals.

    Parameters
    ----------
    rows : list of dict, of timings.csv

    Returns
    -------
    pairs : list of (dict, dict, str): two rows, the faster one first, and of what that one is the fastest
    """
    searches = {}
    for row in rows:
        if row["query_median_s"] and row["residency"] == "host" and not row["control"] and row["status"] not in NOT_RUN:
            place = row["dataset"], row["n_neighbors"], row["device"], machine_words(row)
            searches.setdefault(place, []).append(row)
    pairs = {}
    for (dataset, k, device, _), group in searches.items():
        found = {f"with recall {least:g}": [row for row in group if (row["recall"] or 0) >= least] for least in RECALLS}
        found = {"exact": [row for row in group if row["exact"] and row["status"] == "ok"]} | found
        for words, some in found.items():
            ranked = sorted(some, key=lambda row: row["query_median_s"])
            each = list({row["family"]: row for row in reversed(ranked)}.values())  # of a family its fastest
            first = min(each, key=lambda row: row["query_median_s"], default=None)
            for row in each:
                if row is not first and may_be_faster(row) == 1:  # of a small subset no further round tells more
                    pairs.setdefault(
                        (id(first), id(row)), (first, row, f"the fastest {words} of {dataset} at K = {k} on a {device.upper()}")
                    )
    return list(pairs.values())


def undecided(rows, claims, timing):
    """The rows that should be measured in another round, and why.

    Parameters
    ----------
    rows : list of dict, of timings.csv
    claims : dict, section of the configuration
    timing : dict, section of the configuration

    Returns
    -------
    found : list of (dict, str), rows with the reason; one row may be there for several reasons
    """
    found = []
    pairs = contests(rows)
    for (fast, slow, words), judged in zip(pairs, judge([(fast, slow) for fast, slow, _ in pairs], timing), strict=True):
        if judged[-1] == UNDECIDED:
            found += [(row, f"{words} is not decided: {fast['family']} or {slow['family']}") for row in (fast, slow)]
    chosen = set(standing(rows))
    stand = [row for row in rows if place_of(row) in chosen]
    curves = {
        (row["dataset"], f"{row['family']}-{row['device']}", row["n_neighbors"], machine_words(row)): row for row in stand
    }
    for each in check_all(claims, stand, timing):
        if each["verdict"] == UNDECIDED:
            sides = itertools.product({each["dataset"], *datasets_of(claims[each["claim"]])}, (each["slower"], each["faster"]))
            places = [(*side, each["n_neighbors"], each["machine"]) for side in sides]
            found += [(curves[place], f"claim {each['claim']} is not decided") for place in places if place in curves]
    slow = [row for row in rows if "slow_machine" in (row["flags"] or "") and row["query_median_s"] and not row["control"]]
    found += [(row, "the machine was slow") for row in slow]
    return found


def choose(config, rows, claims, number, done):
    """Choose the cells of a further round: all that have a number for the second one, then those that may decide something.

    Parameters
    ----------
    config : dict, the saved configuration
    rows : list of dict, of timings.csv, of the rounds so far
    claims : dict, section of the configuration
    number : int, of the round, from 1 on
    done : dict, cell -> how many rounds were measured, those that do not count included

    Returns
    -------
    chosen, left_out : list of (Cell, str)
        Cells with the reason. Left out are those for which `timing.budget_h`, the hours of all rounds, has no time.
    """
    timing, points = config["timing"], points_of(config["backends"])
    if number == 1:
        found = [(row, "every cell has two rounds") for row in rows if row["query_median_s"]]
    else:
        found = undecided(rows, claims, timing)
    cells_s, builds_s, rounds = {}, {}, {}  # seconds of a round of each cell, and of each index that several K share
    reasons = {}
    for row, why in [*((row, None) for row in rows), *found]:
        point = points[row["backend"]]
        cell = Cell(row["dataset"], point["build"], row["device"], row["n_neighbors"])
        cells_s[cell] = row["cell_s"] or 0.0
        anew = row["index"] == "saved" and "one_build" not in (row["flags"] or "")
        place = replace(cell, k=0)
        builds_s[place] = (row["fit_s"] or 0.0) if anew else 0.0
        rounds[place] = max(rounds.get(place, 0), done[cell])
        if why:
            reasons.setdefault(cell, why)
    spent_s = sum(seconds * done[cell] for cell, seconds in cells_s.items())
    spent_s += sum(seconds * rounds[place] for place, seconds in builds_s.items())
    chosen, left_out = [], []
    for cell, why in sorted(reasons.items(), key=lambda each: cells_s[each[0]]):
        costs_s = cells_s[cell] + builds_s.get(replace(cell, k=0), 0.0)
        if timing["budget_h"] and spent_s + costs_s > 3600 * timing["budget_h"]:
            left_out.append((cell, why))
            continue
        spent_s += costs_s
        builds_s.pop(replace(cell, k=0), None)  # its index is there for the other K
        chosen.append((cell, why))
    return chosen, left_out


def datasets_of(claim):
    """The datasets that the sides of a claim name besides its own."""
    return {claim[side]["dataset"] for side in ("slower", "faster") if "dataset" in claim[side]}
