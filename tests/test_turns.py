"""Whose turn it is: who holds the machine is said, and who only waits can be told from who works."""

import multiprocessing
import os
import signal
import sys
import time

import pytest

from knnbench.system import turns

FORK = multiprocessing.get_context("fork")


def take(log, begun, ended):
    """Be a cell: hold the machine until somebody says so."""
    sys.stdout = open(log, "w", encoding="utf-8")  # noqa: SIM115
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with turns.machine_lock():
        begun.set()
        ended.wait(60)


@pytest.fixture
def others(tmp_path, monkeypatch):
    """Two processes, of which the first holds a machine of their own, and the second waits for it."""
    monkeypatch.setattr(turns, "MEMORY", str(tmp_path))
    monkeypatch.setattr(turns, "PATIENCE_S", 0.2)
    started = []

    def start():
        events = FORK.Event(), FORK.Event()
        process = FORK.Process(target=take, args=(tmp_path / f"{len(started)}.log", *events), daemon=True)
        process.start()
        started.append(process)
        return process, *events

    first, begun, ended = start()
    assert begun.wait(60)
    second, later, _ = start()
    yield first, ended, second, later
    for process in started:
        process.kill()


def until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_has_the_machine_and_who_waits(others, tmp_path):
    first, ended, second, later = others
    until(lambda: turns.in_line() == (first.pid, [second.pid]))
    assert turns.waiting_below(os.getpid()) == [second.pid] and turns.waiting_below(first.pid) == []
    until(lambda: f"waiting for this machine: process {first.pid}, which" in (tmp_path / "1.log").read_text())
    assert f"process {first.pid}, which is there since " in turns.holder_in_words()
    ended.set()
    assert later.wait(60)
    until(lambda: turns.in_line() == (second.pid, []))


def test_who_waits_can_be_ended(others):
    """At once, and not when the machine is free; who holds it goes on."""
    first, _, second, later = others
    until(lambda: turns.in_line()[1] == [second.pid])
    for pid in turns.waiting_below(os.getpid()):
        os.kill(pid, signal.SIGTERM)
    second.join(60)
    assert second.exitcode == -signal.SIGTERM and not later.is_set()
    assert first.is_alive() and turns.in_line() == (first.pid, [])


def test_nobody_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "MEMORY", str(tmp_path))
    assert turns.in_line() == (None, []) and "not seen from here" in turns.holder_in_words()
    with turns.machine_lock():
        assert turns.in_line() == (os.getpid(), [])
