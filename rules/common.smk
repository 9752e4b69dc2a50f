"""What the other rules share: names, wildcards and lists of targets. What is logic is in scripts/knnbench/workflow."""

import contextlib
import json
import os
import re
import shlex
import sys
import uuid
from pathlib import Path

# Relative, so that moving the folder changes no input; from any --directory.
ROOT = Path(os.path.relpath(workflow.basedir))
SCRIPTS, SPECS = ROOT / "scripts", ROOT / "envs"
sys.path.insert(0, str(Path(workflow.basedir, "scripts")))

from knnbench.system.inherited import inherited

VARIABLES = dict(os.environ)
# Before anything is imported that reads variables, such as OMP_PROC_BIND, which binds this process and all of its jobs.
for name in os.environ.keys() - inherited(os.environ).keys():
    del os.environ[name]
os.environ.update(inherited(os.environ))

import yaml
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError

from knnbench.config.checks import resolve
from knnbench.config.once import check_file, check_words
from knnbench.config.machines import check_cluster, check_machine
from knnbench.config.suite import (
    AUTO,
    CHARTS,
    LATER,
    TABLES,
    cells,
    claimed,
    downloads,
    figures,
    findings,
    own_files,
    rounds_at_most,
    rounds_of,
    used,
)
from knnbench.config.values import ConfigError, command_line, entries, named_variables
from knnbench.config.variants import add_variants
from knnbench.results.records import cells_of_round
from knnbench.system import gpu, machine
from knnbench.workflow import resources, run
from knnbench.workflow.cells import QUERY_TIMING, fit_flags, for_driver, query_flags, turn
from knnbench.workflow.closure import closure
from knnbench.workflow.files import content, datasets_of, written


@contextlib.contextmanager
def told():
    """Where the library finds that nothing can be run, Snakemake says it in the library's words."""
    try:
        yield
    except ConfigError as error:
        raise WorkflowError(f"Configuration: {error}")
    except run.RunError as error:
        raise WorkflowError(*error.args)


if set("{}") & set(str(workflow.basedir)):
    raise WorkflowError(
        f"{workflow.basedir}: Snakemake takes braces in the path of a Snakefile for wildcards; rename the folder"
    )
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
if workflow.is_main_process:
    with told():
        run.check_arguments(sys.argv)
        check_words(given.config_args)
        for path in (*shipped, *given.configfiles, *run.profiles_of(sys.argv, VARIABLES)):
            check_file(path)
    VARIABLES = named_variables(config, VARIABLES)
else:  # a job on another machine, where they may be set otherwise
    VARIABLES = json.loads(os.environ["KNNBENCH_VARIABLES"])
with told():
    whole, replaced = entries([*files, *said])
    config |= whole
    resolve(config, schema, replaced, VARIABLES)
    add_variants(config, config["timing"]["threads"] or machine.available_cpus())
    DOWNLOADS = downloads(config)
    CLUSTER = workflow.remote_exec or config["cluster"]["queue"]
    if CLUSTER:
        check_cluster(config)

SUITE = config["suite"]
RESOURCES = config["resources_dir"]
RUNNING, LOCKS = Path(".snakemake/knnbench-running"), Path(".snakemake/locks")
DATASETS = resources.dataset_files(config)
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
    from knnbench.workflow import plan  # Pandas: only where it is needed

    expected = plan.expect(config, CELLS, ROOT / "published", machine.describe("cpu"))
    affordable = plan.affordable(expected, config["timing"])
    CELLS = [cell for cell in CELLS if cell in affordable]
ROUNDS = rounds_of(config["timing"])
FIGURES = [f"results/{SUITE}/figures/{name}" for name in figures(config)]
RESULTS = [
    f"results/{SUITE}/{name}" for name in (*TABLES, *findings(config), "report.html")
] + FIGURES
CONDA = any(str(method) == "conda" for method in workflow.deployment_settings.deployment_method)

# A cell takes the whole machine and everything else a hundredth: nothing runs beside a cell at any --cores. On a cluster
# the limit is each node's own affair. (measure_cell also takes a lock, against whoever else is on the machine.)
workflow.register_resource("machine", 100)


resource_scopes:
    machine="local",


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
    number=r"\d+",


def tables(wildcards):
    """What a run left in a folder of results; published samples are compressed."""
    names = set(TABLES)
    if wildcards.folder.startswith("published/"):
        names = names - {"samples.csv"} | {"samples.csv.gz"}
        names -= {name for name in LATER if not Path(wildcards.folder, name).exists()}
    if wildcards.folder == "results/merged":  # of several machines
        names -= {"provenance.json"}
    return [f"{wildcards.folder}/{name}" for name in sorted(names)]


# The datasets of tables that the command line names: the configuration may not have them, and figures are drawn of them.
with told():
    MERGED = datasets_of("sources", config["sources"])
    ELSEWHERE = MERGED | datasets_of(
        "baseline", [name for name in [config["baseline"]] if name and not name.endswith(".zip")]
    )
