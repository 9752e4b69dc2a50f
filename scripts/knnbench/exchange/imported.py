"""Others' results as tables of ours, to be merged with ours."""

import functools
import itertools
import json
import os
import re
from pathlib import Path

import pandas as pd
import yaml

from knnbench.exchange.ann_benchmarks import read_ann
from knnbench.exchange.cuvs_bench import read_cuvs
from knnbench.measure.statuses import SCHEMA_VERSION
from knnbench.problem.datasets import Unavailable, read_dataset
from knnbench.problem.points import DataError
from knnbench.results.calls import quantiles
from knnbench.results.tables import BATCH, CALLER, COMPARISON, DATASET, SAMPLE, with_names_apart, write_rows
from knnbench.results.words import summarise

# Others' results, as columns of timings.csv with `note`, what their time is.
COLUMNS = (
    "dataset",
    "algorithm",
    "name",
    "device",
    "n_neighbors",
    "recall",
    "seconds_per_query",
    "fit_s",
    "latencies_s",
    "note",
)


def results_in(folder):
    """Files of others' results below a folder.

    Returns
    -------
    ann : list of Path, DATASET/K/ALGORITHM/*.hdf5
    cuvs : list of list of Path, DATASET/result/search/*.json, each with the ,raw.csv made of it: one of them is enough
    others : list of Path, what else is beside those of cuvs-bench
    """
    files = sorted(path for path in Path(folder).rglob("*") if os.path.isfile(path))
    ann = [path for path in files if path.suffix == ".hdf5" and len(path.relative_to(folder).parts) >= 4]
    cuvs, others = {}, []
    for path in files:
        if (path.parent.name, path.parent.parent.name) == ("search", "result"):
            if path.suffix == ".json" or path.name.endswith(",raw.csv"):
                cuvs.setdefault(path.with_name(path.name.removesuffix(".json").removesuffix(",raw.csv")), []).append(path)
            else:
                others.append(path)
    return ann, [sorted(paths, key=lambda path: path.suffix != ".json") for paths in cuvs.values()], others


def read_results(folder, known):
    """Read all results of others below a folder.

    Parameters
    ----------
    folder : Path
    known : function from their name of a dataset to a datasets.Dataset, or None if it is not here

    Returns
    -------
    found : list of (Path, dict), as `COLUMNS` names them
    left_out : list of str, what is not among them, and why

    Raises
    ------
    SystemExit
        There is none.
    """
    ann, cuvs, others = results_in(folder)
    if not ann and not cuvs:
        raise SystemExit(
            f"{folder}: no results in it; expected ann-benchmarks' DATASET/K/ALGORITHM/*.hdf5 or cuvs-bench's"
            " DATASET/result/search/*.json"
        )
    found, left_out = [], [f"{path}: no search results by its name" for path in others]
    for path in ann:
        try:
            found.append((path, read_ann(path, known)))
        except DataError as error:
            left_out.append(str(error))
    for paths in cuvs:
        for path in paths:
            try:
                rows, without = read_cuvs(path)
            except DataError as error:
                left_out.append(str(error))
                continue
            found += [(path, row) for row in rows]
            left_out += without
            if rows:
                break
    return found, left_out


def maker_of(each):
    """The benchmark that a result is of."""
    return each["note"].split(":")[0]


def as_row(each, dataset, settings, sizes, backend, label, min_recall):
    """A result of others, one of `COLUMNS`, as far as a row of timings.csv can say it.

    Parameters
    ----------
    each : dict
    dataset : str, our name
    settings : dict, entry of the dataset in the configuration
    sizes : dict of int, n, d and queries
    backend, label : str
    min_recall : float

    Returns
    -------
    row : dict, column -> value
    """
    time = each["seconds_per_query"] * sizes["queries"]
    low = each["recall"] is not None and each["recall"] < min_recall
    single = quantiles(sorted(each["latencies_s"]))
    return {
        "schema_version": SCHEMA_VERSION,
        "suite": "imported",
        "dataset": dataset,
        "title": settings["title"],
        "metric": settings["metric"],
        **sizes,
        "backend": backend,
        "family": backend,
        "setting": "{}",
        "label": label,
        "exact": False,  # nobody says so
        "prunes": False,
        "control": False,
        "device": each["device"],
        "residency": "host",
        "n_neighbors": each["n_neighbors"],
        "status": "low_recall" if low else "ok",
        "reason": f"recall {each['recall']:.3f}" if low else "",
        "flags": "imported",
        "recall": each["recall"],
        "queries_timed": sizes["queries"],
        "queries_per_s": sizes["queries"] / time,
        "query_median_s": time,
        "repeats": 0,
        "rounds": 1,
        **{f"single_{name}": value for name, value in single.items()},
        "fit_s": each["fit_s"],
        "index": "in the cell",
        "attempts": 1,
        "environment": maker_of(each),
        "versions": each["note"],
        "parameters": "{}",
    }


def rows_of(found, names, known, config, folder):
    """Give others' results names and labels of ours, no two the same.

    Parameters
    ----------
    found : list of (Path, dict), from `read_results`
    names : dict, their name of a dataset -> ours; others' datasets are left out
    known : function, as `read_results` has it
    config : dict, datasets and timing of the configuration
    folder : Path, what all paths are below

    Returns
    -------
    rows : list of dict
    backends : dict, name -> entry of a configuration
    lacking : set of str, our datasets of which nobody knows how many queries they have
    """
    rows, backends, called, lacking, taken = [], {}, {}, set(), set()
    for path, each in found:
        if each["dataset"] not in names:
            continue
        dataset = names[each["dataset"]]
        settings = config["datasets"][dataset]
        sizes, here = {key: settings.get(key) for key in ("n", "d", "queries")}, known(each["dataset"])
        if here:
            sizes = {"n": here.train.shape[0], "d": here.train.shape[1], "queries": len(here.test)}
        if not sizes["queries"]:
            lacking.add(dataset)
            continue
        maker = maker_of(each)
        # Two algorithms may call their settings alike, and one search in two files is two results: labels tell them apart.
        label, algorithm = f"{each['name']}, {each['note']}", each["algorithm"]
        label = label if called.setdefault(label, algorithm) == algorithm else f"{algorithm}: {label}"
        cell = (dataset, each["device"], each["n_neighbors"])
        if (label, *cell) in taken:
            label += f", {path.relative_to(folder)}"
        taken.add((label, *cell))
        words = re.sub(r"[^A-Za-z0-9]+", "-", f"{maker.split('-')[0]} {each['algorithm']} {each['name']}")[:56].strip("-")
        # Two that differ only in what a name cannot hold get numbers.
        names_of_it = itertools.chain([words], (f"{words}-{number}" for number in itertools.count(2)))
        backend = next(name for name in names_of_it if backends.get(name, {"label": label})["label"] == label)
        entry = {
            "label": label,
            "module": maker,
            "exact": False,
            "prunes": False,
            "named": True,
            "saves": False,
            "parameters": {},
        }
        kept = backends.setdefault(backend, entry | {"environments": {}})
        kept["environments"][each["device"]] = maker
        rows.append(as_row(each, dataset, settings, sizes, backend, label, config["timing"]["min_recall"]))
    return rows, backends, lacking


def import_results(foreign, names, config, datasets, schema, out):
    """Write the tables of others' results.

    Parameters
    ----------
    foreign : Path, ann-benchmarks' folder results, or cuvs-bench's of datasets
    names : dict, what others call our datasets: their name -> ours
    config : dict, datasets, timing and figures of the configuration
    datasets : Path, folder of the dataset files; recalls are counted where one is there
    schema : Path, of a row of timings.csv
    out : Path, folder; made

    Raises
    ------
    SystemExit
        There is nothing that can be imported.
    """

    @functools.cache
    def known(name):
        path = datasets / f"{names.get(name)}.hdf5"
        try:
            return read_dataset(path) if path.is_file() else None
        except (Unavailable, OSError, KeyError, ValueError):  # it could not be had, is not complete, or damaged
            return None

    found, left_out = read_results(foreign, known)
    unknown = sorted({each["dataset"] for _, each in found} - set(names))
    columns = yaml.safe_load(schema.read_text(encoding="utf-8"))["properties"]
    rows, backends, lacking = rows_of(found, names, known, config, foreign)
    reasons = [f"{name}: how many queries it has is not known; say n, d and queries in its entry" for name in sorted(lacking)]
    reasons += [f"results of {', '.join(unknown)}, which are no datasets of ours; give them entries"] * bool(unknown)
    left_out = [" ".join(each.split()) for each in reasons + left_out]
    notes = "".join(f"Not imported: {each}\n" for each in left_out)
    print(notes, end="")
    if not rows:
        raise SystemExit(f"{foreign}: nothing in it can be imported; of {len(left_out)} reasons the first: {left_out[0]}")
    timings = with_names_apart(pd.DataFrame([{name: row.get(name) for name in columns} for row in rows], dtype=object))
    out.mkdir(parents=True, exist_ok=True)
    comparisons = pd.DataFrame(columns=COMPARISON)
    write_rows(timings, out)
    pd.DataFrame(columns=SAMPLE).to_csv(out / "samples.csv", index=False)
    pd.DataFrame(columns=BATCH).to_csv(out / "batches.csv", index=False)
    pd.DataFrame(columns=CALLER).to_csv(out / "callers.csv", index=False)
    comparisons.to_csv(out / "comparisons.csv", index=False)
    pd.DataFrame(columns=DATASET).to_csv(out / "datasets.csv", index=False)
    used = {name: settings for name, settings in config["datasets"].items() if name in set(timings["dataset"])}
    saved = {
        "suite": "imported",
        "timing": config["timing"],
        "figures": config["figures"],
        "datasets": used,
        "backends": backends,
    }
    (out / "config.yaml").write_text(yaml.safe_dump(saved, sort_keys=False), encoding="utf-8")
    origin = {
        "commit": None,
        "imported": str(foreign),
        "datasets": {},
        "ceilings": {},
        "environments": {},
        "measured": None,
    }
    (out / "provenance.json").write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
    (out / "summary.txt").write_text(f"{summarise(timings, comparisons)}{notes}\n", encoding="utf-8")
