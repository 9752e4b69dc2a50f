"""How often intervals and verdicts are right: by simulated rounds, and by real twins, one backend under several names.

    python benchmarks/coverage.py simulate published/cpu-2core
    snakemake --cores 1 --configfile benchmarks/twins.yaml && python benchmarks/coverage.py twins results/twins

Prints Markdown; docs/measuring.md has its tables. `before` are intervals from the rounds of a cell alone, and pairs, each
is told apart by itself at 99%; `after` are those of knnbench.results.moderation and pairs.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
from shared import made_by

from knnbench.config.suite import AUTO
from knnbench.results.folder import read
from knnbench.results.intervals import RATIO_CONFIDENCE, estimate, interval, ratio, ratios
from knnbench.results.moderation import kind_of, moderate, rounds_of
from knnbench.results.pairs import FASTER, SAME_WITHIN, UNDECIDED, verdict_of
from knnbench.results.samples import passes

FALSE_SHARE = 1 - RATIO_CONFIDENCE
FACTOR = 1.1  # between the times of pairs that should be told apart
MOST_ROUNDS = 9  # of rounds: auto, as timing.max_rounds is
MOST = 30  # samples of a round that a simulated one draws
SEEN = ("95% intervals cover", "ends apart", "twins told apart", "10% told apart")


def recorded(folder):
    """What rounds of published cells do: of each cell with several, its family, kind, deviations of rounds and of samples."""
    results = read(folder)
    rows = results.points[results.points["residency"] == "host"].set_index(["dataset", "backend", "device", "n_neighbors"])
    cells = []
    for place, samples in passes(results.samples, results.points).groupby(list(rows.index.names), sort=False):
        if place not in rows.index or rows.loc[place, "query_median_s"] is None:
            continue
        rounds = [np.asarray(each) for _, each in samples[samples["residency"] == "host"].groupby("round")["seconds"]]
        asked = samples.groupby("round")["queries"].first()
        if len(rounds) < 2 or asked.max() > 2 * asked.min():  # which asked in different ways
            continue
        logs = np.log([np.median(each) for each in rounds])
        row = rows.loc[place]
        cells.append(
            {
                "family": row["family"],
                "kind": kind_of(row),
                "deviations": (logs - logs.mean()) * np.sqrt(len(logs) / (len(logs) - 1)),
                "samples": [np.log(each / np.median(each))[:MOST] for each in rounds],
            }
        )
    return cells


def draw(cells, number, rounds, tails, generator):
    """Simulate cells whose true time is 1 s: their samples of each round, and their kinds.

    Parameters
    ----------
    cells : list of dict, of `recorded`
    number, rounds : int
    tails : {"rounds", "cells"}
        Whether any round may be a disturbed one, and deviates as any round of the family did, or a cell keeps to what one
        recorded cell did, whose rounds vary normally.
    generator : numpy.random.Generator
    """
    families = {}
    for cell in cells:
        families.setdefault(cell["family"], []).extend(cell["deviations"])
    samples, kinds = [], []
    for _ in range(number):
        cell = cells[generator.integers(len(cells))]
        if tails == "rounds":
            shifts = generator.choice(families[cell["family"]], rounds) * generator.choice([-1, 1], rounds)
        else:
            shifts = generator.normal(0, np.sqrt(np.mean(np.square(cell["deviations"]))), rounds)
        within = [cell["samples"][generator.integers(len(cell["samples"]))] for _ in range(rounds)]
        samples.append([np.exp(shift + generator.permutation(each)) for shift, each in zip(shifts, within, strict=True)])
        kinds.append(cell["kind"])
    return samples, kinds


def judged(cells, kinds, pairs, share):
    """Estimates of cells and verdicts of pairs, as they are today.

    Parameters
    ----------
    cells : list of moderation.Rounds
    kinds : list of (str, str), as moderation.kind_of has them
    pairs : list of (int, int)
    share : float, of those that are told apart the share that may be false

    Returns
    -------
    estimates : list of Estimate
    verdicts : list of str
    """
    estimates = moderate(cells, kinds)
    found, _ = ratios([(estimates[one], estimates[other]) for one, other in pairs], SAME_WITHIN, [1.0] * len(pairs), share)
    return estimates, [verdict_of(low, high, SAME_WITHIN) for _, low, high in found]


def judged_before(samples, pairs):
    """The same from the rounds of each cell alone, and each pair for itself."""
    estimates = [estimate(each) for each in samples]
    apart = [ratio(estimates[one], estimates[other])[1:] for one, other in pairs]
    return estimates, [UNDECIDED if low <= 1 <= high else FASTER for low, high in apart]


def until_decided(samples, kinds, pairs):
    """The rounds that cells have by `rounds: auto`: two, and further ones as long as their pair is undecided."""
    have = np.full(len(samples), 2)
    cells = [rounds_of(each[:2]) for each in samples]
    while True:
        _, verdicts = judged(cells, kinds, pairs, FALSE_SHARE / (MOST_ROUNDS - 1))
        ahead = [cell for pair, verdict in zip(pairs, verdicts, strict=True) for cell in pair if verdict == UNDECIDED]
        ahead = [cell for cell in ahead if have[cell] < len(samples[0])]
        if not ahead:
            return [each[:number] for each, number in zip(samples, have, strict=True)]
        for cell in ahead:
            have[cell] += 1
            cells[cell] = rounds_of(samples[cell][: have[cell]])


class Count:
    """What was seen of many tables, before and after."""

    def __init__(self):
        self.seen = {name: {when: [] for when in ("before", "after")} for name in SEEN}

    def add(self, samples, kinds, truths, factors, share=FALSE_SHARE):
        """Judge a table whose cells stand in pairs, one after the other.

        Parameters
        ----------
        truths : sequence of float, the true time of each cell
        factors : sequence of float, how many times as long the first of each pair truly takes
        share : float, of the pairs that are told apart the share that may be false
        """
        factors = np.array(factors)
        pairs = [(2 * number, 2 * number + 1) for number in range(len(factors))]
        after = judged([rounds_of(each) for each in samples], kinds, pairs, share)
        for when, (estimates, verdicts) in (("before", judged_before(samples, pairs)), ("after", after)):
            low, high = np.array([interval(each) for each in estimates]).T
            told = np.array(verdicts) == FASTER
            for name, values in zip(
                SEEN, ((low <= truths) & (truths <= high), high / low, told[factors == 1], told[factors == FACTOR]), strict=True
            ):
                self.seen[name][when].extend(values)

    def words(self):
        """A row of a table: before and after."""
        average = {name: np.median if name == "ends apart" else np.mean for name in SEEN}
        form = {name: "{:.2f}" if name == "ends apart" else "{:.1%}" for name in SEEN}
        return {
            f"{name}: before, after": ", ".join(form[name].format(average[name](each[when])) for when in each)
            for name, each in self.seen.items()
        }


def simulate(folder):
    """Rows of a table: cells whose rounds vary as recorded ones do; of three pairs one are twins, one 10% apart, one twice."""
    cells, rows = recorded(folder), []
    for tails, number, rounds in itertools.product(("rounds", "cells"), (24, 60, 400), (2, 3, 5, AUTO)):
        count, generator, have = Count(), np.random.default_rng(number), []
        for _ in range(max(4, 720 // number)):
            samples, kinds = draw(cells, number, MOST_ROUNDS if rounds == AUTO else rounds, tails, generator)
            factors = generator.permutation(np.resize([1.0, FACTOR, 2.0], number // 2))
            truths = np.ones(number)
            truths[::2] = factors
            samples = [[each * truth for each in some] for some, truth in zip(samples, truths, strict=True)]
            share = FALSE_SHARE
            if rounds == AUTO:
                share /= MOST_ROUNDS - 1  # its part of each look
                samples = until_decided(samples, kinds, [(each, each + 1) for each in range(0, number, 2)])
            have += map(len, samples)
            count.add(samples, kinds, truths, factors, share)
        words = f"{AUTO}: {np.mean(have):.1f}" if rounds == AUTO else rounds
        rows.append({"tails of": tails, "cells": number, "rounds": words, **count.words()})
    return pd.DataFrame(rows)


def twins(folder):
    """Rows of a table: real twins, whose true time is that of their siblings; of half of the pairs one is made 10% slower."""
    results = read(folder)
    rows = results.points.set_index(["dataset", "backend"])
    # Rounds beside a slow machine are in it, too, so that each cell has as many.
    timed, alike = passes(results.samples.assign(counted=True), results.points), {}
    for (dataset, backend), samples in timed.groupby(["dataset", "backend"], sort=False):
        row = rows.loc[(dataset, backend)]
        family, _ = row["family"].rsplit("-", 1)
        rounds = [each.to_numpy() for _, each in samples.groupby("round")["seconds"]]
        alike.setdefault((dataset, family, row["setting"]), []).append((rounds, (kind_of(row)[0], family)))
    most, table, generator = min(len(rounds) for each in alike.values() for rounds, _ in each), [], np.random.default_rng(0)
    for number in range(2, most + 1):
        count = Count()
        for _ in range(60):  # the rounds, the pairs, and which of them are made slower
            samples, kinds, true, factors = [], [], [], []
            for each in alike.values():
                logs = np.array([np.mean([np.log(np.median(some)) for some in rounds]) for rounds, _ in each])
                for twin in generator.permutation(len(each)):
                    rounds, kind = each[twin]
                    others = np.delete(logs, twin)
                    factor = generator.choice([1.0, FACTOR]) if len(samples) % 2 == 0 else 1.0
                    factors += [factor] * (len(samples) % 2 == 0)
                    samples.append([rounds[some] * factor for some in generator.permutation(most)[:number]])
                    kinds.append(kind)
                    true.append(np.exp(others.mean()) * factor)
            count.add(samples, kinds, np.array(true), factors)
        table.append({"rounds": number, "cells": len(samples), **count.words()})
    return pd.DataFrame(table)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("simulate", "twins"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(f"{made_by(f'coverage.py {arguments.what} {arguments.folder}')}\n")
    print({"simulate": simulate, "twins": twins}[arguments.what](arguments.folder).to_markdown(index=False))


if __name__ == "__main__":
    main()
