"""What is said of results: claims, break-even, exponents, recommendations, tables. Known answers in, the same answers out."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import CONFIG, ROOT, run
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from knnbench.config.names import plain
from knnbench.draw.page_rows import claim_rows, interval_bars
from knnbench.draw.typeset import Latex, Markdown, write_table
from knnbench.results.claims import UNKNOWN, check, choose, overall, time_of, verdict_of
from knnbench.results.findings import break_even, break_even_words, findings, number, seconds
from knnbench.results.recommend import recommend
from knnbench.results.scaling import crossings, exponent, exponents

LIMITS = {"max_query_s": 10, "max_fit_s": 60}
SIDES = {"slower": {"backends": ["b"]}, "faster": {"backends": ["a"]}}
CLAIM = {"says": "b is slower than a", "dataset": "data", "ratio": [2, 4]} | SIDES
PAIR = st.lists(st.floats(0.1, 100), min_size=2, max_size=2).map(sorted)


def timed(low, middle, high, **more):
    """A measured row."""
    times = {"query_low_s": low, "query_median_s": middle, "query_high_s": high, "fit_s": 1.0}
    times |= {"fit_low_s": None, "fit_high_s": None, "query_freedom": None}
    return {"status": "ok", "reason": "", "rounds": 3} | times | more


def ended(status):
    stage = {"timeout_query": "first_query", "timeout_fit": "fit"}.get(status)
    reason = f"{stage} was ended at its time limit" if stage else "because"
    return {"status": status, "reason": reason, "rounds": 1} | dict.fromkeys(
        ("query_low_s", "query_median_s", "query_high_s", "query_freedom", "fit_s", "fit_low_s", "fit_high_s")
    )


@pytest.mark.parametrize(
    ("slower", "faster", "verdict", "interval"),
    [
        (timed(2.9, 3, 3.1), timed(1, 1, 1), "holds", (2.9, 3.1)),
        (timed(2.9, 3, 3.1), timed(0.9, 1, 1.6), "undecided", (2.9 / 1.6, 3.1 / 0.9)),
        (timed(1, 1.1, 1.2), timed(1, 1, 1), "fails", (1, 1.2)),
        (timed(9, 9, 9), timed(1, 1, 1), "fails", (9, 9)),
        (ended("timeout_query"), timed(1, 1, 1), "fails", (10, math.inf)),  # more than 10, and 4 was said at most
        (ended("timeout_query"), timed(4, 4, 4), "undecided", (2.5, math.inf)),
        (timed(1, 1, 1), ended("timeout_query"), "fails", (0, 0.1)),
        (
            ended("timeout_query") | {"reason": "compile was ended at its time limit"},
            timed(1, 1, 1),
            "not measured",
            (0, math.inf),
        ),
        (
            ended("timeout_fit") | {"reason": "fit was ended at the time limit of its job"},
            timed(1, 1, 1),
            "not measured",
            (0, math.inf),
        ),
        (ended("timeout_fit"), timed(1, 1, 1), "fails", (math.inf, math.inf)),
        (ended("unsupported"), timed(1, 1, 1), "fails", (math.inf, math.inf)),
        (ended("unavailable"), timed(1, 1, 1), "not measured", (0, math.inf)),
        (timed(1, 1, 1), None, "not measured", (0, math.inf)),
        (ended("oom_host"), ended("timeout_query"), "not measured", (math.nan, math.inf)),
        (ended("low_recall") | timed(3, 3, 3, status="low_recall"), timed(1, 1, 1), "fails", (math.inf, math.inf)),
    ],
)
def test_verdicts(slower, faster, verdict, interval):
    found = check("claim", CLAIM, {("data", "b"): slower, ("data", "a"): faster}, ["a", "b"], LIMITS)
    assert found["verdict"] == verdict
    assert (found["ratio_low"], found["ratio_high"]) == pytest.approx(interval, nan_ok=True)
    assert (found["missing"] + found["left_out"] != "") or verdict != "not measured"


def test_fastest_of_a_group_counts():
    """Of several backends the fastest; one that is not known leaves open whether there is a faster one."""
    rows = {("data", "b1"): timed(9, 9, 9), ("data", "b2"): timed(3, 3, 3), ("data", "a"): timed(1, 1, 1)}
    claim = CLAIM | {"slower": {"backends": ["b*", "!b3"]}}
    found = check("claim", claim, rows, ["a", "b1", "b2", "b3"], LIMITS)
    assert (found["verdict"], found["slower"], found["ratio"]) == ("holds", "b2", 3)
    claim = CLAIM | {"slower": {"backends": ["b*"]}}
    found = check("claim", claim, rows | {("data", "b3"): ended("unavailable")}, ["a", "b1", "b2", "b3"], LIMITS)
    assert (found["verdict"], found["missing"]) == ("not measured", "b3 on data: unavailable")


def test_the_ratio_of_two_sides_with_one_fastest_each_is_of_welch():
    """Narrower than their ends divided; where another of a side may be the fastest, or one round is all, it is these."""

    def known(middle, freedom=4.0):
        half = stats.t.ppf(0.975, 4) * 0.1
        return timed(
            middle * math.exp(-half), middle, middle * math.exp(half), query_freedom=freedom, query_interval="own rounds"
        )

    claim = CLAIM | {"slower": {"backends": ["b*"]}}
    rows = {("data", "a"): known(1.0), ("data", "b1"): known(3.0), ("data", "b2"): known(9.0)}
    half = stats.t.ppf(0.975, 8) * 0.1 * math.sqrt(2)
    found = check("claim", claim, rows, ["a", "b1", "b2"], LIMITS)
    assert (found["ratio_low"], found["ratio_high"]) == pytest.approx((3 * math.exp(-half), 3 * math.exp(half)))
    divided = known(3.0)["query_low_s"] / known(1.0)["query_high_s"], known(3.0)["query_high_s"] / known(1.0)["query_low_s"]
    single = check("claim", claim, rows | {("data", "b1"): known(3.0, None)}, ["a", "b1", "b2"], LIMITS)
    assert (single["ratio_low"], single["ratio_high"]) == pytest.approx(divided)
    wide = known(9.0) | {"query_low_s": 2.0}
    found = check("claim", claim, rows | {("data", "b2"): wide}, ["a", "b1", "b2"], LIMITS)
    assert found["ratio_low"] == pytest.approx(2.0 / known(1.0)["query_high_s"]) and found["slower"] == "b1"


def test_fits_and_other_datasets():
    sides = {"slower": {"backends": ["a"], "time": "fit"}, "faster": {"backends": ["a"], "dataset": "other"}}
    claim = CLAIM | sides | {"ratio": [1, math.inf]}
    rows = {("data", "a"): timed(9, 9, 9, fit_s=5.0), ("other", "a"): timed(1, 1, 1, status="low_recall")}
    found = check("claim", claim, rows, ["a"], LIMITS)
    assert (found["verdict"], found["ratio"]) == ("holds", 5)  # recall does not matter where a fit is compared
    rows["data", "a"] |= {"fit_low_s": 0.5, "fit_high_s": 50.0}  # of builds that differ
    assert check("claim", claim, rows, ["a"], LIMITS)["verdict"] == "undecided"
    assert time_of(ended("timeout_fit"), "fit", LIMITS, True) == (60, math.inf, math.inf)
    assert time_of(ended("crashed"), "query", LIMITS, False) == UNKNOWN


@given(PAIR, PAIR)
def test_verdict_of_intervals(interval, bounds):
    """Holds and fails are certain: every ratio of the interval is within the bounds, or none is."""
    inside = [bounds[0] <= ratio <= bounds[1] for ratio in np.linspace(*interval, 50)]
    verdict = verdict_of(*interval, bounds)
    assert verdict != "holds" or all(inside)
    assert verdict != "fails" or not any(inside)
    assert overall([verdict, "holds"]) in (verdict, "holds")


def test_patterns():
    known = ["keops-cpu", "keops-gpu", "faiss-flat-gpu"]
    assert choose(["*-gpu", "!keops-*"], known) == ["faiss-flat-gpu"]
    assert choose(["mine-cpu", "keops-cpu"], known) == ["mine-cpu", "keops-cpu"]  # named, so missing if it is not there


def test_every_claim_of_the_page_has_a_verdict(tmp_path):
    """Of published results: a verdict, or the cells that are missing, or the sides that gave no answer."""
    claims = yaml.safe_load((ROOT / "claims.yaml").read_text())["claims"]
    folder, out = ROOT / "published/cpu-2core", tmp_path / "claims.csv"
    run("check_claims", "--folder", folder, "--claims", json.dumps(claims), "--out", out)
    found = pd.read_csv(out, keep_default_na=False)
    assert set(found["claim"]) == set(claims)
    open_ones = found[found["verdict"] == "not measured"]
    assert (open_ones["missing"] + open_ones["left_out"] != "").all()
    assert {"holds", "fails", "not measured"} <= set(found["verdict"])
    assert out.read_text() == (folder / "claims.csv").read_text()


def test_the_page_is_judged_by_its_own_functions():
    """Where it compares with PyTorch and JAX, or with all: what is done otherwise with these libraries here does not count."""
    claims = yaml.safe_load((ROOT / "claims.yaml").read_text())["claims"]
    known = [f"{name}-{device}" for name, entry in CONFIG["backends"].items() for device in entry["environments"]]
    for name in ("keops-orders", "hyperbolic-orders", "sphere-keops", "rd-a-keops-rest", "rd-a-faiss-rest", "rd-d-only-keops"):
        chosen = choose(claims[name]["slower"]["backends"], known)
        assert [each for each in chosen if each.startswith(("torch", "jax"))] == [
            "torch-page-gpu",
            "torch-page-all-gpu",
            "jax-page-gpu",
        ]


def test_claims_of_older_results_have_the_word_of_today(tmp_path):
    known = {"claim": "c", "says": "s", "dataset": "d", "n_neighbors": 10, "machine": "m", "ratio": 1, "ratio_low": 0.5}
    known |= {"ratio_high": 2, "at_least": 1, "at_most": math.inf, "slower": "a", "faster": "b", "rounds": 1}
    rows = [known | {"verdict": verdict, "missing": "", "left_out": ""} for verdict in ("not distinguishable", "holds")]
    pd.DataFrame(rows).to_csv(tmp_path / "claims.csv", index=False)
    [claim] = claim_rows(tmp_path / "claims.csv")
    assert (
        claim["verdict"] == "undecided"
        and claim["ratios"][0] == "d, K = 10: undecided, 1 (0.5 to 2, spread of one round; a over b)"
    )


def frame(**curves):
    """Rows as folder.read gives them: name -> (fit, time, exact, prunes)."""
    common = {"machine": "m", "residency": "host", "status": "ok", "dataset": "data", "rounds": 3, "reason": ""}
    return pd.DataFrame(
        common
        | {"name": name, "curve": name, "queries": 100, "fit_s": fit, "exact": exact, "prunes": prunes, "n_neighbors": 10}
        | {"query_median_s": time, "query_low_s": time * 0.9, "query_high_s": time * 1.1, "queries_per_s": 100 / time}
        | {"queries_per_s_low": 100 / (time * 1.1), "queries_per_s_high": 100 / (time * 0.9), "query_interval": "moderated"}
        | {"query_min_s": time * 0.8, "query_max_s": time * 1.2, "flags": None, "compile_s": None}
        | {"memory_bytes": 1e6, "recall": 1.0, "queries_timed": 100, "subset": False, "over": False}
        for name, (fit, time, exact, prunes) in curves.items()
    )


@given(st.floats(0.001, 100), st.floats(0.001, 100), st.floats(0.001, 100), st.floats(0.001, 100))
def test_break_even(fit, time, brute_fit, brute_time):
    """Before it pays off, the brute force is ahead, and after, the index, or the other way round if its fit is cheaper."""
    assume(abs(time / brute_time - 1) > 1e-6 and (fit == brute_fit or abs(fit / brute_fit - 1) > 1e-6))
    rows = frame(brute=(brute_fit, brute_time, True, False), index=(fit, time, False, False))
    against, [(_, queries, low, high, by)] = break_even(rows)
    assert (against, by) == ("brute", "intervals")

    def ahead(number):
        return fit + number * time / 100 < brute_fit + number * brute_time / 100

    if math.isinf(queries):
        assert not ahead(1) and not ahead(1e12)
    elif queries < 0:
        assert ahead(-queries * 0.99) and not ahead(-queries * 1.01)
    else:
        assert ahead(queries * 1.01 + 1e-3) and low <= queries
        assert queries == 0 or not ahead(queries * 0.99)
        assert high >= queries or high < 0  # it may be the slower one


def test_what_is_compiled_has_to_pay_off_too():
    rows = frame(brute=(0.0, 2.0, True, False), index=(1.0, 1.0, False, False))
    _, [(_, queries, *_)] = break_even(rows)
    _, [(_, later, *_)] = break_even(rows.assign(compile_s=[None, 3.0]))
    assert (queries, later) == pytest.approx((100, 400))


def test_break_even_in_words():
    rows = frame(
        brute=(1, 1, True, False),
        slow=(6, 0.5, False, False),
        never=(1, 2, False, False),
        tree=(0, 0.5, True, True),
        cheap=(0, 2, False, False),
        near=(6, 1.1, False, False),
    )
    against, sentences = break_even_words(rows)
    assert against == "brute"
    assert sorted(sentences) == [
        "cheap is ahead for up to 100 queries, by its cheaper fit.",
        "near does not pay off: it answers no faster (by the intervals, it may after 4,550 queries).",
        "never does not pay off: it answers no faster.",
        "slow pays off after 1,000 queries (by the intervals, 769 to 1,430).",
        "tree pays off from the first query.",
    ]
    assert break_even(frame(tree=(0, 1, True, True))) == (None, [])
    single = rows.assign(query_interval=rows["query_interval"].where(rows["name"] != "slow", "one round"))
    words = "slow pays off after 1,000 queries (by the spread of one round, 769 to 1,430)."
    assert break_even_words(single, ["slow"])[1] == [words]
    rows.loc[rows["name"] == "slow", ["query_low_s", "query_high_s"]] = math.nan  # as others' results are
    rows.loc[rows["name"] == "near", "fit_s"] = math.nan
    rows.loc[rows["name"] == "tree", "status"] = "low_recall"
    _, sentences = break_even_words(rows, ["slow", "near", "tree"])
    assert sentences == ["slow pays off after 1,000 queries."]
    assert break_even(rows[rows["name"] == "brute"].assign(status="low_recall")) == (None, [])


def test_what_is_not_known_of_others_results_is_said():
    """They may have no interval, no fit and no recall."""
    rows = frame(theirs=(math.nan, 1, False, False), other=(1, 2, False, False), brute=(1, 4, True, False))
    rows = rows.assign(at="", compile_s=math.nan, rounds=1, wrong_neighbors=math.nan, query_interval="one round")
    nothing = ["query_low_s", "query_high_s", "queries_per_s_low", "queries_per_s_high", "query_interval", "recall"]
    rows.loc[rows["name"] == "theirs", nothing] = None
    comparisons = pd.DataFrame(columns=["dataset", "n_neighbors", "residency", "machine", "faster", "slower", "verdict"])
    said = dict(findings(rows, comparisons, 10))
    assert said["Fastest approximate"] == "theirs: 100 queries/s at K = 10 (its interval is not known), recall not known"
    assert said["Cost to build"].startswith("brute fits in 1 s; how long theirs fits is not known")
    assert "theirs, of the approximate ones: undecided against other." in said["How sure?"]
    assert "brute, of the exact ones: no other was measured." in said["How sure?"]
    said = dict(findings(rows.assign(query_median_s=[3, 2, 4]), comparisons, 10))
    assert "other, of the approximate ones: undecided against theirs." in said["How sure?"]
    said = dict(findings(rows[rows["name"] != "theirs"].assign(exact=True), comparisons, 10))
    assert "other, of the exact ones: nothing was decided, since each cell has one round." in said["How sure?"]
    assert "other: 50 queries/s at K = 10 (spread of one round 45.5 to 55.6)" in said["Fastest exact"]
    assert not any("nan" in words or "no number" in words for words in said.values())
    ends = [(10, 20, 1e9), (math.nan, 20, math.nan), (20, 200, 400)]
    bars = [dict(zip(("low", "middle", "high"), map(float, each), strict=True)) for each in ends]
    interval_bars(bars)
    assert "left" not in bars[1]
    assert (bars[0]["left"], bars[0]["width"]) == (0, 100)  # up to the limits of the medians
    assert bars[2]["left"] + bars[2]["width"] == pytest.approx(100) and 0 < bars[2]["left"] < 50


def test_numbers_in_words():
    assert [number(each) for each in (292_831, 12.345, 0.00123, 99.96)] == ["293,000", "12.3", "0.00123", "100"]
    assert [seconds(each) for each in (7200, 90, 1.5, 0.0123, 4e-6, 3e-9)] == [
        "2 h",
        "1.5 min",
        "1.5 s",
        "12.3 ms",
        "4 µs",
        "3 ns",
    ]
    assert plain("R^D a, S^{D-1}") == "Rᴰ a, Sᴰ⁻¹"


def grid(law, sizes, along, names=("a",)):
    """Rows whose times follow a law of the size that varies."""
    fixed = {"n": 1000, "d": 10, "queries": 100, "n_neighbors": 10}
    rows = []
    for name in names:
        for size in sizes:
            row = frame(**{name: (1.0, law(name, size), True, False)}).iloc[0].to_dict()
            place = {"dataset": f"{along}{size}", "metric": "euclidean", "device": "cpu", "backend": name}
            rows.append(row | fixed | place | {along: size})
    return pd.DataFrame(rows), {f"{along}{size}": "normal" for size in sizes}


@given(st.floats(-1, 3), st.sampled_from(["n", "d", "queries", "n_neighbors"]))
def test_exponents(power, along):
    """Of an exact power law the exponent is found, and of every size that varies; of two sizes nothing is said."""
    timings, sources = grid(lambda name, size: 1e-3 * size**power, (10, 30, 100, 300), along)
    found = {row["time"]: row for row in exponents(timings, sources)}
    assert found["query_median_s"]["along"] == along and found["query_median_s"][along] is None
    assert found["query_median_s"]["exponent"] == pytest.approx(power, abs=1e-6)
    assert ("fit_s" in found) == (along in ("n", "d"))  # a fit knows neither queries nor K
    assert exponents(*grid(lambda name, size: size, (10, 30), along)) == []


def test_interval_of_an_exponent_covers_it():
    """Of noisy laws, nine in ten intervals and more have the true exponent in them, and not all."""
    generator, sizes = np.random.default_rng(0), np.array([10, 30, 100, 300, 1000])
    inside = 0
    for _ in range(500):
        _, low, high = exponent(sizes, sizes**1.5 * np.exp(generator.normal(0, 0.2, 5)))
        inside += low <= 1.5 <= high
    assert 450 < inside < 500


def test_crossings():
    """a costs d, b costs 50: b overtakes at 50."""
    laws = {"a": lambda d: d, "b": lambda d: 50.0, "slow": lambda d: 1000.0}
    found = crossings(*grid(lambda name, d: laws[name](d), (10, 30, 100), "d", names=laws))
    assert [(row["before"], row["after"], row["low"], row["high"], row["fastest"]) for row in found] == [
        ("a", "b", 30, 100, True)
    ]
    assert found[0]["at"] == pytest.approx(50)


def problem(**changes):
    size = {"n_train": 1000, "dimension": 10, "n_neighbors": 10, "n_queries": 1e4}
    return size | {"metric": "euclidean", "recall": 0.9, "device": "any"} | changes


def candidate(name, time, **changes):
    row = frame(**{name: (1.0, time, True, False)}).iloc[0].to_dict()
    row |= {"n": 1000, "d": 10, "metric": "euclidean", "device": "cpu", "at": "", "compile_s": None, "single_p50_s": 0.01}
    row |= {f"queries_per_s{end}": row["queries_per_s"] * by for end, by in (("_low", 0.9), ("", 1), ("_high", 1.1))}
    return row | changes


def test_recommend():
    """The fastest first, ranges where it is extrapolated, and a reason for everything that is left out."""
    rows = [
        candidate("brute", 1.0),
        candidate("graph", 0.1, exact=False, recall=0.95),
        candidate("rough", 0.01, exact=False, recall=0.5),
        candidate("ended", 1.0, status="timeout_query", queries_per_s=None),
        candidate("gpu", 1.0, device="gpu", n=100_000, metric="manhattan"),
    ]
    ranked, out = recommend(problem(), rows)
    assert [(each["name"], round(each["total"], 6)) for each in ranked] == [("graph", 11), ("brute", 101)]
    assert dict(out) == {
        "rough": "recall 0.500 at data, n = 1000, d = 10, K = 10",
        "ended": "timeout_query at data, n = 1000, d = 10, K = 10",
    }
    ranked, _ = recommend(problem(n_train=4000, recall=0.99), rows)
    assert [each["name"] for each in ranked] == ["brute"] and ranked[0]["total"] == pytest.approx(202)
    ranked, _ = recommend(problem(n_train=4000), rows)
    graph = next(each for each in ranked if each["name"] == "graph")
    assert graph["low"] < 11 and graph["high"] > 44 and graph["total"] == pytest.approx(22)
    ranked, _ = recommend(problem(n_queries=1), [candidate("brute", 1.0, single_p50_s=0.5)])
    assert ranked[0]["total"] == pytest.approx(1.5)  # not the hundredth of a pass over a hundred queries
    ranked, out = recommend(problem(n_train=1e9), rows)
    assert ranked == [] and all("too far" in why for _, why in out)
    curve = [
        candidate("graph", time, exact=False, recall=recall, at=f"ef={ef}")
        for ef, time, recall in ((10, 0.1, 0.8), (20, 0.2, 0.92), (40, 0.4, 0.99))
    ]
    ranked, _ = recommend(problem(), curve)  # the fastest point that is good enough stands for its curve
    assert [(each["recall"], each["place"][-7:]) for each in ranked] == [(0.92, ", ef=20")]
    assert recommend(problem(recall=0.999), curve) == ([], [("graph", "recall 0.990 at data, n = 1000, d = 10, K = 10, ef=40")])
    unknown = [candidate("theirs", 0.1, recall=None), *curve]
    assert recommend(problem(), unknown)[1] == [("theirs", "no recall is known at data, n = 1000, d = 10, K = 10")]
    bare = dict.fromkeys(("queries_per_s_low", "queries_per_s_high", "single_p50_s"))
    ranked, out = recommend(problem(), [candidate("bare", 0.1, **bare), candidate("unbuilt", 0.1, fit_s=None)])
    assert out == [("unbuilt", "no time of a fit is known at data, n = 1000, d = 10, K = 10")]
    assert [ranked[0][key] for key in ("low", "total", "high")] == pytest.approx([11, 11, 11])
    spread = [candidate("graph", 0.1, query_interval="one round"), candidate("tree", 0.2, flags="subset; drift")]
    assert [each["doubts"] for each in recommend(problem(), spread)[0]] == ["spread of one round", "flagged subset; drift"]
    # Of rounds that differ what was seen, and not what their interval has, of a thousand years.
    wide = candidate("wide", 0.1, queries_per_s_low=1e-9, queries_per_s_high=1e9, flags="rounds_differ")
    [found], _ = recommend(problem(), [wide])
    assert (found["low"], found["total"], found["high"]) == pytest.approx((9, 11, 13))
    assert found["doubts"] == "from its fastest to its slowest repeat; flagged rounds_differ"
    # What is compiled is in the total, and does not grow with what is asked.
    slow, fast = candidate("compiled", 1e-4, compile_s=5.0), candidate("plain", 0.1)
    ranked, _ = recommend(problem(n_queries=1), [slow, fast])
    assert [each["name"] for each in ranked] == ["plain", "compiled"] and ranked[1]["low"] > 5
    # Of two datasets of one size the one counts on which the most answer: nobody is ahead for his easier data.
    easy = [candidate("both", 0.01, dataset="easy"), candidate("hard only", 1.0, dataset="easy", queries_per_s=None)]
    hard = [candidate("both", 1.0, dataset="hard"), candidate("hard only", 0.5, dataset="hard")]
    for rows in (easy + hard, hard + easy):
        ranked, _ = recommend(problem(), rows)
        assert [(each["name"], each["dataset"]) for each in ranked] == [("hard only", "hard"), ("both", "hard")]
    ranked, _ = recommend(problem(), [*hard, candidate("easy only", 0.01, dataset="easy")])
    assert ranked[0]["name"] == "easy only"
    assert [each["doubts"].split(";")[0] for each in ranked[1:]] == ["measured on other data than the first"] * 2
    twice = [candidate("brute", 1.0, status="timeout_query", queries_per_s=None), candidate("brute", 1.0)]  # of two folders
    assert [each["name"] for each in recommend(problem(), twice)[0]] == ["brute"]


@pytest.mark.parametrize(
    ("verdicts", "bold"),
    [
        (("faster", "faster"), [100]),
        (("same", "faster"), [100, 50]),
        (("same", "same"), [100, 50, 25]),
        (("same", "undecided"), []),
        (("undecided", "faster"), []),
        (("faster", None), []),
    ],
)
def test_bold_only_where_it_is_decided(verdicts, bold):
    """The fastest and those that are the same are bold, if no other of the search is undecided against it."""
    rows = frame(quick=(0, 1, True, False), slow=(0, 2, True, False), last=(0, 4, True, False)).assign(at_k="K = 10")
    columns = ["dataset", "n_neighbors", "residency", "machine", "faster", "slower", "verdict"]
    pairs = [("data", 10, "host", "m", "quick", name, each) for name, each in zip(("slow", "last"), verdicts, strict=True)]
    comparisons = pd.DataFrame([pair for pair in pairs if pair[-1]], columns=columns)
    for form, mark in ((Latex, r"\textbf{{{}}}"), (Markdown, "**{}**")):
        text = write_table(form, rows, "at_k", comparisons, {}, "caption", "label")
        assert [speed for speed in (100, 50, 25) if mark.format(speed) in text] == bold
        assert "25" in text and text.count("textbf") + text.count("**") // 2 == len(bold)
    single = write_table(
        Markdown, rows.assign(query_interval="one round"), "at_k", comparisons.iloc[:0], {}, "caption", "label"
    )
    assert "One round per cell: nothing is bold" in single and "**" not in single
