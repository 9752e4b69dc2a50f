"""What results say in words: what is fastest, what its fit costs, whether it is exact, how sure that is, what did not run."""

import math

import pandas as pd

from knnbench.measure.statuses import NOT_RUN
from knnbench.results.words import SAME


def interval_of(row):
    """The 95% interval of a row's queries per second, in words; empty where it is not known, as of others' results."""
    low, high = (row[f"queries_per_s_{end}"] for end in ("low", "high"))
    return "" if pd.isna(low) or pd.isna(high) else f"{number(low)} to {number(high)}"


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


def tied_with(best, comparisons):
    """Curves that are not distinguishable from the best one, in the same search and on the same machine.

    Parameters
    ----------
    best : row of Results.timings
    comparisons : DataFrame

    Returns
    -------
    tied : list of str, curves
    """
    machines = comparisons["machine"].map(lambda words: best["machine"] == words or best["machine"].startswith(f"{words}; "))
    same = comparisons[
        (comparisons["dataset"] == best["dataset"])
        & (comparisons["n_neighbors"] == best["n_neighbors"])
        & (comparisons["residency"] == best["residency"])
        & (comparisons["faster"] == best["curve"])
        & machines.astype(bool)
    ]
    return same[same["verdict"] == SAME]["slower"].tolist()


def break_even(rows):
    """From how many queries on each fit pays off, against the brute force that answers the most queries per second.

    Parameters
    ----------
    rows : DataFrame
        Measured rows of one dataset, machine, residency and K.

    Returns
    -------
    against : str, the name of that brute force; None if there is none
    found : list of (str, float, float, float)
        Name, queries, and what they may be by the intervals of both times; infinite if it never pays off, 0 if at once, NaN
        if an interval is not known. Negative if it is slower and its fit is cheaper: it is ahead up to that many queries.
    """
    rows = rows[(rows["status"] == "ok") & rows["fit_s"].notna()]  # others' results may lack a fit
    brute = rows[rows["exact"] & ~rows["prunes"]]
    if brute.empty:
        return None, []
    base, found = brute.loc[brute["query_median_s"].idxmin()], []
    for row in rows[~rows.index.isin(brute.index)].to_dict("records"):
        costs = row["fit_s"] - base["fit_s"]
        pairs = [
            ("query_median_s", "query_median_s"),
            ("query_low_s", "query_high_s"),
            ("query_high_s", "query_low_s"),
        ]
        queries, low, high = (pays_off(costs, (base[other] - row[own]) / row["queries"]) for own, other in pairs)
        found.append((row["name"], queries, low, high))
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
    for name, queries, low, high in found:
        if names is not None and name not in names:
            continue
        ends = [number(end) if 0 <= end < math.inf else "never" for end in (low, high)]
        known = not math.isnan(low + high)
        if queries < 0:
            words = f"is ahead for up to {number(-queries)} queries, by its cheaper fit"
        elif queries == 0:
            words = "pays off from the first query" + f" (by the intervals, from {ends[1]} on)" * bool(known and high)
        elif math.isinf(queries):
            never = "does not pay off: it answers no faster"
            words = f"{never} (by the intervals, it may after {ends[0]} queries)" if 0 <= low < math.inf else never
        else:
            words = f"pays off after {number(queries)} queries" + f" (by the intervals, {ends[0]} to {ends[1]})" * known
        sentences.append(f"{name} {words}.")
    return against, sentences


def sureness(best, ranked, kind, comparisons):
    """How sure it is that the first of a ranking is the fastest of its kind."""
    if len(ranked) == 1:
        return f"no other {kind} backend was measured"
    if min(row["rounds"] for row in ranked) == 1:
        if not interval_of(best):
            return "its interval is not known"
        near = [row["name"] for row in ranked[1:] if row["query_low_s"] <= best["query_high_s"]]
        unknown = [row["name"] for row in ranked[1:] if not interval_of(row)]
        words = f"its interval overlaps with that of {', '.join(near)}" if near else f"no other {kind} one's interval overlaps"
        return words + f"; that of {', '.join(unknown)} is not known" * bool(unknown)
    tied = tied_with(best, comparisons)
    names = [row["name"] for row in ranked[1:] if row["curve"] in tied]
    if names:
        return f"not distinguishable from {', '.join(names)}"
    return f"ahead of every other {kind} one, at 99%, in {best['rounds']:.0f} processes each"


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
        interval = f"95% interval {found}" if (found := interval_of(first)) else "its interval is not known"
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
        words = [f"{ranked[0]['name']}: {sureness(ranked[0], ranked, kind, comparisons)}." for kind, ranked in groups]
        if done["rounds"].min() == 1:
            words.append("One process each: whether the order holds in the next was not tested (timing.rounds: 3 does).")
        if done["subset"].any():
            words.append(
                f"{done['subset'].sum()} of {len(done)} asked a subset of the queries, from which their times are scaled."
            )
        flags = done.assign(flag=done["flags"].fillna("").str.split("; ")).explode("flag")
        for flag, names in flags[~flags["flag"].isin(("", "subset", "over_page_limit"))].groupby("flag")["name"]:
            words.append(f"Flagged {flag}: {', '.join(names)}.")
        answers.append(("How sure?", " ".join(words)))
    cells = rows[rows["residency"] == "host"]
    counts = ", ".join(f"{count} {status}" for status, count in cells["status"].value_counts().items() if status in NOT_RUN)
    low = (cells["status"] == "low_recall").sum()
    answers.append(("What failed?", f"of {len(cells)} cells {counts or 'none'}" + f"; {low} with low recall" * bool(low)))
    return answers
