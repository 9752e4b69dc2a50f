"""The dataset file: checked points with their exact neighbours, in the HDF5 layout of ann-benchmarks plus our attributes."""

import hashlib
import math
import mmap
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from knnbench.machine import available_memory
from knnbench.metrics import METRICS, Metric

REAL = "fiub"  # kinds of dtype that are searched, as float32
BLOCK_NUMBERS = 2**24  # of points that are held at once: 128 MiB as float64
PAGE_BYTES = 4096
HDF5_FILE = "an HDF5 file with train and test"
NUMPY_FILE = "a .npy file of numbers, in rows of one length"
CUT_SHORT = "is cut short; copy, make or download it again"
# What the libraries say of a file that they do not open -> what that means, and what to do.
MEANINGS = {
    "Permission denied": "may not be read; its owner can allow that with chmod a+r, and a+x on the folders above it",
    "Resource temporarily unavailable": "is locked: another program has it open for writing; close it there",
    "already open for": "is marked as open for writing; close it there, or, if nobody has it open, h5clear -s removes the mark",
    "unable to lock file": "cannot be locked on this file system; copy it to another disk",
    "truncated file": CUT_SHORT,
    "mmap length is greater than file size": CUT_SHORT,
    "EOF: reading array": CUT_SHORT,
}


class DataError(ValueError):
    """Points that cannot be searched; the message names the source, the row and the next step."""


class Unavailable(Exception):
    """The dataset could not be had; the message says why."""


@dataclass(frozen=True)
class Points:
    """Rows of points that come block by block, so that nobody needs to hold them all.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype
    blocks : iterator of ndarray, consecutive rows
    kept : ndarray of bool or None, which rows of their source these are, if some are left out
    """

    shape: tuple
    dtype: np.dtype
    blocks: Iterator
    kept: np.ndarray | None = None


def block_rows(d):
    """How many rows of dimension `d` make a block."""
    return max(1, BLOCK_NUMBERS // max(1, d))


def in_blocks(values, kept=None):
    """Points of an array, or of a dataset in an HDF5 file: of all its rows, or of those that are True in `kept`."""
    step = block_rows(values.shape[1]) if len(values.shape) == 2 else 1

    def blocks():
        for first in range(0, len(values), step):
            try:
                block = values[first : first + step]
            except (OSError, RuntimeError, MemoryError) as error:
                raise DataError(f"rows from {first} cannot be read ({error}); make or download the file again") from error
            some = block if kept is None else block[kept[first : first + step]]
            if len(some):
                yield some

    shape = values.shape if kept is None else (int(kept.sum()), *values.shape[1:])
    return Points(shape, values.dtype, blocks(), kept)


def why_not(path, error, expected):
    """Say in a sentence why a library did not open a file: its words, what they mean, and what to do.

    Parameters
    ----------
    path : path of the file
    error : Exception
    expected : str, what the file should be

    Returns
    -------
    sentence : str
    """
    words = " ".join(str(error).split())
    other = "cannot be read" if getattr(error, "errno", None) else f"is not {expected}"
    if os.path.isfile(path) and not os.path.getsize(path):
        other = "is empty; copy, make or download it again"
    meaning = next((meaning for said, meaning in MEANINGS.items() if said in words), other)
    return f"{path} {meaning} ({words})"


def open_array(path, name=None):
    """Open one array of a .npy file, or the dataset `name` of an HDF5 file, without reading it.

    Parameters
    ----------
    path : path of the file
    name : str or None

    Returns
    -------
    values : ndarray, mapped from the file, or h5py.Dataset

    Raises
    ------
    DataError
        The file cannot be opened or is not what its name says, or its array is no plain array of numbers that can be had here.
    """
    try:
        if name is None:
            return np.lib.format.open_memmap(path, mode="r")
        file = h5py.File(path, "r")
    except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
        raise DataError(why_not(path, error, HDF5_FILE if name else NUMPY_FILE)) from error
    values = plain_array(file, name, path)
    if values.ndim == 1 and (f"size_{name}" in file or text_attribute(file, "type") == "sparse"):
        raise DataError(
            f"{path} holds sets (type sparse: {name} lists the members of all sets), and sets have no coordinates; "
            "take a file of points, rows of numbers of one length"
        )
    check_filters(values, name, path)
    return values


def check_filters(values, name, path):
    """Check that the HDF5 library here can read what an array is compressed by.

    Raises
    ------
    DataError
    """
    filters = values.id.get_create_plist()
    for number in range(filters.get_nfilters()):
        code, _, _, called = filters.get_filter(number)
        if h5py.h5z.filter_avail(code):
            continue
        try:  # a filter that is optional may not have been applied
            values[:1]
        except (OSError, RuntimeError) as error:
            known = called.decode(errors="replace") or "without a name"
            raise DataError(
                f"{path}: {name} is compressed by HDF5 filter {code} ({known}), which the HDF5 library here does not have "
                f"({' '.join(str(error).split())}); write it again with gzip, such as h5repack -f GZIP=1 does, or uncompressed"
            ) from error


def plain_array(file, name, path):
    """An array of numbers that lies in an HDF5 file itself: others' files may point to what is outside of them.

    Parameters
    ----------
    file : h5py.File or Group
    name : str, without a slash
    path : path of the file, for messages

    Returns
    -------
    values : h5py.Dataset

    Raises
    ------
    DataError
        There is no such array, it is a link, a reference, virtual or stored in another file, or it cannot be read.
    """
    try:
        if name not in set(file):
            raise DataError(f"{path}: has no dataset {name!r}, only {sorted(file)[:20]}; an HDF5 source needs train and test")
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise DataError(
                f"{path}: {name} is a link to what is elsewhere, which is not followed; copy the array into the file"
            )
        values = file[name]
        if not isinstance(values, h5py.Dataset) or values.dtype.kind not in REAL or not values.shape:
            raise DataError(f"{path}: {name} is not a plain array of numbers; rows need one length and one dtype")
        if values.is_virtual or values.external:
            raise DataError(f"{path}: {name} is kept in other files, which are not read; copy the array into the file")
        return values
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: {name} cannot be read ({error}); the file is damaged, make or download it again") from error


def read_plain(file, name, path):
    """Read all of what `plain_array` finds.

    Raises
    ------
    DataError
        Also if it is more than half of the memory that is available.
    """
    values = plain_array(file, name, path)
    if values.nbytes > (available_memory() or sys.maxsize) / 2:
        raise DataError(f"{path}: {name} takes {values.nbytes / 1e9:,.1f} GB, more than half of this machine's free memory")
    try:
        return values[:]
    except (OSError, RuntimeError, MemoryError) as error:
        raise DataError(f"{path}: {name} cannot be read ({error}); the file is damaged, make or download it again") from error


def text_attribute(file, name):
    """An attribute of an HDF5 file that is text; empty if there is none, or something else."""
    try:
        value = file.attrs.get(name, "")
    except (OSError, TypeError, ValueError, KeyError, RuntimeError):
        return ""
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    return value if isinstance(value, str) else ""


@dataclass(frozen=True)
class Dataset:
    """A dataset as a worker has it.

    Attributes
    ----------
    metric : Metric
    train, test : ndarray, shapes (n, d) and (q, d), float32, C-contiguous
        `train` is mapped from the file, read-only: it takes no memory beside the system's cache of the file.
    neighbors : ndarray, shape (q, min(100, n)), int32, sorted by distance
    distances : ndarray, same shape, float64
    sha256 : str, of metric, train and test
    kept : tuple of two ndarray of bool, or None
        Which rows of train and test of the file that it was made from it has, if some are left out.
    """

    metric: Metric
    train: np.ndarray
    test: np.ndarray
    neighbors: np.ndarray
    distances: np.ndarray
    sha256: str
    kept: tuple | None = None


def renumber(ids, kept):
    """An answer of others, who search all rows of a file, as one of the dataset that was made of it.

    Parameters
    ----------
    ids : ndarray, shape (q, k), row numbers of the file's train for every row of its test
    kept : as `Dataset` has it

    Returns
    -------
    ids : ndarray, shape (rows of test that the dataset has, k)
        -1 for a row that it does not have. What does not fit the file is returned as it is.
    """
    if kept is None or ids.ndim != 2 or len(ids) != len(kept[1]) or ids.dtype.kind not in "iu":
        return ids
    train, test = kept
    own = np.append(np.where(train, np.cumsum(train) - 1, -1), -1)
    return own[np.where((ids >= 0) & (ids < len(train)), ids, len(train))][test]


def check_form(shape, dtype, origin):
    """Raise DataError if an array of this shape and dtype cannot hold points."""
    if dtype.kind not in REAL:
        raise DataError(f"{origin}: dtype {dtype}; allowed are real numbers (floats and integers)")
    if len(shape) != 2 or 0 in shape:
        raise DataError(f"{origin}: shape {shape}; expected (rows, d) with at least one row and one column")


def check_points(points, metric, origin, first=0):
    """Turn an array into searchable points or say what is wrong with it.

    Parameters
    ----------
    points : ndarray, shape (rows, d), any real dtype
    metric : Metric
    origin : str, where the points come from, for the message
    first : int, number of the first row, for the message

    Returns
    -------
    points : ndarray, shape (rows, d), float32, C-contiguous, of unit length if the metric is normalised

    Raises
    ------
    DataError
    """
    check_form(points.shape, points.dtype, origin)
    with np.errstate(over="ignore"):
        points = np.ascontiguousarray(points, dtype=np.float32)

    def refuse(bad, what):
        if bad.any():
            others = f", and {bad.sum() - 1} more rows near it" if bad.sum() > 1 else ""
            raise DataError(f"{origin}: row {first + int(bad.argmax())} {what}{others}; remove or repair")

    refuse(~np.isfinite(points).all(axis=1), "is not finite in float32 (NaN, inf or over 3.4e38)")
    if metric.normalised:
        norms = np.sqrt(np.einsum("ij,ij->i", points, points, dtype=np.float64))
        refuse(norms == 0, f"is zero, which has no direction for the {metric.name} metric")
        points = (points / norms[:, None]).astype(np.float32)
    if metric.positive_first:
        refuse(points[:, 0] <= 0, f"has a first coordinate <= 0, outside the half-space of the {metric.name} metric")
    return points


def write_points(path, metric, train, test, origins=("train", "test"), **attributes):
    """Begin a dataset file with its points; the same content gives the same bytes.

    Parameters
    ----------
    path : path of the new file
    metric : Metric
    train, test : Points
    origins : where each comes from, for messages
    **attributes : str, int or float; None is left out

    Raises
    ------
    DataError
    """
    for points, origin in zip((train, test), origins, strict=True):
        check_form(points.shape, points.dtype, origin)
    if train.shape[1] != test.shape[1]:
        raise DataError(f"{origins[0]} has dimension {train.shape[1]}, test has {test.shape[1]}; they must agree")
    size, room = 4 * sum(math.prod(points.shape) for points in (train, test)), shutil.disk_usage(Path(path).parent).free
    if size > room:
        raise DataError(f"{origins[0]}: its points take {size / 1e9:,.1f} GB, and the disk has {room / 1e9:,.1f} GB; make room")
    digest = hashlib.sha256(metric.name.encode())
    # Aligned, so that pages of the file can be mapped as pages of an array.
    aligned = {"alignment_threshold": PAGE_BYTES, "alignment_interval": PAGE_BYTES}
    with h5py.File(path, "w", track_order=True, **aligned) as file:
        for name, points, origin in zip(("train", "test"), (train, test), origins, strict=True):
            written = file.create_dataset(name, points.shape, np.float32, track_times=False)
            first = 0
            for block in points.blocks:
                block = check_points(block, metric, origin, first)
                written[first : first + len(block)] = block
                digest.update(block)
                first += len(block)
            if points.kept is not None:
                file.create_dataset(f"{name}_kept", data=points.kept, track_times=False)
        # ann-benchmarks' four attributes first; its readers ignore the rest.
        known = {"distance": metric.name, "type": "dense", "dimension": train.shape[1], "point_type": "float"}
        ours = {"n": train.shape[0], "q": test.shape[0], "sha256": digest.hexdigest()}
        write_attributes(file, **known, **ours, **attributes)


def write_attributes(file, **attributes):
    for name, value in attributes.items():
        if value is not None:
            file.attrs[name] = value


def write_neighbors(path, neighbors, distances, **attributes):
    """Complete a dataset file.

    Parameters
    ----------
    path : path of a file that `write_points` began
    neighbors, distances : as in `Dataset`
    **attributes : str, int or float; None is left out
    """
    with h5py.File(path, "r+", track_order=True) as file:
        contents = {
            "neighbors": neighbors.astype(np.int32),
            "distances": distances.astype(np.float32),  # ann-benchmarks reads this one
            "distances_float64": distances,
        }
        for name, values in contents.items():
            file.create_dataset(name, data=values, track_times=False)
        write_attributes(file, **attributes)


def write_unavailable(path, metric, reason, **attributes):
    """Write a dataset file that says why there is no dataset."""
    with h5py.File(path, "w", track_order=True) as file:
        write_attributes(file, distance=metric.name, unavailable=reason, **attributes)


def map_array(path, name):
    """An array of an HDF5 file that takes no memory: read-only, mapped from the file, whose pages are read now.

    Read now, or the first to look at the points, such as a fit, would be timed with the disk.
    """
    with h5py.File(path, "r") as file:
        found = file[name]
        offset, shape, dtype = found.id.get_offset(), found.shape, found.dtype
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED | mmap.MAP_POPULATE, mmap.PROT_READ)
    return np.frombuffer(mapped, dtype, shape[0] * shape[1], offset).reshape(shape)


def read_dataset(path):
    """Read a complete dataset file.

    Returns
    -------
    Dataset

    Raises
    ------
    Unavailable
    """
    with h5py.File(path, "r") as file:
        if reason := file.attrs.get("unavailable"):
            raise Unavailable(reason)
        masks = [file[name][:] for name in ("train_kept", "test_kept") if name in file]
        return Dataset(
            metric=METRICS[file.attrs["distance"]],
            train=map_array(path, "train"),
            test=file["test"][:],
            neighbors=file["neighbors"][:],
            distances=file["distances_float64"][:],
            sha256=file.attrs["sha256"],
            kept=tuple(masks) or None,
        )
