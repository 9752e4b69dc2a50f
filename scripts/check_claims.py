"""Say of every claim whether it holds in the results of a folder."""

import argparse
import json
from pathlib import Path

import pandas as pd

from knnbench.results.claims import COLUMNS, check_all
from knnbench.results.folder import read


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="results/SUITE, or one of published/")
    parser.add_argument("--claims", type=json.loads, required=True, help="section of the configuration, JSON")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    results = read(arguments.folder)
    rows = results.timings.astype(object)
    rows = rows.where(rows.notna(), None).to_dict("records")
    found = check_all(arguments.claims, rows, results.config["timing"])
    pd.DataFrame(found, columns=COLUMNS).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
