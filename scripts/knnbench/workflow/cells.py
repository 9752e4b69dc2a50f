"""What a cell's job depends on, and when its turn comes."""

import hashlib
import json

# Of the timing section, what says how queries are timed; the rest says when and on what.
QUERY_TIMING = (
    *("min_sample_s", "min_repeats", "max_repeats", "budget_s", "rel_ci", "pass_s", "max_query_s"),
    *("min_recall", "enough_recall"),
    *("batch_sizes", "batch_calls", "batch_budget_s", "seed", "gpu_mhz", "pinned"),
)


def for_driver(env, cuda, specs):
    """An environment with CUDA, or its variant with CUDA 12 where the driver knows no newer one.

    Parameters
    ----------
    env : str
    cuda : int, version of CUDA that the driver knows; 0 if there is none
    specs : Path, folder of the environments' pins
    """
    older = f"{env}-cuda12"
    return older if 0 < cuda < 13 and (specs / f"{older}.yaml").exists() else env


def turn(seed, *place):
    """Priority of a timed job: below everything else, so that what it needs is there; round by round; shuffled by the seed."""
    name = " ".join(map(str, (seed, *place)))
    return -1 - int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8


def fit_flags(backend, timing, prefix, unpinned):
    """What changes a fit, as flags of measure_cell.py: a change of a value measures again.

    Parameters
    ----------
    backend : dict, entry of the configuration
    timing : dict, section of the configuration
    prefix : str or None, where the environment must be
    unpinned : bool, whether other versions than the pinned ones are accepted

    Returns
    -------
    words : list of str
    """
    flags = {
        "--module": backend["module"],
        "--parameters": json.dumps(backend["parameters"], sort_keys=True),
        "--max-fit-s": timing["max_fit_s"],
        "--threads": backend.get("threads", timing["threads"]),
        "--memory-gb": timing["memory_gb"],
    }
    words = [str(word) for flag in flags.items() for word in flag]
    words += ["--prefix", prefix] if prefix else []
    return words + ["--unpinned"] * unpinned


def query_flags(timing, searches=(), callers=()):
    """What changes how a cell's queries are timed, as flags of measure_cell.py.

    Parameters
    ----------
    timing : dict, section of the configuration
    searches : list of dict, `search` of a resolved backend: the points that its cells measure
    callers : list of int, numbers of threads that ask at once

    Returns
    -------
    words : list of str
    """
    known = {key: timing[key] for key in QUERY_TIMING} | ({"callers": callers} if callers else {})
    words = ["--timing", json.dumps(known, sort_keys=True), *["--retry-noisy"] * timing["retry_noisy"]]
    return words + (["--search", json.dumps([point["set"] for point in searches])] if searches else [])
