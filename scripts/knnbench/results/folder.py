"""Read what a run left in its folder: results/SUITE, results/merged, or one of published/."""

import contextlib
import json
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from knnbench.config.settings import in_words, points_of
from knnbench.config.suite import LATER
from knnbench.measure.statuses import SCHEMA_VERSION
from knnbench.results.curves import place_of, standing
from knnbench.results.machines import by_machine, machine_words, text_of
from knnbench.results.older import with_intervals
from knnbench.results.pairs import compare
from knnbench.results.samples import with_queries
from knnbench.results.tables import BATCH, CALLER, COMPARISON, DATASET, controls_apart, flagged, read_csv, read_rows, told
from knnbench.results.words import name_of
from knnbench.system.archive import ArchiveError, unpack

# Columns of timings.csv that were added after version 1, and those of tables that came later.
ADDED = (  # noqa: SIM905
    "attempts ceiling_fraction cpu_joules_per_query device_fit_bytes device_loaded_bytes device_query_bytes distance_error"
    " flags governor gpu_celsius gpu_joules_per_query gpu_slowed_by gpu_sm_mhz index index_bytes least_bytes"
    " least_operations others_cpus prunes single_calls single_first_s single_p50_s single_p95_s single_p99_s"
    " wrong_neighbors cell_s compile_s queries_timed fit_low_s fit_high_s recall_low recall_high recall_p05 recall_p25"
    " recall_p50 recall_zero control precision family setting ended query_interval query_freedom fit_freedom"
    " machine_speed device_bytes_of first_queries threads_asked cores"
).split()
MODERATED_SINCE = 4  # version of timings.csv
EMPTY = {"comparisons": COMPARISON, "batches": BATCH, "datasets": DATASET, "controls": ("control",), "callers": CALLER}


@dataclass(frozen=True)
class Results:
    """Tables of a folder.

    Attributes
    ----------
    config : dict, the saved configuration
    points, comparisons, batches, samples, datasets, callers : DataFrame, the CSV files
        `points` is timings.csv, which also has `name` in words, `at` (the setting in words), `curve` (family-device), `build`
        (whose job measured it), `machine` in words, the interval of `queries_per_s`, `memory_bytes`, and two flags as columns:
        `subset`, and `over` (over the page's limits). Rows of a CPU stand with every GPU beside it, rows of cells that got no
        job with every machine. It has no controls.
    timings : DataFrame, of `points` those that stand for their families (curves.standing): one row for each at one K
    controls : DataFrame, of controls.csv: rows of backends that bound the others, with the same columns
    """

    config: dict
    points: pd.DataFrame
    timings: pd.DataFrame
    controls: pd.DataFrame
    comparisons: pd.DataFrame
    batches: pd.DataFrame
    samples: pd.DataFrame
    datasets: pd.DataFrame
    callers: pd.DataFrame


@contextlib.contextmanager
def opened(path):
    """A folder of results for a while: `path` itself, or what an artifact.zip has.

    Raises
    ------
    SystemExit
        The archive cannot be unpacked, or has no results.
    """
    if path.suffix != ".zip":
        yield path
        return
    with tempfile.TemporaryDirectory() as place:
        try:
            unpack(path, place)
        except ArchiveError as error:
            raise SystemExit(str(error)) from error
        found = list(Path(place).glob("published/*/timings.csv"))
        if len(found) != 1:
            raise SystemExit(f"{path}: it has {len(found)} folders of results in published/; an artifact.zip has one")
        yield found[0].parent


def read_table(folder, name):
    """Read a CSV file of a folder, compressed or not.

    Raises
    ------
    SystemExit
        There is none.
    """
    path = next((path for path in (folder / f"{name}.csv", folder / f"{name}.csv.gz") if path.exists()), None)
    old = f"{name}.csv" in LATER or (
        name in EMPTY and read_table(folder, "timings")["from_version"].max() == 1
    )  # there was none
    if path is None and old:
        return pd.DataFrame(columns=EMPTY[name])
    if path is None:
        raise SystemExit(f"{folder}: there is no {name}.csv; expected results/SUITE of a run, or a folder of published/")
    try:
        table = (read_rows if name == "timings" else read_csv)(path)
    except (ValueError, OSError, EOFError, zlib.error, OverflowError) as error:  # ParserError, UnicodeDecodeError and others
        raise SystemExit(f"{path}: cannot be read ({str(error)[:300]}); get another copy, or gather it again") from error
    table = upgrade(path, name, table)
    if name == "samples":
        return with_queries(table, read_table(folder, "timings"))
    return table


def read_timings(folder):
    """Read timings.csv; of results older than moderated intervals, with those that their samples give."""
    timings = read_table(folder, "timings")
    if timings["from_version"].max() >= MODERATED_SINCE:
        return timings
    return with_intervals(timings, read_table(folder, "samples"))


def upgrade(path, name, table):
    """Bring a table of an earlier version to today's columns; what was not known then is empty.

    Raises
    ------
    SystemExit
        It is of a later version, or has no version.
    """
    if name == "samples" and "query_s" in table:  # version 1: all queries at once, in calls that were not looped
        table = table.rename(columns={"query_s": "seconds"}).assign(batch=float("nan"), loops=1)
    if name == "batches":
        return told(table)
    if name != "timings":
        return table
    versions = set(table.get("schema_version", ()))
    if not versions or not versions <= set(range(1, SCHEMA_VERSION + 1)):
        words = ", ".join(map(str, versions)) or "missing"
        raise SystemExit(
            f"{path}: schema_version is {words}, this knnbench reads 1 to {SCHEMA_VERSION}; take a newer one, or gather again"
        )
    parameters = table["parameters"].astype(str)
    known = {name: None for name in ADDED if name not in table}
    once = {
        "index": "in the cell",
        "single_calls": 0,
        "attempts": 1,
        "prunes": parameters.str.contains("kd_tree|ball_tree|auto"),
        "queries_timed": table["queries"].where(table["query_median_s"].notna()),
        "control": False,
        "family": table["backend"],
        "setting": "{}",
    }
    known |= {name: value for name, value in once.items() if name in known}
    if 1 in versions:
        known |= {name: table[name] - table["loaded_bytes"] for name in ("fit_bytes", "query_bytes")}  # which were included
    return told(table.assign(**known, from_version=table["schema_version"], schema_version=SCHEMA_VERSION), "single_")


def read(folder):
    """Read the tables of a folder.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Results

    Raises
    ------
    SystemExit
        A table is missing.
    """
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    tables = {name: read_table(folder, name) for name in ("comparisons", "batches", "samples")}
    timings = read_timings(folder)
    ran = [row for row in timings.to_dict("records") if pd.notna(row["cpu"])]
    for table in tables.values():
        if "machine" not in table:  # results older than that column are of one machine
            table["machine"] = machine_words(text_of(ran[0])) if ran else ""
    timings = pd.concat([rows.assign(machine=words) for words, rows in by_machine(timings)])
    host, device = (
        timings[[f"{place}{part}_bytes" for part in ("loaded", "fit", "query")]].sum(axis=1, min_count=1)
        for place in ("", "device_")
    )
    timings = timings.assign(
        name=[name_of(row) for row in timings.to_dict("records")],
        curve=timings["family"] + "-" + timings["device"],
        at=[", ".join(in_words(json.loads(setting))) for setting in timings["setting"]],
        build=timings["backend"].map({name: point["build"] for name, point in points_of(config["backends"]).items()}),
        queries_per_s_low=timings["queries"] / timings["query_high_s"],
        queries_per_s_high=timings["queries"] / timings["query_low_s"],
        memory_bytes=host,
        device_memory_bytes=device,
        subset=flagged(timings, "subset"),
        over=flagged(timings, "over_page_limit"),
    )
    points, controls = controls_apart(timings)
    if timings["from_version"].max() < MODERATED_SINCE:
        tables["comparisons"] = pd.DataFrame(compare(timed(points), config["timing"]), columns=COMPARISON)
    tables |= {name: read_table(folder, name) for name in ("datasets", "callers")}
    return Results(config, points, stand(points), controls, **tables)


def stand(points):
    """Of rows of timings.csv, those that stand for their families."""
    rows = points.astype(object).where(points.notna(), None).to_dict("records")
    chosen = set(standing(rows))
    return points[[place_of(row) in chosen for row in rows]]


def timed(points):
    """Of rows of timings.csv, those that are compared: dicts of those that stand for their families and have a time."""
    return [text_of(row) for row in stand(points).dropna(subset=["query_median_s"]).to_dict("records")]
