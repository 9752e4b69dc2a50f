"""What benchmarks share: where and when they ran, the entries of config.yaml, a process in the environment of one.

Environments are made by snakemake -- resources/environments/NAME/freeze.txt, for each that a backend has on a CPU.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from knnbench.problem.metrics import METRICS
from knnbench.system import machine


def made_by(command):
    """A sentence on where, how and when."""
    facts = machine.describe("cpu")
    return f"{facts['cpu']}, {facts['cpus']} CPUs; `python benchmarks/{command}`, {time.strftime('%Y-%m-%d')}."


def middle(values):
    """Of lists, the value in the middle."""
    return {name: each[len(each) // 2] if isinstance(each, list) else each for name, each in values.items()}


def entries(asked, devices=frozenset({"cpu"})):
    """Those of config.yaml that search on each of these devices, or those of them that are asked for."""
    import yaml  # which the environments of backends do not have

    found = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["backends"]
    if wrong := set(asked) - set(found):
        sys.exit(f"config.yaml has no backend {', '.join(sorted(wrong))}; it has {', '.join(found)}")
    return {
        name: entry
        for name, entry in found.items()
        if devices <= entry["environments"].keys() and not entry.get("control") and (not asked or name in asked)
    }


def inside(entry, script, *arguments):
    """How to run a script with an entry and further arguments, as JSON, where its library is: arguments of `subprocess`."""
    python = ROOT / f"resources/environments/{entry['environments']['cpu']}/bin/python"
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(machine.usual_threads("cpu")))
    command = [python, script, "--inside", json.dumps([entry, *arguments])]
    return {"args": command, "stdout": subprocess.PIPE, "text": True, "env": os.environ | threads}


def run_inside(entry, script, *arguments):
    """Run it there; what it printed last, from JSON."""
    done = subprocess.run(**inside(entry, script, *arguments), check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measured(backends, script, values, columns):
    """Run a script with every entry and each of some values: (name, value, what was found).

    Those that cannot do it become rows of a table of so many columns at once.
    """
    for value in values:
        for name, entry in backends.items():
            found = run_inside(entry, script, value)
            if "reason" in found:
                print(f"| {name} | {value:,} | {found['reason']} |{' |' * (columns - 3)}", flush=True)
            else:
                yield name, value, found


def fitted(entry, train, k, metric=METRICS["euclidean"]):
    """The backend of an entry with these points, its lists in the middle; or why it cannot have them."""
    module = importlib.import_module(f"knnbench.backends.{entry['module']}")
    parameters = entry.get("parameters", {}) | middle(entry.get("build", {}))
    backend = module.Backend(metric, "cpu", machine.usual_threads("cpu"), **parameters)
    if reason := backend.unsupported(k, *train.shape):
        return reason
    for _ in backend.fit(train):
        pass
    if entry.get("search"):
        backend.set_search(**middle(entry["search"]))
    return backend
