"""Brute force in NumPy that lies in ways that are known: what scripts/selftest.py measures the harness with."""

import math
import threading
import time

import numpy as np

from knnbench.backends.base import Backend as Base

FEW = 500  # queries
SPIN_S = 0.0005  # sleeping wakes up late by less than this


def wait(seconds):
    """Take exactly this long: sleep first, as a caller of a device does, then spin on a clock that is not the harness's."""
    end = time.monotonic_ns() + round(seconds * 1e9)
    if seconds > SPIN_S:
        time.sleep(seconds - SPIN_S)
    while time.monotonic_ns() < end:
        pass


class Backend(Base):
    """Brute force that does `what`.

    Parameters
    ----------
    what : str
        Nothing: answer rightly. sleep: take `seconds` and answer what was prepared; leak: the same in a thread that outlives
        the call, as work on a device does; slow first: the first call takes `seconds` more; slow few: each query takes
        `seconds`, and three times as long in a call with fewer than `FEW`, which it declares; hidden slow few: the same, and
        it does not; flat: a call takes `seconds`, whatever it asks; steps: for each `FEW` queries begun; pad: -1 but for the
        nearest; repeat: the nearest again and again; one wrong: the last neighbour is the farthest point; wrong distances:
        right points, in their order; builds differ: the first build finds all, every later one a neighbour less than the one
        before; share: take `seconds`, and answer whoever called last, for what is asked is kept where all threads can write.
    seconds : float
    """

    packages = ("numpy",)

    def __init__(self, metric, device, threads, what="", seconds=0.0):
        super().__init__(metric, device, threads)
        self.what, self.seconds = what, seconds
        self.running = threading.Thread()
        self.called = False
        self.prepared = {}

    def fit(self, train):
        yield "transfer"
        self.train = train
        yield "train"
        yield "add"

    def save(self, path):
        np.save(path.with_suffix(".npy"), self.train)
        path.with_suffix(".npy").rename(path)

    def load(self, path):
        self.train = np.load(path)

    def least_queries(self, queries):
        return FEW if self.what == "slow few" and queries >= FEW else 1

    def set_search(self, seconds):
        self.seconds = seconds

    def search(self, queries, k):
        return np.argsort(self.metric.keys(queries[:, None], self.train), axis=1)[:, :k]

    def query(self, queries, k):
        match self.what:
            case "sleep" | "leak":
                if len(queries) not in self.prepared:
                    self.prepared[len(queries)] = self.search(queries, k)
                if self.what == "sleep":
                    wait(self.seconds)
                else:
                    self.running = threading.Thread(target=wait, args=(self.seconds,))
                    self.running.start()
                return self.prepared[len(queries)]
            case "slow few" | "hidden slow few" | "flat" | "steps":
                of_queries = len(queries) * (3 if len(queries) < FEW else 1)
                wait(self.seconds * {"flat": 1, "steps": math.ceil(len(queries) / FEW)}.get(self.what, of_queries))
                return np.zeros((len(queries), k), np.int64)
            case "share":
                self.asked = queries
                wait(self.seconds)
                return self.search(self.asked, k)
            case "slow first" if not self.called:
                self.called = True
                wait(self.seconds)
        ids = self.search(queries, k)
        match self.what:
            case "pad":
                ids[:, 1:] = -1
            case "builds differ":
                ids[:, k - self.build :] = -1
            case "repeat":
                ids[:] = ids[:, :1]
            case "one wrong":
                ids[:, -1] = self.search(queries, len(self.train))[:, -1]
            case "wrong distances":
                self.distances = np.random.default_rng(0).random(ids.shape)
                ids = np.take_along_axis(ids, self.distances.argsort(axis=1), axis=1)
        return ids

    def synchronize(self):
        if self.running.is_alive():
            self.running.join()
