"""Whether results reproduce others: cell by cell, and in the order of the backends."""

import itertools
import math

import pandas as pd

from knnbench.exchange.sides import read_side
from knnbench.measure.statuses import NOT_RUN
from knnbench.results.folder import opened
from knnbench.results.intervals import ratio
from knnbench.results.machines import CELL
from knnbench.results.pairs import UNDECIDED
from knnbench.results.roofline import BYTES, least_time, least_work
from knnbench.results.words import name_of

SEARCH = ("dataset", "n_neighbors", "residency")
NOBODY = ("unavailable", "skipped", "not_needed")  # statuses that say nothing of the backend
CELLS = (
    *CELL,
    "baseline_status",
    "status",
    "baseline_s",
    "seconds",
    "ratio",
    "expected_ratio",
    "normalised",
    "normalised_low",
    "normalised_high",
    "baseline_recall",
    "recall",
    "fit_ratio",
    "rounds",
    "verdict",
    "why",
)
ORDERINGS = (*SEARCH, "faster", "slower", "baseline_ratio", "ratio", "verdict", "why")
# The verdicts of cells and of orderings, which fail_on may name.
VERDICTS = ("reproduced", "faster", "slower", UNDECIDED, "answer changed", "missing", "not comparable", "not measured")
ORDERS = ("holds", UNDECIDED, "reversed")


def compare_times(one, other):
    """Ratio of the times of two (side, key), with its interval between processes, or what one round spreads.

    Returns
    -------
    ratio, low, high : float
    """
    times = [side.estimates.get(key) for side, key in (one, other)]
    if all(times):
        return ratio(*times)
    a, b = (side.rows[key] for side, key in (one, other))
    found = a["query_median_s"] / b["query_median_s"]
    ends = [row[end] for row, end in ((a, "query_low_s"), (b, "query_high_s"), (a, "query_high_s"), (b, "query_low_s"))]
    if None in ends:  # imported from others, who give none
        return found, 0.0, math.inf
    return found, ends[0] / ends[1], ends[2] / ends[3]


def expected_ratio(new, base, row):
    """How the time of a cell should change between two machines, by their ceilings; 1 on one machine, None if not known.

    It is that of a search which looks at every pair: for trees and graphs no more than a guess.
    """
    if new.machine == base.machine:
        return 1.0
    ceilings = [side.ceilings.get(row["device"]) or {} for side in (new, base)]
    if any(ceiling.get("status") != "ok" for ceiling in ceilings) or not row["n"]:
        return None
    precision = row["precision"] if row["precision"] in BYTES else "float32"  # as rows of earlier versions are
    work = least_work(row["n"], row["queries"], row["d"], row["n_neighbors"], precision)
    here, there = (least_time(*work, ceiling, precision) for ceiling in ceilings)
    return here / there if here and there else None


def judge(low, high, within):
    """Verdict on a ratio with its interval: reproduced if all of it is within 1 ± `within`, a factor in both directions."""
    if low > 1 + within:
        return "slower"
    if high < 1 / (1 + within):
        return "faster"
    return "reproduced" if low >= 1 / (1 + within) and high <= 1 + within else UNDECIDED


def compare_cell(new, base, key, within, recall_within):
    """Compare one cell of both sides; a row of `CELLS`."""
    here, there = new.rows.get(key), base.rows.get(key)
    found = dict(zip(CELL, key, strict=True))
    for prefix, row in (("baseline_", there), ("", here)):
        if row:
            found |= {f"{prefix}status": row["status"], f"{prefix}recall": row["recall"]}
            found |= {"baseline_s" if prefix else "seconds": row["query_median_s"]}
    if not here:
        return found | {"verdict": "missing", "why": "it is not in the suite"}
    statuses = [row["status"] for row in (there, here)]
    change = f"{statuses[0]} became {statuses[1]}: {here['reason'] or there['reason']}"
    if set(statuses) <= set(NOBODY):
        return found | {"verdict": "not measured", "why": here["reason"]}
    if "not_needed" in statuses:  # a curve that ended one point earlier or later than the other's
        return found | {"verdict": "not measured", "why": change}
    if set(statuses) & set(NOBODY):
        return found | {"verdict": "missing", "why": change}
    for column in ("dataset_sha256", "parameters"):
        if here[column] and there[column] and here[column] != there[column]:
            return found | {"verdict": "not comparable", "why": f"{column} is {here[column]}, in the baseline {there[column]}"}
    if all(status in NOT_RUN for status in statuses):
        verdict = "reproduced" if statuses[0] == statuses[1] else "answer changed"
        return found | {"verdict": verdict, "why": change if verdict != "reproduced" else f"{statuses[0]} in both"}
    expected = expected_ratio(new, base, here)
    found["expected_ratio"] = expected
    scale = expected or 1.0
    if any(status in NOT_RUN for status in statuses):
        ended, side, done = (here, new, there) if statuses[1] in NOT_RUN else (there, base, here)
        if "query was ended at its time limit" not in str(ended["reason"]):  # only of a pass it is known how long it took
            return found | {"verdict": "answer changed", "why": change}
        least = side.config["timing"]["max_query_s"] / done["query_median_s"]  # it took longer than that
        low, high = (least / scale, math.inf) if ended is here else (0.0, 1 / least / scale)
        return found | {"normalised_low": low, "normalised_high": high, "verdict": judge(low, high, within), "why": change}
    times, low, high = compare_times((new, key), (base, key))
    fits = [row["fit_s"] for row in (here, there)]
    found |= {
        "ratio": times,
        "normalised": times / scale,
        "normalised_low": low / scale,
        "normalised_high": high / scale,
        "fit_ratio": fits[0] / fits[1] if all(fits) else None,
        "rounds": min(here["rounds"], there["rounds"]),
    }
    recalls = [row["recall"] for row in (here, there)]
    if None not in recalls and abs(recalls[0] - recalls[1]) > recall_within:
        return found | {"verdict": "answer changed", "why": f"recall was {recalls[1]:.4f} and is {recalls[0]:.4f}"}
    why = [f"{each} {place}" for row, place in ((there, "in the baseline"), (here, "here")) for each in flags(row)]
    why += ["the machines differ, and a ceiling is not known"] * (expected is None)
    return found | {"verdict": judge(low / scale, high / scale, within), "why": "; ".join(why)}


def flags(row):
    return (row["flags"] or "").split("; ") if row["flags"] else []


def compare_order(new, base, fast, slow, baseline_ratio):
    """Compare an ordering of the baseline, which is beyond chance there, with the other side; a row of `ORDERINGS`."""
    found, low, high = compare_times((new, slow), (new, fast))
    verdict = "holds" if low > 1 else "reversed" if high < 1 else UNDECIDED
    why = []
    if verdict != "holds":
        rows = [side.rows[key] for side in (base, new) for key in (fast, slow)]
        places = ["in the baseline"] * 2 + ["here"] * 2
        why += [f"{name_of(row)} is {each} {place}" for row, place in zip(rows, places, strict=True) for each in flags(row)]
        why += ["one round, in which processes may differ"] * (min(row["rounds"] for row in rows) == 1)
        why += [f"other machine: {new.machine}, not {base.machine}"] * (new.machine != base.machine)
        for then, now in zip(rows[:2], rows[2:], strict=True):
            why += [f"{now['versions']}, not {then['versions']}"] * (now["versions"] != then["versions"])
        why += ["within chance of each other here"] * (verdict == UNDECIDED)
    names = [f"{key[1]}-{key[2]}" for key in (fast, slow)]
    place = dict(zip(CELL, fast, strict=True))
    return dict(
        zip(ORDERINGS, (*(place[name] for name in SEARCH), *names, baseline_ratio, found, verdict, "; ".join(why)), strict=True)
    )


def compare_orders(new, base, comparable):
    """Compare the orderings of backends that are beyond chance in the baseline; rows of `ORDERINGS`.

    Parameters
    ----------
    new, base : Side
    comparable : list of keys, cells that have a time and the same answer in both
    """
    groups = {}
    for key in comparable:
        place = dict(zip(CELL, key, strict=True))
        groups.setdefault(tuple(place[name] for name in SEARCH), []).append(key)
    found = []
    for keys in groups.values():
        for pair in itertools.combinations(keys, 2):
            fast, slow = sorted(pair, key=lambda key: base.rows[key]["query_median_s"])
            then, low, _ = compare_times((base, slow), (base, fast))
            if low > 1:
                found.append(compare_order(new, base, fast, slow, then))
    return found


def summarise(new, base, cells, orderings, within):
    """Say in a few lines what reproduced.

    Parameters
    ----------
    new, base : Side
    cells, orderings : DataFrame, rows of `CELLS` and `ORDERINGS`
    within : float, share

    Returns
    -------
    text : str
    """
    orders = orderings["verdict"].value_counts()
    others = ", ".join(f"{count} {verdict}" for verdict, count in orders.items() if verdict != "holds")
    lines = [
        f"{orders.get('holds', 0)} of {len(orderings)} orderings of backends hold" + (f" ({others})." if others else "."),
        f"Baseline: {base.name}, {base.machine or 'machine not known'}.",
        f"Compared: {new.name}, {new.machine or 'machine not known'}.",
    ]
    counts = cells["verdict"].value_counts()
    words = {"reproduced": f"reproduced within {within:.0%}"}
    lines += [
        f"Of {len(cells)} cells: "
        + ", ".join(f"{counts[each]} {words.get(each, each)}" for each in VERDICTS if each in counts)
        + "."
    ]
    if beyond := len(new.rows.keys() - base.rows.keys()):
        lines += [f"{beyond} more cells are not in the baseline."]
    if new.machine != base.machine:
        lines += ["Ratios are normalised by what the two machines reach at most, as a search over all pairs would change."]
    if (cells["rounds"] == 1).any():
        lines += [
            "Of cells with one round the ratio has what that round spreads, which says nothing of the next (timing.rounds)."
        ]
    for verdict in ("answer changed", "not comparable", "slower", "faster"):
        some = cells[cells["verdict"] == verdict].sort_values("normalised", ascending=verdict == "faster")
        for row in some.head(5).to_dict("records"):
            place = f"{row['dataset']}: {row['backend']}-{row['device']}, K = {row['n_neighbors']}"
            times = f", {row['normalised']:.2f} times the baseline's time" if pd.notna(row["normalised"]) else ""
            lines += [f"{verdict}: {place}{times}" + (f" ({row['why']})" if row["why"] else "")]
        lines += [f"{verdict}: and {len(some) - 5} more"] * (len(some) > 5)
    for row in orderings[orderings["verdict"] == "reversed"].to_dict("records"):
        place = f"{row['dataset']}, K = {row['n_neighbors']}"
        lines += [f"reversed: {place}: {row['slower']} was slower than {row['faster']} ({row['why'] or 'unexplained'})"]
    return "\n".join(lines) + "\n"


def compare(baseline, folder, within, recall_within):
    """Compare results with a baseline.

    Parameters
    ----------
    baseline, folder : Path, results/SUITE, one of published/, or an artifact.zip
    within : float, share by which a time may differ and be reproduced
    recall_within : float, difference of the recall that is no other answer

    Returns
    -------
    cells, orderings : DataFrame, rows of `CELLS` and `ORDERINGS`
    words : str, what reproduced

    Raises
    ------
    SystemExit
        They have nothing in common, or one of them cannot be compared.
    """
    with opened(baseline) as there, opened(folder) as here:
        base, new = read_side(str(baseline), there), read_side(str(folder), here)
    asked = {(key[0], key[3]) for key in new.rows}  # datasets and values of K
    keys = [key for key in base.rows if (key[0], key[3]) in asked]
    if not keys:
        raise SystemExit(f"{base.name} and {new.name} have no dataset with the same K; take another suite or baseline")
    rows = [compare_cell(new, base, key, within, recall_within) for key in keys]
    cells = pd.DataFrame(rows, columns=CELLS)
    same = cells[cells["ratio"].notna() & (cells["verdict"] != "answer changed")]
    comparable = list(same[list(CELLS[:5])].itertuples(index=False, name=None))
    orderings = pd.DataFrame(compare_orders(new, base, comparable), columns=ORDERINGS)
    return cells, orderings, summarise(new, base, cells, orderings, within)
