"""What the other rules share: the checked configuration, the cells of the suite, and input functions."""

import json
import os
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

# Relative, so that moving the folder changes no input; from any --directory.
ROOT = Path(os.path.relpath(workflow.basedir))
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(Path(workflow.basedir, "scripts")))

from knnbench import machine
from knnbench.config import ConfigError, cells, own_files, resolve, used

try:
    resolve(
        config,
        yaml.safe_load(
            Path(workflow.basedir, "rules/schemas/config.schema.yaml").read_text()
        ),
    )
except ConfigError as error:
    raise WorkflowError(f"Configuration: {error}")

SUITE = config["suite"]
CELLS = cells(config)
ROUNDS = range(config["timing"]["rounds"])
GPU = machine.gpu_count() > 0 if config["gpu"] == "auto" else config["gpu"]
CONDA = any(
    str(method) == "conda" for method in workflow.deployment_settings.deployment_method
)

# A cell takes the whole machine and everything else a hundredth: nothing runs beside a cell at any --cores. On a cluster
# the limit is each node's own affair. (measure_cell also takes a lock, against whoever else is on the machine.)
workflow.register_resource("machine", 100)


resource_scopes:
    machine="local",


wildcard_constraints:
    dataset="|".join(map(re.escape, config["datasets"])),
    backend="|".join(map(re.escape, config["backends"])),
    device="cpu|gpu",
    k=r"\d+",
    round=r"\d+",


def code(*names):
    """Source files that a result depends on: editing one makes the result again. The first is the script."""
    return [SCRIPTS / name for name in names]


def python(env):
    """The interpreter of an environment."""
    if CONDA:
        return "python"
    if config["deployment"] == "none" or env == "pipeline":
        return sys.executable
    return f"resources/environments/{env}/bin/python"


def environment(env):
    """What a job waits for to have an environment: nothing, if conda or the user provides it."""
    if CONDA or config["deployment"] == "none":
        return []
    return f"resources/environments/{env}/freeze.txt"
