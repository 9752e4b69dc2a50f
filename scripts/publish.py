"""Keep a suite's results, small enough for a repository, with where they come from."""

import argparse
import gzip
import json
import platform
import shutil
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd


def git(*arguments):
    """What git says of this code; None outside a repository."""
    done = subprocess.run(["git", "-C", Path(__file__).parent, *arguments], capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=Path, nargs="+", required=True)
    parser.add_argument("--figures", type=Path, nargs="+", required=True)
    parser.add_argument("--ceilings", type=Path, nargs="+", required=True)
    parser.add_argument("--environments", type=Path, nargs="*", default=[], help="freeze.txt of each")
    parser.add_argument("--out", type=Path, required=True, help="folder; made")
    arguments = parser.parse_args()

    (arguments.out / "figures").mkdir(parents=True)
    for path in arguments.tables:
        if path.name == "samples.csv":
            with gzip.GzipFile(arguments.out / f"{path.name}.gz", "wb", mtime=0) as file:  # the same bytes for the same samples
                file.write(path.read_bytes())
        elif path.is_dir():
            shutil.copytree(path, arguments.out / path.name)
        else:
            shutil.copy(path, arguments.out)
    for path in arguments.figures:
        if path.suffix == ".png":
            shutil.copy(path, arguments.out / "figures")
    timings = pd.read_csv(next(path for path in arguments.tables if path.name == "timings.csv"))
    provenance = {
        "commit": git("rev-parse", "HEAD"),  # of the code that published; cells may be older
        "changes": git("status", "--short"),
        "published": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "measured": [timings["started"].dropna().min(), timings["started"].dropna().max()],
        "nodes": sorted(timings["node"].dropna().unique()),
        "python": platform.python_version(),
        "snakemake": version("snakemake"),
        "datasets": timings.dropna(subset=["dataset_sha256"]).groupby("dataset")["dataset_sha256"].first().to_dict(),
        "ceilings": {path.stem: json.loads(path.read_text()) for path in arguments.ceilings},
        "environments": {path.parent.name: path.read_text().split() for path in arguments.environments},
    }
    (arguments.out / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")


if __name__ == "__main__":
    main()
