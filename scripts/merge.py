"""Merge results of several machines, folders with timings.csv and samples.csv, into one set of tables with their origins."""

import argparse
import json
from pathlib import Path

from knnbench.results.merge import merge


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=Path, nargs="+", required=True)
    parser.add_argument("--figures", type=json.loads, required=True, help="section of the configuration, JSON")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    arguments = parser.parse_args()
    merge(arguments.sources, arguments.figures, arguments.out)


if __name__ == "__main__":
    main()
