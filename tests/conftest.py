"""What the tests share: the backends of config.yaml, a server in each of their environments, and copies of the project."""

import contextlib
import fcntl
import multiprocessing
import os
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import forked
import psutil
import pytest
import yaml
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from knnbench.system import gpu

ROOT = Path(__file__).parents[1]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(forked.PRELOADED)
CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
DEVICES = ["cpu", "gpu"] if gpu.count() else ["cpu"]
# An example takes as long as it takes.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
# Name of the environment of every backend on every device that this machine has; what makes graphs answers no queries.
ENVIRONMENTS = {
    (name, device): env
    for name, entry in CONFIG["backends"].items()
    for device, env in entry["environments"].items()
    if device in DEVICES and not entry.get("control") and not entry["module"].endswith("_graph")
}


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="also what takes long (marked full)")


# The files that take longest come first, and those that measure cells, which take turns, alternate with those that do not.
LONGEST = (
    *("test_artifact.py", "test_house.py", "test_backends.py", "test_gpu_suite.py", "test_machines.py", "test_lost.py"),
    *("test_slurm.py", "test_report.py", "test_workflow.py", "test_driver.py"),
)
# A file is one worker's, whose tests share what they made; but for these, whose tests take minutes each and share little.
APART = ("tests/test_workflow.py", "tests/test_driver.py")


class Scheduling(LoadFileScheduling):
    """pytest-xdist's by files, with tests of their own."""

    def _split_scope(self, nodeid):
        return nodeid if nodeid.startswith(APART) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return Scheduling(config, log)


def pytest_collection_modifyitems(config, items):
    """Leave out what takes long, but where it is asked for: by --all, by an expression, or by its name."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    if config.getoption("--all") or config.getoption("markexpr") or any("::" in argument for argument in config.args):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in set(left_out)]


def snakemake(*arguments, cwd=ROOT, check=True):
    """Run Snakemake as a user would, but for its imports."""
    arguments = ["--cores", "1", *map(str, arguments)]
    with tempfile.NamedTemporaryFile(encoding="utf-8", mode="r") as said:
        process = FORKS.Process(target=forked.snakemake, args=(arguments, str(cwd), dict(os.environ), said.name))
        process.start()
        process.join()
        done = subprocess.CompletedProcess(arguments, process.exitcode, said.read())
    assert not check or done.returncode == 0, done.stdout[-5000:]
    return done


def processes(project):
    """Those that work on a project, with what they are."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if process.info["cwd"] == str(project):
            cell = any(word.endswith("measure_cell.py") for word in words)
            found.append((process, "worker" if "--worker" in words else "supervisor" if cell else "snakemake"))
    return found


def wait_until(true, process=None):
    """Wait for what a test needs, as long as it takes; an error if the process that brings it about has ended."""
    while not true():
        assert process is None or process.poll() is None, "the process ended before what was waited for"
        time.sleep(0.05)


def run(script, *arguments):
    """Run one of our scripts here: what all of them import is imported once."""
    path = str(ROOT / f"scripts/{script}.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [path, *map(str, arguments)])
        runpy.run_path(path, run_name="__main__")


@contextlib.contextmanager
def alone():
    """Of the processes that run these tests, one at a time."""
    with open(__file__, encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def environments():
    """Folder with the environments of all backends, made by the workflow's own rule."""
    with alone():
        snakemake(*(f"resources/environments/{name}/freeze.txt" for name in sorted(set(ENVIRONMENTS.values()))))
    return ROOT / "resources/environments"


class Server:
    """One environment's answer_server.py."""

    def __init__(self, python, cache):
        ours, theirs = socket.socketpair()
        command = [python, Path(__file__).with_name("answer_server.py"), str(theirs.fileno())]
        # Every example builds its backend anew; a cache spares JAX most of the compilations.
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "JAX_COMPILATION_CACHE_DIR": cache,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "CXX": str(Path(__file__).with_name("quick_cxx.sh")),
        }
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdout=subprocess.DEVNULL, env=environment)
        theirs.close()
        self.connection = Connection(ours.detach())

    def ask(self, **question):
        self.connection.send(question)
        answer = self.connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        self.connection.close()
        self.process.wait()


@pytest.fixture(scope="session")
def server(environments, tmp_path_factory):
    """Function from the name of an environment to its server, or to the one there of a module that has a process to itself."""
    servers = {}

    def get(environment, module=None):
        if (environment, module) not in servers:
            cache = str(tmp_path_factory.mktemp("cache"))
            servers[environment, module] = Server(environments / environment / "bin/python", cache)
        return servers[environment, module]

    yield get
    for each in servers.values():
        each.close()


@pytest.fixture
def bare(tmp_path):
    """A copy of the project that a test may change, without environments: for `deployment: none`."""
    copy = tmp_path / "knnbench"
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")[:-1]
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy / name)
    return copy


@pytest.fixture
def project(bare, environments):
    """A copy of the project that a test may change, sharing the environments."""
    (bare / "resources").mkdir()
    os.symlink(environments, bare / "resources/environments")
    return bare


def program(name, package):
    """Path of a program that a test needs; Debian's package is installed where that can be done, else the test is skipped."""
    with alone():
        if shutil.which(name) is None and os.getuid() == 0 and shutil.which("apt-get"):
            quiet = {"stdout": subprocess.DEVNULL, "env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}}
            subprocess.run(["apt-get", "update", "-qq"], **quiet)
            subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], **quiet)
    return shutil.which(name) or pytest.skip(f"there is no {name} here")


def without_privileges(command):
    """Root may write anything; without these capabilities it is a user like others."""
    if os.getuid():
        return command
    if shutil.which("setpriv") is None:
        pytest.skip("root needs setpriv to be a user like others")
    capabilities = "-dac_override,-dac_read_search,-fowner"
    return ["setpriv", "--bounding-set", capabilities, "--inh-caps", capabilities, *command]
