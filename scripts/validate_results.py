"""Check results: folders of published/, results/SUITE, or artifact.zip files. The exit status is 1 if something is wrong."""

import argparse
import sys
from pathlib import Path

import yaml

from knnbench.exchange.validate import check_sums, validate
from knnbench.results.folder import opened

SCHEMA = Path(__file__).parents[1] / "rules/schemas/timings.schema.yaml"
SHOWN = 20  # problems of a folder


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="folders, or artifact.zip files")
    arguments = parser.parse_args()

    schema, wrong = yaml.safe_load(SCHEMA.read_text(encoding="utf-8")), False
    for path in arguments.results:
        with opened(path) as folder:
            problems = validate(folder, schema) + (check_sums(folder.parents[1]) if path.suffix == ".zip" else [])
        wrong = wrong or bool(problems)
        print(f"{path}: {'right' if not problems else f'{len(problems)} problems'}")
        print("".join(f"  {problem}\n" for problem in problems[:SHOWN]), end="")
        print(f"  ... and {len(problems) - SHOWN} more\n" if len(problems) > SHOWN else "", end="")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
