"""How sure a time is, and which of two is faster: estimates against cases by hand, and errors on simulated rounds."""

import math

import numpy as np
import pytest
from scipy import stats

from knnbench.results import moderation
from knnbench.results.intervals import (
    CONFIDENCE,
    RATIO_CONFIDENCE,
    Estimate,
    difference,
    estimate,
    estimate_of,
    interval,
    ratio,
    ratios,
)
from knnbench.results.moderation import FEWEST, Rounds, moderate, set_intervals, undisturbed
from knnbench.results.pairs import FASTER, SAME, UNDECIDED, compare, verdict_of
from knnbench.results.tables import COMPARISON, MODERATED, ONE_ROUND, OTHERS, OWN


def cell(backend, rounds, k=10):
    """A row whose rounds have these samples, before it has intervals."""
    place = {"dataset": "data", "n_neighbors": k, "residency": "host", "family": backend, "device": "cpu", "control": False}
    middle = math.exp(np.mean([math.log(np.median(each)) for each in rounds]))
    return place | {"cpu": "A CPU", "cpus": 2, "exact": True, "prunes": False, "flags": "", "query_median_s": middle}


def rows_of(cells):
    """Rows with intervals, of (backend, rounds) or (backend, rounds, K)."""
    rows = [cell(*each) for each in cells]
    set_intervals(rows, [each[1] for each in cells])
    return rows


def rounds_of(generator, median=1.0, between=0.02, number=2, within=0.02):
    """Processes whose medians differ by `between`, and samples within them by `within`."""
    return [list(median * np.exp(generator.normal(0, between)) * generator.lognormal(0, within, 20)) for _ in range(number)]


def pairs_of(rows, same=0.05):
    """What is said of each pair of rows: dict by COMPARISON."""
    return [dict(zip(COMPARISON, each, strict=True)) for each in compare(rows, {"same": same})]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.01, 1.5, FASTER),
        (1.06, 1.5, FASTER),
        (0.5, 0.99, FASTER),
        (0.97, 1.04, SAME),
        (1.01, 1.04, SAME),  # slower beyond doubt, by less than anybody cares for
        (0.97, 1.06, UNDECIDED),
        (0.9, 1.04, UNDECIDED),
        (1.0, 1.2, UNDECIDED),
        (None, None, UNDECIDED),
    ],
)
def test_verdicts(low, high, verdict):
    assert verdict_of(low, high, 0.05) == verdict


def test_ratio_is_of_welch():
    """Against SciPy's own test of two samples of unequal variance, on logarithms."""
    generator = np.random.default_rng(0)
    one, other = generator.normal(0.5, 0.1, 5), generator.normal(0, 0.3, 4)
    times = [Estimate(each.mean(), each.std(ddof=1) / math.sqrt(len(each)), len(each) - 1) for each in (one, other)]
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.99)
    found, low, high = ratio(*times, 0.99)
    assert found == pytest.approx(math.exp(one.mean() - other.mean()))
    assert (low, high) == pytest.approx((math.exp(expected.low), math.exp(expected.high)))


@pytest.mark.parametrize("differ", [0, 3, 60])
def test_many_pairs(differ):
    """Just those pairs have an interval without 1 that Benjamini and Hochberg tell apart: by hand, and by SciPy."""
    generator = np.random.default_rng(differ)
    pairs = []
    for number in range(60):
        error = generator.uniform(0.01, 0.1, 2)
        log = generator.normal([generator.uniform(0, 2) * (number < differ), 0], error)
        pairs.append([Estimate(*each) for each in zip(log, error, generator.uniform(3, 30, 2), strict=True)])
    chances = []
    for one, other in pairs:
        a, b = one.error**2, other.error**2
        freedom = (a + b) ** 2 / (a**2 / one.freedom + b**2 / other.freedom)
        chances.append(2 * stats.t.sf(abs(one.log - other.log) / math.sqrt(a + b), freedom))
    told_apart, share = set(), 1 - RATIO_CONFIDENCE
    for rank in range(len(chances), 0, -1):
        if sorted(chances)[rank - 1] <= share * rank / len(chances):
            told_apart = set(np.argsort(chances)[:rank])
            break
    assert told_apart == set(np.flatnonzero(stats.false_discovery_control(chances) <= share))
    found, confidence = ratios(pairs, 0.0, [1.0] * len(pairs))
    assert {number for number, (_, low, high) in enumerate(found) if low > 1 or high < 1} == told_apart
    assert confidence == pytest.approx(1 - share * max(1, len(told_apart)) / len(pairs))
    assert bool(told_apart) == bool(differ) and ratios([], 0.0, []) == ([], RATIO_CONFIDENCE)


def test_pairs_that_are_the_same_do_not_loosen_the_bound_for_others():
    """Five hundred pairs whose difference is known to be of no weight, and as many of equals: none of these is told apart."""
    generator = np.random.default_rng(0)
    alike = [(Estimate(0.02, 1e-3, 60), Estimate(0.0, 1e-3, 60)) for _ in range(500)]
    equals = [
        (Estimate(generator.normal(0, 0.05), 0.05, 60), Estimate(generator.normal(0, 0.05), 0.05, 60)) for _ in range(500)
    ]
    found, confidence = ratios([*alike, *equals], 0.05, [1.0] * 1000)
    verdicts = [verdict_of(low, high, 0.05) for _, low, high in found]
    assert set(verdicts[:500]) == {SAME} and FASTER not in verdicts[500:] and confidence > 0.9999


def test_moderated_variances_have_the_fewer_degrees_of_freedom():
    """By simulation of the model: a true variance scatters around what is known of it, and equals are told apart as often as
    they should be, where Welch's degrees of freedom tell 2.7 times as many apart."""
    generator = np.random.default_rng(0)
    size, freedom = 200_000, 4.0
    draw = [generator.normal(0, np.sqrt(freedom / generator.chisquare(freedom, size))) for _ in range(2)]
    assert difference(*[Estimate(0.0, 1.0, freedom, True)] * 2).freedom == freedom
    assert difference(*[Estimate(0.0, 1.0, freedom)] * 2).freedom == pytest.approx(2 * freedom)
    scores = np.abs(draw[0] - draw[1]) / math.sqrt(2)
    for degrees, low, high in ((freedom, 0.006, 0.0105), (2 * freedom, 0.02, 0.035)):
        assert low < (scores > stats.t.isf(0.005, degrees)).mean() < high


def test_intervals_without_end_are_numbers():
    """Of a cell that was disturbed among forty quiet ones, in one search with them; and of rounds that agree in every digit."""
    generator = np.random.default_rng(0)
    cells = [(f"b{number}", rounds_of(generator)) for number in range(40)] + [("x", [[1.0, 1.01, 0.99], [4.0, 4.04, 3.96]])]
    rows = rows_of(cells)
    assert all(0 < each["ratio_low"] <= each["ratio_high"] < math.inf for each in pairs_of(rows))
    assert all(estimate_of(row) for row in rows)
    alone = rows_of([("a", [[1.0] * 5, [2.0] * 5]), ("b", [[1.0] * 5] * 4), ("c", [[1.01] * 5] * 4)])
    verdicts = {(each["faster"], each["slower"]): each["verdict"] for each in pairs_of(alone)}
    assert verdicts["b-cpu", "a-cpu"] == UNDECIDED


def test_each_look_costs_its_share():
    """Of rounds: auto the results are looked at before each round, and a table of it tells fewer pairs apart."""
    generator = np.random.default_rng(0)
    rows = rows_of([(f"b{number}", rounds_of(generator, 1 + number / 10, number=4)) for number in range(12)])
    fixed, auto = ([each[-1] for each in compare(rows, timing)] for timing in ({}, {"rounds": "auto", "max_rounds": 9}))
    confidence = [compare(rows, timing)[0][-2] for timing in ({}, {"rounds": "auto", "max_rounds": 9})]
    assert fixed.count(FASTER) > auto.count(FASTER) > 0 and confidence[1] >= 1 - 0.01 / 8


def test_a_row_remembers_its_estimate():
    """Whoever reads a table has what it was written from."""
    generator = np.random.default_rng(0)
    rounds = rounds_of(generator, 3.0, number=3)
    [row] = rows_of([("a", rounds)])
    known, read = estimate(rounds), estimate_of(row)
    assert (read.log, read.error, read.freedom) == pytest.approx((known.log, known.error, known.freedom))
    assert estimate_of(row | {"query_freedom": None}) is None


def test_moderate_by_hand(monkeypatch):
    """What is usual counts as its degrees of freedom say, what a cell shows as its rounds less one."""
    usual, prior = 0.01, 4.0
    monkeypatch.setattr(
        moderation, "fit_prior", lambda *found: (np.array([math.log(usual), *[0.0] * (found[2].shape[1] - 1)]), prior)
    )
    monkeypatch.setattr(moderation, "undisturbed", lambda ratios, *_: np.ones(len(ratios)))
    cells = [Rounds(0.0, 0.02, 1e-6, 2) for _ in range(FEWEST)]
    cells += [Rounds(1.0, math.nan, 1e-6, 1), Rounds(0.0, 0.02, 0.05, 2), Rounds(0.0, 0.04, 1e-6, 3)]
    *_, two, single, rough, three = moderate(cells, [("brute force", "a")] * len(cells))
    assert (two.error**2 * 2, two.freedom) == pytest.approx(((4 * 0.01 + 1 * 0.02) / 5, 5))
    assert (single.log, single.error**2, single.freedom) == pytest.approx((1.0, 0.01, 4))  # it shows nothing of its own
    assert rough.error**2 * 2 == pytest.approx(0.05)  # no less than its samples vary
    assert (three.error**2 * 3, three.freedom) == pytest.approx(((4 * 0.01 + 2 * 0.04) / 6, 6))


def test_what_is_usual_is_found():
    """Of simulated variances: their usual size, how alike they are, and which kind varies more."""
    generator = np.random.default_rng(0)
    size, prior = 600, 6.0
    kinds = [("tree" if number % 2 else "brute force", f"f{number % 7}") for number in range(size)]
    usual = np.array([4e-4 if kind == "brute force" else 16e-4 for kind, _ in kinds])
    true = usual * prior / generator.chisquare(prior, size)
    cells = [Rounds(0.0, float(variance), 1e-5, 3) for variance in true * generator.chisquare(2, size) / 2]
    columns, *expected = moderation.columns_of(cells, kinds)
    between = np.array([cell.between for cell in cells])
    weights, found = moderation.fit_prior(between, np.full(size, 2), columns, *expected)
    assert 3 < found < 15
    assert np.exp(columns @ weights) == pytest.approx(usual, rel=0.35)


def test_a_variance_beyond_all_others_is_of_a_disturbed_cell():
    ratios = stats.f.ppf((np.arange(40) + 0.5) / 40, 1, 4)  # just as the distribution lets expect
    assert undisturbed(ratios, np.ones(40), 4.0) == pytest.approx(np.ones(40))
    ratios[-1] *= 1000
    shares = undisturbed(ratios, np.ones(40), 4.0)
    assert shares[:-1] == pytest.approx(np.ones(39)) and shares[-1] < 0.01
    assert shares[-1] == pytest.approx(stats.f.sf(ratios[-1], 1, 4) / (0.5 / 40))


def test_a_quiet_suite_has_narrow_intervals():
    """Narrower than from the two rounds of each cell, and still right as often as they say."""
    generator = np.random.default_rng(0)
    cells = [(f"b{number % 8}", rounds_of(generator)) for number in range(200)]
    rows = rows_of(cells)
    widths = [math.log(row["query_high_s"] / row["query_low_s"]) for row in rows]
    alone = [math.log(high / low) for low, high in (interval(estimate(rounds)) for _, rounds in cells)]
    assert {row["query_interval"] for row in rows} == {MODERATED} and {row["flags"] for row in rows} == {""}
    assert np.median(widths) < np.median(alone) / 2 and min(row["query_freedom"] for row in rows) > 2
    right = sum(row["query_low_s"] <= 1 <= row["query_high_s"] for row in rows)
    assert right >= (CONFIDENCE - 0.03) * len(rows)


def test_a_disturbed_cell_among_quiet_ones():
    """It is judged by its own rounds, which are inside its interval, and flagged; its neighbours stay as sure as without it."""
    generator = np.random.default_rng(0)
    quiet = [(f"b{number % 8}", rounds_of(generator)) for number in range(40)]
    rounds = [[1.0, 1.01, 0.99], [4.0, 4.04, 3.96]]
    *others, row = rows_of([*quiet, ("disturbed", rounds)])
    assert row["query_low_s"] < 1 and row["query_high_s"] > 4
    assert (row["flags"], row["query_interval"]) == ("rounds_differ", MODERATED) and row["query_freedom"] < 1.5
    assert {other["flags"] for other in others} == {""}
    widths = [np.median([each["query_high_s"] / each["query_low_s"] for each in some]) for some in (others, rows_of(quiet))]
    assert widths[0] - 1 < 1.25 * (widths[1] - 1)


@pytest.mark.parametrize(("number", "made"), [(FEWEST - 1, OWN), (FEWEST, MODERATED)])
def test_few_cells_have_their_own_rounds(number, made):
    generator = np.random.default_rng(0)
    cells = [(f"b{each}", rounds_of(generator)) for each in range(number)]
    *several, single = rows_of([*cells, ("single", rounds_of(generator, number=1))])
    assert {row["query_interval"] for row in several} == {made}
    if made == OWN:
        assert {row["query_freedom"] for row in several} == {1}
        assert (single["query_interval"], single["query_freedom"]) == (ONE_ROUND, None)
        [low, high] = interval(estimate(cells[0][1]))
        assert (several[0]["query_low_s"], several[0]["query_high_s"]) == (low, high)
    else:  # others say how much its next round would differ
        assert single["query_interval"] == OTHERS and single["query_freedom"] > 0


def test_fits_are_moderated_by_builds():
    """Of rounds that built their own; the K of a backend share a build, which counts once."""
    generator = np.random.default_rng(0)
    cells = [(f"b{number}", rounds_of(generator), k) for number in range(FEWEST) for k in (1, 10)]
    builds = [list(10 * np.exp(generator.normal(0, 0.02, 2))) for _ in range(FEWEST)]
    rows = [cell(*each) | dict.fromkeys(("fit_low_s", "fit_high_s", "fit_freedom")) for each in cells]
    fits = [builds[number // 2] for number in range(len(rows))]
    set_intervals(rows, [rounds for _, rounds, _ in cells], [*fits[:-2], [10.0], [10.0]])
    assert [row["fit_low_s"] for row in rows[-2:]] == [None, None]  # one build
    assert {row["fit_freedom"] for row in rows[:-2]} == {1}  # of nine builds each has its own
    set_intervals(rows, [rounds for _, rounds, _ in cells], fits)
    assert min(row["fit_freedom"] for row in rows) > 1
    assert all(row["fit_low_s"] < min(fit) and max(fit) < row["fit_high_s"] for row, fit in zip(rows, fits, strict=True))
    assert all(rows[2 * number]["fit_low_s"] == rows[2 * number + 1]["fit_low_s"] for number in range(FEWEST))


def test_machines_have_priors_of_their_own():
    """What varies on one machine says nothing of another."""
    generator = np.random.default_rng(0)
    cells = [(f"b{number}", rounds_of(generator)) for number in range(2 * FEWEST - 2)]
    rows = [cell(*each) | {"cpu": "one" if number % 2 else "other"} for number, each in enumerate(cells)]
    set_intervals(rows, [rounds for _, rounds in cells])
    assert {row["query_interval"] for row in rows} == {OWN}


def test_pairs():
    """A cell with one round is compared and never decided; the faster stands first, with the interval of the ratio."""
    generator = np.random.default_rng(0)
    quiet = [(f"q{number}", rounds_of(generator, 100.0, number=3), 50) for number in range(FEWEST)]
    medians = {"a": 1.0, "b": 2.0, "c": 1.005}
    rows = rows_of([*quiet, *((name, rounds_of(generator, middle, 0.005, 5, 0.002)) for name, middle in medians.items())])
    found = {
        (each["faster"], each["slower"]): each for each in pairs_of([row for row in rows if row["n_neighbors"] == 10], 0.2)
    }
    assert found["a-cpu", "b-cpu"]["verdict"] == FASTER
    assert (
        1 < found["a-cpu", "b-cpu"]["ratio_low"] < found["a-cpu", "b-cpu"]["ratio"] < found["a-cpu", "b-cpu"]["ratio_high"] < 3
    )
    names = next(names for names in found if set(names) == {"a-cpu", "c-cpu"})
    assert found[names]["verdict"] == SAME and len({each["confidence"] for each in found.values()}) == 1
    [single] = pairs_of(rows_of([("a", rounds_of(generator, 1.0, number=1)), ("b", rounds_of(generator, 9.0, number=1))]))
    assert single["verdict"] == UNDECIDED and single["ratio"] > 5
    assert (single["ratio_low"], single["ratio_high"], single["confidence"]) == (None, None, None)


def test_the_same_code_is_rarely_told_apart():
    """The verdict's error on simulated rounds, whose processes vary more than samples: of pairs alone, and of all together."""
    generator = np.random.default_rng(1)
    cells = [(name, rounds_of(generator, 1.0, 0.05, 3), k) for k in range(300) for name in ("a", "b")]
    alone = [pairs_of(rows_of(cells[2 * k : 2 * k + 2]))[0]["verdict"] for k in range(300)]
    assert alone.count(FASTER) <= 6
    assert sum(each["verdict"] == FASTER for each in pairs_of(rows_of(cells))) <= 1
