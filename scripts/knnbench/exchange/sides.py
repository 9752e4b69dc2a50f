"""The two sides of a comparison: the baseline, and what is compared with it."""

import json
from dataclasses import dataclass
from functools import cached_property

import pandas as pd
import yaml

from knnbench.results.folder import read_timings
from knnbench.results.intervals import estimate_of
from knnbench.results.machines import CELL, text_of, whole_machine
from knnbench.results.tables import controls_apart


@dataclass(frozen=True)
class Side:
    """The baseline, or what is compared with it.

    Attributes
    ----------
    name : str
    timings : DataFrame, without controls
    config : dict, the saved configuration
    ceilings : dict, device -> what it reaches at most, as measure_ceilings.py writes it
    """

    name: str
    timings: pd.DataFrame
    config: dict
    ceilings: dict

    @cached_property
    def rows(self):
        """The rows, by cell and residency; None for what is empty."""
        rows = [text_of(row) for row in self.timings.to_dict("records")]
        return {tuple(row[name] for name in CELL): row for row in rows}

    @cached_property
    def machine(self):
        """What it ran on, in words."""
        ran = [row for row in self.rows.values() if row["cpu"]]
        words = {whole_machine(row) for row in ran}
        return max(words, key=len, default="")  # a row on the GPU names it, too

    @cached_property
    def estimates(self):
        """Times of which something is known of other processes, by cell and residency."""
        found = {key: estimate_of(row) for key, row in self.rows.items()}
        return {key: each for key, each in found.items() if each}


def read_side(name, folder):
    """Read one side.

    Raises
    ------
    SystemExit
        A table is missing, or there are several machines in it.
    """
    timings, _ = controls_apart(read_timings(folder))
    origin = folder / "provenance.json"
    ran = timings.dropna(subset=["cpu"])
    if len(ran[["cpu", "cpus"]].drop_duplicates()) > 1:
        raise SystemExit(f"{name}: it has results of several machines; compare the folders that it was merged from")
    ceilings = json.loads(origin.read_text(encoding="utf-8"))["ceilings"] if origin.exists() else {}
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return Side(name, timings, config, ceilings)
