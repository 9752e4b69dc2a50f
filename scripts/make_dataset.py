"""Make a dataset file: points from their source, checked, with their exact neighbours."""

import argparse
import json
import time
from pathlib import Path

from knnbench.datasets import DataError, check_points, write_dataset
from knnbench.metrics import METRICS
from knnbench.recall import score
from knnbench.sources import load
from knnbench.truth import exact_neighbors


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True, help="the dataset's entry in the configuration, JSON")
    parser.add_argument("--files", nargs="*", help="the downloaded file, or one's own")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    settings = arguments.settings
    metric = METRICS[settings["metric"]]
    try:
        train, test, hosted, origin = load(settings, arguments.files[0] if settings["source"] == "url" else None)
        names = (settings.get(part, f"{origin}, {part}") for part in ("train", "test"))
        train, test = (check_points(points, metric, name) for points, name in zip((train, test), names, strict=True))
        if train.shape[1] != test.shape[1]:
            raise DataError(f"{origin}: train has dimension {train.shape[1]}, test has {test.shape[1]}; they must agree")
    except DataError as error:
        raise SystemExit(str(error)) from error

    start = time.perf_counter()
    neighbors, distances = exact_neighbors(metric, train, test)
    print(f"{len(test)} queries x {train.shape} points: exact neighbours in {time.perf_counter() - start:.1f} s")
    agreement = None
    if hosted is not None:
        k = min(hosted.shape[-1], neighbors.shape[1])
        try:
            agreement = score(metric, train, test, hosted[..., :k], k, neighbors, distances)["recall"]
        except ValueError as error:
            raise SystemExit(f"{origin}: its own neighbors cannot be compared: {error}; repair or remove them") from error
        print(f"the file's own neighbours agree with ours for {agreement:.4%} of the ids, ties counted as equal")
    write_dataset(
        arguments.out,
        metric,
        train,
        test,
        neighbors,
        distances,
        title=settings["title"],
        source=origin,
        license=settings.get("license"),
        hosted_neighbors_recall=agreement,
    )


if __name__ == "__main__":
    main()
