"""Write results in ann-benchmarks' layout, which its own programs read: results/DATASET/K/BACKEND-batch/POINT.hdf5, data/."""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import yaml

from knnbench.config.settings import points_of
from knnbench.exchange.ann_benchmarks import write_ann
from knnbench.measure.statuses import answer_of
from knnbench.problem.datasets import Unavailable, read_dataset
from knnbench.results.tables import controls_apart, flagged, read_csv


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--timings", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True, help="the saved configuration")
    parser.add_argument("--cells", type=Path, required=True, help="folder of the records, and the ids beside them")
    parser.add_argument("--datasets", type=Path, required=True, help="folder of the dataset files")
    parser.add_argument("--names", type=json.loads, required=True, help="what ann-benchmarks calls them: our name -> its, JSON")
    parser.add_argument("--out", type=Path, required=True, help="folder; made")
    arguments = parser.parse_args()

    points = points_of(yaml.safe_load(arguments.config.read_text(encoding="utf-8"))["backends"])
    timings, _ = controls_apart(read_csv(arguments.timings))
    done = timings[timings["query_median_s"].notna() & (timings["residency"] == "host")]
    (arguments.out / "data").mkdir(parents=True)
    # Its files have a row for each query of a dataset, and one that was not asked would count as wrong.
    part = flagged(done, "subset")
    if part.any():
        words = done[part].apply("{dataset}: {backend}-{device}, K = {n_neighbors}\n".format_map, axis=1)
        (arguments.out / "left-out.txt").write_text(f"Asked a subset of the queries:\n{''.join(words)}", encoding="utf-8")
    done = done[~part]
    for name, rows in done.groupby("dataset", sort=False):
        source, theirs = (arguments.datasets / f"{name}.hdf5").resolve(), arguments.names[name]
        try:
            dataset = read_dataset(source)
        except Unavailable as error:
            raise SystemExit(f"{source}: {error}; have it made again") from error
        (arguments.out / "data" / f"{theirs}.hdf5").symlink_to(os.path.relpath(source, (arguments.out / "data").resolve()))
        for row in rows.to_dict("records"):
            point = points[row["backend"]]
            record = f"{point['build']}-{row['device']}/k{row['n_neighbors']}.round0.json"
            kept = answer_of(arguments.cells / name / record, point["number"])
            if not kept.exists():
                raise SystemExit(
                    f"{kept} is gone, the ids that the cell returned; delete its record and timings.csv to measure it again"
                )
            with np.load(kept, allow_pickle=False) as answer:
                ids = answer["ids"]
            # A curve is an algorithm there, and a file each of its points.
            folder = arguments.out / "results" / theirs / str(row["n_neighbors"]) / f"{row['family']}-{row['device']}-batch"
            write_ann(folder / f"{row['backend']}.hdf5", dataset, row, ids)


if __name__ == "__main__":
    main()
