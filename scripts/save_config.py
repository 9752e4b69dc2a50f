"""Save the resolved configuration with the results that it led to."""

import argparse
import json
from pathlib import Path

import yaml


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=json.loads, required=True, help="JSON")
    parser.add_argument("--out", type=Path, required=True, help="YAML")
    arguments = parser.parse_args()
    arguments.out.write_text(yaml.safe_dump(arguments.config, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    main()
