"""Several callers at once, and several numbers of threads: rows of callers.csv and of threads.csv."""

import json

import pandas as pd

from knnbench.config.settings import points_of
from knnbench.config.suite import cells
from knnbench.measure.statuses import NOT_RUN, STATUSES
from knnbench.results.calls import at_point, geometric_mean, median_of_known
from knnbench.results.machines import rounds_by_machine, text_of, whole_machine
from knnbench.results.tables import CALLER, THREAD

LEAST_CALLS = 100  # of a 95th percentile
SAME = ["dataset", "family", "setting", "device", "n_neighbors", "machine"]  # of rows that differ in their threads


def caller_rows(config, records_of, datasets):
    """Rows of callers.csv.

    Parameters
    ----------
    config : dict, the saved configuration
    records_of : dict, cell -> list of dict, a record for each round
    datasets : dict, name -> attributes of the dataset file

    Returns
    -------
    rows : list of dict, columns `tables.CALLER`
        Of each point of a cell, a row for each number of queries in a call and of callers; of one that several could not ask,
        one row without numbers. `reason` says why.
    """
    points, rows = points_of(config["backends"]), []
    for cell in cells(config):
        for name, point in points.items():
            if point["build"] != cell.backend or "callers" not in point:
                continue
            for records in rounds_by_machine([at_point(record, point["number"]) for record in records_of[cell]]):
                known = {
                    "dataset": cell.dataset,
                    "title": config["datasets"][cell.dataset]["title"],
                    "metric": datasets[cell.dataset]["distance"],
                    "backend": name,
                    "family": point["family"],
                    "setting": json.dumps(point["setting"]),
                    "label": point["label"],
                    "device": cell.device,
                    "n_neighbors": cell.k,
                    "machine": whole_machine(records[0]["machine"]),
                    "threads": records[0].get("threads_asked"),
                    "rounds": len(records),
                    "recall": median_of_known([record.get("recall") for record in records]),
                }
                found = rows_of(records) or [{"calls": 0, "reason": why_none(records)}]
                rows += [dict.fromkeys(CALLER) | known | each for each in found]
    return rows


def why_none(records):
    """Why no round of a cell was asked by several callers."""
    worst = max(records, key=lambda record: STATUSES.index(record["status"]))
    alone = [record["callers"]["alone"] for record in records if "alone" in record.get("callers", {})]
    if alone or worst["status"] not in NOT_RUN:
        return "; ".join(dict.fromkeys(alone)) or worst["reason"] or "it answers no single calls"
    return f"{worst['status']}: {worst['reason']}"


def rows_of(records):
    """What the rounds of a cell, or of a point, found of each number of queries in a call and of callers: a list of dict."""
    found = {}
    for record in records:
        for size, numbers in record.get("callers", {}).items():
            for number, each in numbers.items() if size != "alone" else ():
                found.setdefault((int(size), int(number)), []).append(each)
    rates = {
        place: [place[0] * each["calls"] / each["span_ns"] * 1e9 for each in rounds if "calls" in each]
        for place, rounds in found.items()
    }
    rows = []
    for (size, number), rounds in found.items():
        known, each_per_s = [each for each in rounds if "calls" in each], rates[size, number]
        alone = rates.get((size, 1))
        rate = geometric_mean(each_per_s) if each_per_s else None
        many = [each["p95_ns"] / 1e9 for each in known if each["calls"] >= LEAST_CALLS]
        rows.append(
            {
                "callers": number,
                "queries": size,
                "calls": sum(each["calls"] for each in known),
                "rounds": len(rounds),
                "queries_per_s": rate,
                "queries_per_s_low": min(each_per_s, default=None),
                "queries_per_s_high": max(each_per_s, default=None),
                "speed_up": rate / geometric_mean(alone) if rate and alone else None,
                "p50_s": median_of_known([each["p50_ns"] / 1e9 for each in known]),
                "p95_s": median_of_known(many) if len(many) == len(known) else None,
                "checked": sum(each["checked"] for each in known),
                "wrong": sum(each["wrong"] for each in known),
                "reason": "; ".join(dict.fromkeys(each["error"] for each in rounds if "error" in each)),
            }
        )
    return rows


def caller_notes(rows):
    """What the summary says of callers: whose answers were wrong, and whom several cannot ask; a list of lines."""
    wrong = {f"{row['family']}-{row['device']}": None for row in rows if row["wrong"]}
    lines = [f"Wrong answers where several callers asked at once (callers.csv): {', '.join(wrong)}\n"] * bool(wrong)
    reasons = {}
    for row in rows:
        if row["reason"] and row["recall"] is not None:  # of the others the summary says why they did not run
            reasons.setdefault(row["reason"], {})[f"{row['family']}-{row['device']}"] = None
    return lines + [f"Not asked by several callers: {why}: {', '.join(names)}\n" for why, names in reasons.items()]


def thread_rows(points):
    """Rows of threads.csv: points that were measured on a CPU under several numbers of threads.

    Parameters
    ----------
    points : DataFrame, of Results.points

    Returns
    -------
    rows : DataFrame, columns `tables.THREAD`
        `speed_up` and `fit_speed_up` are over one thread, and empty where that was not measured.
    """
    some = points[(points["residency"] == "host") & (points["device"] == "cpu")].dropna(subset=["cpu", "threads_asked"])
    some = some.assign(
        machine=[whole_machine(text_of(row)) for row in some.to_dict("records")], threads=some["threads_asked"].astype(int)
    )
    some = some.drop_duplicates([*SAME, "threads"])  # which stand with each model of GPU
    some = some[some.groupby(SAME)["threads"].transform("nunique") > 1].sort_values("threads", kind="stable")
    one = some[some["threads"] == 1].set_index(SAME)
    alone = one.reindex(pd.MultiIndex.from_frame(some[SAME]))
    ups = {"speed_up": some["queries_per_s"] / alone["queries_per_s"].to_numpy()}
    ups["fit_speed_up"] = alone["fit_s"].to_numpy() / some["fit_s"]
    return some.assign(**ups).sort_values([*SAME, "threads"], kind="stable")[list(THREAD)]
