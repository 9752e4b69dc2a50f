"""Settings and curves: what an entry's lists multiply to, and what is said of the points that were measured."""

import copy
import json
import math
import re
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from test_results import CEILING, CONFIG, DATASET, record

from knnbench.config.checks import resolve
from knnbench.config.settings import builds_of, entries_of, holds, points_of
from knnbench.config.suite import Cell, used
from knnbench.config.values import ConfigError, command_line
from knnbench.draw.figures import styles
from knnbench.results.calls import at_point
from knnbench.results.curves import RECALLS, at_recall, curves, front, place_of, standing
from knnbench.results.gather import row
from knnbench.workflow.new_backend import new_backend

SCHEMA = yaml.safe_load((ROOT / "rules/schemas/config.schema.yaml").read_text())
ENTRY = {"label": "IVF", "module": "faiss", "exact": False, "environments": {"cpu": "faiss-cpu"}, "parameters": {"a": 1}}
ENTRY |= {"build": {"nlist": [4, 16], "fixed": 7}, "search": {"nprobe": [1, 4, 8], "refine": 2}, "where": "nprobe <= nlist"}


def resolved(backends, **more):
    """The shipped configuration with entries of backends besides."""
    config = {}
    for name in ("config.yaml", "claims.yaml"):
        config |= yaml.safe_load((ROOT / name).read_text())
    config["backends"] |= copy.deepcopy(backends)
    config |= more
    resolve(config, SCHEMA)
    return config


def test_lists_multiply():
    builds = builds_of("ivf", ENTRY)
    assert list(builds) == ["ivf-nlist4", "ivf-nlist16"]
    assert builds["ivf-nlist4"]["parameters"] == {"a": 1, "nlist": 4, "fixed": 7}
    points = points_of(builds)
    assert list(points) == [
        *(f"ivf-nlist4-nprobe{nprobe}" for nprobe in (1, 4)),
        *(f"ivf-nlist16-nprobe{nprobe}" for nprobe in (1, 4, 8)),
    ]
    last = points["ivf-nlist16-nprobe8"]
    assert (last["build"], last["family"], last["search"]) == ("ivf-nlist16", "ivf", {"nprobe": 8, "refine": 2})
    assert last["setting"] == {"nlist": 16, "nprobe": 8, "refine": 2}
    plain = {key: value for key, value in ENTRY.items() if key not in ("build", "search", "where")}
    (name, build), (point, of) = *builds_of("plain", plain).items(), *points_of(builds_of("plain", plain)).items()
    assert name == point == of["build"] == of["family"] == "plain" and of["setting"] == {} and build["parameters"] == {"a": 1}
    assert list(points_of(builds_of("texts", plain | {"build": {"index": ["IVF4,Flat", "IVF8,Flat"]}}))) == [
        "texts-IVF4Flat",
        "texts-IVF8Flat",
    ]


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("nprobe <= nlist", True),
        ("nprobe * 2 > nlist", False),
        ("1 < nprobe <= nlist / 2", True),
        ("nprobe == 2 or nlist == 2", True),
        ("not (nprobe != 2 and nlist > 1)", True),
    ],
)
def test_conditions(text, true):
    assert holds(text, {"nprobe": 2, "nlist": 8}, "here") == true


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nprobes < 2", "names 'nprobes'; parameters are nprobe, index"),
        ("__import__('os').system('true')", "is no condition of"),
        ("nprobe.real", "is no condition of"),
        ("[nprobe][0]", "is no condition of"),
        ("nprobe <", "a condition is made of"),
        ("nprobe / 0 > 1", "a condition is made of"),
        ("index < 2", "a condition is made of"),
        ("nprobe ** 99999999", "is no condition of"),
        ("(lambda: nprobe)()", "is no condition of"),
    ],
)
def test_conditions_that_are_none(text, words):
    with pytest.raises(ConfigError, match="here: .*" + re.escape(words)):
        holds(text, {"nprobe": 2, "index": "Flat"}, "here")


def test_a_suite_measures_all_builds_of_a_family():
    config = resolved(
        {"ivf": ENTRY}, suite="mine", suites={"mine": {"datasets": ["rd-a"], "backends": ["ivf"], "n_neighbors": [1]}}
    )
    assert config["suites"]["mine"]["backends"] == ["ivf-nlist4", "ivf-nlist16", "control-null", "control-random"]
    saved = yaml.safe_load(yaml.safe_dump(used(config), sort_keys=False))
    assert [name for name in points_of(saved["backends"]) if name.startswith("ivf")] == list(points_of(builds_of("ivf", ENTRY)))
    again = resolved(entries_of(saved["backends"]), suite="mine", suites={"mine": saved["suites"]["mine"]})  # of an artifact
    assert used(again)["backends"] == saved["backends"] and entries_of(saved["backends"])["ivf"].items() >= ENTRY.items()
    looks = styles(saved["backends"])  # a family has one look
    assert looks["ivf-nlist4-nprobe1", "cpu"] == looks["ivf-nlist16-nprobe8", "cpu"] != looks["control-null", "cpu"]
    config = resolved({"ivf": ENTRY}, only={"datasets": ["rd-b", "rd-c"], "backends": ["ivf-nlist4", "keops"]})
    suite = config["suites"][config["suite"]]
    assert (suite["datasets"], suite["backends"][:2]) == (["rd-b", "rd-c"], ["ivf-nlist4", "keops"])


def test_the_command_line_narrows_a_suite():
    said = command_line(["datasets=[rd-a, rd-b]", "backends=[keops]", "suite=paper"], SCHEMA)
    assert said == [{"suite": "paper"}, {"only": {"datasets": ["rd-a", "rd-b"], "backends": ["keops"]}}]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"where": "nprobe > nlist * 9"}, "backends.ivf.where: 'nprobe > nlist * 9' holds for none of its settings"),
        ({"search": {"nprobe": []}}, "backends.ivf.search.nprobe"),
        ({"search": {"nprobe": [1, 1]}}, "backends.ivf.search.nprobe"),
        ({"search": {}}, "backends.ivf.search"),
        ({"search": {"nprobe": [{"a": 1}]}}, "backends.ivf.search.nprobe"),
        ({"build": {"nlist": ["nlist4", 4]}, "where": "nprobe > 0"}, "two of its settings have one name"),
        ({"build": {"index": ["IVF4,Flat", "IVF4Flat"]}, "where": "nprobe > 0"}, "two of its settings have one name"),
    ],
)
def test_wrong_settings(change, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        resolved({"ivf": ENTRY | change})


def test_a_build_may_not_be_called_as_another_entry():
    other = {"module": "faiss", "exact": True, "environments": {"cpu": "faiss-cpu"}}
    for name in ("ivf-nlist4", "ivf-nlist4-nprobe1"):  # a point of a curve has rows by its name
        with pytest.raises(ConfigError, match=f"ivf: one of its settings is called '{name}', as another entry"):
            resolved({"ivf": ENTRY, name: other})


def test_rows_of_points():
    """A cell's points have rows of their own, with the fit of all; one that was lost says so."""
    points = {
        "0": {
            "status": "ok",
            "reason": "",
            "query_ns": {"host": [2e9]},
            "loops": {"host": 1},
            "recall": 0.9,
            "queries_timed": 100,
            "least_queries": 100,
        },
        "1": {"status": "crashed", "reason": "SIGKILL during query"},
    }
    common = record(samples=())
    whole = common | {"points": points, "dataset": {"queries": 100}, "phases_ns": {"transfer": 0, "train": 1e9, "add": 1e9}}
    config = CONFIG | {"backends": points_of({"ivf": CONFIG["backends"]["rough"] | {"family": "ivf", "search": SEARCH}})}
    rows = [
        row(config, Cell("data", name, "cpu", 10), DATASET, [at_point(whole, number)], "host", CEILING)
        for number, name in enumerate(config["backends"])
    ]
    assert [each["backend"] for each in rows] == ["ivf-1", "ivf-2"] and {each["family"] for each in rows} == {"ivf"}
    assert [json.loads(each["setting"]) for each in rows] == [{"nprobe": 1}, {"nprobe": 2}]
    assert [each["status"] for each in rows] == ["ok", "crashed"] and [each["fit_s"] for each in rows] == [2, 2]
    assert (rows[0]["queries_per_s"], rows[0]["recall"], rows[1]["queries_per_s"]) == (50, 0.9, None)
    points["0"]["searched"] = {"nprobe": 10}  # the library took K in its place
    same = row(config, Cell("data", "ivf-1", "cpu", 10), DATASET, [at_point(whole, 0)], "host", CEILING)
    assert (same["backend"], json.loads(same["setting"])) == ("ivf-1", {"nprobe": 10})
    ended = common | {"status": "timeout_fit", "reason": "because"}
    assert at_point(ended, 1)["status"] == "timeout_fit" and whole["points"] == points


SEARCH = [{"name": f"ivf-{nprobe}", "set": {"nprobe": nprobe}} for nprobe in (1, 2)]
POINT = st.tuples(st.floats(0, 1), st.floats(1, 1e6))


def rows_of(points, **more):
    place = {"dataset": "data", "device": "cpu", "n_neighbors": 10, "residency": "host", "machine": "here", "family": "ivf"}
    place |= {"label": "IVF", "parameters": "{}", "rounds": 1, "status": "ok", "query_interval": "one round", **more}
    speeds = ("queries_per_s", "queries_per_s_low", "queries_per_s_high")
    return [
        place
        | {"backend": f"ivf-{number}", "recall": recall}
        | {name: speed * ends for name, ends in zip(speeds, (1, 0.9, 1.2), strict=True)}
        for number, (recall, speed) in enumerate(points)
    ]


@given(st.lists(POINT, min_size=1, max_size=8), st.floats(0, 1))
def test_speed_at_a_recall(points, recall):
    """Between two points that are measured and never beyond; a point of that recall or more is never beaten by it."""
    rows = rows_of(points)
    found = at_recall(rows, recall)
    enough = [speed for has, speed in points if has >= recall]
    if not enough:
        assert found is None
        return
    assert found["queries_per_s"] >= max(enough) * (1 - 1e-9)
    assert found["queries_per_s"] <= max(speed for _, speed in points) * (1 + 1e-9)
    assert found["queries_per_s_low"] <= found["queries_per_s"] <= found["queries_per_s_high"]
    more = at_recall(rows, min(1.0, recall + 0.05))
    assert more is None or more["queries_per_s"] <= found["queries_per_s"] * (1 + 1e-9)


def test_speed_between_two_points():
    rows = rows_of([(0.9, 1000), (0.96, 250), (0.91, 900)])
    assert at_recall(rows, 0.935)["queries_per_s"] == pytest.approx(math.sqrt(900 * 250))
    assert at_recall(rows, 0.935)["between"] == "ivf-2; ivf-1"
    assert at_recall(rows, 0.5)["queries_per_s"] == 1000 and at_recall(rows, 0.5)["between"] == "ivf-0"
    assert at_recall(rows, 0.96)["between"] == "ivf-1" and at_recall(rows, 0.97) is None


def test_a_speed_between_two_points_is_as_sure_as_the_worse_known():
    rows = rows_of([(0.9, 1000), (0.96, 250)], query_interval="moderated")
    assert at_recall(rows, 0.93)["query_interval"] == "moderated"
    for known, worse in (("own rounds", "own rounds"), ("one round", "one round"), (None, None)):
        rows[0]["query_interval"] = known
        assert at_recall(rows, 0.93)["query_interval"] == worse
        assert at_recall(rows, 0.9)["query_interval"] == worse
        assert at_recall(rows, 0.96)["query_interval"] == "moderated"  # which is a point, and needs no other
    assert curves(pd.DataFrame(rows))["query_interval"].isna().tolist() == [True] * 3


@given(st.lists(POINT, min_size=1, max_size=12))
def test_nothing_beats_the_front(points):
    rows = rows_of(points)
    found = front(rows)
    pairs = [(each["recall"], each["queries_per_s"]) for each in found]
    assert pairs == sorted(pairs, key=lambda pair: (-pair[0], pair[1])) and len(set(pairs)) == len(pairs)
    for recall, speed in points:
        assert any(has >= recall and each >= speed for has, each in pairs)


def test_curves_are_of_one_index_each():
    """Between the points of two indexes there is nothing to be had."""
    rows = rows_of([(0.85, 1000)], parameters='{"M": 4}') + rows_of([(0.995, 10)], parameters='{"M": 32}')
    found = curves(pd.DataFrame(rows)).set_index("recall")["queries_per_s"]
    assert found.to_dict() == {0.8: 1000, 0.9: 10, 0.95: 10, 0.99: 10} and set(found.index) == set(RECALLS)


def test_who_stands_for_a_family():
    """The fastest with a recall of 0.95, else the one with the most; of rows that did not run, the mildest."""
    rows = rows_of([(0.9, 1000), (0.96, 300), (0.99, 250)])
    assert standing(rows) == [place_of(rows[1])]
    low = rows_of([(0.9, 1000), (0.94, 10)])
    assert standing(low) == [place_of(low[1])]
    ended = [
        each | {"status": status, "queries_per_s": None}
        for each, status in zip(rows, ("failed", "skipped", "crashed"), strict=True)
    ]
    assert standing(ended) == [place_of(ended[1])]
    assert standing([*ended[:2], rows[2]]) == [place_of(rows[2])]
    assert standing(rows_of([(None, 1000), (0.1, 1)])) == [place_of(rows[1])]  # of others, who do not say their recall
    assert len(standing(rows + rows_of([(1, 1)], family="other"))) == 2


def test_the_methods_are_described():
    """docs/methods.md is what the entries say, and every library of them says who wrote it."""
    said = subprocess.run(
        [sys.executable, ROOT / "scripts/write_methods.py", "--config", ROOT / "config.yaml"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    entries = yaml.safe_load((ROOT / "config.yaml").read_text())["backends"].values()
    modules = {entry["module"] for entry in entries if not entry.get("control")}
    assert modules == {entry["module"] for entry in entries if "method" in entry} | {"faiss_knn"}  # which is FAISS, too


def test_every_number_of_an_entry_has_an_origin():
    """In docs/methods.md, of each parameter; and no parameter has one that is not there."""
    for name, entry in yaml.safe_load((ROOT / "config.yaml").read_text())["backends"].items():
        plain = {key: value for key, value in entry.get("parameters", {}).items() if not isinstance(value, dict)}
        parts = [value for value in entry.get("parameters", {}).values() if isinstance(value, dict)]
        values = {
            key: value
            for part in (plain, *parts, entry.get("build", {}), entry.get("search", {}))
            for key, value in part.items()
        }
        numbers = {key for key, value in values.items() if re.search(r"\d", str(value)) and key != "precision"}
        assert numbers <= entry.get("origins", {}).keys() <= values.keys(), name


def test_a_new_backend_is_laid_out(bare):
    """What the docs promise; a second one of that name, or a library that there is none of, leaves all as it is."""
    words = new_backend(bare, "my-index", "voyager")
    assert "pytest tests/test_backends.py -k my-index" in words
    config = yaml.safe_load((bare / "config.yaml").read_text())
    assert config["backends"]["my-index"]["module"] == "my_index" and list(config["backends"])[-2:] == [
        "control-null",
        "control-random",
    ]
    assert (
        "voyager==" in (bare / "envs/my-index.yaml").read_text()
        and "--hash=sha256:" in (bare / "envs/my-index.yaml").read_text()
    )
    assert "import voyager" in (bare / "scripts/knnbench/backends/my_index.py").read_text()
    files = {path: path.read_bytes() for path in bare.rglob("*") if path.is_file()}
    for name, package, why in (
        ("my-index", "voyager", "is there; choose another name"),
        ("hnswlib", "hnswlib", "is there"),
        ("faiss-flat", "faiss-cpu", "there is an entry faiss-flat already"),
        ("My Index", "voyager", "small letters and digits"),
        ("other", "no-such-package-of-anybody", "is it called so on PyPI?"),
    ):
        with pytest.raises(SystemExit, match=re.escape(why)):
            new_backend(bare, name, package)
    assert {path: path.read_bytes() for path in bare.rglob("*") if path.is_file()} == files
