"""Write report.html: one page with everything in it, made from the tables of a folder."""

import argparse
from pathlib import Path

from knnbench.draw.page import page


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="results/SUITE, results/merged or one of published/")
    parser.add_argument("--claims", type=Path, required=True, help="claims.csv of the same folder")
    parser.add_argument("--logs", type=Path, required=True, help="folder of the logs; excerpts are shown where there are any")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.write_text(page(arguments.folder, arguments.claims, arguments.logs), encoding="utf-8")


if __name__ == "__main__":
    main()
