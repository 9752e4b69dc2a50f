"""From records to tables: a row per cell and residency, per batch size, and per timed call."""

import dataclasses
import json
import statistics

from knnbench.config.settings import points_of
from knnbench.config.suite import cells
from knnbench.measure.statuses import NOT_RUN, SCHEMA_VERSION, STATUSES
from knnbench.results.calls import (
    at_point,
    batch_quantiles,
    batch_rows,
    geometric_mean,
    median_of_known,
    other_ways,
    same_way,
    sample_rows,
    times,
)
from knnbench.results.flags import flags_of, is_no_control, slowed_by
from knnbench.results.machines import facts_of, machine_of, residencies, rounds_by_machine
from knnbench.results.moderation import set_intervals
from knnbench.results.roofline import BYTES, least_time, least_work
from knnbench.results.speeds import SLOW, at_usual_speed, left_out_words, speed_of, usual_paces

PHASES = ("import", "load", "transfer", "train", "add", "compile", "first_query")
FIT = ("transfer", "train", "add")
QUANTILES = ("recall_p05", "recall_p25", "recall_p50", "recall_zero")
MEMORY = ("loaded", "fit", "query")


def max_of_known(values):
    return max((value for value in values if value is not None), default=None)


def min_of_known(values):
    return min((value for value in values if value is not None), default=None)


def fits_of(records):
    """Seconds of the builds that the rounds of a cell had: rounds that share one have its times, to the nanosecond.

    Parameters
    ----------
    records : list of dict, one per round

    Returns
    -------
    fits : list of float
    """
    phases = [record.get("phases_ns", {}) for record in records]
    builds = dict.fromkeys(tuple(each[phase] for phase in FIT) for each in phases if each.keys() >= set(FIT))
    return [sum(build) / 1e9 for build in builds]


def recalls_of(records):
    """The recall over rounds: recall, the median, and recall_low, recall_high, its range; None if no round has one."""
    recalls = [record["recall"] for record in records if record.get("recall") is not None]
    known = {"recall": median_of_known(recalls)}
    return known | {"recall_low": min(recalls, default=None), "recall_high": max(recalls, default=None)}


def row(config, cell, dataset, records, residency, ceiling, paces=None):
    """Summarise the rounds of a cell.

    Parameters
    ----------
    config : dict, the saved configuration
    cell : config.Cell
        Of a backend with settings, a point of it: `config` has an entry for each (settings.points_of).
    dataset : dict, attributes of the dataset file; without n, q and dimension if there is no such dataset
    records : list of dict, one per round, of one machine
        Those that asked in another way than most, or beside a slow machine, are left out if others remain; the reason says so.
    residency : {"host", "device"}
    ceiling : dict, what this machine's device reaches at most, from measure_ceilings.py, or None
    paces : dict, how fast the machines of the run are as a rule (speeds.usual_paces), or None

    Returns
    -------
    row : dict, column -> value; None where nothing was measured
        Its intervals are empty: they are estimated for all rows together, by moderation.set_intervals.
    """
    asked_otherwise, records = other_ways(records, kept := same_way(records)), kept
    slow, records = left_out_words(records, kept := at_usual_speed(records, paces)), kept
    worst = max(records, key=lambda record: STATUSES.index(record["status"]))
    backend = config["backends"][cell.backend]
    n, q, d = (int(dataset[name]) if name in dataset else None for name in ("n", "q", "dimension"))
    rounds = times(records, residency)
    samples = [sample for each in rounds for sample in each]
    median = fraction = None
    if samples and worst["status"] not in NOT_RUN:  # every round came to its end: only then does the cell have a time
        median = geometric_mean([statistics.median(each) for each in rounds])
    control = backend["control"]
    precision = backend["parameters"].get("precision", "float32")
    bounded = n and not control and precision in BYTES and (backend["exact"] or backend["brute_force"])
    operations, moved = least_work(n, q, d, cell.k, precision) if bounded else (None, None)
    reached = ceiling and machine_of(ceiling["machine"] | {"threads_asked": ceiling.get("threads")})
    here = reached == machine_of(facts_of(worst))
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
    fits = fits_of(records)
    fit_s = geometric_mean(fits) if all(fits) and fits else next(iter(fits), None)
    recalls = recalls_of(records)
    first, timed = (min_of_known(record.get(name) for record in records) for name in ("first_queries", "queries_timed"))
    # Records of earlier versions do not count those that are as far away as the K-th.
    chance = median_of_known([record.get("chance") for record in records]) or (n and cell.k / n)
    timing = config["timing"]
    speed = min_of_known(speed_of(record, paces) for record in records)
    known = {
        "above_ceiling": fraction is not None and fraction > 1,
        "over_page_limit": (fit_s or 0) > timing["page_fit_s"] or (median or 0) > timing["page_query_s"],
        "no_control": control
        and recalls["recall"] is not None
        and is_no_control(backend["parameters"].get("what"), recalls["recall"], chance, timed * cell.k),
        "two_ways": bool(asked_otherwise),
        "slow_machine": speed is not None and speed < SLOW,
    }
    single = batch_quantiles(records, residency, 1)
    weighed = [(record.get("energy_j", {}).get(residency, {}), record.get("queries_timed")) for record in records]
    machine, gpu = worst["machine"], worst.get("gpu_state") or {}
    slowed = [f"{reason} {share:.0%}" if share else reason for reason, share in slowed_by(gpu).items()]
    return {
        "schema_version": SCHEMA_VERSION,
        "suite": config["suite"],
        "dataset": cell.dataset,
        "title": config["datasets"][cell.dataset]["title"],
        "metric": dataset["distance"],
        "n": n,
        "d": d,
        "queries": q,
        "backend": cell.backend,
        "family": backend["family"],
        "setting": json.dumps(backend["setting"] | worst.get("searched", {})),
        "label": backend["label"],
        "exact": backend["exact"],
        "prunes": backend["prunes"],
        "precision": precision,
        "device": cell.device,
        "residency": residency,
        "n_neighbors": cell.k,
        "status": worst["status"],
        "reason": "; ".join(filter(None, (worst["reason"], asked_otherwise, slow))),
        "flags": flags_of(records, rounds, known),
        "control": control,
        **recalls,
        **{name: median_of_known([record.get(name) for record in records]) for name in QUANTILES},
        "recall_ids": median_of_known([record.get("recall_ids") for record in records]),
        "wrong_neighbors": max_of_known([record.get("wrong_neighbors") for record in records]),
        "distance_error": max_of_known([record.get("distance_error") for record in records]),
        "queries_timed": timed,
        "queries_per_s": q / median if median else None,
        "query_median_s": median,
        **dict.fromkeys(("query_low_s", "query_high_s", "query_interval", "query_freedom")),  # moderation.set_intervals
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
        "fit_s": fit_s,
        **dict.fromkeys(("fit_low_s", "fit_high_s", "fit_freedom")),
        **{f"{phase}_s": seconds[phase] for phase in PHASES},
        "first_queries": first,
        "index": "saved" if backend["saves"] else "in the cell",
        "index_bytes": median_of_known([record.get("index_bytes") for record in records]),
        **{f"{name}_bytes": over_rounds("memory_bytes", name) for name in MEMORY},
        **{f"device_{name}_bytes": over_rounds("device_memory_bytes", name) for name in MEMORY},
        "device_bytes_of": min((of for record in records for of in record.get("device_memory_of", {}).values()), default=None),
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
        "threads_asked": worst.get("threads_asked"),
        "environment": worst["environment"],
        "versions": "; ".join(f"{name} {version}" for name, version in worst.get("versions", {}).items()),
        "parameters": json.dumps(worst["parameters"], sort_keys=True),
        "node": machine["node"],
        "cpu": machine["cpu"],
        "cpus": machine["cpus"],
        "cores": machine.get("cores"),
        "governor": machine.get("governor"),
        "gpu": machine.get("gpu"),
        "gpu_sm_mhz": gpu.get("sm_mhz"),
        "gpu_celsius": gpu.get("celsius"),
        "gpu_slowed_by": ", ".join(slowed) if gpu else None,
        "load_before": machine.get("load", [None, None])[0],
        "load_after": machine.get("load", [None, None])[1],
        "attempts": max(record["machine"].get("attempts", 1) for record in records),
        "others_cpus": max_of_known([record.get("noise", {}).get("others_cpus") for record in records]),
        "machine_speed": speed,
        "dataset_sha256": worst.get("dataset", {}).get("sha256"),
        "started": min((record["started"] for record in records if record["started"]), default=None),
        "ended": max((record.get("ended", record["started"]) for record in records if record["started"]), default=None),
    }


def gather(config, records_of, datasets, ceilings):
    """Summarise the records of a suite.

    Parameters
    ----------
    config : dict, the saved configuration
    records_of : dict, cell -> list of dict, a record for each round
    datasets : dict, name -> attributes of the dataset file
    ceilings : dict, device -> what measure_ceilings.py wrote

    Returns
    -------
    rows, samples, batches : list of dict
    """
    points = points_of(config["backends"])
    by_point = config | {"backends": points}
    paces = usual_paces(record for records in records_of.values() for record in records)
    rows, rounds, fits, samples, batches = [], [], [], [], []
    for cell in cells(config):
        whole = records_of[cell]
        for name, point in points.items():
            if point["build"] != cell.backend:
                continue
            at = dataclasses.replace(cell, backend=name)
            for records in rounds_by_machine([at_point(record, point["number"]) for record in whole]):
                kept, ceiling = at_usual_speed(same_way(records), paces), ceilings.get(cell.device)
                for residency in residencies(cell.device):
                    rows.append(row(by_point, at, datasets[cell.dataset], records, residency, ceiling, paces))
                    rounds.append(times(kept, residency))
                    fits.append(fits_of(kept))
                    batches += batch_rows(config, at, kept, residency)
                samples += sample_rows(at, records, kept)
    set_intervals(rows, rounds, fits)
    return rows, samples, batches
