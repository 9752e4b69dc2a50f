"""Files that people have: each format as others write it, cut short, and made to do harm."""

import gzip
import struct
import subprocess
import sys
import zipfile

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from knnbench.config.checks import check_dataset, count_points
from knnbench.config.values import ConfigError
from knnbench.problem.points import DataError, in_blocks
from knnbench.problem.readers import open_rows
from knnbench.problem.sources import load

POINTS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
BYTES = np.arange(21, dtype=np.uint8).reshape(7, 3)


def vectors(values, width):
    """TEXMEX's layout, by hand."""
    return b"".join(struct.pack("<i", len(row)) + struct.pack(f"<{len(row)}{width}", *row.tolist()) for row in values)


def binary(values):
    return struct.pack("<II", *values.shape) + values.tobytes()


def words(values, head=b""):
    return head + b"".join(b"word%d " % row + b" ".join(b"%.9g" % x for x in point) + b"\n" for row, point in enumerate(values))


def parquet(path, **columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=3)


def read(path, name=None):
    """All rows of a file, as a dataset takes them: twice, for a stream can be begun again."""
    found = [np.concatenate(list(in_blocks(open_rows(path, name)).blocks)) for _ in range(2)]
    assert np.array_equal(*found) and open_rows(path, name).shape == found[0].shape
    return found[0]


@pytest.mark.parametrize(
    ("name", "content", "values"),
    [
        ("a.fvecs", vectors(POINTS, "f"), POINTS),
        ("a.ivecs", vectors(BYTES.astype(int), "i"), BYTES),
        ("a.bvecs", vectors(BYTES, "B"), BYTES),
        ("a.fbin", binary(POINTS), POINTS),
        ("a.u8bin", binary(BYTES), BYTES),
        ("a.i8bin", binary(BYTES.astype(np.int8)), BYTES),
        ("a.ibin", binary(BYTES.astype(np.int32)), BYTES),
        ("glove.txt", words(POINTS), POINTS),
        ("GLOVE.TXT", words(POINTS), POINTS),
        ("A.FVECS", vectors(POINTS, "f"), POINTS),
        ("spaces.txt", b"a b" + words(POINTS)[4:], POINTS),
        ("glove.txt.gz", gzip.compress(words(POINTS)), POINTS),
        ("word2vec.vec", words(POINTS, b"7 3\n"), POINTS),
        ("no newline.txt", words(POINTS)[:-1], POINTS),
    ],
)
def test_formats(tmp_path, name, content, values):
    path = tmp_path / name
    path.write_bytes(content)
    assert np.array_equal(read(path), values)


@pytest.mark.parametrize(("name", "content"), [("a.fbin", binary(POINTS) + b"more"), ("a.u8bin", binary(POINTS))])
def test_more_bytes_than_the_head_says(tmp_path, name, content):
    """They may be numbers of another type, which would be read as garbage."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"its head says 7 x 3 numbers of type .*another type, which format: says"):
        open_rows(tmp_path / name)


def test_archives(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=POINTS, y=POINTS[:2].astype(np.float64))
    assert np.array_equal(read(path, "x"), POINTS) and read(path, "y").dtype == np.float64
    with pytest.raises(DataError, match="a.npz: has the arrays x, y; say which one is meant"):
        open_rows(path)
    np.savez(tmp_path / "one.npz", POINTS)
    assert np.array_equal(read(tmp_path / "one.npz"), POINTS)


def test_parquet(tmp_path):
    """As Hugging Face and VectorDBBench write it: lists, lists of one size, or a column for each coordinate."""
    ids, doubles = pyarrow.array(range(7)), POINTS.astype(float)
    parquet(tmp_path / "lists.parquet", id=ids, emb=pyarrow.array(doubles.tolist()))
    assert np.array_equal(read(tmp_path / "lists.parquet"), doubles)
    fixed = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(POINTS.ravel()), 3)
    parquet(tmp_path / "fixed.parquet", a=fixed, b=fixed)
    assert np.array_equal(read(tmp_path / "fixed.parquet", "b"), POINTS)
    with pytest.raises(DataError, match="the columns a, b are lists; say which one is meant"):
        open_rows(tmp_path / "fixed.parquet")
    parquet(tmp_path / "wide.parquet", **{f"x{axis}": POINTS[:, axis] for axis in range(3)})
    assert np.array_equal(read(tmp_path / "wide.parquet"), POINTS)


def test_arrays_of_any_name_in_hdf5(tmp_path):
    with h5py.File(tmp_path / "cells.h5ad", "w") as file:
        file["obsm/X_pca"] = POINTS
        file["X/indptr"], file["X/indices"], file["X/data"] = [0, 1], [0], [1.0]
        file["far"] = h5py.ExternalLink("other.h5", "/train")
    assert np.array_equal(read(tmp_path / "cells.h5ad", "obsm/X_pca"), POINTS)
    assert np.array_equal(read(tmp_path / "cells.h5ad", "/obsm/X_pca"), POINTS)
    for name, said in (
        ("X", "X is a sparse matrix; take rows of numbers, such as obsm/X_pca"),
        ("obsm/X_umap", r"has no dataset 'obsm/X_umap', only \['X_pca'\]"),
        ("obsm/X_pca/0", "only numbers"),
        ("far", "is a link to what is elsewhere"),
    ):
        with pytest.raises(DataError, match=said):
            open_rows(tmp_path / "cells.h5ad", name)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.fvecs", b"", "is empty"),
        ("a.fvecs", vectors(POINTS, "f")[:-1], "is cut short"),
        ("a.fvecs", struct.pack("<i", -1) + b"1234", "dimension -1"),
        ("a.fvecs", struct.pack("<i", 2**31 - 1) + b"1234", "dimension 2147483647"),
        (
            "a.bvecs",
            vectors([*BYTES[:2], BYTES[2] + 0], "B").replace(b"\3\0\0\0\6", b"\2\0\0\0\6"),
            "row 2 has another dimension",
        ),
        ("a.fbin", binary(POINTS)[:-1], "is cut short"),
        ("a.fbin", struct.pack("<II", 2**32 - 1, 2**32 - 1) + b"1234", "is cut short"),
        ("a.u8bin", b"12", "is cut short"),
        ("a.npz", b"PK\3\4 no archive", "is not a file of format npz"),
        ("a.parquet", b"PAR1 and no more", "a.parquet"),
        ("a.txt", b"", "is empty"),
        ("a.npz", b"PK\5\6" + bytes(18), "has the arrays none"),
        ("a.txt", words(POINTS) + b"word 1 2 x\n", "line 8 is no word and 3 numbers"),
        ("a.txt", words(POINTS) + b"1 2\n", "line 8 has 2 numbers, others have 3"),
        ("a.txt", b"word 1 2\n" * 2 + b"x" * 2**21, "line 3 is longer than"),
        ("a.txt.gz", gzip.compress(words(np.tile(POINTS, (500, 1))))[:-200], "cannot be read|a.txt.gz"),
        ("a.txt.gz", b"no gzip", "a.txt.gz"),
    ],
)
def test_files_that_are_cut_short_or_something_else(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as error:
        read(path)
    assert "\n" not in str(error.value)


def test_hostile_files(tmp_path):
    """Objects are not unpickled, columns of text are no numbers, rows have one length, and a head may lie."""
    np.savez(tmp_path / "objects.npz", np.array([[object()]], dtype=object))
    np.savez(tmp_path / "flat.npz", np.zeros(3))
    np.savez(tmp_path / "columns.npz", np.asfortranarray(POINTS))
    with zipfile.ZipFile(tmp_path / "lies.npz", "w") as file, file.open("x.npy", "w") as array:
        np.lib.format.write_array_header_1_0(array, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 3)})
        array.write(POINTS.tobytes())
    parquet(tmp_path / "text.parquet", name=["a", "b"])
    parquet(tmp_path / "ragged.parquet", x=pyarrow.array([[1.0, 2.0], [3.0]]))
    parquet(tmp_path / "null.parquet", x=pyarrow.array([[1.0, 2.0], None]))
    parquet(tmp_path / "hole.parquet", x=pyarrow.array([[1.0, 2.0], [3.0, None]]))
    parquet(tmp_path / "list of text.parquet", x=pyarrow.array([["a"]]))
    with zipfile.ZipFile(tmp_path / "negative.npz", "w") as file, file.open("x.npy", "w") as array:
        np.lib.format.write_array_header_1_0(array, {"descr": "<f4", "fortran_order": False, "shape": (5, -3)})
    for name, said in {
        "negative.npz": r"has shape \(5, -3\)",
        "objects.npz": "holds Python objects",
        "flat.npz": r"has shape \(3,\)",
        "columns.npz": "stored by columns",
        "lies.npz": "says that it has shape .* and has",
        "text.parquet": "column 'name' is string, not numbers",
        "ragged.parquet": "row 1 has 1 numbers, row 0 has 2",
        "null.parquet": "'x' has an empty cell",
        "hole.parquet": "'x' has an empty number",
        "list of text.parquet": "column 'x' is string, not numbers",
    }.items():
        with pytest.raises(DataError, match=said):
            list(in_blocks(open_rows(tmp_path / name)).blocks)


def resolved(**settings):
    settings = {"metric": "euclidean", "source": "file", **settings}
    check_dataset("mine", settings)
    return settings


def parts(settings):
    train, test, hosted, _, remarks = load(settings)
    return np.concatenate(list(train.blocks)), np.concatenate(list(test.blocks)), hosted, remarks


@pytest.mark.parametrize("name", ["a.npy", "a.txt", "a.parquet"])
def test_rows_and_queries_of_one_file(tmp_path, name):
    """Some rows, the first or drawn; some of these are the queries, and no point is one."""
    values, path = np.arange(60, dtype=np.float32).reshape(20, 3), str(tmp_path / name)
    if name == "a.npy":
        np.save(path, values)
    elif name == "a.txt":
        (tmp_path / name).write_bytes(words(values))
    else:
        parquet(path, x=pyarrow.array(values.tolist()))
    settings = resolved(path=path, rows=12, split=4)
    assert count_points("mine", settings) in (8, None)
    train, test, _, _ = parts(settings)
    assert (len(train), len(test)) == (8, 4)
    assert sorted(train[:, 0].tolist() + test[:, 0].tolist()) == values[:12, 0].tolist()
    drawn = parts(resolved(path=path, rows=12, split=4, seed=3))
    assert not np.array_equal(drawn[0], train) and np.array_equal(
        drawn[0], parts(resolved(path=path, rows=12, split=4, seed=3))[0]
    )
    assert len(np.unique(np.concatenate(drawn[:2]), axis=0)) == 12
    for wrong in ({"rows": 21, "split": 1}, {"split": 20}):
        with pytest.raises(DataError, match="has 20 rows; rows: .* want more; lower them"):
            load(resolved(path=path, **wrong))
        if name != "a.txt":  # whose rows nobody counts before any job
            with pytest.raises(ConfigError, match="has 20 rows; rows: .* want more; lower them"):
                count_points("mine", resolved(path=path, **wrong))


def test_files_apart(tmp_path):
    parquet(tmp_path / "train.parquet", id=[1, 2], emb=pyarrow.array(POINTS[:2].tolist()))
    np.save(tmp_path / "test.npy", POINTS[2:])
    settings = resolved(train=str(tmp_path / "train.parquet"), test=str(tmp_path / "test.npy"))
    assert count_points("mine", settings) == 2
    train, test, *_ = parts(settings)
    assert np.array_equal(train, POINTS[:2]) and np.array_equal(test, POINTS[2:])


def test_rows_of_zeros(tmp_path):
    """Of one's own file they are refused, or left out with their number where the entry says so."""
    np.save(tmp_path / "a.npy", np.vstack([POINTS, np.zeros((2, 3), np.float32)]))
    about = {"metric": "angular", "train": str(tmp_path / "a.npy"), "test": str(tmp_path / "a.npy")}
    assert len(parts(resolved(**about))[0]) == 9  # who writes the points refuses them, with the row
    train, test, _, remarks = parts(resolved(**about, zero_rows="drop"))
    assert len(train) == len(test) == 7 and "2 of 9 points and 2 of 9 queries of the file are zero" in remarks[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"path": "a.npy", "test": "x", "split": 3}, "queries come from test, or by split from train"),
        ({"train": "a.npy"}, "needs test"),
        ({"path": "a.npz", "array": "x", "split": 3}, "does not use array"),
        ({"train": "a.npy", "test": "b.npy", "n": 3}, "does not use n"),
    ],
)
def test_entries_that_say_too_much_or_too_little(settings, said):
    with pytest.raises(ConfigError, match=said):
        resolved(**settings)


WRITTEN = """
import sys, numpy as np
from faiss.contrib.vecs_io import fvecs_write, ivecs_write
x = np.random.default_rng(0).normal(size=(7, 3)).astype("float32")
fvecs_write(sys.argv[1] + "/faiss.fvecs", x)
ivecs_write(sys.argv[1] + "/faiss.ivecs", np.arange(21, dtype="int32").reshape(7, 3))
"""


def test_what_faiss_writes(environments, tmp_path):
    subprocess.run([environments / "faiss-cpu/bin/python", "-c", WRITTEN, tmp_path], check=True)
    assert np.array_equal(read(tmp_path / "faiss.fvecs"), POINTS)
    assert np.array_equal(read(tmp_path / "faiss.ivecs"), BYTES)


@pytest.mark.full
def test_what_anndata_writes(tmp_path):
    there = tmp_path / "there"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, there], check=True)
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", there, "anndata"], check=True)
    written = (
        "import sys, anndata, numpy, scipy.sparse\n"
        "x = numpy.random.default_rng(0).normal(size=(7, 3)).astype('float32')\n"
        "cells = anndata.AnnData(scipy.sparse.csr_matrix(numpy.eye(7, 4)), obsm={'X_pca': x})\n"
        "cells.write_h5ad(sys.argv[1])\n"
    )
    subprocess.run([there / "bin/python", "-c", written, tmp_path / "cells.h5ad"], check=True)
    assert np.array_equal(read(tmp_path / "cells.h5ad", "obsm/X_pca"), POINTS)
    with pytest.raises(DataError, match="X is a sparse matrix"):
        open_rows(tmp_path / "cells.h5ad", "X")
