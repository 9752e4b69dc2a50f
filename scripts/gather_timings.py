"""Gather the records of a suite into timings.csv, samples.csv and a summary in words."""

import argparse
import dataclasses
import json
from pathlib import Path

import h5py
import jsonschema
import pandas as pd
import yaml

from knnbench.config.settings import points_of
from knnbench.config.suite import cells
from knnbench.results.calls import at_point, batch_rows, sample_rows, times
from knnbench.results.curves import place_of, standing
from knnbench.results.datasets import dataset_rows
from knnbench.results.gather import left_out, row
from knnbench.results.machines import residencies, rounds_by_machine
from knnbench.results.pairs import compare
from knnbench.results.tables import COMPARISON, DATASET, SAMPLE, read_rows, write_rows
from knnbench.results.words import summarise


def read_records(config, cell, folder):
    """The records of a cell, a round each; the workflow has made those that it did not leave out."""
    paths = [folder / cell.record(number) for number in range(config["timing"]["rounds"])]
    if all(path.exists() for path in paths):
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    if cell.device == "gpu" and not config["gpu"]:
        return [left_out(config, cell, "unavailable", "no NVIDIA GPU here, or gpu: false")]
    return [left_out(config, cell, "skipped", f"over timing.budget_h = {config['timing']['budget_h']:g}")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the saved configuration")
    parser.add_argument("--schema", type=Path, required=True, help="of a row of timings.csv")
    parser.add_argument("--cells", type=Path, required=True, help="folder of the records")
    parser.add_argument("--datasets", type=Path, required=True, help="folder of the dataset files")
    parser.add_argument("--ceilings", type=Path, nargs="+", required=True, help="of the devices: cpu.json, gpu.json")
    parser.add_argument("--timings", type=Path, required=True)
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--batches", type=Path, required=True)
    parser.add_argument("--comparisons", type=Path, required=True)
    parser.add_argument("--hardness", type=Path, required=True, help="datasets.csv")
    parser.add_argument("--summary", type=Path, required=True)
    arguments = parser.parse_args()

    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    datasets = {}
    for name in config["datasets"]:
        with h5py.File(arguments.datasets / f"{name}.hdf5", "r") as file:
            datasets[name] = dict(file.attrs)
    ceilings = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in arguments.ceilings}
    points = points_of(config["backends"])
    by_point = config | {"backends": points}
    rows, samples, batches, entries = [], [], [], []
    for cell in cells(config):
        whole = read_records(config, cell, arguments.cells)
        for name, point in points.items():
            if point["build"] != cell.backend:
                continue
            at = dataclasses.replace(cell, backend=name)
            for records in rounds_by_machine([at_point(record, point["number"]) for record in whole]):
                for residency in residencies(cell.device):
                    rows.append(row(by_point, at, datasets[cell.dataset], records, residency, ceilings.get(cell.device)))
                    batches += batch_rows(config, at, records, residency)
                    if rows[-1]["query_median_s"]:
                        entries.append((rows[-1], times(records, residency)))
                samples += sample_rows(at, records)
    chosen = set(standing(rows))
    comparisons = pd.DataFrame(compare([entry for entry in entries if place_of(entry[0]) in chosen]), columns=COMPARISON)

    validator = jsonschema.Draft202012Validator(yaml.safe_load(arguments.schema.read_text(encoding="utf-8")))
    for each in rows:
        if error := jsonschema.exceptions.best_match(validator.iter_errors(each)):
            where = f"{each['dataset']}/{each['backend']}-{each['device']}, K = {each['n_neighbors']}"
            raise SystemExit(f"{where}: {'.'.join(map(str, error.absolute_path))}: {error.message}; see {arguments.schema}")
    # dtype object: whole numbers stay whole where some are missing
    write_rows(pd.DataFrame(rows, dtype=object), arguments.timings.parent)
    pd.DataFrame(samples, dtype=object, columns=SAMPLE).to_csv(arguments.samples, index=False)
    pd.DataFrame(batches, dtype=object).to_csv(arguments.batches, index=False)
    comparisons.to_csv(arguments.comparisons, index=False)
    hardness = pd.DataFrame(dataset_rows(config, datasets), dtype=object, columns=DATASET)
    hardness.to_csv(arguments.hardness, index=False)
    notes = [f"There is no {name}: {has['unavailable']}\n" for name, has in datasets.items() if "unavailable" in has]
    notes += [
        f"{name}: the neighbours that came with the file agree with ours for {attributes['hosted_neighbors_recall']:.4%}\n"
        for name, attributes in datasets.items()
        if attributes.get("hosted_neighbors_recall", 1) < 1
    ]
    notes += [f"No ceiling of the {name}: {found['reason']}\n" for name, found in ceilings.items() if found["status"] != "ok"]
    notes += [f"{name}: {remark}\n" for name, has in datasets.items() for remark in has.get("remarks", "").splitlines()]
    figures = arguments.timings.parent / "figures"
    paths = "\n".join([str(arguments.timings), *(str(figures / f"{name}.*") for name in datasets)])
    arguments.summary.write_text(
        f"{summarise(read_rows(arguments.timings), comparisons)}{''.join(notes)}\n{paths}\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
