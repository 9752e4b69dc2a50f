"""What the page lists and draws: rows, tables, failures and claims, as its template and its script take them."""

import math

import pandas as pd

from knnbench.config.names import plain
from knnbench.draw.calls import PLACE, calls_of, places
from knnbench.draw.figures import limits
from knnbench.draw.recalls import speeds_at_recalls
from knnbench.measure.statuses import MISSING
from knnbench.results.claims import overall
from knnbench.results.curves import STANDS_AT
from knnbench.results.datasets import BETWEEN
from knnbench.results.findings import INTERVAL, break_even_words, findings, interval_of, number, order_of, seconds
from knnbench.results.machines import machine_of, machine_words, setup_words, slowing_words, text_of
from knnbench.results.pairs import UNDECIDED
from knnbench.results.samples import passes
from knnbench.results.tables import read_csv
from knnbench.results.words import control_words

LOG_LINES = 15
# Columns of the rows in the page, besides rounds and batches.
SHOWN = (  # noqa: SIM905
    "dataset curve name at device residency machine n_neighbors status exact prunes metric n d queries_timed"
    " single_p50_s single_p95_s memory_bytes queries_per_s queries_per_s_low queries_per_s_high query_interval flags"
    " query_min_s query_max_s recall recall_low recall_high"
    " build fit_s ceiling_fraction import_s load_s transfer_s train_s add_s compile_s first_query_s query_median_s"
    " loaded_bytes fit_bytes query_bytes device_loaded_bytes device_fit_bytes device_query_bytes"
).split()
MACHINE = {"machine": ("machine", lambda row: (machine_words(text_of(row)), None))}  # where there are several
COLUMNS = {  # of the page's tables: header -> name in its CSV, and (text, value to sort by) of a row
    "backend": ("name", lambda row: (row["name"], None)),
    "setting": ("at", lambda row: (row["at"], None)),
    "K": ("n_neighbors", lambda row: (row["n_neighbors"], row["n_neighbors"])),
    "status": ("status", lambda row: (row["status"], None)),
    "queries/s": ("queries_per_s", lambda row: (number(row["queries_per_s"]), row["queries_per_s"])),
    "interval": ("queries_per_s_low", lambda row: (interval_of(row), row["queries_per_s_low"])),
    "interval from": ("query_interval", lambda row: ("" if pd.isna(row["query_interval"]) else row["query_interval"], None)),
    "queries asked": ("queries_timed", lambda row: (f"{row['queries_timed']:,.0f}", row["queries_timed"])),
    "recall": ("recall", lambda row: (f"{row['recall']:.4f}", row["recall"])),
    "recall of the rounds": (
        "recall_low",
        lambda row: (f"{row['recall_low']:.4f} to {row['recall_high']:.4f}", row["recall_low"]),
    ),
    "recall, 5% quantile": ("recall_p05", lambda row: (f"{row['recall_p05']:.4f}", row["recall_p05"])),
    "fit": ("fit_s", lambda row: (seconds(row["fit_s"]), row["fit_s"])),
    "fit, interval": (
        "fit_low_s",
        lambda row: (f"{INTERVAL} {seconds(row['fit_low_s'])} to {seconds(row['fit_high_s'])}", row["fit_low_s"]),
    ),
    "compile": ("compile_s", lambda row: (seconds(row["compile_s"]), row["compile_s"])),
    "one query, median": ("single_p50_s", lambda row: (seconds(row["single_p50_s"]), row["single_p50_s"])),
    "one query, 95%": ("single_p95_s", lambda row: (seconds(row["single_p95_s"]), row["single_p95_s"])),
    "one query, 99%": ("single_p99_s", lambda row: (seconds(row["single_p99_s"]), row["single_p99_s"])),
    "one query, calls": ("single_calls", lambda row: (f"{row['single_calls']:,.0f}", row["single_calls"] or math.nan)),
    "memory": ("memory_bytes", lambda row: (megabytes(row), row["memory_bytes"])),
    "whole cell": ("cell_s", lambda row: (seconds(row["cell_s"]), row["cell_s"])),
    "flags": ("flags", lambda row: ("" if pd.isna(row["flags"]) else row["flags"], None)),
    "why": ("reason", lambda row: ("" if pd.isna(row["reason"]) else row["reason"], None)),
}


def megabytes(row):
    """Peak memory of a row in words."""
    parts = [f"{row['memory_bytes'] / 1e6:,.0f} MB"] if pd.notna(row["memory_bytes"]) else []
    parts += [f"{row['device_memory_bytes'] / 1e6:,.0f} MB on the GPU"] if pd.notna(row["device_memory_bytes"]) else []
    return ", ".join(parts)


def asked(row):
    """How many queries a pass of a row asked, in words."""
    if row["queries_timed"] < row["queries"]:
        return f"{row['queries_timed']:,.0f} of {row['queries']:,.0f} queries"
    return f"all {row['queries']:,.0f} queries"


def chart_rows(timings, results):
    """The rows that the page draws and ranks: columns `SHOWN`, words for hovering, speeds of rounds, latencies of calls.

    Parameters
    ----------
    timings : DataFrame, `results.points`, `results.timings` or `results.controls`
    results : Results
    """
    timed = passes(results.samples, pd.concat([results.points, results.controls]))
    medians = timed.groupby([*PLACE, "round"], sort=False)["seconds"].median().reset_index()
    rounds = dict(iter(medians.groupby(PLACE, sort=False)))
    rows, timings = [], timings.to_dict("records")
    for row, calls in zip(timings, calls_of(timings, results.batches), strict=True):
        found = {key: value for key in SHOWN if pd.notna(value := row[key])}
        found |= {key: True for key in ("subset", "over", "control") if row[key]}
        if "queries_per_s" in found:
            found |= {"interval": interval_of(row), "memory": megabytes(row), "asked": asked(row)}
        found["note"] = "; ".join(str(row[key]) for key in ("status", "flags") if pd.notna(row[key]) and row[key] != "ok")
        for place in places(row):
            if place in rounds and "queries_per_s" in found:
                speeds = row["queries"] / rounds[place].sort_values("round")["seconds"]
                found["rounds_per_s"] = [float(f"{speed:.5g}") for speed in speeds]
        if calls:
            found["batches"] = {
                size: [None if value is None else float(f"{value:.4g}") for value in times] for size, times in calls.items()
            }
        exact = ("n", "d", "recall")  # the form compares them
        rows.append(
            {
                key: float(f"{value:.5g}") if isinstance(value, float) and key not in exact else value
                for key, value in found.items()
            }
        )
    return rows


def table_row(row, columns):
    """A row of the page's table: (text, value to sort by) per column, empty where nothing was measured."""
    cells = []
    for _, make in columns.values():
        try:
            text, value = make(row)
        except (TypeError, ValueError):
            text, value = "", None
        missing = isinstance(value, float) and math.isnan(value)
        cells.append(("", "") if missing else (text, value))
    return cells


def log_of(row, logs):
    """The last lines of a cell's log, empty if there is none."""
    place = f"{row['dataset']}/{row['build']}-{row['device']}"
    built = "(building the index)" in str(row["reason"])
    path = logs / (f"build_index/{place}/round0.log" if built else f"measure_cell/{place}/k{row['n_neighbors']}.round0.log")
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]) if path.is_file() else ""


def failures(rows, logs, several):
    """What did not run, by status and reason: the cells, of `several` machines with theirs, and the log of the first."""
    rows = rows[rows["status"].isin(MISSING) & (rows["residency"] == "host")]
    machines = [machine_words(text_of(row)) if several else "" for row in rows.to_dict("records")]
    found = []
    for (status, reason), group in rows.assign(machine=machines).groupby(["status", "reason"], sort=False):
        cells = [
            f"{curve}, K = {', '.join(map(str, part['n_neighbors'].unique()))}" + f" ({machine})" * bool(machine)
            for (curve, machine), part in group.groupby(["name", "machine"], sort=False)
        ]
        log = "" if status == "unavailable" else log_of(group.iloc[0], logs)
        found.append({"status": status, "reason": reason, "count": len(group), "cells": cells, "log": log})
    return found


def grouped(cells):
    """Cells such as "keops-gpu on rd-a: unavailable", by how they ended: "unavailable: keops-gpu (rd-a, rd-b)"."""
    groups = {}
    for cell in dict.fromkeys(cells):
        place, status = cell.split(": ")
        name, dataset = place.split(" on ")
        groups.setdefault(status, {}).setdefault(name, []).append(dataset)
    by_datasets = []
    for status, names in groups.items():
        same = {}
        for name, datasets in names.items():
            same.setdefault(", ".join(datasets), []).append(name)
        by_datasets += [f"{status}: {', '.join(names)} ({datasets})" for datasets, names in same.items()]
    return "; ".join(by_datasets)


def claim_rows(path):
    """The claims for the page, those with a verdict first: one per claim and machine, with its ratios in words."""
    table = read_csv(path).fillna(dict.fromkeys(("machine", "missing", "left_out"), ""))
    table["verdict"] = table["verdict"].replace("not distinguishable", UNDECIDED)  # as it was called up to version 3
    found = []
    for (_, says, machine), rows in table.groupby(["claim", "says", "machine"], sort=False):
        ratios = []
        for row in rows[rows["verdict"] != "not measured"].to_dict("records"):
            ratio, low, high = (
                number(row[name]) if math.isfinite(row[name]) else "∞" for name in ("ratio", "ratio_low", "ratio_high")
            )
            rounds = ", spread of one round" if row["rounds"] == 1 else ""
            pair = f"{row['slower']} over {row['faster']}" if row["slower"] != row["faster"] else row["slower"]
            ratios.append(
                f"{row['dataset']}, K = {row['n_neighbors']}: {row['verdict']}, {ratio} ({low} to {high}{rounds}; {pair})"
            )
        at_least, at_most = rows[["at_least", "at_most"]].iloc[0].astype(float)
        missing = [each for words in rows["missing"] for each in words.split("; ") if each]
        silent = rows[(rows["verdict"] == "not measured") & (rows["missing"] == "")]["left_out"]
        no_answer = grouped(each for words in silent for each in words.split("; ") if each)
        counts = rows["verdict"].value_counts()
        found.append(
            {
                "says": says,
                "machine": machine,
                "verdict": overall(rows["verdict"]),
                "counts": ", ".join(f"{count} {verdict}" for verdict, count in counts.items()) if len(counts) > 1 else "",
                "bounds": f"at least {at_least:g}" if math.isinf(at_most) else f"{at_least:g} to {at_most:g}",
                "ratios": ratios,
                "missing": "; ".join(filter(None, [grouped(missing), f"no answer: {no_answer}" if no_answer else ""])),
            }
        )
    return sorted(found, key=lambda claim: claim["verdict"] == "not measured")


def machine_entries(timings, ceilings):
    """The machines: in words, and what else is known of each; of `ceilings`, the records by device, how one is set up."""
    entries, set_up = [], {}
    for facts in (each["machine"] for each in ceilings.values()):
        slow = slowing_words(facts)
        set_up[machine_of(facts)[0]] = "; ".join(filter(None, (setup_words(facts), slow and f"slower than it can be: {slow}")))
    for words, rows in timings.groupby("machine", sort=False):
        known = [f"{each:.0f} threads" for each in rows["threads"].dropna().unique()]
        known += [f"{name} {each}" for name in ("gpu", "node") for each in rows[name].dropna().unique()]
        known += [how for cpus, how in set_up.items() if how and f"{words}; ".startswith(f"{cpus}; ")]
        entries.append({"words": words, "details": "; ".join(known)})
    return entries


def headline(rows, comparisons, k):
    """The fastest exact row at one K, and the fastest of all whose recall is at least `STANDS_AT`: dicts, or None.

    Parameters
    ----------
    rows : DataFrame, of Results.timings: one dataset, one machine
    comparisons : DataFrame, of Results
    k : int
    """
    done = rows[(rows["residency"] == "host") & (rows["n_neighbors"] == k) & (rows["status"] == "ok")]
    found = []
    for some in (done[done["exact"]], done[done["recall"] >= STANDS_AT]):
        if some.empty:
            found.append(None)
            continue
        best, *others = some.sort_values("query_median_s").to_dict("records")
        speeds = {name: best[f"queries_per_s{end}"] for name, end in (("low", "_low"), ("middle", ""), ("high", "_high"))}
        words = {"speed": number(best["queries_per_s"]), "interval": interval_of(best) or "its interval is not known"}
        words["order"] = order_of(best, others, comparisons)
        found.append({"name": best["name"], "at": best["at"], **words, **speeds})
    return found


def interval_bars(headlines):
    """Where the interval of each headline lies on a logarithmic scale whose limits are those of all medians.

    Each gets `left` and `width`, in percent; one whose interval is not known, none. What is beyond the limits is cut.

    Parameters
    ----------
    headlines : list of dict
    """
    headlines = [each for each in headlines if each["low"] > 0 and math.isfinite(each["high"])]
    if not headlines:
        return
    least, most = limits([each["middle"] for each in headlines])
    for each in headlines:
        low, high = (
            100 * math.log(min(max(each[end], least), most) / least) / math.log(most / least) for end in ("low", "high")
        )
        each |= {"left": round(low, 1), "width": round(max(high - low, 1), 1)}


def failed(points):
    """How many cells of some did not run."""
    return int((points["status"].isin(MISSING) & (points["residency"] == "host")).sum())


def dataset_entry(name, rows, points, controls, results, k, logs, columns):
    """What the page says of one dataset: of `rows` of Results.timings in words and charts, of all `points` in the table."""
    comparisons, said = results.comparisons, results.datasets.reindex(columns=["dataset", "remarks"]).query("dataset == @name")
    first, answers = rows.iloc[0], []
    several = rows["machine"].nunique() > 1
    title = plain(first["title"])
    for machine, here in rows.groupby("machine", sort=False):
        found = findings(here, comparisons, k)
        done = here[(here["residency"] == "host") & (here["n_neighbors"] == k) & (here["status"] == "ok")]
        against, sentences = break_even_words(done)
        place = f"{title}, {machine}" if several else title
        if bounds := control_words(controls[controls["machine"] == machine], k):
            found.append(("What bounds it?", f"{bounds}."))
        answers.append(
            {
                "machine": machine,
                "answers": found,
                "headline": headline(here, comparisons, k),
                "recalls": speeds_at_recalls(points[points["machine"] == machine], k),
                "break_even": f"{place}, against {against}: {' '.join(sentences)}" if sentences else "",
                "failed": failed(points[points["machine"] == machine]),
            }
        )
    size = "there is no such dataset here"
    if pd.notna(first["n"]):
        size = f"{first['queries']:,.0f} queries among {first['n']:,.0f} points in dimension {first['d']:,.0f}"
    own = points.drop_duplicates([each for each in points if each != "machine"])  # which stand with several machines
    return {
        "name": name,
        "title": title,
        "words": f"{name}: {size}, {first['metric']} distance.",
        "remarks": said["remarks"].dropna().iloc[0].split(BETWEEN) if said["remarks"].notna().any() else [],
        "answers": answers,
        "rows": [table_row(row, columns) for row in own.to_dict("records")],
        "failures": failures(own, logs, several),
        "failed": failed(own),
    }
