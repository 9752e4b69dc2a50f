"""The configuration: check it, fill in defaults, and list the cells of a suite."""

import difflib
import fnmatch
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import yaml

from knnbench.datasets import DataError, check_form, open_array
from knnbench.download import second_name
from knnbench.metrics import METRICS

# Keys of a dataset besides metric, source, title and license: those it must have and those it may have.
DRAWN = ({"n", "d"}, {"queries", "seed", "offset"})
SOURCE_KEYS = {
    "normal": DRAWN,
    "uniform": DRAWN,
    "sphere": DRAWN,
    "digits": ({"queries"}, {"seed"}),
    "url": ({"url"}, {"sha256", "n", "d", "queries", "megabytes"}),
}
CODE = Path(__file__).parent
CHARTS = ("recall", "build", "break-even", "memory", "phases")  # of every dataset, besides its speeds
SUITE_FIGURES = ("roofline", "scaling")
DIGITS = 1797  # points of scikit-learn's digits, training and test together
DEFAULT_QUERIES = 10_000


class ConfigError(ValueError):
    """A configuration that cannot be run; the message says where, what is allowed and what to do."""


@dataclass(frozen=True)
class Cell:
    """One (dataset, backend, device, K) of a suite."""

    dataset: str
    backend: str
    device: str
    k: int

    def record(self, number):
        """Path of the record of round `number`, below results/cells."""
        return f"{self.dataset}/{self.backend}-{self.device}/k{self.k}.round{number}.json"


def complete(schema, value, root):
    """Add the schema's defaults to a configuration and read its numbers, in place.

    Below the top level, `--config timing='{rounds: 3}'` gives strings.
    """
    schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    if not isinstance(value, dict):
        return
    named = schema.get("properties", {})
    for key, part in named.items():
        if "default" in part:
            value.setdefault(key, type(part["default"])(part["default"]))
        if ("enum" in part or part.get("type") in ("integer", "number", "boolean")) and isinstance(value.get(key), str):
            value[key] = yaml.safe_load(value[key])
        if part.get("items", {}).get("type") == "integer" and isinstance(value.get(key), list):
            value[key] = [yaml.safe_load(each) if isinstance(each, str) else each for each in value[key]]
    for key, entry in value.items():
        complete(named.get(key) or schema.get("additionalProperties") or {}, entry, root)


def suggest(name, known):
    close = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def explain(error):
    """One sentence about a violation of the schema."""
    steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path]
    place = "".join(steps).removeprefix(".") or "top level"
    if error.validator == "additionalProperties":
        known = sorted(error.schema["properties"])
        unknown = sorted(set(error.instance) - set(known))
        return f"{place}: unknown key {unknown[0]!r}; {suggest(unknown[0], known)}allowed are {', '.join(known)}"
    if error.validator == "enum":
        allowed = ", ".join(map(str, error.validator_value))
        return f"{place}: {error.instance!r} is not one of {allowed}"
    description = error.schema.get("description", "")
    return f"{place}: {error.message}" + (f"; {description}" if description else "")


def resolve(config, schema):
    """Check a configuration against the schema and against itself.

    Parameters
    ----------
    config, schema : dict
        The configuration gets the schema's defaults, in place; `datasets.mirror` becomes `mirror`.

    Raises
    ------
    ConfigError
    """
    complete(schema, config, schema)
    validator = jsonschema.Draft202012Validator(schema)
    if error := jsonschema.exceptions.best_match(validator.iter_errors(config)):
        raise ConfigError(explain(error))
    mirror = config["mirror"] = config["datasets"].pop("mirror", "")
    if mirror and not mirror.startswith(("http://", "https://")) and not os.path.isdir(mirror):
        raise ConfigError(f"datasets.mirror: {mirror} is neither a folder nor an address that begins with http:// or https://")
    if config["timing"]["min_repeats"] > config["timing"]["max_repeats"]:
        raise ConfigError("timing: min_repeats is over max_repeats; raise max_repeats")
    for name, settings in config["datasets"].items():
        check_dataset(name, settings)
    for name, backend in config["backends"].items():
        require_file(f"backends.{name}.module", backend["module"], CODE / "backends", ".py")
        for device, env in backend["environments"].items():
            require_file(f"backends.{name}.environments.{device}", env, CODE.parents[1] / "envs", ".yaml")
    require_known("suite", [config["suite"]], config["suites"])
    for name in {"merged", "rerendered", "imported", "cells", "indexes", "ceilings"} & config["suites"].keys():
        raise ConfigError(f"suites.{name}: results/{name} has another meaning; give the suite another name")
    for name, suite in config["suites"].items():
        suite.setdefault("backends", [each for each, backend in config["backends"].items() if not backend["named"]])
        require_known(f"suites.{name}.datasets", suite["datasets"], config["datasets"])
        require_known(f"suites.{name}.backends", suite["backends"], config["backends"])
    for name, claim in config["claims"].items():
        check_claim(name, claim, config)
    suite = config["suites"][config["suite"]]
    largest = max(suite["n_neighbors"])
    for name in suite["datasets"]:
        n = count_points(name, config["datasets"][name])
        if n is not None and largest > n:
            raise ConfigError(
                f"suites.{config['suite']}.n_neighbors: K = {largest} exceeds the {n} points of dataset {name!r}; "
                "lower K or leave the dataset out"
            )


def check_claim(name, claim, config):
    """Check that a claim names datasets and backends that there are, and bounds in their order."""
    known = [f"{backend}-{device}" for backend, entry in config["backends"].items() for device in entry["environments"]]
    require_known(f"claims.{name}.datasets", claim["datasets"], config["datasets"])
    for side in ("slower", "faster"):
        require_known(f"claims.{name}.{side}.dataset", [claim[side].get("dataset", claim["datasets"][0])], config["datasets"])
        if all(pattern.startswith("!") for pattern in claim[side]["backends"]):
            raise ConfigError(f"claims.{name}.{side}.backends: only leaves out; begin with what is meant, such as '*'")
        for pattern in claim[side]["backends"]:
            if not fnmatch.filter(known, pattern.removeprefix("!")):
                hint = f"{suggest(pattern, known)}known are {', '.join(known)}, and patterns of these such as faiss-*-cpu"
                raise ConfigError(f"claims.{name}.{side}.backends: {pattern!r} names no backend and device; {hint}")
    if claim["ratio"][0] > claim["ratio"][1]:
        raise ConfigError(f"claims.{name}.ratio: {claim['ratio']}; the least ratio comes first, .inf is no upper bound")


def check_cluster(config):
    """Check that nothing which the nodes of a cluster decide is left to the machine that submits the jobs.

    Raises
    ------
    ConfigError
    """
    for place, value, unknown in (
        ("gpu", config["gpu"], "auto"),
        ("cuda", config["cuda"] if config["gpu"] else None, "auto"),
        ("timing.threads", config["timing"]["threads"], 0),
    ):
        if value == unknown:
            raise ConfigError(
                f"{place}: {unknown} would be decided by this machine, and jobs run on others; "
                "say what the nodes have, in profiles/slurm/site.yaml or another --configfile"
            )


def require_known(place, names, known):
    for name in names:
        if name not in known:
            raise ConfigError(f"{place}: unknown name {name!r}; {suggest(name, known)}known are {', '.join(known)}")


def require_file(place, name, folder, suffix):
    known = sorted(path.stem for path in folder.glob(f"*{suffix}"))
    if name not in known:
        hint = f"{suggest(name, known)}there are {', '.join(known)}"
        raise ConfigError(f"{place}: there is no {folder.name}/{name}{suffix}; {hint}")


def check_dataset(name, settings):
    """Check that a dataset has the keys that its source needs and no others, and fill in their defaults."""
    require_known(f"datasets.{name}.metric", [settings["metric"]], METRICS)
    if name in SUITE_FIGURES or name.endswith(tuple(f".{chart}" for chart in CHARTS)):
        raise ConfigError(f"datasets.{name}: a figure has this name; give the dataset another one")
    source = settings["source"]
    if source == "file":
        required, optional = ({"path"}, set()) if "path" in settings else ({"train", "test"}, set())
    else:
        required, optional = SOURCE_KEYS[source]
    given = set(settings) - {"metric", "source", "title", "license"}
    if missing := sorted(required - given):
        hint = " (or path: an HDF5 file)" if source == "file" else ""
        raise ConfigError(f"datasets.{name}: source {source!r} needs {', '.join(missing)}{hint}")
    if surplus := sorted(given - required - optional):
        allowed = ", ".join(sorted(required | optional))
        raise ConfigError(f"datasets.{name}: source {source!r} does not use {', '.join(surplus)}; it takes {allowed}")
    if "seed" in optional:
        settings.setdefault("queries", DEFAULT_QUERIES)
        settings.setdefault("seed", 0)
    if source == "digits" and settings["queries"] >= DIGITS:
        raise ConfigError(f"datasets.{name}.queries: {settings['queries']} leaves no points of {DIGITS}; lower it")
    settings.setdefault("title", name)


def own_files(settings):
    """The files that a dataset is made from, if they are the user's own."""
    return [settings[key] for key in ("path", "train", "test") if key in settings]


def count_points(name, settings):
    """Number of points of a dataset as far as it can be known before any job: None for a download.

    Raises
    ------
    ConfigError
        A file of one's own is missing or cannot be read.
    """
    source = settings["source"]
    if source == "url":
        return settings.get("n")
    if source == "digits":
        return DIGITS - settings["queries"]
    if source != "file":
        return settings["n"]
    for path in own_files(settings):
        try:
            regular = stat.S_ISREG(os.stat(path).st_mode)
        except PermissionError:  # a folder above it: who opens it says so
            regular = True
        except (OSError, ValueError):
            regular = False
        if not regular:
            raise ConfigError(f"datasets.{name}: {path} is not a file; paths start in the folder that Snakemake runs in")
    train, test = (read_header(name, settings, part) for part in ("train", "test"))
    if train[1] != test[1]:
        raise ConfigError(f"datasets.{name}: train has dimension {train[1]}, test has {test[1]}; they must agree")
    return train[0]


def read_header(name, settings, part):
    """Shape of the train or test points of one's own files, without reading them.

    Raises
    ------
    ConfigError
    """
    path = settings.get("path") or settings[part]
    try:
        points = open_array(path, part if "path" in settings else None)
        check_form(points.shape, points.dtype, f"{part} of {path}")
    except DataError as error:
        raise ConfigError(f"datasets.{name}: {error}") from error
    return points.shape


def cells(config):
    """List the cells of the chosen suite, by dataset, backend, device and K in the order of the configuration.

    Returns
    -------
    cells : list of Cell
    """
    suite = config["suites"][config["suite"]]
    return [
        Cell(dataset, backend, device, k)
        for dataset in suite["datasets"]
        for backend in suite["backends"]
        for device in config["backends"][backend]["environments"]
        for k in suite["n_neighbors"]
    ]


def downloads(config):
    """List the files to download; datasets that name the same address share one.

    A file is kept, and looked for in a mirror, by the name at the end of its address. Where several addresses end in one name,
    the first in the configuration has it, and the name of every other one gets eight digits of the SHA-256 of its address.

    Returns
    -------
    downloads : dict, file name -> (address, demanded SHA-256 or "")

    Raises
    ------
    ConfigError
        Two datasets want different files from one address.
    """
    files = {}
    for name, settings in config["datasets"].items():
        if "url" not in settings:
            continue
        url, digest = settings["url"], settings.get("sha256", "").lower()
        plain = Path(url).name
        file = plain if files.get(plain, (url,))[0] == url else second_name(url)
        _, known_digest = files.get(file, (url, ""))
        if digest and known_digest and digest != known_digest:
            raise ConfigError(f"datasets.{name}.sha256: {url} is also wanted with {known_digest}; make the entries agree")
        files[file] = (url, digest or known_digest)
    return files


def used(config):
    """The part of a configuration that the chosen suite uses; what is saved with its results."""
    suite = config["suites"][config["suite"]]
    return {
        **{key: config[key] for key in ("suite", "deployment", "gpu", "cuda", "resources_dir", "timing", "figures")},
        "datasets": {name: config["datasets"][name] for name in suite["datasets"]},
        "backends": {name: config["backends"][name] for name in suite["backends"]},
        "suites": {config["suite"]: suite},
    }
