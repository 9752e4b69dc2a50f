"""Choose the cells of a further round: for the second one all that have a number, then those that may decide something."""

import argparse
import json
from pathlib import Path

import yaml

from knnbench.results.gather import gather
from knnbench.results.records import read_datasets, read_records
from knnbench.results.undecided import choose


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the saved configuration")
    parser.add_argument("--claims", type=json.loads, required=True, help="section of the configuration, JSON")
    parser.add_argument("--cells", type=Path, required=True, help="folder of the records")
    parser.add_argument("--datasets", type=Path, required=True, help="folder of the dataset files")
    parser.add_argument(
        "--chosen", type=Path, nargs="*", default=[], help="what this wrote for the rounds before, in their order"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON: the cells of the round, and those there is no time for")
    arguments = parser.parse_args()

    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    datasets = read_datasets(config, arguments.datasets)
    records = read_records(config, arguments.cells, arguments.chosen)
    rows, _, _ = gather(config, records, datasets, {})
    done = {cell: len(each) for cell, each in records.items()}
    found = choose(config, rows, arguments.claims, len(arguments.chosen) + 1, done)
    lists = [[{**vars(cell), "why": why} for cell, why in cells] for cells in found]
    text = json.dumps(dict(zip(("cells", "left_out"), lists, strict=True)), indent=1)
    arguments.out.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
