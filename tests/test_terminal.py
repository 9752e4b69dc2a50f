"""What a run says: lines without a terminal, bars on one, errors in full, and Snakemake's own words where these were asked."""

import copy
import fcntl
import io
import json
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from types import SimpleNamespace

import h5py
import pytest
import yaml
from conftest import CONFIG, ROOT
from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent

from knnbench.config.checks import resolve
from knnbench.config.suite import Cell
from knnbench.workflow.progress import Progress, expected_jobs
from knnbench.workflow.terminal import LOGGED, Terminal

CELLS = [Cell("data", "exact", "cpu", 1), Cell("data", "exact", "cpu", 100), Cell("data", "rough", "cpu", 1)]
SETTINGS = {
    "suite": "mine",
    "timing": {"rounds": 1},
    "backends": {"exact": {"exact": True}, "rough": {"exact": False}},
}
CONTROL = re.compile(r"\033\[(\d*)([A-Za-z])")


class Screen(io.StringIO):
    """A file that says that it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


def shown(text):
    """The lines that are left on a terminal after a text with the control codes that we use."""
    lines, row = [""], 0
    for part in re.split(r"(\033\[\d*[A-Za-z]|\n|\r)", text):
        if control := CONTROL.fullmatch(part):
            assert control[2] in "AJm", part
            row -= int(control[1] or 0) * (control[2] == "A")
            if control[2] == "J":
                lines[row:] = [""]
        elif part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part != "\r":
            lines[row] += part
    return lines


class Run:
    """A run that is made up: says what Snakemake says of jobs."""

    def __init__(self, stream, folder, jobs):
        self.logger = logging.getLogger(f"run-{folder}")
        self.logger.setLevel(logging.INFO)
        self.logger.propagate = False
        self.usual = ColorizingTextHandler(
            stream=stream, formatter=DefaultFormatter({"reason"}, show_failed_logs=True), filter=DefaultFilter((), *[False] * 4)
        )
        self.log = logging.StreamHandler(io.StringIO())
        self.logger.handlers = [self.usual, self.log]
        self.terminal = Terminal(self.usual, self.logger, lambda: False)
        self.terminal.replace(self.usual, self.terminal)
        self.folder, self.stream, self.jobs = folder, stream, jobs
        self.terminal.begin(Progress({job: (kind, 1.0) for job, (kind, _) in jobs.items()}, time.time()), SETTINGS, CELLS)

    def say(self, message, event, **more):
        self.logger.info(message, extra={"event": event, **more})

    def start(self, job, rule, words, output=None, **wildcards):
        self.say("Select jobs to execute...", None)
        self.say("Execute 1 jobs...", LogEvent.JOB_STARTED, jobs=[job])
        self.say(
            f"Rule: {rule}",
            LogEvent.JOB_INFO,
            **{"jobid": job, "rule_name": rule, "rule_msg": words, "wildcards": wildcards, "output": output or []},
            **{"indent": False, "reason": "because"},
        )
        self.say("python long command", LogEvent.SHELLCMD, shellcmd="python long command")

    def end(self, job, done):
        self.say(f"Finished jobid: {job}", LogEvent.JOB_FINISHED, job_id=job)
        self.say(None, LogEvent.PROGRESS, done=done, total=len(self.jobs) + 1)

    def cell(self, job, done, cell, record):
        path = self.folder / f"{job}.json"
        self.start(
            job,
            "measure_cell",
            f"data: {cell.backend} on cpu, K = {cell.k}",
            [str(path)],
            **{"dataset": "data", "backend": cell.backend, "device": "cpu", "k": str(cell.k), "round": "0"},
        )
        path.write_text(json.dumps({"queries_timed": 1000, "reason": "", **record}), encoding="utf-8")
        self.end(job, done)

    def fail(self, job):
        log = self.folder / "job.log"
        log.write_text("the first line\nthe last line\n", encoding="utf-8")
        fields = {"jobid": job, "rule_name": "make_dataset", "rule_msg": None, "log": [str(log)], "input": ["in.npy"]}
        fields |= {"output": ["out.hdf5"], "conda_env": None, "shellcmd": "python make", "aux": {}, "indent": False}
        self.logger.error("Error in rule", extra={"event": LogEvent.JOB_ERROR, **fields})


JOBS = {1: ("datasets", 1), 2: ("cells", 1), 3: ("cells", 1), 4: ("cells", 1), 5: ("results", 1)}
OK = {"status": "ok", "query_ns": {"host": [4_000_000, 5_000_000, 6_000_000]}, "recall": 1.0}
LOW = {"status": "low_recall", "query_ns": {"host": [1_000_000]}, "recall": 0.5, "reason": "recall 0.500 is below 0.75"}
NOT = {"status": "unsupported", "reason": "there is no such metric " * 20}


def whole(run):
    """A dataset, three cells, a figure, and what is made of them."""
    path = run.folder / "data.hdf5"
    with h5py.File(path, "w"):
        run.start(1, "make_dataset", "Make dataset data", [str(path)], dataset="data")
    run.end(1, 1)
    for job, (cell, record) in enumerate(zip(CELLS, (OK, NOT, LOW), strict=True), 2):
        run.cell(job, job, cell, record)
    run.start(5, "plot_speed", "Draw data", ["a.svg", "b.svg"], dataset="data")
    run.end(5, 5)
    run.start(6, "all", "Suite mine")
    run.end(6, 6)
    run.say("Elapsed time: 1", None)


def test_plain_lines(tmp_path):
    """A line for each cell, none for figures, and no control codes; the log has everything."""
    run = Run(io.StringIO(), tmp_path, JOBS)
    whole(run)
    lines = run.stream.getvalue().splitlines()
    assert lines[0] == "Suite mine: 1 dataset, 3 cells, 1 result to make; about 5 s left"
    assert [" ".join(line.split()) for line in lines[1:5]] == [
        "dataset data made in 0 s",
        "data exact-cpu K = 1 200,000 queries/s",
        "data exact-cpu K = 100 unsupported: there is no such metric there is no such ...",
        "data rough-cpu K = 1 1,000,000 queries/s recall 0.500 low_recall: recall 0.500 is below 0.75",
    ]
    assert re.fullmatch(r"Cells: 3 of 3; 1 ok, 1 unsupported, 1 low_recall; about \d s left", lines[5])
    assert lines[6:] == ["Cells: 3 of 3; 1 ok, 1 unsupported, 1 low_recall; about 0 s left", "Elapsed time: 1"]
    assert "\033" not in run.stream.getvalue() and "\r" not in run.stream.getvalue()
    for words in ("Select jobs", "Execute 1 jobs", "Finished jobid: 4", "python long command"):
        assert words in run.log.stream.getvalue()


def test_a_line_about_all_cells_is_seldom(tmp_path):
    """Once a minute, and after the last cell."""
    jobs = dict.fromkeys(range(50), ("cells", 1))
    run = Run(io.StringIO(), tmp_path, jobs)
    for job in jobs:
        if job in (20, 21):
            run.terminal.said_s -= 59 if job == 20 else 2
        run.cell(job, job + 1, CELLS[0], OK)
    lines = run.stream.getvalue().splitlines()
    assert len([line for line in lines if line.startswith("data")]) == 50
    assert [line.split(";")[0] for line in lines if line.startswith("Cells")] == ["Cells: 22 of 50", "Cells: 50 of 50"]


def test_bars(tmp_path):
    """Lines scroll above the bars, which are drawn when jobs begin and end, by no thread; they stay at the end."""
    threads = threading.active_count()
    run = Run(Screen(), tmp_path, JOBS)
    run.start(1, "make_dataset", "Make dataset data", ["out.hdf5"], dataset="data")
    lines = shown(run.stream.getvalue())
    assert lines[0].startswith("Suite mine: ") and [line.split()[0] for line in lines[1:4]] == ["datasets", "cells", "results"]
    assert lines[4] == "about 5 s left   now: Make dataset data" and lines[5:] == [""]
    whole(run)
    assert threading.active_count() == threads
    lines = shown(run.stream.getvalue())
    first = "Suite dataset data data data datasets cells results Elapsed"
    assert " ".join(line.split()[0] for line in lines[:-1]) == first
    assert [line.split()[1] for line in lines[5:8]] == ["█" * 20] * 3
    assert lines[6].endswith("    3 of 3   1 ok, 1 unsupported, 1 low_recall")


def test_bars_are_as_wide_as_the_terminal(tmp_path, monkeypatch):
    run = Run(Screen(), tmp_path, JOBS)
    monkeypatch.setattr(run.stream, "fileno", lambda: 99, raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda number: os.terminal_size((40, 10)))
    run.start(1, "make_dataset", "Make dataset data " * 9, ["out.hdf5"], dataset="data")
    bars = shown(run.stream.getvalue())[1:-1]
    assert len(bars) == 4 and max(map(len, bars)) == 39


@pytest.mark.parametrize("stream", [io.StringIO, Screen])
def test_errors_in_full(tmp_path, stream):
    """The rule, the log with its lines, and warnings; below them the bars go on."""
    run = Run(stream(), tmp_path, JOBS)
    run.start(1, "make_dataset", "Make dataset data", ["out.hdf5"], dataset="data")
    run.fail(1)
    run.logger.warning("Trying to restart job 1.")
    text = "\n".join(shown(run.stream.getvalue()))
    for words in ("Error in rule make_dataset:", "job.log", "the first line\nthe last line", "out.hdf5", "Trying to restart"):
        assert words in text
    assert "now: " not in text and ("\ndatasets " in text) == (stream is Screen)
    run.terminal.close()
    assert shown(run.stream.getvalue())[-1] == ""


def test_a_job_that_writes_itself_finds_no_bars(tmp_path):
    run = Run(Screen(), tmp_path, {1: ("cells", 1)})
    run.start(2, "compare", "What reproduced")
    run.stream.write("its own words\n")
    run.cell(1, 1, CELLS[0], OK)
    lines = shown(run.stream.getvalue())
    assert lines[1] == "its own words" and lines[2].startswith("data ") and lines[3:] == [""]
    run.end(2, 2)
    assert shown(run.stream.getvalue())[3].startswith("cells ")


def test_an_error_of_ours_gives_the_terminal_back(tmp_path, capsys):
    """A record that cannot be read costs the bars and not the run."""
    run = Run(io.StringIO(), tmp_path, JOBS)
    run.start(2, "measure_cell", "a cell", [str(tmp_path / "none.json")], backend="exact", device="cpu", k="1", dataset="data")
    run.end(2, 1)
    assert run.logger.handlers == [run.usual, run.log] and "none.json" in capsys.readouterr().err
    assert "Finished jobid: 2" in run.stream.getvalue() and "1 of 6 steps" in run.stream.getvalue()
    assert "1 of 6 steps" not in run.log.stream.getvalue() and "Finished jobid: 2" in run.log.stream.getvalue()


ASKED = {"quiet": {"reason", "host"}, "verbose": False, "debug_dag": False, "printshellcmds": False}


@pytest.mark.parametrize(
    ("changed", "name", "main", "taken"),
    [
        ({}, "DefaultStreamHandler", True, True),
        ({"quiet": None}, "DefaultStreamHandler", True, True),
        ({"quiet": {"rules"}}, "DefaultStreamHandler", True, False),
        ({"verbose": True}, "DefaultStreamHandler", True, False),
        ({"printshellcmds": True}, "DefaultStreamHandler", True, False),
        ({}, "a plugin's", True, False),
        ({}, "DefaultStreamHandler", False, False),
    ],
)
def test_other_words_that_were_asked_for(changed, name, main, taken):
    """--quiet, --verbose, --printshellcmds, --logger: Snakemake speaks as it does; and so it does in the job of a cluster."""
    usual = ColorizingTextHandler(stream=io.StringIO())
    usual.name = name
    logger = SimpleNamespace(handlers=[usual])
    workflow = SimpleNamespace(output_settings=SimpleNamespace(**ASKED | changed), is_main_process=main)
    terminal = Terminal.take_over(workflow, logger)
    assert (terminal is not None) == taken and logger.handlers == [terminal or usual]


def test_a_dry_run_is_snakemakes(tmp_path):
    run = Run(io.StringIO(), tmp_path, {})
    run.terminal.is_aside = lambda: True
    run.start(1, "measure_cell", "a cell", ["out"])
    assert "Job 1: a cell" in run.stream.getvalue() and LogEvent.JOB_INFO in LOGGED


def test_what_jobs_are_expected_to_take(tmp_path, monkeypatch):
    """Every job that makes a file has a kind and seconds; those of cells, indexes and datasets are those of the plan."""
    monkeypatch.chdir(tmp_path)
    config = copy.deepcopy(CONFIG)
    resolve(config, yaml.safe_load((ROOT / "rules/schemas/config.schema.yaml").read_text()))
    cell = Cell("rd-d", "sklearn-kd-tree", "cpu", 10)
    of = SimpleNamespace(dataset="rd-d", backend="sklearn-kd-tree", device="cpu", k="10", file="sift-128-euclidean.hdf5")
    kinds = {
        "make_environment": "environments",
        "make_dataset": "datasets",
        "download_dataset": "datasets",
        "measure_ceilings": "ceilings",
        "build_index": "indexes",
        "measure_cell": "cells",
        "plot_speed": "results",
    }
    jobs = [SimpleNamespace(jobid=name, rule=SimpleNamespace(name=name), wildcards=of, output=[name]) for name in kinds]
    jobs.append(SimpleNamespace(jobid="all", rule=SimpleNamespace(name="all"), wildcards=of, output=[]))
    expected = expected_jobs(jobs, config, [cell], ROOT / "published")
    assert {name: kind for name, (kind, _) in expected.items()} == kinds
    assert all(seconds > 0 for _, seconds in expected.values())
    assert expected["download_dataset"][1] > 50 and expected["make_dataset"][1] > 5 and expected["measure_cell"][1] > 10


ONE = """
suite: one
deployment: none
suites: {one: {datasets: [toy-euclidean], backends: [sklearn-brute], controls: false, n_neighbors: [5]}}
timing: {budget_s: 0.01}
"""


def test_a_run_on_a_terminal(bare):
    """As a user sees it; nothing of Snakemake's own job lines, which its log has."""
    (bare / "one.yaml").write_text(ONE, encoding="utf-8")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    record = "results/cells/toy-euclidean/sklearn-brute-cpu/k5.round0.json"
    command = [sys.executable, "-m", "snakemake", "--configfile", "one.yaml", "--", record]
    run = subprocess.Popen(command, cwd=bare, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    said = b""
    while True:
        try:
            said += os.read(ours, 65536)
        except OSError:  # nobody writes any more
            break
    os.close(ours)
    assert run.wait() == 0, said.decode()
    lines = shown(said.decode())
    assert [line for line in lines if re.fullmatch(r"dataset        toy-euclidean +made in \d+ s", line)], lines
    assert [line for line in lines if re.fullmatch(r"toy-euclidean  sklearn-brute-cpu +K = 5 +[\d,]+ queries/s", line)], lines
    assert [line for line in lines if re.fullmatch(r"cells +█{20}    1 of 1   1 ok", line)], lines
    assert not [line for line in lines if re.search("Job \\d|Finished|steps|Select|Job stats|now:", line)], lines
    (log,) = bare.glob(".snakemake/log/*.log")
    for words in ("Job stats:", "Finished jobid: 0 (Rule: measure_cell)", "toy-euclidean: sklearn-brute on cpu, K = 5"):
        assert words in log.read_text(encoding="utf-8")


def test_help_names_every_target(bare):
    """A line with an example for each, without a file but logs; each is a rule, or what one makes."""
    before = set(bare.rglob("*"))
    command = [sys.executable, "-m", "snakemake", "help"]
    done = subprocess.run(command, cwd=bare, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    made = {str(path.relative_to(bare)) for path in set(bare.rglob("*")) - before if "__pycache__" not in path.parts}
    assert {path for path in made if not path.startswith(".snakemake")} == {"logs", "logs/help.log"}
    calls = dict(re.findall(r"^  (\S+) {2,}\S.*? {2,}snakemake (.+)$", done.stdout, re.MULTILINE))
    targets = "all plan selftest new_backend help report recommend tune compare remeasure rerender artifact published/NAME"
    assert list(calls) == [*targets.split(), "merge", "import", "export"]
    assert all(call.split()[0] == name for name, call in calls.items() if name != "all")
    rules = set(re.findall(r"^rule (\w+):", "\n".join(each.read_text() for each in bare.glob("rules/*.smk")), re.MULTILINE))
    assert calls.keys() - {"all", "published/NAME"} <= rules
    assert ", ".join(CONFIG["suites"]) in done.stdout and len(done.stdout.splitlines()) < 30
