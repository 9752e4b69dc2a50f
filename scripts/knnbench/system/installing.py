"""Install an environment's packages with uv."""

import os
import re
import subprocess
import sys

from packaging.specifiers import SpecifierSet

from knnbench.system import compiler
from knnbench.system.environment import LACKING, is_optional

# How uv says that a package has no wheel for this Python, or that its source could not be built.
WITHOUT_WHEEL = re.compile("Failed to build|no wheels with a matching")


def uv(*arguments, **options):
    """Run uv. What it compiles outlasts the shell: flags of today's would be in rows of other days, which do not say so."""
    known = {name: value for name, value in os.environ.items() if name != "CXXFLAGS"}
    return subprocess.run([sys.executable, "-m", "uv", *arguments], check=True, encoding="utf-8", env=known, **options)


def make(prefix, python, pins, constraints, hashed):
    """Make the environment, in a folder that can be moved."""
    this_python = ".".join(map(str, sys.version_info[:3]))
    interpreter = sys.executable if this_python in SpecifierSet(python) else python
    uv("venv", "--quiet", "--relocatable", "--python", interpreter, str(prefix))
    # Bytecode now, or the first import of every cell would compile it.
    into = ["--python", str(prefix), "--constraints", "-", "--compile-bytecode", *["--require-hashes"] * hashed]
    asked_for = [f"{name}=={version}" for name, version in pins.items() if not is_optional(name, pins)]
    try:
        done = uv("pip", "install", *into, *asked_for, input=constraints, stderr=subprocess.PIPE)
        print(done.stderr, file=sys.stderr)
        uv("pip", "check", "--python", str(prefix))
    except subprocess.CalledProcessError as error:
        print(error.stderr, file=sys.stderr)
        if not WITHOUT_WHEEL.search(error.stderr or ""):
            raise
        install_wheels(prefix, into, asked_for, constraints)
    freeze = list_packages(prefix)
    versions = dict(line.split("+")[0].split("==") for line in freeze.split())
    if unpinned := [name for name in versions if versions[name] != pins.get(name) and not is_optional(name, pins)]:
        sys.exit(f"its list is not complete, {', '.join(unpinned)} came too; run envs/lock.sh")
    (prefix / "freeze.txt").write_text(freeze, encoding="utf-8")
    (prefix / "made-from.txt").write_text(constraints, encoding="utf-8")


def install_wheels(prefix, into, asked_for, constraints):
    """Install what has wheels, and note what has none and could not be compiled: its cells say so, and all others go on."""
    lacking = []
    for each in asked_for:
        try:
            words = ("pip", "install", *into, "--no-build", "--no-deps", each)
            uv(*words, input=constraints, stderr=subprocess.PIPE)
        except subprocess.CalledProcessError:
            lacking.append(each)
    why = compiler.missing() or "could not be compiled: the log of make_environment has the compiler's words"
    words = (
        f"{', '.join(lacking)} has no wheel for this Python, and {why}; then delete {prefix.parent / prefix.name.split('.')[1]}"
    )
    (prefix / LACKING).write_text(words, encoding="utf-8")
    print(words)


def list_packages(prefix):
    """What is installed, as a requirements file."""
    return uv("pip", "freeze", "--python", str(prefix), stdout=subprocess.PIPE).stdout
