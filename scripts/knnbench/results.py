"""From records to tables: one row per cell and residency, one row per repeat, and a few lines of words."""

import json
import statistics

from knnbench.clock import median_interval
from knnbench.record import STATUSES

PHASES = ("import", "load", "transfer", "train", "add", "first_query")
FIT = ("transfer", "train", "add")
MEMORY = ("loaded", "fit", "query")
NOT_RUN = tuple(status for status in STATUSES if status not in ("ok", "low_recall"))


def residencies(device):
    """Where queries and results live when the clock runs: rows of a cell."""
    return ("host", "device") if device == "gpu" else ("host",)


def median_of_known(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def row(config, cell, dataset, records, residency):
    """Summarise the rounds of a cell.

    Parameters
    ----------
    config : dict, the saved configuration
    cell : config.Cell
    dataset : dict, attributes of the dataset file
    records : list of dict, one per round
    residency : {"host", "device"}

    Returns
    -------
    row : dict, column -> value; None where nothing was measured
    """
    worst = max(records, key=lambda record: STATUSES.index(record["status"]))
    backend = config["backends"][cell.backend]
    samples = [ns / 1e9 for record in records for ns in record.get("query_ns", {}).get(residency, [])]
    complete = samples and worst["status"] not in NOT_RUN
    low, high = median_interval(samples) if complete else (None, None)
    phases = {phase: median_of_known([record.get("phases_ns", {}).get(phase) for record in records]) for phase in PHASES}
    fitted = phases["first_query"] is not None or worst.get("stage") in ("first_query", "query", "score")
    seconds = {f"{phase}_s": None if ns is None else ns / 1e9 for phase, ns in phases.items()}
    machine = worst["machine"]
    return {
        "schema_version": worst["schema_version"],
        "suite": config["suite"],
        "dataset": cell.dataset,
        "title": config["datasets"][cell.dataset]["title"],
        "metric": dataset["distance"],
        "n": int(dataset["n"]),
        "d": int(dataset["dimension"]),
        "queries": int(dataset["q"]),
        "backend": cell.backend,
        "label": backend.get("label", cell.backend),
        "exact": backend["exact"],
        "device": cell.device,
        "residency": residency,
        "n_neighbors": cell.k,
        "status": worst["status"],
        "reason": worst["reason"],
        "recall": median_of_known([record.get("recall") for record in records]),
        "recall_ids": median_of_known([record.get("recall_ids") for record in records]),
        "queries_per_s": int(dataset["q"]) / statistics.median(samples) if complete else None,
        "query_median_s": statistics.median(samples) if complete else None,
        "query_low_s": low,
        "query_high_s": high,
        "query_min_s": min(samples, default=None),
        "query_max_s": max(samples, default=None),
        "repeats": len(samples),
        "rounds": len(records),
        "fit_s": sum(phases[phase] or 0 for phase in FIT) / 1e9 if fitted else None,
        **seconds,
        **{f"{name}_bytes": median_of_known([r.get("memory_bytes", {}).get(name) for r in records]) for name in MEMORY},
        "max_rss_bytes": max(record["max_rss_bytes"] for record in records) or None,
        "threads": worst.get("threads"),
        "environment": worst["environment"],
        "versions": "; ".join(f"{name} {version}" for name, version in worst.get("versions", {}).items()),
        "parameters": json.dumps(worst["parameters"]),
        "node": machine["node"],
        "cpu": machine["cpu"],
        "cpus": machine["cpus"],
        "gpu": machine.get("gpu"),
        "load_before": machine.get("load", [None, None])[0],
        "load_after": machine.get("load", [None, None])[1],
        "dataset_sha256": worst.get("dataset", {}).get("sha256"),
        "started": worst["started"],
    }


def sample_rows(cell, records):
    """One row per timed repeat, in the order of measurement."""
    return [
        {
            "dataset": cell.dataset,
            "backend": cell.backend,
            "device": cell.device,
            "residency": residency,
            "n_neighbors": cell.k,
            "round": number,
            "repeat": repeat,
            "query_s": ns / 1e9,
        }
        for number, record in enumerate(records)
        for residency, samples in record.get("query_ns", {}).items()
        for repeat, ns in enumerate(samples)
    ]


def name_of(row):
    """How a row is called in words: label and device."""
    place = ", on the device" if row["residency"] == "device" else ""
    return f"{row['label']} ({row['device'].upper()}{place})"


def summarise(timings):
    """Say in a few lines what came out.

    Parameters
    ----------
    timings : DataFrame, the rows of timings.csv

    Returns
    -------
    text : str
    """
    counts = timings["status"].value_counts()
    lines = [f"Suite {timings['suite'][0]}: {len(timings)} rows, " + ", ".join(f"{n} {s}" for s, n in counts.items())]
    k = min(timings["n_neighbors"].unique(), key=lambda k: (abs(k - 10), k))
    lines += ["", f"Fastest exact backend at K = {k}, queries per second:"]
    exact = timings[timings["exact"] & (timings["n_neighbors"] == k) & (timings["status"] == "ok")]
    for dataset in timings["dataset"].unique():
        ranked = exact[exact["dataset"] == dataset].sort_values("query_median_s").to_dict("records")
        if not ranked:
            lines.append(f"  {dataset:20} none was measured")
            continue
        best = ranked[0]
        tied = [name_of(row) for row in ranked[1:] if row["query_low_s"] <= best["query_high_s"]]
        also = f"; the intervals of {', '.join(tied)} overlap with its own" if tied else ""
        lines.append(f"  {dataset:20} {best['queries_per_s']:12,.0f}  {name_of(best)}{also}")
    missing = timings[timings["status"].isin(NOT_RUN)]
    again = "Did not run (to try a cell again, delete its record in results/cells):"
    lines += ["", again if len(missing) else "Every cell ran."]
    for (status, reason), rows in missing.groupby(["status", "reason"], sort=False):
        who = ", ".join(dict.fromkeys(f"{row['backend']}-{row['device']}" for row in rows.to_dict("records")))
        lines.append(f"  {status}, {len(rows)} rows: {reason}: {who}")
    return "\n".join(lines) + "\n"
