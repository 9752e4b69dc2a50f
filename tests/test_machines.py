"""A run depends on its configuration and not on the user's machine: variables, Pythons, limits, folders, files, locks."""

import contextlib
import fcntl
import json
import os
import resource
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, snakemake

from knnbench.config.machines import check_machine
from knnbench.config.values import ConfigError
from knnbench.measure.statuses import conclude, describe
from knnbench.results.words import summarise
from knnbench.system import machine
from knnbench.system.inherited import INHERITED, OURS, inherited, recorded
from knnbench.system.isolation import fit_for_programs, supervise
from knnbench.workflow.files import check_made_by_us, check_not_outputs, content, digests, written

CPUS = len(os.sched_getaffinity(0))
TINY = {
    "suite": "t",
    "deployment": "none",
    "gpu": False,
    "datasets": {"small": {"metric": "euclidean", "source": "normal", "n": 500, "d": 4, "queries": 50, "seed": 1}},
    "suites": {
        "t": {"datasets": ["small"], "backends": ["sklearn-brute", "sklearn-kd-tree"], "controls": False, "n_neighbors": [1]}
    },
    "timing": {"budget_s": 0.01, "max_query_s": 600, "max_fit_s": 600},
    "figures": {"formats": ["svg"]},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A working folder with a small configuration that was measured, and the code elsewhere."""
    folder = tmp_path_factory.mktemp("prepared")
    edit(folder)
    measure(folder)
    return folder


@pytest.fixture
def place(prepared, tmp_path):
    """The same, to be measured again: the dataset and the ceilings are there."""
    shutil.copytree(prepared, tmp_path, symlinks=True, dirs_exist_ok=True)  # as deep, for paths of the code are relative
    for name in ("results/t", "results/cells", "results/indexes", "logs"):
        shutil.rmtree(tmp_path / name)
    return tmp_path


def measure(place, *options, python=sys.executable, target="results/t/timings.csv", before=(), variables=None, check=True):
    """Run the configuration in its folder; what Snakemake printed, and the table if there is one."""
    command = [
        *before,
        str(python),
        "-m",
        "snakemake",
        "--cores",
        "1",
        "-s",
        str(ROOT / "Snakefile"),
        "--directory",
        str(place),
    ]
    command += [target, "--configfile", str(place / "t.yaml"), *options]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | (variables or {})
    done = subprocess.run(command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.stdout.decode(errors="replace")
    assert not check or done.returncode == 0, said[-3000:]
    table = place / "results/t/timings.csv"
    return said, pd.read_csv(table) if table.exists() else None


def edit(place, **changes):
    (place / "t.yaml").write_text(yaml.safe_dump(TINY | changes), encoding="utf-8")


def assert_measured(table):
    assert (
        list(table["status"]) == ["ok", "ok"]
        and set(table["threads"]) == {machine.usual_threads("cpu")}
        and set(table["cpus"]) == {CPUS}
    )


@pytest.mark.full
def test_variables_of_other_tools_do_not_reach_a_job(place):
    """All at once: each of these stops or changes a run if it is inherited."""
    module = place / "module"
    module.mkdir()
    (module / "threadpoolctl.py").write_text("raise SystemExit('a module of the cluster')")
    (place / "rc").write_text("exit 3\n")
    hostile = {
        "MPLBACKEND": "module://not_there.backend",
        "OMP_PROC_BIND": "true",
        "OMP_THREAD_LIMIT": "1",
        "KMP_AFFINITY": "compact",
        "GOMP_CPU_AFFINITY": "0",
        "MKL_NUM_THREADS": "1",
        "PYTHONPATH": str(module),
        "PYTHONSAFEPATH": "1",
        "BASH_ENV": str(place / "rc"),
        "GIT_DIR": "/not/there",
        "XLA_FLAGS": "--no-such-flag",
        "JAX_PLATFORMS": "cuda",
        "LC_ALL": "de_DE.ISO-8859-1",
        "MATPLOTLIBRC": str(place),
    }
    assert_measured(measure(place, variables=hostile)[1])


def test_what_is_inherited():
    own = {
        "PATH": "p",
        "OMP_PROC_BIND": "true",
        "https_proxy": "h",
        "UV_DEFAULT_INDEX": "u",
        "PIP_USER": "1",
        "LD_PRELOAD": "x",
        "CXXFLAGS": "-O1",
    }
    others = dict.fromkeys(("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "CPATH", "LIBRARY_PATH"), "x")
    assert inherited(own | others) == {"PATH": "p", "https_proxy": "h", "UV_DEFAULT_INDEX": "u", "CXXFLAGS": "-O1"} | OURS
    assert all(INHERITED.values())  # each has its reason
    known = {"LD_LIBRARY_PATH": "/lib", "CXX": "", "CXXFLAGS": "-O1", "PATH": "p"}
    assert recorded(known) == {"LD_LIBRARY_PATH": "/lib", "CXXFLAGS": "-O1"}
    page = (ROOT / "docs/machines.md").read_text(encoding="utf-8")
    assert [name for name in INHERITED if f"`{name}`" not in page] == []


@pytest.mark.full
def test_a_python_that_lacks_what_new_systems_have(place):
    """As conda's are built: without memfd_create, pidfd_open and eventfd."""
    old = place / "old"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", old], check=True)
    site = next(old.glob("lib/python3*/site-packages"))
    (site / "theirs.pth").write_text("\n".join(each for each in sys.path if each.endswith("-packages")))
    lacking = ("memfd_create", "pidfd_open", "eventfd", "eventfd_read", "eventfd_write", "copy_file_range", "posix_fallocate")
    (site / "sitecustomize.py").write_text(f"import os\nfor name in {lacking}:\n    os.__dict__.pop(name, None)\n")
    assert_measured(measure(place, python=old / "bin/python")[1])


@pytest.mark.full
def test_daemons_that_ignore_the_end_of_children(place):
    ignore = [
        sys.executable,
        "-c",
        "import os, signal, sys; signal.signal(17, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])",
    ]
    name = "small/sklearn-brute-cpu/k1.round0"
    record = place / f"results/cells/{name}.json"
    measure(place, target=f"results/cells/{name}.json")
    command = next(line for line in (place / f"logs/measure_cell/{name}.log").read_text().splitlines())
    record.unlink()
    subprocess.run([*ignore, "/bin/sh", "-c", command], cwd=place, check=True, timeout=600)
    assert json.loads(record.read_text())["status"] == "ok"


@pytest.mark.full
def test_a_memory_limit_of_the_shell(place):
    """ulimit -d cannot be raised: the worker takes what there is, and the record says what it was not enough for."""
    limit = 400_000_000

    def bounded():
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    code = "import sys; sys.path.insert(0, sys.argv[1]); from knnbench.system import machine; print(machine.available_memory())"
    command = [sys.executable, "-c", code, str(ROOT / "scripts")]
    done = subprocess.run(command, preexec_fn=bounded, capture_output=True, text=True, check=True)
    assert int(done.stdout) <= limit
    out = place / "cpu.json"
    command = [
        sys.executable,
        str(ROOT / "scripts/measure_ceilings.py"),
        "--device",
        "cpu",
        "--threads",
        "1",
        "--out",
        str(out),
    ]
    subprocess.run(command, preexec_fn=bounded, capture_output=True, check=True)
    found = json.loads(out.read_text())
    assert found["status"] == "ok" or (found["status"] in ("oom_host", "crashed", "failed") and found["reason"])


def groups(tmp_path, monkeypatch, **files):
    """Have this process be in a control group with these files; dots in their names are underscores here."""
    for name, text in files.items():
        (tmp_path / name.replace("_", ".", 1)).write_text(text)
    monkeypatch.setattr(machine, "control_groups", lambda: [("", tmp_path)])


@pytest.mark.parametrize(
    ("files", "quota", "cpus"),
    [
        ({"cpu_max": "150000 100000\n"}, 1.5, 1),
        ({"cpu_max": "50000 100000\n"}, 0.5, 1),
        ({"cpu_max": "max 100000\n"}, None, CPUS),
        ({"cpu_max": "100000000 100000\n"}, 1000, CPUS),
        ({"cpu_cfs_quota_us": "100000\n", "cpu_cfs_period_us": "100000\n"}, 1, 1),
        ({"cpu_cfs_quota_us": "-1\n", "cpu_cfs_period_us": "100000\n"}, None, CPUS),
    ],
)
def test_quotas(tmp_path, monkeypatch, files, quota, cpus):
    groups(tmp_path, monkeypatch, **files)
    assert machine.cpu_quota() == quota and machine.available_cpus() == cpus


def test_limits_of_memory(tmp_path, monkeypatch):
    groups(tmp_path, monkeypatch, memory_max="max\n", memory_current="1\n")
    free = machine.available_memory()
    stat = "inactive_file 30000000\nactive_file 20000000\n"
    groups(tmp_path, monkeypatch, memory_max="100000000\n", memory_current="90000000\n", memory_stat=stat)
    assert machine.available_memory() == 60_000_000 < free
    assert machine.describe("cpu")["memory_bytes"] == 100_000_000


def test_throttled_passes_are_seen(tmp_path, monkeypatch):
    groups(tmp_path, monkeypatch, cpu_stat="usage_usec 9\nnr_throttled 1\nthrottled_usec 500000\n")
    watch = machine.Watch()
    groups(tmp_path, monkeypatch, cpu_stat="usage_usec 9\nnr_throttled 4\nthrottled_usec 2000000\n")
    assert watch.report()["held_s"] == 1.5


@contextlib.contextmanager
def cgroup(controller, **files):
    """A control group of version 1 for a command: words to put before it."""
    folder = Path(f"/sys/fs/cgroup/{controller}/knnbench-test-{uuid.uuid4().hex}")
    try:
        folder.mkdir()
        for name, text in files.items():
            (folder / name.replace("_", ".", 1)).write_text(text)
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip(f"no control group can be made here: {error}")
    try:
        yield ["sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh"]
    finally:
        folder.rmdir()


@pytest.mark.full
def test_a_quota_of_a_container(place):
    with cgroup("cpu", cpu_cfs_period_us="100000", cpu_cfs_quota_us="100000") as before:
        _, table = measure(place, before=before)
    assert set(table["threads"]) == {1} and set(table["cpus"]) == {1} and set(table["status"]) == {"ok"}


@pytest.mark.full
def test_a_small_container(place):
    (place / "results/ceilings/cpu.json").unlink()
    with cgroup("memory", memory_limit_in_bytes="1200000000") as before:
        _, table = measure(place, before=before)
    assert list(table["status"]) == ["ok", "ok"]
    assert json.loads((place / "results/ceilings/cpu.json").read_text())["status"] == "ok"


@pytest.mark.full
def test_more_than_the_machine_has_is_one_sentence(place):
    facts = {"memory_bytes": 8_000_000_000}
    for timing, words in (
        ({"threads": 9, "memory_gb": 0}, "timing.threads: 9"),
        ({"threads": 8, "memory_gb": 9}, "memory_gb: 9"),
    ):
        with pytest.raises(ConfigError, match=words):
            check_machine(timing, facts, 8)
    check_machine({"threads": 8, "memory_gb": 8}, facts, 8)
    edit(place, timing={"threads": CPUS + 1})
    said, table = measure(place, check=False)
    assert f"timing.threads: {CPUS + 1} threads, and there are {CPUS} CPUs" in said and table is None


def points(path):
    with h5py.File(path, "w") as file:
        file["train"], file["test"] = np.random.default_rng(0).random((500, 4)), np.random.default_rng(1).random((20, 4))


@pytest.mark.full
def test_own_data_where_ours_is_kept_stays(place):
    """It is refused before any job."""
    mine = place / "resources/datasets/mine.hdf5"
    points(mine)
    suites = {"t": {"datasets": ["mine"], "backends": ["sklearn-brute"], "controls": False, "n_neighbors": [1]}}
    edit(place, datasets={"mine": {"metric": "euclidean", "source": "file", "path": str(mine)}}, suites=suites)
    before = mine.read_bytes()
    said, _ = measure(place, check=False)
    assert "datasets.mine" in said and "move it" in said and mine.read_bytes() == before and not (place / "logs").exists()


@pytest.mark.parametrize("name", ["{}/out/mine.hdf5", "link/mine.hdf5", "hard.hdf5", "out/../out/mine.hdf5", "out"])
def test_a_file_has_many_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    Path("out/mine.hdf5").touch()
    Path("link").symlink_to("out")
    os.link("out/mine.hdf5", "hard.hdf5")
    named = {"datasets.mine": name.format(tmp_path)}
    with pytest.raises(ConfigError, match=r"datasets.mine: .* which a run writes and removes; move it"):
        check_not_outputs(named, ["out/mine.hdf5", "out/not-there"], [] if name != "out" else ["out"])


def test_only_what_is_ours_is_replaced(tmp_path):
    theirs, gone = tmp_path / "a.hdf5", tmp_path / "b.hdf5"
    points(theirs)
    with pytest.raises(ConfigError, match=r"datasets.a: .*a.hdf5 is not of knnbench"):
        check_made_by_us({"a": theirs, "b": gone})
    with h5py.File(theirs, "r+") as file:
        file.attrs["sha256"] = "0"
    check_made_by_us({"a": theirs, "b": gone})
    link, folder = tmp_path / "link.hdf5", tmp_path / "out"
    link.symlink_to(theirs)
    folder.mkdir()
    check_not_outputs({"datasets.a": theirs}, [link, gone], [folder])  # a link may go
    (folder / "deep").mkdir()
    (folder / "deep/c.npy").touch()
    with pytest.raises(ConfigError, match=r"--configfile .*c.npy"):
        check_not_outputs({"--configfile c": folder / "deep/c.npy"}, [], [folder])


@pytest.mark.full
def test_own_data_is_known_by_its_content(place):
    """Older files are noticed; the same bytes with another time, or from another place, are not."""
    suites = {"t": {"datasets": ["mine"], "backends": ["sklearn-brute"], "controls": False, "n_neighbors": [1]}}
    edit(place, datasets={"mine": {"metric": "euclidean", "source": "file", "train": "p.npy", "test": "q.npy"}}, suites=suites)

    def draw(n):
        for path, rows in (("p.npy", n), ("q.npy", 20)):
            np.save(place / path, np.random.default_rng(n).random((rows, 4)))
            os.utime(place / path, (1e9, 1e9))

    draw(500)
    assert set(measure(place)[1]["n"]) == {500}
    draw(600)
    assert set(measure(place)[1]["n"]) == {600}
    shutil.copyfile(place / "p.npy", place / "copy.npy")
    os.replace(place / "copy.npy", place / "p.npy")
    assert "Nothing to be done" in measure(place)[0]
    draw(500)
    shutil.rmtree(
        place / ".snakemake"
    )  # as another folder that shares the datasets, where nobody remembers what they were made from
    assert set(measure(place)[1]["n"]) == {500}


def test_code_is_known_by_its_content(tmp_path):
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_text("1")
    second.write_text("1")
    assert content(str(first)) == content(str(second))
    other = tmp_path / "c.py"
    other.write_text("2")
    os.utime(other, (1, 1))
    assert content(str(other)) != content(str(first)) != content(str(first), str(second))


def test_digests_are_read_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(".snakemake").mkdir()
    Path("p.npy").write_bytes(b"one")
    first = digests({"source": "file", "path": "p.npy"})
    monkeypatch.setattr("knnbench.workflow.files.sha256_of", lambda path: "read again")
    assert digests({"source": "file", "path": "p.npy"}) == first
    about = os.stat("p.npy")
    Path("p.npy").write_bytes(b"two")
    os.utime("p.npy", ns=(about.st_atime_ns, about.st_mtime_ns))
    assert digests({"source": "file", "path": "p.npy"}) == {"p.npy": "read again"}
    before = written("p.npy")
    os.utime("p.npy", (0, 0))
    assert written("p.npy") != before and written(tmp_path) != []


@pytest.mark.full
def test_a_profile_of_the_users_own(place):
    """It cannot hide a K that was added; an option that would is refused."""
    (place / "profile").mkdir()
    (place / "profile/config.yaml").write_text("rerun-triggers: mtime\n")
    variables = {"SNAKEMAKE_PROFILE": str(place / "profile")}
    measure(place, variables=variables)
    suites = {"t": TINY["suites"]["t"] | {"n_neighbors": [1, 10]}}
    edit(place, suites=suites)
    said, _ = measure(place, "--rerun-triggers", "mtime", check=False)
    assert "rerun-triggers: mtime leaves out params input" in said
    assert sorted(measure(place, variables=variables)[1]["n_neighbors"]) == [1, 1, 10, 10]


@pytest.mark.full
def test_locks_of_the_living_and_of_the_dead(place):
    """Who holds the kernel's lock is alive, in any container and on any node; a lock that nobody holds is of the dead."""
    locks = place / ".snakemake/locks"
    locks.mkdir(parents=True)
    for name in ("0.input.lock", "0.output.lock"):
        (locks / name).write_text("results/t/timings.csv\n")
    with open(place / ".snakemake/knnbench-running", "w", encoding="utf-8") as running:
        fcntl.flock(running, fcntl.LOCK_SH)
        said, table = measure(place, check=False)
        assert "cannot be locked" in said.replace("\n", " ") and table is None and len(list(locks.iterdir())) == 2
    said, table = measure(place)
    assert "The last run here was killed" in said and list(table["status"]) == ["ok", "ok"]


@pytest.mark.parametrize(
    ("folder", "fit"),
    [("/tmp", True), ("My Drive (work)", False), ("a b", False), ("it's", False), ("größe", False), ("$HOME", False)],
)
def test_where_a_compiler_can_work(tmp_path, folder, fit):
    path = tmp_path / folder
    path.mkdir(exist_ok=True)
    assert fit_for_programs(str(path)) == fit


def test_where_no_programs_may_run(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "none", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        assert not fit_for_programs(str(tmp_path))
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.full
def test_keops_in_folders_that_a_shell_cannot_read(tmp_path, environments):
    """Its environment, the working folder and the temporary one have names that break its compiler's line."""
    if shutil.which("g++") is None:
        pytest.skip("there is no g++ here")
    place = tmp_path / "My Drive (it's)"
    (place / "resources").mkdir(parents=True)
    shutil.copytree(environments / "keops", place / "resources/environments/keops", symlinks=True)
    suites = {"t": {"datasets": ["small"], "backends": ["keops"], "controls": False, "n_neighbors": [5]}}
    edit(place, deployment="uv", suites=suites)
    (place / "tmp (2)").mkdir()
    _, table = measure(place, variables={"TMPDIR": str(place / "tmp (2)"), "CXX": "env g++"})
    cpu = table[table["device"] == "cpu"]
    assert (
        list(cpu["status"]) == ["ok"] and list(cpu["recall"]) == [1] and list(cpu["flags"].str.contains("inherited")) == [True]
    )


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("print('the library says why', flush=True); os.abort()", "SIGABRT during work: the library says why"),
        ("sys.exit(3)", "the worker left with exit code 3 during work"),
        ("print('bye', flush=True); os._exit(4)", "the worker left with exit code 4 during work: bye"),
    ],
)
def test_last_words(code, reason):
    worker = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from knnbench.system.isolation import Reporter\n"
        f"Reporter(*map(int, sys.argv[3:])).enter('work', 600); {code}"
    )
    outcome = supervise([sys.executable, "-X", "faulthandler", "-c", worker, str(ROOT / "scripts")], 1, False)
    assert conclude(outcome, "cpu")[1] == reason


def test_an_error_without_a_message_says_where_it_was():
    try:
        assert not CPUS
    except AssertionError as error:
        error.args = ()
        words = describe(error)
    assert words.startswith("AssertionError: at ") and "assert not CPUS" in words
    assert describe(ValueError("no")) == "ValueError: no"


def test_every_reason_is_in_the_summary():
    rows = pd.DataFrame(
        {
            "suite": "t",
            "dataset": "small",
            "n_neighbors": 1,
            "status": ["ok", "low_recall", "low_recall", "failed", "not_needed"],
            "reason": [
                "failed in batches: not by tens",
                "recall 0.100 is below 0.75",
                "recall 0.200 is below 0.75",
                "why",
                "a curve ends",
            ],
            "flags": None,
            "exact": True,
            "residency": "host",
            "queries": 1,
            "query_median_s": 1.0,
            "query_low_s": 0.9,
            "query_high_s": 1.1,
            "query_interval": "one round",
            "queries_per_s": 1.0,
            "cpu": "c",
            "cpus": 1,
            "gpu": None,
            "rounds": 1,
            "backend": ["a", "b", "c", "d", "e"],
            "family": ["a", "b", "c", "d", "e"],
            "setting": "{}",
            "recall": 1.0,
            "device": "cpu",
            "label": "l",
        }
    )
    comparisons = pd.DataFrame(columns=["dataset", "n_neighbors", "residency", "machine", "faster", "verdict", "slower"])
    text = summarise(rows, comparisons)
    assert "  ok, 1 rows: failed in batches: not by tens: a-cpu\n" in text
    assert "  low_recall, 2 rows: recall is below 0.75: b-cpu, c-cpu\n" in text and "  failed, 1 rows: why: d-cpu\n" in text
    assert "1 not_needed" in text and "a curve ends" not in text  # no number is lacking there


@pytest.mark.full
def test_two_runs_make_one_environment(tmp_path):
    """The second waits and finds it; what a killed run left is removed."""
    spec = tmp_path / "env.yaml"
    text = (ROOT / "envs/faiss-cpu.yaml").read_text(encoding="utf-8")
    head, _, rest = text.partition("      - packaging==")
    spec.write_text(f"{head.split('      - ')[0]}      - packaging=={rest.split('      - ')[0]}", encoding="utf-8")
    prefix = tmp_path / "shared/env"
    left = prefix.with_name(".env.new.part")
    left.mkdir(parents=True)
    command = [sys.executable, ROOT / "scripts/make_environment.py", "--spec", spec, "--prefix", prefix]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert sum("It is there" in each for each in said) == 1 and not left.exists()
    assert (prefix / "freeze.txt").read_text().startswith("packaging==")
    (prefix / "freeze.txt").unlink()  # as Snakemake does before it makes it again
    subprocess.run(command, check=True, capture_output=True)
    assert (prefix / "freeze.txt").exists()


@pytest.mark.full
def test_snakemake_says_what_braces_in_its_folder_do(tmp_path):
    copy = tmp_path / "a{b}c"
    shutil.copytree(
        ROOT,
        copy,
        ignore=lambda folder, names: [
            n
            for n in names
            if n not in ("Snakefile", "rules", "scripts", "config.yaml", "claims.yaml", "envs", "profiles")
            and Path(folder) == ROOT
        ],
    )
    done = snakemake("-n", cwd=copy, check=False)
    assert done.returncode == 1 and "braces" in done.stdout
