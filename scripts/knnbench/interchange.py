"""Results in others' formats: ann-benchmarks' HDF5 files, in and out, and cuvs-bench's JSON and CSV files, in."""

import itertools
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from knnbench.datasets import DataError, read_plain, text_attribute
from knnbench.recall import exact_distances, score

# Others' results, as columns of timings.csv with `note`, what their time is, and `error`, why there is none, or empty.
COLUMNS = (
    "dataset",
    "algorithm",
    "name",
    "device",
    "n_neighbors",
    "recall",
    "seconds_per_query",
    "fit_s",
    "latencies_s",
    "note",
    "error",
)
# Columns of cuvs-bench that are no parameters of the search.
MEASURED = set(  # noqa: SIM905
    "algo_name index_name name recall throughput latency Latency k n_queries total_queries end_to_end GPU label family_index"
    " per_family_instance_index run_name run_type repetitions repetition_index threads iterations real_time cpu_time time_unit"
    " error_occurred error_message".split()
)


def number_of(file, name):
    """An attribute of an HDF5 file that is a finite number, or None."""
    try:
        value = float(file.attrs.get(name, "nan"))
    except (OSError, TypeError, ValueError, KeyError, RuntimeError):
        return None
    return value if np.isfinite(value) else None


def read_ann(path, folder, known):
    """Read one result file of ann-benchmarks: results/DATASET/K/ALGORITHM[-batch]/ARGUMENTS.hdf5.

    `best_search_time` is its mean time per query, the best of `run_count` runs; `times` are those of each query in the last.

    Parameters
    ----------
    path, folder : Path, the file and the folder `results` that it is below
    known : function from the name of a dataset to a datasets.Dataset, or None if it is not here

    Returns
    -------
    found : dict, as `COLUMNS` names them

    Raises
    ------
    DataError
    """
    try:
        with h5py.File(path, "r") as file:
            name = text_attribute(file, "dataset") or path.relative_to(folder).parts[0]
            k, per_query = number_of(file, "count"), number_of(file, "best_search_time")
            if not k or k < 1 or not per_query or per_query < 0:
                raise DataError(f"{path}: it has no count and best_search_time, which every result of ann-benchmarks has")
            dataset, k, recall = known(name), int(k), None
            if dataset and k <= dataset.neighbors.shape[1]:
                ids = read_plain(file, "neighbors", path)
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
                "error": "",
            }
    except (OSError, RuntimeError, ValueError, KeyError, MemoryError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: cannot be read ({error}); expected a result file of ann-benchmarks") from error


def read_cuvs(path):
    """Read one search file of cuvs-bench: DATASET/result/search/ALGORITHM,GROUP,kK,bsBATCH.json, or the .csv made of it.

    `items_per_second` (throughput) counts queries; the recall is its own, of ids.

    Returns
    -------
    found : list of dict, as `COLUMNS` names them

    Raises
    ------
    DataError
    """
    stem = path.name.split(",raw")[0].removesuffix(".json").removesuffix(".csv")
    in_name = {key: int(value) for key, value in re.findall(r"(?:^|,)(k|bs)(\d{1,9})(?=,|$)", stem)}
    build = path.parent.parent / "build" / ",".join(stem.split(",")[:2])
    try:
        if path.suffix == ".json":
            rows = pd.DataFrame(json.loads(path.read_text(encoding="latin-1"))["benchmarks"])
            rows = rows.rename(columns={"Recall": "recall", "items_per_second": "throughput"})
            rows["index_name"] = rows["name"].str.split("/").str[0]
            built = build.with_name(f"{build.name}.json")
            if built.is_file():
                builds = pd.DataFrame(json.loads(built.read_text(encoding="latin-1"))["benchmarks"])
                scale = builds["time_unit"].map({"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9})
                times = dict(zip(builds["name"].str.split("/").str[0], builds["real_time"] * scale, strict=True))
                rows["build time"] = rows["index_name"].map(times)
        else:
            rows = pd.read_csv(path)
        found = []
        for row in rows.to_dict("records"):
            failed = row.get("error_occurred") in (True, "True")
            throughput, recall = (np.nan, np.nan) if failed else (float(row["throughput"]), float(row["recall"]))
            k = int(row.get("k") if pd.notna(row.get("k")) else in_name["k"])
            if k < 1 or not (failed or (0 < throughput < np.inf and 0 <= recall <= 1)):
                raise ValueError(f"throughput {throughput}, recall {recall}, K = {k}")
            batch = in_name.get("bs") or int(row.get("n_queries") or 0)
            algorithm = stem.split(",")[0]
            # Parameters of the index are in its name; they and its times follow "build time".
            search = itertools.takewhile(lambda item: item[0] != "build time", row.items())
            arguments = [f"{key}={value}" for key, value in search if key not in MEASURED and pd.notna(value)]
            fit = row.get("build time")
            found.append(
                {
                    "dataset": path.parent.parent.parent.name,
                    "algorithm": algorithm,
                    "name": " ".join([str(row["index_name"]), *arguments]),
                    "device": "gpu" if re.search(r"cuvs|gpu|raft|ggnn", algorithm) else "cpu",
                    "n_neighbors": k,
                    "recall": None if failed else recall,
                    "seconds_per_query": None if failed else 1 / throughput,
                    "fit_s": float(fit) if fit is not None and pd.notna(fit) else None,
                    "latencies_s": np.empty(0),
                    "note": f"cuvs-bench: batches of {batch}, its own recall" if batch else "cuvs-bench: its own recall",
                    "error": str(row.get("error_message")) if failed else "",
                }
            )
        return found
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError, pd.errors.ParserError) as error:
        raise DataError(
            f"{path}: cannot be read ({error!r}); expected search results of cuvs-bench, JSON or ,raw.csv"
        ) from error


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
        "algo": f"{row['backend']}-{row['device']}",
        "name": f"{row['label']} ({row['device'].upper()})",
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


def results_in(folder):
    """Files of others' results below a folder: (those of ann-benchmarks, those of cuvs-bench)."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    ann = [path for path in files if path.suffix == ".hdf5" and len(path.relative_to(folder).parts) >= 4]
    search = [path for path in files if path.parent.name == "search" and path.parent.parent.name == "result"]
    as_json = [path for path in search if path.suffix == ".json"]
    stems = {path.with_suffix("") for path in as_json}
    as_csv = [
        path
        for path in search
        if path.name.endswith(",raw.csv") and path.with_name(path.name.removesuffix(",raw.csv")) not in stems
    ]
    return ann, as_json + as_csv
