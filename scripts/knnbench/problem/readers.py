"""Rows of numbers in the files that people have: opened by what their names end in, and read block by block.

.npy and the formats of vectors are mapped, HDF5 (and AnnData's .h5ad) is read where it is asked for; archives, Parquet and text
are read from their beginning, never whole. What is wrong with a file is said in a sentence that names it.
"""

import functools
import gzip
import itertools
import os
import zipfile

import numpy as np

from knnbench.problem.formats import CUT_SHORT, open_array, why_not
from knnbench.problem.points import BROKEN, DataError, Stream, block_rows
from knnbench.system.files import ending

LINE = 2**20  # bytes of a line of text: the longest that is a row
HDF5 = (".hdf5", ".h5", ".hdf", ".he5", ".h5ad")


def vectors(path, name=None):
    """TEXMEX's .fvecs, .ivecs and .bvecs (corpus-texmex.irisa.fr): every row is its dimension, int32, and so many numbers."""
    kind = np.dtype({".fvecs": "<f4", ".ivecs": "<i4", ".bvecs": "u1"}[ending(path)])
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        d = int.from_bytes(file.read(4), "little", signed=True)
    row = 4 + d * kind.itemsize
    if d < 1 or size < row or size % row:
        raise DataError(f"{path}: its first row has dimension {d}, which {size} bytes are no rows of; the file {CUT_SHORT}")

    def blocks():
        # Rows of bytes are aligned for no wider type: they are seen as a record of dimension and numbers.
        rows = np.memmap(path, np.dtype([("dimension", "<i4"), ("numbers", kind, (d,))]), "r")
        for first in range(0, len(rows), block_rows(d)):
            block = rows[first : first + block_rows(d)]
            if (other := block["dimension"] != d).any():
                raise DataError(f"{path}: row {first + int(other.argmax())} has another dimension than row 0, which has {d}")
            yield block["numbers"]

    return Stream(size // row, d, kind, blocks)


def binary(path, name=None):
    """big-ann-benchmarks' .fbin, .u8bin, .i8bin and .ibin: number of rows and dimension, uint32 each, and the numbers."""
    kind = np.dtype({".fbin": "<f4", ".ibin": "<i4", ".u8bin": "u1", ".i8bin": "i1"}[ending(path)])
    with open(path, "rb") as file:
        n, d = (int.from_bytes(file.read(4), "little") for _ in range(2))
    size, expected = os.path.getsize(path), 8 + n * d * kind.itemsize
    if not n or not d or size < expected:
        raise DataError(f"{path}: its head says {n:,} x {d:,}, {expected:,} bytes, and it has {size:,}; the file {CUT_SHORT}")
    return np.memmap(path, kind, "r", offset=8, shape=(n, d))


def archive(path, name=None):
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

    def blocks():
        with zipfile.ZipFile(path) as file, file.open(member) as array:
            (n, d), _, dtype = begin(array)
            for first in range(0, n, block_rows(d)):
                wanted = min(block_rows(d), n - first) * d * dtype.itemsize
                if len(read := array.read(wanted)) < wanted:
                    raise EOFError(f"{member} ends in row {first + len(read) // (d * dtype.itemsize)}")
                yield np.frombuffer(read, dtype).reshape(-1, d)

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


def parquet(path, name=None):
    """Parquet: a column of lists, called `name` or the only one that there is; without lists, every column is a coordinate."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(f"{path}: Parquet is read by pyarrow, which is not here ({error}); pip install pyarrow") from error
    try:
        file = pyarrow.parquet.ParquetFile(path)
        schema = file.schema_arrow
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(why_not(path, error, "a Parquet file")) from error

    def is_list(kind):
        of = pyarrow.types
        return of.is_list(kind) or of.is_large_list(kind) or of.is_fixed_size_list(kind)

    lists = [field.name for field in schema if is_list(field.type)]
    if name is not None and name not in schema.names:
        raise DataError(f"{path}: has no column {name!r}, only {', '.join(schema.names[:20])}")
    if name is None and len(lists) > 1:
        raise DataError(f"{path}: the columns {', '.join(lists)} are lists; say which one is meant")
    columns = [name] if name is not None else lists or schema.names
    listed = columns[0] in lists
    kinds = [schema.field(each).type.value_type if listed else schema.field(each).type for each in columns]
    for each, kind in zip(columns, kinds, strict=True):
        if not (pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind)):
            raise DataError(f"{path}: column {each!r} is {kind}, not numbers; say which column is meant")
    dtype = np.result_type(*(kind.to_pandas_dtype() for kind in kinds))

    def rows_of(batch, d, first):
        """A batch as an array of d columns; `first` is the number of its first row."""
        found = [batch.column(each) for each in range(batch.num_columns)]
        for each, column in zip(columns, found, strict=True):
            if column.null_count:
                raise DataError(f"{path}: {each!r} has an empty cell among the rows from {first}; fill or remove it")
        if not listed:
            return np.column_stack([column.to_numpy(zero_copy_only=False) for column in found]).astype(dtype, copy=False)
        lengths = pyarrow.compute.list_value_length(found[0]).to_numpy(zero_copy_only=False)
        if (other := lengths != d).any():
            raise DataError(f"{path}: row {first + int(other.argmax())} has {lengths[other.argmax()]} numbers, row 0 has {d}")
        numbers = found[0].flatten()
        if numbers.null_count:
            raise DataError(f"{path}: {columns[0]!r} has an empty number among the rows from {first}; fill or remove it")
        return numbers.to_numpy(zero_copy_only=False).reshape(-1, d)

    def batches(rows):
        try:
            yield from file.iter_batches(rows, columns=columns)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path}: cannot be read ({error}); the file {CUT_SHORT}") from error

    n, d = file.metadata.num_rows, len(columns)
    if listed and n:
        d = pyarrow.compute.list_value_length(next(batches(1)).column(0))[0].as_py() or 0

    def blocks():
        first = 0
        for batch in batches(block_rows(d)):
            yield rows_of(batch, d, first)
            first += batch.num_rows

    return Stream(n, d, np.dtype(dtype), blocks)


def is_number(word):
    try:
        float(word)
    except ValueError:
        return False
    return True


def text(path, name=None):
    """Word vectors as GloVe and word2vec write them: a word and its numbers on every line; word2vec's first line is n and d."""
    opener = gzip.open if ending(path).endswith(".gz") else open

    def lines():
        with opener(path, "rb") as file:
            while line := file.readline(LINE):
                yield line
                if len(line) == LINE:
                    raise DataError(f"{path}: a line is longer than {LINE:,} bytes; rows are a word and its numbers")

    first, second = (line.split() for line in (*itertools.islice(lines(), 2), b"", b"")[:2])
    headed = len(first) == 2 and all(each.isdigit() for each in first) and len(second) == int(first[1]) + 1
    d = (len(second) if headed else min(len(first), len(second or first))) - 1  # a word may have spaces
    if d < 1:
        raise DataError(f"{path}: its first line is no word and its numbers")
    if all(b"." in line[0] and is_number(line[0]) for line in (first, second or first)):
        raise DataError(f"{path}: its lines begin with numbers, and in this format with a word; save plain numbers as .npy")
    size = block_rows(d)

    def blocks():
        found, number = [], 0
        for number, line in enumerate(lines(), 1):
            if (headed and number == 1) or not line.strip():
                continue
            try:
                found.append(np.array(line.rsplit(maxsplit=d)[-d:], np.float32))
            except ValueError as error:
                raise DataError(f"{path}: line {number} is no word and {d} numbers ({error})") from error
            if len(found[-1]) != d:
                raise DataError(f"{path}: line {number} has {len(found[-1])} numbers, others have {d}")
            if len(found) == size:
                yield np.stack(found)
                found = []
        if found:
            yield np.stack(found)

    @functools.cache
    def count():
        try:
            return sum(1 for line in lines() if line.strip()) - headed
        except (OSError, EOFError, *BROKEN) as error:
            raise DataError(f"{path}: its rows cannot be counted ({error}); the file {CUT_SHORT}") from error

    return Stream(count, d, np.dtype(np.float32), blocks)


READERS = {
    **dict.fromkeys((".fvecs", ".ivecs", ".bvecs"), vectors),
    **dict.fromkeys((".fbin", ".ibin", ".u8bin", ".i8bin"), binary),
    **dict.fromkeys((".parquet", ".pq"), parquet),
    **dict.fromkeys((".txt", ".vec", ".txt.gz", ".vec.gz"), text),
    ".npz": archive,
}


def is_hdf5(path):
    """Whether a file is HDF5, by its first bytes, or is meant to be, by its name."""
    try:
        with open(path, "rb") as file:
            return file.read(8) == b"\x89HDF\r\n\x1a\n" or ending(path) in HDF5
    except OSError:
        return ending(path) in HDF5


def has_arrays(path):
    """Whether a file may have several arrays, of which one is meant."""
    return is_hdf5(path) or READERS.get(ending(path)) in (archive, parquet)


def open_rows(path, name=None):
    """Open the rows of numbers in a file, without reading them.

    Parameters
    ----------
    path : path of the file
    name : str or None, of an array or a column in it

    Returns
    -------
    rows : ndarray mapped from the file, h5py.Dataset, or Stream

    Raises
    ------
    DataError
        The file cannot be opened, is not what its name says, or does not have what is asked for.
    """
    reader = READERS.get(ending(path))
    if is_hdf5(path) and name is None:
        raise DataError(f"{path}: has arrays, as HDF5; say which one is meant: array")
    if reader is None or is_hdf5(path):  # a .npy file, or an array of an HDF5 file, whatever its name
        return open_array(path, name)
    try:
        if not os.path.getsize(path):
            raise EOFError("no bytes")
        return reader(path, name)
    except (OSError, ValueError, EOFError, LookupError, RuntimeError, MemoryError, OverflowError, *BROKEN) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(why_not(path, error, f"a {ending(path)} file")) from error
