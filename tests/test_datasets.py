"""Sources and dataset files: what is drawn is reproducible, what is wrong is named."""

import hashlib
import json
import resource
import subprocess
import sys

import h5py
import numpy as np
import pytest
from conftest import ROOT

from knnbench import datasets
from knnbench.datasets import DataError, Unavailable, check_points, read_dataset
from knnbench.metrics import METRICS
from knnbench.sources import draw, load

GOOD = np.arange(12, dtype=float).reshape(4, 3) + 1


def make(tmp_path, settings, *files, check=True):
    """Run scripts/make_dataset.py as the workflow does."""
    out = tmp_path / "out.hdf5"
    settings = {"title": "A title", **settings}
    command = [sys.executable, ROOT / "scripts/make_dataset.py", "--settings", json.dumps(settings), "--out", out]
    done = subprocess.run([*command, "--files", *files], cwd=tmp_path, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return out if check else done


def drawn(kind, rows, d, offset=0.0):
    return np.concatenate(list(draw(kind, rows, d, np.random.default_rng(1), offset).blocks))


@pytest.mark.parametrize("kind", ["normal", "uniform", "sphere"])
def test_draw(kind, monkeypatch):
    rows = 50_000
    points = drawn(kind, rows, 3)
    assert points.shape == (rows, 3) and points.dtype == np.float32
    assert np.array_equal(points, drawn(kind, rows, 3))
    monkeypatch.setattr(datasets, "BLOCK_NUMBERS", 10_000)
    assert np.array_equal(points, drawn(kind, rows, 3))
    assert not np.array_equal(points[:10], points[-10:])
    if kind == "uniform":
        assert points.min() >= 0.5 and points.max() < 1.5
    else:
        assert abs(points.mean(0)).max() < 0.02
    if kind == "sphere":
        assert np.allclose(np.linalg.norm(points, axis=1), 1, atol=1e-6)


def test_offset_moves_every_coordinate():
    near, far = (drawn("normal", 100, 3, offset) for offset in (0, 1000))
    assert np.allclose(far - 1000, near, atol=1e-4) and not np.array_equal(far, near)


def test_digits():
    train, test, hosted, origin = load({"source": "digits", "queries": 297, "seed": 1})
    assert train.shape == (1500, 64) and test.shape == (297, 64) and hosted is None and "digits" in origin
    again = load({"source": "digits", "queries": 297, "seed": 2})[0]
    assert not np.array_equal(train, again)


@pytest.mark.parametrize(
    ("points", "metric", "words"),
    [
        (np.where(GOOD == 5, np.nan, GOOD), "euclidean", "row 1 is not finite"),
        (np.where(GOOD == 5, np.inf, GOOD), "euclidean", "row 1 is not finite"),
        (GOOD * 1e38, "euclidean", "row 1 is not finite in float32"),
        (np.empty((0, 3)), "euclidean", r"shape \(0, 3\)"),
        (np.empty((3, 0)), "euclidean", r"shape \(3, 0\)"),
        (GOOD[0], "euclidean", r"shape \(3,\)"),
        (GOOD.astype(str), "euclidean", "dtype <U"),
        (GOOD.astype(complex), "euclidean", "dtype complex128"),
        (GOOD * [[1], [1], [0], [1]], "angular", "row 2 is zero"),
        (GOOD - [5, 0, 0], "hyperbolic", "row 0 has a first coordinate <= 0"),
    ],
)
def test_wrong_points_are_named(points, metric, words):
    with pytest.raises(DataError, match=f"mine.npy, train: .*{words}"):
        check_points(points, METRICS[metric], "mine.npy, train")


def test_points_become_float32():
    for points in (GOOD, GOOD.astype(np.uint8), np.asfortranarray(GOOD), GOOD.astype(np.float16)):
        checked = check_points(points, METRICS["euclidean"], "x")
        assert checked.dtype == np.float32 and checked.flags.c_contiguous and np.array_equal(checked, GOOD)


def test_file_is_what_ann_benchmarks_reads(tmp_path):
    path = make(tmp_path, {"metric": "angular", "source": "normal", "n": 150, "d": 5, "queries": 20, "seed": 3})
    with h5py.File(path) as file:
        shapes = {name: (file[name].shape, file[name].dtype) for name in ("train", "test", "neighbors", "distances")}
        assert shapes == {
            "train": ((150, 5), np.float32),
            "test": ((20, 5), np.float32),
            "neighbors": ((20, 100), np.int32),
            "distances": ((20, 100), np.float32),
        }
        known = {name: file.attrs[name] for name in ("distance", "type", "dimension", "point_type")}
        assert known == {"distance": "angular", "type": "dense", "dimension": 5, "point_type": "float"}
        # angular distances are 1 - cos
        x, y = file["test"][0].astype(float), file["train"][file["neighbors"][0, 0]].astype(float)
        assert file["distances"][0, 0] == pytest.approx(1 - x @ y / np.linalg.norm(x) / np.linalg.norm(y), rel=1e-5)
        assert (np.diff(file["distances"][:], axis=1) >= 0).all()


def test_same_settings_same_bytes(tmp_path):
    settings = {"metric": "euclidean", "source": "uniform", "n": 50, "d": 2, "queries": 5, "seed": 3}
    digests = [hashlib.sha256(make(tmp_path, settings).read_bytes()).hexdigest() for _ in range(2)]
    assert digests[0] == digests[1]


def test_points_are_mapped_and_cannot_be_changed(tmp_path):
    settings = {"metric": "euclidean", "source": "normal", "n": 500, "d": 5, "queries": 20, "seed": 3}
    train = read_dataset(make(tmp_path, settings)).train
    assert train.shape == (500, 5) and train.ctypes.data % 4096 == 0
    with pytest.raises(ValueError, match="read-only"):
        train[0] = 0


def test_many_points_take_little_memory(tmp_path):
    """A GB of points is drawn, written and searched in 800 MB of memory, libraries included."""
    settings = {"metric": "euclidean", "source": "normal", "n": 2_500_000, "d": 100, "queries": 5, "seed": 3, "title": "Large"}
    out = tmp_path / "out.hdf5"
    command = [sys.executable, ROOT / "scripts/make_dataset.py", "--settings", json.dumps(settings), "--out", out]
    subprocess.run(command, check=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (800_000_000,) * 2))
    assert out.stat().st_size > 1e9


def test_what_could_not_be_had_says_why(tmp_path):
    receipt = tmp_path / "file.hdf5.json"
    receipt.write_text(json.dumps({"status": "unavailable", "reason": "no such host"}))
    out = make(tmp_path, {"metric": "euclidean", "source": "url", "url": "http://host/file.hdf5"}, receipt)
    with pytest.raises(Unavailable, match="no such host"):
        read_dataset(out)


def test_a_download_that_is_gone_is_no_reason_to_measure_again(tmp_path):
    receipt = tmp_path / "file.hdf5.json"
    receipt.write_text(json.dumps({"status": "ok", "path": str(tmp_path / "file.hdf5"), "sha256": "0"}))
    done = make(tmp_path, {"metric": "euclidean", "source": "url", "url": "http://host/file.hdf5"}, receipt, check=False)
    assert done.returncode == 1 and "file.hdf5 is gone; put it back, or delete" in done.stderr


def test_a_downloaded_file_without_points_is_unavailable(tmp_path):
    receipt, path = tmp_path / "file.hdf5.json", write_hdf5(tmp_path / "file.hdf5", train=GOOD)
    receipt.write_text(json.dumps({"status": "ok", "path": str(path), "sha256": "0"}))
    out = make(tmp_path, {"metric": "euclidean", "source": "url", "url": "http://host/file.hdf5"}, receipt)
    with pytest.raises(Unavailable, match="has no dataset 'test'"):
        read_dataset(out)


def write_hdf5(path, **datasets):
    with h5py.File(path, "w") as file:
        file.attrs["distance"] = "euclidean"
        for name, values in datasets.items():
            file[name] = values
    return path


def test_own_hdf5_and_hosted_neighbours(tmp_path):
    generator = np.random.default_rng(0)
    train, test = generator.random((30, 4)), generator.random((6, 4))
    truth = np.argsort(((test[:, None] - train) ** 2).sum(-1), axis=1)
    truth[0] = truth[0, ::-1]  # a file whose own neighbours are wrong for one query
    path = write_hdf5(tmp_path / "mine.hdf5", train=train, test=test, neighbors=truth[:, :10], distances=truth[:, :10])
    out = make(tmp_path, {"metric": "euclidean", "source": "file", "path": str(path)}, path)
    dataset = read_dataset(out)
    assert dataset.neighbors.shape == (6, 30) and np.array_equal(dataset.neighbors[1:, :10], truth[1:, :10])
    with h5py.File(out) as file:
        assert file.attrs["hosted_neighbors_recall"] == pytest.approx(5 / 6)


def test_own_npy(tmp_path):
    np.save(tmp_path / "a.npy", GOOD)
    np.save(tmp_path / "b.npy", GOOD[:2].astype(np.int8))
    out = make(tmp_path, {"metric": "manhattan", "source": "file", "train": "a.npy", "test": "b.npy"}, "a.npy", "b.npy")
    assert read_dataset(out).neighbors[:, 0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda path: path.write_bytes(b"<html>not found</html>"), "cannot be read"),
        (lambda path: write_hdf5(path, train=GOOD), "has no dataset 'test', only ['train']"),
        (lambda path: write_hdf5(path, train=GOOD, test=GOOD[:, :2]), "train has dimension 3, test has 2; they must agree"),
        (lambda path: write_hdf5(path, train=GOOD, test=GOOD, neighbors=[[0]]), "its own neighbors cannot be compared"),
        (lambda path: write_hdf5(path, train=np.where(GOOD == 5, np.nan, GOOD), test=GOOD), "train: row 1 is not finite"),
    ],
)
def test_bad_hdf5_is_one_clear_error(tmp_path, build, words):
    path = tmp_path / "mine.hdf5"
    build(path)
    done = make(tmp_path, {"metric": "euclidean", "source": "file", "path": str(path)}, path, check=False)
    assert done.returncode == 1 and str(path) in done.stderr and words in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out.hdf5").exists()


def test_ragged_rows_are_one_clear_error(tmp_path):
    ragged = np.array([[1.0, 2.0], [3.0]], dtype=object)
    np.save(tmp_path / "a.npy", ragged, allow_pickle=True)
    kind = h5py.vlen_dtype(np.dtype("float32"))
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("train", (2,), dtype=kind)
        file["test"] = GOOD
    npy = {"metric": "euclidean", "source": "file", "train": "a.npy", "test": "a.npy"}
    hdf5 = {"metric": "euclidean", "source": "file", "path": "a.hdf5"}
    for settings, words in ((npy, "a.npy: cannot be read"), (hdf5, "train is not a plain array of numbers")):
        done = make(tmp_path, settings, check=False)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
