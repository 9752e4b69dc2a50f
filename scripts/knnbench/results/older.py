"""Tables of earlier versions with the intervals of today, from their samples."""

import statistics

import pandas as pd

from knnbench.results.calls import geometric_mean
from knnbench.results.machines import CELL, machine_words, text_of
from knnbench.results.moderation import INTERVALS, set_intervals
from knnbench.results.samples import passes

COUNTED = ("query_median_s", "queries_per_s", "repeats", "rounds", "reason")  # columns that depend on which rounds count


def with_intervals(timings, samples):
    """Rows of timings.csv with the intervals that moderation.set_intervals finds for their samples.

    Parameters
    ----------
    timings, samples : DataFrame, of `read_table`
    """
    rows = [text_of(row) | {"machine": machine_words(text_of(row))} for row in timings.to_dict("records")]
    asked = passes(samples, timings)
    place = [name for name in (*CELL, "machine") if name in asked]
    groups = {
        key: [list(each) for _, each in group.groupby("round")["seconds"]] for key, group in asked.groupby(place, sort=False)
    }
    rounds = [groups.get(tuple(row[name] for name in place), []) for row in rows]
    known = [number for number, row in enumerate(rows) if row["query_median_s"] is not None and rounds[number]]
    some = [rows[number] for number in known]
    for number in known:
        count_again(rows[number], rounds[number])
    set_intervals(some, [rounds[number] for number in known])
    types = INTERVALS | {name: timings[name].dtype for name in COUNTED}
    found = pd.DataFrame(some, index=timings.index[known], columns=list(types), dtype=object)
    return timings.assign(**{name: found[name].combine_first(timings[name].astype(object)) for name in types}).astype(types)


def count_again(row, rounds):
    """Make a row, in place, from the rounds that count, if some of its rounds asked in another way."""
    left = row["rounds"] - len(rounds)
    if not left:
        return
    median = geometric_mean([statistics.median(each) for each in rounds])
    row |= {"query_median_s": median, "queries_per_s": row["queries"] / median, "rounds": len(rounds)}
    row["repeats"] = sum(map(len, rounds))
    words = f"{left} of {left + len(rounds)} rounds asked far fewer queries, and {'is' if left == 1 else 'are'} left out"
    row |= {
        "flags": "; ".join(filter(None, (row["flags"], "two_ways"))),
        "reason": "; ".join(filter(None, (row["reason"], words))),
    }
