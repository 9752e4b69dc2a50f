"""Cells as jobs of a queue: what they leave for the next attempt, and what it makes of that. test_slurm.py has a real queue."""

import time

import pytest

from knnbench.measure.job import Job, begin, earlier, finish, note_of

BEGUN = {"schema_version": 3, "machine": {"node": "n1"}}
WHOLE = BEGUN | {"status": "ok", "reason": ""}


@pytest.fixture
def job(monkeypatch):
    monkeypatch.setenv("KNNBENCH_RUN", "this run")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return Job(10, 2000, 2000)


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """Function that makes SLURM say something of every job, and its log another thing."""

    def say(state, log=""):
        (tmp_path / "7.log").write_text(log)
        program = tmp_path / "scontrol"
        program.write_text(f"#!/bin/sh\necho 'JobId=7 JobState={state} Reason=None'\necho '   StdOut={tmp_path}/7.log'\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return say


def test_a_whole_record_is_taken_over_by_the_same_run_only(tmp_path, job, monkeypatch):
    out = tmp_path / "k5.round0.json"
    assert earlier(out, job) is None
    finish(out, job, WHOLE)
    assert earlier(out, job) == WHOLE and note_of(out) == tmp_path / ".k5.round0.json.attempt"
    monkeypatch.setenv("KNNBENCH_RUN", "another run")
    assert earlier(out, Job(10, 2000, 2000)) is None
    monkeypatch.delenv("KNNBENCH_RUN")  # a command that is pasted into a terminal measures, every time
    finish(out, Job(10, 2000, 2000), WHOLE)
    assert earlier(out, Job(10, 2000, 2000)) is None


def test_an_index_is_gone_with_its_record(tmp_path, job):
    out = tmp_path / "hnsw-cpu/fit.json"
    assert note_of(out) == tmp_path / ".hnsw-cpu.attempt"  # beside the folder, which Snakemake deletes
    finish(out, job, WHOLE)
    assert earlier(out, job) is None
    failed = WHOLE | {"status": "timeout_fit"}
    finish(out, job, failed)
    assert earlier(out, job) == failed


@pytest.mark.parametrize(
    ("state", "log", "killed"),
    [
        ("OUT_OF_MEMORY", "", True),
        ("FAILED", "slurmstepd: error: StepId=7.0 exceeded memory limit (9 > 8), being killed", True),
        ("FAILED", "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0.", True),
        ("FAILED", "Error in rule measure_cell", False),
        ("NODE_FAIL", "", False),
        ("TIMEOUT", "DUE TO TIME LIMIT", False),
    ],
)
def test_why_an_attempt_ended_without_a_record(tmp_path, job, scontrol, state, log, killed):
    scontrol(state, log)
    out = tmp_path / "k5.round0.json"
    begin(out, job, BEGUN)
    left = earlier(out, job)
    assert (left or {}).get("status") == ("oom_host" if killed else None)
    assert not killed or ("SLURM ended job 7" in left["reason"] and left["machine"] == {"node": "n1"})
    begin(out, Job(10, 1000, 2000), BEGUN)  # the next attempt has more
    assert earlier(out, job) is None


def test_without_slurm_it_is_measured_again(tmp_path, job, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    begin(tmp_path / "k5.round0.json", job, BEGUN)
    assert earlier(tmp_path / "k5.round0.json", job) is None


def test_limits(tmp_path, job, monkeypatch):
    points = tmp_path / "data"
    points.write_bytes(b"x" * 1000)
    assert job.data_bytes(points) == 2000 * 2**20 - 500_000_000 - 1000 and job.final
    assert Job(1, 100, 100).data_bytes(points) == 1 and not Job(1, 100, 200).final
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    assert [Job(minutes, 1, 1).deadline - 1000 for minutes in (1, 100)] == [60 - 15, 6000 - 120]
