"""The dataset file: checked points with their exact neighbours, in the HDF5 layout of ann-benchmarks plus our attributes."""

import hashlib
from dataclasses import dataclass

import h5py
import numpy as np

from knnbench.metrics import METRICS, Metric

REAL = "fiub"  # kinds of dtype that are searched, as float32


class DataError(ValueError):
    """Points that cannot be searched; the message names the source, the row and the next step."""


@dataclass(frozen=True)
class Dataset:
    """A dataset in memory.

    Attributes
    ----------
    metric : Metric
    train, test : ndarray, shapes (n, d) and (q, d), float32, C-contiguous
    neighbors : ndarray, shape (q, min(100, n)), int32, sorted by distance
    distances : ndarray, same shape, float64
    sha256 : str, of metric, train and test
    """

    metric: Metric
    train: np.ndarray
    test: np.ndarray
    neighbors: np.ndarray
    distances: np.ndarray
    sha256: str


def check_points(points, metric, origin):
    """Turn an array into searchable points or say what is wrong with it.

    Parameters
    ----------
    points : array_like, shape (rows, d), any real dtype
    metric : Metric
    origin : str, where the points come from, for the message

    Returns
    -------
    points : ndarray, shape (rows, d), float32, C-contiguous, of unit length if the metric is normalised

    Raises
    ------
    DataError
    """
    points = np.asarray(points)
    if points.dtype.kind not in REAL:
        raise DataError(f"{origin}: dtype {points.dtype}; allowed are real numbers (floats and integers)")
    if points.ndim != 2 or 0 in points.shape:
        raise DataError(f"{origin}: shape {points.shape}; expected (rows, d) with at least one row and one column")
    with np.errstate(over="ignore"):
        points = np.ascontiguousarray(points, dtype=np.float32)

    def refuse(bad, what):
        if bad.any():
            row = int(bad.argmax())
            others = f", and {bad.sum() - 1} more rows" if bad.sum() > 1 else ""
            raise DataError(f"{origin}: row {row} {what}{others}; remove or repair")

    refuse(~np.isfinite(points).all(axis=1), "is not finite in float32 (NaN, inf or over 3.4e38)")
    if metric.normalised:
        norms = np.sqrt(np.einsum("ij,ij->i", points, points, dtype=np.float64))
        refuse(norms == 0, f"is zero, which has no direction for the {metric.name} metric")
        points = (points / norms[:, None]).astype(np.float32)
    if metric.positive_first:
        refuse(points[:, 0] <= 0, f"has a first coordinate <= 0, outside the half-space of the {metric.name} metric")
    return points


def write_dataset(path, metric, train, test, neighbors, distances, **attributes):
    """Write a dataset file; the same content gives the same bytes.

    Parameters
    ----------
    path : path of the new file
    metric : Metric
    train, test, neighbors, distances : as in `Dataset`
    **attributes : str, int or float; None is left out
    """
    digest = hashlib.sha256(metric.name.encode())
    for points in (train, test):
        digest.update(points)
    # ann-benchmarks' four datasets and four attributes first; its readers ignore the rest.
    contents = {
        "train": train,
        "test": test,
        "neighbors": neighbors.astype(np.int32),
        "distances": distances.astype(np.float32),
        "distances_float64": distances,
    }
    known = {"distance": metric.name, "type": "dense", "dimension": train.shape[1], "point_type": "float"}
    ours = {"n": len(train), "q": len(test), "sha256": digest.hexdigest()}
    with h5py.File(path, "w", track_order=True) as file:
        for name, values in contents.items():
            file.create_dataset(name, data=values, track_times=False)
        for name, value in (known | ours | attributes).items():
            if value is not None:
                file.attrs[name] = value


def read_dataset(path):
    """Read a dataset file that `write_dataset` wrote.

    Returns
    -------
    Dataset
    """
    with h5py.File(path, "r") as file:
        return Dataset(
            metric=METRICS[file.attrs["distance"]],
            train=file["train"][:],
            test=file["test"][:],
            neighbors=file["neighbors"][:],
            distances=file["distances_float64"][:],
            sha256=file.attrs["sha256"],
        )
