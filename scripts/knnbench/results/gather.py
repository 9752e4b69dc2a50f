"""From records to tables: one row per cell and residency, one row per repeat, and a few lines of words."""

import json
import math
import statistics

from knnbench.measure.clock import median_interval
from knnbench.measure.record import NOT_RUN, SCHEMA_VERSION, STATUSES
from knnbench.results.intervals import drifts, estimate, interval, is_bimodal
from knnbench.results.machines import machine_of, machine_words
from knnbench.results.roofline import least_time, least_work

PHASES = ("import", "load", "transfer", "train", "add", "compile", "first_query")
FIT = ("transfer", "train", "add")
MEMORY = ("loaded", "fit", "query")


def median_of_known(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def max_of_known(values):
    return max((value for value in values if value is not None), default=None)


def times(records, residency):
    """Samples of a cell in seconds, a list per round that has any."""
    rounds = [record.get("query_ns", {}).get(residency, []) for record in records]
    return [[ns / 1e9 for ns in samples] for samples in rounds if samples]


def flags_of(records, rounds, fraction):
    """Words for what a reader should doubt: the machine, the samples, or the measurement itself."""
    noises = [record.get(stretch, {}) for record in records for stretch in ("noise", "batch_noise")]
    before = [record["machine"].get("gpu_before") or {} for record in records]
    after = [record.get("gpu_state") or {} for record in records]
    slowed = {reason for state in after for reason in state.get("slowed_by", ())} - {"SwPowerCap"}  # usual under full load
    # The driver's utilisation looks back a second, at the cell before: others are there only if they have a process.
    busy = any((state.get("busy_percent") or 0) > 5 and state.get("processes") for state in before)
    found = {
        "noisy": busy or any(noise.get("noisy") for noise in noises),
        "fit_elsewhere": any(
            machine_of(record.get("fit_machine", record["machine"])) != machine_of(record["machine"]) for record in records
        ),
        "noisy_fit": any(record.get("fit_noise", {}).get("noisy") for record in records),
        "throttled": bool(slowed),
        "quota": any(noise.get("held_s") for noise in noises),
        "inherited": any({"LD_LIBRARY_PATH", "CXX"} & record["machine"].get("variables", {}).keys() for record in records),
        "drift": any(drifts(samples) for samples in rounds),
        "bimodal": any(is_bimodal(samples) for samples in rounds),
        "above_ceiling": fraction is not None and fraction > 1,
    }
    return "; ".join(name for name, holds in found.items() if holds)


def batch_quantiles(records, residency, size):
    """Latency of calls with `size` queries, all rounds together: the first call of each round apart.

    Returns
    -------
    found : dict
        calls; first_s, median over rounds; p50_s, p95_s, p99_s by nearest rank: of fewer than 100 calls, p99 is the slowest.
    """
    calls = sorted(ns / 1e9 for record in records for ns in record.get("batch_ns", {}).get(residency, {}).get(str(size), []))
    first = median_of_known([record.get("first_batch_ns", {}).get(residency, {}).get(str(size)) for record in records])
    found = {"calls": len(calls), "first_s": None if first is None else first / 1e9}
    ranks = {percent: max(0, math.ceil(percent / 100 * len(calls)) - 1) for percent in (50, 95, 99)}
    return found | {f"p{percent}_s": calls[rank] if calls else None for percent, rank in ranks.items()}


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
    operations, moved = least_work(n, q, d, cell.k) if backend["exact"] and n else (None, None)
    here = ceiling and machine_of(ceiling["machine"]) == machine_of(worst["machine"])
    if median and backend["exact"] and not backend["prunes"] and here and ceiling["status"] == "ok":
        fraction = least_time(operations, moved, ceiling) / median

    def over_rounds(group, name, share=None):
        """Median over rounds of something in the records, None where no round has it."""
        found = [record.get(group, {}) for record in records]
        return median_of_known([(each.get(share, {}) if share else each).get(name) for each in found])

    phases = {phase: over_rounds("phases_ns", phase) for phase in (*PHASES, "load_index")}
    seconds = {phase: None if ns is None else ns / 1e9 for phase, ns in phases.items()}
    if seconds["load"] is not None:
        seconds["load"] += seconds["load_index"] or 0
    fitted = all(seconds[phase] is not None for phase in FIT)
    single = batch_quantiles(records, residency, 1)
    joules = {place: over_rounds("energy_j", place, residency) for place in ("cpu", "gpu")}
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
        "label": backend.get("label", cell.backend),
        "exact": backend["exact"],
        "prunes": backend["prunes"],
        "device": cell.device,
        "residency": residency,
        "n_neighbors": cell.k,
        "status": worst["status"],
        "reason": worst["reason"],
        "flags": flags_of(records, rounds, fraction),
        "recall": median_of_known([record.get("recall") for record in records]),
        "recall_ids": median_of_known([record.get("recall_ids") for record in records]),
        "wrong_neighbors": max_of_known([record.get("wrong_neighbors") for record in records]),
        "distance_error": max_of_known([record.get("distance_error") for record in records]),
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
        "fit_s": sum(seconds[phase] for phase in FIT) if fitted else None,
        **{f"{phase}_s": seconds[phase] for phase in PHASES},
        "index": "saved" if backend["saves"] else "in the cell",
        "index_bytes": median_of_known([record.get("index_bytes") for record in records]),
        **{f"{name}_bytes": over_rounds("memory_bytes", name) for name in MEMORY},
        **{f"device_{name}_bytes": over_rounds("device_memory_bytes", name) for name in MEMORY},
        "max_rss_bytes": max(record["max_rss_bytes"] for record in records) or None,
        **{f"{place}_joules_per_query": None if joules[place] is None else joules[place] / q for place in joules},
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
        "started": worst["started"],
    }


def batch_rows(config, cell, records, residency):
    """One row per batch size of a cell: latencies of calls with that many queries."""
    return [
        {
            "dataset": cell.dataset,
            "backend": cell.backend,
            "device": cell.device,
            "residency": residency,
            "n_neighbors": cell.k,
            "machine": machine_words(records[0]["machine"]),
            "batch_size": size,
            **(found := batch_quantiles(records, residency, size)),
            "queries_per_s": size / found["p50_s"] if found["calls"] else None,
        }
        for size in (1, *config["timing"]["batch_sizes"])
    ]


def sample_rows(cell, records):
    """One row per timed call, in the order of measurement; `batch` is the number of queries, all of them if empty."""
    rows = []
    for number, record in enumerate(records):
        passes = [(residency, None, samples) for residency, samples in record.get("query_ns", {}).items()]
        calls = [
            (residency, int(size), samples)
            for residency, sizes in record.get("batch_ns", {}).items()
            for size, samples in sizes.items()
        ]
        rows += [
            {
                "dataset": cell.dataset,
                "backend": cell.backend,
                "device": cell.device,
                "residency": residency,
                "n_neighbors": cell.k,
                "machine": machine_words(record["machine"]),
                "round": number,
                "batch": batch,
                "repeat": repeat,
                "loops": record["loops"][residency] if batch is None else 1,
                "seconds": ns / 1e9,
            }
            for residency, batch, samples in passes + calls
            for repeat, ns in enumerate(samples)
        ]
    return rows
