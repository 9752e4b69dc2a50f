"""Sources and dataset files: what is drawn is reproducible, what is wrong is named."""

import hashlib
import json
import re
import resource
import subprocess
import sys

import h5py
import numpy as np
import pytest
from conftest import ROOT

from knnbench.problem.datasets import Unavailable, read_dataset, renumber
from knnbench.problem.making import make_dataset
from knnbench.problem.metrics import METRICS
from knnbench.problem.points import DataError, check_points, in_blocks
from knnbench.problem.rounding import Rounding
from knnbench.problem.sources import draw, load, places

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
    monkeypatch.setattr("knnbench.problem.points.BLOCK_NUMBERS", 10_000)
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
    train, test, hosted, origin, _ = load({"source": "digits", "queries": 297, "seed": 1})
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


def test_more_neighbours_are_kept_where_they_are_asked_for(tmp_path):
    settings = {"metric": "euclidean", "source": "uniform", "n": 700, "d": 2, "queries": 5, "seed": 3}
    few, many, all_of_them = (
        read_dataset(make(tmp_path, settings | more)) for more in ({}, {"truth_k": 500}, {"truth_k": 1000})
    )
    assert [each.neighbors.shape[1] for each in (few, many, all_of_them)] == [100, 500, 700]
    assert np.array_equal(all_of_them.neighbors[:, :500], many.neighbors) and few.sha256 == many.sha256
    assert np.array_equal(many.neighbors[:, :100], few.neighbors)


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


@pytest.mark.full
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


def download_of(tmp_path, **datasets):
    """A file that was downloaded, with its receipt and the settings of a dataset of it."""
    path, url = write_hdf5(tmp_path / "file.hdf5", **datasets), "http://host/file.hdf5"
    with h5py.File(path, "r+") as file:
        file.attrs["distance"] = "angular"
    receipt = tmp_path / "file.hdf5.json"
    receipt.write_text(json.dumps({"status": "ok", "asked": url, "path": str(path), "sha256": "0"}))
    return {"metric": "angular", "source": "url", "url": url}, receipt


def test_rows_of_a_download_without_a_direction_are_left_out(tmp_path):
    """They are nobody's neighbours and no queries, it is said how many they are, and others' ids are still understood."""
    generator = np.random.default_rng(0)
    train, test = generator.normal(size=(300, 4)).astype("f4"), generator.normal(size=(9, 4)).astype("f4")
    train[5::30], test[3] = 0, 0
    with np.errstate(invalid="ignore"):
        cosines = test @ train.T / np.linalg.norm(test, axis=1)[:, None] / np.linalg.norm(train, axis=1)
    theirs = np.argsort(-np.nan_to_num(cosines, nan=-2), axis=1)[:, :10]
    settings, receipt = download_of(tmp_path, train=train, test=test, neighbors=theirs)
    dataset = read_dataset(make(tmp_path, settings, receipt))
    assert dataset.train.shape == (290, 4) and dataset.test.shape == (8, 4) and dataset.neighbors.shape == (8, 100)
    assert np.allclose(np.linalg.norm(dataset.train, axis=1), 1)
    rows = np.flatnonzero(train.any(axis=1))
    assert np.array_equal(rows[dataset.neighbors[:, :10]], np.delete(theirs, 3, axis=0))
    assert np.array_equal(renumber(theirs, dataset.kept), dataset.neighbors[:, :10])
    assert set(renumber(np.full((9, 1), 5), dataset.kept).ravel()) == {-1}
    with h5py.File(tmp_path / "out.hdf5") as file:
        assert file.attrs["hosted_neighbors_recall"] == 1
        said = json.loads(file.attrs["remarks"])
        assert len(said) == 1
        assert said[0].startswith("10 of 300 points and 1 of 9 queries of the file are zero, which angular does not take")
    for part, what in ((train, "every row is zero"), (np.zeros(4), r"shape \(4,\)")):
        settings, receipt = download_of(tmp_path, train=np.zeros_like(part), test=test)
        with pytest.raises(Unavailable, match=what):
            read_dataset(make(tmp_path, settings, receipt))


def test_a_download_without_zeros_is_as_it_was(tmp_path):
    settings, receipt = download_of(tmp_path, train=GOOD, test=GOOD[:2])
    with h5py.File(make(tmp_path, settings, receipt)) as file:
        assert "remarks" not in file.attrs and set(file) == {"train", "test", "neighbors", "distances", "distances_float64"}


def test_a_receipt_of_another_address_is_not_believed(tmp_path):
    settings, receipt = download_of(tmp_path, train=GOOD, test=GOOD[:2])
    done = make(tmp_path, settings | {"url": "http://other/file.hdf5"}, receipt, check=False)
    assert done.returncode == 1 and "is of http://host/file.hdf5, and http://other/file.hdf5 is wanted" in done.stderr


NORMAL = np.random.default_rng(0).normal(size=(2000, 3))
LOST = {
    "times": (1_700_000_000_000 + np.arange(2000)[:, None] * [1, 7], "of 2,000 distinct points 1 are left"),
    "times as float64": (1.7e12 + np.arange(2000)[:, None] * [1.0, 7], "of 2,000 distinct points 1 are left"),
    "unsigned": (np.uint64(2**63) + np.arange(2000, dtype=np.uint64)[:, None], "of 2,000 distinct points 1 are left"),
    "integers over 2^24": (2**24 + np.arange(2000)[:, None], r"move by 0\.707 .*; of 2,000 distinct points 1,001 are left"),
    "far from the origin": (5e6 + 1000 * NORMAL, r"of their standard deviation; of 2,000 distinct points 2,000 are left"),
    "one column": (NORMAL + np.array([0, 0, 1e7]), "those of column 2 move by"),
    "too small": (NORMAL * 1e-60, "of 2,000 distinct points 1 are left"),
}
KEPT = {
    "normal": NORMAL,
    "heavy tails": np.random.default_rng(0).standard_cauchy((2000, 3)),
    "integers": np.random.default_rng(0).integers(-(2**24), 2**24, (2000, 3)),
    "a constant column": np.column_stack([np.full(2000, 0.1), NORMAL]),
    "zeros of both signs": np.array([[0.0], [-0.0], [1.0]]),
    "float32": NORMAL.astype("f4"),
    "pictures": np.arange(256, dtype="u1").reshape(-1, 1),
}


def lost(points, monkeypatch):
    """What is said of points that come in small blocks."""
    monkeypatch.setattr("knnbench.problem.points.BLOCK_NUMBERS", 1000)
    rounding = Rounding(in_blocks(points), in_blocks(points[:10]))
    passed = [np.concatenate(list(part.blocks)) for part in (rounding.train, rounding.test)]
    assert np.array_equal(passed[0], points) and np.array_equal(passed[1], points[:10])
    return rounding.remark()


@pytest.mark.parametrize("case", LOST)
def test_what_float32_loses_is_said(case, monkeypatch):
    points, words = LOST[case]
    assert re.search(words, lost(points, monkeypatch))


@pytest.mark.parametrize("case", KEPT)
def test_harmless_rounding_is_not(case, monkeypatch):
    assert lost(KEPT[case], monkeypatch) is None


def test_what_float32_loses_is_kept_with_the_dataset(tmp_path):
    np.save(tmp_path / "a.npy", LOST["times"][0])
    done = make(tmp_path, {"metric": "manhattan", "source": "file", "train": "a.npy", "test": "a.npy"}, check=False)
    with h5py.File(tmp_path / "out.hdf5") as file:
        said = json.loads(file.attrs["remarks"])
        assert file.attrs["rows_merged"] == 1999 / 2000 and file.attrs["queries_changed"] > 0.9
    assert len(said) == 3 and all(line in done.stdout for line in said) and "of 2,000 distinct points 1 are left" in said[1]
    assert said[0].startswith("2 of 2 columns (0, 1) may be indexes")
    assert re.search(r"gives 9.*% of the queries other nearest neighbours .*; say centre: true", said[2])


EARTH = np.random.default_rng(0).normal(size=(2000, 3)) * 5 + [4e6, 1e6, 5e6]  # metres from its middle, some metres apart


@pytest.mark.parametrize("own", [False, True])
def test_what_float32_changes_and_centring_keeps(tmp_path, monkeypatch, own):
    """Against neighbours that are sorted in float64 here."""
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "a.npy", EARTH)
    np.save(tmp_path / "b.npy", EARTH[:200] + 0.25)
    settings = {"metric": "euclidean", "source": "file", "train": "a.npy"} | ({"self": True} if own else {"test": "b.npy"})
    queries = EARTH if own else EARTH[:200] + 0.25
    matrix = ((queries[:, None] - EARTH) ** 2).sum(-1)
    if own:
        np.fill_diagonal(matrix, np.inf)
    expected = np.sort(np.argsort(matrix, axis=1)[:, :10], axis=1)
    for more in ({}, {"centre": True}):
        make_dataset({"title": "A title"} | settings | more, ["a.npy"], out := tmp_path / "out.hdf5")
        with h5py.File(out) as file:
            found = np.sort(file["neighbors"][:, :10], axis=1)
            some = np.sort(np.random.default_rng(0).permutation(len(queries))[:1000])
            differs = (found != expected).any(axis=1)[some].mean()
            assert file.attrs["queries_changed"] == pytest.approx(differs, abs=0.002)
            assert (differs == 0) if more else (differs > 0.2)
            assert ("remarks" in file.attrs) != bool(more)
            assert (file.attrs["rows_merged"] == 0) == bool(more)


@pytest.mark.parametrize("k", [3, 100])
def test_points_that_are_their_own_queries(tmp_path, monkeypatch, k):
    """With duplicates, whose neighbours include each other and never themselves; all of them, or a sample."""
    monkeypatch.chdir(tmp_path)
    points = np.random.default_rng(0).integers(0, 4, (300, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", points)
    settings = {"metric": "manhattan", "source": "file", "train": "a.npy", "self": True, "truth_k": k}
    for more, q in (({}, 300), ({"queries": 40}, 40)):
        make_dataset({"title": "A title"} | settings | more, ["a.npy"], tmp_path / "out.hdf5")
        dataset = read_dataset(tmp_path / "out.hdf5")
        assert (
            dataset.test.shape == (q, 3)
            and np.array_equal(dataset.test, points[dataset.own])
            and dataset.neighbors.shape == (q, k)
        )
        matrix = np.abs(points[dataset.own][:, None] - points).sum(-1).astype(float)
        matrix[np.arange(q), dataset.own] = np.inf
        assert np.array_equal(dataset.distances, np.sort(matrix, axis=1)[:, :k])
        assert np.array_equal(np.take_along_axis(matrix, dataset.neighbors, 1), dataset.distances)


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


@pytest.mark.parametrize(("said", "metric"), [("ip", "inner-product"), ("cosine", "angular"), ("normalized", "angular")])
def test_a_file_of_vibe(tmp_path, said, metric):
    """Its layout: ann-benchmarks', with other names of metrics, and arrays to learn from that are not searched."""
    generator = np.random.default_rng(0)
    train, test = generator.normal(size=(200, 6)).astype("f4"), generator.normal(size=(9, 6)).astype("f4") + 1
    scale = 1 if said == "ip" else np.linalg.norm(train, axis=1)
    truth = np.argsort(-(test @ train.T) / scale, axis=1)[:, :100].astype("i4")
    more = {"learn": train[:50], "learn_neighbors": truth[:5], "avg_distances": truth[:, 0].astype("f4"), "distances": truth}
    settings, receipt = download_of(tmp_path, train=train, test=test, neighbors=truth, **more)
    with h5py.File(tmp_path / "file.hdf5", "r+") as file:
        file.attrs["distance"] = said
    make_dataset({"title": "VIBE"} | settings | {"metric": metric}, [receipt], tmp_path / "out.hdf5")
    dataset = read_dataset(tmp_path / "out.hdf5")
    assert np.array_equal(dataset.neighbors, truth) and dataset.metric.name == metric
    with h5py.File(tmp_path / "out.hdf5") as file:
        assert file.attrs["hosted_neighbors_recall"] == 1


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
        assert any("agree with ours for 83.3333%" in said for said in json.loads(file.attrs["remarks"]))


def test_own_npy(tmp_path):
    np.save(tmp_path / "a.npy", GOOD)
    np.save(tmp_path / "b.npy", GOOD[:2].astype(np.int8))
    out = make(tmp_path, {"metric": "manhattan", "source": "file", "train": "a.npy", "test": "b.npy"}, "a.npy", "b.npy")
    assert read_dataset(out).neighbors[:, 0].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda path: path.write_bytes(b"<html>not found</html>"), "is not an HDF5 file with train and test (Unable"),
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
    no_rows = "a.npy is not a .npy file of numbers, in rows of one length"
    for settings, words in ((npy, no_rows), (hdf5, "train is not a plain array of numbers")):
        done = make(tmp_path, settings, check=False)
        assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr


def test_a_bad_row_has_its_number_in_the_file(tmp_path):
    """Though queries were drawn out of the rows before it."""
    points = np.random.default_rng(0).random((500, 3)) + 0.1
    points[321, 1] = -1
    np.save(tmp_path / "a.npy", points)
    metric = {"metric": "mine", "metric_entry": {"term": "(sqrt(x) - sqrt(y))**2", "domain": "positive"}}
    settings = {"source": "file", "train": "a.npy", "split": 200, **metric}
    for seed in range(3):
        done = make(tmp_path, settings | {"seed": seed}, "a.npy", check=False)
        assert done.returncode == 1 and "row 321 has a coordinate <= 0" in done.stderr


def test_what_a_metric_makes_no_number_of_is_refused(tmp_path):
    """A point that is nobody's neighbour, or a query: without a domain nothing else sees it."""
    good = np.random.default_rng(0).random((300, 3)) + 0.1
    bad = good.copy()
    bad[123, 1] = -1
    metric = {"metric": "mine", "metric_entry": {"term": "(sqrt(x) - sqrt(y))**2"}}
    for train, test, words in ((bad, good[:50], "query 0 and point 123"), (good, bad, "query 123 and point 0")):
        np.save(tmp_path / "a.npy", train)
        np.save(tmp_path / "b.npy", test)
        settings = {"source": "file", "train": "a.npy", "test": "b.npy", **metric}
        done = make(tmp_path, settings, "a.npy", "b.npy", check=False)
        assert done.returncode == 1 and f"mine is nan for {words}; say which points it is for (domain)" in done.stderr


def test_a_download_that_has_more_than_its_entry_says_is_remarked(tmp_path):
    """n, d and queries of an entry tell the plan, and take nothing away."""
    points = np.random.default_rng(0).normal(size=(60, 3)).astype("f4")
    settings, receipt = download_of(tmp_path, train=points, test=points[:20] + 1)
    settings |= {"metric": "euclidean", "title": "More"}
    for more, words in (
        ({"n": 60, "d": 3, "queries": 20}, None),
        ({"n": 30, "queries": 5}, "says n: 30 and queries: 5, and the file has n: 60 and queries: 20"),
    ):
        make_dataset(settings | more, [receipt], tmp_path / "out.hdf5")
        with h5py.File(tmp_path / "out.hdf5") as file:
            said = file.attrs.get("remarks")
            assert file.attrs["n"] == 60 and (words in said if words else said is None)


def test_an_array_of_files_that_have_one_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(3))
    settings = {"source": "file", "train": str(tmp_path / "a.npy"), "test": str(tmp_path / "a.npy"), "array": "x"}
    with pytest.raises(DataError, match="array: x: a file of format npy has one array; leave it out"):
        places(settings)
