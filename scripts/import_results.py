"""Read results of ann-benchmarks or cuvs-bench as tables of ours, to be merged with ours."""

import argparse
import functools
import itertools
import json
import re
from pathlib import Path

import pandas as pd
import yaml

from knnbench.exchange.interchange import read_ann, read_cuvs, results_in
from knnbench.measure.record import SCHEMA_VERSION
from knnbench.problem.datasets import Unavailable, read_dataset
from knnbench.problem.points import DataError
from knnbench.results.tables import BATCH, COMPARISON, SAMPLE, with_names_apart
from knnbench.results.words import summarise


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--foreign", type=Path, required=True, help="ann-benchmarks' folder results, or cuvs-bench's of datasets"
    )
    parser.add_argument(
        "--names", type=json.loads, required=True, help="what others call our datasets: their name -> ours, JSON"
    )
    parser.add_argument("--config", type=json.loads, required=True, help="datasets and timing of the configuration, JSON")
    parser.add_argument(
        "--datasets", type=Path, required=True, help="folder of the dataset files; recalls are counted where one is there"
    )
    parser.add_argument("--schema", type=Path, required=True, help="of a row of timings.csv")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    arguments = parser.parse_args()
    names, config = arguments.names, arguments.config

    @functools.cache
    def known(name):
        path = arguments.datasets / f"{names.get(name)}.hdf5"
        try:
            return read_dataset(path) if path.is_file() else None
        except (Unavailable, OSError, KeyError, ValueError):  # it could not be had, is not complete, or damaged
            return None

    ann, cuvs, others = results_in(arguments.foreign)
    if not ann and not cuvs:
        raise SystemExit(
            f"{arguments.foreign}: no results in it; expected ann-benchmarks' DATASET/K/ALGORITHM/*.hdf5 or cuvs-bench's"
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
    unknown = sorted({each["dataset"] for _, each in found} - set(names))
    columns = yaml.safe_load(arguments.schema.read_text(encoding="utf-8"))["properties"]
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
        maker = each["note"].split(":")[0]
        # Two algorithms may call their settings alike, and one search in two files is two results: labels tell them apart.
        label, algorithm = f"{each['name']}, {each['note']}", each["algorithm"]
        label = label if called.setdefault(label, algorithm) == algorithm else f"{algorithm}: {label}"
        cell = (dataset, each["device"], each["n_neighbors"])
        if (label, *cell) in taken:
            label += f", {path.relative_to(arguments.foreign)}"
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
        time = each["seconds_per_query"] * sizes["queries"]
        low = each["recall"] is not None and each["recall"] < config["timing"]["min_recall"]
        latencies = sorted(each["latencies_s"])
        known_values = {
            "schema_version": SCHEMA_VERSION,
            "suite": "imported",
            "dataset": dataset,
            "title": settings["title"],
            "metric": settings["metric"],
            **sizes,
            "backend": backend,
            "label": label,
            "exact": False,  # nobody says so
            "prunes": False,
            "device": each["device"],
            "residency": "host",
            "n_neighbors": each["n_neighbors"],
            "status": "low_recall" if low else "ok",
            "reason": f"recall {each['recall']:.3f}" if low else "",
            "flags": "imported",
            "recall": each["recall"],
            "queries_per_s": sizes["queries"] / time,
            "query_median_s": time,
            "repeats": 0,
            "rounds": 1,
            "single_calls": len(latencies),
            "fit_s": each["fit_s"],
            "index": "in the cell",
            "attempts": 1,
            "environment": maker,
            "versions": each["note"],
            "parameters": "{}",
        }
        for percent in (50, 95, 99) if latencies else ():
            known_values[f"single_p{percent}_s"] = latencies[max(0, -(-len(latencies) * percent // 100) - 1)]
        rows.append({name: known_values.get(name) for name in columns})
    datasets = [f"{name}: how many queries it has is not known; say n, d and queries in its entry" for name in sorted(lacking)]
    datasets += [f"results of {', '.join(unknown)}, which are no datasets of ours; give them entries"] * bool(unknown)
    left_out = [" ".join(each.split()) for each in datasets + left_out]
    notes = "".join(f"Not imported: {each}\n" for each in left_out)
    print(notes, end="")
    if not rows:
        raise SystemExit(
            f"{arguments.foreign}: nothing in it can be imported; of {len(left_out)} reasons the first: {left_out[0]}"
        )
    timings = with_names_apart(pd.DataFrame(rows, dtype=object))
    arguments.out.mkdir(parents=True, exist_ok=True)
    comparisons = pd.DataFrame(columns=COMPARISON)
    timings.to_csv(arguments.out / "timings.csv", index=False)
    pd.DataFrame(columns=SAMPLE).to_csv(arguments.out / "samples.csv", index=False)
    pd.DataFrame(columns=BATCH).to_csv(arguments.out / "batches.csv", index=False)
    comparisons.to_csv(arguments.out / "comparisons.csv", index=False)
    used = {name: settings for name, settings in config["datasets"].items() if name in set(timings["dataset"])}
    saved = {
        "suite": "imported",
        "timing": config["timing"],
        "figures": config["figures"],
        "datasets": used,
        "backends": backends,
    }
    (arguments.out / "config.yaml").write_text(yaml.safe_dump(saved, sort_keys=False), encoding="utf-8")
    origin = {
        "commit": None,
        "imported": str(arguments.foreign),
        "datasets": {},
        "ceilings": {},
        "environments": {},
        "measured": None,
    }
    (arguments.out / "provenance.json").write_text(json.dumps(origin, indent=1) + "\n", encoding="utf-8")
    (arguments.out / "summary.txt").write_text(f"{summarise(timings, comparisons)}{notes}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
