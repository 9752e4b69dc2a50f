"""Read results of ann-benchmarks or cuvs-bench as tables of ours, to be merged with ours."""

import argparse
import functools
import itertools
import json
import re
from pathlib import Path

import pandas as pd
import yaml

from knnbench.datasets import DataError, Unavailable, read_dataset
from knnbench.interchange import read_ann, read_cuvs, results_in
from knnbench.record import SCHEMA_VERSION
from knnbench.results import BATCH, COMPARISON, SAMPLE
from knnbench.tables import with_names_apart
from knnbench.words import summarise


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
        except (Unavailable, KeyError):  # it could not be had, or is not complete
            return None

    ann, cuvs = results_in(arguments.foreign)
    if not ann and not cuvs:
        raise SystemExit(
            f"{arguments.foreign}: no results in it; expected ann-benchmarks' DATASET/K/ALGORITHM/*.hdf5 or cuvs-bench's"
            " DATASET/result/search/*.json"
        )
    try:
        found = [read_ann(path, arguments.foreign, known) for path in ann] + [row for path in cuvs for row in read_cuvs(path)]
    except DataError as error:
        raise SystemExit(str(error)) from error
    left_out = sorted({row["dataset"] for row in found} - set(names))
    columns = yaml.safe_load(arguments.schema.read_text(encoding="utf-8"))["properties"]
    rows, backends, called = [], {}, {}
    for each in found:
        if each["dataset"] not in names:
            continue
        dataset = names[each["dataset"]]
        settings = config["datasets"][dataset]
        sizes, here = {key: settings.get(key) for key in ("n", "d", "queries")}, known(each["dataset"])
        if here:
            sizes = {"n": here.train.shape[0], "d": here.train.shape[1], "queries": len(here.test)}
        if not sizes["queries"]:
            raise SystemExit(
                f"datasets.{dataset}: how many queries it has is not known here; say n, d and queries in its entry"
            )
        maker = each["note"].split(":")[0]
        label = f"{each['name']}, {each['note']}"
        words = re.sub(r"[^A-Za-z0-9]+", "-", f"{maker.split('-')[0]} {each['algorithm']} {each['name']}").strip("-")[:56]
        # Two that differ only in what a name cannot hold get numbers.
        names_of_it = itertools.chain([words], (f"{words}-{number}" for number in itertools.count(2)))
        it = (each["algorithm"], label)
        backend = next(name for name in names_of_it if called.setdefault(name, it) == it)
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
        time = each["seconds_per_query"] and each["seconds_per_query"] * sizes["queries"]
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
            "status": "failed" if each["error"] else "low_recall" if low else "ok",
            "reason": each["error"] or (f"recall {each['recall']:.3f}" if low else ""),
            "flags": "imported",
            "recall": each["recall"],
            "queries_per_s": time and sizes["queries"] / time,
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
    if not rows:
        raise SystemExit(f"{arguments.foreign}: results of {', '.join(left_out)}; none is a dataset of ours, add an entry")
    timings = with_names_apart(pd.DataFrame(rows, dtype=object))
    if (twice := timings[timings.duplicated(["dataset", "backend", "device", "n_neighbors"])]).size:
        first = twice.iloc[0]
        place = f"{first['label']}, {first['dataset']}, K = {first['n_neighbors']}"
        raise SystemExit(f"{arguments.foreign}: {place} is there twice; remove one of the two files")
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
    notes = f"Not imported, no dataset of ours: {', '.join(left_out)}\n" if left_out else ""
    (arguments.out / "summary.txt").write_text(f"{summarise(timings, comparisons)}{notes}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
