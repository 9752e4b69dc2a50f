"""Files that a configuration names: never written, moved or removed by a run, and known by their content."""

import csv
import functools
import hashlib
import io
import json
import os
from pathlib import Path

import h5py

from knnbench.config.suite import downloads, own_files
from knnbench.config.values import ConfigError
from knnbench.system.files import sha256_of, write_atomically
from knnbench.workflow.run import RunError

MADE_FROM_OTHERS = {"sources": "merged", "foreign": "imported", "baseline": "rerendered"}  # key -> folder below results/
DIGESTS = Path(".snakemake/knnbench-digests.json")  # of files that have been read, by what the kernel says of them


def number(path, follow=True):
    """What a file or folder is for the kernel, whatever its name: (device, inode); None if it is not there, or out of reach."""
    try:
        about = os.stat(path, follow_symlinks=follow)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def check_not_outputs(named, files, folders):
    """Check that nothing which a configuration names is a file that a run makes, or lies in a folder that it makes.

    By the kernel's numbers, for one file has many names: links of both kinds, mounts, upper and lower case.

    Parameters
    ----------
    named : dict, place in the configuration -> path
    files, folders : list of path, what a run makes; a link in place of a file is removed without harm to what it leads to

    Raises
    ------
    ConfigError
    """
    ours = {number(path, follow=False): path for path in files} | {number(path): path for path in folders}
    ours.pop(None, None)
    for place, path in named.items():
        names = (Path(os.path.abspath(path)), Path(os.path.realpath(path)))
        around = [number(each) for name in names for each in (name, *name.parents)]
        if same := next((ours[each] for each in around if each in ours), None):
            raise ConfigError(
                f"{place}: {path} is {same} or lies in it, which a run writes and removes; "
                "move it to a folder of its own, and name it there"
            )


def check_made_by_us(datasets):
    """Check that no file stands where a dataset is to be written that knnbench has not written itself.

    Parameters
    ----------
    datasets : dict, name -> path

    Raises
    ------
    ConfigError
    """
    for name, path in datasets.items():
        try:
            with h5py.File(path, "r") as file:
                ours = "sha256" in file.attrs or "unavailable" in file.attrs
        except OSError:  # there is none, or it was cut off
            continue
        if not ours:
            raise ConfigError(
                f"datasets.{name}: {path} is not of knnbench, which would write there; move it elsewhere and name it by path:"
            )


def check_files(config, configfiles):
    """Check that no file of the user's is where a run writes.

    Parameters
    ----------
    config : dict, resolved
    configfiles : list of path, as the command line names them

    Raises
    ------
    ConfigError
    """
    resources = config["resources_dir"]
    named = {f"datasets.{name}": path for name, settings in config["datasets"].items() for path in own_files(settings).values()}
    named |= {f"--configfile {path}": path for path in configfiles}
    datasets = {name: f"{resources}/datasets/{name}.hdf5" for name in config["datasets"]}
    folders = [f"results/{name}" for name in ("cells", "indexes", "ceilings", *MADE_FROM_OTHERS.values(), *config["suites"])]
    files = [*datasets.values(), *(f"{resources}/downloads/{name}" for name in downloads(config))]
    check_not_outputs(named, files, [*folders, "logs", f"{resources}/environments"])
    for key, folder in MADE_FROM_OTHERS.items():
        given = config[key] if key == "sources" else [config[key]]
        read = {f"{key}: {path}": path for path in given if path}
        check_not_outputs(read, [f"results/{config['suite']}/artifact.zip"], [f"results/{folder}"])
    check_made_by_us(datasets)


def digests(settings):
    """SHA-256 of one's own files, read again only if the kernel says that they have changed.

    Parameters
    ----------
    settings : dict, a dataset's entry in the configuration

    Returns
    -------
    digests : dict, path -> SHA-256
    """
    try:
        known = json.loads(DIGESTS.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    found = {}
    for path in own_files(settings).values():
        about = os.stat(path)
        # ctime_ns: tools that keep the old time of a file, or set one, cannot set this.
        key = f"{os.path.realpath(path)} {about.st_dev} {about.st_ino} {about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"
        found[path] = known.get(key) or sha256_of(path)
        if key not in known and DIGESTS.parent.is_dir():
            known[key] = found[path]
            write_atomically(DIGESTS, json.dumps(known))
    return found


@functools.cache
def content(*paths):
    """Digest of some files that do not change as long as this process lives, such as code: what it was, whatever its time says.

    Parameters
    ----------
    paths : path

    Returns
    -------
    digest : str
    """
    return hashlib.sha256("".join(map(sha256_of, paths)).encode()).hexdigest()


def written(*paths):
    """Size, time and inode of files, and of those in folders: what changes when somebody replaces them, by older ones too.

    Returns
    -------
    identity : list of list
    """
    every = [each for path in map(Path, paths) for each in (path, *(sorted(path.rglob("*")) if path.is_dir() else ()))]
    files = [each for each in every if each.is_file()]
    return [[str(each), about.st_size, about.st_mtime_ns, about.st_ino] for each in files for about in [each.stat()]]


def datasets_of(place, folders):
    """Names of the datasets in the tables of folders that a key of the configuration names.

    Parameters
    ----------
    place : str, the key
    folders : list of path

    Returns
    -------
    names : dict, name -> None, in the order of the tables

    Raises
    ------
    RunError
    """
    try:
        texts = [Path(folder, "timings.csv").read_text(encoding="utf-8") for folder in folders]
        tables = [csv.DictReader(io.StringIO(text, newline="")) for text in texts]
        return {row["dataset"]: None for table in tables for row in table}
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(
            f"{place}: {error!r}; expected a folder with timings.csv: results/SUITE of a run, or one of published/"
        ) from error
