"""Whether a folder of results is right: every value, how they agree with each other, and that none is missing."""

import itertools
import json
import math
import time

import jsonschema
import numpy as np
import pandas as pd
import yaml

from knnbench.config.settings import points_of
from knnbench.config.variants import builds_of_suite, devices_of
from knnbench.measure.statuses import NOT_RUN
from knnbench.results.folder import read_table
from knnbench.results.machines import residencies
from knnbench.results.samples import passes
from knnbench.results.tables import flagged
from knnbench.system.files import sha256_of

CELL = ["dataset", "backend", "device", "n_neighbors", "residency"]
MACHINE = ["cpu", "cpus", "gpu"]
# Of the columns of datasets.csv.
LIMITS = dict.fromkeys(("lid", "relative_contrast", "norm_spread", "query_distance_ratio"), (0, math.inf))
LIMITS |= dict.fromkeys(("ties", "duplicates", "rows_merged", "queries_changed"), (0, 1))
TOLERANCE = 1e-9  # relative, of numbers that are written with all their digits


def check_sums(folder):
    """Compare the files of an artifact with its SHA256SUMS; a list of problems."""
    path = folder / "SHA256SUMS"
    try:
        lines = [line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
        listed = {name: digest for digest, name in lines}
    except (OSError, ValueError) as error:
        return [f"SHA256SUMS cannot be read: {error}"]
    found = {each.relative_to(folder).as_posix(): each for each in folder.rglob("*") if each.is_file() and each != path}
    problems = [f"{name} is listed in SHA256SUMS and is not there" for name in sorted(listed.keys() - found.keys())]
    problems += [f"{name} is not listed in SHA256SUMS" for name in sorted(found.keys() - listed.keys())]
    return problems + [
        f"{name} is not what SHA256SUMS lists"
        for name in sorted(listed.keys() & found.keys())
        if sha256_of(found[name]) != listed[name]
    ]


def plain(value, kinds):
    """A value of a CSV file as its schema has it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "" if "string" in kinds and "null" not in kinds else None
    if isinstance(value, (np.bool_, np.number)):
        value = value.item()
    if "integer" in kinds and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def lines(timings):
    """Where each row is: those of controls are in a table of their own."""
    last = {}
    for control in timings["control"]:
        name = "controls.csv" if control else "timings.csv"
        last[name] = last.get(name, 1) + 1
        yield f"{name}, line {last[name]}"


def check_rows(timings, schema):
    """Check every row against the schema; a list of problems."""
    problems = []
    validator = jsonschema.Draft202012Validator(schema)
    kinds = {name: np.atleast_1d(entry.get("type", [])).tolist() for name, entry in schema["properties"].items()}
    kinds = {name: found or (["string"] if "enum" in schema["properties"][name] else []) for name, found in kinds.items()}
    for place, row in zip(lines(timings), timings.to_dict("records"), strict=True):
        clean = {name: plain(value, kinds.get(name, [])) for name, value in row.items()}
        if error := jsonschema.exceptions.best_match(validator.iter_errors(clean)):
            problems.append(f"{place}: {'.'.join(map(str, error.absolute_path))}: {error.message[:300]}")
    return problems


def check_meaning(timings, config):
    """Check what a schema cannot say of the rows; a list of problems."""
    problems = []
    rows = timings.assign(subset=flagged(timings, "subset")).to_dict("records")
    for place, row in zip(lines(timings), rows, strict=True):
        median, low, high = (row[f"query_{name}_s"] for name in ("median", "low", "high"))
        timed = pd.notna(median)
        wrong = {
            "a cell that did not run has a time": timed and row["status"] in NOT_RUN,
            "a cell that ran has no time": not timed and row["status"] not in NOT_RUN,
            "a status other than ok has no reason": row["status"] != "ok" and (pd.isna(row["reason"]) or not row["reason"]),
            "the median is not inside its interval": timed and pd.notna(low) and pd.notna(high) and not low <= median <= high,
            "queries_per_s is not queries over query_median_s": timed
            and not math.isclose(row["queries_per_s"], row["queries"] / median, rel_tol=TOLERANCE),
            "queries_timed and the flag subset do not agree": timed
            and row["subset"] != (row["queries_timed"] < row["queries"]),
            "the recall is not inside its range": pd.notna(row["recall_low"])
            and not row["recall_low"] <= row["recall"] <= row["recall_high"],
            "the fit is not inside its interval": pd.notna(row["fit_low_s"])
            and not row["fit_low_s"] <= row["fit_s"] <= row["fit_high_s"],
            "ok, with a recall below timing.min_recall": row["status"] == "ok"
            and row["recall"] < config["timing"]["min_recall"],
            "it is of the future": pd.notna(row["started"])
            and str(row["started"]) > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400)),
        }
        problems += [f"{place}: {words}" for words, holds in wrong.items() if holds]
    twice = timings[timings.duplicated([*CELL, *MACHINE])]
    problems += [
        f"timings.csv: {', '.join(map(str, key))} is there twice" for key in twice[CELL].itertuples(index=False, name=None)
    ]
    return problems


def check_grid(timings, config):
    """Check that every cell of the suite has its row; a list of problems."""
    if config["suite"] in ("merged", "imported"):
        return []
    suite, points = config["suites"][config["suite"]], points_of(config["backends"])
    asked = {
        (dataset, name, device, k, residency)
        for dataset, (name, point), k in itertools.product(suite["datasets"], points.items(), suite["n_neighbors"])
        if point["build"] in builds_of_suite(suite)
        for device in devices_of(suite, point)
        for residency in residencies(device)
    }
    found = set(timings[CELL].itertuples(index=False, name=None))
    problems = [f"timings.csv: there is no row of {', '.join(map(str, key))}" for key in sorted(asked - found, key=str)]
    return problems + [f"timings.csv: {', '.join(map(str, key))} is not in the suite" for key in sorted(found - asked, key=str)]


def check_samples(timings, samples, version):
    """Check that the medians are those of the samples, in version 1 of all rounds together; a list of problems."""
    problems = []
    timed = passes(samples, timings)
    groups = dict(iter(timed.groupby(CELL, sort=False)))
    for row in timings.drop_duplicates(CELL).to_dict("records"):
        key = tuple(row[name] for name in CELL)
        words = ", ".join(map(str, key))
        here = groups.get(key, timed.iloc[:0])
        if row["repeats"] != len(here) and not timings.duplicated(CELL).any():
            problems.append(f"{words}: {row['repeats']} repeats in timings.csv, {len(here)} in samples.csv")
        elif len(here) and pd.notna(row["query_median_s"]) and not timings.duplicated(CELL).any():
            medians = here.groupby("round")["seconds"].median()
            expected = math.exp(np.log(medians).mean()) if len(medians) > 1 and version > 1 else here["seconds"].median()
            if not math.isclose(row["query_median_s"], expected, rel_tol=TOLERANCE):
                problems.append(f"{words}: query_median_s is {row['query_median_s']}, that of its samples {expected}")
    return problems


def check_callers(callers):
    """Check the numbers of calls that several callers asked at once; a list of problems."""
    problems = []
    for number, row in enumerate(callers.to_dict("records"), start=2):
        rates = [row[f"queries_per_s{end}"] for end in ("_low", "", "_high")]
        if row["calls"] and not (0 <= row["wrong"] <= row["checked"] <= row["calls"] and rates == sorted(rates)):
            problems.append(f"callers.csv, line {number}: calls, or queries per second, are not in their order")
    return problems


def check_datasets(timings, datasets, config):
    """Check what is said of the datasets, that it is of the rows' ones, and that each has every K; a list of problems."""
    problems, sizes = [], timings.drop_duplicates("dataset").set_index("dataset")[["n", "d", "queries"]]
    for row in datasets.to_dict("records"):
        words = f"datasets.csv: {row['dataset']}, K = {row['n_neighbors']}"
        if row["dataset"] not in sizes.index:
            problems.append(f"{words}: timings.csv has no such dataset")
            continue
        its = sizes.loc[row["dataset"]]
        problems += [f"{words}: {name} is not that of timings.csv" for name in its.index[its.notna()] if row[name] != its[name]]
        problems += [
            f"{words}: {name} is {row[name]}, outside of {low:g} to {high:g}"
            for name, (low, high) in LIMITS.items()
            if pd.notna(row.get(name)) and not low <= row[name] <= high
        ]
    if datasets.empty or config["suite"] in ("merged", "imported"):  # of earlier versions, or of several suites
        return problems
    suite = config["suites"][config["suite"]]
    found = set(datasets[["dataset", "n_neighbors"]].itertuples(index=False, name=None))
    asked = set(itertools.product(suite["datasets"], suite["n_neighbors"]))
    return problems + [f"datasets.csv: {name}, K = {k}, is missing, or not in the suite" for name, k in sorted(found ^ asked)]


def check_provenance(timings, provenance):
    """Check that the datasets are those of the rows; a list of problems."""
    digests = timings.dropna(subset=["dataset_sha256"]).groupby("dataset")["dataset_sha256"].unique()
    return [
        f"{name}: its rows searched {', '.join(found)}, provenance.json says {provenance['datasets'].get(name)}"
        for name, found in digests.items()
        if list(found) != [provenance["datasets"].get(name)]
    ]


def validate(folder, schema):
    """Check a folder of results: every value, that they agree with each other, and that no cell of the suite is missing.

    Parameters
    ----------
    folder : Path
    schema : dict, of a row of timings.csv

    Returns
    -------
    problems : list of str, empty if it is right
    """
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        timings, samples = read_table(folder, "timings"), read_table(folder, "samples")
        read_table(folder, "batches"), read_table(folder, "comparisons")
        datasets, callers = (read_table(folder, name) for name in ("datasets", "callers"))
        version = timings.pop("from_version").max()
        old = version < schema["properties"]["schema_version"]["const"]
        provenance = None if old else json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, yaml.YAMLError, RecursionError, SystemExit) as error:
        return [f"cannot be read: {str(error)[:500]}"]
    problems = check_rows(timings, schema)
    if problems:  # the rest relies on the types
        return problems
    checks = {
        "timings.csv with config.yaml": lambda: check_meaning(timings, config) + check_grid(timings, config),
        "samples.csv": lambda: check_samples(timings, samples, version),
        "datasets.csv": lambda: check_datasets(timings, datasets, config),
        "callers.csv": lambda: check_callers(callers),
        "provenance.json": lambda: [] if old else check_provenance(timings, provenance),
    }
    for name, check in checks.items():
        try:
            problems += check()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            problems.append(f"{name} is not what docs/results.md says: {error!r}"[:500])
    return problems
