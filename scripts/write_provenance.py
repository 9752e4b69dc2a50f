"""Say where a suite's results come from: code, machine, versions, data."""

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path

from knnbench.exchange.version import code_version
from knnbench.results.tables import measured_between, read_csv

ROOT = Path(__file__).parents[1]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timings", type=Path, required=True)
    parser.add_argument("--ceilings", type=Path, nargs="+", required=True)
    parser.add_argument("--environments", type=Path, nargs="*", default=[], help="freeze.txt of each")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    timings = read_csv(arguments.timings)
    code = code_version(ROOT)
    if code.reason:
        print(f"Of the code: {code.reason}")
    provenance = {
        "commit": code.commit,  # of the code that gathered the tables; cells may be older
        "changed": code.changed,
        "code_reason": code.reason,
        "measured": measured_between(timings),
        "nodes": sorted(timings["node"].dropna().unique()),
        "python": platform.python_version(),
        "snakemake": version("snakemake"),
        "datasets": timings.dropna(subset=["dataset_sha256"]).groupby("dataset")["dataset_sha256"].first().to_dict(),
        "ceilings": {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in arguments.ceilings},
        "environments": {path.parent.name: path.read_text(encoding="utf-8").split() for path in arguments.environments},
    }
    arguments.out.write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
