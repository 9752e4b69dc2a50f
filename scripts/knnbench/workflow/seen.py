"""Cells that were measured before, here and elsewhere: what a plan is made from."""

import json
import math
import statistics
from dataclasses import dataclass

import pandas as pd

from knnbench.config.settings import points_of
from knnbench.measure.statuses import NOT_RUN
from knnbench.results.calls import at_point
from knnbench.results.tables import read_csv

# Seconds, measured on two CPU cores.
NO_INDEX_S = 0.2  # a cell whose index could not be built
START_S = 0.3  # of a cell, besides what its size decides: its interpreters, the first single queries
METRIC_WEIGHT = 3.0  # another metric is as far as e³ times the work
ELSEWHERE_WEIGHT = 1.0  # another machine is as far as e times the work


@dataclass(frozen=True)
class Seen:
    """A cell that was measured, here or elsewhere; seconds, None where it did not get so far."""

    backend: str
    device: str
    metric: str
    n: int
    d: int
    q: int
    k: int
    status: str
    before_s: float
    fit_s: float | None
    compile_s: float
    query_s: float | None
    after_s: float
    here: bool


def passes_s(query_s, timing):
    """Seconds of the repeats of a pass, which asks fewer queries if it takes too long with all."""
    query_s = min(query_s, timing["pass_s"])
    return max(timing["min_repeats"] * query_s, min(timing["budget_s"], timing["max_repeats"] * query_s))


def from_row(row, timing):
    """A row of timings.csv, residency host, as a cell that was seen; None if it got no job or no dataset."""
    known = {key: None if pd.isna(value) else value for key, value in row.items()}
    if known["cpu"] is None or known["n"] is None:
        return None
    cell_s = known["cell_s"] or NO_INDEX_S
    before = (known["import_s"] or 0) + (known["load_s"] or 0)
    inside = known["fit_s"] or 0 if known["index"] == "in the cell" else 0
    query = known["query_median_s"]
    timed = 0 if query is None else (known["first_query_s"] or 0) + passes_s(query, timing)
    timed += (known["compile_s"] or 0) + inside
    return Seen(
        **{key: known[key] for key in ("backend", "device", "metric", "status")},
        **{"n": int(known["n"]), "d": int(known["d"]), "q": int(known["queries"]), "k": int(known["n_neighbors"])},
        before_s=before,
        fit_s=known["fit_s"],
        compile_s=known["compile_s"] or 0,
        query_s=query,
        # Starting, single queries, scoring.
        after_s=max(0.0, cell_s - before - timed) if query is not None else START_S / 2,
        here=known["here"],
    )


def from_record(record, backend, device):
    """A record of results/cells as a row of timings.csv, as far as `from_row` looks; None if it read no dataset.

    Of a cell with points, a cell of its middle one.
    """
    if "cell_s" not in record or "dataset" not in record:
        return None
    if points := record.get("points"):
        done = sorted(
            (point for point in points.values() if "query_ns" in point), key=lambda point: point["query_ns"]["host"][0]
        )
        number = list(points.values()).index(done[len(done) // 2]) if done else 0
        record = at_point(record, list(points)[number]) | {"cell_s": record["cell_s"] / len(points)}
    phases = {name: ns / 1e9 for name, ns in record.get("phases_ns", {}).items()}
    dataset, samples = record["dataset"], record.get("query_ns", {}).get("host", [])
    finished = samples and record["status"] not in NOT_RUN
    fit = sum(phases.get(name, 0) for name in ("transfer", "train", "add")) if "add" in phases else None
    return {
        "backend": backend,
        "device": device,
        "metric": dataset["metric"],
        "status": record["status"],
        "n": dataset["n"],
        "d": dataset["d"],
        "queries": dataset["queries"],
        "n_neighbors": record["n_neighbors"],
        "cpu": record["machine"]["cpu"],
        "cell_s": record["cell_s"],
        "import_s": phases.get("import"),
        "load_s": phases.get("load", 0) + phases.get("load_index", 0),
        "fit_s": fit,
        "index": "saved" if "load_index" in phases else "in the cell",
        "compile_s": phases.get("compile"),
        "first_query_s": phases.get("first_query"),
        "query_median_s": statistics.median(samples) / 1e9 * dataset["queries"] / record["queries_timed"] if finished else None,
    }


def read_seen(cells_folder, published, timing, machine, backends):
    """All cells that were measured on this machine, and those of `published`; of a cell with points, a cell of its middle one.

    Parameters
    ----------
    cells_folder : Path of results/cells
    published : Path of published/
    timing : dict, the section of the configuration
    machine : dict, from machine.describe
    backends : dict, of the configuration: rows of their points are of them

    Returns
    -------
    seen : dict, backend -> list of Seen
    """
    rows = []
    builds = {name: point["build"] for name, point in points_of(backends).items()}
    for path in sorted(cells_folder.glob("*/*/k*.round*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        backend, device = path.parent.name.rsplit("-", 1)
        here = all(record["machine"].get(key) == machine[key] for key in ("node", "cpu"))
        row = from_record(record | {"n_neighbors": int(path.name[1:].split(".")[0])}, backend, device) if here else None
        rows += [row | {"here": True}] if row else []
    for path in sorted(published.glob("*/timings.csv")):
        timings = read_csv(path)
        timings = timings[timings["residency"] == "host"].assign(here=False)
        timings["backend"] = timings["backend"].map(lambda name: builds.get(name, name))
        for _, points in timings.groupby(["dataset", "backend", "device", "n_neighbors"], sort=False):
            middle = points.sort_values("query_median_s", ignore_index=True).iloc[points["query_median_s"].count() // 2]
            rows.append(middle.to_dict() | {"cell_s": middle["cell_s"] / len(points)})
    seen = {}
    for found in filter(None, (from_row(row, timing) for row in rows)):
        seen.setdefault(found.backend, []).append(found)
    return seen


def nearest(seen, device, size, k):
    """The cell of a device that is most like another one, by its metric, work, dimension and K; None without any."""

    def distance(other):
        work = abs(math.log(size.n * size.q * size.d / (other.n * other.q * other.d)))
        return (
            work
            + abs(math.log(size.d / other.d)) / 2
            + abs(math.log(k / other.k)) / 5
            + METRIC_WEIGHT * (size.metric != other.metric)
            + ELSEWHERE_WEIGHT * (not other.here)
        )

    there = [other for other in seen if other.device == device]
    same = [other for other in there if other.metric == size.metric]
    if same and all(other.status == "unsupported" for other in same):
        return same[0]
    return min(there, key=distance, default=None)
