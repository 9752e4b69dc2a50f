"""What the other rules share: the checked configuration, the cells of the suite, and input functions."""

import contextlib
import csv
import fcntl
import hashlib
import json
import os
import re
import shlex
import sys
import time
import uuid
from pathlib import Path

# Relative, so that moving the folder changes no input; from any --directory.
ROOT = Path(os.path.relpath(workflow.basedir))
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(Path(workflow.basedir, "scripts")))

from knnbench.system.inherited import inherited

# Before anything is imported that reads variables, such as OMP_PROC_BIND, which binds this process and all of its jobs.
for name in os.environ.keys() - inherited(os.environ).keys():
    del os.environ[name]
os.environ.update(inherited(os.environ))

import h5py
import yaml
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError

if set("{}") & set(str(workflow.basedir)):
    raise WorkflowError(
        f"{workflow.basedir}: Snakemake takes braces in the path of a Snakefile for wildcards; rename the folder"
    )

from knnbench.system import gpu, machine
from knnbench.config.suite import (
    CHARTS,
    FINDINGS,
    SUITE_FIGURES,
    TABLES,
    cells,
    downloads,
    own_files,
    used,
)
from knnbench.config.values import ConfigError, command_line, entries
from knnbench.config.checks import check_cluster, check_machine, resolve
from knnbench.problem.download import address, is_there
from knnbench.system.environment import is_optional, read_pins
from knnbench.workflow.closure import closure
from knnbench.workflow.files import check_made_by_us, check_not_outputs, content, digests, written
from knnbench.workflow.progress import Progress, expected_jobs
from knnbench.workflow.terminal import Terminal
from knnbench.results.recommend import ASKED

schema = yaml.safe_load(
    Path(workflow.basedir, "rules/schemas/config.schema.yaml").read_text(encoding="utf-8")
)
# Snakemake lays configurations over each other key by key, and an entry is one thing.
given = workflow.config_settings
shipped = [] if given.replace_workflow_config else workflow.configfiles[len(given.configfiles) :]
said = command_line(given.config_args, schema)
for each in said:
    config |= each
files = [load_configfile(path) for path in (*shipped, *given.configfiles)]
try:
    whole, replaced = entries([*files, *said])
    config |= whole
    resolve(config, schema, replaced)
    DOWNLOADS = downloads(config)
    FILE_OF = {url: file for file, (url, _) in DOWNLOADS.items()}
    CLUSTER = workflow.remote_exec or config["cluster"]["queue"]
    if CLUSTER:
        check_cluster(config)
    else:
        check_machine(config["timing"], machine.describe("cpu"), len(os.sched_getaffinity(0)))
except ConfigError as error:
    raise WorkflowError(f"Configuration: {error}")

SUITE = config["suite"]
RESOURCES = config["resources_dir"]
# Others keep it: what is there is taken as it is, and nothing is made.
KEPT_BY_OTHERS = Path(RESOURCES).exists() and not os.access(RESOURCES, os.W_OK)
if workflow.is_main_process:
    GPU = gpu.count() > 0 if config["gpu"] == "auto" else config["gpu"]
    CUDA = gpu.cuda() if config["cuda"] == "auto" else config["cuda"]
else:  # a job on another machine: what was decided where the workflow was started
    GPU, CUDA = (int(os.environ[name]) for name in ("KNNBENCH_GPU", "KNNBENCH_CUDA"))
config |= {"gpu": bool(GPU), "cuda": CUDA}
# Cells of a GPU that is not there need no job: gather_timings.py says why they are not measured.
CELLS = [cell for cell in cells(config) if cell.device == "cpu" or GPU]
if config["timing"]["budget_h"] and workflow.is_main_process:
    from knnbench.workflow import plan

    expected = plan.expect(config, CELLS, ROOT / "published", machine.describe("cpu"))
    affordable = plan.affordable(expected, config["timing"]["budget_h"])
    CELLS = [cell for cell in CELLS if cell in affordable]
ROUNDS = range(config["timing"]["rounds"])
FIGURES = [
    f"results/{SUITE}/figures/{name}.{suffix}"
    for dataset in config["suites"][SUITE]["datasets"]
    for name in [dataset, *(f"{dataset}.{chart}" for chart in CHARTS)]
    for suffix in config["figures"]["formats"]
] + [
    f"results/{SUITE}/figures/{name}.{suffix}"
    for name in SUITE_FIGURES
    for suffix in config["figures"]["formats"]
]
RESULTS = [f"results/{SUITE}/{name}" for name in (*TABLES, *FINDINGS, "report.html")] + FIGURES


def for_driver(env):
    """An environment with CUDA, or its variant with CUDA 12 where the driver knows no newer one."""
    older = f"{env}-cuda12"
    has_older = Path(workflow.basedir, f"envs/{older}.yaml").exists()
    return older if has_older and 0 < CUDA < 13 else env


# Which environment measures the ceilings of which device.
CEILINGS = {"cpu": "pipeline"} | (
    {"gpu": for_driver("torch")} if "gpu" in {cell.device for cell in CELLS} else {}
)
CONDA = any(str(method) == "conda" for method in workflow.deployment_settings.deployment_method)

# A cell takes the whole machine and everything else a hundredth: nothing runs beside a cell at any --cores. On a cluster
# the limit is each node's own affair. (measure_cell also takes a lock, against whoever else is on the machine.)
workflow.register_resource("machine", 100)


resource_scopes:
    machine="local",


# A Snakemake that was killed cannot remove its lock, and the next one would refuse to run. A run holds a lock of the kernel's
# on this file, which ends with it in any container and on any node: if nobody holds it, Snakemake's lock is of a dead run. One
# that is younger than the file is somebody else's.
RUNNING = Path(".snakemake/knnbench-running")


def drop_stale_lock():
    locks = list(Path(".snakemake/locks").glob("*.lock"))
    if not locks or not RUNNING.exists():
        return
    with open(RUNNING, encoding="utf-8") as running:
        try:
            fcntl.flock(running, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it is alive, or this file system has no locks
            return
        if max(lock.stat().st_mtime for lock in locks) <= RUNNING.stat().st_mtime:
            for lock in locks:
                lock.unlink(missing_ok=True)
            logger.warning(
                "The last run here was killed; its lock is removed and what it completed is kept."
            )


def receipts(settings):
    """The receipt of a dataset's download, if it has one."""
    return [f"{RESOURCES}/downloads/{FILE_OF[settings['url']]}.json"] if "url" in settings else []


def not_had():
    """Why there is no dataset, for those of the suite that could not be had."""
    found = {}
    for name in config["suites"][SUITE]["datasets"]:
        path = Path(f"{RESOURCES}/datasets/{name}.hdf5")
        with contextlib.suppress(OSError):  # there is none yet, or it is half written
            with h5py.File(path, "r") as file:
                found[name] = file.attrs.get("unavailable")
    return {name: reason for name, reason in found.items() if reason}


def check_kept():
    """Check what others keep in the folder of resources: nothing can be added to it.

    Raises
    ------
    WorkflowError
    """
    wrong = []
    for path in map(Path, ENVIRONMENTS):
        _, pins = read_pins(ROOT / f"envs/{path.parent.name}.yaml")
        try:
            lines = path.read_text(encoding="utf-8").split()
        except OSError as error:
            wrong.append(f"{path}: {error.strerror}")
            continue
        there = dict(line.split("+")[0].split("==") for line in lines)
        pins = {name: pin for name, pin in pins.items() if not is_optional(name, pins)}
        if not pins.items() <= there.items():
            wrong.append(f"{path.parent}: it is not what envs/{path.parent.name}.yaml pins")
    for name in config["suites"][SUITE]["datasets"]:
        path = Path(f"{RESOURCES}/datasets/{name}.hdf5")
        try:
            with h5py.File(path, "r") as file:
                settings = file.attrs.get("settings")
        except OSError as error:
            wrong.append(f"{path}: {error}")
            continue
        if settings != made_from(name):
            wrong.append(f"{path} was made from {settings}, not from {made_from(name)}")
    if wrong:
        raise WorkflowError(
            f"resources_dir: {RESOURCES} may not be written here, and it does not have what suite {SUITE} needs;"
            " let its owner run the suite with it, or take another folder:",
            *wrong,
        )


def check_files():
    """Check that no file of the user's is where a run writes.

    Raises
    ------
    WorkflowError
    """
    named = {
        f"datasets.{name}": path
        for name, settings in config["datasets"].items()
        for path in own_files(settings)
    }
    named |= {f"--configfile {path}": path for path in workflow.overwrite_configfiles}
    datasets = {name: f"{RESOURCES}/datasets/{name}.hdf5" for name in config["datasets"]}
    folders = ["cells", "indexes", "ceilings", "merged", "imported", "rerendered"]
    folders = [f"results/{name}" for name in (*folders, *config["suites"])]
    files = [*datasets.values(), *(f"{RESOURCES}/downloads/{name}" for name in DOWNLOADS)]
    try:
        check_not_outputs(named, files, [*folders, "logs", f"{RESOURCES}/environments"])
        for key, out in (
            ("sources", "merged"),
            ("foreign", "imported"),
            ("baseline", "rerendered"),
        ):
            given = config[key] if key == "sources" else [config[key]]
            read = {f"{key}: {path}": path for path in given if path}
            check_not_outputs(read, [f"results/{SUITE}/artifact.zip"], [f"results/{out}"])
        check_made_by_us(datasets)
    except ConfigError as error:
        raise WorkflowError(f"Configuration: {error}")


def check_clock():
    """Check that nothing that results are made from is of the future: Snakemake would refuse results that are older.

    Raises
    ------
    WorkflowError
    """
    datasets = [f"{RESOURCES}/datasets/{name}.hdf5" for name in config["suites"][SUITE]["datasets"]]
    files = [*datasets, *ENVIRONMENTS, *SCRIPTS.rglob("*.py"), *ROOT.glob("envs/*.yaml")]
    future = [
        path
        for path in map(Path, files)
        if path.exists() and path.stat().st_mtime > time.time() + 5
    ]
    if future:
        raise WorkflowError(
            f"{future[0]} is of {time.ctime(future[0].stat().st_mtime)}, and now it is {time.ctime()}: the clock was changed."
            " Set it right, or say that these files are older than their results:"
            f" touch -d 2000-01-01 {' '.join(map(str, future))}"
        )


def try_again():
    """Ask again for downloads that failed, if they may succeed now: the jobs that fetch them wait for what is written here."""
    Path(f"results/{SUITE}/missing.txt").unlink(missing_ok=True)
    for name in config["suites"][SUITE]["datasets"]:
        for path in map(Path, receipts(config["datasets"][name])):
            receipt = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            asked = path.with_suffix(".asked")
            if not asked.exists():
                asked.parent.mkdir(parents=True, exist_ok=True)
                asked.write_text("first", encoding="utf-8")
                os.utime(asked, (0, 0))  # no reason to fetch again what is there
            url = config["datasets"][name]["url"]
            if receipt.get("asked", url) != url:  # another address had the name
                asked.write_text(str(time.time()), encoding="utf-8")
            elif receipt.get("status") == "unavailable":
                place = address(url, config["mirror"], FILE_OF[url])
                elsewhere = path.with_suffix("").is_file() or place != receipt["url"]
                if elsewhere or (receipt["again"] and is_there(place)):
                    asked.write_text(
                        str(time.time()), encoding="utf-8"
                    )  # Snakemake looks at times, and at the content of small files
                else:
                    logger.warning(f"Still not to be had: {receipt['reason']}")


def age_changed_datasets():
    """Make datasets old that were made from something else: Snakemake knows that only of what was made in this folder."""
    for name in config["suites"][SUITE]["datasets"]:
        path = Path(f"{RESOURCES}/datasets/{name}.hdf5")
        with contextlib.suppress(OSError):  # there is none
            with h5py.File(path, "r") as file:
                changed = file.attrs.get("settings") != made_from(name)
            if changed and not path.is_symlink():  # of --cache, by what it was made from
                os.utime(path, (1, 1))  # Snakemake takes 0 for no time


TERMINAL = Terminal.take_over(workflow, logger)


onstart:
    RUNNING.touch()
    running = open(RUNNING, encoding="utf-8")  # as long as this process lives
    workflow.knnbench_running = running
    with contextlib.suppress(OSError):  # file systems without locks
        fcntl.flock(
            running, fcntl.LOCK_SH
        )  # Snakemake lets several run here that share no file
    # Snakemake bounds the jobs that it starts per second by looking through all waiting jobs again, once a second for every
    # job that it ever started: a third of a CPU after 45 jobs, beside what is timed. Cells take turns; there is nothing to bound.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None
    if TERMINAL:
        try:
            jobs = expected_jobs(
                list(workflow.dag.needrun_jobs()), config, CELLS, ROOT / "published"
            )
            TERMINAL.begin(Progress(jobs, time.time()), config, CELLS)
        except Exception as error:  # a line less is no reason to stop
            logger.warning(f"No progress is shown: {error!r}")


wildcard_constraints:
    suite=re.escape(SUITE),
    folder=rf"results/(?:{re.escape(SUITE)}|merged|rerendered|imported)|published/[^/]+",
    file="|".join(map(re.escape, DOWNLOADS)),
    name=r"[^/]+",
    dataset="|".join(map(re.escape, config["datasets"])),
    backend="|".join(map(re.escape, config["backends"])),
    device="cpu|gpu",
    k=r"\d+",
    round=r"\d+",


def code(*names):
    """Source files that a result depends on: a script, and all that it imports. Editing one makes the result again."""
    return closure(SCRIPTS, *names)


def made_by(wildcards, input):
    """What a result depends on besides its settings: code and pins that were replaced by older ones are others, too."""
    spec = [input.spec] if "spec" in input.keys() else []
    return content(*map(str, [*input.code, *spec]))


def unless_kept(*paths):
    """Inputs of a rule that makes resources; where others keep them, newer inputs are no reason to make them again."""
    return [ancient(path) for path in paths] if KEPT_BY_OTHERS else list(paths)


# By variables: where Snakemake's own interpreter, a mirror or a GPU is must not be a reason to make everything again.
GPU_PYTHON = ""
if GPU and not CONDA:
    on_gpu = f"{RESOURCES}/environments/{for_driver('torch')}/bin/python"
    GPU_PYTHON = sys.executable if config["deployment"] == "none" else on_gpu
os.environ.update(
    KNNBENCH_PYTHON=sys.executable,
    KNNBENCH_MIRROR=config["mirror"],
    KNNBENCH_GPU=str(int(GPU)),
    KNNBENCH_CUDA=str(CUDA),
    KNNBENCH_GPU_PYTHON=GPU_PYTHON,
)
if workflow.is_main_process:
    os.environ["KNNBENCH_RUN"] = uuid.uuid4().hex


envvars:
    "KNNBENCH_PYTHON",
    "KNNBENCH_MIRROR",
    "KNNBENCH_GPU",
    "KNNBENCH_CUDA",
    "KNNBENCH_GPU_PYTHON",
    "KNNBENCH_RUN",


def python(env):
    """The interpreter of an environment, for the shell."""
    if CONDA:  # whose Python would also import what the user has in ~/.local
        return "env PYTHONNOUSERSITE=1 python"
    if env == "pipeline" or config["deployment"] == "none":
        return '"$KNNBENCH_PYTHON"'
    return shlex.quote(f"{RESOURCES}/environments/{env}/bin/python")


def environment(env):
    """What a job waits for to have an environment: nothing, if conda or the user provides it."""
    if CONDA or config["deployment"] == "none" or env == "pipeline":
        return []
    return [f"{RESOURCES}/environments/{env}/freeze.txt"]


def cell_environment(wildcards):
    """Name of the environment of a cell; for a GPU the one that its driver can run."""
    env = config["backends"][wildcards.backend]["environments"][wildcards.device]
    return for_driver(env) if wildcards.device == "gpu" else env


# Those that the cells and the ceilings need.
ENVIRONMENTS = sorted(
    {path for cell in CELLS for path in environment(cell_environment(cell))}
    | {path for env in CEILINGS.values() for path in environment(env)}
)


def check_triggers():
    """Check that Snakemake looks for changes of the configuration; when the jobs are listed, for it does not know before.

    Raises
    ------
    WorkflowError
    """
    needed = ("mtime", "params", "input")
    triggers = {str(trigger) for trigger in workflow.dag_settings.rerun_triggers}
    if missing := [name for name in needed if name not in triggers]:
        raise WorkflowError(
            f"rerun-triggers: {' '.join(sorted(triggers))} leaves out {' '.join(missing)}: a K, a dataset or a limit that is"
            f" added or changed would not be seen; say --rerun-triggers {' '.join(needed)}, or nothing, for all of them"
        )


def dataset_files(wildcards):
    """The receipt of a dataset's download; the user's own files are known by their content instead: made_from."""
    check_triggers()
    return [] if KEPT_BY_OTHERS else receipts(config["datasets"][wildcards.dataset])


def made_from(name):
    """What a dataset's content depends on, JSON: its settings, and digests of one's own files; of a download, its size is only
    for the plan."""
    settings = config["datasets"][name]
    only_planned = {"n", "d", "queries", "megabytes"} if "url" in settings else set()
    known = {key: value for key, value in settings.items() if key not in only_planned}
    if own_files(settings):
        known["files"] = digests(settings)
    return json.dumps(known, sort_keys=True)


def tables(wildcards):
    """What a run left in a folder of results; published samples are compressed."""
    names = set(TABLES)
    if wildcards.folder.startswith("published/"):
        names = names - {"samples.csv"} | {"samples.csv.gz"}
    if wildcards.folder == "results/merged":  # of several machines
        names -= {"provenance.json"}
    return [f"{wildcards.folder}/{name}" for name in sorted(names)]


def baseline(wildcards):
    """What is compared with."""
    if not config["baseline"]:
        raise WorkflowError("Say what to compare with: --config baseline=published/cpu-2core")
    return config["baseline"]


def candidate(wildcards):
    """The tables of the suite, which are brought up to date; nothing if another folder is compared."""
    return [] if config["candidate"] else [f"results/{SUITE}/{name}" for name in TABLES]


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


def problem(wildcards):
    """What `snakemake recommend` is asked."""
    asked = {key: config.get(key) for key in ASKED}
    if missing := [key for key, value in asked.items() if value is None]:
        raise WorkflowError(
            f"recommend: say also {', '.join(missing)}; such as --config n_train=1e6 dimension=96"
            " metric=angular n_neighbors=10 recall=0.9 n_queries=1e5 device=cpu"
        )
    return json.dumps(asked)


def datasets_of(place, folders):
    """Names of the datasets in the tables of folders that a key of the configuration names."""
    try:
        return {
            row["dataset"]: None
            for folder in folders
            for row in csv.DictReader(
                Path(folder, "timings.csv").open(encoding="utf-8", newline="")
            )
        }
    except (OSError, KeyError, UnicodeDecodeError, csv.Error) as error:
        raise WorkflowError(
            f"{place}: {error!r}; expected a folder with timings.csv: results/SUITE of a run, or one of published/"
        )


# Those that the configuration may not have, for figures.
ELSEWHERE = datasets_of("sources", config["sources"]) | datasets_of(
    "baseline",
    [folder for folder in [config["baseline"]] if folder and not folder.endswith(".zip")],
)


def sources(wildcards):
    """The folders to merge."""
    if not config["sources"]:
        raise WorkflowError("Say what to merge: --config sources='[results/quick, DIR]'")
    return config["sources"]


def unpublished(wildcards):
    """Nothing; an error if there are results of that name, which another machine's must not replace."""
    if Path(f"published/{wildcards.name}").exists():
        raise WorkflowError(
            f"published/{wildcards.name} is there; take another name, or move it away"
        )
    return []


def cell_code(wildcards):
    check_triggers()
    backend = config["backends"][wildcards.backend]
    return code("measure_cell.py", f"knnbench/backends/{backend['module']}.py")


def index(wildcards):
    """Where a cell finds its index, if its backend saves one."""
    saves = config["backends"][wildcards.backend]["saves"]
    return (
        f"results/indexes/{wildcards.dataset}/{wildcards.backend}-{wildcards.device}"
        if saves
        else []
    )


def turn(*place):
    """Priority of a timed job: below everything else, so that what it needs is there; round by round; shuffled by the seed."""
    name = " ".join(map(str, (config["timing"]["seed"], *place)))
    return -1 - int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 16**8


# Of the timing section, what says how queries are timed; the rest says when and on what.
QUERY_TIMING = (
    "min_sample_s min_repeats max_repeats budget_s rel_ci max_query_s min_recall"
    " batch_sizes batch_calls batch_budget_s seed"
).split()


def fit_flags(wildcards):
    """What changes a fit, as flags of the script: a change of a value measures again."""
    backend, timing = config["backends"][wildcards.backend], config["timing"]
    flags = {
        "--module": backend["module"],
        "--parameters": json.dumps(backend["parameters"], sort_keys=True),
        "--max-fit-s": timing["max_fit_s"],
        "--threads": timing["threads"],
        "--memory-gb": timing["memory_gb"],
    }
    words = [str(word) for flag in flags.items() for word in flag]
    env = cell_environment(wildcards)
    if environment(env):
        words += ["--prefix", f"{RESOURCES}/environments/{env}"]
    return words + ["--unpinned"] * (config["deployment"] == "none" and not CONDA)


def cell_flags(wildcards):
    """What changes a cell's numbers: its fit, and how its queries are timed."""
    timing = {key: config["timing"][key] for key in QUERY_TIMING}
    retry = ["--retry-noisy"] * config["timing"]["retry_noisy"]
    return [*fit_flags(wildcards), "--timing", json.dumps(timing, sort_keys=True), *retry]


if workflow.is_main_process:
    if not os.access(".", os.W_OK):
        raise WorkflowError(
            f"{Path.cwd()} may not be written; choose where results go: --directory ELSEWHERE"
        )
    drop_stale_lock()
    check_files()
    check_clock()
    if KEPT_BY_OTHERS:
        check_kept()
    elif not list(Path(".snakemake/locks").glob("*.lock")):  # nobody else is at it
        age_changed_datasets()
        try_again()
