"""Machines: what decides their speed, and which rows are of which one."""

import pandas as pd


def residencies(device):
    """Where queries and results live when the clock runs: rows of a cell."""
    return ("host", "device") if device == "gpu" else ("host",)


def machine_of(facts):
    """What decides the speed of a machine: its CPUs in words, and the model of its GPU or None.

    Who has another number of threads than a library gets by itself, one for each core, and is bound to as many CPUs, has
    another machine: nothing that is compared, averaged or drawn together mixes two.

    Parameters
    ----------
    facts : dict, of a record as `facts_of` has them, or a row of timings.csv; without `threads_asked` of the whole machine
    """
    threads = facts.get("threads_asked")
    gpu = (facts.get("gpu") or "").split(",")[0] or None
    if not facts["cpu"]:
        return "", gpu
    usual = facts.get("cores")
    usual = facts["cpus"] if pd.isna(usual) else usual  # as it was before cores were counted
    part = "" if pd.isna(threads) or int(threads) == int(usual) else f"{int(threads)} of "
    return f"{facts['cpu']}, {part}{facts['cpus']} CPUs", gpu


def facts_of(record):
    """The machine of a record, with the number of threads that were asked for."""
    return record["machine"] | {"threads_asked": record.get("threads_asked")}


def machine_words(facts):
    """What `machine_of` says, in words; empty for what ran nowhere."""
    return "; ".join(filter(None, machine_of(facts)))


def whole_machine(facts):
    """The same of all its CPUs, whatever number of threads was asked for."""
    return machine_words(facts | {"threads_asked": None})


# Of these drivers `powersave` is the usual governor: they let the processor choose its clock, by the energy preference.
CHOOSING_DRIVERS = {"intel_pstate", "amd-pstate-epp"}


def setup_words(facts):
    """How the CPUs of a machine are laid out and set up, of the facts in a record; empty for records that do not have them."""
    layout, words = facts.get("topology"), []
    if layout:
        names = {"cores": "core", "sockets": "socket", "memory_nodes": "memory node"}
        words = [f"{layout[key]} {name}{'s' * (layout[key] > 1)}" for key, name in names.items()]
        words += [f"{layout['threads_per_core']} hardware thread{'s' * (layout['threads_per_core'] > 1)} a core"]
    said = {"governor": "governor", "clock_driver": "clock by", "huge_pages": "large pages", "microcode": "microcode"}
    words += [f"{name} {facts[key]}" for key, name in said.items() if facts.get(key)]
    if "boost" in facts:
        words.append(f"boost {'on' if facts['boost'] else 'off'}")
    return ", ".join(words)


def saving_words(facts):
    """How a machine is told to spare power rather than time, of the facts in a record: a list, empty if nothing known."""
    governor, driver, words = facts.get("governor") or "", facts.get("clock_driver"), []
    if "powersave" in governor and driver not in CHOOSING_DRIVERS:
        words.append(f"the governor powersave of {driver or 'an unknown driver'} keeps to the lowest clock")
    if driver in CHOOSING_DRIVERS and "power" in (facts.get("energy_preference") or "").split(", "):
        words.append("the energy preference is power")
    if facts.get("platform_profile") in ("low-power", "quiet"):
        words.append(f"the platform profile is {facts['platform_profile']}")
    return words


def slowing_words(facts):
    """What keeps the clock of a machine's CPUs below what it can be, of the facts in a record; empty if nothing known."""
    words = saving_words(facts)
    most, possible = facts.get("clock_khz") or (1, 1)
    if most < possible:
        words.append(f"the clock may reach {most / 1e6:.2f} of {possible / 1e6:.2f} GHz")
    if facts.get("clock_percent", 100) < 100:
        words.append(f"intel_pstate allows {facts['clock_percent']}% of its highest performance")
    if facts.get("boost") is False:
        words.append("boost is off")
    return ", ".join(words)


def share_cores(record):
    """Whether a cell had more threads than its CPUs have cores, so that some shared one."""
    layout = record["machine"].get("topology") or {}
    return (record.get("threads_asked") or 0) > layout.get("cores", float("inf"))


def machine_notes(every):
    """Lines on the machines of some records: how each is set up, and what keeps its clock low.

    Parameters
    ----------
    every : iterable of dict, `machine` of each record
    """
    notes = []
    for facts in every:
        found = {"": setup_words(facts), " is slower than it can be": slowing_words(facts)}
        notes += [f"{machine_of(facts)[0]}{says}: {words}.\n" for says, words in found.items() if words]
    return list(dict.fromkeys(notes))


def rounds_by_machine(records):
    """Split the rounds of a cell by the machines that they ran on: rounds of different machines are no samples of one time.

    Returns
    -------
    groups : list of list of dict
    """
    groups = {}
    for record in records:
        groups.setdefault(machine_of(facts_of(record)), []).append(record)
    return list(groups.values())


CELL = ["dataset", "backend", "device", "n_neighbors", "residency"]
PLACE = ["dataset", "family", "setting", "device", "n_neighbors", "residency"]  # of a point, under any number of threads


def by_machine(timings):
    """Split rows of timings.csv by the machine that they are of; no figure mixes two.

    Returns
    -------
    blocks : list of (str, DataFrame)
        The machine in words, and its rows with those of points that got no job anywhere: one block for every model of CPUs and
        number of threads and, where one has several models of GPU, for each of these with the CPUs' rows again.
    """
    nowhere, ran = timings[timings["cpu"].isna()], timings.dropna(subset=["cpu"])
    models = ran["gpu"].astype(object).str.split(",").str[0]
    machines = pd.Series([machine_of(text_of(row))[0] for row in ran.to_dict("records")], ran.index, dtype=object)
    blocks = []
    for words, host in ran.groupby(machines, sort=False):
        gpus = models[host.index]
        for model in [None] if gpus.isna().all() else gpus.dropna().unique():
            rows = host[(host["device"] == "cpu") | (gpus == model)]
            lost = host[(host["device"] == "gpu") & gpus.isna()]  # no GPU was there, or it did not answer
            lost = without(lost, rows, CELL)
            here = pd.concat([rows, lost, without(nowhere, rows, PLACE)]).sort_index()
            blocks.append((f"{words}; {model}" if model else words, here))
    return blocks or [("", timings)]


def without(some, rows, columns):
    """Those of some rows that no other row is alike in these columns."""
    keys, others = (each[columns].apply(tuple, axis=1) for each in (some, rows))
    return some[~keys.isin(others)] if len(some) and len(rows) else some


def text_of(row):
    """A row of a table as a record has it: None where a table has NaN, and whole CPUs."""
    known = {key: None if pd.isna(value) else value for key, value in row.items()}
    return known | {"cpus": None if known["cpus"] is None else int(known["cpus"])}
