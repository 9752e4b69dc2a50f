"""A control group in which a command has half a CPU, to see what a quota does to it."""

import contextlib
import uuid

from knnbench.system import machine


def make_group(folder, files):
    """Make a control group below another one, with these files; None where that may not be, or where they have other names."""
    group = folder / f"knnbench-{uuid.uuid4().hex}"
    try:
        group.mkdir()
        for name, text in files.items():
            (group / name).write_text(text, encoding="utf-8")
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        return None
    return group


@contextlib.contextmanager
def half_a_cpu():
    """Words to put before a command that shall have half a CPU; None where that cannot be had."""
    both = {"cpu.max": "50000 100000"}, {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "50000"}  # versions 2 and 1
    made = (make_group(folder, files) for _, folder in machine.control_groups() for files in both)
    group = next(filter(None, made), None)
    try:
        yield group and ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        if group:
            group.rmdir()
