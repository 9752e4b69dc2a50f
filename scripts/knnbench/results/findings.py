"""What results say in words: what is fastest, what its fit costs, whether it is exact, how sure that is, what did not run."""

import math

import pandas as pd

from knnbench.measure.statuses import MISSING
from knnbench.results.intervals import CONFIDENCE
from knnbench.results.pairs import FASTER, SAME
from knnbench.results.tables import ONE_ROUND, SPREAD

NO_USE = 1000
INTERVAL = f"{CONFIDENCE:.0%} interval"  # how the two ends of a time are called, if they are not the spread of one round


def ends_of(row):
    """The two ends of a row's queries per second without their name, "381 to 539"; empty where they are not known.

    Ends that are further apart than `NO_USE` say nothing but that, and are not written out.
    """
    low, high = (row[f"queries_per_s_{end}"] for end in ("low", "high"))
    if pd.isna(low) or pd.isna(high):
        return ""
    return f"{number(low)} to {number(high)}" if high <= NO_USE * low else f"wider than a factor of {NO_USE:,}"


def interval_of(row):
    """The two ends of a row's queries per second by their name, "95% interval 381 to 539" or "spread of one round 381 to 539".

    What the repeats of one process spread says nothing of the next process, and is no interval of the median. Empty where no
    ends are known, as of others' results.
    """
    ends = ends_of(row)
    return ends and f"{SPREAD if row['query_interval'] == ONE_ROUND else INTERVAL} {ends}"


def intervals_of(rows):
    """How a table or a figure calls the two ends of its times: intervals, spread of one round, or both; empty if it has none.

    Parameters
    ----------
    rows : DataFrame, with query_interval
    """
    single = rows["query_interval"].dropna() == ONE_ROUND
    if single.all():
        return SPREAD if len(single) else ""
    return f"{INTERVAL}s" + f", or the {SPREAD} where a cell has no more" * bool(single.any())


def number(value, digits=3):
    """A number with its thousands apart and no more digits than are known."""
    if not math.isfinite(value):
        return "no number of"
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:,.{digits}g}"


def seconds(value):
    """A time in a unit that suits it."""
    for size, unit in ((3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def pairs_of(best, comparisons):
    """The pairs in which a row is the faster one, in the same search and on the same machine.

    Parameters
    ----------
    best : dict, with dataset, n_neighbors, residency, curve (family-device) and machine in words
    comparisons : DataFrame

    Returns
    -------
    pairs : dict, curve of the slower one -> row of comparisons.csv
    """
    # A machine with a GPU is named with it in the pairs and rows that have one, and without in those of its CPU.
    machines = (
        comparisons["machine"]
        .astype(str)
        .map(lambda words: f"{words}; ".startswith(f"{best['machine']}; ") or f"{best['machine']}; ".startswith(f"{words}; "))
    )
    found = comparisons[
        (comparisons["dataset"] == best["dataset"])
        & (comparisons["n_neighbors"] == best["n_neighbors"])
        & (comparisons["residency"] == best["residency"])
        & (comparisons["faster"] == best["curve"])
        & machines.astype(bool)
    ]
    return {pair["slower"]: pair for pair in found.to_dict("records")}


def order_of(best, others, comparisons):
    """Which of some rows are the same as the fastest, which is the first that it is faster than, and how many are undecided.

    Parameters
    ----------
    best : dict, as `pairs_of` takes it, with query_interval
    others : list of dict, the slower ones of the same search in their order, with curve, name and query_interval
    comparisons : DataFrame

    Returns
    -------
    words : str
    """
    if not others:
        return "no other was measured"
    if all(row["query_interval"] == ONE_ROUND for row in (best, *others)):
        return "nothing was decided, since each cell has one round"
    pairs = pairs_of(best, comparisons)
    known = [(row["name"], pairs.get(row["curve"])) for row in others]
    decided = [(name, pair) for name, pair in known if pair and pair["verdict"] == FASTER]
    same = [name for name, pair in known if pair and pair["verdict"] == SAME]
    undecided = [name for name, pair in known if not pair or pair["verdict"] not in (FASTER, SAME)]
    words = [f"the same as {', '.join(same)}"] * bool(same)
    if decided:
        name, pair = decided[0]
        ends = f"{number(pair['ratio_low'])} to {number(pair['ratio_high'])}"
        words += [f"faster than {name} by a factor of {number(pair['ratio'])} ({ends})"]
    if undecided:
        words += [f"undecided against {undecided[0] if len(undecided) == 1 else f'{len(undecided)} others'}"]
    return "; ".join(words)


def before_queries(row):
    """Seconds that a run takes before its first query: of the fit, and of compiling where there is any."""
    return row["fit_s"] + (0 if pd.isna(row["compile_s"]) else row["compile_s"])


def break_even(rows):
    """From how many queries on each fit and what it compiles pay off, against the brute force with the most queries per second.

    Parameters
    ----------
    rows : DataFrame
        Measured rows of one dataset, machine, residency and K.

    Returns
    -------
    against : str, the name of that brute force; None if there is none
    found : list of (str, float, float, float, str)
        Name, queries, what they may be by the intervals of both times, and how these are called; infinite if it never pays
        off, 0 if at once, NaN if an interval is not known. Negative if it is slower and its fit is cheaper: it is ahead up to
        that many queries.
    """
    rows = rows[(rows["status"] == "ok") & rows["fit_s"].notna()]  # others' results may lack a fit
    brute = rows[rows["exact"] & ~rows["prunes"]]
    if brute.empty:
        return None, []
    base, found = brute.loc[brute["query_median_s"].idxmin()], []
    for row in rows[~rows.index.isin(brute.index)].to_dict("records"):
        costs = before_queries(row) - before_queries(base)
        pairs = [
            ("query_median_s", "query_median_s"),
            ("query_low_s", "query_high_s"),
            ("query_high_s", "query_low_s"),
        ]
        queries, low, high = (pays_off(costs, (base[other] - row[own]) / row["queries"]) for own, other in pairs)
        single = ONE_ROUND in (row["query_interval"], base["query_interval"])
        found.append((row["name"], queries, low, high, SPREAD if single else "intervals"))
    return base["name"], sorted(found, key=lambda each: each[1] if each[1] >= 0 else math.inf)


def pays_off(costs, saved):
    """Queries after which what each saves has paid the costs of a fit; as `break_even` returns it."""
    if math.isnan(saved):
        return math.nan
    if saved > 0:
        return max(0.0, costs / saved)
    return -costs / saved if costs < 0 and saved < 0 else math.inf


def break_even_words(rows, names=None):
    """The sentences of `break_even`, of all or some names."""
    against, found = break_even(rows)
    sentences = []
    for name, queries, low, high, by in found:
        if names is not None and name not in names:
            continue
        ends = [number(end) if 0 <= end < math.inf else "never" for end in (low, high)]
        known = not math.isnan(low + high)
        if queries < 0:
            words = f"is ahead for up to {number(-queries)} queries, by its cheaper fit"
        elif queries == 0:
            words = "pays off from the first query" + f" (by the {by}, from {ends[1]} on)" * bool(known and high)
        elif math.isinf(queries):
            never = "does not pay off: it answers no faster"
            words = f"{never} (by the {by}, it may after {ends[0]} queries)" if 0 <= low < math.inf else never
        else:
            words = f"pays off after {number(queries)} queries" + f" (by the {by}, {ends[0]} to {ends[1]})" * known
        sentences.append(f"{name} {words}.")
    return against, sentences


def compiles(row):
    """What a backend compiles besides its fit, in words."""
    return "" if pd.isna(row["compile_s"]) else f" and compiles in {seconds(row['compile_s'])} besides"


def winners_elsewhere(rows, exact, k):
    """Which backends are the fastest at other K, in words; empty if it is the same K alone."""
    done = rows[
        (rows["residency"] == "host") & (rows["status"] == "ok") & (rows["exact"] == exact) & (rows["n_neighbors"] != k)
    ]
    fastest = done.sort_values("query_median_s").drop_duplicates("n_neighbors").sort_values("n_neighbors")
    words = [f"K = {row['n_neighbors']}: {row['name']}, {number(row['queries_per_s'])}" for row in fastest.to_dict("records")]
    return f"; at {', at '.join(words)}" if words else ""


def findings(rows, comparisons, k):
    """Answer what a newcomer asks about one dataset on one machine, at one K, from NumPy to NumPy.

    Parameters
    ----------
    rows : DataFrame, of Results.timings: one dataset, one machine
    comparisons : DataFrame, of Results
    k : int

    Returns
    -------
    answers : list of (str, str), question and answer
    """
    host = rows[(rows["residency"] == "host") & (rows["n_neighbors"] == k)]
    done = host[host["status"] == "ok"].sort_values("query_median_s")
    exact, others = done[done["exact"]].to_dict("records"), done[~done["exact"]].to_dict("records")
    answers, best = [], []
    for kind, ranked in (("exact", exact), ("approximate", others)):
        if not ranked:
            answers.append((f"Fastest {kind}", f"no {kind} backend was measured at K = {k}"))
            continue
        first = ranked[0]
        best.append(first)
        interval = interval_of(first) or "its interval is not known"
        at = f" at {first['at']}" if first.get("at") else ""
        words = f"{first['name']}{at}: {number(first['queries_per_s'])} queries/s at K = {k} ({interval})"
        recall = "not known" if pd.isna(first["recall"]) else f"{first['recall']:.3f}"
        words += f", recall {recall}" * (kind == "approximate")
        answers.append((f"Fastest {kind}", words + winners_elsewhere(rows, kind == "exact", k)))
    fits = [
        f"how long {row['name']} fits is not known"
        if pd.isna(row["fit_s"])
        else f"{row['name']} fits in {seconds(row['fit_s'])}{compiles(row)}"
        for row in best
    ]
    against, sentences = break_even_words(done, [row["name"] for row in best])
    if sentences:
        fits.append(f"against {against}, the fastest brute force, all queries in one call: {' '.join(sentences)}")
    answers.append(("Cost to build", "; ".join(fits) or "nothing was measured"))
    promised = host[host["exact"]].dropna(subset=["query_median_s", "wrong_neighbors"]).to_dict("records")
    if promised:
        wrong = [
            # Rounds may have asked subsets of other sizes.
            f"{row['name']} missed {row['wrong_neighbors']:,.0f}"
            + ("" if row["subset"] else f" of {row['queries_timed'] * k:,.0f}")
            + " places"
            for row in promised
            if row["wrong_neighbors"] > 0
        ]
        all_right = f"all {len(promised)} exact backends returned true neighbours in all places of their answers"
        right = "; ".join(wrong) or all_right
        answers.append(("Is it exact?", f"{right}, checked in float64 at K = {k}"))
    if best:
        groups = [(kind, ranked) for kind, ranked in (("exact", exact), ("approximate", others)) if ranked]
        words = [
            f"{ranked[0]['name']}, of the {kind} ones: {order_of(ranked[0], ranked[1:], comparisons)}."
            for kind, ranked in groups
        ]
        if done["rounds"].max() == 1:
            words.append("Whether the order holds in the next process was not tested (timing.rounds: 3 does).")
        if done["subset"].any():
            words.append(
                f"{done['subset'].sum()} of {len(done)} asked a subset of the queries, from which their times are scaled."
            )
        flags = done.assign(flag=done["flags"].fillna("").str.split("; ")).explode("flag")
        for flag, names in flags[~flags["flag"].isin(("", "subset", "over_page_limit"))].groupby("flag")["name"]:
            words.append(f"Flagged {flag}: {', '.join(names)}.")
        answers.append(("How sure?", " ".join(words)))
    cells = rows[rows["residency"] == "host"]
    counts = ", ".join(f"{count} {status}" for status, count in cells["status"].value_counts().items() if status in MISSING)
    low = (cells["status"] == "low_recall").sum()
    answers.append(("What failed?", f"of {len(cells)} cells {counts or 'none'}" + f"; {low} with low recall" * bool(low)))
    return answers
