"""Results of several machines as one set of tables, each row with its origin."""

import json

import pandas as pd
import yaml

from knnbench.config.suite import AUTO
from knnbench.measure.statuses import SCHEMA_VERSION
from knnbench.results.folder import read_timings, stand
from knnbench.results.machines import machine_words
from knnbench.results.moderation import INTERVALS
from knnbench.results.pairs import compare
from knnbench.results.samples import with_queries
from knnbench.results.tables import CALLER, COMPARISON, DATASET, WORDS, read_csv, read_rows, told, with_names_apart, write_rows
from knnbench.results.words import summarise

CELL = ["dataset", "backend", "device", "n_neighbors", "residency", "machine"]


def read(source, name):
    """A table of a source, with the source in the column origin."""
    path = next((path for path in (source / f"{name}.csv", source / f"{name}.csv.gz") if path.exists()), None)
    if path is None:
        raise SystemExit(f"{source}: there is no {name}.csv; a source is results/SUITE of a run, or a folder of published/")
    table = (read_rows if name == "timings" else read_csv)(path, dtype=object)
    if name == "batches":
        table = told(table)
    if name == "timings":  # those of cells without a job had another order
        table["parameters"] = [json.dumps(json.loads(each), sort_keys=True) for each in table["parameters"]]
        table = told(table, "single_") if "single_calls" in table else table
        table["control"] = table.get("control", "False") == "True"
        asked = table.get("queries_timed", table["queries"].where(table["query_median_s"].notna()))  # once all of them
        table = table.assign(
            family=table.get("family", table["backend"]), setting=table.get("setting", "{}"), queries_timed=asked
        )
        if "query_freedom" not in table:
            found = read_timings(source)
            table = table.assign(**{name: found[name].astype(object).to_numpy() for name in INTERVALS})
    return table.where(table.notna(), None).assign(origin=str(source))


def refuse_differences(rows, name, column, hint):
    """End if a column has several values in rows that should agree."""
    if rows[column].nunique() > 1:
        each = "; ".join(f"{value} in {origin}" for value, origin in rows.groupby(column)["origin"].first().items())
        raise SystemExit(f"{name}: {column} is {each}; {hint}")


def check(timings):
    """End if what has one name is not one thing in all sources, or a curve would mix two things."""
    refuse_differences(timings, "sources", "schema_version", f"gather the older with the code of version {SCHEMA_VERSION}")
    for name, rows in timings.groupby("dataset"):
        refuse_differences(rows, name, "dataset_sha256", "other points were searched, which is no comparison")
    for name, rows in timings.groupby("backend"):
        refuse_differences(rows, name, "parameters", "give one of them another name")
    for (backend, device, machine), rows in timings.groupby(["backend", "device", "machine"]):
        if rows["origin"].nunique() > 1:
            for column in ("threads", "versions"):
                name = f"{backend} on {device}, {machine}"
                refuse_differences(rows, name, column, "a curve cannot mix them, leave one out")


def choose(timings):
    """One row for every cell, residency and machine.

    Rows that are the same in two sources are kept once, and those that got no job only if no source has one. It ends if two
    sources measured a cell on one kind of machine and disagree.
    """
    ran = timings["machine"] != ""
    elsewhere = timings[CELL[:-1]].apply(tuple, axis=1).isin(timings[ran][CELL[:-1]].apply(tuple, axis=1))
    measured = [name for name in timings.columns if name not in ("origin", "suite")]
    chosen = timings[ran | ~elsewhere].drop_duplicates(measured)
    twice = chosen[chosen.duplicated(CELL, keep=False) & (chosen["machine"] != "")]
    for (dataset, backend, device, k, _, machine), rows in twice.groupby(CELL, sort=False):
        first, second = rows["origin"].iloc[:2]
        differ = ", ".join(name for name in measured if rows[name].astype(str).nunique() > 1)
        raise SystemExit(
            f"{first} and {second} both have {dataset}: {backend} on {device}, K = {k}, on {machine}, and differ in {differ}; "
            "leave one of them out, or measure it in one run with several timing.rounds"
        )
    return chosen.drop_duplicates(CELL)


def timed(timings):
    """Rows that pairs.compare takes: with a time, and standing for their families; imported ones have no machine."""
    rows = stand(timings[timings["machine"] != ""]).dropna(subset=["query_median_s"]).to_dict("records")
    return [row | {"query_median_s": float(row["query_median_s"])} for row in rows]


def merge(sources, figures, out):
    """Write the merged tables.

    Parameters
    ----------
    sources : list of Path, folders with timings.csv and samples.csv
    figures : dict, section of the configuration
    out : Path, folder; made

    Raises
    ------
    SystemExit
        The sources do not fit together, or one lacks a table.
    """
    tables = {name: pd.concat([read(source, name) for source in sources]) for name in ("timings", "samples", "batches")}
    timings = tables["timings"]
    timings["machine"] = [machine_words(row) for row in timings.to_dict("records")]
    check(timings)
    for name, words in WORDS.items():  # as the first source that has it calls it
        timings[words] = timings.groupby(name, sort=False)[words].transform("first")
    timings = with_names_apart(timings)
    place = [*CELL[:-1], "origin"]
    machines = timings.drop_duplicates(place).set_index(place)["machine"]
    for name in ("samples", "batches"):
        if "machine" not in tables[name]:
            tables[name]["machine"] = None
        missing = pd.MultiIndex.from_frame(tables[name][place]).map(machines)  # of results older than that column: one machine
        tables[name]["machine"] = tables[name]["machine"].fillna(pd.Series(missing, index=tables[name].index))
    tables["samples"] = with_queries(tables["samples"], timings)
    chosen = choose(timings.reset_index(drop=True))
    kept = pd.MultiIndex.from_frame(chosen[[*CELL, "origin"]])
    out.mkdir(parents=True, exist_ok=True)
    for name in ("samples", "batches"):
        here = pd.MultiIndex.from_frame(tables[name][[*CELL, "origin"]]).isin(kept)
        tables[name] = tables[name][here]
        tables[name].to_csv(out / f"{name}.csv", index=False)
    write_rows(chosen.assign(suite="merged"), out)
    hard = [
        pd.DataFrame(columns=DATASET),
        *(read(source, "datasets") for source in sources if (source / "datasets.csv").exists()),
    ]
    one = pd.concat(hard).groupby(["dataset", "n_neighbors"], sort=False, as_index=False).first()  # what any source knows
    one["title"] = one["dataset"].map(timings.drop_duplicates("dataset").set_index("dataset")["title"])
    one.to_csv(out / "datasets.csv", index=False)
    asked = [read(source, "callers") for source in sources if (source / "callers.csv").exists()]
    pd.concat([pd.DataFrame(columns=CALLER), *asked]).to_csv(out / "callers.csv", index=False)
    configs = [yaml.safe_load((source / "config.yaml").read_text(encoding="utf-8")) for source in sources]
    # What a cell that was ended took at least, wherever it was.
    names = ("max_fit_s", "max_query_s", "page_fit_s", "page_query_s", "min_recall", "same")
    given = {name: [saved["timing"][name] for saved in configs if name in saved["timing"]] for name in names}
    limits = {name: min(values) for name, values in given.items() if values}
    if looked_at := [saved["timing"]["max_rounds"] for saved in configs if saved["timing"].get("rounds") == AUTO]:
        limits |= {"rounds": AUTO, "max_rounds": max(looked_at)}
    comparisons = pd.DataFrame(compare(timed(chosen), limits), columns=COMPARISON)
    comparisons.to_csv(out / "comparisons.csv", index=False)
    limits["batch_sizes"] = sorted({size for saved in configs for size in saved["timing"].get("batch_sizes", ())})
    config = {"suite": "merged", "figures": figures, "timing": limits, "backends": {}, "datasets": {}}
    for saved in configs:
        config["datasets"] = saved["datasets"] | config["datasets"]
        for name, entry in saved["backends"].items():
            known = config["backends"].setdefault(name, entry)
            known["environments"] |= entry["environments"]
            points = known.setdefault("search", []) if "search" in entry else []
            points += [point for point in entry.get("search", []) if point["name"] not in {each["name"] for each in points}]
    (out / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    origins = "".join(f"{len(rows)} rows from {origin}\n" for origin, rows in chosen.groupby("origin", sort=False))
    words = summarise(read_rows(out / "timings.csv"), read_csv(out / "comparisons.csv"))
    (out / "summary.txt").write_text(f"{words}\n{origins}", encoding="utf-8")
