"""Timed calls of the rounds of a cell: their times, latencies of batches, and a row for each."""

import copy
import math
import statistics

from knnbench.measure.clock import TOLD_BY
from knnbench.measure.statuses import NOT_RUN
from knnbench.results.machines import facts_of, machine_words
from knnbench.system.isolation import merge


def median_of_known(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def geometric_mean(values):
    """The geometric mean of positive numbers; of one number itself, to its last digit."""
    return values[0] if len(values) == 1 else math.exp(statistics.fmean(map(math.log, values)))


def at_point(record, number):
    """What the record of a cell says of one of its points; all of it, if the cell has none, or came to none."""
    if "points" not in record:
        return record
    found = copy.deepcopy({key: value for key, value in record.items() if key != "points"})
    merge(found, record["points"][str(number)])
    return found


ALIKE = 2  # rounds before version 4 chose anew how many queries they ask, and those that chose alike differ by less than this


def same_way(records):
    """The records of a cell, or of a point of it, whose rounds may be averaged: those that asked in the same way.

    Two rounds did if the library searched all of their queries as it searches many or both as it searches few, and if their
    numbers of queries differ by no more than a factor. Kept are those that are alike to the one that asked most, which is the
    nearest to asking all, and every round that came to no time.

    Parameters
    ----------
    records : list of dict, one per round

    Returns
    -------
    kept : list of dict, in their order
    """

    def has_time(record):
        return "queries_timed" in record and record["status"] not in NOT_RUN

    most = max(filter(has_time, records), key=lambda record: record["queries_timed"], default=None)

    def is_alike(record):
        sides = [each["queries_timed"] >= each["least_queries"] for each in (record, most)]
        return sides[0] == sides[1] and ALIKE * record["queries_timed"] >= most["queries_timed"]

    return [record for record in records if not has_time(record) or is_alike(record)]


def other_ways(records, kept):
    """Why rounds are left out that did not ask as those did that `same_way` kept, in words; empty if all are kept."""
    left = [record["queries_timed"] for record in records if not any(record is each for each in kept)]
    if not left:
        return ""
    asked, most = (
        " or ".join(f"{number:,}" for number in sorted(set(numbers)))
        for numbers in (left, [each["queries_timed"] for each in kept if "queries_timed" in each])
    )
    return (
        f"{len(left)} of {len(records)} rounds asked {asked} queries where the others asked {most},"
        f" and {'is' if len(left) == 1 else 'are'} left out"
    )


def times(records, residency):
    """Seconds of passes over all queries, a list per round that has any; of a subset, as many times longer as it has fewer."""
    rounds = []
    for record in records:
        if samples := record.get("query_ns", {}).get(residency):
            share = record["queries_timed"] / record["dataset"]["queries"]
            rounds.append([ns / 1e9 / share for ns in samples])
    return rounds


def quantiles(calls):
    """Of sorted times: calls, their number, and p50_s, p95_s, p99_s by nearest rank, None where that many do not tell it."""
    number = len(calls)
    told = {percent: calls[math.ceil(percent / 100 * number) - 1] for percent, least in TOLD_BY.items() if number >= least}
    return {"calls": number} | {f"p{percent}_s": told.get(percent) for percent in TOLD_BY}


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
            "machine": machine_words(facts_of(records[0])),
            "batch_size": size,
            **each,
            "queries_per_s": size / each["p50_s"] if each["calls"] else None,
        }
        for size, each in found.items()
    ]


def sample_rows(cell, records, kept=None):
    """One row per timed call, in the order of measurement.

    Parameters
    ----------
    cell : Cell
    records : list of dict, one per round
    kept : list of dict, those of them that the row of the cell is made from; all if it is None

    Returns
    -------
    rows : list of dict
        `batch` is empty for passes, `queries` says how many a call asked, `counted` whether the row is made from its round.
    """
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
                "machine": machine_words(facts_of(record)),
                "round": number,
                "batch": batch,
                "queries": record["queries_timed"] if batch is None else batch,
                "repeat": repeat,
                "loops": record["loops"][residency] if batch is None else 1,
                "seconds": ns / 1e9,
                "counted": kept is None or any(record is each for each in kept),
            }
            for residency, batch, samples in passes + calls
            for repeat, ns in enumerate(samples)
        ]
    return rows
