"""Halves of the queries: who chooses a setting by some queries learns from others how good it is. Standard library only."""

import dataclasses

HALVES = ("tuning", "held-out")


def half_of(dataset, half):
    """A dataset with every second query: of even numbers for tuning, of odd ones to test what was chosen.

    Parameters
    ----------
    dataset : Dataset
    half : str, of `HALVES`
    """
    some = slice(HALVES.index(half), None, 2)
    found = {name: getattr(dataset, name)[some].copy() for name in ("test", "neighbors", "distances")}
    return dataclasses.replace(dataset, **found, own=None if dataset.own is None else dataset.own[some])
