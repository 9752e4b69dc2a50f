"""Whether claims hold: conditions on ratios of times, over results that have intervals, limits and holes."""

import fnmatch
import itertools
import math

from knnbench.results.intervals import CONFIDENCE, estimate_of, ratio
from knnbench.results.machines import machine_words
from knnbench.results.pairs import UNDECIDED, looks

COLUMNS = (  # noqa: SIM905
    "claim says dataset n_neighbors machine verdict ratio ratio_low ratio_high at_least at_most slower faster rounds"
    " missing left_out"
).split()
NO_ANSWER = ("unsupported", "oom_host", "oom_device", "low_recall")
UNKNOWN = (0.0, math.nan, math.inf)


def choose(patterns, known):
    """The curves that patterns name; one without a * is named whether it is known or not.

    Returns
    -------
    curves : list of str
    """
    chosen = []
    for pattern in patterns:
        if pattern.startswith("!"):
            chosen = [each for each in chosen if not fnmatch.fnmatchcase(each, pattern[1:])]
        else:
            found = fnmatch.filter(known, pattern) if "*" in pattern else [pattern]
            chosen += [each for each in found if each not in chosen]
    return chosen


def time_of(row, kind, limits, any_recall):
    """What is known of a time, in seconds.

    Parameters
    ----------
    row : dict, a row of timings.csv, or None
    kind : {"query", "fit"}
    limits : dict, the section `timing` of the configuration
    any_recall : bool, whether an answer with low recall counts

    Returns
    -------
    low, middle, high : float
        `UNKNOWN` if the cell was not run; infinite if it gave no answer. A fit has an interval if rounds built their own, and
        others' results have none.
    """
    if row is None:
        return UNKNOWN
    if kind == "fit" and row["fit_s"] is not None:
        low, high = (row["fit_s"] if row[end] is None else row[end] for end in ("fit_low_s", "fit_high_s"))
        return low, row["fit_s"], high
    if row["status"] in ("timeout_fit", "timeout_query") and f"{kind} was ended at its time limit" not in str(row["reason"]):
        # Of another stage than the one that is asked for, or at the limit of a queue's job: how long it takes is not known.
        if kind == "query" and "fit was ended at its time limit" in str(row["reason"]):
            return (math.inf,) * 3
        return UNKNOWN
    if kind == "fit" and row["status"] == "timeout_fit":
        return limits["max_fit_s"], math.inf, math.inf
    if row["status"] in NO_ANSWER and not (any_recall and row["status"] == "low_recall"):
        return (math.inf,) * 3
    if kind == "query" and row["query_median_s"] is not None:
        low, high = (row["query_median_s"] if row[end] is None else row[end] for end in ("query_low_s", "query_high_s"))
        return low, row["query_median_s"], high
    if kind == "query" and row["status"] == "timeout_query":
        return limits["max_query_s"], math.inf, math.inf
    return UNKNOWN


def divide(a, b):
    """a / b of times that may be infinite or zero; NaN where that says nothing."""
    if (math.isinf(a) and math.isinf(b)) or a == b == 0:
        return math.nan
    return a / b if b else math.inf


def verdict_of(low, high, bounds):
    """Whether an interval of a ratio is within bounds: holds, fails or undecided."""
    at_least, at_most = bounds
    if low >= at_least and high <= at_most:
        return "holds"
    return "fails" if high < at_least or low > at_most else UNDECIDED


def check(name, claim, rows, curves, limits):
    """Check one claim at one K on one machine.

    Parameters
    ----------
    name : str
    claim : dict, of the section `claims` of the configuration, for one `dataset`
    rows : dict, (dataset, curve) -> row of timings.csv, None where a cell is empty
    curves : list of str, all of the results
    limits : dict, the section `timing` of the configuration

    Returns
    -------
    found : dict, as `COLUMNS` name it but for K and machine
    """
    sides, estimates, missing, left_out, rounds = {}, [], [], [], []
    # What a fit costs in terms of queries does not depend on how right their answers are.
    any_recall = any(claim[side].get("time") == "fit" for side in ("slower", "faster"))
    for side in ("slower", "faster"):
        group = claim[side]
        dataset, kind = group.get("dataset", claim["dataset"]), group.get("time", "query")
        times = {}
        for curve in choose(group["backends"], curves):
            row = rows.get((dataset, curve))
            times[curve] = time_of(row, kind, limits, any_recall)
            status = row["status"] if row else "not in these results"
            words = f"{curve} on {dataset}: {status}"
            if times[curve] == UNKNOWN:
                missing.append(words)
            elif math.isinf(times[curve][1]):
                left_out.append(words)
            else:
                rounds.append(row["rounds"])
        if not times:
            missing.append(f"{' or '.join(group['backends'])} on {dataset}: not in these results")
        low, high = (min((each[end] for each in times.values()), default=UNKNOWN[end]) for end in (0, 2))
        fastest = min(times, key=lambda curve: (math.isnan(times[curve][1]), times[curve][1]), default=None)
        sides[side] = (low, times[fastest][1] if fastest else math.nan, high), fastest
        ahead = kind == "query" and fastest and (low, high) == times[fastest][::2]  # no other of the side may be the fastest
        estimates.append(estimate_of(rows[dataset, fastest]) if ahead and rows.get((dataset, fastest)) else None)
    (slow, slow_name), (fast, fast_name) = sides["slower"], sides["faster"]
    low, middle, high = divide(slow[0], fast[2]), divide(slow[1], fast[1]), divide(slow[2], fast[0])
    if all(estimates):
        _, low, high = ratio(*estimates, 1 - (1 - CONFIDENCE) / looks(limits))
    verdict = "not measured"
    if not (math.isnan(slow[1]) or math.isnan(fast[1]) or (math.isinf(slow[1]) and math.isinf(fast[1]))):
        verdict = verdict_of(0 if math.isnan(low) else low, math.inf if math.isnan(high) else high, claim["ratio"])
    if verdict == UNDECIDED and missing:
        verdict = "not measured"
    return {
        "claim": name,
        "says": claim["says"],
        "dataset": claim["dataset"],
        "verdict": verdict,
        "ratio": middle,
        "ratio_low": low,
        "ratio_high": high,
        "at_least": claim["ratio"][0],
        "at_most": claim["ratio"][1],
        "slower": slow_name,
        "faster": fast_name,
        "rounds": min(rounds, default=None),
        "missing": "; ".join(dict.fromkeys(missing)),
        "left_out": "; ".join(dict.fromkeys(left_out)),
    }


def each_for_itself(claim, curves):
    """Split a claim whose sides name the same backends: each is compared with itself, at another time or dataset."""
    if claim["slower"]["backends"] != claim["faster"]["backends"]:
        return [claim]
    chosen = choose(claim["slower"]["backends"], curves)
    if not chosen:
        return [claim]
    return [claim | {side: claim[side] | {"backends": [curve]} for side in ("slower", "faster")} for curve in chosen]


def check_all(claims, rows, limits):
    """Check claims on every machine, at every K and for every dataset that they name.

    Parameters
    ----------
    claims : dict, section of the configuration
    rows : list of dict
        Of timings.csv, NumPy to NumPy, those that stand for their families; None where a cell is empty. A machine in words, if
        a row has it, is in `machine`: rows of a CPU stand beside those of each GPU.
    limits : dict, the section `timing` of the configuration

    Returns
    -------
    found : list of dict, as `COLUMNS` name them
    """
    machines, curves, every_k = {}, {}, sorted({row["n_neighbors"] for row in rows})
    for row in rows:
        if row["residency"] == "host":
            curve = f"{row['family']}-{row['device']}"
            curves[curve] = None
            at_k = machines.setdefault(row.get("machine") or machine_words(row), {}).setdefault(row["n_neighbors"], {})
            at_k[row["dataset"], curve] = row
    found = []
    for (machine, at_machine), (name, claim) in itertools.product(machines.items(), claims.items()):
        for k in claim.get("n_neighbors", every_k):
            for dataset, part in itertools.product(claim["datasets"], each_for_itself(claim, list(curves))):
                each = check(name, part | {"dataset": dataset}, at_machine.get(k, {}), list(curves), limits)
                found.append(each | {"n_neighbors": k, "machine": machine})
    return found


def overall(verdicts):
    """One word for the verdicts of a claim at several datasets and K: the worst that was found."""
    order = ("fails", "not measured", UNDECIDED, "holds")
    return min(verdicts, key=order.index)
