"""The record of a cell: built by the supervisor from what the worker reported and how it ended. Standard library only."""

import json
import os
from pathlib import Path

SCHEMA_VERSION = 1

STATUSES = (
    "ok",
    "low_recall",
    "unsupported",
    "unavailable",
    "timeout_fit",
    "timeout_query",
    "oom_host",
    "oom_device",
    "crashed",
    "failed",
)

TIMEOUTS = {"fit": "timeout_fit", "first_query": "timeout_query", "query": "timeout_query"}


def conclude(outcome):
    """Status and reason of a cell whose worker may not have said so itself.

    Parameters
    ----------
    outcome : isolation.Outcome

    Returns
    -------
    status : one of `STATUSES`
    reason : str, empty for ok
    """
    found = outcome.found
    stage = found.get("stage", "start")
    if "status" in found:
        return found["status"], found.get("reason", "")
    if outcome.timed_out:
        return TIMEOUTS.get(stage, "failed"), f"{stage} was ended at its time limit"
    if outcome.oom_killed:
        return "oom_host", f"killed by the kernel for lack of memory during {stage}"
    if outcome.signal:
        return "crashed", f"{outcome.signal} during {stage}"
    return "failed", f"the worker left with exit code {outcome.exit_code} during {stage}"


def write_atomically(path, text):
    """Write a text file so that a reader, or a later run, finds either nothing or all of it."""
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(part, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_record(path, record):
    write_atomically(path, json.dumps(record, indent=1) + "\n")
