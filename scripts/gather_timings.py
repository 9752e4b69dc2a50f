"""Gather the records of a suite into timings.csv, samples.csv and a summary in words."""

import argparse
import json
from pathlib import Path

import h5py
import jsonschema
import pandas as pd
import yaml

from knnbench.config import cells
from knnbench.results import residencies, row, sample_rows, summarise


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the saved configuration")
    parser.add_argument("--schema", type=Path, required=True, help="of a row of timings.csv")
    parser.add_argument("--cells", type=Path, required=True, help="folder of the records")
    parser.add_argument("--datasets", type=Path, required=True, help="folder of the dataset files")
    parser.add_argument("--timings", type=Path, required=True)
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--summary", type=Path, required=True)
    arguments = parser.parse_args()

    config = yaml.safe_load(arguments.config.read_text())
    datasets = {}
    for name in config["datasets"]:
        with h5py.File(arguments.datasets / f"{name}.hdf5", "r") as file:
            datasets[name] = dict(file.attrs)
    rows, samples = [], []
    for cell in cells(config):
        paths = [arguments.cells / cell.record(number) for number in range(config["timing"]["rounds"])]
        records = [json.loads(path.read_text()) for path in paths]
        rows += [row(config, cell, datasets[cell.dataset], records, each) for each in residencies(cell.device)]
        samples += sample_rows(cell, records)

    validator = jsonschema.Draft202012Validator(yaml.safe_load(arguments.schema.read_text()))
    for each in rows:
        if error := jsonschema.exceptions.best_match(validator.iter_errors(each)):
            where = f"{each['dataset']}/{each['backend']}-{each['device']}, K = {each['n_neighbors']}"
            raise SystemExit(f"{where}: {'.'.join(map(str, error.absolute_path))}: {error.message}; see {arguments.schema}")
    # dtype object: whole numbers stay whole where some are missing
    pd.DataFrame(rows, dtype=object).to_csv(arguments.timings, index=False)
    pd.DataFrame(samples).to_csv(arguments.samples, index=False)
    notes = [
        f"{name}: the neighbours that came with the file agree with ours for {attributes['hosted_neighbors_recall']:.4%}\n"
        for name, attributes in datasets.items()
        if attributes.get("hosted_neighbors_recall", 1) < 1
    ]
    figures = arguments.timings.parent / "figures"
    paths = "\n".join([str(arguments.timings), *(str(figures / f"{name}.*") for name in datasets)])
    arguments.summary.write_text(f"{summarise(pd.read_csv(arguments.timings))}{''.join(notes)}\n{paths}\n")


if __name__ == "__main__":
    main()
