"""Run a worker process that may crash, hang or eat the memory, and always learn what it measured until then.

The worker and its supervisor share two anonymous files: a log of events, one JSON object per line, which survives any death
of the worker, and a deadline, which the worker moves and the supervisor enforces. The supervisor sleeps until the deadline
that it last read, or until the worker wakes it at the beginning of a stage: it takes no CPU from what is timed.
Standard library only. Linux.
"""

import contextlib
import ctypes
import fcntl
import json
import math
import mmap
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from knnbench.machine import oom_kills

PR_SET_PDEATHSIG = 1  # prctl(2)
START_LIMIT_S = 600  # until the worker's first `Reporter.enter`
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Reporter:
    """The worker's end: which stage it is in, for how long it may last, and what it found."""

    def __init__(self, events, deadline, bell):
        for descriptor in (events, deadline, bell):
            os.set_inheritable(descriptor, False)
        self.events = events
        self.bell = bell
        self.deadline = mmap.mmap(deadline, 8)

    def enter(self, stage, limit_s):
        """Begin a stage; a supervisor kills the worker `limit_s` seconds from now unless another call comes first."""
        self.add(stage=stage)
        self.allow(limit_s)
        os.eventfd_write(self.bell, 1)

    def allow(self, limit_s):
        """Give the current stage `limit_s` seconds from now; wakes nobody, so the deadline may only move away."""
        self.deadline[:] = struct.pack("d", time.monotonic() + limit_s)

    def add(self, **found):
        os.write(self.events, (json.dumps(found) + "\n").encode())


@dataclass
class Outcome:
    """What a supervisor learned.

    Attributes
    ----------
    found : dict, all events merged: dictionaries merge, lists grow, other values replace
    signal : str or None, name of the signal that ended the worker, such as "SIGSEGV"
    exit_code : int or None
    timed_out, job_over, oom_killed : bool, the supervisor ended it at its deadline, which was the end of the job's time; the
        kernel did for lack of memory
    max_rss_bytes : int, largest resident memory of the worker, or of a compiler that it ran, over its whole life
    output : str, what it printed
    """

    found: dict = field(default_factory=dict)
    signal: str | None = None
    exit_code: int | None = None
    timed_out: bool = False
    job_over: bool = False
    oom_killed: bool = False
    max_rss_bytes: int = 0
    output: str = ""


def merge(into, new):
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        elif isinstance(value, list):
            into.setdefault(key, []).extend(value)
        else:
            into[key] = value


def die_with_parent(with_signal):
    """Have the kernel send us a signal when our parent dies, so that kill -9 on it leaves nobody behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, with_signal)


@contextlib.contextmanager
def machine_lock():
    """Hold the machine: one timed cell at a time, whoever started it (a second snakemake, another user, a SLURM job)."""
    shared = Path("/dev/shm")
    path = (shared if shared.is_dir() else Path(tempfile.gettempdir())) / "knnbench.lock"
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o444))
    with open(path, encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def confine(supervisor, threads, data_bytes):
    """Bound this process, a worker: it dies with its supervisor, has `threads` CPUs and `data_bytes` of memory (or None).

    JAX asks the kernel how many CPUs it may use and nothing else. RLIMIT_DATA and not RLIMIT_AS: JAX and CUDA reserve far
    more address space than they use. The kernel's OOM killer takes the worker first.
    """
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a queue sends it to all of a job: the supervisor decides
    if os.getppid() != supervisor:  # it died before we asked
        leave()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if data_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")


def supervise(command, threads, gpu, until=math.inf):
    """Run a worker to its end or its deadline.

    Parameters
    ----------
    command : list of str
        Our process id and the descriptors that `Reporter` takes are appended.
    threads : int, for the thread pools of every library
    gpu : bool, whether the worker may see GPUs
    until : float, by time.monotonic, when it ends in any case: the job of a queue is over then

    Returns
    -------
    Outcome
    """
    outcome = Outcome()
    kills = oom_kills()
    events, deadline, bell = os.memfd_create("events"), os.memfd_create("deadline"), os.eventfd(0)
    output = os.memfd_create("output")
    os.write(deadline, struct.pack("d", time.monotonic() + START_LIMIT_S))
    with tempfile.TemporaryDirectory(prefix="knnbench-") as scratch, mmap.mmap(deadline, 8) as limit:
        worker = subprocess.Popen(
            [*command, str(os.getpid()), str(events), str(deadline), str(bell)],
            env=os.environ
            | dict.fromkeys(THREAD_VARIABLES, str(threads))
            | {"TMPDIR": scratch}
            | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # the driver's own order, by which we ask it
            | ({} if gpu else {"CUDA_VISIBLE_DEVICES": ""}),
            pass_fds=(events, deadline, bell),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        pidfd = os.pidfd_open(worker.pid)
        waiting = select.poll()
        waiting.register(pidfd, select.POLLIN)
        waiting.register(bell, select.POLLIN)
        try:
            ready = {}
            while pidfd not in ready and not outcome.timed_out:
                left = min(struct.unpack("d", limit[:])[0], until) - time.monotonic()
                ready = dict(waiting.poll(max(0, left) * 1000))
                if bell in ready:
                    os.eventfd_read(bell)
                outcome.timed_out = left <= 0 and not ready
            outcome.job_over = outcome.timed_out and time.monotonic() >= until
        finally:
            # Its children too; a session of its own keeps it out of reach of the terminal's Ctrl-C.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            _, status, usage = os.wait4(worker.pid, 0)
            worker.returncode = os.waitstatus_to_exitcode(status)
            os.close(pidfd)
    outcome.exit_code = worker.returncode
    outcome.max_rss_bytes = usage.ru_maxrss * 1024
    if worker.returncode < 0:
        outcome.signal = signal.Signals(-worker.returncode).name
        killed = outcome.signal == "SIGKILL" and not outcome.timed_out
        outcome.oom_killed = killed and kills is not None and (oom_kills() or 0) > kills
    with open(output, encoding="utf-8", errors="replace") as printed:
        printed.seek(0)
        outcome.output = printed.read()
    with open(events, "rb") as log:
        log.seek(0)
        for line in log:
            if line.endswith(b"\n"):  # a worker may die in the middle of a line
                merge(outcome.found, json.loads(line))
    os.close(deadline)
    os.close(bell)
    return outcome


def leave():
    """End the worker now: handlers that crash at exit and threads left over cannot undo what it reported."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
