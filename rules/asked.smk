"""What the command line asks for by name: other results, a problem to recommend for, a backend to tune."""

from knnbench.config.settings import entries_of
from knnbench.config.suite import tuned_cell
from knnbench.results.recommend import ASKED


def baseline(wildcards):
    """What is compared with."""
    if not config["baseline"]:
        raise WorkflowError("Say what to compare with: --config baseline=published/cpu-2core")
    return config["baseline"]


def candidate(wildcards):
    """The tables of the suite, which are brought up to date; nothing if another folder is compared."""
    return [] if config["candidate"] else [f"results/{SUITE}/{name}" for name in TABLES]


def sources(wildcards):
    """The folders to merge."""
    if not config["sources"]:
        raise WorkflowError("Say what to merge: --config sources='[results/quick, DIR]'")
    return config["sources"]


def foreign(wildcards):
    """The folder of others' results."""
    if not config["foreign"]:
        raise WorkflowError(
            "Say what to import: --config foreign=DIR, ann-benchmarks' folder results or cuvs-bench's folder of datasets"
        )
    return config["foreign"]


def their_names():
    """What others call our datasets: by the file that they are downloaded from.

    Of several for one file, that is the first, with the metric that it is made for; the others keep our name.
    """
    names = {}
    for name, settings in config["datasets"].items():
        theirs = Path(settings["url"]).stem if "url" in settings else name
        taken = {*names.values(), *config["datasets"]}
        names[name] = name if theirs in taken else theirs
    return names


def unpublished(wildcards):
    """Nothing; an error if there are results of that name, which another machine's must not replace."""
    if Path(f"published/{wildcards.name}").exists():
        raise WorkflowError(
            f"published/{wildcards.name} is there; take another name, or move it away"
        )
    return []


def asked_name(wildcards):
    """The name of a backend to lay out."""
    if not config["name"]:
        raise WorkflowError(
            "Say what to lay out: --config name=my-index package=my_index, as the library is called on PyPI"
        )
    return config["name"]


def problem(wildcards):
    """What `snakemake recommend` is asked."""
    asked = {key: config.get(key) for key in ASKED}
    if missing := [key for key, value in asked.items() if value is None]:
        raise WorkflowError(
            f"recommend: say also {', '.join(missing)}; such as --config n_train=1e6 dimension=96"
            " metric=angular n_neighbors=10 recall=0.9 n_queries=1e5 device=cpu"
        )
    return json.dumps(asked)


def tuned():
    """The cell that is tuned: of the first build of the backend that is asked for."""
    with told():
        return tuned_cell(config, GPU)


def tuned_words(wildcards):
    """How a cell of it is measured, in words for the shell: an interpreter, which may be a variable, first."""
    cell = tuned()
    spec = SPECS / f"{cell_environment(cell)}.yaml"
    words = [cell_code(cell)[0], "--device", cell.device, "--spec", spec, *index_flags(cell)]
    return f"{python(cell_environment(cell))} {shlex.join(map(str, words))}"


def tuned_of(wildcards):
    """What its numbers depend on besides the dataset and the settings that are tried, as a text."""
    cell = tuned()
    made_of = content(*cell_code(cell), SPECS / f"{cell_environment(cell)}.yaml")
    parameters = config["backends"][cell.backend]["entry"]["parameters"]
    flags = index_flags(cell, parameters=parameters)
    return json.dumps([made_of, flags, query_flags(config["timing"])])
