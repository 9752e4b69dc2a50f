"""The configuration: check it, fill in defaults, and list the cells of a suite."""

import contextlib
import copy
import datetime
import difflib
import fnmatch
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import yaml

from knnbench.datasets import DataError, check_form, open_array
from knnbench.download import second_name
from knnbench.metrics import METRICS
from knnbench.words import tell_apart

# Keys of a dataset besides metric, source, title and license: those it must have and those it may have.
DRAWN = ({"n", "d"}, {"queries", "seed", "offset"})
SOURCE_KEYS = {
    "normal": DRAWN,
    "uniform": DRAWN,
    "sphere": DRAWN,
    "digits": ({"queries"}, {"seed"}),
    "url": ({"url"}, {"sha256", "n", "d", "queries", "megabytes"}),
}
ENTRIES = {"datasets", "backends", "suites", "claims"}  # sections of named entries; in the others are settings
DEVICES = ("cpu", "gpu")
REPLACES = "; an entry takes the place of the whole one of that name: write all of it, or choose another name"
CODE = Path(__file__).parent
CHARTS = ("recall", "build", "break-even", "memory", "phases")  # of every dataset, besides its speeds
SUITE_FIGURES = ("roofline", "scaling")
# What a run leaves in its folder: tables, and what is made from them.
TABLES = ("config.yaml", "timings.csv", "samples.csv", "batches.csv", "comparisons.csv", "provenance.json")
FINDINGS = ("summary.txt", "claims.csv", "scaling.csv", "crossings.csv", "tables")
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


def named(mapping, place):
    """A mapping of a configuration by names that are text: a whole number is the name in digits.

    Raises
    ------
    ConfigError
        YAML read a name as something else.
    """
    names = {}
    for name, value in mapping.items():
        text = as_text(name, f"{place}, a name")
        if text in names:
            raise ConfigError(f"{place}: {text} is there twice, as a number and as text; rename one of them")
        names[text] = value
    return names


def as_text(value, place):
    """What a configuration says where text is wanted: of a whole number, its digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise ConfigError(f"{place}: {value!r} is no text, as YAML reads it; put what you wrote in quotes")


def as_number(value, place, whole, endless):
    """What a configuration says where a number is wanted; the schema refuses what is none."""
    if isinstance(value, str):
        for read in (int, float):
            with contextlib.suppress(ValueError):
                value = read(value)
                break
    if isinstance(value, float) and (math.isnan(value) or (math.isinf(value) and not endless)):
        kind = "integer" if whole else "number"
        raise ConfigError(f"{place}: {value} is not of type {kind!r}; write a finite one")
    return int(value) if whole and isinstance(value, float) and value.is_integer() else value


def as_read(text):
    """What YAML makes of a text: true, 12, or the text itself."""
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text


def complete(schema, value, root, place=""):
    """What a configuration says, with the schema's defaults, and with the types that the schema wants where that is plain.

    Names and words may be whole numbers. Below the top level, `--config timing='{rounds: 3}'` gives strings, and other programs
    write 500.0.

    Parameters
    ----------
    schema : dict, of the value
    value : anything that YAML can say
    root : dict, the whole schema
    place : str, of the value, for errors

    Returns
    -------
    value : a new one; what the schema does not want is left for it to refuse

    Raises
    ------
    ConfigError
    """
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rsplit("/", 1)[1]]
    kind, at = schema.get("type"), place or "top level"
    if isinstance(value, dict):
        value, parts = named(value, at), schema.get("properties", {})
        if kind == "object":
            value |= {
                key: copy.deepcopy(part["default"]) for key, part in parts.items() if "default" in part and key not in value
            }
        others = schema.get("additionalProperties") or {}
        return {key: complete(parts.get(key, others), each, root, f"{place}.{key}".strip(".")) for key, each in value.items()}
    if isinstance(value, list):
        return [complete(schema.get("items", {}), each, root, f"{place}[{number}]") for number, each in enumerate(value)]
    if kind == "string":
        return as_text(value, at)
    if kind in ("integer", "number"):
        return as_number(value, at, kind == "integer", schema.get("maximum") == math.inf)
    if kind == "boolean" or "enum" in schema:
        value = as_read(value) if isinstance(value, str) else value
        return int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(value, datetime.date):  # in parameters of a backend, which are JSON
        return as_text(value, at)
    return value


def entries(layers):
    """Lay the entries of configurations over each other: each is, whole, that of the last one which names it.

    Parameters
    ----------
    layers : list of dict, what config.yaml says, the user's files in their order, and the command line

    Returns
    -------
    entries : dict, section -> name -> entry
    replaced : set of (section, name), entries that took the place of another one

    Raises
    ------
    ConfigError
    """
    found, replaced = {}, set()
    for layer in layers:
        for section in ENTRIES & layer.keys():
            below, above = found.get(section), layer[section]
            if isinstance(above, dict):
                below, above = below if isinstance(below, dict) else {}, named(above, section)
                replaced |= {(section, name) for name in above.keys() & below.keys()}
                # One by one, since aliases of YAML would be one entry under two names.
                above = below | {name: copy.deepcopy(entry) for name, entry in above.items()}
            found[section] = above
    return found, replaced


def command_line(words, schema):
    """What the command line says of entries and of texts, as it is written, a layer for each.

    Snakemake reads numbers at the top level, 1e3 as 1000.0 in a name, and none below it.

    Parameters
    ----------
    words : list of str, such as "suite=1e3" or "datasets={mine: {...}}"
    schema : dict
    """
    kept = ENTRIES | {key for key, part in schema["properties"].items() if part.get("type") == "string"}
    pairs = [word.split("=", 1) for word in words]
    said = [(key, text.strip("'\"")) for key, text in pairs if key in kept]  # as Snakemake does
    return [{key: as_read(text) if key in ENTRIES else text} for key, text in said]


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


def resolve(config, schema, replaced=()):
    """Check a configuration against the schema and against itself.

    Parameters
    ----------
    config, schema : dict
        The configuration gets the schema's defaults and types, in place; `datasets.mirror` becomes `mirror`.
    replaced : collection of (section, name), as `entries` returns them

    Raises
    ------
    ConfigError
    """
    config |= complete(schema, config, schema)
    validator = jsonschema.Draft202012Validator(schema)
    if error := jsonschema.exceptions.best_match(validator.iter_errors(config)):
        hint = REPLACES if error.validator == "required" and tuple(error.absolute_path)[:2] in replaced else ""
        raise ConfigError(explain(error) + hint)
    mirror = config["mirror"] = config["datasets"].pop("mirror", "")
    if mirror and not mirror.startswith(("http://", "https://")) and not os.path.isdir(mirror):
        raise ConfigError(f"datasets.mirror: {mirror} is neither a folder nor an address that begins with http:// or https://")
    if config["timing"]["min_repeats"] > config["timing"]["max_repeats"]:
        raise ConfigError("timing: min_repeats is over max_repeats; raise max_repeats")
    for name, settings in config["datasets"].items():
        check_dataset(name, settings, REPLACES if ("datasets", name) in replaced else "")
    for name, backend in config["backends"].items():
        if not backend.get("label", "").strip():
            backend["label"] = name
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
        check_claim(name, claim, config, replaced)
    suite = config["suites"][config["suite"]]
    largest = max(suite["n_neighbors"])
    for name in suite["datasets"]:
        n = count_points(name, config["datasets"][name])
        if n is not None and largest > n:
            raise ConfigError(
                f"suites.{config['suite']}.n_neighbors: K = {largest} exceeds the {n} points of dataset {name!r}; "
                "lower K or leave the dataset out"
            )


def check_claim(name, claim, config, replaced):
    """Check that a claim names datasets and backends that there are, and bounds in their order."""
    known = [
        f"{backend}-{device}"
        for backend, entry in config["backends"].items()
        # The claims of config.yaml are about the entry that was replaced, which may have had another device.
        for device in (DEVICES if ("backends", backend) in replaced else entry["environments"])
    ]
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


def check_machine(timing, facts, cpus):
    """Check that a cell does not ask for more than the machine has.

    Parameters
    ----------
    timing : dict, of the configuration
    facts : dict, from machine.describe
    cpus : int, CPUs that this process may run on

    Raises
    ------
    ConfigError
    """
    if timing["threads"] > cpus:
        raise ConfigError(
            f"timing.threads: {timing['threads']} threads, and there are {cpus} CPUs; lower it, or 0 for all of them"
        )
    if timing["memory_gb"] * 1e9 > facts["memory_bytes"]:
        raise ConfigError(
            f"timing.memory_gb: {timing['memory_gb']:g}, and there are {facts['memory_bytes'] / 1e9:.1f} GB; "
            "lower it, or 0 for nine tenths of what is available"
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


def check_dataset(name, settings, hint=""):
    """Check that a dataset has the keys that its source needs and no others, and fill in their defaults.

    `hint` is said if it lacks some.
    """
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
        path = " (or path: an HDF5 file)" if source == "file" else ""
        raise ConfigError(f"datasets.{name}: source {source!r} needs {', '.join(missing)}{path}{hint}")
    if surplus := sorted(given - required - optional):
        allowed = ", ".join(sorted(required | optional))
        raise ConfigError(f"datasets.{name}: source {source!r} does not use {', '.join(surplus)}; it takes {allowed}")
    if "seed" in optional:
        settings.setdefault("queries", DEFAULT_QUERIES)
        settings.setdefault("seed", 0)
    if source == "digits" and settings["queries"] >= DIGITS:
        raise ConfigError(f"datasets.{name}.queries: {settings['queries']} leaves no points of {DIGITS}; lower it")
    if not settings.get("title", "").strip():
        settings["title"] = name


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
    """The part of a configuration that the chosen suite uses; what is saved with its results.

    Those of its datasets that have one title, and of its backends that have one label, are told apart.
    """
    suite = config["suites"][config["suite"]]
    datasets = {name: config["datasets"][name] for name in suite["datasets"]}
    backends = {name: config["backends"][name] for name in suite["backends"]}
    for section, key in ((datasets, "title"), (backends, "label")):
        for (name, _), words in tell_apart((name, entry[key]) for name, entry in section.items()).items():
            section[name] = section[name] | {key: words}
    return {
        **{key: config[key] for key in ("suite", "deployment", "gpu", "cuda", "resources_dir", "timing", "figures")},
        "datasets": datasets,
        "backends": backends,
        "suites": {config["suite"]: suite},
    }
