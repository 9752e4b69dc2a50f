"""Machines: what decides their speed, and which rows are of which one."""

import pandas as pd


def residencies(device):
    """Where queries and results live when the clock runs: rows of a cell."""
    return ("host", "device") if device == "gpu" else ("host",)


def machine_of(facts):
    """What decides the speed of a machine, of the facts in a record: its CPUs in words, and the model of its GPU or None."""
    cpus = f"{facts['cpu']}, {facts['cpus']} CPUs" if facts["cpu"] else ""
    return cpus, (facts.get("gpu") or "").split(",")[0] or None


def machine_words(facts):
    """What `machine_of` says, in words; empty for what ran nowhere."""
    return "; ".join(filter(None, machine_of(facts)))


def rounds_by_machine(records):
    """Split the rounds of a cell by the machines that they ran on: rounds of different machines are no samples of one time.

    Returns
    -------
    groups : list of list of dict
    """
    groups = {}
    for record in records:
        groups.setdefault(machine_of(record["machine"]), []).append(record)
    return list(groups.values())


CELL = ["dataset", "backend", "device", "n_neighbors", "residency"]


def by_machine(timings):
    """Split rows of timings.csv by the machine that they are of; no figure mixes two.

    Returns
    -------
    blocks : list of (str, DataFrame)
        The machine in words, and its rows with those that got no job anywhere: one block for every model of CPUs and, where
        one has several models of GPU, for each of these with the CPUs' rows again.
    """
    nowhere, ran = timings[timings["cpu"].isna()], timings.dropna(subset=["cpu"])
    models = ran["gpu"].astype(object).str.split(",").str[0]
    blocks = []
    for (cpu, cpus), host in ran.groupby(["cpu", "cpus"], sort=False):
        gpus = models[host.index]
        for model in [None] if gpus.isna().all() else gpus.dropna().unique():
            words = f"{cpu}, {cpus:.0f} CPUs" + (f"; {model}" if model else "")
            rows = host[(host["device"] == "cpu") | (gpus == model)]
            lost = host[(host["device"] == "gpu") & gpus.isna()]  # no GPU was there, or it did not answer
            lost = lost[~lost[CELL].apply(tuple, axis=1).isin(rows[CELL].apply(tuple, axis=1))]
            blocks.append((words, pd.concat([rows, lost, nowhere]).sort_index()))
    return blocks or [("", timings)]
