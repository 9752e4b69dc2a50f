"""Results in others' formats: ann-benchmarks' HDF5 files, in and out, and cuvs-bench's JSON and CSV files, in."""

import itertools
import json
import os
import re
import statistics
from pathlib import Path

import h5py
import numpy as np
import pandas as pd

from knnbench.problem.datasets import renumber
from knnbench.problem.formats import read_plain, text_attribute
from knnbench.problem.points import DataError
from knnbench.problem.recall import exact_distances, score

# Others' results, as columns of timings.csv with `note`, what their time is.
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
)
# Columns of cuvs-bench that are no parameters of the search: what Google Benchmark says of a run, and what was measured.
MEASURED = {
    *("algo_name", "index_name", "name", "family_index", "per_family_instance_index", "run_name", "run_type", "label"),
    *("repetitions", "repetition_index", "threads", "iterations", "real_time", "cpu_time", "time_unit"),
    *("aggregate_name", "aggregate_unit", "error_occurred", "error_message", "skipped", "skip_message"),
    *("recall", "throughput", "latency", "Latency", "end_to_end", "GPU", "k", "n_queries", "total_queries"),
}
SECONDS = {"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


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
    found : dict, as `COLUMNS` names them

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


def benchmarks_of(path):
    """Rows of a JSON file of Google Benchmark, as a DataFrame."""
    return pd.DataFrame(json.loads(path.read_text(encoding="utf-8", errors="replace"))["benchmarks"])


def happened(row, what):
    """Whether a row of Google Benchmark says so, in JSON or CSV."""
    return str(row.get(what)).lower() == "true"


def build_times(path):
    """Seconds of each index that was built, in a build file of cuvs-bench."""
    times = {}
    for row in benchmarks_of(path).to_dict("records"):
        if row.get("run_type") != "aggregate" and not happened(row, "error_occurred") and not happened(row, "skipped"):
            times[row["name"].split("/")[0]] = row["real_time"] * SECONDS[row["time_unit"]]
    return times


def read_cuvs(path):
    """Read one search file of cuvs-bench: DATASET/result/search/ALGORITHM,GROUP,kK,bsBATCH.json, or the .csv made of it.

    `items_per_second` (throughput) counts queries; the recall is its own, of ids. A search that was repeated is one result, the
    medians of its repetitions.

    Returns
    -------
    found : list of dict, as `COLUMNS` names them
    left_out : list of str, what is not among them, and why; also of a build file that cannot be read, which costs `fit_s`

    Raises
    ------
    DataError
    """
    stem = path.name.split(",raw")[0].removesuffix(".json").removesuffix(".csv")
    in_name = {key: int(value) for key, value in re.findall(r"(?:^|,)(k|bs)(\d{1,9})(?=,|$)", stem)}
    built = path.parent.parent / "build" / f"{','.join(stem.split(',')[:2])}.json"
    left_out = []
    try:
        if path.suffix == ".json":
            rows = benchmarks_of(path).rename(columns={"Recall": "recall", "items_per_second": "throughput"})
            if rows.empty:
                return [], [f"{path}: there is no search in it"]
            rows["index_name"] = rows["name"].str.split("/").str[0]
            try:
                times = build_times(built) if built.is_file() else {}
            except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                times = {}
                left_out.append(f"{built}: cannot be read ({error!r}); the times of its builds are missing")
            rows["build time"] = rows["index_name"].map(times)
        else:
            rows = pd.read_csv(path, encoding_errors="replace")
        numbered = list(enumerate(rows[["index_name", *rows.columns.drop("index_name")]].to_dict("records"), 1))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError, pd.errors.ParserError) as error:
        raise DataError(
            f"{path}: cannot be read ({error!r}); expected search results of cuvs-bench, JSON or ,raw.csv"
        ) from error
    searches = {}
    for number, row in numbered:
        try:
            search, numbers = search_of(row, in_name), numbers_of(row)
            searches.setdefault(search, []).append(numbers)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            left_out.append(f"{path}: row {number}, {row['index_name']}: {error}")
    algorithm = stem.split(",")[0]
    on_gpu = re.search(r"cuvs|gpu|raft|ggnn", algorithm) and not re.search(
        r"hnswlib|diskann", algorithm
    )  # are searched by CPUs
    found = []
    for (name, k, batch), repetitions in searches.items():
        throughput, recall, fit = (middle(values) for values in zip(*repetitions, strict=True))
        notes = [f"batches of {batch}"] * bool(batch) + ["its own recall"]
        notes += [f"median of {len(repetitions)} repetitions"] * (len(repetitions) > 1)
        found.append(
            {
                "dataset": path.absolute().parts[-4],
                "algorithm": algorithm,
                "name": name,
                "device": "gpu" if on_gpu else "cpu",
                "n_neighbors": k,
                "recall": recall,
                "seconds_per_query": 1 / throughput,
                "fit_s": fit,
                "latencies_s": np.empty(0),
                "note": f"cuvs-bench: {', '.join(notes)}",
            }
        )
    return found, left_out


def search_of(row, in_name):
    """What a row of cuvs-bench searched: its index with the parameters of the search, K, and the queries of a call, or 0.

    Raises
    ------
    ValueError
        It is no search, or one that failed; the message says which.
    """
    if row.get("run_type") == "aggregate":
        raise ValueError(f"it is the {row.get('aggregate_name')} of other rows")
    if happened(row, "error_occurred"):
        raise ValueError(f"the search failed: {row.get('error_message')}")
    if happened(row, "skipped"):
        raise ValueError(f"the search was skipped: {row.get('skip_message')}")
    if pd.isna(row["index_name"]):
        raise ValueError("it has no name")
    k, batch = (int(row[key] if pd.notna(row.get(key)) else 0) for key in ("k", "n_queries"))
    k, batch = k or in_name.get("k", 0), in_name.get("bs") or batch
    if k < 1:
        raise ValueError(f"K = {k}")
    # Parameters of the index are in its name; they and its times follow "build time". Clients at once are one, or a parameter.
    search = dict(itertools.takewhile(lambda item: item[0] != "build time", row.items()))
    search = {key: value for key, value in search.items() if key not in MEASURED or (key == "threads" and value != 1)}
    # Beside a row that lacks it, a whole number is a float.
    whole = {key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in search.items()}
    arguments = [f"{key}={value}" for key, value in whole.items() if pd.notna(value)]
    return " ".join([str(row["index_name"]), *arguments]), k, batch


def numbers_of(row):
    """Throughput, recall and build time of a row of cuvs-bench; the last two may be None.

    Raises
    ------
    ValueError, TypeError
    """
    throughput, recall, fit = (float(row[key]) if key in row else np.nan for key in ("throughput", "recall", "build time"))
    if not 0 < throughput < np.inf or recall < 0 or recall > 1:
        raise ValueError(f"throughput {throughput}, recall {recall}")
    return throughput, None if np.isnan(recall) else recall, fit if 0 <= fit < np.inf else None


def middle(values):
    """Median of what is known, or None."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


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
    """Files of others' results below a folder.

    Returns
    -------
    ann : list of Path, DATASET/K/ALGORITHM/*.hdf5
    cuvs : list of list of Path, DATASET/result/search/*.json, each with the ,raw.csv made of it: one of them is enough
    others : list of Path, what else is beside those of cuvs-bench
    """
    files = sorted(path for path in Path(folder).rglob("*") if os.path.isfile(path))
    ann = [path for path in files if path.suffix == ".hdf5" and len(path.relative_to(folder).parts) >= 4]
    cuvs, others = {}, []
    for path in files:
        if (path.parent.name, path.parent.parent.name) == ("search", "result"):
            if path.suffix == ".json" or path.name.endswith(",raw.csv"):
                cuvs.setdefault(path.with_name(path.name.removesuffix(".json").removesuffix(",raw.csv")), []).append(path)
            else:
                others.append(path)
    return ann, [sorted(paths, key=lambda path: path.suffix != ".json") for paths in cuvs.values()], others
