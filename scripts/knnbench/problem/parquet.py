"""Rows of numbers in Parquet, read from its beginning."""

import json

import numpy as np

from knnbench.problem.formats import CUT_SHORT, why_not
from knnbench.problem.points import DataError, Stream, block_rows


def parquet(path, name, say):
    """Parquet: a column of lists, called `name` or the only one that there is; without lists, every column is a coordinate.

    Columns that pandas keeps its index in, as the file's metadata say, are none.
    """
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
    about = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    index = [each for each in about.get("index_columns", []) if each in schema.names]  # or how to count, without a column
    columns = [name] if name is not None else lists or [each for each in schema.names if each not in index]
    if not columns:
        raise DataError(f"{path}: has no column of numbers beside pandas' index ({', '.join(index)})")
    if name is None and lists and len(schema.names) > 1:
        say(f"{path}: the points are its column {lists[0]!r}, the only one of lists")
    elif name is None and index:
        say(f"{path}: {', '.join(index)}, in which pandas keeps the index, was left out; the {len(columns):,} others are read")
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

    def blocks(step=None):
        first = 0
        for batch in batches(step or block_rows(d)):
            yield rows_of(batch, d, first)
            first += batch.num_rows

    return Stream(n, d, np.dtype(dtype), blocks)
