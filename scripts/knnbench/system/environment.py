"""Environment files: what they pin, and whether the running interpreter has it. Standard library only."""

import importlib.metadata
import re
from pathlib import Path

LACKING = "lacking.txt"  # in an environment's folder: what could not be installed there, and why
HASH = "--hash=sha256:"
DEVICE_RUNTIME = ("nvidia-", "cuda-", "triton")
HEADERS = ("nvidia-cuda-crt", "nvidia-cuda-cccl", "nvidia-cuda-nvcc-cu12")  # for KeOps
COMPILER = "nvidia-cutlass-dsl"  # for FlashLib


def is_optional(name, pins):
    """Whether a pinned package may be absent, or of another version: the CUDA libraries beside PyTorch.

    PyTorch has builds for several versions of CUDA and for none, and each asks for the libraries that it wants. What no PyTorch
    asks for is not optional.
    """
    return "torch" in pins and name.startswith(DEVICE_RUNTIME) and not name.startswith((*HEADERS, COMPILER))


def read_pins(path):
    """Read an `envs/*.yaml`.

    Parameters
    ----------
    path : path of a conda environment file as envs/lock.sh writes it

    Returns
    -------
    python : str, the version range of the interpreter, such as ">=3.11,<3.15"
    pins : dict, package name -> version; `read_hashes` has their hashes

    Raises
    ------
    ValueError
        An entry is not a pinned PyPI package; only conda can install it.
    """
    python, pins = "", {}
    for line in Path(path).read_text(encoding="utf-8").split("dependencies:", 1)[1].splitlines():
        entry = line.split("#")[0].strip().removeprefix("- ")
        if pin := re.fullmatch(r"([A-Za-z0-9._-]+)==(\S+)", entry):
            pins[pin[1]] = pin[2]
        elif entry.startswith("python "):
            python = entry.removeprefix("python ")
        elif entry not in ("", "pip", "pip:") and not entry.startswith(HASH):
            raise ValueError(
                f"{path}: only conda can install {entry!r}; allowed here are python and name==version entries under pip:; "
                "run snakemake with --software-deployment-method conda"
            )
    return python, pins


def read_hashes(path):
    """Read the hashes of an `envs/*.yaml`.

    Returns
    -------
    hashes : dict, package name -> list of words such as --hash=sha256:..., for a requirements file
    """
    hashes = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        entry = line.strip()
        if pin := re.fullmatch(r"- ([A-Za-z0-9._-]+)==\S+", entry):
            words = hashes[pin[1]] = []
        elif entry.startswith(HASH):
            words.append(entry)
    return hashes


def installed(names):
    """Versions of those packages that the running interpreter has, with build labels such as +cpu."""
    versions = {}
    for name in names:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def mismatches(pins):
    """Say how the running interpreter differs from the pins: a list of words, empty when it is the environment."""
    found = installed(pins)
    return [
        f"{name} {found.get(name, 'missing')} (pinned {version})"
        for name, version in pins.items()
        if found.get(name, "").split("+")[0] != version and not is_optional(name, pins)
    ]
