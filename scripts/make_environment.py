"""Make the virtual environment that a conda environment file describes, with uv, from its python and pip entries.

Every file that is installed must have one of the hashes beside its pin.
"""

import argparse
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from packaging.specifiers import SpecifierSet

from knnbench.system.environment import is_optional, read_hashes, read_pins

# Where they are set, PyTorch is a build that is not on PyPI: its hash, and those of its CUDA libraries, cannot be known here.
OTHER_BUILDS = ("UV_TORCH_BACKEND", "UV_FIND_LINKS")


def uv(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "uv", *arguments], check=True, encoding="utf-8", **options)


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


def make(prefix, python, pins, constraints, hashed):
    """Make the environment, in a folder that can be moved."""
    this_python = ".".join(map(str, sys.version_info[:3]))
    interpreter = sys.executable if this_python in SpecifierSet(python) else python
    uv("venv", "--quiet", "--relocatable", "--python", interpreter, str(prefix))
    # Bytecode now, or the first import of every cell would compile it.
    into = ["--python", str(prefix), "--constraints", "-", "--compile-bytecode", *["--require-hashes"] * hashed]
    asked_for = [f"{name}=={version}" for name, version in pins.items() if not is_optional(name, pins)]
    uv("pip", "install", *into, *asked_for, input=constraints)
    uv("pip", "check", "--python", str(prefix))
    freeze = list_packages(prefix)
    versions = dict(line.split("+")[0].split("==") for line in freeze.split())
    if unpinned := [name for name in versions if versions[name] != pins.get(name) and not is_optional(name, pins)]:
        sys.exit(f"its list is not complete, {', '.join(unpinned)} came too; run envs/lock.sh")
    (prefix / "freeze.txt").write_text(freeze, encoding="utf-8")
    (prefix / "made-from.txt").write_text(constraints, encoding="utf-8")


def list_packages(prefix):
    """What is installed, as a requirements file."""
    return uv("pip", "freeze", "--python", str(prefix), stdout=subprocess.PIPE).stdout


if __name__ == "__main__":
    main()
