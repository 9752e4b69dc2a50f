"""The house: rooms, what imports what, and that an edit makes again what it can change and nothing else."""

import ast
import modulefinder
import os
import re
import shutil
import textwrap
from pathlib import Path

import pytest
from conftest import CONFIG, ROOT, snakemake

from knnbench.workflow.closure import closure

SCRIPTS = ROOT / "scripts"
MODULES = sorted(path for path in SCRIPTS.glob("knnbench/*/*.py") if path.name != "__init__.py")
# docs/architecture.md draws them: a room may use those before it.
ROOMS = ("system", "problem", "backends", "measure", "config", "results", "draw", "exchange", "workflow")


def room(path):
    return path.relative_to(SCRIPTS / "knnbench").parts[0]


def test_every_room_is_known():
    assert {room(path) for path in MODULES} == set(ROOMS)
    drawn = (ROOT / "docs/architecture.md").read_text()
    assert all(f"`{name}/`" in drawn for name in ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SCRIPTS / "knnbench")))
def test_imports_go_one_way(path):
    used = re.findall(r"^\s*(?:from|import) knnbench\.(\w+)", path.read_text(), re.MULTILINE)
    assert all(ROOMS.index(name) <= ROOMS.index(room(path)) for name in used)
    assert len(path.read_text().splitlines()) <= 300


def test_no_circle():
    within = {path: set(closure(SCRIPTS, str(path.relative_to(SCRIPTS)))) - {path} for path in MODULES}
    assert not [(path, other) for path in MODULES for other in within[path] & within.keys() if path in within[other]]


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_scripts_are_command_lines(path):
    """Short, with a docstring; what they know is in the library."""
    assert len(path.read_text().splitlines()) <= 120
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_rules_are_names_and_lists():
    assert len((ROOT / "rules/common.smk").read_text().splitlines()) < 200


def test_every_adapter_is_compared_with_a_search_by_hand():
    """Of a graph that answers no queries, and of controls, there is none."""
    tree = ast.parse((ROOT / "benchmarks/by_hand.py").read_text())
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    [same] = [node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "SAME"]
    names |= {key.value for key in same.keys}
    modules = {entry["module"] for entry in CONFIG["backends"].values() if "cpu" in entry["environments"]}
    assert modules - names <= {"control", "pynndescent_graph"}


def imported_by(script, backend=()):
    """Files of the library that a script imports, as the standard library's own finder of modules sees it."""
    finder = modulefinder.ModuleFinder(path=[str(SCRIPTS)])
    for name in (script, *backend):
        finder.run_script(str(SCRIPTS / name))
    found = {Path(module.__file__) for module in finder.modules.values() if module.__file__}
    return (found | {SCRIPTS / name for name in backend}) - {SCRIPTS / script}


@pytest.mark.parametrize("name", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_what_a_script_imports_is_found(name):
    found = closure(SCRIPTS, name)
    assert found[0] == SCRIPTS / name
    assert {path for path in found[1:] if path.suffix == ".py"} == imported_by(name)


def test_a_cell_depends_on_its_own_backend():
    faiss = set(closure(SCRIPTS, "measure_cell.py", "knnbench/backends/faiss.py"))
    alone = set(closure(SCRIPTS, "measure_cell.py"))
    assert {path.name for path in faiss - alone} == {"__init__.py", "base.py", "faiss.py"}


def test_all_ways_to_import(tmp_path):
    files = {
        "script.py": "import os\nimport knnbench.a.one\n\ndef later():\n    from knnbench.b import two as second\n",
        "knnbench/a/one.py": "from . import near\nfrom ..b.three import name\nfrom knnbenchmark import other\n",
        "knnbench/a/one.html": "beside",
        "knnbench/a/near.py": "",
        "knnbench/a/far.py": "",
        "knnbench/b/two.py": "from knnbench.c import *\nimport knnbench.a.one  # a circle\n",
        "knnbench/b/three.py": "name = 1\ndef f(:\n",  # of a user, who is still writing
        "knnbench/c/__init__.py": "",
        "knnbench/c/four.py": "",
        "knnbench/__init__.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = {str(path.relative_to(tmp_path)) for path in closure(tmp_path, "script.py")}
    assert found == files.keys() - {"knnbench/a/far.py", "knnbench/c/four.py"}


TOY = """
suite: toy
deployment: none
suites:
  toy: {datasets: [toy-euclidean], backends: [sklearn-kd-tree, sklearn-brute], controls: false, n_neighbors: [1, 10]}
timing: {budget_s: 0.01}
figures: {formats: [svg]}
sources: [published/cpu-2core]
"""
# Rules with results of code -> the script, and the module that is named elsewhere.
MADE = {
    "build_index": ("measure_cell.py", "knnbench/backends/sklearn.py"),
    "measure_cell": ("measure_cell.py", "knnbench/backends/sklearn.py"),
    "make_dataset": ("make_dataset.py", "propose_neighbors.py"),
    **{name: (f"{name}.py",) for name in ("measure_ceilings", "save_config", "gather_timings", "write_provenance")},
    **{name: (f"{name}.py",) for name in ("plot_speed", "plot_roofline", "plot_charts", "plot_scaling", "plot_threads")},
    **{
        name: (f"{name}.py",)
        for name in ("check_claims", "trace_curves", "make_tables", "make_report", "make_artifact", "export_results")
    },
    "compare_results": ("compare.py",),
    "merge_tables": ("merge.py",),
    "copy_tables": ("rerender.py",),
}
TARGETS = ("artifact", "export", "merge", "results/toy/compare/summary.txt", "results/rerendered/timings.csv")
TARGETS += ("results/toy/threads.csv",)


@pytest.mark.full
def test_an_edit_makes_again_what_it_can_change(bare):
    """By content: every edit keeps the time of its file. Whatever else follows from what is made again."""
    (bare / "toy.yaml").write_text(textwrap.dedent(TOY))
    options = ("--configfile", "toy.yaml", "--quiet", "rules")
    snakemake(*options, cwd=bare)
    shutil.copytree(bare / "results/toy", bare / "kept")
    options += ("--config", "baseline=kept", "--", *TARGETS)
    snakemake(*options, cwd=bare)

    def listed():
        """Rules that would run: because of what they are made by, and because of what others make before."""
        words = snakemake("--dry-run", *options, cwd=bare).stdout
        reasons = ("params have changed since last execution", "input files updated by another job")
        found = [re.search(rf"{reason}:\n(.*)", words) for reason in reasons]
        return [{name.strip() for name in each[1].split(",")} if each else set() for each in found]

    assert listed() == [set(), set()]
    scripts = [SCRIPTS / names[0] for names in MADE.values()]
    of = {rule: {SCRIPTS / names[0], *imported_by(names[0], names[1:])} for rule, names in MADE.items()}
    edited = [*dict.fromkeys(scripts), *MODULES, SCRIPTS / "knnbench/__init__.py", SCRIPTS / "propose_neighbors.py"]
    # What a script imports has tests of its own, so that of the files that the same rules are made by one is enough here.
    alike = {frozenset(rule for rule, files in of.items() if path in files): path for path in edited}
    for expected, path in alike.items():
        copy = bare / path.relative_to(ROOT)
        kept, about = copy.read_text(), copy.stat()
        copy.write_text(kept + "# edited\n")
        os.utime(copy, ns=(about.st_atime_ns, about.st_mtime_ns))
        changed, following = listed()  # what follows is not said to be changed itself
        assert changed <= expected <= changed | following, path
        assert changed or not expected, path
        copy.write_text(kept)
        os.utime(copy, ns=(about.st_atime_ns, about.st_mtime_ns))
