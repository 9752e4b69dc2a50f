"""Files of others: open their arrays without trusting them, and say what is wrong in words."""

import os
import sys

import h5py
import numpy as np

from knnbench.problem.points import REAL, DataError
from knnbench.system.machine import available_memory

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
    name : str, with slashes if it lies in a group
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
        values = file
        for part in name.strip("/").split("/"):
            if not isinstance(values, h5py.Group) or part not in set(values):
                there = sorted(values)[:20] if isinstance(values, h5py.Group) else "numbers"
                raise DataError(
                    f"{path}: has no dataset {name!r}, only {there}; an HDF5 source needs train and test, or says what is meant"
                )
            if not isinstance(values.get(part, getlink=True), h5py.HardLink):
                raise DataError(
                    f"{path}: {name} is a link to what is elsewhere, which is not followed; copy the array into the file"
                )
            values = values[part]
        if isinstance(values, h5py.Group) and {"indptr", "indices"} <= set(values):
            raise DataError(f"{path}: {name} is a sparse matrix; take rows of numbers, such as obsm/X_pca of AnnData")
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
