"""Which backend to use for a problem, from the measured cells that are nearest to it.

The report's form does the same in draw/page.js; a test holds the two together.
"""

import math

from knnbench.results.tables import ONE_ROUND, SPREAD

# How far a cell may be from what is asked, in powers of ten of n, d and K: beyond, a time says too little.
NEAR = (1.0, 0.5, 1.0)
LISTED = 5
ASKED = ("n_train", "dimension", "metric", "n_neighbors", "recall", "n_queries", "device")


def steps(ask, row):
    """Powers of ten between what is asked and what was measured: in n, d and K."""
    pairs = ((ask["n_train"], row["n"]), (ask["dimension"], row["d"]), (ask["n_neighbors"], row["n_neighbors"]))
    return [math.log10(asked / measured) for asked, measured in pairs]


def far(ask, row):
    """How far a row's cell is from what is asked."""
    return round(math.hypot(*steps(ask, row)), 9)


def merit(ask, row):
    """The order of rows of one cell: the fastest point that has the recall, else the one with the most; without a time last."""
    speed = row["queries_per_s"]
    recall = row["recall"] or 0.0  # which others' results may lack
    return (2, 0) if speed is None else (0, -speed) if recall >= ask["recall"] else (1, -recall)


def standing_for(ask, curves):
    """The row that stands for each curve: of its nearest cell, or of several that are as near.

    A backend is not to be ahead for its easier data. So of datasets that are equally near that one counts on which the most
    curves answer, of these the hardest, and a curve that has no answer there stands with another one.

    Parameters
    ----------
    ask : dict, of `ASKED`
    curves : dict, name of a curve -> list of its rows

    Returns
    -------
    rows : dict, name of a curve -> row
    """
    nearest = {}
    for curve, rows in curves.items():
        least = min(far(ask, row) for row in rows)
        nearest[curve] = [row for row in rows if far(ask, row) == least]
    answers = {}
    for curve, rows in nearest.items():
        for row in rows:
            if merit(ask, row)[0] == 0:
                speeds = answers.setdefault(row["dataset"], {})
                speeds[curve] = max(row["queries_per_s"], speeds.get(curve, 0))
    ranked = sorted(answers, key=lambda name: (-len(answers[name]), max(answers[name].values()), name))
    place = {name: number for number, name in enumerate(ranked)}

    def key(row):
        answer, *rest = merit(ask, row)
        return answer, place.get(row["dataset"], len(place)), *rest

    return {curve: min(rows, key=key) for curve, rows in nearest.items()}


def differ(row):
    """Whether the rounds of a row were so far apart that its interval says nothing of use."""
    return "rounds_differ" in (row["flags"] or "").split("; ")


def speeds_of(row):
    """The largest and the least queries per second that a row lets expect.

    Those of its interval; where its rounds differ, of the fastest and the slowest repeat, which were seen.
    """
    if differ(row):
        queries = row["queries_per_s"] * row["query_median_s"]
        return queries / row["query_min_s"], queries / row["query_max_s"]
    return tuple(row[f"queries_per_s_{end}"] or row["queries_per_s"] for end in ("high", "low"))


def doubts_of(row):
    """What to know of the range that a row gives, in words; empty if there is nothing."""
    words = ["from its fastest to its slowest repeat"] if differ(row) else [SPREAD] * (row["query_interval"] == ONE_ROUND)
    return "; ".join([*words, *([f"flagged {row['flags']}"] if row["flags"] else [])])


def recommend(ask, rows):
    """Rank the backends for a problem by what a run takes: compiling, the fit, and all queries, asked in one call.

    Every curve stands with the one cell that is nearest in logarithms of n, d and K, of the same metric (`standing_for`), and a
    backend with settings with the fastest point that has the recall. Its queries take their measured rate, but not less than
    one query alone. What is compiled does not grow with n, d or K. The range goes from that to the time scaled by n·d·K: how
    trees, graphs and inverted lists grow is not known, and brute forces follow it only for large problems. The intervals of the
    medians are in it, where they are known, or what one round spreads; `doubts` says so. The ranking is by its geometric
    middle.

    Parameters
    ----------
    ask : dict, of `ASKED`; `device` may be "any"
    rows : list of dict
        Of Results.points, of one machine, with None where nothing was measured.

    Returns
    -------
    ranked : list of dict
        name, low, high and total (seconds), place (the cell in words), dataset, recall, compile_s (in them), steps, doubts.
    out : list of (str, str)
        Name and why it is not ranked: absent, too far, did not run, recall, a fit that is not known.
    """
    curves, absent = {}, {}
    for row in rows:
        if row["metric"] != ask["metric"] or ask["device"] not in ("any", row["device"]) or row["residency"] != "host":
            continue
        if row["status"] in ("unavailable", "skipped", "not_needed"):
            absent[row["curve"]] = (row["name"], f"{row['status']} here")
            continue
        curves.setdefault(row["curve"], []).append(row)
    ranked, out = [], [why for curve, why in absent.items() if curve not in curves]
    for row in standing_for(ask, curves).values():
        place = f"{row['dataset']}, n = {row['n']:.0f}, d = {row['d']:.0f}, K = {row['n_neighbors']}"
        place += f", {row['at']}" * bool(row["at"])
        if any(abs(step) > limit for step, limit in zip(steps(ask, row), NEAR, strict=True)):
            out.append((row["name"], f"nearest measured cell is too far: {place}"))
        elif row["queries_per_s"] is None:
            out.append((row["name"], f"{row['status']} at {place}"))
        elif row["recall"] is None:
            out.append((row["name"], f"no recall is known at {place}"))
        elif row["recall"] < ask["recall"]:
            out.append((row["name"], f"recall {row['recall']:.3f} at {place}"))
        elif row["fit_s"] is None:
            out.append((row["name"], f"no time of a fit is known at {place}"))
        else:
            work = 10 ** sum(steps(ask, row))
            least, most = min(1, work), max(1, work)
            alone, ends, compiling = row["single_p50_s"] or 0, speeds_of(row), row["compile_s"] or 0
            fastest, middle, slowest = (
                row["fit_s"] + max(alone, ask["n_queries"] / speed) for speed in (ends[0], row["queries_per_s"], ends[1])
            )
            ranked.append(
                {
                    "name": row["name"],
                    "low": compiling + least * fastest,
                    "high": compiling + most * slowest,
                    "total": compiling + math.sqrt(least * most) * middle,
                    "place": place,
                    "dataset": row["dataset"],
                    "recall": row["recall"],
                    "compile_s": row["compile_s"],
                    "steps": steps(ask, row),
                    "doubts": doubts_of(row),
                }
            )
    ranked.sort(key=lambda each: each["total"])
    for each in ranked:
        if each["dataset"] != ranked[0]["dataset"]:
            each["doubts"] = "; ".join(filter(None, ["measured on other data than the first", each["doubts"]]))
    return ranked, out
