"""What a checked configuration asks for: the cells of its suite, its downloads, and what a run leaves."""

import fnmatch
import itertools
from dataclasses import dataclass

from knnbench.config.names import tell_apart
from knnbench.config.settings import points_of
from knnbench.config.values import ConfigError, require_known
from knnbench.config.variants import builds_of_suite, devices_of
from knnbench.problem.download import file_name, second_name

CHARTS = ("recall", "build", "break-even", "batches", "memory", "phases")  # of every dataset, besides its speeds
SUITE_FIGURES = ("roofline", "scaling")
# What a run leaves in its folder: tables, and what is made from them.
TABLES = ("config.yaml", "timings.csv", "samples.csv", "batches.csv", "comparisons.csv", "controls.csv", "datasets.csv")
TABLES += ("callers.csv", "provenance.json")
LATER = ("controls.csv", "datasets.csv", "callers.csv")  # which results of earlier versions do not have
FINDINGS = ("summary.txt", "claims.csv", "curves.csv", "scaling.csv", "crossings.csv", "tables")
THREADS = "threads"  # a figure and a table of suites with several numbers of threads, or of callers
AUTO = "auto"  # timing.rounds: rounds where they are needed


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


def rounds_of(timing):
    """The rounds that every cell has, a range: of `rounds: auto` two, and more as results.undecided finds them."""
    return range(2 if timing["rounds"] == AUTO else timing["rounds"])


def rounds_at_most(timing):
    """All rounds that a cell may have, a range."""
    return range(timing["max_rounds"] if timing["rounds"] == AUTO else timing["rounds"])


def own_files(settings):
    """The files that a dataset is made from, if they are the user's own: dict, key of the entry -> path."""
    keys = ("path",) if "path" in settings else ("train", "test")
    return {key: settings[key] for key in keys if key in settings} if settings["source"] == "file" else {}


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
        for backend in builds_of_suite(suite)
        for device in devices_of(suite, config["backends"][backend])
        for k in suite["n_neighbors"]
    ]


def tuned_cell(config, has_gpu):
    """The cell that `snakemake tune` is asked about; its backend is the first build of the one that is named.

    Parameters
    ----------
    config : dict, resolved
    has_gpu : bool

    Returns
    -------
    Cell

    Raises
    ------
    ConfigError
        Something is not said, or cannot be tuned.
    """
    asked = {key: config.get(key) for key in ("dataset", "backend", "recall", "n_neighbors", "hours")}
    if missing := [key for key, value in asked.items() if value is None]:
        example = "dataset=sphere-25 backend=hnswlib recall=0.95 n_neighbors=10 hours=0.5"
        raise ConfigError(f"tune: say also {', '.join(missing)}; such as --config {example}")
    builds = {}
    for build, entry in config["backends"].items():
        if entry["entry"].keys() & {"build", "search"}:
            builds.setdefault(entry["family"], build)
    require_known("dataset", [asked["dataset"]], config["datasets"])
    name, k = asked["backend"], asked["n_neighbors"]
    if name not in builds and name in {entry["family"] for entry in config["backends"].values()}:
        raise ConfigError(f"backend: {name} has no build and no search to tune; those that have are {', '.join(builds)}")
    require_known("backend", [name], builds)
    if k != int(k) or k > config["truth_k"]:
        raise ConfigError(f"n_neighbors: {k}; a whole number is needed, of {config['truth_k']} at most (datasets.truth_k)")
    build = builds[name]
    devices = [device for device in config["backends"][build]["environments"] if device == "cpu" or has_gpu]
    device = config.get("device", "any")
    if device not in ("any", *devices):
        raise ConfigError(f"device: {device}; {name} runs here on {', '.join(devices) or 'nothing'}")
    if not devices:
        raise ConfigError(f"backend: {name} needs a GPU, and there is none here")
    return Cell(asked["dataset"], build, devices[0] if device == "any" else device, int(k))


def has_threads(config):
    """Whether the suite varies the number of threads, or of callers."""
    return bool({"threads", "callers"} & config["suites"][config["suite"]].keys())


def findings(config):
    """What is made of the tables of the suite besides its figures and its page: names in its folder."""
    return FINDINGS + (f"{THREADS}.csv",) * has_threads(config)


def figures(config):
    """List the files of a suite's figures, by dataset and chart, then those of all datasets, in every format."""
    datasets = config["suites"][config["suite"]]["datasets"]
    names = [
        *(f"{dataset}{chart}" for dataset in datasets for chart in ("", *(f".{chart}" for chart in CHARTS))),
        *SUITE_FIGURES,
        *[THREADS] * has_threads(config),
    ]
    return [f"{name}.{suffix}" for name in names for suffix in config["figures"]["formats"]]


def downloads(config):
    """List the files to download; datasets that name the same address share one.

    A file is kept, and looked for in a mirror, by the name that its address has for it (`file_name`). Where several addresses
    have one name, the first in the configuration has it, and that of every other one eight digits of its address's SHA-256.

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
        plain = file_name(url)
        file = plain if files.get(plain, (url,))[0] == url else second_name(url)
        _, known_digest = files.get(file, (url, ""))
        if digest and known_digest and digest != known_digest:
            raise ConfigError(f"datasets.{name}.sha256: {url} is also wanted with {known_digest}; make the entries agree")
        files[file] = (url, digest or known_digest)
    return files


def claimed(config):
    """The datasets and backends that claims name and the chosen suite does not use.

    Returns
    -------
    entries : dict of dict, section of the configuration -> name -> entry
    """
    suite, claims = config["suites"][config["suite"]], config["claims"].values()
    sides = [claim[side] for claim in claims for side in ("slower", "faster")]
    datasets = {name for claim in claims for name in claim["datasets"]} | {side.get("dataset") for side in sides}
    patterns = {pattern.removeprefix("!") for side in sides for pattern in side["backends"]}
    backends = {
        build
        for name, point in points_of(config["backends"]).items()
        for build, pattern in itertools.product([point["build"]], patterns)
        if "variant_of" not in point
        if fnmatch.filter([f"{name}-{device}" for device in point["environments"]], pattern)
    }
    return {
        "datasets": {
            name: config["datasets"][name] for name in sorted(datasets & config["datasets"].keys() - {*suite["datasets"]})
        },
        "backends": {name: config["backends"][name] for name in sorted(backends - {*suite["backends"]})},
    }


def used(config):
    """The part of a configuration that the chosen suite uses; what is saved with its results.

    Those of its datasets that have one title, and of its backends that have one label, are told apart.
    """
    suite = config["suites"][config["suite"]]
    datasets = {name: config["datasets"][name] for name in suite["datasets"]}
    names = dict.fromkeys([*suite["backends"], *builds_of_suite(suite)])
    backends = {name: config["backends"][name] for name in names}
    titles = tell_apart((name, entry["title"]) for name, entry in datasets.items())
    labels = tell_apart((entry["family"], entry["label"]) for entry in backends.values())
    datasets = {name: entry | {"title": titles[name, entry["title"]]} for name, entry in datasets.items()}
    backends = {name: entry | {"label": labels[entry["family"], entry["label"]]} for name, entry in backends.items()}
    return {
        **{key: config[key] for key in ("suite", "deployment", "gpu", "cuda", "resources_dir", "timing", "figures")},
        "truth_k": config["truth_k"],
        "datasets": datasets,
        "backends": backends,
        "suites": {config["suite"]: suite},
    }
