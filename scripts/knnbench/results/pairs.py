"""Who is faster, pair by pair: comparisons.csv."""

import itertools

from knnbench.results.intervals import estimate, ratio
from knnbench.results.machines import machine_of
from knnbench.results.tables import SEARCH
from knnbench.results.words import ONE_ROUND, SAME


def compare(entries):
    """Compare all pairs of cells that search the same on the same machine.

    Parameters
    ----------
    entries : list of (row, list of samples per round) of measured cells, in seconds for all queries
        One for each family (curves.standing); controls are left out.

    Returns
    -------
    comparisons : list of tuple, as `tables.COMPARISON` names them
        The faster of a pair is first; `ratio` is the slower one's time over its own. With one round nothing is known of the
        variation between processes, and the verdict says so.
    """
    groups = {}
    for entry in entries:
        if entry[0]["control"]:
            continue
        search = *(entry[0][name] for name in SEARCH[:-1]), machine_of(entry[0])[0]
        groups.setdefault(search, []).append(entry)
    comparisons = []
    for search, group in groups.items():
        group = sorted(group, key=lambda entry: entry[0]["query_median_s"])
        estimates = [estimate(rounds) if len(rounds) > 1 else None for _, rounds in group]
        for (fast, at_first), (slow, at_second) in itertools.combinations(zip(group, estimates, strict=True), 2):
            models = {machine_of(each)[1] for each, _ in (fast, slow)} - {None}
            if len(models) > 1:  # of one CPU with two GPUs
                continue
            found, low, high = slow[0]["query_median_s"] / fast[0]["query_median_s"], None, None
            verdict = ONE_ROUND
            if at_first and at_second:
                found, low, high = ratio(at_second, at_first)
                verdict = SAME if low <= 1 else "faster"
            names = [f"{each['family']}-{each['device']}" for each, _ in (fast, slow)]
            comparisons.append((*search[:-1], "; ".join([search[-1], *models]), *names, found, low, high, verdict))
    return comparisons
