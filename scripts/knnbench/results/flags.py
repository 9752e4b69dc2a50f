"""Flags of a row: what to know of it, or to doubt in it (docs/measuring.md)."""

import math

from knnbench.results.intervals import drifts, is_bimodal
from knnbench.results.machines import machine_of, saving_words, share_cores

# Every flag -> what a footnote says of a number that has it, in its order.
WORDS = {
    "noisy": "others used the machine meanwhile",
    "slow_machine": "the machine was slower than usual",
    "noisy_fit": "others used the machine while the index was built",
    "fit_elsewhere": "the index was built on another machine",
    "throttled": "heat or a fault held the GPU's clocks back",
    "power_capped": "the limit of its power held the GPU's clocks back",
    "clock_free": "the GPU's clock could not be held",
    "powersave": "the machine was told to spare power",
    "shared_cores": "threads shared cores",
    "quota": "the kernel held the passes back",
    "inherited": "variables of the user change what code is run",
    "drift": "repeats rise or fall",
    "bimodal": "repeats have two modes",
    "rounds_differ": "rounds differ by more than a factor of two",
    "lifted": "asked for inner products in two more dimensions",
    "subset": "scaled from a subset of the queries",
    "small_subset": "of fewer queries than the library needs to search as it searches all",
    "not_linear": "time did not grow as the number of queries did, so that all may take another time",
    "two_ways": "rounds asked in two ways, and some are left out",
    "over_page_limit": "beyond the limits of the KeOps page",
    "one_build": "all rounds searched one index",
    "no_control": "no control: it is not what it is called",
    "above_ceiling": "faster than the machine's own ceiling",
    "imported": "from another benchmark",
}
HELD_BACK = 0.05  # share of the passes from which on it is said that the clocks of a GPU were held back
CHANGING = {"LD_LIBRARY_PATH", "CXX", "CXXFLAGS"}  # variables of the user that change what code is run


def is_no_control(what, recall, chance, places):
    """Whether a control is not what it is called: nothing but the right answer, or chance beyond six standard deviations.

    Parameters
    ----------
    what : {"null", "random"}
    recall : float, its own
    chance : float, that of ids at random
    places : int, how many ids were graded
    """
    return recall < 1 if what == "null" else abs(recall - chance) > 6 * math.sqrt(chance * (1 - chance) / places)


def slowed_by(state):
    """Why the clocks of a GPU were held back during the passes, for more than `HELD_BACK` of them where the driver counts that.

    Of a reason that it does not count, it is whether that held right after the last pass.

    Parameters
    ----------
    state : dict, `gpu_state` of a record

    Returns
    -------
    reasons : dict, reason -> share of the passes, or None where that is not known
    """
    shares = state.get("slowed_share") or {}
    counted = {reason: share for reason, share in shares.items() if share > HELD_BACK}
    return counted | {reason: None for reason in state.get("slowed_by", ()) if reason not in shares}


def flags_of(records, rounds, found):
    """Words for what a reader should know or doubt: the machine, the samples, or the measurement itself.

    Parameters
    ----------
    records : list of dict
    rounds : list of list of float, as `times` returns them
    found : dict, words -> bool, what its caller knows besides
    """
    noises = [record.get(stretch, {}) for record in records for stretch in ("noise", "batch_noise")]
    before = [record["machine"].get("gpu_before") or {} for record in records]
    after = [record.get("gpu_state") or {} for record in records]
    slowed = {reason for state in after for reason in slowed_by(state)}
    to_save_power = {"SwPowerCap", "BoardLimit"}
    # The driver's utilisation looks back a second, at the cell before: others are there only if they have a process.
    busy = any((state.get("busy_percent") or 0) > 5 and state.get("processes") for state in before) or any(
        (then.get("processes") or 0) > (first.get("processes") or 0) + 1  # besides the cell's own
        for first, then in zip(before, after, strict=True)
    )
    subsets = [record for record in records if "queries_timed" in record]
    found = {
        "noisy": busy or any(noise.get("noisy") for noise in noises),
        "fit_elsewhere": any(
            machine_of(record.get("fit_machine", record["machine"])) != machine_of(record["machine"]) for record in records
        ),
        "noisy_fit": any(record.get("fit_noise", {}).get("noisy") for record in records),
        "throttled": bool(slowed - to_save_power),
        "power_capped": bool(slowed & to_save_power),
        "clock_free": any(record.get("clock_refused") for record in records),
        "powersave": any(saving_words(record["machine"]) for record in records),
        "shared_cores": any(map(share_cores, records)),
        "quota": any(noise.get("held_s") for noise in noises),
        "inherited": any(CHANGING & record["machine"].get("variables", {}).keys() for record in records),
        "drift": any(drifts(samples) for samples in rounds),
        "bimodal": any(is_bimodal(samples) for samples in rounds),
        "one_build": any(record.get("one_build") and "query_ns" in record for record in records),
        "lifted": any(record.get("lifted") for record in records),
        "subset": any(record["queries_timed"] < record["dataset"]["queries"] for record in subsets),
        "small_subset": any(record["queries_timed"] < record["least_queries"] for record in subsets),
        "not_linear": any(record.get("not_linear") for record in records),
        **found,
    }
    return "; ".join(name for name, holds in found.items() if holds)
