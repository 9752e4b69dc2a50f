"""The configuration: what is wrong is said in one sentence, and what is right lists exactly its cells."""

import copy
import datetime
import json
import math
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
import yaml
from conftest import CONFIG, ROOT, snakemake

from knnbench.config.checks import count_points, resolve
from knnbench.config.once import check_file, check_words
from knnbench.config.suite import cells, downloads, used
from knnbench.config.values import ConfigError, command_line, entries

SCHEMA = yaml.safe_load((ROOT / "rules/schemas/config.schema.yaml").read_text())


def resolved(**changes):
    config = copy.deepcopy(CONFIG)
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = config
        for parent in parents:
            place = place[parent.replace("_", "-") if parent not in place else parent]
        place[last] = value
    resolve(config, SCHEMA)
    return config


GOOD_DATASET = {"metric": "euclidean", "source": "normal", "n": 10, "d": 2}
BRUTE = {"module": "sklearn", "exact": True, "environments": {"cpu": "sklearn"}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"suite": "quik"}, "suite: unknown name 'quik'; did you mean 'quick'?"),
        ({"color": 1}, "top level: unknown key 'color'; .*allowed are artifact, artifact_data, backend, backends"),
        ({"timing__budgt_s": 1}, "timing: unknown key 'budgt_s'; did you mean 'budget_s'?"),
        ({"timing__min_repeats": 0}, "timing.min_repeats: 0 is less than the minimum of 1"),
        ({"timing__min_repeats": 2000}, "min_repeats is over max_repeats"),
        ({"datasets__mirror": "/no/such"}, "datasets.mirror: /no/such is neither a folder nor an address"),
        ({"deployment": "docker"}, "deployment: 'docker' is not one of uv, none"),
        (
            {"datasets__rd_a__metric": "cosine"},
            "datasets.rd-a.metric: unknown name 'cosine'; known are euclidean, manhattan, angular, hyperbolic",
        ),
        (
            {"datasets__new": GOOD_DATASET | {"path": "x"}},
            "source 'normal' does not use path; it takes centre, d, n, offset, queries, seed, self",
        ),
        ({"datasets__new": {"metric": "euclidean", "source": "normal", "n": 5}}, "source 'normal' needs d"),
        ({"datasets__new": {"metric": "euclidean", "source": "file"}}, "needs test, train .or path"),
        # What would be accepted and do nothing.
        (
            {"datasets__new": {"metric": "euclidean", "source": "url", "url": "http://h/a.npz", "seed": 1}},
            "new.seed: all rows are",
        ),
        ({"datasets__new": GOOD_DATASET | {"metric_entry": {"term": "x"}}}, "datasets.new: unknown key 'metric_entry'"),
        ({"metrics__new": {"term": "abs(x - y)", "sha256": "0"}}, "metrics.new: unknown key 'sha256'"),
        ({"artifact": {"author": "Ada"}}, "artifact: unknown key 'author'; did you mean 'authors'?"),
        ({"artifact": {"authors": "Ada"}}, "artifact.authors: 'Ada' is not of type 'array'; Who measured"),
        ({"artifact": {"authors": [{"orcid": "0000"}]}}, r"artifact.authors\[0\]"),
        (
            {"artifact": {"authors": [{"name": "Ada", "orcid": "0000"}]}},
            "orcid: '0000' does not match .*; an address, https://orcid",
        ),
        ({"datasets__a/b": GOOD_DATASET}, "'a/b' does not match"),
        ({"datasets__digits_euclidean__queries": 1797}, "leaves no points"),
        ({"suites__quick__n_neighbors": [0]}, "0 is less than the minimum of 1"),
        ({"suites__quick__n_neighbors": [1, 1001]}, "1001 is greater than the maximum of 1000; exact neighbours are kept"),
        ({"suites__quick__n_neighbors": [1, 101]}, "quick.n_neighbors: K = 101 exceeds datasets.truth_k = 100, .*truth_k: 101"),
        ({"datasets__truth_k": 99}, "quick.n_neighbors: K = 100 exceeds datasets.truth_k = 99, .*; lower K, or set datasets"),
        ({"datasets__truth_k": 1001}, "datasets.truth_k: 1001 is greater than the maximum of 1000"),
        ({"suites__quick__n_neighbors": []}, "n_neighbors: .* should be non-empty"),
        ({"suites__quick__datasets": []}, "datasets: .* should be non-empty"),
        ({"suites__quick__datasets": ["rd-z"]}, "suites.quick.datasets: unknown name 'rd-z'; did you mean 'rd-"),
        ({"suites__quick__backends": ["kops"]}, "suites.quick.backends: unknown name 'kops'; did you mean 'keops'?"),
        ({"suites__large__backends": ["x"]}, "suites.large.backends: unknown name 'x'"),
        ({"suites__large__backends": ["control-null"]}, "suites.large.backends: only controls, which bound others"),
        ({"datasets__rd_a__n": 99}, "K = 100 exceeds the 99 points of dataset 'rd-a'; lower K"),
        ({"datasets__new": {"metric": "euclidean", "source": "url", "url": "ftp://host/x"}}, "does not match"),
        ({"suites__quick__n_neighbors": 10}, "is not of type 'array'; a list of values of K"),
        ({"backends__keops__module": "kops"}, "backends.keops.module: there is no backends/kops.py; did you mean 'keops'?"),
        ({"backends__keops__environments": {"cpu": "skleran"}}, "there is no envs/skleran.yaml; did you mean 'sklearn'?"),
        ({"backends__keops__environments": {}}, "should be non-empty"),
        ({"backends__keops__environments": {"tpu": "x"}}, "unknown key 'tpu'; .*allowed are cpu, gpu"),
        # What YAML makes of yes, null, 1.5 and 2024-01-02 where a name or words are wanted.
        ({"suite": True}, "suite: True is no text, as YAML reads it; put what you wrote in quotes"),
        ({"suite": math.nan}, "suite: nan is no text"),
        ({"datasets": {True: GOOD_DATASET}}, "datasets, a name: True is no text"),
        ({"datasets": {None: GOOD_DATASET}}, "datasets, a name: None is no text"),
        ({"datasets": {1.5: GOOD_DATASET}}, "datasets, a name: 1.5 is no text"),
        ({"datasets": {1000: GOOD_DATASET, "1000": GOOD_DATASET}}, "datasets: 1000 is there twice, as a number and as text"),
        ({"backends": {datetime.date(2024, 1, 2): BRUTE}}, "backends, a name: datetime.date.2024, 1, 2. is no text"),
        ({"suites__quick__datasets": ["rd-a", False]}, r"suites.quick.datasets\[1\]: False is no text"),
        ({"datasets__rd_a__title": None}, "datasets.rd-a.title: None is no text"),
        (
            {"backends__torch__parameters": {"batch": datetime.date(2024, 1, 2)}},
            "backends.torch.parameters.batch: .* is no text",
        ),
        ({"timing": {1: 2, "rounds": 1}}, "timing: unknown key '1'; .*allowed are batch_budget_s"),
        # Numbers that are none, or not whole.
        ({"datasets__rd_a__n": 500.5}, "datasets.rd-a.n: 500.5 is not of type 'integer'"),
        ({"datasets__rd_a__n": "500.5"}, "datasets.rd-a.n: 500.5 is not of type 'integer'"),
        ({"suites__quick__n_neighbors": [1, 2.5]}, r"suites.quick.n_neighbors\[1\]: 2.5 is not of type 'integer'"),
        ({"suites__quick__n_neighbors": [1, 1.0]}, "n_neighbors: .* has non-unique elements"),
        ({"timing__rounds": math.inf}, "timing.rounds: inf is not valid .* a number from 1 to 100, or auto"),
        ({"timing__batch_sizes": ["nan"]}, r"timing.batch_sizes\[0\]: nan is not of type 'integer'"),
        ({"timing__budget_s": math.nan}, "timing.budget_s: nan is not of type 'number'; write a finite one"),
        ({"timing__max_fit_s": "1e999"}, "timing.max_fit_s: inf is not of type 'number'; write a finite one"),
        ({"timing__threads": True}, "timing.threads: True is not of type 'integer'"),
        ({"claims": {"new": {"ratio": [math.nan, 1]}}}, r"claims.new.ratio\[0\]: nan is not of type 'number'"),
    ],
)
def test_wrong_configurations(changes, words):
    with pytest.raises(ConfigError, match=words) as error:
        resolved(**changes)
    assert "\n" not in str(error.value)


def own(tmp_path, k, **paths):
    """Resolve a suite of one dataset that is made from the user's files."""
    paths = {part: str(tmp_path / name) for part, name in paths.items()}
    dataset = {"metric": "euclidean", "source": "file", **paths}
    return resolved(datasets__mine=dataset, suites__mine={"datasets": ["mine"], "n_neighbors": [k]}, suite="mine")


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ({"path": "none.hdf5"}, "none.hdf5 is not a file"),
        ({"path": "bad.hdf5"}, "bad.hdf5 is not an HDF5 file with train and test"),
        ({"path": "good.hdf5"}, "K = 5 exceeds the 4 points of dataset 'mine'"),
        ({"train": "a.npy", "test": "none.npy"}, "none.npy is not a file"),
        ({"train": "a.npy", "test": "wide.npy"}, "train has dimension 2, test has 3; they must agree"),
        ({"train": "flat.npy", "test": "a.npy"}, r"train of .*flat.npy: shape \(4,\); expected \(rows, d\)"),
        ({"train": "a.npy", "test": "words.npy"}, "test of .*words.npy: dtype <U3; allowed are real numbers"),
        ({"train": "ragged.npy", "test": "a.npy"}, "ragged.npy is not a .npy file of numbers, in rows of one length"),
        ({"train": "bad.hdf5", "test": "a.npy"}, "bad.hdf5: has arrays, as HDF5; say which one is meant: array"),
    ],
)
def test_own_files_are_looked_at_before_any_job(tmp_path, paths, words):
    points = np.ones((4, 2))
    with h5py.File(tmp_path / "good.hdf5", "w") as file:
        file["train"], file["test"] = points, points
    (tmp_path / "bad.hdf5").write_text("not HDF5")
    ragged = np.array([[1.0, 2.0], [3.0]], dtype=object)
    arrays = {"a": points, "wide": np.ones((4, 3)), "flat": points[:, 0], "words": points.astype("U3"), "ragged": ragged}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
    with pytest.raises(ConfigError, match=words):
        own(tmp_path, 5, **paths)
    assert own(tmp_path, 4, path="good.hdf5")["datasets"]["mine"]["title"] == "mine"


def write_filtered(path):
    """An HDF5 file that is compressed by what nobody has: the number of the filter is changed in the file."""
    with h5py.File(path, "w") as file:
        for part in ("train", "test"):
            file.create_dataset(part, data=np.ones((100, 2)), chunks=(50, 2), compression="gzip")
    content = path.read_bytes()
    assert content.count(b"deflate") == 2
    deflate = (1).to_bytes(2, "little") + content[content.index(b"deflate") - 6 : content.index(b"deflate")] + b"deflate"
    path.write_bytes(content.replace(deflate, (32015).to_bytes(2, "little") + deflate[2:].replace(b"deflate", b"unknown")))


def write_sets(path, **attributes):
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes)
        for part in ("train", "test"):
            file[part] = np.arange(6)
            if not attributes:
                file[f"size_{part}"] = [4, 2]


BROKEN = {
    "an empty HDF5 file": ("a.hdf5", lambda path, good: path.write_bytes(b""), "a.hdf5 is empty; copy, make or"),
    "half an HDF5 file": ("a.hdf5", lambda path, good: path.write_bytes(good[:-1]), "cut short; .*truncated file: eof = "),
    "an unknown filter": (
        "a.hdf5",
        lambda path, good: write_filtered(path),
        r"by HDF5 filter 32015 \(unknown\), which .*h5repack",
    ),
    "sets by their sizes": ("a.hdf5", lambda path, good: write_sets(path), "a.hdf5 holds sets .*; take a file of points"),
    "sets by their type": ("a.hdf5", lambda path, good: write_sets(path, type="sparse"), "a.hdf5 holds sets"),
    "an empty .npy file": ("a.npy", lambda path, good: path.write_bytes(b""), "a.npy is empty"),
    "half a header": ("a.npy", lambda path, good: path.write_bytes(good[:50]), "cut short; .*expected 118 bytes got 40"),
    "rows that are lost": ("a.npy", lambda path, good: path.write_bytes(good[:-1]), "cut short; .*mmap length is greater than"),
    "an archive": (
        "a.npy",
        lambda path, good: path.write_bytes(b"PK\x03\x04".ljust(200)),
        "format npz .File is not a zip file",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_with_a_file_is_said_before_any_job(tmp_path, case):
    """In a sentence with the library's own words."""
    name, build, words = BROKEN[case]
    np.save(tmp_path / "good.npy", np.ones((4, 2)))
    with h5py.File(tmp_path / "good.hdf5", "w") as file:
        file["train"] = file["test"] = np.ones((4, 2))
    build(tmp_path / name, (tmp_path / f"good{(tmp_path / name).suffix}").read_bytes())
    with pytest.raises(ConfigError, match=words) as error:
        own(tmp_path, 1, **({"path": name} if name == "a.hdf5" else {"train": "good.npy", "test": name}))
    assert "\n" not in str(error.value) and str(error.value).startswith("datasets.mine: ")


def test_a_file_that_is_open_elsewhere(tmp_path, monkeypatch):
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["train"] = file["test"] = np.ones((4, 2))
    script = "import h5py, sys\nfile = h5py.File(sys.argv[1], 'a')\nprint('open', flush=True)\nsys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script, tmp_path / "a.hdf5"], **pipes) as holder:
        holder.stdout.readline()
        try:
            with pytest.raises(ConfigError, match=r"a.hdf5 is locked: another program has it open .*unable to lock file"):
                own(tmp_path, 1, path="a.hdf5")
        finally:
            holder.communicate()
    own(tmp_path, 1, path="a.hdf5")


@pytest.mark.parametrize(("name", "opener"), [("a.hdf5", "h5py.File"), ("a.npy", "numpy.lib.format.open_memmap")])
def test_a_file_that_may_not_be_read(tmp_path, monkeypatch, name, opener):
    """Root may read everything: what the libraries say to others is put into their mouths."""
    (tmp_path / name).write_bytes(b"x")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(opener, refuse)
    path = str(tmp_path / name)
    settings = {"source": "file"} | ({"path": path} if name == "a.hdf5" else {"train": path, "test": path})
    for _ in range(2):
        with pytest.raises(ConfigError, match=rf"{name} may not be read; its owner can .*chmod a\+r.*Permission denied"):
            count_points("mine", settings)
        monkeypatch.setattr("os.stat", refuse)  # nor the folder above it be searched


def test_cells_of_the_paper():
    """The grid of the KeOps page: its 12 datasets x every backend and device x 4 K."""
    config = resolved(suite="paper")
    listed = cells(config)
    devices = sum(len(entry["environments"]) for entry in CONFIG["backends"].values() if not entry.get("named"))
    assert len(listed) == len(set(listed)) == 12 * devices * 4
    assert {cell.k for cell in listed} == {1, 10, 50, 100} and len({cell.dataset for cell in listed}) == 12
    sizes = {(s["metric"], s.get("n"), s.get("d")) for s in used(config)["datasets"].values()}
    assert {
        ("euclidean", 10**6, 100),
        ("manhattan", 10**6, 100),
        ("hyperbolic", 10**6, 10),
        ("angular", 1_183_514, 100),
    } <= sizes


def test_downloads_are_shared_and_never_confused():
    config = resolved()
    files = downloads(config)
    assert len(files) == 15 and {"glove-25-angular.hdf5", "mnist-784-euclidean.hdf5"} < set(files)
    assert files["glove-100-angular.hdf5"][1].startswith("544af1d5")
    config["datasets"]["mnist-manhattan"]["sha256"] = "A" * 64
    assert downloads(config)["mnist-784-euclidean.hdf5"][1] == "a" * 64
    config["datasets"]["mnist-euclidean"]["sha256"] = "b" * 64
    with pytest.raises(
        ConfigError, match="datasets.mnist-manhattan.sha256: https://ann.* is also wanted with bbbb.*; make the"
    ):
        downloads(config)
    # Another address is another file, even if the name is the same; names of the others do not change.
    config["datasets"]["mnist-manhattan"]["url"] = "https://elsewhere.org/mnist-784-euclidean.hdf5"
    config["datasets"]["new"] = {"url": "https://third.org/mnist-784-euclidean.hdf5"}
    more = downloads(config)
    assert set(files) < set(more) and len(more) == 17 and len({url for url, _ in more.values()}) == 17
    assert all(re.fullmatch(r"mnist-784-euclidean-[0-9a-f]{8}\.hdf5", name) for name in set(more) - set(files))


def test_a_mirror_is_no_dataset(tmp_path):
    config = resolved(datasets__mirror=str(tmp_path))
    assert config["mirror"] == str(tmp_path) and "mirror" not in config["datasets"] and resolved()["mirror"] == ""


def test_exact_neighbours_are_kept_up_to_the_largest_k():
    config = resolved(datasets__truth_k="1000", suites__test__n_neighbors=[1, 500], suite="test")
    assert config["truth_k"] == used(config)["truth_k"] == 1000 and "truth_k" not in config["datasets"]
    assert {cell.k for cell in cells(config)} == {1, 500}
    assert resolved(suites__test__n_neighbors=[500])["truth_k"] == 100  # of a suite that is not run


def test_variants_run_where_they_are_named():
    assert "torch-batch-tf32" in {cell.backend for cell in cells(resolved(suite="large"))}
    of_paper = {cell.backend for cell in cells(resolved(suite="paper"))}
    assert not of_paper & {"torch-batch-tf32", "torch-batch-seed"}
    assert of_paper >= {"torch-page", "torch-page-all", "jax-page", "torch-compile"}  # the page's, and the best of manhattan's


def test_every_suite_resolves_and_every_backend_exists():
    for name in CONFIG["suites"]:
        assert cells(resolved(suite=name))
    for entry in CONFIG["backends"].values():
        assert (ROOT / f"scripts/knnbench/backends/{entry['module']}.py").exists()
        assert all((ROOT / f"envs/{env}.yaml").exists() for env in entry["environments"].values())


def test_numbers_of_the_command_line():
    """--config timing='{rounds: 3, ...}' gives strings below the top level."""
    words = {"rounds": "3", "rel_ci": "0.02", "retry_noisy": "true", "batch_sizes": ["10", "100"]}
    timing = resolved(timing=words)["timing"]
    assert (timing["rounds"], timing["rel_ci"], timing["retry_noisy"]) == (3, 0.02, True)
    assert timing["batch_sizes"] == [10, 100]
    with pytest.raises(ConfigError, match="timing.rounds: 'many' is not valid .* a number from 1 to 100, or auto"):
        resolved(timing={"rounds": "many"})


def test_defaults_are_filled_in():
    config = {key: copy.deepcopy(CONFIG[key]) for key in ("suite", "metrics", "datasets", "backends", "suites")}
    resolve(config, SCHEMA)
    assert config["timing"] == CONFIG["timing"] | {"rounds": 1} and config["figures"] == CONFIG["figures"]
    assert config["datasets"]["rd-b"]["queries"] == 10_000


def test_numbers_are_names():
    """A whole number stands for its digits wherever a name or words are wanted."""
    claim = {
        "says": 7,
        "datasets": [1000],
        "slower": {"backends": ["2-cpu"]},
        "faster": {"backends": ["2-*"]},
        "ratio": [1, math.inf],
    }
    config = resolved(
        suite=2024,
        datasets={1000: GOOD_DATASET | {"title": 5}, "007": GOOD_DATASET},
        backends={2: BRUTE | {"label": 3, "parameters": {1: {2: 0.5}}}},
        suites={2024: {"datasets": [1000, "007"], "backends": [2], "n_neighbors": [1]}},
        claims={1: claim},
        cluster={"account": 123, "partition": {"cpu": 9}},
        sources=[2024],
    )
    assert [(cell.dataset, cell.backend) for cell in cells(config)] == [("1000", "2"), ("007", "2")]
    assert [config["datasets"][name]["title"] for name in ("1000", "007")] == ["5", "007"]
    assert (config["suite"], config["backends"]["2"]["label"], config["sources"]) == ("2024", "3", ["2024"])
    assert config["backends"]["2"]["parameters"] == {"1": {"2": 0.5}}
    assert (config["cluster"]["account"], config["cluster"]["partition"]["cpu"]) == ("123", "9")
    assert config["claims"]["1"] == claim | {"says": "7", "datasets": ["1000"]}
    assert yaml.safe_load(yaml.safe_dump(used(config))) == used(config)


def test_whole_numbers_with_a_point():
    """As other programs write them: the same configuration as without, down to the bytes of its JSON."""
    points = {"n": 500.0, "d": "4.0", "queries": 5e1, "seed": "1e0"}
    changes = {"timing__rounds": 2.0, "timing__threads": 1.0, "timing__batch_sizes": [10.0, "100.0"], "cuda": 12.0}
    config = resolved(datasets__rd_a=GOOD_DATASET | points, suites__quick__n_neighbors=[1.0, "5.0"], **changes)
    without = {"timing__rounds": 2, "timing__threads": 1, "timing__batch_sizes": [10, 100], "cuda": 12}
    numbers = {"n": 500, "d": 4, "queries": 50, "seed": 1}
    plain = resolved(datasets__rd_a=GOOD_DATASET | numbers, suites__quick__n_neighbors=[1, 5], **without)
    assert repr(config) == repr(plain)


def test_an_entry_is_the_last_one_whole():
    shipped = {"datasets": {"a": {"n": 1, "d": 2}, "b": {"n": 3}, "mirror": ""}, "suite": "s", "timing": {"rounds": 2}}
    first = {"datasets": {"a": {"d": 4}, 1000: {"n": 5}}, "claims": {"c": {"says": "x"}}}
    second = {"datasets": {"a": {"seed": 6}, "1000": {"d": 7}, "mirror": "/data"}, "timing": {"seed": 1}}
    before = copy.deepcopy((shipped, first, second))
    found, replaced = entries([shipped, first, second])
    assert found == {
        "datasets": {"a": {"seed": 6}, "b": {"n": 3}, "mirror": "/data", "1000": {"d": 7}},
        "claims": {"c": {"says": "x"}},
    }
    assert list(found["datasets"]) == ["a", "b", "mirror", "1000"]  # colours follow the order
    assert replaced == {("datasets", "a"), ("datasets", "1000"), ("datasets", "mirror")}
    assert (shipped, first, second) == before
    assert entries([shipped, {"datasets": None}])[0] == {"datasets": None}  # the schema says what is wrong with it
    shared = yaml.safe_load("datasets: {a: &it {n: 1}, b: *it}")
    found, _ = entries([shared])
    assert found["datasets"]["a"] is not found["datasets"]["b"]


def test_what_an_entry_lacks_is_not_taken_from_another():
    changes = {
        ("datasets", "sift"): ({"n": 5}, "datasets.sift: 'metric' is a required property"),
        ("datasets", "rd-a"): ({"metric": "euclidean", "source": "normal", "n": 5}, "datasets.rd-a: source 'normal' needs d"),
        ("backends", "keops"): ({"label": "x"}, "backends.keops: '.*' is a required property"),
        ("suites", "quick"): ({"n_neighbors": [1]}, "suites.quick: 'datasets' is a required property"),
    }
    for (section, name), (entry, words) in changes.items():
        whole, replaced = entries([CONFIG, {section: {name: entry}}])
        with pytest.raises(
            ConfigError, match=f"{words}.*; an entry takes the place of the whole one of that name.* another name"
        ):
            resolve(copy.deepcopy(CONFIG) | whole, SCHEMA, replaced)
        whole, replaced = entries([CONFIG, {section: {"new": entry}}])
        with pytest.raises(ConfigError) as error:
            resolve(copy.deepcopy(CONFIG) | whole, SCHEMA, replaced)
        assert "takes the place" not in str(error.value)


def test_claims_of_a_device_that_a_replaced_entry_lacks():
    claims = yaml.safe_load((ROOT / "claims.yaml").read_text(encoding="utf-8"))
    whole, replaced = entries([CONFIG, claims, {"backends": {"keops": BRUTE}}])
    resolve(copy.deepcopy(CONFIG) | whole, SCHEMA, replaced)
    with pytest.raises(ConfigError, match="names no backend and device"):
        resolve(copy.deepcopy(CONFIG) | whole, SCHEMA)


def test_what_shares_a_label_or_a_title_is_told_apart():
    """Of the chosen suite; the points of a dataset do not depend on its title, and its settings keep it."""
    datasets = {name: GOOD_DATASET | {"title": "Points"} for name in ("one", "two", "elsewhere")}
    backends = {
        "a": BRUTE | {"label": "Mine"},
        "b": BRUTE | {"label": "Mine (a)"},
        "c": BRUTE | {"label": "Mine"},
        "Mine": BRUTE | {"label": " "},
        "e": BRUTE | {"label": "Theirs"},
        "elsewhere": BRUTE | {"label": "Theirs"},
    }
    suite = {"datasets": ["one", "two"], "backends": ["a", "b", "c", "Mine", "e"], "n_neighbors": [1]}
    config = resolved(suite="s", datasets=datasets, backends=backends, suites={"s": suite})
    saved = used(config)
    assert [entry["title"] for entry in saved["datasets"].values()] == ["Points (one)", "Points (two)"]
    assert [entry["label"] for entry in saved["backends"].values()] == [
        "Mine (a) (a)",
        "Mine (a)",
        "Mine (c)",
        "Mine (Mine)",
        "Theirs",
    ]
    assert config["datasets"]["one"]["title"] == "Points" and config["backends"]["a"]["label"] == "Mine"


def test_what_config_yaml_names_is_unique():
    for name in CONFIG["suites"]:
        config = resolved(suite=name)
        saved = used(config)
        assert (
            saved["datasets"].items() <= config["datasets"].items() and saved["backends"].items() <= config["backends"].items()
        )


def test_words_of_the_command_line():
    words = ["suite=1e3", "baseline=", "datasets={1: {n: 5.0}}", "datasets='{2: {}}'", "timing={rounds: 3}", "gpu=true"]
    assert command_line(words, SCHEMA) == [
        {"suite": "1e3"},
        {"baseline": ""},
        {"datasets": {1: {"n": 5.0}}},
        {"datasets": {2: {}}},
    ]


def test_layers_of_a_run(tmp_path):
    """Two files and the command line over config.yaml: entries are as written, settings are changed one by one."""
    one = {"backends": {"faiss-hnsw-m4": BRUTE | {"label": "One"}}, "timing": {"rounds": 2.0}}
    one |= {"datasets": {1000: GOOD_DATASET | {"seed": 1}}, "suites": {2024: {"datasets": [1000], "n_neighbors": [3]}}}
    two = {"datasets": {1000: GOOD_DATASET}, "timing": {"seed": 5}, "deployment": "none", "suite": 2024}
    for name, layer in (("one", one), ("two", two)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(layer), encoding="utf-8")
    entry = "{module: faiss, exact: false, environments: {cpu: faiss-cpu}, parameters: {index: A, fit: {m: 2}}}"
    more = ["suites={2024: {datasets: [1000], backends: [faiss-hnsw-m4], n_neighbors: [1.0, 2]}}", "timing={threads: 1}"]
    options = ("--directory", tmp_path, "--configfile", tmp_path / "one.yaml", tmp_path / "two.yaml", "--config")
    snakemake("results/2024/config.yaml", *options, f"backends={{faiss-hnsw-m4: {entry}}}", *more)
    saved = yaml.safe_load((tmp_path / "results/2024/config.yaml").read_text(encoding="utf-8"))
    assert saved["backends"]["faiss-hnsw-m4"]["parameters"] == {"index": "A", "fit": {"m": 2}}
    assert not saved["backends"]["faiss-hnsw-m4"]["saves"] and saved["backends"]["faiss-hnsw-m4"]["label"] == "faiss-hnsw-m4"
    assert saved["datasets"] == {"1000": GOOD_DATASET | {"queries": 10_000, "seed": 0, "title": "1000"}}
    controls = ["control-null", "control-random"]
    suite = {"datasets": ["1000"], "backends": ["faiss-hnsw-m4", *controls], "controls": True, "n_neighbors": [1, 2]}
    assert saved["suites"]["2024"] == suite
    assert saved["timing"] == CONFIG["timing"] | {"rounds": 2, "seed": 5, "threads": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("timing: {rounds: 3}\nsuite: t\ntiming: {threads: 1}\n", "timing is there more than once, in lines 1 and 3"),
        ("suites:\n  t:\n    datasets: [a]\n    controls: true\n    datasets: [b]\n", "suites.t.datasets .* lines 3 and 5"),
        ("datasets: {a: {n: 1}, b: {n: 1}, a: {n: 2}}\n", "datasets.a is there more than once, in line 1; "),
        ("backends:\n- {x: [{k: 1,\n k: 2}]}\n", r"backends\[0\].x\[0\].k is there more than once, in lines 2 and 3"),
        ('{\n\t"timing": {"rounds": 3,\n\t"rounds": 4}}', "timing.rounds is there more than once, in lines 2 and 3"),
        ("a: 1\n'a': 2\nb: 3\na: 4\n", "a is there more than once, in lines 1, 2 and 4"),
        ("base: &b {n: 1, d: 2}\nother: {<<: *b, n: 3}\nthird: [*b, *b]\nn: 1\n", None),  # what is merged may be replaced
        ("a: [1\nb: 2", None),  # others say that it is no YAML
    ],
)
def test_what_a_file_says_twice_is_refused(tmp_path, text, says):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    if says is None:
        return check_file(path)
    with pytest.raises(ConfigError, match=f"mine.yaml: {says}"):
        check_file(path)


def test_no_file_that_is_shipped_says_anything_twice():
    for path in (*ROOT.glob("*.yaml"), *ROOT.glob("benchmarks/*.yaml"), *ROOT.glob("profiles/*/*.yaml")):
        check_file(path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["suite=a", "suite=a"], "suite is there twice"),
        (["timing={rounds: 3}", "timing={rounds: 4}"], "timing.rounds is there twice"),
        (["datasets=[a]", "datasets=[b]"], "datasets is there twice"),
        (["timing={rounds: 3, rounds: 4}"], "--config timing: rounds is there more than once"),
        (["timing={rounds: 3}", "timing={threads: 1}", "datasets=[a]", "datasets={mirror: x}", "suite=b"], None),
    ],
)
def test_what_the_command_line_says_twice_is_refused(words, says):
    if says is None:
        return check_words(words)
    with pytest.raises(ConfigError, match=says):
        check_words(words)


def test_paths_are_read_as_a_shell_reads_them(tmp_path, monkeypatch):
    """Every key that is a path; an address, a name of an array and what is no path stay as they are."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    np.save(tmp_path / "points.npy", np.random.default_rng(0).random((200, 7), np.float32))
    np.save(tmp_path / "matrix.npy", np.eye(7))
    (tmp_path / "scratch").mkdir()
    own = {"metric": "own", "source": "file", "train": "~/points.npy", "test": "${HOME}/points.npy", "title": "$5 ~"}
    config = copy.deepcopy(CONFIG) | {"resources_dir": "$SCRATCH/knn", "sources": ["~/a", "${SCRATCH}/b"], "baseline": "~/c"}
    config |= {"foreign": "$HOME/d", "candidate": "~/e"}
    config["metrics"]["own"] = {"matrix": "~/matrix.npy"}
    config["datasets"] |= {"mirror": "~/scratch", "mine": own, "one": own | {"path": "~/points.npy", "train": "$x"}}
    resolve(config, SCHEMA)
    home = str(tmp_path)
    assert (config["resources_dir"], config["sources"]) == (f"{home}/scratch/knn", [f"{home}/a", f"{home}/scratch/b"])
    assert [config[key] for key in ("baseline", "foreign", "candidate")] == [f"{home}/{name}" for name in "cde"]
    assert (config["mirror"], config["metrics"]["own"]["matrix"]) == (f"{home}/scratch", f"{home}/matrix.npy")
    mine, one = config["datasets"]["mine"], config["datasets"]["one"]
    assert (mine["train"], mine["test"], mine["title"]) == (*[f"{home}/points.npy"] * 2, "$5 ~")
    assert (one["path"], one["train"]) == (f"{home}/points.npy", "$x")
    assert resolved(datasets__mirror="https://host/~me/$x")["mirror"] == "https://host/~me/$x"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("$NOT_SET_HERE/knn", "resources_dir: .NOT_SET_HERE/knn: the variable NOT_SET_HERE is not set; set it, or write"),
        ("~nobody-of-this-name/knn", "resources_dir: ~nobody-of-this-name/knn: there is no such home folder"),
    ],
)
def test_a_path_that_no_shell_could_read_is_refused(path, says):
    with pytest.raises(ConfigError, match=says):
        resolved(resources_dir=path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["--config", "suite=test", "plan"],
            "--config: plan is no NAME=VALUE; what is to be made comes before --config, or after --",
        ),
        (["--workflow-profile", "profiles/slurm", "-C", "suite=test", "plan"], "-C: plan is no NAME=VALUE; what is to be made"),
        (["--configfile", "config.yaml", "plan"], "--configfile: plan is no file; what is to be made"),
    ],
)
def test_a_target_that_an_option_takes_is_refused_in_a_sentence(words, says):
    done = snakemake(*words, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stdout and says in done.stdout


def test_a_grid_of_many_builds_and_points_is_saved(tmp_path):
    """Its configuration is longer than the kernel lets an argument be."""
    build, search = {"m": list(range(2, 62))}, {"ef": list(range(1000, 1030))}
    entry = {"module": "hnswlib", "exact": False, "environments": {"cpu": "hnswlib"}, "build": build, "search": search}
    data = {"metric": "euclidean", "source": "normal", "n": 500, "d": 4, "queries": 50}
    suite = {"datasets": ["small"], "backends": ["grid"], "n_neighbors": [1], "controls": False}
    entry["label"] = "A graph of sixty builds, each of which has a curve of thirty points, and a label of many words"
    written = {
        "suite": "t",
        "deployment": "none",
        "datasets": {"small": data},
        "suites": {"t": suite},
        "backends": {"grid": entry},
    }
    (tmp_path / "mine.yaml").write_text(json.dumps(written))
    snakemake("--directory", tmp_path, "results/t/config.yaml", "--configfile", tmp_path / "mine.yaml")
    saved = yaml.load((tmp_path / "results/t/config.yaml").read_text(), yaml.CSafeLoader)
    assert len(saved["suites"]["t"]["backends"]) == 60 and len(json.dumps(saved)) > 2**17
