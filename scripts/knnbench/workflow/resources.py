"""What is kept in the folder of resources: whether it is there, whose it is, and what it was made from."""

import contextlib
import json
import os
import time
from pathlib import Path

import h5py

from knnbench.config.suite import downloads, own_files
from knnbench.problem.datasets import TRUTH_K
from knnbench.problem.download import address, is_there
from knnbench.system.environment import is_optional, read_pins
from knnbench.workflow.files import digests
from knnbench.workflow.run import RunError

ONLY_PLANNED = {"n", "d", "queries", "megabytes"}  # of a download: its size is only for the plan


def dataset_files(config):
    """The dataset files of the chosen suite: dict, name -> Path."""
    names = config["suites"][config["suite"]]["datasets"]
    return {name: Path(config["resources_dir"], "datasets", f"{name}.hdf5") for name in names}


def receipts(config, name):
    """The receipt of a dataset's download: a list of one path, of none if it is not downloaded."""
    url = config["datasets"][name].get("url")
    folder = f"{config['resources_dir']}/downloads"
    return [f"{folder}/{file}.json" for file, (wanted, _) in downloads(config).items() if wanted == url]


def made_from(settings, truth_k):
    """What a dataset's content depends on: its settings, digests of one's own files, and how many neighbours are kept.

    Parameters
    ----------
    settings : dict, entry of the configuration
    truth_k : int

    Returns
    -------
    text : str, JSON
    """
    left_out = ONLY_PLANNED if "url" in settings else set()
    known = {key: value for key, value in settings.items() if key not in left_out}
    if own_files(settings):
        known["files"] = digests(settings)
    if truth_k != TRUTH_K:
        known["truth_k"] = truth_k
    return json.dumps(known, sort_keys=True)


def not_had(config):
    """Why there is no dataset, for those of the suite that could not be had: dict, name -> reason."""
    found = {}
    for name, path in dataset_files(config).items():
        with contextlib.suppress(OSError), h5py.File(path, "r") as file:  # there is none yet, or it is half written
            found[name] = file.attrs.get("unavailable")
    return {name: reason for name, reason in found.items() if reason}


def check_kept(config, freezes, specs):
    """Check what others keep in the folder of resources: nothing can be added to it.

    Parameters
    ----------
    config : dict, resolved
    freezes : list of path, freeze.txt of the environments that the suite needs
    specs : Path, folder of what they pin

    Raises
    ------
    RunError
    """
    wrong = []
    for path in map(Path, freezes):
        _, pins = read_pins(specs / f"{path.parent.name}.yaml")
        try:
            lines = path.read_text(encoding="utf-8").split()
        except OSError as error:
            wrong.append(f"{path}: {error.strerror}")
            continue
        there = dict(line.split("+")[0].split("==") for line in lines)
        pins = {name: pin for name, pin in pins.items() if not is_optional(name, pins)}
        if not pins.items() <= there.items():
            wrong.append(f"{path.parent}: it is not what envs/{path.parent.name}.yaml pins")
    for name, path in dataset_files(config).items():
        try:
            with h5py.File(path, "r") as file:
                settings = file.attrs.get("settings")
        except OSError as error:
            wrong.append(f"{path}: {error}")
            continue
        expected = made_from(config["datasets"][name], config["truth_k"])
        if settings != expected:
            wrong.append(f"{path} was made from {settings}, not from {expected}")
    if wrong:
        raise RunError(
            f"resources_dir: {config['resources_dir']} may not be written here, and it does not have what suite"
            f" {config['suite']} needs; let its owner run the suite with it, or take another folder:",
            *wrong,
        )


def age_changed_datasets(config):
    """Make datasets old that were made from something else: Snakemake knows that only of what was made in this folder."""
    for name, path in dataset_files(config).items():
        with contextlib.suppress(OSError):  # there is none
            with h5py.File(path, "r") as file:
                changed = file.attrs.get("settings") != made_from(config["datasets"][name], config["truth_k"])
            if changed and not path.is_symlink():  # of --cache, by what it was made from
                os.utime(path, (1, 1))  # Snakemake takes 0 for no time


def ask_again(config):
    """Ask again for downloads that failed, if they may succeed now: the jobs that fetch them wait for what is written here.

    Returns
    -------
    reasons : list of str, of those that are still not to be had
    """
    files, reasons = {url: file for file, (url, _) in downloads(config).items()}, []
    for name in dataset_files(config):
        for path in map(Path, receipts(config, name)):
            receipt = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            asked = path.with_suffix(".asked")
            if not asked.exists():
                asked.parent.mkdir(parents=True, exist_ok=True)
                asked.write_text("first", encoding="utf-8")
                os.utime(asked, (0, 0))  # no reason to fetch again what is there
            url = config["datasets"][name]["url"]
            place = address(url, config["mirror"], files[url])
            again = receipt.get("asked", url) != url  # another address had the name
            if not again and receipt.get("status") == "unavailable":
                elsewhere = path.with_suffix("").is_file() or place != receipt["url"]
                again = elsewhere or (receipt["again"] and is_there(place))
                reasons += [] if again else [receipt["reason"]]
            if again:  # Snakemake looks at times, and at the content of small files
                asked.write_text(str(time.time()), encoding="utf-8")
    return reasons
