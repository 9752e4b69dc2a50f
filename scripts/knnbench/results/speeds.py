"""How fast a machine was beside a cell, of its usual speed in the same run (system/pace.py)."""

import statistics

from knnbench.results.machines import machine_of

SLOW = 0.9  # below this share of the machine's usual speed a row is flagged


def pace_of(record):
    """Nanoseconds of fixed work beside a cell, the geometric mean of before and after; None of older records."""
    timed = record.get("pace_ns", {}).values()
    return statistics.geometric_mean(timed) if timed else None


def usual_paces(records):
    """The median pace of each machine.

    Parameters
    ----------
    records : iterable of dict, all of a run

    Returns
    -------
    paces : dict, a machine's CPUs in words (`machine_of`) -> nanoseconds
    """
    paces = {}
    for record in records:
        if pace := pace_of(record):
            paces.setdefault(machine_of(record["machine"])[0], []).append(pace)
    return {cpus: statistics.median(known) for cpus, known in paces.items()}


def speed_of(record, paces):
    """How fast the machine was beside a cell: 1 is as usual, 0.5 half as fast; None where nobody knows.

    Parameters
    ----------
    record : dict
    paces : dict, as `usual_paces` returns them
    """
    pace = pace_of(record)
    return paces[machine_of(record["machine"])[0]] / pace if pace and paces else None


def at_usual_speed(records, paces):
    """The rounds of a cell beside which its machine was not slow, if at least two of them have a time; else all of them.

    Parameters
    ----------
    records : list of dict, one per round
    paces : dict, as `usual_paces` returns them

    Returns
    -------
    kept : list of dict, in their order, with every round that came to no time
    """
    usual = [record for record in records if "query_ns" not in record or (speed_of(record, paces) or 1.0) >= SLOW]
    return usual if sum("query_ns" in record for record in usual) > 1 else records


def left_out_words(records, kept):
    """Which rounds `at_usual_speed` left out, in words; empty if it kept all."""
    number = len(records) - len(kept)
    if not number:
        return ""
    return f"{number} of {len(records)} rounds ran while the machine was slow, and {'is' if number == 1 else 'are'} left out"
