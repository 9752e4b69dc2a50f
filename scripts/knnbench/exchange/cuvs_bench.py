"""Results of cuvs-bench: its JSON and CSV files, in."""

import itertools
import json
import re
import statistics

import numpy as np
import pandas as pd

from knnbench.problem.points import DataError

# Columns of cuvs-bench that are no parameters of the search: what Google Benchmark says of a run, and what was measured.
MEASURED = {
    *("algo_name", "index_name", "name", "family_index", "per_family_instance_index", "run_name", "run_type", "label"),
    *("repetitions", "repetition_index", "threads", "iterations", "real_time", "cpu_time", "time_unit"),
    *("aggregate_name", "aggregate_unit", "error_occurred", "error_message", "skipped", "skip_message"),
    *("recall", "throughput", "latency", "Latency", "end_to_end", "GPU", "k", "n_queries", "total_queries"),
}
SECONDS = {"s": 1, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


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
    found : list of dict, as `imported.COLUMNS` names them
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
