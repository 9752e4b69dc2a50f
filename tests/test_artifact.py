"""An artifact: made, checked, moved to where nothing else is, drawn again byte for byte, measured again, and compared."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile

import pandas as pd
import pytest
import yaml
from conftest import ROOT, snakemake
from requests.adapters import BaseAdapter, HTTPAdapter
from requests_cache import CachedSession
from rocrate_validator import services
from rocrate_validator.models import Severity, ValidationSettings
from urllib3 import HTTPResponse

from knnbench.system.archive import unpack

pytestmark = pytest.mark.full

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
# An identifier with a host, of a workflow that is a file of the crate; addresses of a project and of authors that have none.
RECOMMENDED = ["process-run-crate-0.5_5.1", "process-run-crate-0.5_3.2", "ro-crate-1.1_31.2"]


class Stored(BaseAdapter):
    """Answers every request with one document."""

    def __init__(self, document):
        super().__init__()
        self.document = document

    def send(self, request, **_):
        headers = {"Content-Type": "application/ld+json"}
        body = HTTPResponse(io.BytesIO(self.document), headers, 200, preload_content=False, request_method="GET")
        return HTTPAdapter().build_response(request, body)

    def close(self):
        pass


@pytest.fixture(scope="session")
def offline(tmp_path_factory):
    """A cache of the validator that has the definition of RO-Crate's terms, which an earlier version of rocrate came with."""
    folder = tmp_path_factory.mktemp("context")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "rocrate==0.15.0"]
    subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        document = wheel.read("rocrate/data/ro-crate.jsonld")
    with CachedSession(str(folder / "cache"), backend="sqlite", expire_after=-1) as session:
        session.mount(CONTEXT, Stored(document))
        assert session.get(CONTEXT).ok
    return folder / "cache"


def run(folder, *arguments, check=True):
    """What the artifact's README says, with nothing of this user's but the interpreter."""
    caches = dict.fromkeys(("UV_CACHE_DIR", "XDG_CACHE_HOME"), str(folder / "cache"))
    command = [sys.executable, "-m", "snakemake", "-s", "code/Snakefile", "--cores", "1", "--configfile", "experiment.yaml"]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | caches,
    )
    assert not check or done.returncode == 0, done.stdout[-5000:]
    return done


# Of every environment of suite `quick`, and with and without a saved index.
SUITE = (
    "suites={test: {datasets: [toy-euclidean, toy-hyperbolic], n_neighbors: [10],"
    " backends: [keops, faiss-hnsw-m36, torch-batch, jax, sklearn-brute]}}"
)


# Claims that name what the suite does not use; and whose the results are.
MINE = """
artifact:
  authors:
    - {name: Ada Lovelace, affiliation: A university}
    - {name: Grace Hopper, orcid: https://orcid.org/0000-0002-1825-0097, affiliation: A navy}
  publisher: A university
  license: https://creativecommons.org/licenses/by/4.0/
datasets:
  elsewhere: {title: Elsewhere, metric: euclidean, source: normal, n: 100, d: 3, queries: 10}
  secret: {title: Secret, metric: euclidean, source: normal, n: 100, d: 3, queries: 10}
backends:
  mine: {label: Mine, module: faiss, exact: true, environments: {cpu: faiss-cpu}}
claims:
  others:
    {says: mine is slower, datasets: [toy-euclidean, elsewhere], ratio: [1, 2],
     slower: {backends: [mine-cpu]}, faster: {backends: ["faiss-*-cpu"]}}
"""


def test_made_checked_moved_drawn_measured_and_compared(project, tmp_path, offline):
    timing = "timing={rounds: 2, budget_s: 0.1, max_fit_s: 3600, max_query_s: 3600}"
    (project / "mine.yaml").write_text(MINE)
    settings = ("--configfile", "mine.yaml", "--config", "suite=test", SUITE, timing)
    snakemake("--quiet", "rules", *settings, "--", "artifact", cwd=project)
    first = project / "results/test/artifact.zip"
    kept = first.read_bytes()
    first.unlink()
    snakemake("--quiet", "rules", *settings, "--", "artifact", cwd=project)
    assert first.read_bytes() == kept  # the same results, the same bytes

    folder = tmp_path / "moved"
    folder.mkdir()
    unpack(shutil.move(first, tmp_path / "artifact.zip"), folder)
    project.rename(tmp_path / "gone")
    for command in (
        ["sha256sum", "--quiet", "--check", "SHA256SUMS"],
        [sys.executable, "code/scripts/validate_results.py", "published/test"],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    subprocess.run([sys.executable, ROOT / "scripts/validate_results.py", tmp_path / "artifact.zip"], check=True)
    readme = (folder / "README.md").read_text()
    for words in ("-- rerender", "-- remeasure", "--require-hashes -r code/requirements.txt", "toy-hyperbolic | 500, 50, 4"):
        assert words in readme
    for name in (
        "code/requirements.txt",
        "code/envs/keops.yaml",
        "code/CITATION.cff",
        "records/toy-euclidean/keops-cpu/k10.round1.json",
    ):
        assert (folder / name).is_file()
    assert list(folder.glob("published/test/logs/measure_cell/toy-hyperbolic/sklearn-brute-cpu/*.log"))
    assert not list(folder.rglob("*.pyc"))
    # Text has a font in the files, the same on every machine.
    for name in ("toy-euclidean.memory.pdf", "toy-hyperbolic.recall.pdf"):
        assert (folder / f"published/test/figures/{name}").read_bytes().count(b"/BaseFont") == 2

    settings = ValidationSettings(
        rocrate_uri=str(folder),
        profile_identifier="workflow-run-crate-0.5",
        requirement_severity=Severity.RECOMMENDED,
        offline=True,
        cache_path=offline,
        skip_checks=RECOMMENDED,
    )
    found = services.validate(settings)
    assert found.passed(), [(issue.check.identifier, issue.message) for issue in found.get_issues()]
    assert {check.identifier for check in found.skipped_checks} <= set(RECOMMENDED)

    experiment = yaml.safe_load((folder / "experiment.yaml").read_text())
    assert {*experiment["datasets"]} == {"toy-euclidean", "toy-hyperbolic", "elsewhere", "truth_k"}
    assert {"mine", "keops"} < {*experiment["backends"]} and "hnswlib" not in experiment["backends"]
    # Nothing that draws asks for the CPUs of the machine that measured.
    many = ("--config", f"timing={json.dumps(experiment['timing'] | {'threads': 999})}")
    drawn = run(folder, "--quiet", "rules", *many, "--", "rerender").stdout
    figures = len(list((folder / "published/test/figures").iterdir()))
    assert (
        figures > 40
        and (words := drawn.split(" files are byte for byte")[0].split()[-3:])[0] == words[2]
        and int(words[0]) > figures
    )

    measured = run(folder, "--quiet", "rules", "--", "remeasure").stdout
    cells = pd.read_csv(folder / "results/test/compare/cells.csv", keep_default_na=False)
    assert set(cells["verdict"]) <= {"reproduced", "faster", "slower", "undecided", "not measured"}, cells["why"].unique()
    orderings = pd.read_csv(folder / "results/test/compare/orderings.csv", keep_default_na=False)
    unexplained = orderings[(orderings["verdict"] != "holds") & (orderings["why"] == "")]
    assert f"{(orderings['verdict'] == 'holds').sum()} of {len(orderings)} orderings of backends hold" in measured
    assert unexplained.empty, unexplained.to_string()
    assert (folder / "results/test/compare/ratios.svg").stat().st_size > 5000
    assert not (folder / "published/test").joinpath("compare").exists()


OWN_METRIC = """
from knnbench.problem.metrics import Metric

METRIC = Metric("log", term=lambda m: lambda x, y: m.log(1 + abs(x - y)), length=None)
"""


def test_a_user_s_own_files(tmp_path, project):
    """They are put in if that is wanted; if not, their cells are unavailable elsewhere, and all else can be done."""
    import numpy as np

    points = np.random.default_rng(0).normal(size=(200, 3))
    np.save(project / "points.npy", points)
    np.save(project / "queries.npy", points[:20])
    (project / "my metric.py").write_text(OWN_METRIC)
    (project / "changed.txt").write_text("")
    overlay = {
        "suite": "mine",
        "datasets": {
            "mine": {"metric": "euclidean", "source": "file", "train": "points.npy", "test": "queries.npy", "license": "CC0"},
            "bent": {"metric": "log", "source": "normal", "n": 100, "d": 3, "queries": 10},
        },
        "metrics": {"log": {"module": "my metric.py"}},
        "suites": {
            "mine": {
                "datasets": ["mine", "toy-euclidean", "bent"],
                "backends": ["sklearn-brute"],
                "controls": False,
            }
            | {"n_neighbors": [1]}
        },
        "figures": {"formats": ["svg"]},
        "timing": {"budget_s": 0.01},
    }
    (project / "mine.yaml").write_text(yaml.safe_dump(overlay))
    for wanted in ("false", "true"):
        snakemake(
            "--quiet",
            "rules",
            "--configfile",
            "mine.yaml",
            "--config",
            f"artifact_data={wanted}",
            "--",
            "artifact",
            cwd=project,
        )
        folder = tmp_path / wanted
        folder.mkdir()
        unpack(project / "results/mine/artifact.zip", folder)
        readme = (folder / "README.md").read_text()
        assert ("ask whoever measured it" in readme) == (wanted == "false") and "| CC0 |" in readme
        done = run(folder, "--quiet", "rules", "--config", "deployment=none", "--", "remeasure", check=False)
        cells = pd.read_csv(folder / "results/mine/compare/cells.csv").set_index("dataset")["verdict"]
        assert cells["toy-euclidean"] in ("reproduced", "faster", "slower", "undecided"), done.stdout[-3000:]
        assert (cells["mine"] == "missing") == (wanted == "false")
        bent = pd.read_csv(folder / "results/mine/timings.csv").set_index("dataset").loc["bent"]
        assert (bent["metric"], bent["status"], bent["n"]) == ("log", "unsupported", 100)  # of a file that came along
        shutil.rmtree(folder / "results")
        run(folder, "--quiet", "rules", "--", "rerender")
    assert json.loads((folder / "ro-crate-metadata.json").read_text())["@graph"]
