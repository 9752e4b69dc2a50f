"""Nothing measured is lost: kills at any moment, full disks, clocks that jump, folders that may not be written."""

import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from conftest import processes, snakemake, wait_until, without_privileges

pytestmark = pytest.mark.full

TINY = """
suite: tiny
suites:
  tiny:
    datasets: [toy-euclidean]
    backends: [sklearn-kd-tree, sklearn-ball-tree, faiss-flat]
    controls: false
    n_neighbors: [1, 5, 10]
timing: {budget_s: 0.01}
figures: {formats: [svg]}
"""
KILLS = 5
# Columns that another run of the same cells does not repeat.
OF_A_RUN = re.compile(
    r"_s$|_bytes$|_joules|flags|attempts|others_cpus|machine_speed|load_|repeats|calls|fraction|started|ended|governor|gpu_"
)


@pytest.fixture
def tiny(project):
    (project / "tiny.yaml").write_text(TINY)
    return project


def run(project, *options, **more):
    """What is measured, and its table: figures and page are made of it anew whenever they are wanted."""
    return snakemake("--configfile", "tiny.yaml", *options, "--", "results/tiny/timings.csv", cwd=project, **more)


def records(project):
    return {path: path.stat().st_mtime_ns for path in project.glob("results/cells/*/*/k*.json")}


def table(project):
    timings = pd.read_csv(project / "results/tiny/timings.csv")
    return timings[[name for name in timings if not OF_A_RUN.search(name)]]


def kill(project, victim):
    """Kill -9 of Snakemake and its shells, a supervisor, a worker, or of all at once, as when a node goes away."""
    killed = [process for process, kind in processes(project) if victim in (kind, "node")]
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return bool(killed)


def test_kills_at_random_moments(tiny):
    """Each leaves no record or a whole one, and at last the table of a run that nobody disturbed."""
    run(tiny)
    undisturbed = table(tiny)
    shutil.rmtree(tiny / "results")
    chance = random.Random(0)
    kills = dict.fromkeys(("snakemake", "supervisor", "worker", "node"), 0)
    command = [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml"]
    while sum(kills.values()) < KILLS:
        victim = min(kills, key=lambda name: (kills[name], name))
        before = records(tiny)
        process = subprocess.Popen(command, cwd=tiny, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # How far a run is after some seconds depends on the machine: some of the moments are after cells of its own.
        due = min(len(before) + chance.randrange(3), 9)
        while len(records(tiny)) < due and process.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 8))
        while not (hit := kill(tiny, victim)) and process.poll() is None:
            time.sleep(0.01)
        kills[victim] += hit
        if victim in ("supervisor", "worker") and hit:
            time.sleep(chance.uniform(0, 2))
            kill(tiny, "node")
        process.wait()
        wait_until(lambda: not processes(tiny))  # they die with their parents
        after = records(tiny)
        assert all(json.loads(path.read_text())["status"] == "ok" for path in after)
        again = {path for path in before if after.get(path) != before[path]}
        # Snakemake may not have heard that the newest one was complete.
        assert again <= {max(before, key=before.get)} if before else not again
        if len(after) == 9 and (tiny / "results/tiny/timings.csv").exists():
            pd.testing.assert_frame_equal(table(tiny), undisturbed)
            shutil.rmtree(tiny / "results")
    run(tiny)
    pd.testing.assert_frame_equal(table(tiny), undisturbed)


def test_a_full_disk(tiny):
    """What is complete stays, the error says what to do, and with room again the run goes on."""
    results = tiny / "results"
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run([*mount, "size=64k", "none", results], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        done = run(tiny, check=False)
        assert done.returncode == 1 and "No space left on device; make room" in done.stdout
        before = records(tiny)
        assert all(json.loads(path.read_text())["status"] == "ok" for path in before)
        subprocess.run([*mount, "remount,size=64m", "none", results], check=True)
        run(tiny)
        after = records(tiny)
        assert len(after) == 9 and before.items() <= after.items()
    finally:
        subprocess.run(["umount", results], check=True)


def test_a_clock_that_jumps(tiny):
    """A dataset of the future stops a run before any job, and takes nothing away."""
    run(tiny)
    before = records(tiny)
    later = time.time() + 3600
    os.utime(tiny / "resources/datasets/toy-euclidean.hdf5", (later, later))
    stopped = run(tiny, check=False)
    assert stopped.returncode == 1 and "the clock was changed" in stopped.stdout and records(tiny) == before
    subprocess.run(re.search(r"touch -d .*hdf5", stopped.stdout)[0], shell=True, cwd=tiny, check=True)
    assert "Nothing to be done" in run(tiny).stdout


def test_resources_that_others_keep(tiny, environments, tmp_path):
    """Their datasets and environments are used as they are; what is missing or other is said before any job."""
    shared = tmp_path / "shared"
    (tiny / "resources/environments").unlink()
    shared.mkdir()
    os.symlink(environments, shared / "environments")
    with open(tiny / "tiny.yaml", "a", encoding="utf-8") as file:
        file.write(f"resources_dir: {shared}\n")
    run(tiny, "--until", "make_dataset", "make_environment")
    made = {".snakemake", "resources", "results"}  # of the project's folder: the library has a room of that name
    another = shutil.copytree(
        tiny, tmp_path / "another", ignore=lambda place, names: made & {*names} if Path(place) == tiny else set()
    )
    for path in (shared, shared / "datasets", *(shared / "datasets").iterdir()):
        os.chmod(path, 0o555 if path.is_dir() else 0o444)
        if os.getuid() == 0:
            os.chown(path, 65534, 65534)
    for path in another.rglob("*"):
        os.utime(path)  # a clone is newer than what others keep
    before = (shared / "datasets/toy-euclidean.hdf5").stat().st_mtime_ns
    command = without_privileges([sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "tiny.yaml"])
    done = subprocess.run(command, cwd=another, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(records(another)) == 9 and set(table(another)["status"]) <= {"ok", "unavailable"}  # no GPU, perhaps
    assert not (another / "resources").exists()
    assert (shared / "datasets/toy-euclidean.hdf5").stat().st_mtime_ns == before

    suites = "suites={tiny: {datasets: [toy-hyperbolic], backends: [sklearn-kd-tree], controls: false, n_neighbors: [1]}}"
    missing = subprocess.run([*command, "--config", suites], cwd=another, capture_output=True, text=True)
    assert missing.returncode == 1 and "resources_dir" in missing.stderr and "toy-hyperbolic.hdf5" in missing.stderr
    points = "datasets={toy-euclidean: {metric: euclidean, source: normal, n: 500, d: 4, queries: 50, seed: 3}}"
    other = subprocess.run([*command, "--config", points], cwd=another, capture_output=True, text=True)
    assert other.returncode == 1 and "was made from" in other.stderr

    os.chmod(another, 0o555)
    if os.getuid() == 0:
        os.chown(another, 65534, 65534)
    closed = subprocess.run(command, cwd=another, capture_output=True, text=True)
    assert closed.returncode == 1 and f"{another} may not be written" in closed.stderr


def test_a_cache_of_datasets(tiny, tmp_path, monkeypatch):
    """With --cache a dataset is made once for all folders."""
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(tmp_path))
    cached = ("--cache", "make_dataset", "--until", "make_dataset")
    dataset, log = tiny / "resources/datasets/toy-euclidean.hdf5", tiny / "logs/make_dataset/toy-euclidean.log"
    run(tiny, *cached)
    assert dataset.is_symlink() and tmp_path in dataset.resolve().parents
    for path in (dataset, log):
        path.unlink()
    shutil.rmtree(tiny / ".snakemake")
    run(tiny, *cached)
    assert dataset.exists() and not log.read_text()  # taken from the cache
