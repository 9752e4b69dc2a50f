"""Gather the records of a suite into timings.csv, samples.csv and a summary in words."""

import argparse
import json
from pathlib import Path

import jsonschema
import pandas as pd
import yaml

from knnbench.results.callers import caller_notes, caller_rows
from knnbench.results.curves import place_of, standing
from knnbench.results.datasets import dataset_rows, remarks_of
from knnbench.results.gather import gather
from knnbench.results.machines import machine_notes
from knnbench.results.pairs import compare
from knnbench.results.records import read_datasets, read_records
from knnbench.results.tables import CALLER, COMPARISON, DATASET, SAMPLE, read_rows, write_rows
from knnbench.results.words import summarise


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the saved configuration")
    parser.add_argument("--schema", type=Path, required=True, help="of a row of timings.csv")
    parser.add_argument("--cells", type=Path, required=True, help="folder of the records")
    parser.add_argument("--datasets", type=Path, required=True, help="folder of the dataset files")
    parser.add_argument("--ceilings", type=Path, nargs="+", required=True, help="of the devices: cpu.json, gpu.json")
    parser.add_argument(
        "--chosen", type=Path, nargs="*", default=[], help="of rounds: auto the cells of each from the second on"
    )
    parser.add_argument("--timings", type=Path, required=True)
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--batches", type=Path, required=True)
    parser.add_argument("--callers", type=Path, required=True)
    parser.add_argument("--comparisons", type=Path, required=True)
    parser.add_argument("--hardness", type=Path, required=True, help="datasets.csv")
    parser.add_argument("--summary", type=Path, required=True)
    arguments = parser.parse_args()

    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    datasets = read_datasets(config, arguments.datasets)
    ceilings = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in arguments.ceilings}
    records = read_records(config, arguments.cells, arguments.chosen)
    rows, samples, batches = gather(config, records, datasets, ceilings)
    timed = [row for row in rows if row["query_median_s"]]
    chosen = set(standing(rows))
    pairs = compare([row for row in timed if place_of(row) in chosen], config["timing"])
    comparisons = pd.DataFrame(pairs, columns=COMPARISON)

    validator = jsonschema.Draft202012Validator(yaml.safe_load(arguments.schema.read_text(encoding="utf-8")))
    for each in rows:
        if error := jsonschema.exceptions.best_match(validator.iter_errors(each)):
            where = f"{each['dataset']}/{each['backend']}-{each['device']}, K = {each['n_neighbors']}"
            raise SystemExit(f"{where}: {'.'.join(map(str, error.absolute_path))}: {error.message}; see {arguments.schema}")
    # dtype object: whole numbers stay whole where some are missing
    write_rows(pd.DataFrame(rows, dtype=object), arguments.timings.parent)
    pd.DataFrame(samples, dtype=object, columns=SAMPLE).to_csv(arguments.samples, index=False)
    pd.DataFrame(batches, dtype=object).to_csv(arguments.batches, index=False)
    asked = caller_rows(config, records, datasets)
    pd.DataFrame(asked, dtype=object, columns=CALLER).to_csv(arguments.callers, index=False)
    comparisons.to_csv(arguments.comparisons, index=False)
    hardness = pd.DataFrame(dataset_rows(config, datasets), dtype=object, columns=DATASET)
    hardness.to_csv(arguments.hardness, index=False)
    notes = caller_notes(asked)
    numbers = {*config["suites"][config["suite"]].get("threads", ())} - {row["threads_asked"] for row in rows}
    notes += [f"No cell has {' or '.join(map(str, sorted(numbers)))} threads: there were not so many CPUs\n"] * bool(numbers)
    notes += [f"There is no {name}: {has['unavailable']}\n" for name, has in datasets.items() if "unavailable" in has]
    notes += [f"No ceiling of the {name}: {found['reason']}\n" for name, found in ceilings.items() if found["status"] != "ok"]
    notes += [f"{name}: {remark}\n" for name, has in datasets.items() for remark in remarks_of(has)]
    notes += machine_notes(record["machine"] for rounds in records.values() for record in rounds)
    figures = arguments.timings.parent / "figures"
    paths = "\n".join([str(arguments.timings), *(str(figures / f"{name}.*") for name in datasets)])
    arguments.summary.write_text(
        f"{summarise(read_rows(arguments.timings), comparisons)}{''.join(notes)}\n{paths}\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
