"""Lay out a backend of one's own: module, environment, entry."""

import argparse
from pathlib import Path

from knnbench.workflow.new_backend import new_backend


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="of the entry, such as my-index")
    parser.add_argument("--package", required=True, help="what the library is called on PyPI")
    arguments = parser.parse_args()
    print(new_backend(Path(__file__).parents[1], arguments.name, arguments.package), end="")


if __name__ == "__main__":
    main()
