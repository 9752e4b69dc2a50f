"""Files as other programs write them: each is read as what it is, and refused in a sentence when it is broken."""

import gzip
import struct
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from knnbench.config.checks import check_dataset, count_points
from knnbench.config.values import ConfigError
from knnbench.problem.download import file_name
from knnbench.problem.points import DataError, in_blocks
from knnbench.problem.readers import format_of, open_rows
from knnbench.problem.sources import load, preview

FILES = Path(__file__).parent / "files"
POINTS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
COUNTS = np.arange(0, 147, 7, dtype=np.uint8).reshape(7, 3)
FRAME = pd.DataFrame(POINTS, columns=["x", "y", "z"])
LINES = [" ".join(f"{number:.9g}" for number in row) for row in POINTS]
MATRIX = "".join(f"{line}\n" for line in LINES)
WORDS = "".join(f"{word} {line}\n" for word, line in zip(("the", ",", "2015", "new york", ".", "#", "of"), LINES, strict=True))


def columns(path, **attributes):
    """As MATLAB and Julia do: what is a row there is a column in the file."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["points"] = POINTS.T
        file["points"].attrs.update(attributes)


def matlab(path):
    columns(path, MATLAB_class=np.bytes_("single"))
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jun 1 2026 HDF5 schema 1.00 .")


def julia(path):
    columns(path)
    with open(path, "r+b") as file:
        file.write(b"HDF5-based Julia Data Format, version 0.1.1\0 (Julia 1.11.1 64-bit linux on 8 threads)\0")


def idx(values):
    kind = {"u1": 8, "f4": 13}[values.dtype.str[1:]]
    return bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


IMAGES = gzip.compress(idx(COUNTS.reshape(7, 1, 3)))


def vectors(values):
    return b"".join(struct.pack("<i", len(row)) + row.tobytes() for row in values)


def shuffled(path):
    FRAME.sample(frac=1, random_state=0).sort_index().set_index(pd.Index([3, 1, 0, 2, 6, 5, 4])).to_parquet(path)


def written(content):
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content.encode())


def shipped(name):
    return written((FILES / name).read_bytes())


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def instead(old, new):
    return lambda path: path.write_bytes(path.read_bytes().replace(old, new))


# Name, which array, who writes it, what it holds, a word of what is said when it is read, what breaks it, what is said then.
CASES = [
    ("a.fvecs", None, written(vectors(POINTS)), POINTS, "", cut, "is cut short"),
    ("a.bvecs", None, written(vectors(COUNTS)), COUNTS, "", instead(b"\3\0\0\0\0", b"\4\0\0\0\0"), "dimension 4"),
    ("a.fbin", None, written(struct.pack("<II", 7, 3) + POINTS.tobytes()), POINTS, "", cut, "is cut short"),
    ("a.u8bin", None, written(struct.pack("<II", 7, 3) + COUNTS.tobytes()), COUNTS, "", cut, "is cut short"),
    ("a.npz", "x", lambda path: np.savez_compressed(path, x=POINTS, y=COUNTS), POINTS, "", cut, "not a zip file"),
    ("a.npy", None, lambda path: np.save(path, POINTS), POINTS, "", cut, "is cut short"),
    ("pandas.parquet", None, FRAME.to_parquet, POINTS, "", cut, "Parquet"),
    ("shuffled.parquet", None, shuffled, POINTS, "__index_level_0__, in which pandas keeps the index", cut, "Parquet"),
    (
        "named.parquet",
        None,
        FRAME.set_index(pd.Index([9, 3, 4, 2, 8, 1, 5], name="row")).to_parquet,
        POINTS,
        "row, in which",
        cut,
        "Parq",
    ),
    ("lists.parquet", None, shipped("polars-list.parquet"), POINTS, "column 'emb'", cut, "Parquet"),
    ("array.parquet", None, shipped("polars-array.parquet"), POINTS, "", cut, "Parquet"),
    ("columns.parquet", None, shipped("polars-columns.parquet"), POINTS, "", cut, "Parquet"),
    ("duck.parquet", None, shipped("duckdb-list.parquet"), POINTS, "column 'emb'", cut, "Parquet"),
    ("ducks.parquet", "emb", shipped("duckdb-array.parquet"), POINTS, "", cut, "Parquet"),
    ("cells.h5ad", "obsm/X_pca", shipped("anndata.h5ad"), POINTS, "", lambda path: path.write_bytes(b"x" * 600), "not"),
    ("gensim.vec", None, shipped("gensim.vec"), POINTS, "says 7 x 3", instead(b"7 3\n", b"9 3\n"), "9 rows, and 7 follow"),
    ("glove.txt", None, written(WORDS), POINTS, "as a word", written(WORDS + "last 1 2\n"), "line 8 is no word|has 2 numbers"),
    ("glove.txt.gz", None, written(gzip.compress(WORDS.encode())), POINTS, "as a word", cut, "gz"),
    ("matrix.txt", None, written(MATRIX), POINTS, "numbers alone", written(MATRIX + "1 2\n"), "line 8 has 2 numbers"),
    ("head.txt", None, written(f"7 3\n{MATRIX}"), POINTS, "says 7 x 3", written(f"8 3\n{MATRIX}"), "8 rows, and 7 follow"),
    (
        "counts.txt",
        None,
        lambda path: np.savetxt(path, COUNTS, "%d", "\t"),
        COUNTS,
        "numbers alone",
        written("1\t2\nx\t3\n3\tx\n"),
        "line 1 does not end in numbers",
    ),
    (
        "comments.txt",
        None,
        lambda path: np.savetxt(path, POINTS, "%.9g", header="x y z"),
        POINTS,
        "alone",
        written("# x\n"),
        "line 1",
    ),
    ("names.txt", None, written(f"x y z\n{MATRIX}"), POINTS, "names the columns", written("x y z\n"), "line 1"),
    (
        "a.csv",
        None,
        lambda path: FRAME.to_csv(path, index=False),
        POINTS,
        "names the columns",
        written("x,y\n1,\n2,3\n"),
        "'y'",
    ),
    ("index.csv", None, FRAME.to_csv, POINTS, "as pandas writes an index", written(",x\n0,a\n1,b\n"), "no number|'x'"),
    (
        "excel.csv",
        None,
        lambda path: FRAME.to_csv(path, sep=";", decimal=",", index=False, encoding="utf-8-sig"),
        POINTS,
        "';'",
        written("a;b\n1;2\n1;2;3\n"),
        "3",
    ),
    ("numbers.csv", None, written(MATRIX.replace(" ", ", ")), POINTS, "alone", written("1,2\n3,4,5\n"), "line 2, saw 3"),
    (
        "ids.tsv",
        None,
        written("".join(f"id{at}\t{line}\n" for at, line in enumerate(LINES)).replace(" ", "\t")),
        POINTS,
        "as a name of each row",
        written("a\tb\n1\tx\n"),
        "no number",
    ),
    ("train-images-idx3-ubyte", None, written(idx(COUNTS.reshape(7, 3, 1))), COUNTS, "7 images of 3 x 1", cut, "is cut short"),
    (
        "train-images-idx3-ubyte.gz",
        None,
        written(gzip.compress(idx(COUNTS.reshape(7, 1, 3)))),
        COUNTS,
        "images of 1 x 3",
        written(gzip.compress(idx(COUNTS[:, 0]))),
        "as labels are",
    ),
    ("matlab.mat", "points", matlab, POINTS, "written by MATLAB", written(b"MATLAB 5.0 MAT-file" + bytes(200)), "not"),
    ("julia.jld2", "points", julia, POINTS, "written by Julia", cut, "truncated|cut short|cannot be read"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_files_of_other_programs(tmp_path, case):
    name, array, write, points, said, damage, wrong = case
    path, remarks = tmp_path / name, []
    write(path)
    rows = open_rows(path, array, say=remarks.append)
    assert rows.shape == points.shape
    found = np.concatenate(list(in_blocks(rows).blocks))
    assert np.array_equal(found.astype(np.float32), points)
    assert said in " ".join(remarks) and all(str(path) in remark for remark in remarks)
    assert not (remarks and not said)
    del rows  # or HDF5 goes on with the file that it has open
    damage(path)
    with pytest.raises(DataError, match=wrong) as error:
        list(in_blocks(open_rows(path, array)).blocks)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("http://h/a/points.npz?download=1", "points.npz"),
        ("http://h/points.fvecs?download=true#top", "points.fvecs"),
        ("http://h/get?file=points.npz", "points.npz"),
        ("http://h/get?file=../../a%20{b}.npz", "a__b_.npz"),
        ("http://h/files/1234", "1234"),
        ("http://h/?id=7", "download"),
    ],
)
def test_the_file_of_an_address(address, name):
    assert file_name(address) == name


def test_what_a_name_does_not_tell_is_asked_for():
    """Of an address, before anything is downloaded."""
    entry = {"metric": "euclidean", "source": "url", "url": "https://example.org/files/1234", "split": 3}
    with pytest.raises(ConfigError, match=r"datasets.far.url: .*1234 .*nothing was downloaded; say format: one of npy, npz"):
        check_dataset("far", dict(entry))
    check_dataset("far", entry | {"format": "npz"})


def test_the_format_that_is_named_is_taken(tmp_path):
    path = tmp_path / "points"
    path.write_bytes(vectors(POINTS))
    with pytest.raises(DataError, match="neither its first bytes nor its name tell its format; say format: one of"):
        open_rows(path)
    entry = {"metric": "euclidean", "source": "file", "path": str(path), "split": 2, "format": "fvecs"}
    assert count_points("mine", entry) == 5
    train, test, _, _, remarks = load(entry)
    assert (train.shape, test.shape, remarks) == ((5, 3), (2, 3), [])


def test_first_bytes_are_believed_above_a_name(tmp_path):
    path = tmp_path / "points.txt"
    np.save(tmp_path / "points.npy", POINTS)
    (tmp_path / "points.npy").rename(path)
    assert format_of(path) == "npy" and np.array_equal(open_rows(path), POINTS)


def test_the_plan_shows_how_a_file_is_read(tmp_path):
    path = tmp_path / "counts.txt"
    np.savetxt(path, COUNTS, "%d")
    lines = preview({"metric": "euclidean", "source": "file", "path": str(path), "split": 2})
    assert lines[0] == f"train: {path}, text: 7 rows x 3, float64" or "not counted" in lines[0]
    assert "numbers alone" in lines[1] and lines[2:] == ["0, 7, 14", "21, 28, 35", "42, 49, 56"]


@pytest.mark.parametrize(
    ("content", "rows", "said"),
    [
        ("3 2\nnew york 1 2\nlos angeles 3 4\nsan jose 5 6\n", [[1, 2], [3, 4], [5, 6]], "says 3 x 2"),
        ("6 2\n1 2\n3 4\n5 6\n", [[6, 2], [1, 2], [3, 4], [5, 6]], "its first line may say 6 x 2, but other rows follow"),
        ("3 2\n1 2\n3 4\n5 6\n", [[1, 2], [3, 4], [5, 6]], "says 3 x 2"),
        ("1 0.1 0.2\n2 0.3 0.4\n", [[1, 0.1, 0.2], [2, 0.3, 0.4]], "numbers alone"),
    ],
)
def test_heads_of_texts(tmp_path, content, rows, said):
    (tmp_path / "a.txt").write_text(content)
    remarks = []
    found = open_rows(tmp_path / "a.txt", say=remarks.append)
    assert np.allclose(np.concatenate(list(found.blocks())), rows) and said in remarks[0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "\n \n", "has no lines but empty ones"),
        ("a.csv", "\n\n", "has no lines but empty ones"),
        ("a.csv", "x,y,z\n1,2,3\nNA,2,3\n", "column 'x' has 'NA', which is no number"),
    ],
)
def test_tables_that_are_refused(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        open_rows(tmp_path / name)
