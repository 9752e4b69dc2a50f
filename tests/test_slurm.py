"""The workflow on a SLURM of one node, which is installed and started here; where that cannot be, these tests are skipped."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest
from conftest import ROOT, processes

pytestmark = pytest.mark.full

SUITE = """
suite: queue
gpu: true
cuda: 13
timing: {threads: 2, budget_s: 0.01, max_fit_s: 600}
cluster: {queue: true, memory_gb: 3, partition: {cpu: cpu, gpu: gpu}, gpu_model: fake}
backends:
  hostile-gpu: {module: hostile, exact: true, environments: {gpu: sklearn}}
  hostile-sleep: {module: hostile, exact: true, environments: {cpu: sklearn}, parameters: {what: sleep in C, when: fit}}
  hostile-memory: {module: hostile, exact: true, environments: {cpu: sklearn}, parameters: {what: shared memory, when: fit}}
  hostile-slow: {module: hostile, exact: true, environments: {cpu: sklearn}, parameters: {what: slow, when: fit}}
suites:
  queue:
    datasets: [toy-euclidean]
    backends: [sklearn-kd-tree, sklearn-brute, hostile-gpu, hostile-sleep, hostile-memory, hostile-slow]
    controls: false
    n_neighbors: [5]
figures: {formats: [svg]}
"""
# A cell has a minute here, and the executor looks soon; without an accounting database it can only ask squeue.
OPTIONS = (
    *("--workflow-profile", "profiles/slurm", "--configfile", "profiles/slurm/site.yaml", "queue.yaml"),
    *("--set-resources", "measure_cell:runtime=1"),
    *("--slurm-init-seconds-before-status-checks", "2", "--slurm-status-command", "squeue"),
)


def slurm(verb, folder):
    return subprocess.run(["bash", ROOT / "tests/slurm.sh", verb, folder], capture_output=True, text=True)


@pytest.fixture(scope="module")
def queue(tmp_path_factory):
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        pytest.skip("SLURM is installed by apt-get, as root")
    folder = tmp_path_factory.mktemp("slurm")
    started = slurm("up", folder)
    if started.returncode:
        slurm("down", folder)
        pytest.skip(f"SLURM could not be installed or started: {started.stderr[-500:]}")
    yield
    slurm("down", folder)


def run_on_queue(project):
    command = [sys.executable, "-m", "snakemake", *OPTIONS]
    with open(project / "run.log", "w", encoding="utf-8") as log:
        return subprocess.Popen(command, cwd=project, stdout=log, stderr=log)


def lose_the_node():
    """What runs on it is lost; slurmd then registers it again by itself, or the update does."""
    name = subprocess.run(["hostname", "-s"], capture_output=True, text=True, check=True).stdout.strip()
    update = ["scontrol", "update", f"nodename={name}", "reason=test"]
    subprocess.run([*update, "state=down"], check=True)
    time.sleep(1)
    subprocess.run([*update, "state=resume"], stderr=subprocess.DEVNULL)


def end(project):
    for process, _ in processes(project):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_cells_of_a_queue(project, queue, request):
    """A GPU cell has the GRES; limits of time and memory become statuses; a lost node takes nothing measured with it."""
    shutil.copy(ROOT / "tests/hostile.py", project / "scripts/knnbench/backends/hostile.py")
    turns = project / "scripts/knnbench/system/turns.py"
    shared = 'return MEMORY if os.path.isdir(MEMORY) else "/"'
    assert shared in turns.read_text()
    # Its jobs have a minute: they do not take turns with the cells of other tests, only with each other.
    turns.write_text(turns.read_text().replace(shared, f"return {str(project)!r}"))
    (project / "queue.yaml").write_text(SUITE)
    run = run_on_queue(project)
    request.addfinalizer(lambda: end(project))  # what the lost node ran
    cells = project / "results/cells/toy-euclidean"
    began = cells / "hostile-slow-cpu/.k5.round0.json.attempt"
    while not (began.exists() and "begun" in json.loads(began.read_text())):
        time.sleep(0.2)
        assert run.poll() is None, (project / "run.log").read_text()[-3000:]
    time.sleep(2)
    before = {path: path.read_text() for path in cells.glob("*/k*.json")}
    lose_the_node()
    assert run.wait() == 0, (project / "run.log").read_text()[-5000:]
    said = (project / "run.log").read_text()
    assert said.count("Trying to restart") == 2, said[-5000:]  # of the cell that used too much memory, and of the lost node's

    timings = pd.read_csv(project / "results/queue/timings.csv").drop_duplicates(["backend", "device"]).set_index("backend")
    assert timings["status"].to_dict() == {
        "sklearn-kd-tree": "ok",
        "sklearn-brute": "ok",
        "hostile-gpu": "unavailable",
        "hostile-sleep": "timeout_fit",
        "hostile-memory": "oom_host",
        "hostile-slow": "ok",
    }
    assert "time limit of its job" in timings.loc["hostile-sleep", "reason"]
    assert "SLURM ended job" in timings.loc["hostile-memory", "reason"]
    assert {path: path.read_text() for path in before} == before  # nothing is measured twice: a record has its date
    assert len(set(timings["cpu"].dropna())) == 1

    jobs = subprocess.run(["scontrol", "--details", "--oneliner", "show", "job"], capture_output=True, text=True, check=True)
    gpu = [job for job in jobs.stdout.splitlines() if "hostile-gpu" in job or "gpu" in re.search(r"Partition=(\S+)", job)[1]]
    assert gpu and all("GRES=gpu:fake:1" in job for job in gpu)
    again = subprocess.run([sys.executable, "-m", "snakemake", *OPTIONS, "-n"], cwd=project, capture_output=True, text=True)
    assert "Nothing to be done" in again.stdout + again.stderr
