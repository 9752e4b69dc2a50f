"""Write what backends give at fixed recalls, between the points that were measured."""

import argparse
from pathlib import Path

from knnbench.results.curves import curves
from knnbench.results.folder import read


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="results/SUITE, results/merged or one of published/")
    parser.add_argument("--out", type=Path, required=True, help="curves.csv")
    arguments = parser.parse_args()
    curves(read(arguments.folder).points).to_csv(arguments.out, index=False)


if __name__ == "__main__":
    main()
