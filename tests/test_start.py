"""What the workflow decides before its first job, as functions of their arguments; tests of whole runs are elsewhere."""

import json
import os
import threading
import time

import h5py
import pytest
from conftest import ROOT

from knnbench.config.suite import CHARTS, SUITE_FIGURES, figures
from knnbench.system import compiler
from knnbench.workflow import resources
from knnbench.workflow.cells import QUERY_TIMING, fit_flags, for_driver, query_flags, turn
from knnbench.workflow.files import datasets_of
from knnbench.workflow.run import (
    TRIGGERS,
    RunError,
    cannot_compile,
    check_arguments,
    check_clock,
    check_triggers,
    drop_stale_lock,
    hear_beside,
    hold,
    profiles_of,
)

SPECS = ROOT / "envs"


@pytest.fixture
def lock(tmp_path):
    (tmp_path / "locks").mkdir()
    (tmp_path / "running").touch()
    os.utime(tmp_path / "running", (2000, 2000))
    path = tmp_path / "locks/0.input.lock"
    path.write_text("results/a.json")
    os.utime(path, (1000, 1000))
    return path


def test_the_lock_of_a_dead_run_is_dropped(lock, tmp_path):
    assert drop_stale_lock(tmp_path / "locks", tmp_path / "running") and not lock.exists()
    assert not drop_stale_lock(tmp_path / "locks", tmp_path / "running")


def test_the_lock_of_a_living_run_stays(lock, tmp_path):
    with hold(tmp_path / "running"), hold(tmp_path / "running"):  # two that share no file
        assert not drop_stale_lock(tmp_path / "locks", tmp_path / "running") and lock.exists()
    assert drop_stale_lock(tmp_path / "locks", tmp_path / "running")


def test_the_lock_of_somebody_else_stays(lock, tmp_path):
    os.utime(lock, (3000, 3000))  # of a program that does not write the other file
    assert not drop_stale_lock(tmp_path / "locks", tmp_path / "running") and lock.exists()
    (tmp_path / "running").unlink()
    assert not drop_stale_lock(tmp_path / "locks", tmp_path / "running") and lock.exists()


def test_files_of_the_future(tmp_path):
    past, future = tmp_path / "past", tmp_path / "fu ture"
    past.touch()
    check_clock([past, tmp_path / "not there"])
    future.touch()
    os.utime(future, (time.time() + 1000,) * 2)
    with pytest.raises(RunError, match=f"(?s){future} is of .*the clock was changed.*touch -d 2000-01-01 {future}$"):
        check_clock([past, future])


WRITING = [{"label": "KeOps", "module": "keops"}, {"label": "compiled", "module": "torch_compile"}]
OTHER = [{"label": "trees", "module": "sklearn"}]


def test_what_cannot_be_compiled_is_said(monkeypatch, tmp_path):
    """A compiler, binutils and Python's headers, for backends that write C++ and for no others."""
    fake = tmp_path / "cxx"
    fake.write_text("#!/bin/sh\necho /nowhere/ld\n")
    fake.chmod(0o700)
    for command, words in ((["no-such-compiler"], "install g++"), ([], "install g++"), ([str(fake)], "binutils")):
        monkeypatch.setattr(compiler, "COMPILER", command)
        said = cannot_compile(WRITING + OTHER, ROOT / "scripts")
        assert said.startswith("KeOps and compiled will be unavailable: what is compiled here needs ") and words in said
        assert cannot_compile(OTHER, ROOT / "scripts") is None
    fake.write_text("#!/bin/sh\necho sh\n")
    assert cannot_compile(WRITING, ROOT / "scripts") is None
    monkeypatch.setenv("CXXFLAGS", "-march=of-no-cpu")
    monkeypatch.setattr(compiler, "COMPILER", ["g++"])
    said = cannot_compile(WRITING + OTHER, ROOT / "scripts")  # PyTorch does not read it
    assert said.startswith("KeOps will be unavailable: ") and "CXXFLAGS" in said and "-march=of-no-cpu" in said
    monkeypatch.setattr(compiler.sysconfig, "get_path", lambda name: str(tmp_path))
    assert "Python.h" in cannot_compile(WRITING, ROOT / "scripts")


@pytest.mark.parametrize("lacks", TRIGGERS)
def test_triggers_that_hide_changes(lacks):
    check_triggers([*TRIGGERS, "code"])
    with pytest.raises(RunError, match=f"leaves out {lacks}: "):
        check_triggers({*TRIGGERS, "code"} - {lacks})


def test_an_option_whose_first_words_would_be_lost():
    check_arguments(["snakemake", "--config", "a=1", "b=2", "--configfile", "c"])
    check_arguments(["/bin/other", "--config", "a", "--config", "b"])  # a program that calls Snakemake
    for words in (["--config", "a=1", "-C", "b=2"], ["--configfile", "a", "-n", "--configfiles", "b"]):
        with pytest.raises(RunError, match="is there twice, and Snakemake takes the last; name all of it after one: --config"):
            check_arguments(["/bin/snakemake", *words])


def test_profiles_that_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine/config.yaml", "profiles/site/config.v8+.yaml", "profiles/other/config.yaml", "one.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    words = ["snakemake", "--profile", "mine", "--workflow-profile=site", "--cores", "1"]
    found = [str(path) for path in profiles_of(words, {"SNAKEMAKE_PROFILE": "one.yaml"})]
    assert found == ["mine/config.yaml", "profiles/site/config.v8+.yaml", "one.yaml"]


@pytest.fixture
def config(tmp_path):
    """One dataset of a download, one that is drawn."""
    web = {"source": "url", "url": "https://example.invalid/a.hdf5", "metric": "euclidean", "n": 5, "megabytes": 1}
    drawn = {"source": "normal", "metric": "euclidean", "n": 5, "d": 2, "queries": 2, "seed": 0}
    datasets = {"web": web, "drawn": drawn}
    suites = {"two": {"datasets": ["drawn", "web"]}}
    return {
        "datasets": datasets,
        "suites": suites,
        "suite": "two",
        "resources_dir": str(tmp_path),
        "mirror": "",
        "truth_k": 100,
    }


def test_receipts(config, tmp_path):
    assert resources.receipts(config, "web") == [f"{tmp_path}/downloads/a.hdf5.json"]
    assert resources.receipts(config, "drawn") == []


def test_a_download_does_not_depend_on_what_is_said_of_its_size(config):
    web, drawn = config["datasets"].values()
    assert json.loads(resources.made_from(web, 100)) == {key: web[key] for key in ("source", "url", "metric")}
    assert json.loads(resources.made_from(drawn, 100)) == drawn
    assert json.loads(resources.made_from(drawn, 1000)) == drawn | {"truth_k": 1000}


def test_what_could_not_be_had(config, tmp_path):
    assert resources.not_had(config) == {}
    (tmp_path / "datasets").mkdir()
    for name, attributes in {"web": {"unavailable": "no route"}, "drawn": {"sha256": "0"}}.items():
        with h5py.File(tmp_path / f"datasets/{name}.hdf5", "w") as file:
            file.attrs.update(attributes)
    assert resources.not_had(config) == {"web": "no route"}


def test_what_was_made_from_something_else_becomes_old(config, tmp_path):
    (tmp_path / "datasets").mkdir()
    paths = resources.dataset_files(config)
    for name, path in paths.items():
        with h5py.File(path, "w") as file:
            file.attrs["settings"] = resources.made_from(config["datasets"][name], 100)
    config["datasets"]["drawn"]["seed"] = 1
    resources.age_changed_datasets(config)
    assert paths["drawn"].stat().st_mtime == 1 and paths["web"].stat().st_mtime > 1


def test_downloads_are_asked_for_again_only_if_they_may_succeed(config, tmp_path):
    asked, receipt = tmp_path / "downloads/a.hdf5.asked", tmp_path / "downloads/a.hdf5.json"
    url = config["datasets"]["web"]["url"]
    assert resources.ask_again(config) == [] and asked.stat().st_mtime == 0
    failed = {"status": "unavailable", "asked": url, "url": url, "again": False, "reason": "404"}
    receipt.write_text(json.dumps(failed))
    assert resources.ask_again(config) == ["404"] and asked.read_text() == "first"
    (tmp_path / "downloads/a.hdf5").touch()  # put there by hand
    assert resources.ask_again(config) == [] and asked.read_text() != "first"
    (tmp_path / "downloads/a.hdf5").unlink()
    asked.write_text("first")
    config["mirror"] = "http://127.0.0.1:9"
    assert resources.ask_again(config) == [] and asked.read_text() != "first"
    config["mirror"] = ""
    asked.write_text("first")
    receipt.write_text(json.dumps(failed | {"asked": "https://elsewhere.invalid/a.hdf5"}))
    assert resources.ask_again(config) == [] and asked.read_text() != "first"


def test_what_others_keep(config, tmp_path):
    with pytest.raises(RunError) as error:
        resources.check_kept(config, [tmp_path / "environments/sklearn/freeze.txt"], SPECS)
    first, *wrong = error.value.args
    assert first.startswith(f"resources_dir: {tmp_path} may not be written here") and len(wrong) == 3
    (tmp_path / "environments/sklearn").mkdir(parents=True)
    (tmp_path / "environments/sklearn/freeze.txt").write_text("numpy==0.1\n")
    (tmp_path / "datasets").mkdir()
    for name, path in resources.dataset_files(config).items():
        with h5py.File(path, "w") as file:
            file.attrs["settings"] = resources.made_from(config["datasets"][name], 100)
    with pytest.raises(RunError) as error:
        resources.check_kept(config, [tmp_path / "environments/sklearn/freeze.txt"], SPECS)
    assert error.value.args[1:] == (f"{tmp_path}/environments/sklearn: it is not what envs/sklearn.yaml pins",)
    resources.check_kept(config, [], SPECS)


@pytest.mark.parametrize(
    ("env", "cuda", "expected"),
    [("torch", 0, "torch"), ("torch", 13, "torch"), ("torch", 12, "torch-cuda12"), ("faiss-gpu", 12, "faiss-gpu")],
)
def test_environments_for_a_driver(env, cuda, expected):
    assert for_driver(env, cuda, SPECS) == expected


def test_turns_are_shuffled_by_the_seed():
    places = [("data", "backend", "cpu", k, "0") for k in range(50)]
    turns = [turn(0, *place) for place in places]
    assert all(-2 < each <= -1 for each in turns) and len(set(turns)) == 50 and turns != sorted(turns)
    assert turns == [turn(0, *place) for place in places] != [turn(1, *place) for place in places]


def test_flags_are_what_a_cell_depends_on():
    timing = dict.fromkeys((*QUERY_TIMING, "threads", "memory_gb", "max_fit_s"), 1) | {"retry_noisy": False, "rounds": 9}
    backend = {"module": "sklearn", "parameters": {"b": 1, "a": 2}, "label": "not a flag"}
    words = fit_flags(backend, timing, "environments/sklearn", unpinned=False)
    assert words[:4] == ["--module", "sklearn", "--parameters", '{"a": 2, "b": 1}'] and words[-1] == "environments/sklearn"
    assert fit_flags(backend, timing, None, unpinned=True)[-1] == "--unpinned" and all(isinstance(word, str) for word in words)
    assert json.loads(query_flags(timing)[1]).keys() == set(QUERY_TIMING) and "--retry-noisy" not in query_flags(timing)
    assert query_flags(timing | {"retry_noisy": True})[-1] == "--retry-noisy"


def test_figures_of_a_suite():
    suites = {"two": {"datasets": ["b", "a"]}}
    names = figures({"suite": "two", "suites": suites, "figures": {"formats": ["svg", "png"]}})
    assert names[:3] == ["b.svg", "b.png", f"b.{CHARTS[0]}.svg"] and names[-1] == f"{SUITE_FIGURES[-1]}.png"
    assert len(names) == 2 * (2 * (1 + len(CHARTS)) + len(SUITE_FIGURES))


def test_datasets_of_others(tmp_path):
    (tmp_path / "timings.csv").write_text('dataset,reason\nb,"two\nlines"\na,\nb,\n')
    assert list(datasets_of("sources", [tmp_path])) == ["b", "a"]
    for text in (None, "backend\nx\n", "\udcff"):
        (tmp_path / "timings.csv").unlink(missing_ok=True)
        if text:
            (tmp_path / "timings.csv").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(RunError, match="^sources: .*expected a folder with timings.csv"):
            datasets_of("sources", [tmp_path])


def test_a_signal_that_comes_while_a_lock_is_held():
    """Snakemake's handler waits for its lock, and not in the thread that has it."""

    class Scheduler:
        lock, heard = threading.Lock(), threading.Event()

        def exit_gracefully(self, *arguments):
            with self.lock:
                self.heard.set()

    hear_beside(Scheduler)
    scheduler = Scheduler()
    with scheduler.lock:
        scheduler.exit_gracefully(15, None)
        assert not scheduler.heard.is_set()
    assert scheduler.heard.wait(60)
