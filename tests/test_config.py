"""The configuration: what is wrong is said in one sentence, and what is right lists exactly its cells."""

import copy
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
import yaml
from conftest import CONFIG, ROOT

from knnbench.config import ConfigError, cells, count_points, downloads, resolve, used

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


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"suite": "quik"}, "suite: unknown name 'quik'; did you mean 'quick'?"),
        ({"color": 1}, "top level: unknown key 'color'; .*allowed are artifact_data, backends"),
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
            "source 'normal' does not use path; it takes d, n, offset, queries, seed",
        ),
        ({"datasets__new": {"metric": "euclidean", "source": "normal", "n": 5}}, "source 'normal' needs d"),
        ({"datasets__new": {"metric": "euclidean", "source": "file"}}, "needs test, train .or path"),
        ({"datasets__a/b": GOOD_DATASET}, "'a/b' does not match"),
        ({"datasets__digits_euclidean__queries": 1797}, "leaves no points"),
        ({"suites__quick__n_neighbors": [0]}, "0 is less than the minimum of 1"),
        ({"suites__quick__n_neighbors": [1, 1000]}, "1000 is greater than the maximum of 100"),
        ({"suites__quick__n_neighbors": []}, "n_neighbors: .* should be non-empty"),
        ({"suites__quick__datasets": []}, "datasets: .* should be non-empty"),
        ({"suites__quick__datasets": ["rd-z"]}, "suites.quick.datasets: unknown name 'rd-z'; did you mean 'rd-"),
        ({"suites__quick__backends": ["kops"]}, "suites.quick.backends: unknown name 'kops'; did you mean 'keops'?"),
        ({"suites__large__backends": ["x"]}, "suites.large.backends: unknown name 'x'"),
        ({"datasets__rd_a__n": 99}, "K = 100 exceeds the 99 points of dataset 'rd-a'; lower K"),
        ({"datasets__new": {"metric": "euclidean", "source": "url", "url": "ftp://host/x"}}, "does not match"),
        ({"suites__quick__n_neighbors": 10}, "is not of type 'array'; a list of values of K"),
        ({"backends__keops__module": "kops"}, "backends.keops.module: there is no backends/kops.py; did you mean 'keops'?"),
        ({"backends__keops__environments": {"cpu": "skleran"}}, "there is no envs/skleran.yaml; did you mean 'sklearn'?"),
        ({"backends__keops__environments": {}}, "should be non-empty"),
        ({"backends__keops__environments": {"tpu": "x"}}, "unknown key 'tpu'; .*allowed are cpu, gpu"),
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
        ({"train": "bad.hdf5", "test": "a.npy"}, "bad.hdf5 is not a .npy file of numbers"),
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
    "an archive": ("a.npy", lambda path, good: path.write_bytes(b"PK\x03\x04".ljust(200)), "got b'PK"),
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
    assert len(files) == 9 and {"glove-25-angular.hdf5", "mnist-784-euclidean.hdf5"} < set(files)
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
    assert set(files) < set(more) and len(more) == 11 and len({url for url, _ in more.values()}) == 11
    assert all(re.fullmatch(r"mnist-784-euclidean-[0-9a-f]{8}\.hdf5", name) for name in set(more) - set(files))


def test_a_mirror_is_no_dataset(tmp_path):
    config = resolved(datasets__mirror=str(tmp_path))
    assert config["mirror"] == str(tmp_path) and "mirror" not in config["datasets"] and resolved()["mirror"] == ""


def test_variants_run_where_they_are_named():
    assert "torch-batch-tf32" in {cell.backend for cell in cells(resolved(suite="large"))}
    assert "torch-batch-tf32" not in {cell.backend for cell in cells(resolved(suite="paper"))}


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
    with pytest.raises(ConfigError, match="timing.rounds: 'many' is not of type 'integer'"):
        resolved(timing={"rounds": "many"})


def test_defaults_are_filled_in():
    config = {key: copy.deepcopy(CONFIG[key]) for key in ("suite", "datasets", "backends", "suites")}
    resolve(config, SCHEMA)
    assert config["timing"] == CONFIG["timing"] and config["figures"] == CONFIG["figures"]
    assert config["datasets"]["rd-b"]["queries"] == 10_000
