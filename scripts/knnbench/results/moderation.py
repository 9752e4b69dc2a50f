"""Intervals of times whose variances are estimated together, over all cells of a machine (empirical Bayes).

The two or three rounds of a cell say little of how much rounds vary. Hundreds of cells say much of how much those of a cell
usually vary. So the variance between the rounds of a cell is taken as drawn from a distribution, and the parameters of this
distribution are estimated from all cells. The variance that is used for a cell is the mean of the one that its own rounds show
and of the usual one, each weighted by its degrees of freedom (Smyth, Linear Models and Empirical Bayes Methods for Assessing
Differential Expression in Microarray Experiments, Statistical Applications in Genetics and Molecular Biology 3, 2004). A cell
whose rounds differ far more than this distribution lets expect was disturbed, and is judged by its own rounds alone (Phipson,
Lee, Majewski, Alexander and Smyth, Robust Hyperparameter Estimation Protects Against Hypervariable Genes and Improves Power to
Detect Differential Expression, Annals of Applied Statistics 10, 2016).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, fdtrc

from knnbench.measure.clock import median_interval
from knnbench.results.intervals import LEAST_VARIANCE, Estimate, estimate, interval, medians_drawn
from knnbench.results.machines import machine_words
from knnbench.results.tables import MODERATED, ONE_ROUND, OTHERS, OWN

FEWEST = 10  # cells with several rounds that a prior is estimated from; of fewer each cell has its own rounds only
CENSORED = 0.05  # share of the cells of which no more is believed than that they vary much: some were disturbed
# What is expected of the prior before a cell was seen, as normal distributions (mean, standard deviation) around what the 774
# cells of published/cpu-2core show: its degrees of freedom, by their logarithm; how the variance between rounds grows with that
# within them, as a power; and the logarithms of how much more kinds of search and families of backends vary than others. They
# matter where there are few cells, and not where there are hundreds.
USUAL_FREEDOM, USUAL_POWER, KINDS_DIFFER, FAMILIES_DIFFER = (math.log(3), 1.0), (0.5, 0.2), (0.0, 1.0), (0.0, 0.7)
# Columns that set_intervals writes of the queries, and their types.
INTERVALS = dict.fromkeys(("query_low_s", "query_high_s", "query_freedom"), float) | {"query_interval": object, "flags": object}
WIDE = 2.0  # factor between the ends of an interval from which on the row is flagged rounds_differ


@dataclass(frozen=True)
class Rounds:
    """What the rounds of a cell say, on a logarithmic scale.

    Attributes
    ----------
    log : float, mean over rounds of the logarithm of their medians in seconds
    between : float, variance of the logarithms of the medians; NaN of one round
    within : float, variance that the median of one round has by its own samples alone; 0 if each has one sample
    number : int, rounds
    """

    log: float
    between: float
    within: float
    number: int


def rounds_of(samples, seed=0):
    """What the rounds of a cell say.

    Parameters
    ----------
    samples : list of sequences of float, in seconds, a sequence for each round

    Returns
    -------
    Rounds
    """
    medians = np.log([np.median(each) for each in samples])
    within = np.log(medians_drawn(samples, np.random.default_rng(seed))).var(axis=1).mean()
    between = float(medians.var(ddof=1)) if len(samples) > 1 else math.nan
    return Rounds(float(medians.mean()), between, float(within), len(samples))


def columns_of(cells, kinds):
    """What the variance between the rounds of a cell may depend on, and what is expected of how it does.

    Parameters
    ----------
    cells : list of Rounds
    kinds : list of (str, str), kind and family of each cell

    Returns
    -------
    columns : ndarray, shape (cells, columns): a constant, the logarithm of the variance within, each kind, each family
    means, deviations : ndarray, shape (columns,), of what is expected of the weights of the columns; of the constant nothing
    """
    within = np.log([max(cell.within, LEAST_VARIANCE) for cell in cells])
    columns, expected = [np.ones(len(cells)), within - np.median(within)], [(0.0, math.inf), USUAL_POWER]
    for level, usual in enumerate((KINDS_DIFFER, FAMILIES_DIFFER)):
        names = sorted({each[level] for each in kinds})
        columns += [np.array([float(each[level] == name) for each in kinds]) for name in names]
        expected += [usual] * len(names)
    return np.stack(columns, axis=1), *np.array(expected).T


def log_density(ratios, own, prior):
    """Logarithm of the density of Snedecor's F with `own` and `prior` degrees of freedom."""
    first = own / 2 * np.log(own / prior) + (own / 2 - 1) * np.log(ratios)
    return first - (own + prior) / 2 * np.log1p(own * ratios / prior) - betaln(own / 2, prior / 2)


def fit_prior(variances, freedom, columns, means, deviations):
    """Estimate the distribution of the variances of cells, a scaled inverse chi-square: the mode of its posterior.

    The largest `CENSORED` of them, relative to what is expected, count as large and no more, so that disturbed cells do not
    make all others look uncertain.

    Parameters
    ----------
    variances, freedom : ndarray, shape (cells,)
    columns, means, deviations : of `columns_of`

    Returns
    -------
    weights : ndarray, shape (columns,); the logarithm of the usual variance of a cell is columns @ weights
    freedom : float, degrees of freedom of the prior
    """
    means = np.append(means, USUAL_FREEDOM[0])
    deviations = np.append(deviations, USUAL_FREEDOM[1])

    def likelihood(usual, prior, seen, censored):
        """Its logarithm, and how that grows with the logarithm of each cell's usual variance."""
        ratios = seen / np.exp(usual)
        density, beyond = log_density(ratios, freedom, prior), np.maximum(fdtrc(freedom, prior, ratios), 1e-300)
        share = freedom * ratios / (prior + freedom * ratios)
        slopes = np.where(censored, np.exp(density) * ratios / beyond, (freedom + prior) / 2 * share - freedom / 2)
        return np.where(censored, np.log(beyond), density - usual).sum(), slopes

    def loss(found, seen, censored):
        usual, step = columns @ found[:-1], 1e-4
        value, slopes = likelihood(usual, math.exp(found[-1]), seen, censored)
        more, _ = likelihood(usual, math.exp(found[-1] + step), seen, censored)
        apart = (found - means) / deviations
        gradient = apart / deviations - np.append(slopes @ columns, (more - value) / step)
        return (apart**2).sum() / 2 - value, gradient

    def fit(start, seen, censored):
        bounds = [(-60, 20)] * columns.shape[1] + [(-2, 6)]
        return minimize(loss, start, (seen, censored), "L-BFGS-B", jac=True, bounds=bounds).x

    start = means.copy()
    start[0] = np.log(np.median(variances))
    first = fit(start, variances, np.zeros(len(variances), bool))
    usual = np.exp(columns @ first[:-1])
    limit = np.quantile(variances / usual, 1 - CENSORED)
    censored = variances / usual > limit
    found = fit(first, np.where(censored, limit * usual, variances), censored)
    return found[:-1], math.exp(found[-1])


def undisturbed(ratios, freedom, prior):
    """How far each cell is believed to be one of the distribution, by Phipson et al. (2016).

    Parameters
    ----------
    ratios : ndarray, variances of the cells over what is expected of them
    freedom : ndarray, their degrees of freedom
    prior : float, degrees of freedom of the prior

    Returns
    -------
    shares : ndarray, in (0, 1]
        1 of all but the largest variances (those with a chance below `CENSORED`), and of these where a variance is not larger
        than its rank among all cells lets expect; else the chance of such a variance over its rank, and never more than of a
        cell with a smaller one.
    """
    chances = fdtrc(freedom, prior, ratios)
    order = np.argsort(-chances)
    ranks = np.empty(len(ratios))
    ranks[order] = (len(ratios) - np.arange(len(ratios)) - 0.5) / len(ratios)
    shares = np.where(chances < CENSORED, np.minimum(1, chances / ranks), 1.0)
    shares[order] = np.minimum.accumulate(shares[order])
    return shares


def moderate(cells, kinds):
    """Estimate times of cells of one machine.

    Parameters
    ----------
    cells : list of Rounds
    kinds : list of (str, str), of each cell the kind of search and the family of backends: variances within are more alike

    Returns
    -------
    estimates : list of Estimate, or None for each cell
        None for all if fewer than `FEWEST` cells have several rounds. A cell with one round has the prior's variance alone.
    """
    several = np.array([cell.number > 1 for cell in cells], bool)
    if several.sum() < FEWEST:
        return [None] * len(cells)
    columns, *expected = columns_of(cells, kinds)
    freedom = np.array([cell.number - 1 for cell in cells])
    between = np.array([max(cell.between, LEAST_VARIANCE) if cell.number > 1 else 0.0 for cell in cells])
    weights, prior = fit_prior(between[several], freedom[several], columns[several], *expected)
    usual = np.exp(columns @ weights)
    shares = np.ones(len(cells))
    shares[several] = undisturbed((between / usual)[several], freedom[several], prior)
    priors = shares * prior
    # Rounds cannot vary less than the samples within them make their medians vary.
    variances = np.maximum((priors * usual + freedom * between) / (priors + freedom), [cell.within for cell in cells])
    return [
        Estimate(cell.log, math.sqrt(variance / cell.number), float(degrees), True)
        for cell, variance, degrees in zip(cells, variances, priors + freedom, strict=True)
    ]


def kind_of(row):
    """What kind of search a row is of, and of which family: a tuple of str."""
    if row["control"]:
        return "control", row["family"]
    return ("tree" if row["prunes"] else "brute force") if row["exact"] else "approximate", row["family"]


def set_intervals(rows, rounds, fits=None):
    """Write the intervals of rows of timings.csv, of the queries and of the fits.

    Parameters
    ----------
    rows : list of dict
        Gets, in place, query_low_s, query_high_s, query_interval, query_freedom, the flag rounds_differ, and with `fits` also
        fit_low_s, fit_high_s and fit_freedom.
    rounds : list of list of sequences of float
        Of each row the samples of each round, in seconds for all queries.
    fits : list of list of float, of each row the fits of the rounds that built their own index, in seconds; None: as they are
    """
    groups = {}
    for number, row in enumerate(rows):
        groups.setdefault((machine_words(row), row["device"]), []).append(number)
    for numbers in groups.values():
        timed = [number for number in numbers if rows[number]["query_median_s"] is not None]
        estimates = moderate([rounds_of(rounds[number]) for number in timed], [kind_of(rows[number]) for number in timed])
        for number, found in zip(timed, estimates, strict=True):
            set_query_interval(rows[number], rounds[number], found)
        if fits is None:
            continue
        built = {
            tuple(fits[number]): kind_of(rows[number]) for number in numbers if len(fits[number]) > 1 and all(fits[number])
        }
        estimates = moderate([rounds_of([[fit] for fit in each]) for each in built], list(built.values()))
        known = dict(zip(built, estimates, strict=True))
        for number in numbers:
            if (each := tuple(fits[number])) in known:
                found = known[each] or estimate([[fit] for fit in each])
                low, high = interval(found)
                rows[number] |= {"fit_low_s": low, "fit_high_s": high, "fit_freedom": found.freedom}


def set_query_interval(row, rounds, moderated):
    """Write the interval of a row: `moderated`, or of its own rounds, or what one round spreads."""
    found = moderated or (estimate(rounds) if len(rounds) > 1 else None)
    if found is None:
        low, high = median_interval(rounds[0])
        row |= {"query_low_s": low, "query_high_s": high, "query_interval": ONE_ROUND, "query_freedom": None}
        return
    low, high = interval(found)
    row |= {
        "query_low_s": low,
        "query_high_s": high,
        "query_interval": (MODERATED if len(rounds) > 1 else OTHERS) if moderated else OWN,
    }
    row |= {"query_freedom": found.freedom}
    if high > WIDE * low and len(rounds) > 1:
        row["flags"] = "; ".join(filter(None, (row["flags"], "rounds_differ")))
