"""A cell that is a job of a queue: how long it may take, and what an attempt left that the queue ended.

A queue calls a job failed that it killed, and Snakemake then deletes what the job wrote and submits it again. Attempts of one
run therefore leave a note beside the record: that they began, then the whole record. The next one takes over a whole record,
and asks SLURM why an attempt ended without one. Standard library only.
"""

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from knnbench.system.files import write_atomically

MARGIN_S = 120  # of a job's time that is left for starting it and for writing the record; of a short job a quarter
RESERVED_BYTES = 500_000_000  # of a job's memory, for Snakemake on the node and the supervisor
# As slurmstepd says it, with and without cgroups.
KILLED_FOR_MEMORY = re.compile(r"exceeded (job )?memory limit|oom[-_ ]kill", re.IGNORECASE)


@dataclass
class Job:
    """What a cell asked of its queue.

    Attributes
    ----------
    minutes : int, from the start of the job
    memory_mb : int, units of 2^20 bytes
    most_mb : int, what another attempt would get; 0 if it gets no more
    """

    minutes: int
    memory_mb: int
    most_mb: int

    def __post_init__(self):
        self.run = os.environ.get("KNNBENCH_RUN", "")  # which call of Snakemake submitted it
        self.final = self.memory_mb >= self.most_mb
        seconds = 60 * self.minutes
        self.deadline = time.monotonic() + seconds - min(MARGIN_S, seconds / 4)

    def data_bytes(self, points):
        """Memory for a worker whose points are mapped from a file: their pages count too while they are in memory."""
        return max(1, self.memory_mb * 2**20 - RESERVED_BYTES - Path(points).stat().st_size)


def note_of(out):
    """Where attempts at a record, or at an index with its record, leave notes."""
    place = out.parent if out.name == "fit.json" else out
    return place.with_name(f".{place.name}.attempt")


def begin(out, job, record):
    """Note that an attempt begins, and what is known before it."""
    slurm = os.environ.get("SLURM_JOB_ID", "")
    left = {"run": job.run, "slurm": slurm, "log": ask_slurm(slurm).get("StdOut", ""), "job": vars(job), "begun": record}
    write_atomically(note_of(out), json.dumps(left))


def finish(out, job, record):
    """Note the record of an attempt, before it is written."""
    write_atomically(note_of(out), json.dumps({"run": job.run, "record": record}))


def earlier(out, job):
    """The record that an earlier attempt of this run left, or that follows from how the queue ended it; None to measure.

    An index that was built is gone with the record that lay in it.
    """
    try:
        left = json.loads(note_of(out).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not job.run or left["run"] != job.run:
        return None
    if "record" in left:
        return None if out.name == "fit.json" and left["record"]["status"] == "ok" else left["record"]
    if left["job"]["final"] and killed_for_memory(left["slurm"], Path(left["log"])):
        reason = f"SLURM ended job {left['slurm']} at its memory limit, {left['job']['memory_mb']} MiB"
        return left["begun"] | {"status": "oom_host", "reason": reason}
    return None


def ask_slurm(slurm):
    """What SLURM says of a job, a dict of words; empty without SLURM, or when it has forgotten the job."""
    if not slurm:
        return {}
    try:
        asked = subprocess.run(
            ["scontrol", "show", "job", slurm], capture_output=True, encoding="utf-8", errors="replace", timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(re.findall(r"(\w+)=(\S*)", asked.stdout))


def killed_for_memory(slurm, log):
    """Whether SLURM ended a job at its memory limit: by the job's state as long as SLURM knows it, and by the job's log."""
    state = ask_slurm(slurm).get("JobState", "FAILED")
    if state != "FAILED":
        return state == "OUT_OF_MEMORY"
    return log.is_file() and bool(KILLED_FOR_MEMORY.search(log.read_text(encoding="utf-8", errors="replace")))
