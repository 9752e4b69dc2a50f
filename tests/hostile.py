"""Backends that misbehave, for test_cells.py, which copies this file to where backends live."""

import ctypes
import mmap
import os
import signal
import time
from pathlib import Path

import numpy as np

from knnbench.backends.base import Backend as Base

PERFECT = 50  # effort from which on neighbours are true
SLEEPER = Path(__file__).with_suffix(".sleeper")  # who ignores signals now


class Backend(Base):
    """Brute force that does `what` at the stage `when`."""

    packages = ("numpy",)
    at_least_k = "effort"

    def __init__(self, metric, device, threads, what="", when="query"):
        super().__init__(metric, device, threads)
        self.what, self.when, self.effort = what, when, PERFECT
        self.rounds_to = "int8" if what == "int8" else None
        self.misbehave("open")

    def before_rounding(self, train):
        return lambda points: 1000 * points

    def misbehave(self, stage):
        if stage != self.when:
            return
        match self.what:
            case "segfault":
                ctypes.string_at(0)
            case "abort":
                os.abort()
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill once" if not SLEEPER.exists():
                SLEEPER.write_text("")
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "sys.exit":
                raise SystemExit(0)
            case "sleep in C":
                ctypes.PyDLL(None).sleep(60)  # holds the interpreter's lock, as a C++ call may
            case "ignore signals":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                SLEEPER.write_text(f"{os.getpid()}\n")
                time.sleep(60)
                SLEEPER.write_text("nobody ended it\n")
            case "fork":
                if os.fork() == 0:
                    time.sleep(60)
                os._exit(4)
            case "hoard":
                np.ones(2**25)
            case "memory":
                self.hoard = [np.empty(2**27) for _ in range(64)]
            case "shared memory":  # no limit of a process counts it, but a queue's does
                self.hoard = mmap.mmap(-1, 2**32)
                for start in range(0, 2**32, 2**20):
                    self.hoard[start : start + 2**20] = b"x" * 2**20
                    time.sleep(0.001)
            case "slow":
                time.sleep(15)
            case "torch memory":
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 40 GB")
            case "aborting allocator":
                os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
                os.abort()
            case said if said.startswith("say: "):
                raise RuntimeError(said.removeprefix("say: "))
            case "exception":
                raise ValueError("not today")
            case "print":
                print("x" * 100_000, flush=True)
            case "threads":
                return

    def threads_used(self):
        return self.threads + 1 if self.what == "threads" else self.threads

    def unsupported(self, k, n, d):
        return "only on Sundays" if self.what == "unsupported" else None

    def fit(self, train):
        yield "transfer"
        self.misbehave("fit")
        self.train = train
        if self.what == "skip a phase":
            return
        yield "train"
        yield "add"

    def save(self, path):
        self.misbehave("save")
        np.save(path.with_suffix(".npy"), self.train)

    def load(self, path):
        self.misbehave("load")
        self.train = np.load(path.with_suffix(".npy"))

    def set_search(self, what="", when="query", effort=PERFECT):
        self.what, self.when, self.effort = what, when, effort
        self.misbehave("set")

    def query(self, queries, k):
        self.misbehave("single query" if len(queries) == 1 else "query")
        ids = np.argsort(((queries[:, None] - self.train) ** 2).sum(-1), axis=1)[:, :k]
        if self.effort < PERFECT:
            ids[:, 1:] = -1
        match self.what:
            case "shape":
                ids = ids[:, 0]
            case "fewer":
                ids = ids[:, :-1]
        return ids
