"""Print which backends to use for a problem: a short list from the measured cells that are nearest to it."""

import argparse
import json
from pathlib import Path

from knnbench.config.names import tell_apart
from knnbench.results.findings import seconds
from knnbench.results.folder import read
from knnbench.results.machines import machine_words
from knnbench.results.recommend import LISTED, recommend
from knnbench.system import gpu, machine

SAME_SIZE = "measured at just this size"


def steps_in_words(steps):
    """How far a cell is from what is asked."""
    far = [f"{name} × {10**step:.3g}" for name, step in zip(("n", "d", "K"), steps, strict=True) if abs(step) > 0.005]
    return f"extrapolated by {', '.join(far)}" if far else SAME_SIZE


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--ask", type=json.loads, required=True, help="n_train, dimension, metric, n_neighbors, recall, ..., JSON"
    )
    parser.add_argument("--folders", type=Path, nargs="*", default=[], help="of results")
    arguments = parser.parse_args()

    ask, by_machine = arguments.ask, {}
    for folder in arguments.folders:
        try:
            timings = read(folder).points.astype(object)
        except SystemExit as error:
            print(f"Left out: {error}")
            continue
        for words, rows in timings.where(timings.notna(), None).groupby("machine", sort=False):
            by_machine.setdefault(words, []).extend(rows.to_dict("records"))
    # Folders may have one label for several.
    apart = tell_apart((row["curve"], row["name"]) for rows in by_machine.values() for row in rows)
    here = machine_words(machine.describe("gpu" if gpu.count() else "cpu"))
    for words, rows in sorted(by_machine.items(), key=lambda item: item[0] != here):
        print(f"{words}{': this machine' if words == here else ''}")
        ranked, out = recommend(ask, [row | {"name": apart[row["curve"], row["name"]]} for row in rows])
        for place, each in enumerate(ranked[:LISTED], start=1):
            alike = "; undecided: it may be as fast as the first" if place > 1 and each["low"] <= ranked[0]["high"] else ""
            rough = "roughly " if steps_in_words(each["steps"]) != SAME_SIZE else ""
            span = f"{rough}{seconds(each['low'])} to {seconds(each['high'])}"
            compiling = f", {seconds(each['compile_s'])} of it for compiling" if each["compile_s"] else ""
            print(f"  {place}. {each['name']}: {span} for fit and queries{compiling}, recall {each['recall']:.3f}{alike}")
            print(f"     rests on {'; '.join(filter(None, [each['place'], steps_in_words(each['steps']), each['doubts']]))}")
        if not ranked:
            print("  The data do not support an answer: no measured cell is near enough and good enough.")
            metrics = ", ".join(dict.fromkeys(row["metric"] for row in rows))
            print(f"  Measured are the metrics {metrics}; docs/extending.md shows how to measure a dataset of your size.")
        for name, why in out:
            print(f"  ruled out: {name}: {why}")
        print()
    if not by_machine:
        print("There are no results: run a suite first, or keep published/.")
    print("Times are of compiling, fit and all queries in one call. Rough ones go from the measured time to one that is scaled")
    print("by n × d × K; trees may grow faster in d, and lists and graphs grow less in n.")
    print("Recall is that of the measured data: yours may be harder or easier.")


if __name__ == "__main__":
    main()
