"""Latencies of calls by the number of queries in them, as the chart of batches draws them."""

import pandas as pd

PLACE = ["dataset", "backend", "device", "residency", "n_neighbors", "machine"]
LATENCIES = ["p50_s", "p95_s", "p99_s", "calls"]


def places(row):
    """Where the samples and batches of a row may be: a machine with a GPU is named with it, its CPU cells without."""
    machines = dict.fromkeys([row["machine"], row["machine"].rsplit("; ", 1)[0]])
    return [(*(row[key] for key in PLACE[:-1]), machine) for machine in machines]


def calls_of(rows, batches):
    """Find the calls of cells. If batches.csv has none with a whole pass, that is one, of which the median is known.

    Parameters
    ----------
    rows : list of dict, of Results.timings
    batches : DataFrame, of Results

    Returns
    -------
    calls : list of dict, for each row: queries in a call -> `LATENCIES`, None where one is not known, or the median alone
    """
    known = dict(iter(batches.dropna(subset=["p50_s"]).groupby(PLACE, sort=False)))
    found = []
    for row in rows:
        calls = {}
        for place in places(row):
            if place in known:
                for size, *each in known[place][["batch_size", *LATENCIES]].itertuples(index=False):
                    calls[int(size)] = [None if pd.isna(value) else value for value in each]
        if pd.notna(row["query_median_s"]):
            whole = int(row["queries_timed"])
            calls.setdefault(whole, [row["query_median_s"] * whole / row["queries"]])
        found.append(dict(sorted(calls.items())))
    return found


def call_rows(rows, batches):
    """A row for each number of queries in a call of measured cells: those of `rows`, with the latencies of that call.

    Parameters
    ----------
    rows : DataFrame, of Results.timings
    batches : DataFrame, of Results
    """
    rows = rows.dropna(subset=["query_median_s"]).to_dict("records")
    return pd.DataFrame(
        row
        | dict(zip(LATENCIES, times, strict=False))
        | {"batch_size": size, "queries_per_s": size / times[0], "subset": row["subset"] and size == row["queries_timed"]}
        for row, calls in zip(rows, calls_of(rows, batches), strict=True)
        for size, times in calls.items()
    )
