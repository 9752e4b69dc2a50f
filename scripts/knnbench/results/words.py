"""What came out, in words."""

import itertools
import json
from decimal import Decimal

import pandas as pd

from knnbench.config.names import speed_in_words
from knnbench.config.settings import in_words
from knnbench.measure.statuses import MISSING, NOT_RUN
from knnbench.results.curves import STANDS_AT
from knnbench.results.findings import interval_of, order_of
from knnbench.results.intervals import RATIO_CONFIDENCE
from knnbench.results.machines import machine_of, text_of
from knnbench.results.pairs import FASTER, SAME, UNDECIDED
from knnbench.results.tables import controls_apart, flagged


def name_of(row):
    """How a row is called in words: label and device."""
    place = ", on the device" if row["residency"] == "device" else ""
    return f"{row['label']} ({row['device'].upper()}{place})"


def typical_k(timings):
    """The K nearest to 10, which stands for all of them where there is room for one."""
    return min(timings["n_neighbors"].unique(), key=lambda k: (abs(k - 10), k))


def control_words(controls, k):
    """What controls show, in a sentence: what a call costs that does nothing, and what chance scores; empty if there are none.

    Parameters
    ----------
    controls : DataFrame, rows of timings.csv
    k : int
    """
    at_k = controls[(controls["residency"] == "host") & (controls["n_neighbors"] == k) & ~flagged(controls, "no_control")]
    calls = at_k[at_k["backend"] == "control-null"]["single_p50_s"].dropna() * 1e6
    scores = at_k[at_k["backend"] == "control-random"]["recall"].dropna()
    words = []
    if len(calls):
        words.append(f"A call costs {span(calls)} µs here (control-null)")
    if len(scores):
        words.append(f"chance scores a recall of {span(scores)} at K = {k} (control-random)")
    return "; ".join(words)


def span(values):
    """The least and the largest of some numbers, or the one that they all are."""
    ends = [f"{value:,.0f}" if value >= 10 else f"{Decimal(f'{value:.2g}'):f}" for value in (values.min(), values.max())]
    return " to ".join(dict.fromkeys(ends))


def summarise(timings, comparisons):
    """Say in a few lines what came out.

    Parameters
    ----------
    timings, comparisons : DataFrame, the rows of timings.csv and comparisons.csv

    Returns
    -------
    text : str
    """
    every, (timings, controls) = timings, controls_apart(timings)
    counts = timings["status"].value_counts()
    lines = [f"Suite {timings['suite'].iloc[0]}: {len(timings)} rows, " + ", ".join(f"{n} {s}" for s, n in counts.items())]
    k = typical_k(timings)
    done = timings[(timings["n_neighbors"] == k) & (timings["status"] == "ok") & (timings["residency"] == "host")]
    ends = {"low": done["query_high_s"], "high": done["query_low_s"]}
    done = done.assign(**{f"queries_per_s_{end}": done["queries"] / times.astype(float) for end, times in ends.items()})
    lines += ["", f"Fastest exact backend at K = {k}, queries per second:", *fastest(done[done["exact"]], timings, comparisons)]
    near = done[done["recall"].astype(float) >= STANDS_AT]
    if not near["exact"].all():
        lines += [f"Fastest of all with a recall of {STANDS_AT}:", *fastest(near, timings, comparisons)]
    if len(controls) and (words := control_words(controls, k)):
        lines += [f"{words}."]
    if timings["rounds"].max() == 1:
        lines += ["One round per cell: whether the next one differs was not tested (timing.rounds: 3 does)."]
    elif len(comparisons):
        faster, same, undecided = ((comparisons["verdict"] == verdict).sum() for verdict in (FASTER, SAME, UNDECIDED))
        lines += [
            f"Of {len(comparisons)} pairs that search the same, {faster} have a faster one, {same} are the same"
            f" (within timing.same), {undecided} undecided: comparisons.csv.",
            f"At most {1 - RATIO_CONFIDENCE:.0%} of the verdicts `faster` are expected to be false.",
        ]
    flags = every["flags"].fillna("").str.split("; ").explode().loc[lambda flag: flag != ""].value_counts()
    if len(flags):
        lines += ["", "Flagged rows: " + ", ".join(f"{number} {flag}" for flag, number in flags.items())]
    reasons = every["reason"].fillna("").str.replace(r"^recall [\d.]+ is", "recall is", regex=True)  # of every row its own
    told, not_run = every.assign(reason=reasons), every["status"].isin(NOT_RUN)
    missing = told[every["status"].isin(MISSING)]
    partly = controls_apart(told[~not_run & (reasons != "")])[0]  # chance has a low recall
    again = "Did not run (to try again, delete the record in results/cells, the index in results/indexes, and timings.csv):"
    lines += ["", again if len(missing) else "Every cell ran."]
    lines += by_reason(missing, every)
    if len(partly):
        lines += ["Ran, but:", *by_reason(partly, every)]
    return "\n".join(lines) + "\n"


def fastest(rows, timings, comparisons):
    """Two lines for every dataset and machine of `timings`: the fastest of some of its rows, and how sure its place is."""
    lines = []
    ran = [machine_of(text_of(row))[0] for row in timings.dropna(subset=["cpu"]).to_dict("records")]
    machines = list(dict.fromkeys(ran))
    of_rows = pd.Series([machine_of(text_of(row))[0] for row in rows.to_dict("records")], rows.index, dtype=object)
    for dataset, machine in itertools.product(timings["dataset"].unique(), machines):
        here = rows[(rows["dataset"] == dataset) & (of_rows == machine)]
        ranked = here.sort_values("query_median_s").drop_duplicates(["family", "device"]).to_dict("records")
        note = f"; {machine}" * (len(machines) > 1)
        models = timings["gpu"].dropna().astype(str).str.split(",").str[0].nunique()
        if not ranked:
            lines.append(f"  {dataset:20} none was measured{note}")
            continue
        best, *others = (
            row | {"name": name_of(row), "curve": f"{row['family']}-{row['device']}", "machine": machine} for row in ranked
        )
        if models > 1 and best["device"] == "gpu":
            note += f"; {best['gpu']}"
        at = ", ".join(in_words(json.loads(best["setting"])))
        words = ", ".join(filter(None, [f"{best['name']}{f' at {at}' * bool(at)}", interval_of(best)]))
        lines.append(f"  {dataset:20} {speed_in_words(best['queries_per_s']):>12}  {words}{note}")
        lines.append(f"{'':37}{order_of(best, others, comparisons)}")
    return lines


def by_reason(rows, every):
    """A line for every status and reason, with those of `every` row that it happened to: a family, or points of it."""
    points, lines = every.groupby("family")["backend"].agg(set), []
    for (status, reason), same in rows.groupby(["status", "reason"], sort=False):
        names = []
        for (family, device), part in same.groupby(["family", "device"], sort=False):
            found = [family] if set(part["backend"]) == points[family] else dict.fromkeys(part["backend"])
            names += [f"{name}-{device}" for name in found]
        lines.append(f"  {status}, {len(same)} rows: {reason}: {', '.join(names)}")
    return lines
