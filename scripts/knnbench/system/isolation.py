"""Run a worker process that may crash, hang or eat the memory, and always learn what it measured until then.

The worker and its supervisor share two unnamed files: a log of events, one JSON object per line, which survives any death
of the worker, and a deadline, which the worker moves and the supervisor enforces. The supervisor sleeps until the deadline
that it last read, or until the bell rings, a pipe: the worker rings it at the beginning of a stage, and a thread that waits for
the worker at its end. Nobody takes CPU from what is timed. Standard library only, of any Python for Linux: those of conda are
built for old systems, and have neither memfd_create nor pidfd_open.
"""

import contextlib
import ctypes
import json
import math
import mmap
import os
import re
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from knnbench.system import cpus, gpu
from knnbench.system.inherited import inherited
from knnbench.system.machine import oom_kills
from knnbench.system.turns import MEMORY

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
        self.place = None
        self.deadline = mmap.mmap(deadline, 8)
        self.stage, self.since, self.spent = None, 0.0, {}

    def enter(self, stage, limit_s):
        """Begin a stage; a supervisor kills the worker `limit_s` seconds from now unless another call comes first."""
        self.end_stage()
        self.stage, self.since = stage, time.monotonic()
        self.add(stage=stage)
        self.allow(limit_s)
        os.write(self.bell, b"s")

    def end_stage(self):
        """Report how long the stages of this name took, whatever was done in them and not only what was timed."""
        if self.stage:
            self.spent[self.stage] = self.spent.get(self.stage, 0.0) + time.monotonic() - self.since
            self.write({"stages_s": {self.stage: round(self.spent[self.stage], 6)}})  # of the cell, in a point too

    def allow(self, limit_s):
        """Give the current stage `limit_s` seconds from now; wakes nobody, so the deadline may only move away."""
        self.deadline[:] = struct.pack("d", time.monotonic() + limit_s)

    @contextlib.contextmanager
    def point(self, number):
        """Within it, what is found is of one point: below its number in `points`. `point` says which one it is."""
        self.add(point=number)
        self.place = str(number)
        yield
        self.place = None
        self.add(point=None)

    def add(self, **found):
        if self.place is not None:
            found = {"points": {self.place: found}}
        self.write(found)

    def write(self, found):
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


def heed_signals():
    """Be a supervisor: end as a program does, with all that it holds, when its parent dies or somebody says so."""
    die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who ignores it, as some daemons do, never hears of a child's end
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def confine(supervisor, threads, device, data_bytes):
    """Bound this process, a worker: it dies with its supervisor, has `threads` CPUs and `data_bytes` of memory (or None).

    For `device` gpu they are CPUs near the GPU, as far as these go. JAX asks the kernel how many CPUs it may use and nothing
    else. RLIMIT_DATA and not RLIMIT_AS: JAX and CUDA reserve far more address space than they use. The kernel's OOM killer
    takes the worker first.
    """
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a queue sends it to all of a job: the supervisor decides
    if os.getppid() != supervisor:  # it died before we asked
        leave()
    near = gpu.near_cpus() if device == "gpu" else ()
    os.sched_setaffinity(0, cpus.choose(threads, os.sched_getaffinity(0), near))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if data_bytes:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)  # of the user's ulimit -d, which cannot be raised
        data_bytes = data_bytes if most == resource.RLIM_INFINITY else min(data_bytes, most)
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="utf-8")


def place_for_scratch():
    """A folder for a worker's temporary files: one whose name a compiler's shell line can hold, where programs may run.

    The first of the user's own and the usual ones that is so; his own if none is, and KeOps then says what it lacks.
    """
    own = tempfile.gettempdir()
    return next(filter(fit_for_programs, (own, "/tmp", "/var/tmp", "/dev/shm")), own)


def fit_for_programs(folder):
    """Whether a compiler that is called through a shell can write there, and what it made can be loaded."""
    plain = re.fullmatch(r"[A-Za-z0-9_./+=:@%-]+", folder)
    return bool(plain) and os.access(folder, os.W_OK | os.X_OK) and not os.statvfs(folder).f_flag & os.ST_NOEXEC


def ended(pid, options=0):
    """Wait until a child has ended and leave it to be reaped, or with WNOHANG ask whether it has."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | options) is not None


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
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="knnbench-", dir=place_for_scratch()))
        # In memory if it can be: what is reported during timed passes waits for no disk.
        memory = MEMORY if os.access(MEMORY, os.W_OK) else None
        events, deadline, output = (stack.enter_context(tempfile.TemporaryFile(dir=memory)) for _ in range(3))
        heard, bell = os.pipe()
        for end in (heard, bell):
            stack.callback(os.close, end)
        deadline.write(struct.pack("d", time.monotonic() + START_LIMIT_S))
        deadline.flush()
        limit = stack.enter_context(mmap.mmap(deadline.fileno(), 8))
        shared = (events.fileno(), deadline.fileno(), bell)
        worker = subprocess.Popen(
            [*command, str(os.getpid()), *map(str, shared)],
            env=inherited(os.environ)
            | dict.fromkeys(THREAD_VARIABLES, str(threads))
            | {"TMPDIR": scratch}
            | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # the driver's own order, by which we ask it
            | ({} if gpu else {"CUDA_VISIBLE_DEVICES": ""}),
            pass_fds=shared,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        waiter = threading.Thread(target=lambda: (ended(worker.pid), os.write(bell, b"e")), daemon=True)
        waiter.start()
        try:
            while not ended(worker.pid, os.WNOHANG) and not outcome.timed_out:
                left = min(struct.unpack("d", limit[:])[0], until) - time.monotonic()
                ready, _, _ = select.select([heard], [], [], max(0, left))
                if ready:
                    os.read(heard, 4096)
                outcome.timed_out = left <= 0 and not ready
            outcome.job_over = outcome.timed_out and time.monotonic() >= until
        finally:
            # Its children too; a session of its own keeps it out of reach of the terminal's Ctrl-C.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            waiter.join()
            _, status, usage = os.wait4(worker.pid, 0)
            worker.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        outcome.output = output.read().decode(errors="replace")
        events.seek(0)
        for line in events:
            if line.endswith(b"\n"):  # a worker may die in the middle of a line
                merge(outcome.found, json.loads(line))
    outcome.exit_code = worker.returncode
    outcome.max_rss_bytes = usage.ru_maxrss * 1024
    if worker.returncode < 0:
        outcome.signal = signal.Signals(-worker.returncode).name
        killed = outcome.signal == "SIGKILL" and not outcome.timed_out
        outcome.oom_killed = killed and kills is not None and (oom_kills() or 0) > kills
    return outcome


def leave():
    """End the worker now: handlers that crash at exit and threads left over cannot undo what it reported."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
