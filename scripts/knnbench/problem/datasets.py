"""The dataset file: checked points with their exact neighbours, in the HDF5 layout of ann-benchmarks plus our attributes."""

import hashlib
import json
import mmap
import shutil
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from knnbench.problem.metrics import Metric
from knnbench.problem.own_metrics import metric_of
from knnbench.problem.points import DataError, check_form, check_points

PAGE_BYTES = 4096
TRUTH_K = 100  # exact neighbours that are kept of every query, unless datasets.truth_k says otherwise


class Unavailable(Exception):
    """The dataset could not be had; the message says why."""


@dataclass(frozen=True)
class Dataset:
    """A dataset as a worker has it.

    Attributes
    ----------
    metric : Metric
    train, test : ndarray, shapes (n, d) and (q, d), float32, C-contiguous
        `train` is mapped from the file, read-only: it takes no memory beside the system's cache of the file.
    neighbors : ndarray, shape (q, min(truth_k, n)), int32, sorted by distance
    distances : ndarray, same shape, float64
    sha256 : str, of metric, train and test
    kept : tuple of two ndarray of bool, or None
        Which rows of train and test of the file that it was made from it has, if some are left out.
    own : ndarray, shape (q,), int64, ascending, or None
        Which points the queries are, where they are asked for their neighbours among the others.
    """

    metric: Metric
    train: np.ndarray
    test: np.ndarray
    neighbors: np.ndarray
    distances: np.ndarray
    sha256: str
    kept: tuple | None = None
    own: np.ndarray | None = None


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


def write_points(path, metric, train, test, origins=("train", "test"), own=None, defined="", **attributes):
    """Begin a dataset file with its points; the same content gives the same bytes.

    Parameters
    ----------
    path : path of the new file
    metric : Metric
    train, test : Points; `test` is None where points are their own queries
    origins : where each comes from, for messages
    own : as `Dataset` has it
    defined : str, what a metric of the user's own is (`own_metrics.content_of`): two of one name are not the same problem
    **attributes : str, int or float; None is left out

    Raises
    ------
    DataError
    """
    parts = {"train": train} if own is not None else {"train": train, "test": test}
    for points, origin in zip(parts.values(), origins, strict=False):
        check_form(points.shape, points.dtype, origin)
    if own is None and train.shape[1] != test.shape[1]:
        raise DataError(f"{origins[0]} has dimension {train.shape[1]}, test has {test.shape[1]}; they must agree")
    q = test.shape[0] if own is None else len(own)
    size, room = 4 * (train.shape[0] + q) * train.shape[1], shutil.disk_usage(Path(path).parent).free
    if size > room:
        raise DataError(f"{origins[0]}: its points take {size / 1e9:,.1f} GB, and the disk has {room / 1e9:,.1f} GB; make room")
    digest = hashlib.sha256((metric.name + defined).encode())
    # Aligned, so that pages of the file can be mapped as pages of an array.
    aligned = {"alignment_threshold": PAGE_BYTES, "alignment_interval": PAGE_BYTES}
    with h5py.File(path, "w", track_order=True, **aligned) as file:
        for (name, points), origin in zip(parts.items(), origins, strict=False):
            first = 0
            for block in points.blocks:
                block = check_points(block, metric, origin, first, points.kept)
                if not first:  # a metric may prepare points of another dimension
                    written = file.create_dataset(name, (points.shape[0], block.shape[1]), np.float32, track_times=False)
                written[first : first + len(block)] = block
                digest.update(block)
                first += len(block)
            if points.kept is not None:
                file.create_dataset(f"{name}_kept", data=points.kept, track_times=False)
        if own is not None:
            file.flush()
            file.create_dataset("test", data=map_array(path, "train")[own], track_times=False)
            file.create_dataset("own", data=own, track_times=False)
            digest.update(own)
        # ann-benchmarks' four attributes first; its readers ignore the rest.
        known = {"distance": metric.name, "type": "dense", "dimension": file["train"].shape[1], "point_type": "float"}
        ours = {"n": train.shape[0], "q": q, "sha256": digest.hexdigest()}
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
    **attributes : str, int, float or array; None is left out
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


def metric_in(file):
    """The metric of a dataset file, shipped or the user's own.

    Parameters
    ----------
    file : h5py.File
    """
    entry = json.loads(file.attrs["settings"]).get("metric_entry") if "settings" in file.attrs else None
    return metric_of(file.attrs["distance"], entry)


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
        own = file["own"][:] if "own" in file else None
        masks = [file[name][:] for name in ("train_kept", "test_kept") if name in file and own is None]
        return Dataset(
            metric=metric_in(file),
            train=map_array(path, "train"),
            test=file["test"][:],
            neighbors=file["neighbors"][:],
            distances=file["distances_float64"][:],
            sha256=file.attrs["sha256"],
            kept=tuple(masks) or None,
            own=own,
        )
