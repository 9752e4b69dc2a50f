"""Rows of numbers in the files that people have: opened by what they say of themselves, or what their names end in.

.npy, IDX and the formats of vectors are mapped, HDF5 (and AnnData's .h5ad) is read where it is asked for; archives, Parquet and
text are read from their beginning, never whole. What a file says of itself is believed; what is guessed is said; what is wrong
with it is said in a sentence that names it.
"""

import functools
import gzip
import math
import os
import re
import zipfile

import numpy as np

from knnbench.problem.formats import CUT_SHORT, open_array, why_not
from knnbench.problem.parquet import parquet
from knnbench.problem.points import BROKEN, DataError, Stream, block_rows
from knnbench.problem.texts import csv, is_gzip, text
from knnbench.system.files import ending


def vectors(path, name, say, kind):
    """TEXMEX's .fvecs, .ivecs and .bvecs (corpus-texmex.irisa.fr): every row is its dimension, int32, and so many numbers."""
    kind = np.dtype(kind)
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        d = int.from_bytes(file.read(4), "little", signed=True)
    row = 4 + d * kind.itemsize
    if d < 1 or size < row or size % row:
        raise DataError(f"{path}: its first row has dimension {d}, which {size} bytes are no rows of; the file {CUT_SHORT}")

    def blocks(step=None):
        step = step or block_rows(d)
        # Rows of bytes are aligned for no wider type: they are seen as a record of dimension and numbers.
        rows = np.memmap(path, np.dtype([("dimension", "<i4"), ("numbers", kind, (d,))]), "r")
        for first in range(0, len(rows), step):
            block = rows[first : first + step]
            if (other := block["dimension"] != d).any():
                raise DataError(f"{path}: row {first + int(other.argmax())} has another dimension than row 0, which has {d}")
            yield block["numbers"]

    return Stream(size // row, d, kind, blocks)


def of_another_size(head, expected, size):
    """What is wrong with a file that has other bytes than its head says."""
    other = CUT_SHORT if size < expected else "may have numbers of another type, which format: says, or be followed by others"
    return f"its head says {head}, {expected:,} bytes, and it has {size:,}; the file {other}"


def binary(path, name, say, kind):
    """big-ann-benchmarks' .fbin, .u8bin, .i8bin and .ibin: number of rows and dimension, uint32 each, and the numbers."""
    kind = np.dtype(kind)
    with open(path, "rb") as file:
        n, d = (int.from_bytes(file.read(4), "little") for _ in range(2))
    size, expected = os.path.getsize(path), 8 + n * d * kind.itemsize
    if not n or not d or size != expected:
        raise DataError(f"{path}: {of_another_size(f'{n:,} x {d:,} numbers of type {kind}', expected, size)}")
    return np.memmap(path, kind, "r", offset=8, shape=(n, d))


def archive(path, name, say):
    """One array of a .npz file: the one called `name`, or the only one."""
    with zipfile.ZipFile(path) as file:
        names = [each.removesuffix(".npy") for each in file.namelist() if each.endswith(".npy")]
    if (name is None and len(names) != 1) or (name is not None and name not in names):
        raise DataError(f"{path}: has the arrays {', '.join(sorted(names)[:20]) or 'none'}; say which one is meant")
    member = f"{name or names[0]}.npy"

    def begin(file):
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return read(file)

    def blocks(step=None):
        with zipfile.ZipFile(path) as file, file.open(member) as array:
            shape, _, dtype = begin(array)
            yield from in_pieces(array, member, shape, dtype, step)

    with zipfile.ZipFile(path) as file, file.open(member) as array:
        (shape, fortran, dtype), size = begin(array), file.getinfo(member).file_size
    if dtype.hasobject:
        raise DataError(f"{path}: {member} holds Python objects, which are not read; save an array of numbers")
    if fortran and len(shape) > 1:
        raise DataError(f"{path}: {member} is stored by columns; save it again with numpy.ascontiguousarray")
    if len(shape) != 2 or min(shape) < 1:
        raise DataError(f"{path}: {member} has shape {shape}; expected (rows, d)")
    if shape[0] * shape[1] * dtype.itemsize > size:
        raise DataError(f"{path}: {member} says that it has shape {shape}, and has {size:,} bytes; the file {CUT_SHORT}")
    return Stream(*shape, dtype, blocks)


# Of IDX (MNIST's format): the third byte of a file -> the numbers in it, most significant byte first.
IDX = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def idx_head(path):
    """Type and shape of an IDX file, by its head; None if it is none."""
    with (gzip.open if is_gzip(path) else open)(path, "rb") as file:
        start = file.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in IDX or not 1 <= start[3] <= 4:
            return None
        return np.dtype(IDX[start[2]]), tuple(int.from_bytes(file.read(4), "big") for _ in range(start[3]))


def idx(path, name, say):
    """IDX, as MNIST's files are: images are rows of their pixels."""
    dtype, shape = idx_head(path) or (None, ())
    if dtype is None:
        raise DataError(f"{path} is not an IDX file: it begins with other bytes than two zeros, a type and a number of axes")
    if len(shape) == 1:
        raise DataError(f"{path}: has one number for each of {shape[0]:,} rows, as labels are, and no points")
    n, d, offset = shape[0], math.prod(shape[1:]), 4 + 4 * len(shape)
    if len(shape) > 2:
        say(f"{path}: read as {n:,} images of {' x '.join(map(str, shape[1:]))}, each a row of its {d:,} numbers")
    if not is_gzip(path):
        size, expected = os.path.getsize(path), offset + n * d * dtype.itemsize
        if size != expected:
            raise DataError(f"{path}: {of_another_size(f'{n:,} x {d:,} numbers of type {dtype}', expected, size)}")
        return np.memmap(path, dtype, "r", offset=offset, shape=(n, d))

    def blocks(step=None):
        with gzip.open(path) as file:
            file.read(offset)
            yield from in_pieces(file, path, (n, d), dtype, step)

    return Stream(n, d, dtype, blocks)


def in_pieces(file, path, shape, dtype, step):
    """Blocks of rows of an array that can only be read from its beginning."""
    n, d = shape
    step = step or block_rows(d)
    for first in range(0, n, step):
        wanted = min(step, n - first) * d * dtype.itemsize
        if len(read := file.read(wanted)) < wanted:
            raise EOFError(f"{path} ends in row {first + len(read) // (d * dtype.itemsize)}")
        yield np.frombuffer(read, dtype).reshape(-1, d)


def numpy_array(path, name, say):
    """NumPy's .npy."""
    return open_array(path)


def hdf5(path, name, say):
    """An array of an HDF5 file. MATLAB's, and Julia's in its own formats, are stored by columns: rows are their columns."""
    if name is None:
        raise DataError(f"{path}: has arrays, as HDF5; say which one is meant: array")
    values = open_array(path, name)
    with open(path, "rb") as file:
        start = file.read(64)
    program = next((each for each in BY_COLUMNS if each.encode() in start), None)
    if "MATLAB_class" in values.attrs:
        program = "MATLAB"
    if program is None or values.ndim != 2:
        return values
    d, n = values.shape
    say(f"{path}: {name} was written by {program}, which stores arrays by columns: read as {n:,} rows of {d:,} numbers")

    def blocks(step=None):
        step = step or block_rows(d)
        for first in range(0, n, step):
            yield values[:, first : first + step].T

    return Stream(n, d, values.dtype, blocks)


BY_COLUMNS = ("MATLAB", "Julia")  # programs that write their name at the beginning of a file, and arrays by columns
READERS = {
    "npy": numpy_array,
    "npz": archive,
    "hdf5": hdf5,
    "parquet": parquet,
    "text": text,
    "csv": csv,
    "idx": idx,
    **{name: functools.partial(vectors, kind=kind) for name, kind in (("fvecs", "<f4"), ("ivecs", "<i4"), ("bvecs", "u1"))},
    **{
        name: functools.partial(binary, kind=kind)
        for name, kind in (("fbin", "<f4"), ("ibin", "<i4"), ("u8bin", "u1"), ("i8bin", "i1"))
    },
}
HAVE_ARRAYS = ("npz", "hdf5", "parquet")  # formats of files that may have several arrays, of which one is meant
# What the name of a file ends in -> its format, besides endings that are the format's name.
ENDINGS = {
    **dict.fromkeys((".h5", ".hdf", ".he5", ".h5ad", ".mat", ".jld", ".jld2"), "hdf5"),
    **dict.fromkeys((".txt", ".vec", ".txt.gz", ".vec.gz"), "text"),
    **dict.fromkeys((".tsv", ".csv.gz", ".tsv.gz"), "csv"),
    **dict.fromkeys((".idx3-ubyte", ".idx2-ubyte", ".idx1-ubyte", ".idx.gz"), "idx"),
    ".pq": "parquet",
} | {f".{name}": name for name in READERS}
BEGINNINGS = {b"\x93NUMPY": "npy", b"PK\3\4": "npz", b"PK\5\6": "npz", b"PAR1": "parquet"}  # of files that say what they are
HDF5 = b"\x89HDF\r\n\x1a\n"  # which may stand behind 512 bytes, or twice as many and so on, of what another program writes


def named_format(name):
    """The format that the name of a file tells; None if it tells none."""
    return ENDINGS.get(ending(name)) or ("idx" if re.search(r"-idx\d-u?byte(\.gz)?$", str(name)) else None)


def format_of(path):
    """The format of a file: what its first bytes say, or else what its name tells; None if neither does.

    Parameters
    ----------
    path : path of the file

    Returns
    -------
    format : str, a key of `READERS`, or None
    """
    told = named_format(path)
    try:
        with open(path, "rb") as file:
            start = file.read(2**12)
        said = next((name for begins, name in BEGINNINGS.items() if start.startswith(begins)), None)
        if any(start[at : at + 8] == HDF5 for at in (0, 512, 1024, 2048)):
            said = "hdf5"
        if said is None and told is None and idx_head(path):
            said = "idx"
    except (OSError, EOFError, *BROKEN):  # who opens it says so
        said = None
    return said or told


def open_rows(path, name=None, form=None, say=lambda sentence: None):
    """Open the rows of numbers in a file, without reading them.

    Parameters
    ----------
    path : path of the file
    name : str or None, of an array or a column in it
    form : str or None, its format, a key of `READERS`, where neither its first bytes nor its name tell
    say : callable, is given a sentence on everything that was guessed, and on what was left out

    Returns
    -------
    rows : ndarray mapped from the file, h5py.Dataset, or Stream

    Raises
    ------
    DataError
        The file cannot be opened, is not what it says that it is, or does not have what is asked for.
    """
    form = form or format_of(path)
    try:
        if not os.path.getsize(path):
            raise EOFError("no bytes")
        if form is None:
            raise DataError(
                f"{path}: neither its first bytes nor its name tell its format; say format: one of {', '.join(READERS)}"
            )
        return READERS[form](path, name, say)
    except (OSError, ValueError, EOFError, LookupError, RuntimeError, MemoryError, OverflowError, *BROKEN) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(why_not(path, error, f"a file of format {form}")) from error
