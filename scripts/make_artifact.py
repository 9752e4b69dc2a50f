"""Pack a suite's results with everything that somebody else needs to check them.

JSON on the standard input has `claims`, `claimed` (the entries that they name and the suite lacks) and `artifact` of the
configuration.
"""

import argparse
import json
import sys
from pathlib import Path

from knnbench.exchange.artifact import make_artifact


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--results", type=Path, nargs="+", required=True, help="tables, findings, report and figures of results/SUITE"
    )
    parser.add_argument("--cells", type=Path, required=True, help="folder of the records")
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--receipts", type=Path, nargs="*", default=[], help="of downloads")
    parser.add_argument("--data", action="store_true", help="put the files of datasets in")
    parser.add_argument("--out", type=Path, required=True, help="the archive")
    asked = parser.parse_args()
    said = json.load(sys.stdin)
    sections = (said[key] for key in ("claims", "claimed", "artifact"))
    make_artifact(asked.results, asked.cells, asked.logs, *sections, asked.receipts, asked.data, asked.out)


if __name__ == "__main__":
    main()
