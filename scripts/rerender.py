"""Make again what is made of published tables: `copy` takes the tables, `check` compares the bytes of what was made."""

import argparse
import gzip
import shutil
import sys
from pathlib import Path

from knnbench.config.suite import LATER
from knnbench.results.folder import read_table


def copy(baseline, paths):
    """Take the tables, and the logs that the report quotes."""
    for path in paths:
        source, packed = baseline / path.name, baseline / f"{path.name}.gz"
        if path.name in LATER and not source.exists():
            read_table(baseline, path.stem).to_csv(path, index=False)
            continue
        if not source.exists() and not packed.exists():
            sys.exit(f"{baseline}: there is no {path.name}; expected a folder of published/, or results/SUITE of a run")
        path.write_bytes(source.read_bytes() if source.exists() else gzip.decompress(packed.read_bytes()))
    logs = paths[0].parent / "logs"
    shutil.rmtree(logs, ignore_errors=True)
    if (baseline / "logs").is_dir():
        shutil.copytree(baseline / "logs", logs)


def check(baseline, paths):
    """Say which files are not those of the baseline; the exit status is 1 if there are any."""
    files = [each for path in paths for each in ([path] if path.is_file() else sorted(path.rglob("[!.]*"))) if each.is_file()]
    folder = next(path for path in paths[0].parents if path.name == "rerendered")
    differ = []
    for path in files:
        theirs = baseline / path.relative_to(folder)
        if not theirs.is_file() or theirs.read_bytes() != path.read_bytes():
            differ.append(f"{path} is not {theirs}")
    print("\n".join([f"{len(files) - len(differ)} of {len(files)} files are byte for byte those of {baseline}", *differ]))
    sys.exit(1 if differ else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("copy", "check"))
    parser.add_argument("--baseline", type=Path, required=True, help="folder with tables and what was made of them")
    parser.add_argument(
        "--out", type=Path, nargs="+", required=True, help="the tables, or what was made of them, in rerendered/"
    )
    arguments = parser.parse_args()
    {"copy": copy, "check": check}[arguments.what](arguments.baseline, arguments.out)


if __name__ == "__main__":
    main()
