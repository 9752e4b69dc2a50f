"""Print what a suite will take before it runs: cells, time, memory, disk and downloads, by dataset and backend.

The resolved configuration is JSON on the standard input.
"""

import argparse
import json
import sys
from itertools import groupby
from pathlib import Path

from knnbench.config.suite import AUTO, cells, rounds_of
from knnbench.problem.download import file_name
from knnbench.problem.sources import preview
from knnbench.system import machine
from knnbench.workflow import plan
from knnbench.workflow.progress import in_words


def place(expected):
    return expected.cell.dataset, expected.cell.backend, expected.cell.device


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", type=Path, required=True, help="folder of results of other machines")
    parser.add_argument("--environments", type=int, required=True, help="how many environments must be made")
    arguments = parser.parse_args()

    config = json.load(sys.stdin)
    listed = [cell for cell in cells(config) if cell.device == "cpu" or config["gpu"]]
    facts = machine.describe("cpu")
    expected = plan.expect(config, listed, arguments.published, facts)
    chosen = plan.affordable(expected, config["timing"])
    sizes = {name: plan.size_of(name, settings) for name, settings in config["datasets"].items()}

    for name, settings in config["datasets"].items():
        if settings["source"] == "file":
            print(f"{name}:", *preview(settings), sep="\n  ", end="\n\n")
    print(f"{'dataset':18} {'backend':26} cells  done  skipped        time    memory     index")
    total = disk = 0.0
    for (dataset, backend, device), group in groupby(expected, place):
        group = list(group)
        run = [each for each in group if each.cell in chosen]
        seconds, most = sum(each.seconds for each in run), max(each.host_bytes for each in group)
        entry = config["backends"][backend]
        builds = entry["saves"] * len(rounds_of(config["timing"]))
        index = plan.index_bytes(sizes[dataset]) * builds
        total, disk = total + seconds, disk + index
        print(
            f"{dataset:18} {f'{backend}-{device}':26} {len(group):5} {sum(each.measured for each in group):5}"
            f" {len(group) - len(run):8} {in_words(seconds):>11} {most / 1e9:6.1f} GB {index / 1e9:6.1f} GB"
        )
    resources = Path(config["resources_dir"])
    new = [name for name in sizes if not Path(resources, f"datasets/{name}.hdf5").exists()]
    making = sum(plan.dataset_s(sizes[name], facts["cpus"]) for name in new)
    disk += sum(plan.dataset_bytes(sizes[name], config["truth_k"]) for name in new)
    urls = {config["datasets"][name]["url"]: sizes[name].megabytes for name in new if "url" in config["datasets"][name]}
    megabytes = sum(each for url, each in urls.items() if not Path(resources, "downloads", file_name(url)).exists())
    disk += megabytes * 1e6
    rest = arguments.environments * plan.ENVIRONMENT_S + plan.CEILINGS_S + plan.FIGURE_S * (len(sizes) + 1)
    most = max((each.host_bytes for each in expected), default=0)
    lines = {
        "cells": (total, f"{len(chosen)} of {len(listed)}; those that are done cost nothing, none is over its limits"),
        "datasets": (making, f"{len(new)} to make, with exact neighbours; {megabytes:,.0f} MB to download, not timed here"),
        "the rest": (rest, f"{arguments.environments} environments, their download not timed here; ceilings; figures"),
        "total": (total + making + rest, f"disk {disk / 1e9:.1f} GB; memory {most / 1e9:.1f} GB, or cells end as oom_host"),
    }
    print()
    for name, (seconds, note) in lines.items():
        print(f"{name:10} {in_words(seconds):>11}   {note}")
    if config["timing"]["rounds"] == AUTO:
        most = config["timing"]["max_rounds"]
        print(
            f"These are two rounds of each cell (timing.rounds: auto); what they do not decide gets more, up to {most} in all."
        )


if __name__ == "__main__":
    main()
