"""Tuning: what is proposed, what is kept, and what is said of it; on a model of a graph, and on real cells."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import snakemake
from test_curves import ENTRY, resolved

from knnbench.config.suite import Cell, tuned_cell
from knnbench.config.values import ConfigError
from knnbench.measure.halves import HALVES, half_of
from knnbench.problem.datasets import Dataset
from knnbench.problem.metrics import METRICS
from knnbench.workflow.proposals import SEARCHES, Setting, Space, distribution, fastest, listed
from knnbench.workflow.tuning import ROUNDS, TIMES, Bench, candidates, hold_out, overlay, report, tune

GRAPH = {"label": "Graph", "module": "graph", "exact": False, "environments": {"cpu": "graph"}, "parameters": {"seed": 1}}
GRAPH |= {"build": {"M": [16, 32], "efConstruction": 200}, "search": {"ef": [10, 40, 160, 640]}}
GRAPH |= {"tune": {"M": [4, 64], "efConstruction": [50, 400]}, "saves": True}
QUERIES = 5000


def recall_of(build, search):
    """Rises with all three, as a graph's does."""
    return 1 - math.exp(-((build["M"] * build["efConstruction"] ** 0.5 * search["ef"] ** 1.5) ** 0.35) / 20)


def seconds_of(build, search):
    return 1e-4 * search["ef"] * build["M"] ** 0.5


class Model(Bench):
    """Whose cells are computed, and take a minute each, with a minute for an index."""

    def __init__(self, folder, entry=GRAPH, luck=lambda times: 1.0):
        super().__init__(folder, entry, ["cell"], 10, {"seed": 0})
        self.ran, self.luck, self.times = [], luck, {}

    def run(self, words, log):
        self.ran.append([str(word) for word in words])
        flags = dict(zip(self.ran[-1][1::2], self.ran[-1][2::2], strict=True))
        parameters = json.loads(flags["--parameters"])
        assert parameters["seed"] == 1
        if "--out" not in flags:
            folder = self.folder / flags["--index"]
            (folder / "index").mkdir()
            (folder / "fit.json").write_text(json.dumps({"cell_s": 60.0}))
            return
        assert (self.folder / flags["--index"] / "index").is_dir(), "a cell without an index"
        points = {}
        for number, search in enumerate(json.loads(flags["--search"])):
            grown = recall_of(parameters, search) - 0.002 * (flags["--half"] == "held-out")
            times = self.times[str(parameters | search)] = self.times.get(str(parameters | search), -1) + 1
            seconds = self.luck(times) * seconds_of(parameters, search)
            queries = {"query_ns": {"host": [seconds * 1e9] * 3}, "queries_timed": QUERIES}
            points[str(number)] = {"status": "ok", "reason": "", "recall": grown, "recall_error": 0.003} | queries
        if parameters["M"] > 40:
            points = {number: {"status": "crashed", "reason": "SIGSEGV"} for number in points}
        record = {"status": "ok", "reason": "", "cell_s": 60.0, "dataset": {"queries": QUERIES}, "points": points}
        (self.folder / flags["--out"]).write_text(json.dumps(record))

    def measure(self, folder, *arguments):
        """A step takes what its two processes take."""
        new, before = not (folder / "setting.json").exists(), len(self.ran)
        record = super().measure(folder, *arguments)
        if new:
            path = folder / "setting.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"took_s": 60.0 * (len(self.ran) - before)}))
        return record


def values(settings):
    return [each.values for each in settings]


def test_the_space_is_what_the_entry_lists_and_tune_widens():
    space = Space(GRAPH)
    bounds = {name: (each.low, each.high, each.log) for name, each in space.free.items()}
    assert bounds == {"M": (4, 64, True), "efConstruction": (50, 400, True), "ef": (10, 640, True)}
    assert listed(GRAPH) == [({"M": m, "efConstruction": 200}, [{"ef": ef} for ef in (10, 40, 160, 640)]) for m in (16, 32)]
    assert list(Space({key: value for key, value in GRAPH.items() if key != "tune"}).free) == ["M", "ef"]
    assert distribution(["a", "b"]).choices == ("a", "b") and distribution([True, False]).choices == (True, False)
    assert space.has({"M": 5, "efConstruction": 300, "ef": 11}) and not space.has({"M": 5, "efConstruction": 300})
    assert not space.has({"M": 3, "efConstruction": 300, "ef": 11})
    words = Space({"build": {"index": ["a", "b"], "one": ["c"]}, "search": {"two": 3}})
    assert words.has({"index": "b", "one": "c", "two": 3}) and not words.has({"index": "ab", "one": "c", "two": 3})
    assert words.part("build", {"index": "b"}) == {"index": "b", "one": "c"} and words.part("search", {}) == {"two": 3}
    near, far = distribution([-0.1, 0.4]), distribution([0.01, 0.4])
    assert (near.log, far.log, near.low) == (False, True, -0.1) and distribution([3]).single()


def test_what_is_proposed_is_new_and_meets_the_condition():
    entry = {"build": {"nlist": [4, 64]}, "search": {"nprobe": [1, 64]}, "where": "nprobe <= nlist", "parameters": {}}
    space, settings = Space(entry), []
    for seed in range(12):
        build, searches = space.propose(settings, 0.9, seed)
        assert len(searches) <= SEARCHES and all(each["nprobe"] <= build["nlist"] for each in searches)
        settings += [
            Setting(build, each, False, "ok", "", 1.0, 1.0, each["nprobe"] / 64, 0.0, each["nprobe"]) for each in searches
        ]
    tried = [tuple(each.items()) for each in values(settings)]
    assert len(set(tried)) == len(tried) > 30
    build, searches = space.propose(settings, 0.9, 99, {"nlist": 60})
    assert build == {"nlist": 60} and searches


def test_what_was_the_same_search_as_another_says_nothing_of_its_place():
    """It has no numbers, and is not proposed again: the sampler would take it for slow and without a recall."""
    entry = {"search": {"ef": [10, 640]}, "parameters": {}}
    measured = [Setting({}, {"ef": ef}, True, "ok", "", 1.0, 1.0, ef / 640, 0.0, ef) for ef in (100, 640)]
    same = [Setting({}, {"ef": ef}, True, "not_needed", "K is more", 1.0, 1.0) for ef in range(10, 100)]
    proposed = [Space(entry).propose([*measured, *some], 0.9, 0)[1] for some in (same, [])]
    assert proposed[0] == [each for each in proposed[1] if each["ef"] >= 100]


def test_a_recall_must_be_reached_beyond_the_luck_of_the_queries():
    slow, lucky = (
        Setting({}, {"ef": ef}, True, "ok", "", 1.0, 1.0, recall, 0.01, ef) for ef, recall in ((20, 0.961), (10, 0.959))
    )
    assert fastest([slow, lucky], 0.95) is slow and fastest([lucky], 0.95) is None
    assert candidates([slow, lucky], 0.95) == [slow]


def test_found_is_faster_than_what_is_listed_and_a_second_call_measures_nothing(tmp_path):
    said, bench = [], Model(tmp_path)
    settings = tune(bench, 0.95, 1.0, 0, said.append)
    best, own = candidates(settings, 0.95)
    assert own.listed and own.values["ef"] == 160 and not best.listed
    assert best.recall - best.margin >= 0.95 and best.seconds < 0.8 * own.seconds
    # The best is measured again and again.
    asked = [json.dumps(step["build"] | search) for _, step in bench.steps() for search in step["searches"]]
    assert len(asked) > len(set(asked)) == len(settings) and asked.count(json.dumps(best.values)) > 1
    # Of what the model can do, nearly the best.
    grid = [
        ({"M": m, "efConstruction": c}, {"ef": ef}) for m in range(4, 41) for c in (50, 200, 400) for ef in range(10, 641, 5)
    ]
    assert best.seconds < 1.25 * min(seconds_of(*each) for each in grid if recall_of(*each) >= 0.953)
    # It ended about in time, with the comparison reserved, and left no index; those that died count as slow and useless.
    steps = bench.steps()
    assert 1.2 * 3600 > sum(step["took_s"] for _, step in steps) > 0.5 * 3600 and not list(tmp_path.rglob("index"))
    assert {each.status for each in settings if each.build["M"] > 40} == {"crashed"} and len(said) < len(steps)
    # A further call has nothing to do; with more time it goes on where this one ended.
    again = Model(tmp_path)
    assert tune(again, 0.95, 1.0, 0, said.append) == settings and not again.ran
    more = tune(again, 0.95, 1.2, 0, said.append)
    assert values(more)[: len(settings)] == values(settings) and len(more) > len(settings)
    # Another recall takes what there is, and measures the fastest of these again.
    assert values(tune(Model(tmp_path), 0.8, 1.0, 0, said.append)) == values(more)

    records = hold_out(bench, [best, own])
    assert [len(rounds) for rounds in records] == [ROUNDS, ROUNDS] and not list(tmp_path.rglob("index"))
    builds = [words[words.index("--build") + 1] for words in bench.ran if "held-out" in words]
    assert builds == ["1", "1", "2", "2", "3", "3"]  # in turns
    text = report([best, own], records, 0.95)
    assert f"{own.seconds / best.seconds:.2f} times as fast" in text and f"{best.recall - 0.002:.4f}" in text
    assert "ask for a higher one" in report([best, own], records, 0.999)
    found = yaml.safe_load(overlay("graph", GRAPH, best, "Words."))["backends"]["graph-tuned"]
    assert found == {
        **{key: GRAPH[key] for key in ("module", "exact", "environments", "saves")},
        "label": "Graph, tuned",
        "parameters": {"seed": 1} | best.build,
        "search": best.search,
    }


def test_a_setting_that_was_lucky_once_is_not_chosen(tmp_path):
    """The first time that a setting is measured it may seem to take half of its time; then it is as it is, or a bit slower."""
    generator = np.random.default_rng(3)
    settings = tune(Model(tmp_path, luck=lambda times: generator.uniform(0.5, 1) if times == 0 else 1.0), 0.95, 1.0, 0, print)
    ranked = sorted((each for each in settings if each.reaches(0.95)), key=lambda each: seconds_of(each.build, each.search))
    best, *_ = candidates(settings, 0.95)
    assert best.measured >= TIMES and best in ranked[:2]
    once = [each for each in ranked if each.measured == 1]
    assert min(each.seconds for each in once) >= best.seconds


@pytest.mark.parametrize("hours", [0.4, 0.6, 50])
def test_a_second_call_measures_nothing_whatever_the_race_showed(tmp_path, hours):
    """Neither when the time was up nor when nothing was left to try, though other settings are the fastest since."""
    entry = GRAPH | {"build": {"M": [16, 20], "efConstruction": 200}, "search": {"ef": [150, 160]}, "tune": {}}
    generator = np.random.default_rng(int(10 * hours))
    settings = tune(Model(tmp_path, entry, lambda times: generator.uniform(0.5, 2)), 0.95, hours, 0, print)
    again = Model(tmp_path, entry)
    assert tune(again, 0.95, hours, 0, print) == settings and not again.ran


def test_waiting_for_others_is_not_time_that_was_spent(tmp_path):
    class Waits(Bench):
        def run(self, words, log):
            name = "cell.json" if "--out" in words else "fit.json"
            (tmp_path / name).write_text(json.dumps({"waited_s": 1000.0}))

    Waits(tmp_path, GRAPH, ["cell"], 10, {}).measure(tmp_path, {"M": 16}, [{"ef": 10}], HALVES[0], 0, {})
    assert -2000 < json.loads((tmp_path / "setting.json").read_text())["took_s"] < -1900


def test_where_little_can_be_chosen_it_ends(tmp_path):
    entry = {key: value for key, value in GRAPH.items() if key != "tune"} | {"search": {"ef": [10, 12]}}
    said = []
    settings = tune(Model(tmp_path, entry), 0.999, 10.0, 0, said.append)
    assert len(settings) == len({tuple(each.values.items()) for each in settings}) and "Nothing is left" in said[-2]
    assert candidates(settings, 0.999) == []


def test_halves_share_no_query():
    generator = np.random.default_rng(0)
    test, neighbors = generator.random((7, 3), np.float32), np.arange(21, dtype=np.int32).reshape(7, 3)
    whole = Dataset(METRICS["euclidean"], test, test, neighbors, neighbors * 0.5, "", own=np.arange(7))
    tuning, other = (half_of(whole, half) for half in HALVES)
    assert tuning.own.tolist() == [0, 2, 4, 6] and other.own.tolist() == [1, 3, 5]
    for part in (tuning, other):
        assert part.train is whole.train and part.test.flags.c_contiguous
        assert (part.test == test[part.own]).all() and (part.neighbors == neighbors[part.own]).all()
        assert (part.distances == whole.distances[part.own]).all()


ASKED = {"dataset": "toy-euclidean", "backend": "ivf", "recall": 0.9, "n_neighbors": 10, "hours": 0.1}


def test_the_cell_that_is_tuned():
    assert tuned_cell(resolved({"ivf": ENTRY}, **ASKED), False) == Cell("toy-euclidean", "ivf-nlist4", "cpu", 10)
    both = ENTRY | {"environments": {"gpu": "faiss-gpu", "cpu": "faiss-cpu"}}
    assert tuned_cell(resolved({"ivf": both}, **ASKED), True).device == "gpu"
    assert tuned_cell(resolved({"ivf": both}, **ASKED), False).device == "cpu"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hours": None, "recall": None}, "say also recall, hours; such as"),
        ({"dataset": "toy"}, "dataset: unknown name 'toy'"),
        ({"backend": "hnswlibb"}, "did you mean 'hnswlib'"),
        ({"backend": "faiss-flat"}, "faiss-flat has no build and no search"),
        ({"n_neighbors": 200}, "n_neighbors: 200"),
        ({"n_neighbors": 2.5}, "n_neighbors: 2.5"),
        ({"device": "gpu"}, "device: gpu; ivf runs here on cpu"),
        ({"backend": "cuvs-cagra"}, "needs a GPU"),
    ],
)
def test_what_cannot_be_tuned_is_said(change, words):
    asked = {key: value for key, value in (ASKED | change).items() if value is not None}
    with pytest.raises(ConfigError, match=words):
        tuned_cell(resolved({"ivf": ENTRY}, **asked), False)


def test_ranges_are_of_parameters_that_there_are():
    with pytest.raises(ConfigError, match="backends.ivf.tune: unknown name 'nprob'; did you mean 'nprobe'"):
        resolved({"ivf": ENTRY | {"tune": {"nprob": [1, 2]}}})
    with pytest.raises(ConfigError, match="backends.ivf.tune.nprobe"):
        resolved({"ivf": ENTRY | {"tune": {"nprobe": 3}}})


OVERLAY = """
backends:
  curve:
    {label: Curve, module: faiss, exact: false, saves: true, environments: {cpu: faiss-cpu},
     build: {index: ["IVF8,Flat", "IVF16,Flat"]}, search: {nprobe: [1, 8]}, tune: {index: ["IVF4,Flat"]}}
timing: {budget_s: 0.01}
"""


@pytest.mark.full
def test_real_cells(project):
    """Tuned, kept, and its overlay measured; an index that is worse is not chosen, and a recall beyond reach is said."""
    (project / "mine.yaml").write_text(OVERLAY)
    asked = ("dataset=toy-euclidean", "backend=curve", "n_neighbors=10", "hours=1")
    call = ("--configfile", "mine.yaml", "--config", *asked)
    done = snakemake("tune", *call, "recall=0.9", cwd=project)
    (folder,) = (project / "results/tune/toy-euclidean/curve-cpu").iterdir()
    assert folder.name.startswith("k10-") and "queries/s, other half" in done.stdout
    found = pd.read_csv(folder / "settings.csv")
    assert set(found["status"]) == {"ok", "low_recall"} and found["listed"].sum() == 4 and len(found) > 4
    records = [json.loads(path.read_text()) for path in folder.rglob("cell.json")]
    assert {record["dataset"]["queries"] for record in records} == {25}
    made = {path: path.stat().st_mtime for path in folder.glob("step*/*.json")}
    again = snakemake("tune", *call, "recall=0.9", cwd=project)
    assert {path: path.stat().st_mtime for path in folder.glob("step*/*.json")} == made
    assert "times as fast" in again.stdout or "no other one was faster" in again.stdout
    two = '["IVF8,Flat", "IVF16,Flat"]'  # whichever is listed first: what was tried is known by its own setting
    (project / "mine.yaml").write_text(OVERLAY.replace(two, '["IVF16,Flat", "IVF8,Flat"]'))
    snakemake("tune", *call, "recall=0.9", cwd=project)
    assert {path: path.stat().st_mtime for path in folder.parent.glob("*/step*/*.json")} == made

    chosen = yaml.safe_load((folder / "recall0.9.yaml").read_text())["backends"]["curve-tuned"]
    assert chosen["module"] == "faiss" and "build" not in chosen and chosen["search"]["nprobe"] > 1
    files = ("--configfile", "mine.yaml", folder / "recall0.9.yaml")
    only = ("suite=test", "datasets=[toy-euclidean]", "backends=[curve-tuned]")
    snakemake("--quiet", "rules", *files, "--config", *only, "--", "results/test/timings.csv", cwd=project)
    rows = pd.read_csv(project / "results/test/timings.csv").set_index(["backend", "n_neighbors"])
    assert rows.loc[("curve-tuned", 10), "recall"] >= 0.85

    (project / "low.yaml").write_text(
        OVERLAY.replace("[1, 8]", "[1, 2]").replace("module: faiss", "named: true, module: faiss")
    )
    done = snakemake("tune", "--configfile", "low.yaml", "--config", *asked, "recall=1", cwd=project, check=False)
    assert done.returncode == 1 and "No setting has a recall of 1: the largest was" in done.stdout
