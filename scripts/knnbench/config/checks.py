"""Check a configuration against the schema and against itself, and fill in defaults."""

import contextlib
import fnmatch
import os
import stat
from pathlib import Path

import jsonschema

from knnbench.config.metrics import check_own_metric
from knnbench.config.settings import builds_of, points_of
from knnbench.config.suite import CHARTS, SUITE_FIGURES, THREADS, own_files
from knnbench.config.values import ConfigError, as_path, complete, require_file, require_known, suggest
from knnbench.problem.datasets import TRUTH_K
from knnbench.problem.download import file_name
from knnbench.problem.metrics import METRICS
from knnbench.problem.own_metrics import ignores_origin, metric_of, takes_zero
from knnbench.problem.points import DataError, Stream, check_form
from knnbench.problem.readers import READERS, named_format, open_rows
from knnbench.problem.sources import places

# Keys of a dataset besides metric, source, title and license: those it must have and those it may have.
DRAWN = ({"n", "d"}, {"queries", "seed", "offset", "self", "centre"})
OF_FILES = {"format", "train", "test", "rows", "split", "seed", "zero_rows", "self", "centre"}
SOURCE_KEYS = {
    "normal": DRAWN,
    "uniform": DRAWN,
    **dict.fromkeys(("sphere", "ball", "simplex", "earth"), DRAWN),
    "digits": (set(), {"queries", "seed", "self"}),
    "url": ({"url"}, {"sha256", "n", "d", "queries", "megabytes"} | OF_FILES),
}
DEVICES = ("cpu", "gpu")
REPLACES = "; an entry takes the place of the whole one of that name: write all of it, or choose another name"
LIBRARY = Path(__file__).parents[1]
DIGITS = 1797  # points of scikit-learn's digits, training and test together
DEFAULT_QUERIES = 10_000


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


def resolve(config, schema, replaced=(), variables=os.environ):
    """Check a configuration against the schema and against itself.

    Parameters
    ----------
    config, schema : dict
        The configuration gets the schema's defaults and types, in place; `datasets.mirror` becomes `mirror`, and
        `datasets.truth_k` `truth_k`.
    replaced : collection of (section, name), as `entries` returns them
    variables : mapping, name -> value, for paths that begin with ~ or name variables

    Raises
    ------
    ConfigError
    """
    config |= complete(schema, config, schema, variables)
    validator = jsonschema.Draft202012Validator(schema)
    if error := jsonschema.exceptions.best_match(validator.iter_errors(config)):
        hint = REPLACES if error.validator == "required" and tuple(error.absolute_path)[:2] in replaced else ""
        raise ConfigError(explain(error) + hint)
    usual = schema["properties"]["resources_dir"]["default"]
    if os.path.realpath(config["resources_dir"]) == os.path.realpath(usual):  # which may be a link
        config["resources_dir"] = usual
    config["truth_k"] = config["datasets"].pop("truth_k", TRUTH_K)
    mirror = config["mirror"] = config["datasets"].pop("mirror", "")
    if mirror and not mirror.startswith(("http://", "https://")) and not os.path.isdir(mirror):
        raise ConfigError(f"datasets.mirror: {mirror} is neither a folder nor an address that begins with http:// or https://")
    if config["timing"]["min_repeats"] > config["timing"]["max_repeats"]:
        raise ConfigError("timing: min_repeats is over max_repeats; raise max_repeats")
    for name, settings in config["datasets"].items():
        settings |= {key: as_path(path, f"datasets.{name}.{key}", variables) for key, path in own_files(settings).items()}
    for name, entry in config["metrics"].items():
        check_own_metric(name, entry, dimensions_of(name, config["datasets"]))
    for name, settings in config["datasets"].items():
        require_known(f"datasets.{name}.metric", [settings["metric"]], [*METRICS, *config["metrics"]])
        if entry := config["metrics"].get(settings["metric"]):
            settings["metric_entry"] = entry
        check_dataset(name, settings, REPLACES if ("datasets", name) in replaced else "")
    check_backends(config)
    check_suites(config)
    for name, claim in config["claims"].items():
        check_claim(name, claim, config, replaced)
    suite, timing = config["suites"][config["suite"]], config["timing"]
    timing.setdefault("rounds", suite.get("rounds", 1))
    largest = max(suite["n_neighbors"])
    if largest > config["truth_k"]:
        raise ConfigError(
            f"suites.{config['suite']}.n_neighbors: K = {largest} exceeds datasets.truth_k = {config['truth_k']}, as many"
            f" exact neighbours as are kept; lower K, or set datasets: {{truth_k: {largest}}}, which makes the datasets anew"
        )
    for name in suite["datasets"]:
        n = count_points(name, config["datasets"][name])
        if n is not None and largest > n:
            raise ConfigError(
                f"suites.{config['suite']}.n_neighbors: K = {largest} exceeds the {n} points of dataset {name!r}; "
                "lower K or leave the dataset out"
            )


def check_backends(config):
    """Check the entries of backends; those with settings become their builds, in place."""
    found, taken = {}, set(config["backends"])
    for name, backend in config["backends"].items():
        if not backend.get("label", "").strip():
            backend["label"] = name
        require_file(f"backends.{name}.module", backend["module"], LIBRARY / "backends", ".py")
        for device, env in backend["environments"].items():
            require_file(f"backends.{name}.environments.{device}", env, LIBRARY.parents[1] / "envs", ".yaml")
        known = backend.get("build", {}).keys() | backend.get("search", {}).keys()
        require_known(f"backends.{name}.tune", backend.get("tune", {}), sorted(known))
        builds = builds_of(name, backend)
        names = builds.keys() | points_of(builds).keys()
        if twice := names & taken - {name}:
            raise ConfigError(
                f"backends.{name}: one of its settings is called {min(twice)!r}, as another entry or one of its settings; "
                "rename one of them"
            )
        found |= builds
        taken |= names
    config["backends"] = found


def check_suites(config):
    """Check the suites, and fill in whose builds they measure."""
    backends, suite = config["backends"], config["suite"]
    require_known("suite", [suite], config["suites"])
    for name in {"merged", "rerendered", "imported", "cells", "indexes", "ceilings"} & config["suites"].keys():
        raise ConfigError(f"suites.{name}: results/{name} has another meaning; give the suite another name")
    config["suites"][suite] |= config["only"]
    families = {}
    for build, backend in backends.items():
        families.setdefault(backend["family"], []).append(build)
    controls = [build for build, backend in backends.items() if backend["control"]]
    for name, each in config["suites"].items():
        each.setdefault("backends", [family for family, builds in families.items() if not backends[builds[0]]["named"]])
        require_known(f"suites.{name}.datasets", each["datasets"], config["datasets"])
        require_known(f"suites.{name}.backends", each["backends"], families | backends)
        builds = dict.fromkeys(build for family in each["backends"] for build in families.get(family, [family]))
        if not (named := [build for build in builds if build not in controls]):
            raise ConfigError(f"suites.{name}.backends: only controls, which bound others; name what they shall bound")
        each["backends"] = named + controls * each["controls"]


def check_claim(name, claim, config, replaced):
    """Check that a claim names datasets and backends that there are, and bounds in their order."""
    known = [
        f"{backend}-{device}"
        for backend, entry in points_of(config["backends"]).items()
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


def check_dataset(name, settings, hint=""):
    """Check that a dataset has the keys that its source needs and no others, and fill in their defaults.

    `hint` is said if it lacks some.
    """
    if name in (*SUITE_FIGURES, THREADS) or name.endswith(tuple(f".{chart}" for chart in CHARTS)):
        raise ConfigError(f"datasets.{name}: a figure has this name; give the dataset another one")
    source = settings["source"]
    own = settings.get("self", False)
    if source == "file":
        apart = {"train"} if own or "split" in settings else {"train", "test"}
        required, optional = ({"path"}, OF_FILES) if "path" in settings else (apart, OF_FILES | {"array"})
        optional = optional | {"queries"} if own else optional
    else:
        required, optional = SOURCE_KEYS[source]
    given = set(settings) - {"metric", "metric_entry", "source", "title", "license"}
    if missing := sorted(required - given):
        path = (
            " (or path: a file that has both; or split: how many rows of train are queries; or self: true)"
            if source == "file"
            else ""
        )
        raise ConfigError(f"datasets.{name}: source {source!r} needs {', '.join(missing)}{path}{hint}")
    if surplus := sorted(given - required - optional):
        allowed = ", ".join(sorted(required | optional))
        raise ConfigError(f"datasets.{name}: source {source!r} does not use {', '.join(surplus)}; it takes {allowed}")
    if source == "url" and "format" not in settings and not named_format(file_name(settings["url"])):
        raise ConfigError(
            f"datasets.{name}.url: {settings['url']} does not end in the name of a format that is known, and nothing was"
            f" downloaded; say format: one of {', '.join(READERS)}"
        )
    if source in ("file", "url") and "seed" in given and given.isdisjoint({"rows", "split", "self"}):
        raise ConfigError(f"datasets.{name}.seed: all rows are taken, and none are drawn; leave it out, or say rows or split")
    if {"test", "split"} <= given:
        raise ConfigError(f"datasets.{name}: queries come from test, or by split from train; leave one of them out")
    if own and (surplus := sorted({"test", "split"} & given)):
        raise ConfigError(f"datasets.{name}: with self: true points are their own queries; leave {', '.join(surplus)} out")
    if settings.get("centre") and not ignores_origin(metric_of(settings["metric"], settings.get("metric_entry"))):
        raise ConfigError(
            f"datasets.{name}.centre: where the origin is matters to the {settings['metric']} metric; leave it out"
        )
    if "zero_rows" in settings and takes_zero(metric_of(settings["metric"], settings.get("metric_entry"))):
        raise ConfigError(
            f"datasets.{name}.zero_rows: to the {settings['metric']} metric zeros are a point like any other; leave it out"
        )
    check_dimension(name, settings, settings.get("d"))
    if source == "earth" and settings.get("d") != 2:
        raise ConfigError(f"datasets.{name}.d: {settings.get('d')}; earth has latitude and longitude, d: 2")
    if source not in ("file", "url"):
        settings.setdefault("seed", 0)
        if source == "digits" and not own and "queries" not in settings:
            raise ConfigError(f"datasets.{name}: source 'digits' needs queries: so many of its {DIGITS} points; or self: true")
        if not own:
            settings.setdefault("queries", DEFAULT_QUERIES)
    if source == "digits" and settings.get("queries", 0) >= DIGITS:
        raise ConfigError(f"datasets.{name}.queries: {settings['queries']} leaves no points of {DIGITS}; lower it")
    if not settings.get("title", "").strip():
        settings["title"] = name


def check_dimension(name, settings, d):
    """Check that a metric takes points of dimension `d`, if that is known."""
    wanted = metric_of(settings["metric"], settings.get("metric_entry")).dimension
    if None not in (wanted, d) and wanted != d:
        raise ConfigError(
            f"datasets.{name}: its points have dimension {d}, and the {settings['metric']} metric is for {wanted} coordinates"
        )


def dimensions_of(metric, datasets):
    """Dimensions of the datasets that a metric is for, as far as they are known; what is wrong with these is said later."""
    for name, settings in datasets.items():
        if settings["metric"] == metric:
            with contextlib.suppress(ConfigError, KeyError):
                yield settings["d"] if "d" in settings else read_header(name, settings, "train")[1]


def count_points(name, settings):
    """Number of points of a dataset as far as it can be known before any job: None for a download.

    Raises
    ------
    ConfigError
        A file of one's own is missing or cannot be read.
    """
    source = settings["source"]
    if source == "url":
        return settings["n"] - settings.get("split", 0) if "n" in settings else None
    if source == "digits":
        return DIGITS - (0 if settings.get("self") else settings["queries"])
    if source != "file":
        return settings["n"]
    n, d = read_header(name, settings, "train")
    check_dimension(name, settings, d)
    if {"split", "self"}.isdisjoint(settings) and (other := read_header(name, settings, "test")[1]) != d:
        raise ConfigError(f"datasets.{name}: train has dimension {d}, test has {other}; they must agree")
    rows, split = settings.get("rows", n), settings.get("split", 0)
    if n is not None and (rows > n or split >= rows):
        raise ConfigError(f"datasets.{name}: train has {n:,} rows; rows: {rows:,} and split: {split:,} want more; lower them")
    return None if n is None else rows - split


def read_header(name, settings, part):
    """Rows and dimension of the train or test points of one's own files, without reading them; of text, rows are not known."""
    for path in own_files(settings).values():
        try:
            regular = stat.S_ISREG(os.stat(path).st_mode)
        except (OSError, ValueError) as error:
            regular = isinstance(error, PermissionError)  # of a folder above it: who opens it says so
        if not regular:
            raise ConfigError(f"datasets.{name}: {path} is not a file; paths start in the folder that Snakemake runs in")
    try:
        path, array = places(settings)[part]
        points = open_rows(path, array, settings.get("format"))
        if isinstance(points, Stream) and callable(points.n):
            return None, points.d
        check_form(points.shape, points.dtype, f"{part} of {path}")
    except DataError as error:
        raise ConfigError(f"datasets.{name}: {error}") from error
    return points.shape
