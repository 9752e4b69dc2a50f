"""Save the resolved configuration, JSON on the standard input, with the results that it led to."""

import argparse
import json
import sys
from pathlib import Path

import yaml


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="YAML")
    arguments = parser.parse_args()
    arguments.out.write_text(yaml.safe_dump(json.load(sys.stdin), sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    main()
