"""Make a dataset file: points from their source, checked, with their exact neighbours.

A dataset whose download could not be had becomes a file that says so, and its cells are unavailable.
"""

import argparse
import json
from pathlib import Path

from knnbench.problem.making import make_dataset


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--settings", type=json.loads, required=True, help="the dataset's entry in the configuration, and truth_k, JSON"
    )
    parser.add_argument("--files", nargs="*", help="the receipt of its download, or one's own files")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    make_dataset(arguments.settings, arguments.files, arguments.out)


if __name__ == "__main__":
    main()
