"""Draw what share of the machine's ceilings brute forces reach, one panel per device."""

import argparse
import json
from pathlib import Path

import yaml

from knnbench.draw.figures import literal, plt, save, settle, styles
from knnbench.results.tables import controls_apart, read_csv
from knnbench.results.words import name_of

ROW_INCHES = 0.2


def draw(timings, ceilings, looks):
    """Draw the share of the roofline that each cell reaches.

    Parameters
    ----------
    timings : DataFrame, rows of residency host
    ceilings : dict, device -> what it reaches at most
    looks : dict, from figures.styles

    Returns
    -------
    figure : matplotlib Figure
    """
    bounded = timings[(timings["exact"] | timings["ceiling_fraction"].notna()) & timings["device"].isin(ceilings)]
    cpus = {device: ceiling["machine"]["cpu"] for device, ceiling in ceilings.items()}
    here = bounded["cpu"].isna() | (bounded["cpu"] == bounded["device"].map(cpus))  # those of other machines have no ceiling
    bounded = bounded[here]
    searches = [search for search, _ in bounded.groupby(["dataset", "n_neighbors"], sort=False)]
    height = len(ceilings) * (ROW_INCHES * len(searches) + 1.2)
    figure, panels = plt.subplots(len(ceilings), figsize=(7.5, height + 0.3), layout="constrained", squeeze=False, sharex=True)
    for axes, (device, ceiling) in zip(panels.flat, ceilings.items(), strict=True):
        here = bounded[bounded["device"] == device]
        rows = here.dropna(subset=["ceiling_fraction"])
        places = [searches.index(search) for search in zip(rows["dataset"], rows["n_neighbors"], strict=True)]
        for key, group in rows.assign(place=places).groupby(["backend", "device"], sort=False):
            look = looks[key] | {"linestyle": "none"}
            axes.plot(group["ceiling_fraction"] * 100, group["place"], **look, label=literal(name_of(group.iloc[0])))
        axes.axvline(100, color="black", linewidth=1.5)
        axes.set(xscale="log", ylim=(len(searches) - 0.4, -0.6))
        axes.set_yticks(range(len(searches)), labels=[f"{dataset}, K = {k}" for dataset, k in searches], fontsize=6.5)
        title = f"{device.upper()}: the ceiling was not measured: {ceiling.get('reason')}"
        if ceiling["status"] == "ok":
            title = (
                f"{device.upper()}: 100% is {ceiling['operations_per_s'] / 1e9:,.0f}·10⁹ float32 operations/s "
                f"or {ceiling['bytes_per_s'] / 1e9:,.0f}·10⁹ bytes/s, measured"
            )
            others = [f"{rate / 1e9:,.0f} {name}" for name, rate in ceiling.get("operations_per_s_in", {}).items()]
            if others and (here["precision"].fillna("float32") != "float32").any():
                title += f"\nother precisions: {', '.join(others)}"
        axes.set_title(title, loc="left", fontsize=8)
        if len(rows):
            axes.legend(fontsize=6.5, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        without = here[here["ceiling_fraction"].isna() & ~here["prunes"]]["status"].value_counts()
        if len(without):
            words = "not measured: " + ", ".join(f"{number} {status}" for status, number in without.items())
            axes.annotate(words, (0, 0), xycoords="axes fraction", xytext=(2, 3), textcoords="offset points", fontsize=6)
    panels.flat[-1].set_xlabel("Share of what the machine allows for the least operations or bytes of the search, %")
    settle(figure)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the saved configuration")
    parser.add_argument("--timings", type=Path, required=True)
    parser.add_argument("--provenance", type=Path, required=True, help="has the machine's measured ceilings")
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="the suffix is the format")
    arguments = parser.parse_args()

    config = yaml.safe_load(arguments.config.read_text(encoding="utf-8"))
    timings, _ = controls_apart(read_csv(arguments.timings))
    ceilings = json.loads(arguments.provenance.read_text(encoding="utf-8"))["ceilings"]
    figure = draw(timings[timings["residency"] == "host"], ceilings, styles(config["backends"]))
    for path in arguments.out:
        save(figure, path, config["figures"]["dpi"])


if __name__ == "__main__":
    main()
