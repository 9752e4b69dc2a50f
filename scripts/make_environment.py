"""Make the virtual environment that a conda environment file describes, with uv, from its python and pip entries.

Every file that is installed must have one of the hashes beside its pin.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from packaging.specifiers import SpecifierSet

from knnbench.environment import is_optional, read_hashes, read_pins

# Where they are set, PyTorch is a build that is not on PyPI: its hash, and those of its CUDA libraries, cannot be known here.
OTHER_BUILDS = ("UV_TORCH_BACKEND", "UV_FIND_LINKS")


def uv(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "uv", *arguments], check=True, encoding="utf-8", **options)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="envs/NAME.yaml")
    parser.add_argument("--prefix", type=Path, required=True, help="folder of the environment; made anew")
    arguments = parser.parse_args()

    python, pins = read_pins(arguments.spec)
    this_python = ".".join(map(str, sys.version_info[:3]))
    interpreter = sys.executable if this_python in SpecifierSet(python) else python
    uv("venv", "--quiet", "--clear", "--python", interpreter, str(arguments.prefix))

    lines = {name: f"{name}=={version}" for name, version in pins.items()}
    hashes = read_hashes(arguments.spec)
    if without := [name for name in pins if not hashes[name]]:
        sys.exit(f"{arguments.spec}: {', '.join(without)} without --hash=sha256:...; run envs/lock.sh")
    unknown = (
        {name for name in pins if name == "torch" or is_optional(name, pins)}
        if any(map(os.environ.get, OTHER_BUILDS))
        else set()
    )
    if unknown:
        print(f"{' or '.join(OTHER_BUILDS)} is set: not checked against hashes are {', '.join(sorted(unknown))}", flush=True)
    constraints = arguments.prefix / "pins.txt"
    constraints.write_text(
        "\n".join(" ".join([line, *(hashes[name] if name not in unknown else [])]) for name, line in lines.items()),
        encoding="utf-8",
    )
    # Bytecode now, or the first import of every cell would compile it.
    into = ["--python", str(arguments.prefix), "--constraints", str(constraints), "--compile-bytecode"]
    into += [] if unknown else ["--require-hashes"]
    asked_for = [line for name, line in lines.items() if not is_optional(name, pins)]
    uv("pip", "install", *into, "--requirements", "-", input="\n".join(asked_for))
    uv("pip", "check", "--python", str(arguments.prefix))

    freeze = uv("pip", "freeze", "--python", str(arguments.prefix), stdout=subprocess.PIPE).stdout
    versions = dict(line.split("+")[0].split("==") for line in freeze.split())
    if unpinned := [name for name in versions if versions[name] != pins.get(name) and not is_optional(name, pins)]:
        sys.exit(f"{arguments.spec}: its list is not complete, {', '.join(unpinned)} came too; run envs/lock.sh")
    (arguments.prefix / "freeze.txt").write_text(freeze, encoding="utf-8")


if __name__ == "__main__":
    main()
