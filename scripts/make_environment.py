"""Make the virtual environment that a conda environment file describes, with uv, from its python and pip entries.

Every file that is installed must have one of the hashes beside its pin.
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import sys
from pathlib import Path

from knnbench.system.environment import is_optional, read_hashes, read_pins
from knnbench.system.installing import list_packages, make

# Where they are set, PyTorch is a build that is not on PyPI: its hash, and those of its CUDA libraries, cannot be known here.
OTHER_BUILDS = ("UV_TORCH_BACKEND", "UV_FIND_LINKS")


@contextlib.contextmanager
def alone(prefix):
    """Wait until nobody else makes this environment: another run may share the folder. The kernel releases the lock."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    with open(prefix.with_name(f".{prefix.name}.lock"), "w", encoding="utf-8") as lock:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="envs/NAME.yaml")
    parser.add_argument("--prefix", type=Path, required=True, help="folder of the environment; replaced")
    arguments = parser.parse_args()
    spec, prefix = arguments.spec, arguments.prefix

    python, pins = read_pins(spec)
    hashes = read_hashes(spec)
    if without := [name for name in pins if not hashes[name]]:
        sys.exit(f"{spec}: {', '.join(without)} without --hash=sha256:...; run envs/lock.sh")
    unknown = (
        {name for name in pins if name == "torch" or is_optional(name, pins)}
        if any(map(os.environ.get, OTHER_BUILDS))
        else set()
    )
    if unknown:
        print(f"{' or '.join(OTHER_BUILDS)} is set: not checked against hashes are {', '.join(sorted(unknown))}", flush=True)
    known = {name: hashes[name] if name not in unknown else [] for name in pins}
    constraints = "\n".join(" ".join([f"{name}=={version}", *known[name]]) for name, version in pins.items())
    with alone(prefix):
        made_from = prefix / "made-from.txt"
        if made_from.exists() and made_from.read_text(encoding="utf-8") == constraints:
            print("It is there: another run has made it, or only its list was missing.")
            (prefix / "freeze.txt").write_text(list_packages(prefix), encoding="utf-8")
            return
        for left in prefix.parent.glob(f".{prefix.name}.*.part"):  # of runs that were killed
            shutil.rmtree(left)
        part, old = (prefix.with_name(f".{prefix.name}.{word}.part") for word in ("new", "old"))
        make(part, python, pins, constraints, hashed=not unknown)
        # All of it or nothing, and what others run from the old one meanwhile is there until the new one is.
        if prefix.exists():
            prefix.rename(old)
        part.rename(prefix)
        shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    main()
