"""From records to a table: one row per cell and residency."""

import json
import math
import statistics

from knnbench.measure.clock import median_interval
from knnbench.measure.statuses import NOT_RUN, SCHEMA_VERSION, STATUSES
from knnbench.results.calls import batch_quantiles, median_of_known, times
from knnbench.results.flags import flags_of, is_no_control
from knnbench.results.intervals import estimate, interval
from knnbench.results.machines import machine_of
from knnbench.results.roofline import BYTES, least_time, least_work

PHASES = ("import", "load", "transfer", "train", "add", "compile", "first_query")
FIT = {"transfer", "train", "add"}
QUANTILES = ("recall_p05", "recall_p25", "recall_p50", "recall_zero")
MEMORY = ("loaded", "fit", "query")


def max_of_known(values):
    return max((value for value in values if value is not None), default=None)


def ranges(records, deterministic):
    """What varies between the builds of an index: the time of the fit with its interval, and the recall.

    Parameters
    ----------
    records : list of dict, one per round
    deterministic : bool, whether the rounds share one saved build, since each is the same

    Returns
    -------
    found : dict
        fit_s; fit_low_s, fit_high_s, of two builds or more; recall, the median, and recall_low, recall_high, the range.
    """
    built = records[:1] if deterministic or any(record.get("one_build") for record in records) else records
    phases = [record.get("phases_ns", {}) for record in built]
    fits = [[sum(each[phase] for phase in FIT) / 1e9] for each in phases if each.keys() >= FIT]
    fit = low = high = None
    if len(fits) > 1:
        pooled = estimate(fits)
        fit, (low, high) = math.exp(pooled.log), interval(pooled)
    elif fits:
        fit = fits[0][0]
    recalls = [record["recall"] for record in records if record.get("recall") is not None]
    found = {"fit_s": fit, "fit_low_s": low, "fit_high_s": high, "recall": median_of_known(recalls)}
    return found | {"recall_low": min(recalls, default=None), "recall_high": max(recalls, default=None)}


def left_out(config, cell, status, reason):
    """What stands for the records of a cell that got no job."""
    backend = config["backends"][cell.backend]
    return {
        "schema_version": SCHEMA_VERSION,
        "status": status,
        "reason": reason,
        "environment": backend["environments"][cell.device],
        "parameters": backend["parameters"],
        "machine": dict.fromkeys(("node", "cpu", "cpus")),
        "max_rss_bytes": 0,
        "started": None,
    }


def row(config, cell, dataset, records, residency, ceiling):
    """Summarise the rounds of a cell.

    Parameters
    ----------
    config : dict, the saved configuration
    cell : config.Cell
        Of a backend with settings, a point of it: `config` has an entry for each (settings.points_of).
    dataset : dict, attributes of the dataset file; without n, q and dimension if there is no such dataset
    records : list of dict, one per round, of one machine
    residency : {"host", "device"}
    ceiling : dict, what this machine's device reaches at most, from measure_ceilings.py, or None

    Returns
    -------
    row : dict, column -> value; None where nothing was measured
    """
    worst = max(records, key=lambda record: STATUSES.index(record["status"]))
    backend = config["backends"][cell.backend]
    n, q, d = (int(dataset[name]) if name in dataset else None for name in ("n", "q", "dimension"))
    rounds = times(records, residency)
    samples = [sample for each in rounds for sample in each]
    median = low = high = fraction = None
    if samples and worst["status"] not in NOT_RUN:  # every round came to its end: only then does the cell have a time
        if len(rounds) > 1:
            pooled = estimate(rounds)
            median, (low, high) = math.exp(pooled.log), interval(pooled)
        else:
            median, (low, high) = statistics.median(samples), median_interval(samples)
    control = backend["control"]
    precision = backend["parameters"].get("precision", "float32")
    bounded = n and not control and precision in BYTES and (backend["exact"] or backend["brute_force"])
    operations, moved = least_work(n, q, d, cell.k, precision) if bounded else (None, None)
    here = ceiling and machine_of(ceiling["machine"]) == machine_of(worst["machine"])
    if median and operations and not backend["prunes"] and here and ceiling["status"] == "ok":
        least = least_time(operations, moved, ceiling, precision)
        fraction = least and least / median

    def over_rounds(group, name):
        """Median over rounds of something in the records, None where no round has it."""
        return median_of_known([record.get(group, {}).get(name) for record in records])

    phases = {phase: over_rounds("phases_ns", phase) for phase in (*PHASES, "load_index")}
    seconds = {phase: None if ns is None else ns / 1e9 for phase, ns in phases.items()}
    if seconds["load"] is not None:
        seconds["load"] += seconds["load_index"] or 0
    vary = ranges(records, backend["saves"] and backend["deterministic"])
    timed = min((record["queries_timed"] for record in records if "queries_timed" in record), default=None)
    timing = config["timing"]
    known = {
        "above_ceiling": fraction is not None and fraction > 1,
        "over_page_limit": (vary["fit_s"] or 0) > timing["page_fit_s"] or (median or 0) > timing["page_query_s"],
        "no_control": control
        and vary["recall"] is not None
        and is_no_control(backend["parameters"].get("what"), vary["recall"], n, cell.k, timed * cell.k),
    }
    single = batch_quantiles(records, residency, 1)
    weighed = [(record.get("energy_j", {}).get(residency, {}), record.get("queries_timed")) for record in records]
    machine, gpu = worst["machine"], worst.get("gpu_state") or {}
    return {
        "schema_version": worst["schema_version"],
        "suite": config["suite"],
        "dataset": cell.dataset,
        "title": config["datasets"][cell.dataset]["title"],
        "metric": dataset["distance"],
        "n": n,
        "d": d,
        "queries": q,
        "backend": cell.backend,
        "family": backend["family"],
        "setting": json.dumps(backend["setting"]),
        "label": backend["label"],
        "exact": backend["exact"],
        "prunes": backend["prunes"],
        "precision": precision,
        "device": cell.device,
        "residency": residency,
        "n_neighbors": cell.k,
        "status": worst["status"],
        "reason": worst["reason"],
        "flags": flags_of(records, rounds, known),
        "control": control,
        **{name: vary[name] for name in ("recall", "recall_low", "recall_high")},
        **{name: median_of_known([record.get(name) for record in records]) for name in QUANTILES},
        "recall_ids": median_of_known([record.get("recall_ids") for record in records]),
        "wrong_neighbors": max_of_known([record.get("wrong_neighbors") for record in records]),
        "distance_error": max_of_known([record.get("distance_error") for record in records]),
        "queries_timed": timed,
        "queries_per_s": q / median if median else None,
        "query_median_s": median,
        "query_low_s": low,
        "query_high_s": high,
        "query_min_s": min(samples, default=None),
        "query_max_s": max(samples, default=None),
        "repeats": len(samples),
        "rounds": len(records),
        "cell_s": median_of_known([record.get("cell_s") for record in records]),
        "single_p50_s": single["p50_s"],
        "single_p95_s": single["p95_s"],
        "single_p99_s": single["p99_s"],
        "single_first_s": single["first_s"],
        "single_calls": single["calls"],
        **{name: vary[name] for name in ("fit_s", "fit_low_s", "fit_high_s")},
        **{f"{phase}_s": seconds[phase] for phase in PHASES},
        "index": "saved" if backend["saves"] else "in the cell",
        "index_bytes": median_of_known([record.get("index_bytes") for record in records]),
        **{f"{name}_bytes": over_rounds("memory_bytes", name) for name in MEMORY},
        **{f"device_{name}_bytes": over_rounds("device_memory_bytes", name) for name in MEMORY},
        "max_rss_bytes": max(record["max_rss_bytes"] for record in records) or None,
        **{  # of the queries that each round asked
            f"{place}_joules_per_query": median_of_known(
                [joules[place] / asked for joules, asked in weighed if joules.get(place) is not None]
            )
            for place in ("cpu", "gpu")
        },
        "least_operations": operations,
        "least_bytes": moved,
        "ceiling_fraction": fraction,
        "threads": worst.get("threads"),
        "environment": worst["environment"],
        "versions": "; ".join(f"{name} {version}" for name, version in worst.get("versions", {}).items()),
        "parameters": json.dumps(worst["parameters"], sort_keys=True),
        "node": machine["node"],
        "cpu": machine["cpu"],
        "cpus": machine["cpus"],
        "governor": machine.get("governor"),
        "gpu": machine.get("gpu"),
        "gpu_sm_mhz": gpu.get("sm_mhz"),
        "gpu_celsius": gpu.get("celsius"),
        "gpu_slowed_by": ", ".join(gpu["slowed_by"]) if gpu else None,
        "load_before": machine.get("load", [None, None])[0],
        "load_after": machine.get("load", [None, None])[1],
        "attempts": max(record["machine"].get("attempts", 1) for record in records),
        "others_cpus": max_of_known([record.get("noise", {}).get("others_cpus") for record in records]),
        "dataset_sha256": worst.get("dataset", {}).get("sha256"),
        "started": min((record["started"] for record in records if record["started"]), default=None),
        "ended": max((record.get("ended", record["started"]) for record in records if record["started"]), default=None),
    }
