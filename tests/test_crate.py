"""Whose an artifact says that its parts are: the user's results, the workflow, and each dataset."""

import json
import shutil

import pytest
from conftest import ROOT

from knnbench.exchange import crate

MIT = {"@id": "https://spdx.org/licenses/MIT"}
ORCID = "https://orcid.org/0000-0002-1825-0097"
WHOSE = {
    "authors": ["李雷", {"name": "Ada", "orcid": ORCID, "affiliation": "A university"}],
    "publisher": "A press",
    "license": "CC BY 4.0",
}
LICENCES = {"data/a.npy": ["CC BY-SA 4.0"], "data/b.npy": [], "data/c.npy": ["ODbL", "https://licence.example/x", "ODbL"]}


def described(folder, whose):
    for name in ("code/Snakefile", "published/t/timings.csv", "records/a.json", "experiment.yaml", "README.md", *LICENCES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    shutil.copy(ROOT / "CITATION.cff", folder / "code")
    crate.write(folder, "t", "words", whose, LICENCES, ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"), None)
    graph = json.loads((folder / "ro-crate-metadata.json").read_text(encoding="utf-8"))["@graph"]
    return {each["@id"]: each for each in graph}


@pytest.mark.parametrize("whose", [{}, WHOSE])
def test_each_part_is_whose_it_is(tmp_path, whose):
    graph = described(tmp_path, whose)
    authors = [{"@id": "#%E6%9D%8E%E9%9B%B7"}, {"@id": ORCID}]
    for part in ("./", "published/t/", "records/"):
        nothing = crate.NOT_STATED if part == "./" else None
        assert graph[part].get("author") == (authors if whose else None)
        assert graph[part].get("license") == ({"@id": "#licence-CC%20BY%204.0"} if whose else nothing)
    assert graph["#measured"].get("agent") == (authors if whose else None)
    assert graph["./"].get("publisher") == ({"@id": "#A%20press"} if whose else None)
    if whose:
        assert graph["#A%20press"]["name"] == "A press"
        assert graph[graph[ORCID]["affiliation"]["@id"]]["name"] == "A university"
        assert graph["#licence-CC%20BY%204.0"]["name"] == "CC BY 4.0" and graph[authors[0]["@id"]]["name"] == "李雷"
    for part in ("code/", "code/Snakefile"):
        assert graph[part]["license"] == MIT and graph[graph[part]["author"]["@id"]]["name"] == "The knnbench authors"
    licences = [graph[name]["license"] for name in LICENCES]
    assert licences[:2] == [{"@id": "#licence-CC%20BY-SA%204.0"}, "not stated"]
    assert licences[2] == [{"@id": "#licence-ODbL"}, {"@id": "https://licence.example/x"}]
    assert "license" not in graph["data/"] and graph["#licence-CC%20BY-SA%204.0"]["name"] == "CC BY-SA 4.0"
