"""The workflow, as a user runs it: from configuration to figures, stopped, resumed, extended and moved elsewhere."""

import copy
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import CONFIG, DEVICES, ROOT, processes, snakemake, wait_until

from knnbench.config.checks import resolve
from knnbench.config.suite import cells
from knnbench.problem.download import second_name
from knnbench.results.machines import residencies
from knnbench.system.turns import machine_lock

SCHEMA = yaml.safe_load((ROOT / "rules/schemas/config.schema.yaml").read_text())
JOB = re.compile(r"^Job \d+: (\S+): (\S+) on (cpu|gpu), K = (\d+)$", re.MULTILINE)
# Exact, and by differences: nothing is lost.
DIRECT = {"keops", "faiss-flat", "sklearn-auto", "sklearn-ball-tree", "sklearn-kd-tree", "sklearn-brute"}

# A suite of a few seconds for the tests that run Snakemake several times.
TINY = """
suite: tiny
suites:
  tiny:
    datasets: [toy-euclidean]
    backends: [sklearn-kd-tree, sklearn-brute, faiss-hnsw-m36]
    controls: false
    n_neighbors: [1, 5, 10]
timing: {budget_s: 0.01}
figures: {formats: [svg]}
"""


def expected_cells(suite, **changes):
    config = copy.deepcopy({**CONFIG, "suite": suite})
    config["suites"][suite] |= changes
    resolve(config, SCHEMA)
    return {(cell.dataset, cell.backend, cell.device, str(cell.k)) for cell in cells(config)}


def expected_jobs(suite, **changes):
    """Cells that get a job: those of a GPU only where there is one."""
    return {cell for cell in expected_cells(suite, **changes) if cell[2] in DEVICES}


def write_overlay(project, text, name="mine.yaml"):
    (project / name).write_text(textwrap.dedent(text))
    return name


def records(project):
    return {path: path.stat().st_mtime_ns for path in sorted(project.glob("results/cells/*/*/*.json"))}


@pytest.mark.parametrize(
    "command",
    [["ruff", "check"], ["ruff", "format", "--check"], ["snakefmt", "--check", "."]],
    ids=lambda command: " ".join(command),
)
def test_style(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_lint():
    assert "Congratulations" in snakemake("--lint").stdout


@pytest.mark.parametrize("suite", ["test", "quick", pytest.param("paper", marks=pytest.mark.full)])
def test_dry_run_lists_exactly_the_cells(project, suite):
    assert set(JOB.findall(snakemake("-n", "--config", f"suite={suite}", cwd=project).stdout)) == expected_jobs(suite)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["suite=quik"], "Configuration: suite: unknown name 'quik'; did you mean 'quick'?"),
        (["colour=1"], "Configuration: top level: unknown key 'colour'"),
        (["deployment=docker"], "Configuration: deployment: 'docker' is not one of uv, none"),
    ],
)
def test_wrong_configuration_stops_before_any_job(arguments, words):
    done = snakemake("-n", "--config", *arguments, check=False)
    assert done.returncode == 1 and words in done.stdout and "Traceback" not in done.stdout


# Limits that no machine comes near: KeOps and JAX compile beside whatever else runs.
MAIN = ("--config", "suite=test", "timing={max_fit_s: 3600, max_query_s: 3600, budget_s: 0.1}")


@pytest.mark.parametrize("k", [10, pytest.param(1, marks=pytest.mark.full)])
def test_main_job(project, k):
    """Suite `test`, all backends: every cell has its row, every exact answer is exact, and a second call does nothing."""
    main = (*MAIN, f"suites={{test: {{datasets: [toy-euclidean, toy-hyperbolic], n_neighbors: [{k}]}}}}")
    first = snakemake("--resources", "gpu=1", *main, cwd=project)
    timings = pd.read_csv(project / "results/test/timings.csv")
    controls = pd.read_csv(project / "results/test/controls.csv")
    every = pd.concat([timings, controls])
    listed = [(*cell, place) for cell in expected_cells("test", n_neighbors=[k]) for place in residencies(cell[2])]
    rows = every[["dataset", "backend", "device", "n_neighbors", "residency"]].astype(str)
    assert sorted(rows.itertuples(index=False, name=None)) == sorted(listed)
    assert controls["control"].all() and not timings["control"].any()
    recalls = controls.groupby("backend")["recall"]
    assert recalls.min()["control-null"] == 1 and recalls.max()["control-random"] < 0.1
    assert not controls["flags"].astype(str).str.contains("no_control").any() and controls["ceiling_fraction"].isna().all()
    assert not timings["status"].isin(["failed", "crashed"]).any(), timings[["backend", "reason"]].to_string()
    cpu = timings[timings["device"] == "cpu"]
    assert set(cpu["status"]) <= {"ok", "low_recall", "unsupported"}
    assert (cpu["reason"].notna() == (cpu["status"] != "ok")).all()
    done = cpu[cpu["status"].isin(["ok", "low_recall"])]
    assert set(done[done["dataset"] == "toy-euclidean"]["backend"]) | {"faiss-ivfflat-slow"} == set(cpu["backend"])
    exact = done[done["exact"]]
    assert (exact["recall"] >= 0.999).all()
    assert (exact[exact["backend"].isin(DIRECT)]["recall"] == 1).all()
    # No time is empty or zero unless the status says why.
    times = [column for column in done.columns if column.endswith("_s")]
    of_many_calls = ["single_p95_s", "single_p99_s"]  # which 50 queries are too few for
    empty = {"queries_per_s", "compile_s", "fit_low_s", "fit_high_s", *of_many_calls}
    times = [column for column in times if column not in empty]
    assert (done[times] > 0).all().all() and done[of_many_calls].isna().all().all()
    compiles = done["backend"].isin(["keops", "torch-compile", "jax-page", "jax", "jax-batch"])
    assert (done["compile_s"].notna() == compiles).all()
    assert (done[["queries_per_s", "max_rss_bytes", "loaded_bytes", "single_calls"]] > 0).all().all()
    saves = done["backend"].isin([name for name, entry in CONFIG["backends"].items() if entry.get("saves")])
    assert (done["index_bytes"].notna() == saves).all()
    assert (done["ceiling_fraction"].notna() == (done["exact"] & ~done["prunes"])).all()
    assert (done["query_low_s"] <= done["query_median_s"]).all() and (done["query_median_s"] <= done["query_high_s"]).all()
    samples = pd.read_csv(project / "results/test/samples.csv")
    passes = samples[samples["batch"].isna()]
    assert len(passes) == every["repeats"].sum() and (samples["seconds"] > 0).all() and (samples["loops"] > 0).all()
    assert (samples["batch"] == 1).sum() == every["single_calls"].sum()
    batches = pd.read_csv(project / "results/test/batches.csv")
    single = batches[batches["batch_size"] == 1]
    assert len(single) == len(every) and sorted(single["calls"]) == sorted(every["single_calls"])
    sizes = batches[batches["calls"] > 0].groupby(["dataset", "backend", "device", "residency", "n_neighbors"])["batch_size"]
    assert set(sizes.apply(tuple)) == {(1, 10, 50)}  # 50 queries are a whole pass, and no size is over it
    comparisons = pd.read_csv(project / "results/test/comparisons.csv")
    groups = done.groupby(["dataset", "n_neighbors", "residency"]).size()
    assert len(comparisons) == (groups * (groups - 1) / 2).sum() and set(comparisons["verdict"]) == {"undecided"}
    for dataset, suffix in itertools.product([*CONFIG["suites"]["test"]["datasets"], "roofline"], CONFIG["figures"]["formats"]):
        assert (project / f"results/test/figures/{dataset}.{suffix}").stat().st_size > 10_000
    saved = yaml.safe_load((project / "results/test/config.yaml").read_text())
    assert saved["suite"] == "test" and saved["timing"]["rel_ci"] == CONFIG["timing"]["rel_ci"]
    for words in (
        f"Fastest exact backend at K = {k}",
        "Did not run (",
        "results/test/timings.csv",
        "results/test/figures/toy-eu",
    ):
        assert words in first.stdout
    jobs = len(expected_jobs("test", n_neighbors=[k]))
    assert f"Cells: {jobs} of {jobs}; " in first.stdout and "about 0 s left" in first.stdout
    said = first.stdout.index("\nOpen results/test/report.html\n")
    assert said < first.stdout.index("Fastest exact backend") and len(first.stdout.splitlines()) < 3 * jobs
    log = (project / f"logs/measure_cell/toy-euclidean/faiss-flat-cpu/k{k}.round0.log").read_text()
    before = records(project)

    by_hand = log.splitlines()[0].replace(f"k{k}.round0.json", "by-hand.json")
    subprocess.run(by_hand, shell=True, cwd=project, check=True, capture_output=True)
    by_hand_record = project / "results/cells/toy-euclidean/faiss-flat-cpu/by-hand.json"
    assert json.loads(by_hand_record.read_text())["status"] == "ok"
    by_hand_record.unlink()

    assert "Nothing to be done" in snakemake("--resources", "gpu=1", *main, cwd=project).stdout
    assert records(project) == before
    snakemake("published/here", *main, cwd=project)
    kept = pd.read_csv(project / "published/here/samples.csv.gz")
    assert (
        len(kept) == len(samples)
        and (project / "published/here/controls.csv").exists()
        and (project / "published/here/figures/toy-euclidean.png").exists()
    )
    other_timing = ("--config", "suite=test", "sources=[results/test, published/here]", "timing={rounds: 2}")
    # Of what is there: nothing is measured for it.
    snakemake("merge", *other_timing, "figures={formats: [png]}", cwd=project)
    merged = pd.read_csv(project / "results/merged/timings.csv")
    assert len(merged) == len(timings) and set(merged["origin"]) == {"results/test"} and records(project) == before
    assert (project / "results/merged/figures/toy-euclidean.png").exists()
    provenance = json.loads((project / "published/here/provenance.json").read_text())
    assert set(provenance["datasets"]) == set(CONFIG["suites"]["test"]["datasets"]) and provenance["ceilings"]["cpu"]
    plan = snakemake("plan", *main, cwd=project).stdout
    assert re.search(rf"^cells +0 s   {jobs} of {jobs}; ", plan, re.MULTILINE), plan

    moved = project.rename(project.with_name("moved"))
    assert "Nothing to be done" in snakemake("--resources", "gpu=1", *main, cwd=moved).stdout

    with open(moved / "scripts/knnbench/backends/sklearn.py", "a", encoding="utf-8") as file:
        file.write("# an edit\n")
    again = set(JOB.findall(snakemake("-n", *main, cwd=moved).stdout))
    sklearn = {cell for cell in expected_jobs("test", n_neighbors=[k]) if cell[1].startswith("sklearn")}
    assert again == sklearn


def log_of(project):
    """What Snakemake wrote into the log of the last run."""
    return max(project.glob(".snakemake/log/*.log")).read_text(encoding="utf-8")


def order_of(project):
    return re.findall(r"^Job \d+: (\S+: .*), K = (\d+)$", log_of(project), re.MULTILINE)


@pytest.mark.full
def test_rounds_are_shuffled_and_what_differs_is_said(project):
    """Every cell of a round runs before the next round, in an order that the seed decides; pairs get a verdict."""
    overlay = write_overlay(project, TINY + "  # rounds\n")
    rounds = ("--configfile", overlay, "--config", "timing={rounds: 2, budget_s: 0.01}")
    first = snakemake(*rounds, cwd=project)
    order = order_of(project)
    assert len(order) == 18 and set(order[:9]) == set(order[9:])
    assert order[:9] != order[9:] and order[:9] != sorted(order[:9])
    timings = pd.read_csv(project / "results/tiny/timings.csv")
    assert (
        timings.groupby("backend")["fit_s"].nunique()[["sklearn-kd-tree", "faiss-hnsw-m36"]] == 1
    ).all()  # built once for all K
    assert (timings["rounds"] == 2).all() and (timings["query_low_s"] < timings["query_high_s"]).all()
    comparisons = pd.read_csv(project / "results/tiny/comparisons.csv")
    assert len(comparisons) == 9 and set(comparisons["verdict"]) <= {"faster", "same", "undecided"}
    assert not (comparisons["verdict"] == "faster")[comparisons["ratio_low"] <= 1].any()
    counts = [(comparisons["verdict"] == verdict).sum() for verdict in ("faster", "same", "undecided")]
    words = "Of 9 pairs that search the same, {} have a faster one, {} are the same (within timing.same), {} undecided"
    assert words.format(*counts) in first.stdout
    snakemake(*rounds, "--forcerun", "measure_cell", "--", "results/tiny/timings.csv", cwd=project)
    assert order_of(project) == order


@pytest.mark.full
def test_snakemake_keeps_quiet_beside_a_cell(project):
    """Its rate limiter would look through all waiting jobs again for every job that it ever started."""
    overlay = write_overlay(project, TINY)
    command = [sys.executable, "-m", "snakemake", "--configfile", overlay, "--", "results/tiny/timings.csv"]
    run = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL)
    threads = []
    while run.poll() is None:
        if len(records(project)) >= 6:
            threads.append(len(list(Path(f"/proc/{run.pid}/task").glob("*"))))
        time.sleep(0.05)
    assert run.returncode == 0 and threads and max(threads) <= 5  # one of which sleeps, to see whether the cell waits


@pytest.mark.full
def test_selftest_prints_what_it_found(project):
    """The checks of the scores hold anywhere; those of the clock want a quiet machine and are only looked at."""
    run = [sys.executable, "scripts/selftest.py", "--pairs", "0"]
    done = subprocess.run(run, cwd=project, capture_output=True, text=True)
    rows = [re.split(r"  +", line) for line in done.stdout.splitlines()[1:]]
    verdicts = {row[0]: row[3] for row in rows if len(row) == 4}
    (checks,) = re.findall(r"(?:All|of) (\d+) checks", done.stdout + done.stderr)
    assert len(verdicts) == int(checks) and set(verdicts.values()) <= {"ok", "MISSED"}
    grades = ("honest answer", "-1 padding", "repeated neighbours", "one wrong neighbour", "wrong distances")
    assert {verdicts[name] for name in grades} == {"ok"}
    assert (done.returncode == 0) == ("MISSED" not in verdicts.values())
    assert "selftest" in snakemake("-n", "selftest", cwd=project).stdout


# Signals that end a run, and what it says when it has heard them.
HEARD = {
    signal.SIGKILL: None,
    signal.SIGINT: "Terminating processes on user request",
    signal.SIGTERM: "Will exit after finishing",
}


@pytest.mark.full
@pytest.mark.parametrize("number", HEARD, ids=lambda number: number.name)
def test_interrupted_run_is_finished_without_measuring_again(project, number):
    overlay = write_overlay(project, TINY)
    wanted = ("--configfile", overlay, "--", "results/tiny/timings.csv")
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *wanted]
    said = project / "run.log"
    with open(said, "w", encoding="utf-8") as log:
        run = subprocess.Popen(
            command,
            cwd=project,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
        )
    wait_until(lambda: len(records(project)) >= 3, run)
    with machine_lock():  # no further cell is measured before the signal is heard
        run.send_signal(number)
        wait_until(lambda: run.poll() is not None or (HEARD[number] and HEARD[number] in said.read_text()))
    run.wait()
    wait_until(lambda: not processes(project))
    before = records(project)
    assert 3 <= len(before) < 9
    assert all(json.loads(path.read_text())["status"] for path in before)
    done = snakemake(*wanted, cwd=project).stdout
    after = records(project)
    assert len(after) == 9
    # Snakemake may not have heard yet that the newest one was complete.
    newest = max(before, key=before.get)
    assert {path for path in before if after[path] != before[path]} <= {newest}
    assert ("was killed; its lock is removed" in done) == (number == signal.SIGKILL)
    assert len(pd.read_csv(project / "results/tiny/timings.csv")) == 9


@pytest.mark.full
def test_a_second_snakemake_is_refused(project):
    """The lock of a living run stays: only a dead one's is removed."""
    overlay = write_overlay(project, TINY)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", overlay]
    with machine_lock():  # what the first one times waits until the second one has ended
        run = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL)
        wait_until(lambda: list(project.glob(".snakemake/locks/*.lock")), run)
        second = snakemake("--configfile", overlay, cwd=project, check=False)
    assert second.returncode == 1 and "cannot be locked" in second.stdout
    assert run.wait() == 0


@pytest.mark.full
def test_overlay_adds_a_dataset_a_backend_and_a_suite(project):
    generator = np.random.default_rng(0)
    np.save(project / "mine-train.npy", generator.random((300, 6)))
    np.save(project / "mine-test.npy", generator.random((20, 6)))
    overlay = write_overlay(
        project,
        """
        suite: mine
        datasets:
          mine: {metric: manhattan, source: file, train: mine-train.npy, test: mine-test.npy}
        backends:
          faiss-ivfflat-mine: {module: faiss, exact: false, environments: {cpu: faiss-cpu},
                               parameters: {index: "IVF8,Flat", search: {nprobe: 8}}}
        suites:
          mine: {datasets: [mine], backends: [faiss-ivfflat-mine, sklearn-kd-tree], controls: false, n_neighbors: [7]}
        figures: {formats: [png]}
        """,
    )
    snakemake("--configfile", overlay, cwd=project)
    timings = pd.read_csv(project / "results/mine/timings.csv")
    assert timings["status"].tolist() == ["ok", "ok"] and timings["recall"].tolist() == [1, 1]
    assert timings["n"].tolist() == [300, 300] and timings["title"].tolist() == ["mine", "mine"]
    # A backend that is added later times only its own cells.
    extended = (project / overlay).read_text().replace("sklearn-kd-tree]", "sklearn-kd-tree, sklearn-brute]")
    (project / overlay).write_text(extended)
    assert JOB.findall(snakemake("-n", "--configfile", overlay, cwd=project).stdout) == [("mine", "sklearn-brute", "cpu", "7")]


REAL_LAYOUT = """
suite: real
datasets:
  mnist: {metric: euclidean, source: url, url: "http://127.0.0.1:9/points.hdf5", n: 200, d: 8, queries: 10}
suites:
  real: {datasets: [toy-euclidean, mnist], backends: [sklearn-kd-tree, sklearn-brute], controls: false, n_neighbors: [5]}
timing: {budget_s: 0.01}
figures: {formats: [svg]}
"""


@pytest.mark.full
def test_a_dataset_that_cannot_be_had_stops_its_own_cells(project, tmp_path):
    overlay = write_overlay(project, REAL_LAYOUT)
    done = snakemake("--configfile", overlay, cwd=project, check=False)
    assert done.returncode == 1 and "these datasets could not be had" in done.stdout
    assert "mnist: http://127.0.0.1:9/" in done.stdout and "Connection refused" in done.stdout
    timings = pd.read_csv(project / "results/real/timings.csv").set_index("dataset")
    assert set(timings.loc["toy-euclidean", "status"]) == {"ok"} and set(timings.loc["mnist", "status"]) == {"unavailable"}
    assert timings.loc["mnist", "reason"].str.contains("Connection refused").all()
    assert all((project / f"results/real/figures/{name}.svg").exists() for name in ("toy-euclidean", "mnist", "roofline"))
    again = snakemake("--configfile", overlay, cwd=project, check=False)
    assert again.returncode == 1 and "Still not to be had: http://127.0.0.1:9/" in again.stdout
    assert not JOB.search(log_of(project))
    before = records(project)

    # A folder that has it: only what was missing is measured.
    generator = np.random.default_rng(0)
    points = {"train": generator.random((200, 8), np.float32), "test": generator.random((10, 8), np.float32)}
    (tmp_path / "mirror").mkdir()
    with h5py.File(tmp_path / "mirror/points.hdf5", "w") as file:
        file.attrs["distance"] = "euclidean"
        for name, values in points.items():
            file[name] = values
    snakemake("--configfile", overlay, "--config", f"datasets={{mirror: {tmp_path / 'mirror'}}}", cwd=project)
    timings = pd.read_csv(project / "results/real/timings.csv")
    assert set(timings["status"]) == {"ok"} and set(timings["recall"]) == {1}
    assert {path.parts[-3] for path, time in records(project).items() if time != before[path]} == {"mnist"}
    assert (project / "resources/downloads/points.hdf5").is_symlink()
    assert "Nothing to be done" in snakemake("--configfile", overlay, cwd=project).stdout  # without the mirror, too


@pytest.mark.full
def test_a_budget_leaves_cells_out_and_the_next_call_goes_on(project):
    overlay = write_overlay(project, TINY.replace("budget_s: 0.01", "budget_s: 0.01, budget_h: 0.0001"))
    plan = snakemake("plan", "--configfile", overlay, cwd=project).stdout
    assert re.search(r"^cells .* 0 of 9; ", plan, re.MULTILINE)
    snakemake("--configfile", overlay, "--config", "timing={budget_s: 0.01, budget_h: 0.002}", cwd=project)
    timings = pd.read_csv(project / "results/tiny/timings.csv")
    skipped = timings[timings["status"] == "skipped"]
    assert 0 < len(skipped) < 9 and set(skipped["reason"]) == {"over timing.budget_h = 0.002"}
    assert 10 in set(timings[timings["status"] == "ok"]["n_neighbors"])
    before = records(project)
    snakemake("--configfile", overlay, "--config", "timing={budget_s: 0.01, budget_h: 0}", cwd=project)
    assert "skipped" not in set(pd.read_csv(project / "results/tiny/timings.csv")["status"])
    assert all(records(project)[path] == time for path, time in before.items())


@pytest.mark.full
def test_what_is_not_searched_as_it_came_is_said(bare):
    """Rows of a download without a direction, and digits that float32 does not hold, in log and summary; two have one name."""
    generator = np.random.default_rng(0)
    points = generator.normal(size=(300, 4)).astype("f4")
    points[::50] = 0
    np.save(bare / "times.npy", 1_700_000_000_000 + np.arange(400)[:, None] * [1, 7])
    np.save(bare / "queries.npy", 1_700_000_000_000 + np.arange(9)[:, None] * [1, 7])
    overlay = bare / "mine.yaml"
    overlay.write_text(
        """
        suite: mine
        deployment: none
        datasets:
          mirror: mirror
          zeros: {metric: angular, source: url, url: "http://127.0.0.1:9/a/points.hdf5"}
          other: {metric: euclidean, source: url, url: "http://127.0.0.1:9/b/points.hdf5"}
          times: {metric: euclidean, source: file, train: times.npy, test: queries.npy}
        suites: {mine: {datasets: [zeros, other, times], backends: [sklearn-kd-tree], controls: false, n_neighbors: [3]}}
        timing: {budget_s: 0.01}
        """,
        encoding="utf-8",
    )
    (bare / "mirror").mkdir()
    for name, train in (("points.hdf5", points), (second_name("http://127.0.0.1:9/b/points.hdf5"), points[:200])):
        with h5py.File(bare / "mirror" / name, "w") as file:
            file["train"], file["test"] = train, points[1:9]
    snakemake("results/mine/summary.txt", "--configfile", overlay, cwd=bare)
    timings = pd.read_csv(bare / "results/mine/timings.csv")
    assert set(timings["status"]) == {"ok"} and set(timings["recall"]) == {1} and timings["n"].tolist() == [294, 200, 400]
    zeros, lost = "6 of 300 points and 0 of 8 queries of the file are zero", "of 400 distinct points 1 are left"
    summary = (bare / "results/mine/summary.txt").read_text(encoding="utf-8").splitlines()
    for name, words in (("zeros", zeros), ("times", lost)):
        assert words in (bare / f"logs/make_dataset/{name}.log").read_text(encoding="utf-8")
        assert [line for line in summary if words in line and line.startswith(f"{name}: ")]


@pytest.mark.full
def test_bad_data_stops_with_the_row(project):
    np.save(project / "train.npy", np.where(np.arange(20).reshape(10, 2) == 7, np.nan, 1.0))
    np.save(project / "test.npy", np.ones((2, 2)))
    overlay = write_overlay(
        project,
        """
        suite: mine
        datasets: {mine: {metric: euclidean, source: file, train: train.npy, test: test.npy}}
        suites: {mine: {datasets: [mine], backends: [sklearn-kd-tree], controls: false, n_neighbors: [1]}}
        """,
    )
    done = snakemake("--configfile", overlay, cwd=project, check=False)
    assert done.returncode == 1 and "train.npy: row 3 is not finite" in done.stdout and not records(project)
    assert "Error in rule make_dataset:" in done.stdout and "Not all was made: " in done.stdout


@pytest.mark.full
def test_deployment_none_runs_in_this_interpreter(project):
    """The pipeline's own environment has scikit-learn and no FAISS: one is measured, the other is unavailable."""
    overlay = write_overlay(project, TINY)
    snakemake("--configfile", overlay, "--config", "deployment=none", cwd=project)
    timings = pd.read_csv(project / "results/tiny/timings.csv").set_index("backend")
    assert set(timings.loc["sklearn-kd-tree", "status"]) == {"ok"}
    assert set(timings.loc["faiss-hnsw-m36", "status"]) == {"unavailable"}
    assert timings.loc["faiss-hnsw-m36", "reason"].str.contains("No module named 'faiss'").all()


CONDA = """\
#!{python}
'''Stands in for conda: answers what Snakemake asks and makes environments from the same files with uv.'''
import json, subprocess, sys
match sys.argv[1:]:
    case ["--version"]:
        print("conda 25.1.0")
    case ["info", "--json"]:
        print(json.dumps({{"conda_prefix": "{root}", "platform": "linux-64"}}))
    case ["config", "--get", "channel_priority", "--json"]:
        print(json.dumps({{"get": {{"channel_priority": "strict"}}}}))
    case ["env", "create", *options]:
        file, prefix = (options[options.index(name) + 1] for name in ("--file", "--prefix"))
        sys.exit(subprocess.call([sys.executable, "{make}", "--spec", file, "--prefix", prefix]))
    case ["clean", *_]:
        pass
    case other:
        sys.exit(f"unexpected {{other}}")
"""


@pytest.mark.full
def test_conda_uses_the_same_files(project, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    make = project / "scripts/make_environment.py"
    (tmp_path / "bin/conda").write_text(CONDA.format(python=sys.executable, root=tmp_path, make=make))
    (tmp_path / "bin/conda").chmod(0o755)
    (tmp_path / "bin/activate").write_text('. "$1/bin/activate"\nexport CONDA_PREFIX="$1"\n')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (project / "resources/environments").unlink()
    overlay = write_overlay(project, TINY.replace("[sklearn-kd-tree, sklearn-brute, faiss-hnsw-m36]", "[faiss-hnsw-m36]"))
    snakemake("--software-deployment-method", "conda", "--configfile", overlay, cwd=project)
    timings = pd.read_csv(project / "results/tiny/timings.csv")
    assert set(timings["status"]) == {"ok"} and timings["versions"].str.contains("faiss-cpu").all()
    assert not (project / "resources/environments").exists()
    interpreter = (project / "logs/measure_cell/toy-euclidean/faiss-hnsw-m36-cpu/k5.round0.log").read_text().split()[0]
    assert str(project / ".snakemake/conda") in interpreter
