"""Timed calls of the rounds of a cell: their times, latencies of batches, and a row for each."""

import copy
import math
import statistics

from knnbench.results.machines import machine_words
from knnbench.system.isolation import merge


def median_of_known(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def at_point(record, number):
    """What the record of a cell says of one of its points; all of it, if the cell has none, or came to none."""
    if "points" not in record:
        return record
    found = copy.deepcopy({key: value for key, value in record.items() if key != "points"})
    merge(found, record["points"][str(number)])
    return found


def times(records, residency):
    """Seconds of passes over all queries, a list per round that has any; of a subset, as many times longer as it has fewer."""
    rounds = []
    for record in records:
        if samples := record.get("query_ns", {}).get(residency):
            share = record["queries_timed"] / record["dataset"]["queries"]
            rounds.append([ns / 1e9 / share for ns in samples])
    return rounds


def quantiles(calls):
    """Of sorted times: calls, their number, and p50_s, p95_s, p99_s by nearest rank; of fewer than 100, p99 is the slowest."""
    ranks = {percent: max(0, math.ceil(percent / 100 * len(calls)) - 1) for percent in (50, 95, 99)}
    return {"calls": len(calls)} | {f"p{percent}_s": calls[rank] if calls else None for percent, rank in ranks.items()}


def batch_quantiles(records, residency, size):
    """Latency of calls with `size` queries, all rounds together: as `quantiles`, and first_s, the first call of each round."""
    calls = sorted(ns / 1e9 for record in records for ns in record.get("batch_ns", {}).get(residency, {}).get(str(size), []))
    first = median_of_known([record.get("first_batch_ns", {}).get(residency, {}).get(str(size)) for record in records])
    return quantiles(calls) | {"first_s": None if first is None else first / 1e9}


def batch_rows(config, cell, records, residency):
    """One row per batch size of a cell, the last one for whole passes: latencies of calls with that many queries."""
    sizes = [1, *config["timing"]["batch_sizes"]]
    found = {size: batch_quantiles(records, residency, size) for size in sizes}
    if passes := [record for record in records if record.get("query_ns", {}).get(residency)]:
        whole = passes[0]["queries_timed"]
        same = [record["query_ns"][residency] for record in passes if record["queries_timed"] == whole]
        found[whole] = quantiles(sorted(ns / 1e9 for samples in same for ns in samples)) | {"first_s": None}
    return [
        {
            "dataset": cell.dataset,
            "backend": cell.backend,
            "device": cell.device,
            "residency": residency,
            "n_neighbors": cell.k,
            "machine": machine_words(records[0]["machine"]),
            "batch_size": size,
            **each,
            "queries_per_s": size / each["p50_s"] if each["calls"] else None,
        }
        for size, each in found.items()
    ]


def sample_rows(cell, records):
    """One row per timed call, in the order of measurement; `batch` is empty for passes, `queries` how many a call asked."""
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
                "queries": record["queries_timed"] if batch is None else batch,
                "repeat": repeat,
                "loops": record["loops"][residency] if batch is None else 1,
                "seconds": ns / 1e9,
            }
            for residency, batch, samples in passes + calls
            for repeat, ns in enumerate(samples)
        ]
    return rows
