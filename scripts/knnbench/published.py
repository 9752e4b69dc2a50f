"""Results for others: what a folder of them holds, with which code they were made, and whether they are right."""

import functools
import gzip
import itertools
import json
import math
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import yaml

from knnbench.download import sha256_of
from knnbench.folder import read_table
from knnbench.record import NOT_RUN
from knnbench.results import residencies

# What runs, of the project's folder; the rest is measured, made or about the project.
CODE = (
    "Snakefile",
    "rules",
    "scripts",
    "envs",
    "profiles",
    "config.yaml",
    "claims.yaml",
    "requirements.txt",
    "downloads.sha256",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "docs",
)


# Of a repository's own settings, those that would start programs, hide a file or change how a patch is written.
GIT_SETTINGS = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.quotePath=true",
    "diff.suppressBlankEmpty=false",
)


class GitError(Exception):
    """Git is not there, or says why it gives no answer."""


@dataclass(frozen=True)
class CodeVersion:
    """Which code this is.

    Attributes
    ----------
    commit : str or None
    changed : list of str or None
        Files of `CODE` that are not as in that commit; those that git does not know included.
    patch : bytes, what was changed, for `git apply`
    reason : str or None, why the commit or what was changed is not known
    """

    commit: str | None = None
    changed: list | None = None
    patch: bytes = b""
    reason: str | None = None


def ask_git(root, index, arguments, given=b"", may_end_with=(0,)):
    """What git prints, asked with its own defaults: nothing of the user's settings and variables, nor of who owns the folder.

    Raises
    ------
    GitError
    """
    # Where the repository is given, git does not look for it, and does not refuse one of another user: its code runs already.
    command = ["git", f"--git-dir={root}/.git", f"--work-tree={root}", "--no-pager", "--literal-pathspecs"]
    command += [word for setting in GIT_SETTINGS for word in ("-c", setting)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    home = dict.fromkeys(("HOME", "XDG_CONFIG_HOME"), str(index.parent))
    alone = dict.fromkeys(("GIT_CONFIG_NOSYSTEM", "GIT_ATTR_NOSYSTEM", "GIT_NO_REPLACE_OBJECTS"), "1")
    env |= home | alone | {"GIT_INDEX_FILE": str(index), "LC_ALL": "C"}
    try:
        done = subprocess.run([*command, *arguments], cwd=root, env=env, input=given, capture_output=True)
    except OSError as error:
        words = "git is not installed" if isinstance(error, FileNotFoundError) else f"git cannot be started: {error}"
        raise GitError(words) from error
    if done.returncode not in may_end_with:
        said = " ".join(done.stderr.decode(errors="replace").split()).removeprefix("fatal: ")
        raise GitError(f"git says: {said}" if said else f"git {arguments[0]} ended with {done.returncode}")
    return done.stdout


def code_version(root):
    """The commit of the code and what was changed since; where it came without its history, what its copy was of.

    Parameters
    ----------
    root : Path, the project's folder

    Returns
    -------
    CodeVersion
    """
    if not os.path.lexists(root / ".git"):
        copied = root / "COMMIT"
        if copied.exists():
            reason = "a copy without its history: whether it was changed since that commit is not known"
            return CodeVersion(copied.read_text(encoding="utf-8").strip(), reason=reason)
        return CodeVersion(reason="the code came without its history")
    commit = None
    with tempfile.TemporaryDirectory() as place:
        # An index of our own: the user's may hide what was changed, be in use, or may not be written.
        git = functools.partial(ask_git, root, Path(place, "index"))
        difference = ["diff-index", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv"]
        try:
            commit = git(["log", "-1", "--no-show-signature", "--format=%H"]).decode().strip()
            git(["read-tree", "HEAD"])
            listed = git(["ls-files", "--others", "--exclude-per-directory=.gitignore", "-z", "--", *CODE])
            new = listed.split(b"\0")[:-1]
            empty = git(["hash-object", "--stdin"]).strip()  # what new files are in the index; no object is written
            entries = [b"100644 %s\t%s\0" % (empty, name) for name in new]
            git(["update-index", "-z", "--index-info"], b"".join(entries))
            git(["update-index", "-q", "--refresh"], may_end_with=(0, 1))  # 1: there are differences
            names = git([*difference, "--name-only", "-z", "HEAD", "--", *CODE])
            as_patch = ["--patch", "--binary", "--full-index", "--src-prefix=a/", "--dst-prefix=b/"]
            patch = git([*difference, *as_patch, "HEAD", "--", *CODE])
        except GitError as error:
            return CodeVersion(commit, reason=str(error))
    repositories = [name for name in new if name.endswith(b"/")]  # of their own: git leaves them out of the patch
    changed = [name.decode(errors="backslashreplace") for name in names.split(b"\0")[:-1] + repositories]
    return CodeVersion(commit, sorted(changed), patch)


def keep(paths, out):
    """Copy results into a folder for others: samples compressed, the same bytes for the same samples.

    Parameters
    ----------
    paths : list of Path, tables, findings and figures of results/SUITE; `figures/` below it keeps its name
    out : Path, the folder; made
    """
    for path in paths:
        folder = out / "figures" if path.parent.name == "figures" else out
        folder.mkdir(parents=True, exist_ok=True)
        if path.name == "samples.csv":
            with open(folder / "samples.csv.gz", "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
                packed.write(path.read_bytes())
        elif path.is_dir():
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns(".*"))
        else:
            shutil.copy(path, folder)


CELL = ["dataset", "backend", "device", "n_neighbors", "residency"]
MACHINE = ["cpu", "cpus", "gpu"]
TOLERANCE = 1e-9  # relative, of numbers that are written with all their digits


def check_sums(folder):
    """Compare the files of an artifact with its SHA256SUMS; a list of problems."""
    path = folder / "SHA256SUMS"
    try:
        lines = [line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
        listed = {name: digest for digest, name in lines}
    except (OSError, ValueError) as error:
        return [f"SHA256SUMS cannot be read: {error}"]
    found = {each.relative_to(folder).as_posix(): each for each in folder.rglob("*") if each.is_file() and each != path}
    problems = [f"{name} is listed in SHA256SUMS and is not there" for name in sorted(listed.keys() - found.keys())]
    problems += [f"{name} is not listed in SHA256SUMS" for name in sorted(found.keys() - listed.keys())]
    return problems + [
        f"{name} is not what SHA256SUMS lists"
        for name in sorted(listed.keys() & found.keys())
        if sha256_of(found[name]) != listed[name]
    ]


def plain(value, kinds):
    """A value of a CSV file as its schema has it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "" if "string" in kinds and "null" not in kinds else None
    if isinstance(value, (np.bool_, np.number)):
        value = value.item()
    if "integer" in kinds and isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def check_rows(timings, schema):
    """Check every row against the schema; a list of problems."""
    problems = []
    validator = jsonschema.Draft202012Validator(schema)
    kinds = {name: np.atleast_1d(entry.get("type", [])).tolist() for name, entry in schema["properties"].items()}
    kinds = {name: found or (["string"] if "enum" in schema["properties"][name] else []) for name, found in kinds.items()}
    for number, row in enumerate(timings.to_dict("records"), 2):
        clean = {name: plain(value, kinds.get(name, [])) for name, value in row.items()}
        if error := jsonschema.exceptions.best_match(validator.iter_errors(clean)):
            problems.append(f"timings.csv, line {number}: {'.'.join(map(str, error.absolute_path))}: {error.message[:300]}")
    return problems


def check_meaning(timings, config):
    """Check what a schema cannot say of the rows; a list of problems."""
    problems = []
    for number, row in enumerate(timings.to_dict("records"), 2):
        median, low, high = (row[f"query_{name}_s"] for name in ("median", "low", "high"))
        timed = pd.notna(median)
        wrong = {
            "a cell that did not run has a time": timed and row["status"] in NOT_RUN,
            "a cell that ran has no time": not timed and row["status"] not in NOT_RUN,
            "a status other than ok has no reason": row["status"] != "ok" and (pd.isna(row["reason"]) or not row["reason"]),
            "the median is not inside its interval": timed and pd.notna(low) and pd.notna(high) and not low <= median <= high,
            "queries_per_s is not queries over query_median_s": timed
            and not math.isclose(row["queries_per_s"], row["queries"] / median, rel_tol=TOLERANCE),
            "ok, with a recall below timing.min_recall": row["status"] == "ok"
            and row["recall"] < config["timing"]["min_recall"],
            "it is of the future": pd.notna(row["started"])
            and str(row["started"]) > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400)),
        }
        problems += [f"timings.csv, line {number}: {words}" for words, holds in wrong.items() if holds]
    twice = timings[timings.duplicated([*CELL, *MACHINE])]
    problems += [
        f"timings.csv: {', '.join(map(str, key))} is there twice" for key in twice[CELL].itertuples(index=False, name=None)
    ]
    return problems


def check_grid(timings, config):
    """Check that every cell of the suite has its row; a list of problems."""
    if config["suite"] in ("merged", "imported"):
        return []
    suite = config["suites"][config["suite"]]
    asked = {
        (dataset, backend, device, k, residency)
        for dataset, backend, k in itertools.product(suite["datasets"], suite["backends"], suite["n_neighbors"])
        for device in config["backends"][backend]["environments"]
        for residency in residencies(device)
    }
    found = set(timings[CELL].itertuples(index=False, name=None))
    problems = [f"timings.csv: there is no row of {', '.join(map(str, key))}" for key in sorted(asked - found, key=str)]
    return problems + [f"timings.csv: {', '.join(map(str, key))} is not in the suite" for key in sorted(found - asked, key=str)]


def check_samples(timings, samples, version):
    """Check that the medians are those of the samples, in version 1 of all rounds together; a list of problems."""
    problems = []
    passes = samples[samples["batch"].isna()]
    groups = dict(iter(passes.groupby(CELL, sort=False)))
    for row in timings.drop_duplicates(CELL).to_dict("records"):
        key = tuple(row[name] for name in CELL)
        words = ", ".join(map(str, key))
        here = groups.get(key, passes.iloc[:0])
        if row["repeats"] != len(here) and not timings.duplicated(CELL).any():
            problems.append(f"{words}: {row['repeats']} repeats in timings.csv, {len(here)} in samples.csv")
        elif len(here) and pd.notna(row["query_median_s"]) and not timings.duplicated(CELL).any():
            medians = here.groupby("round")["seconds"].median()
            expected = math.exp(np.log(medians).mean()) if len(medians) > 1 and version > 1 else here["seconds"].median()
            if not math.isclose(row["query_median_s"], expected, rel_tol=TOLERANCE):
                problems.append(f"{words}: query_median_s is {row['query_median_s']}, that of its samples {expected}")
    return problems


def check_provenance(timings, provenance):
    """Check that the datasets are those of the rows; a list of problems."""
    digests = timings.dropna(subset=["dataset_sha256"]).groupby("dataset")["dataset_sha256"].unique()
    return [
        f"{name}: its rows searched {', '.join(found)}, provenance.json says {provenance['datasets'].get(name)}"
        for name, found in digests.items()
        if list(found) != [provenance["datasets"].get(name)]
    ]


def validate(folder, schema):
    """Check a folder of results: every value, that they agree with each other, and that no cell of the suite is missing.

    Parameters
    ----------
    folder : Path
    schema : dict, of a row of timings.csv

    Returns
    -------
    problems : list of str, empty if it is right
    """
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        timings, samples = read_table(folder, "timings"), read_table(folder, "samples")
        read_table(folder, "batches"), read_table(folder, "comparisons")
        version = timings.pop("from_version").max()
        old = version < schema["properties"]["schema_version"]["const"]
        provenance = None if old else json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, yaml.YAMLError, RecursionError, SystemExit) as error:
        return [f"cannot be read: {str(error)[:500]}"]
    problems = check_rows(timings, schema)
    if problems:  # the rest relies on the types
        return problems
    checks = {
        "timings.csv with config.yaml": lambda: check_meaning(timings, config) + check_grid(timings, config),
        "samples.csv": lambda: check_samples(timings, samples, version),
        "provenance.json": lambda: [] if old else check_provenance(timings, provenance),
    }
    for name, check in checks.items():
        try:
            problems += check()
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            problems.append(f"{name} is not what docs/results.md says: {error!r}"[:500])
    return problems
