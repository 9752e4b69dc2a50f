"""Draw what the exact backends reach of the machine's ceilings: the roofline, one panel per device."""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import yaml

from knnbench.figures import save, styles
from knnbench.record import NOT_RUN
from knnbench.words import name_of


def draw(timings, ceilings, looks):
    """Draw the roofline.

    Parameters
    ----------
    timings : DataFrame, rows of residency host
    ceilings : dict, device -> what it reaches at most
    looks : dict, from figures.styles

    Returns
    -------
    figure : matplotlib Figure
    """
    figure, panels = plt.subplots(
        len(ceilings), figsize=(7.5, 4.2 * len(ceilings)), layout="constrained", squeeze=False, sharex=True
    )
    for axes, (device, ceiling) in zip(panels.flat, ceilings.items(), strict=True):
        rows = timings[timings["device"] == device].dropna(subset=["ceiling_fraction"])
        ridge = ceiling["operations_per_s"] / ceiling["bytes_per_s"]
        intensity = rows["least_operations"] / rows["least_bytes"]
        x = np.geomspace(min(ridge / 10, intensity.min() / 2), max(ridge * 10, intensity.max() * 2), 200)
        axes.plot(x, np.minimum(ceiling["operations_per_s"], x * ceiling["bytes_per_s"]), color="black", linewidth=1.5)
        for key, group in rows.groupby(["backend", "device"], sort=False):
            reached = group["least_operations"] / group["query_median_s"]
            label = f"{name_of(group.iloc[0])}: {percent(group['ceiling_fraction'].max())} at most"
            axes.plot(intensity[group.index], reached, **(looks[key] | {"linestyle": "none"}), label=label)
        for dataset, group in rows.groupby("dataset", sort=False):
            axes.annotate(
                f"{dataset}, K = {', '.join(map(str, sorted(group['n_neighbors'].unique())))}",
                (np.exp(np.log(intensity[group.index]).mean()), 0.02),
                xycoords=("data", "axes fraction"),
                rotation=90,
                fontsize=5.5,
                ha="center",
                va="bottom",
                color="#777777",
            )
        axes.set(xscale="log", yscale="log", ylabel="Operations per second")
        axes.set_title(
            f"{device.upper()}: {ceiling['operations_per_s'] / 1e9:,.0f} · 10⁹ operations/s (float32 matrix product), "
            f"{ceiling['bytes_per_s'] / 1e9:,.0f} · 10⁹ bytes/s (copy), measured",
            loc="left",
            fontsize=8,
        )
        axes.legend(fontsize=6, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        missing = timings[(timings["device"] == device) & timings["exact"] & timings["status"].isin(NOT_RUN)]
        if len(missing):
            words = ", ".join(f"{n} {status}" for status, n in missing["status"].value_counts().items())
            axes.text(0.01, 0.97, f"exact, not measured: {words}", transform=axes.transAxes, fontsize=6, va="top")
    panels.flat[-1].set_xlabel("Least operations per least byte of the search")
    return figure


def percent(fraction):
    return f"{fraction:.1%}" if fraction < 0.1 else f"{fraction:.0%}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the saved configuration")
    parser.add_argument("--timings", type=Path, required=True)
    parser.add_argument("--ceilings", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="the suffix is the format")
    arguments = parser.parse_args()

    config = yaml.safe_load(arguments.config.read_text())
    timings = pd.read_csv(arguments.timings)
    ceilings = {path.stem: json.loads(path.read_text()) for path in arguments.ceilings}
    figure = draw(timings[timings["residency"] == "host"], ceilings, styles(config["backends"]))
    for path in arguments.out:
        save(figure, path, config["figures"]["dpi"])


if __name__ == "__main__":
    main()
