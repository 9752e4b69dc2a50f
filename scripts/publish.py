"""Keep a suite's results, small enough for a repository."""

import argparse
from pathlib import Path

from knnbench.exchange.published import keep


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, nargs="+", required=True, help="with what was found in them")
    parser.add_argument("--figures", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder; made")
    arguments = parser.parse_args()

    keep([*arguments.tables, *(path for path in arguments.figures if path.suffix == ".png")], arguments.out)


if __name__ == "__main__":
    main()
