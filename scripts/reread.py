"""Write the tables of earlier results anew, with the intervals, verdicts and words of today, from their samples.

What was measured stays as it is. Figures, claims, curves and tables for papers are made from these tables as ever:
snakemake --cores 1 --forcerun check_claims trace_curves make_tables plot_speed plot_charts -- published/NAME/report.html ...
"""

import argparse
from pathlib import Path

import pandas as pd

from knnbench.exchange.published import pack
from knnbench.measure.statuses import SCHEMA_VERSION
from knnbench.results.folder import read, read_table, read_timings
from knnbench.results.moderation import INTERVALS
from knnbench.results.older import COUNTED
from knnbench.results.tables import SAMPLE, read_csv, read_rows, write_rows
from knnbench.results.words import summarise

# New columns, each with the one that it stands behind.
BEHIND = {
    "query_interval": "query_high_s",
    "query_freedom": "query_interval",
    "fit_freedom": "fit_high_s",
    "machine_speed": "others_cpus",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="one of published/")
    folder = parser.parse_args().folder

    rows, found = read_rows(folder / "timings.csv", dtype=object), read_timings(folder)  # as written, and as known today
    samples, comparisons = read_table(folder, "samples"), read(folder).comparisons
    columns = list(rows.columns)
    for name, before in BEHIND.items():
        if name not in columns:
            columns.insert(columns.index(before) + 1, name)
    known = {name: found[name].astype(object).to_numpy() for name in (*INTERVALS, *COUNTED, *BEHIND)}
    write_rows(rows.assign(**known, schema_version=SCHEMA_VERSION)[columns], folder)
    comparisons.to_csv(folder / "comparisons.csv", index=False)
    written = read_csv(folder / "samples.csv.gz", dtype=object).assign(counted=samples["counted"])
    pack(written[[name for name in SAMPLE if name in written]].to_csv(index=False).encode(), folder / "samples.csv.gz")
    _, *notes = (folder / "summary.txt").read_text(encoding="utf-8").rsplit("\n\n", 1)  # the names of its files
    text = summarise(read_rows(folder / "timings.csv"), pd.DataFrame(comparisons))
    (folder / "summary.txt").write_text("\n".join([text, *notes]), encoding="utf-8")


if __name__ == "__main__":
    main()
