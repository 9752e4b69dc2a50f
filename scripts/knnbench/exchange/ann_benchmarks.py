"""Results of ann-benchmarks: its HDF5 files, in and out."""

import json

import h5py
import numpy as np
import pandas as pd

from knnbench.config.settings import in_words
from knnbench.problem.datasets import renumber
from knnbench.problem.formats import read_plain, text_attribute
from knnbench.problem.points import DataError
from knnbench.problem.recall import exact_distances, score


def number_of(file, name):
    """An attribute of an HDF5 file that is a finite number, or None."""
    try:
        value = float(file.attrs.get(name, "nan"))
    except (OSError, TypeError, ValueError, KeyError, RuntimeError):
        return None
    return value if np.isfinite(value) else None


def read_ann(path, known):
    """Read one result file of ann-benchmarks: results/DATASET/K/ALGORITHM[-batch]/ARGUMENTS.hdf5.

    `best_search_time` is its mean time per query, the best of `run_count` runs; `times` are those of each query in the last.

    Parameters
    ----------
    path : Path
    known : function from the name of a dataset to a datasets.Dataset, or None if it is not here

    Returns
    -------
    found : dict, as `imported.COLUMNS` names them

    Raises
    ------
    DataError
    """
    try:
        with h5py.File(path, "r") as file:
            name = text_attribute(file, "dataset") or path.absolute().parts[-4]
            k, per_query = number_of(file, "count"), number_of(file, "best_search_time")
            if not k or k < 1 or not per_query or per_query < 0:
                raise DataError(f"{path}: it has no count and best_search_time, which every result of ann-benchmarks has")
            dataset, k, recall = known(name), int(k), None
            if dataset and k <= dataset.neighbors.shape[1]:
                ids = renumber(read_plain(file, "neighbors", path), dataset.kept)
                if ids.shape != (len(dataset.test), k) or ids.dtype.kind not in "iu":
                    raise DataError(
                        f"{path}: neighbors has shape {ids.shape} and dtype {ids.dtype}; expected {(len(dataset.test), k)} ids"
                    )
                recall = score(dataset.metric, dataset.train, dataset.test, ids, k, dataset.neighbors, dataset.distances)[
                    "recall"
                ]
            batch = bool(number_of(file, "batch_mode"))
            latencies = read_plain(file, "times", path).astype(float).ravel() if not batch else np.empty(0)
            algorithm = text_attribute(file, "algo") or path.parent.name.removesuffix("-batch")
            how = "all queries at once" if batch else "one query at a time, on one CPU"
            return {
                "dataset": name,
                "algorithm": algorithm,
                "name": text_attribute(file, "name") or algorithm,
                "device": "gpu" if "gpu" in algorithm.lower() or "cuvs" in algorithm.lower() else "cpu",
                "n_neighbors": k,
                "recall": recall,
                "seconds_per_query": per_query,
                "fit_s": number_of(file, "build_time"),
                "latencies_s": latencies[np.isfinite(latencies) & (latencies > 0)],
                "note": f"ann-benchmarks: {how}, best of {number_of(file, 'run_count') or 1:.0f}",
            }
    except (OSError, RuntimeError, ValueError, KeyError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read ({error}); expected a result file of ann-benchmarks") from error


def write_ann(path, dataset, row, ids):
    """Write one cell as ann-benchmarks does in batch mode, its fastest pass over all queries as the best run.

    Parameters
    ----------
    path : Path, the file
    dataset : datasets.Dataset
    row : dict, of timings.csv
    ids : ndarray, shape (q, k), what the cell returned
    """
    valid = (ids >= 0) & (ids < len(dataset.train))
    distances = exact_distances(dataset.metric, dataset.train, dataset.test, np.where(valid, ids, 0))
    per_query = row["query_min_s"] / len(ids)
    attributes = {
        "algo": f"{row['family']}-{row['device']}",
        "name": ", ".join([f"{row['label']} ({row['device'].upper()})", *in_words(json.loads(row["setting"]))]),
        "dataset": path.parts[-4],
        "distance": row["metric"],
        "count": int(row["n_neighbors"]),
        "batch_mode": True,
        "best_search_time": per_query,
        "run_count": int(row["repeats"]),
        "build_time": row["fit_s"],
        "index_size": (0.0 if pd.isna(row["index_bytes"]) else row["index_bytes"]) / 1024,  # its kB
        "candidates": float(valid.sum(axis=1).mean()),
        "expect_extra": False,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", track_order=True) as file:
        for name, value in attributes.items():
            file.attrs[name] = value
        contents = {
            "times": np.full(len(ids), per_query, np.float32),
            "neighbors": np.where(valid, ids, -1).astype(np.int32),
            "distances": np.where(valid, distances, np.inf).astype(np.float32),
        }
        for name, values in contents.items():
            file.create_dataset(name, data=values, track_times=False)
