"""Whose turn it is to measure on this machine: one timed cell at a time, whoever started it. Standard library only."""

import contextlib
import fcntl
import os
import threading
import time
from pathlib import Path

MEMORY = "/dev/shm"  # a file system in memory, where every user may write, on any usual Linux
PATIENCE_S = 10  # of waiting, after which it is said who has the machine


def place():
    """The folder on which everybody locks: it is there for all, so that no file of the first user keeps others out."""
    return MEMORY if os.path.isdir(MEMORY) else "/"


@contextlib.contextmanager
def machine_lock():
    """Hold the machine: a second snakemake, another user or a job of a queue waits. The kernel releases it.

    Who has waited for `PATIENCE_S` says for whom, in its log.
    """
    folder = os.open(place(), os.O_RDONLY)
    patience = threading.Timer(PATIENCE_S, lambda: print(f"waiting for this machine: {holder_in_words()}", flush=True))
    patience.daemon = True
    patience.start()
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        patience.cancel()
        yield
    finally:
        patience.cancel()
        os.close(folder)


def in_line():
    """Who has the machine, and who waits for it, as the kernel lists it (proc(5), /proc/locks).

    Returns
    -------
    holder : int, its process id; None if nobody that is seen from here has it
    waiting : list of int
    """
    about = os.stat(place())
    ours = f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"
    holder, waiting = None, []
    try:
        lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None, []
    for line in lines:
        _, *fields = line.split()
        waits = fields[0] == "->"
        kind, _, _, pid, where = fields[waits : waits + 5]
        if kind == "FLOCK" and where == ours and int(pid) > 0:
            if waits:
                waiting.append(int(pid))
            else:
                holder = int(pid)
    return holder, waiting


def holder_in_words():
    """Who has the machine, and since when that process is there."""
    holder, _ = in_line()
    try:
        since = time.strftime("%H:%M:%S", time.localtime(os.stat(f"/proc/{holder}").st_ctime))
        words = Path(f"/proc/{holder}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "a process that is not seen from here measures on it"
    return f"process {holder}, which is there since {since}, measures on it ({words[:120]})"


def waiting_below(parent):
    """Processes that wait for the machine and that a process has started, it itself or what it started."""
    _, waiting = in_line()

    def ancestors(pid):
        while pid > 1:
            yield pid
            try:
                pid = int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[1])
            except OSError:
                return

    return [pid for pid in waiting if parent in ancestors(pid)]
