"""Write tables for papers, LaTeX (booktabs) and Markdown: one per dataset, and one of the whole suite."""

import argparse
from pathlib import Path

from knnbench.draw.typeset import write_tables


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="results/SUITE, results/merged or one of published/")
    parser.add_argument("--out", type=Path, required=True, help="folder")
    arguments = parser.parse_args()
    write_tables(arguments.folder, arguments.out)


if __name__ == "__main__":
    main()
