"""What a run looks at before it begins: the lock of one that was killed, the clock, and what counts as a change."""

import contextlib
import fcntl
import itertools
import json
import os
import signal
import threading
import time
from pathlib import Path

from knnbench.results.machines import machine_of
from knnbench.system import compiler
from knnbench.system.turns import waiting_below
from knnbench.workflow.closure import closure

TRIGGERS = ("mtime", "params", "input")


class RunError(Exception):
    """Nothing can be run like this; the message says why and what to do, further lines in further arguments."""


def drop_stale_lock(locks, running):
    """Remove Snakemake's locks if they are of a run that was killed, which could not.

    A run holds a lock of the kernel's on a file, which ends with it in any container and on any node: if nobody holds it, the
    locks are of a dead run. One that is younger than the file is somebody else's.

    Parameters
    ----------
    locks : Path, folder of Snakemake's locks
    running : Path, the file that `hold` locks

    Returns
    -------
    dropped : bool
    """
    found = list(locks.glob("*.lock"))
    if not found or not running.exists():
        return False
    with open(running, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it is alive, or this file system has no locks
            return False
        if max(lock.stat().st_mtime for lock in found) > running.stat().st_mtime:
            return False
        for lock in found:
            lock.unlink(missing_ok=True)
    return True


def hold(running):
    """Say that a run is alive, as long as the file that is returned is open.

    The lock is shared, for Snakemake lets several run in one folder that share no file.
    """
    running.touch()
    file = open(running, encoding="utf-8")  # noqa: SIM115
    with contextlib.suppress(OSError):  # file systems without locks
        fcntl.flock(file, fcntl.LOCK_SH)
    return file


def hear_beside(scheduler):
    """Let a scheduler hear SIGTERM in a thread of its own.

    Snakemake's handler takes a lock (9.27, job_scheduler.py) that the main thread, which it interrupts, may hold while a job
    ends: the run would stand still until it is killed.

    Parameters
    ----------
    scheduler : class with a method `exit_gracefully`, before it has an instance
    """
    heard = scheduler.exit_gracefully

    def end(self):
        """What measures is waited for; what only waits for the machine is ended."""
        heard(self)
        for pid in waiting_below(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    scheduler.exit_gracefully = lambda self, *arguments: threading.Thread(target=end, args=(self,)).start()


def check_clock(files):
    """Check that nothing that results are made from is of the future: Snakemake would refuse results that are older.

    Parameters
    ----------
    files : iterable of path; those that are not there yet are of no time

    Raises
    ------
    RunError
    """
    there = [path for path in map(Path, files) if path.exists()]
    if future := [path for path in there if path.stat().st_mtime > time.time() + 5]:
        raise RunError(
            f"{future[0]} is of {time.ctime(future[0].stat().st_mtime)}, and now it is {time.ctime()}: the clock was changed."
            " Set it right, or say that these files are older than their results:"
            f" touch -d 2000-01-01 {' '.join(map(str, future))}"
        )


def cannot_compile(backends, scripts):
    """Say which backends write C++ that nothing here compiles: their cells will be unavailable.

    Parameters
    ----------
    backends : list of dict, entries of the configuration
    scripts : Path, folder of the scripts and of the library

    Returns
    -------
    words : str or None
        None if all can be compiled that these backends write.
    """
    modules = {entry["label"]: closure(scripts, f"knnbench/backends/{entry['module']}.py") for entry in backends}
    for used, reason_of in (("system/compiler.py", compiler.missing), ("backends/keops.py", compiler.refused)):
        writing = [label for label, files in modules.items() if scripts / "knnbench" / used in files]
        if writing and (reason := reason_of()):
            return f"{' and '.join(writing)} will be unavailable: what is compiled here {reason}"
    return None


def check_one_machine(records, here):
    """Check that the rounds which are to be continued are of one machine, and of this one: others are no rounds of one time.

    Parameters
    ----------
    records : iterable of Path, of cells; those that are not there yet are of no machine
    here : dict, from machine.describe

    Raises
    ------
    RunError
    """
    found = {machine_of(here)[0]: "this machine"}
    for path in records:
        if path.exists():
            try:
                words, _ = machine_of(json.loads(path.read_text(encoding="utf-8"))["machine"])
            except (ValueError, KeyError) as error:
                raise RunError(f"{path}: it is no whole record ({error!r}); delete it, and it is measured again") from error
            found.setdefault(words, path)
    if len(found) > 1:
        places = ", and ".join(f"{words} ({place})" for words, place in found.items())
        raise RunError(
            f"timing.rounds: auto needs rounds of one machine, and here are some of {places}; measure in another folder"
            " (--directory ELSEWHERE) and merge the results, or move results/cells away"
        )


def check_arguments(words):
    """Check that no option of Snakemake's is there twice which takes several words: the first would be lost.

    Parameters
    ----------
    words : list of str, the command line, of Snakemake or of a program that calls it

    Raises
    ------
    RunError
    """
    if "snakemake" not in words[0]:
        return
    for names in (("--config", "-C"), ("--configfile", "--configfiles")):
        if len(found := [word for word in words if word.split("=", 1)[0] in names]) > 1:
            raise RunError(
                f"{found[-1]} is there twice, and Snakemake takes the last; name all of it after one: {found[0]} ONE TWO"
            )


def profiles_of(words, variables):
    """The files of the profiles of Snakemake that a command line or a variable names: a list of Path.

    Parameters
    ----------
    words : list of str
    variables : mapping, such as os.environ
    """
    named = [value for option, value in itertools.pairwise(words) if option in ("--profile", "--workflow-profile")]
    named += [word.split("=", 1)[1] for word in words if word.startswith(("--profile=", "--workflow-profile="))]
    places = [
        place
        for name in [*named, variables.get("SNAKEMAKE_PROFILE", "")]
        if name
        for place in (Path(name), Path("profiles", name))
    ]
    return [path for place in places for path in ([place] if place.is_file() else sorted(place.glob("*.yaml")))]


def check_triggers(triggers):
    """Check that Snakemake looks for changes of the configuration.

    Parameters
    ----------
    triggers : iterable of str, of Snakemake's --rerun-triggers

    Raises
    ------
    RunError
    """
    given = set(triggers)
    if missing := [name for name in TRIGGERS if name not in given]:
        raise RunError(
            f"rerun-triggers: {' '.join(sorted(given))} leaves out {' '.join(missing)}: a K, a dataset or a limit that is"
            f" added or changed would not be seen; say --rerun-triggers {' '.join(TRIGGERS)}, or nothing, for all of them"
        )
