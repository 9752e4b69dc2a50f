"""The record of a cell: built by the supervisor from what the worker reported and how it ended. Standard library only."""

import traceback

SCHEMA_VERSION = 4

# From the best to the worst: rounds that end differently are reported by the worst.
STATUSES = (
    "ok",
    "low_recall",
    "not_needed",
    "unsupported",
    "unavailable",
    "skipped",
    "timeout_fit",
    "timeout_query",
    "oom_host",
    "oom_device",
    "crashed",
    "failed",
)

NOT_RUN = tuple(status for status in STATUSES if status not in ("ok", "low_recall"))
MISSING = tuple(status for status in NOT_RUN if status != "not_needed")  # who has one of these has a number that we lack
TIMEOUTS = {"fit": "timeout_fit"} | dict.fromkeys(
    ("compile", "first_query", "try_many", "query", "batches", "energy", "callers"), "timeout_query"
)


# As PyTorch, JAX, NumPy, FAISS and the CUDA runtime say it.
OUT_OF_MEMORY = (
    "out of memory",
    "out_of_memory",
    "can't allocate memory",
    "cannot allocate memory",
    "unable to allocate",
    "bad_alloc",
    "resource_exhausted",
    "alloc fail",
    "alloc_failed",
    "memoryallocation",
)
ON_DEVICE = ("cuda", "cublas", "gpu", "device", "resource_exhausted")


def answer_of(path, point=None):
    """Where the ids are that a cell returned, or one of its points by number, beside its record: `ids` in a .npz file."""
    return path.with_suffix(".npz" if point is None else f".point{point}.npz")


def out_of_memory(text, device):
    """Status of an error that says oom_host or oom_device in one of many ways, or None."""
    text = text.lower()
    if not any(words in text for words in OUT_OF_MEMORY):
        return None
    return "oom_device" if device == "gpu" and any(words in text for words in ON_DEVICE) else "oom_host"


def describe(error):
    """An exception in a line: its class and message, or where it was raised if it has none, as many assertions."""
    words = str(error) or "at " + (traceback.format_tb(error.__traceback__) or ["an unknown place"])[-1].strip().replace(
        "\n", ":"
    )
    return f"{type(error).__name__}: {words}"[:500]


def classify(error, device):
    """Status of an exception: oom_host, oom_device or failed."""
    return out_of_memory(str(error), device) or ("oom_host" if isinstance(error, MemoryError) else "failed")


def conclude(outcome, device):
    """Status and reason of a cell whose worker may not have said so itself.

    A cell whose passes were timed and graded keeps that status, whatever happened later.

    Parameters
    ----------
    outcome : isolation.Outcome
    device : {"cpu", "gpu"}

    Returns
    -------
    status : one of `STATUSES`
    reason : str, empty for ok
    """
    status, reason = how_it_ended(outcome, device)
    graded = outcome.found.get("graded")
    if graded and status in NOT_RUN:
        lost = f"{status} in {outcome.found['stage']}, whose columns are incomplete: {reason}"
        return graded["status"], "; ".join(filter(None, (graded.get("reason"), lost)))
    return status, reason


def how_it_ended(outcome, device):
    found = outcome.found
    stage = found.get("stage", "start")
    if "status" in found:
        return found["status"], found.get("reason", "")
    if outcome.timed_out:
        if outcome.job_over:
            before = stage in ("start", "import", "load", "save")
            status = TIMEOUTS.get(stage, "timeout_fit" if before else "timeout_query")
            return status, f"{stage} was ended at the time limit of its job"
        return TIMEOUTS.get(stage, "failed"), f"{stage} was ended at its time limit"
    if outcome.oom_killed:
        return "oom_host", f"killed by the kernel for lack of memory during {stage}"
    said = outcome.output.split("Fatal Python error:")[0]  # from where on faulthandler lists the stack
    if outcome.signal == "SIGABRT" and (status := out_of_memory(said[-2000:], device)):
        return status, f"memory was refused and the library aborted during {stage}"
    if outcome.signal:
        return "crashed", f"{outcome.signal} during {stage}{last_words(said)}"
    return "failed", f"the worker left with exit code {outcome.exit_code} during {stage}{last_words(said)}"


def last_words(output):
    """What a library printed last before the worker ended, for a reason; empty if it said nothing."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return f": {lines[-1][:300]}" if lines else ""
