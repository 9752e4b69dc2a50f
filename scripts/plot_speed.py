"""Draw queries per second against K for one dataset, with the fit times below."""

import argparse
import re
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import yaml

from knnbench.figures import save, stopped, styles
from knnbench.words import name_of

KEY = (
    "Solid: exact; dashed: approximate. Thin: CPU; thick: GPU. Hollow: low recall. "
    "Bars: 95% interval of the median. ×: stopped there."
)


def mathematical(title):
    """Set powers in a title, such as R^D, as mathematics."""
    return re.sub(r"(\S+\^(\{[^}]*\}|\w))", r"$\1$", title)


def draw_curve(axes, rows, look):
    """Draw one backend on one device: its interval, hollow where recall is low, crossed where it stopped."""
    done = rows.dropna(subset=["query_median_s"])
    queries = done["queries"]
    axes.plot(done["n_neighbors"], done["queries_per_s"], **(look | {"marker": None}))
    axes.vlines(done["n_neighbors"], queries / done["query_high_s"], queries / done["query_low_s"], color=look["color"])
    for low, face in ((False, look["color"]), (True, "white")):
        some = done[(done["status"] == "low_recall") == low]
        axes.plot(some["n_neighbors"], some["queries_per_s"], **(look | {"linestyle": "none", "markerfacecolor": face}))
    beyond = stopped(rows)
    beyond = beyond[beyond["n_neighbors"] > done["n_neighbors"].max()]
    if len(beyond):
        last, k = done["queries_per_s"].iloc[-1], beyond["n_neighbors"].iloc[0]
        axes.plot([done["n_neighbors"].max(), k], [last, last], color=look["color"], linestyle=":", linewidth=0.8)
        axes.plot(k, last, marker="x", color=look["color"], markersize=8, markeredgewidth=2)


def remark(rows):
    """What a reader must know of a curve beyond its shape."""
    notes = []
    recall = rows["recall"].dropna()
    if not rows["exact"].all() or recall.min() < 0.999:
        notes.append(f"recall {recall.min():.2f}" + (f"–{recall.max():.2f}" if recall.max() - recall.min() > 0.005 else ""))
    for status, some in stopped(rows).groupby("status"):
        notes.append(f"K = {', '.join(map(str, some['n_neighbors']))}: {status}")
    flags = rows.assign(flag=rows["flags"].fillna("").str.split("; ")).explode("flag", ignore_index=True)
    for flag, some in flags[flags["flag"] != ""].groupby("flag"):
        notes.append(f"K = {', '.join(map(str, some['n_neighbors']))}: {flag}")
    return "; ".join(notes)


def draw(timings, looks):
    """Draw the figure of one dataset.

    Parameters
    ----------
    timings : DataFrame, the rows of one dataset, residency host
    looks : dict, from figures.styles

    Returns
    -------
    figure : matplotlib Figure
    """
    curves, missing = {}, {}
    for key, rows in timings.groupby(["backend", "device"], sort=False):
        if rows["query_median_s"].notna().any():
            curves[key] = rows.sort_values("n_neighbors")
        else:
            first = rows.iloc[0]
            missing.setdefault(f"{first['status']}: {first['reason']}", []).append(name_of(first))
    curves = dict(sorted(curves.items(), key=lambda item: -item[1]["queries_per_s"].max()))
    notes = [textwrap.fill(f"{reason}: {', '.join(names)}", 130, subsequent_indent="    ") for reason, names in missing.items()]
    note = "\n".join([KEY, *["Not measured:"] * bool(notes), *notes])
    row_inches, note_inches = 0.17, 0.135 * (note.count("\n") + 1) + 0.1
    bottom_inches = row_inches * max(1, len(curves)) + 0.5
    height = 4.2 + bottom_inches + note_inches
    figure, (top, bottom) = plt.subplots(2, figsize=(7.5, height), height_ratios=[3.6, bottom_inches], layout="constrained")
    figure.get_layout_engine().set(rect=(0, note_inches / height, 1, 1 - note_inches / height))

    for key, rows in curves.items():
        draw_curve(top, rows, looks[key])
    if not curves:
        top.text(0.5, 0.5, "no cell was measured", transform=top.transAxes, ha="center")
    first = timings.iloc[0]
    top.set(xscale="log", yscale="log", xlabel="Number of neighbours K", ylabel="Queries per second")
    ks = sorted(timings["n_neighbors"].unique())
    top.set_xticks(ks, labels=[str(k) for k in ks])
    top.xaxis.minorticks_off()
    title, size = mathematical(first["title"]), "there is no such dataset here"
    if pd.notna(first["n"]):
        size = f"{first['queries']:,.0f} queries, {first['n']:,.0f} points, d = {first['d']:,.0f}"
    ran = timings.dropna(subset=["cpu"]).iloc[:1]
    machine = "".join(f"{cpu}, {cpus:.0f} CPUs" for cpu, cpus in zip(ran["cpu"], ran["cpus"], strict=True))
    top.set_title(
        f"{title}: {size}, {first['metric']}\n{machine}" + "".join(f"; {gpu}" for gpu in timings["gpu"].dropna().unique()),
        loc="left",
        fontsize=9,
    )

    bottom.set(xscale="log", xlabel="Fit: seconds before the first query", ylim=(len(curves) - 0.4, -0.6))
    fits = {key: max(rows["fit_s"].median(), 1e-6) for key, rows in curves.items()}
    left = min(fits.values(), default=1e-3) / 3
    for position, (key, rows) in enumerate(curves.items()):
        bottom.plot([left, fits[key]], [position, position], markevery=[1], **looks[key])
        bottom.annotate(
            f"{fits[key]:.2g} s" + (f"   {remark(rows)}" if remark(rows) else ""),
            (fits[key], position),
            xytext=(7, 0),
            textcoords="offset points",
            va="center",
            fontsize=6.5,
        )
    bottom.set_xlim(left, max(fits.values(), default=1) * 300)
    bottom.set_yticks(range(len(curves)), labels=[name_of(rows.iloc[0]) for rows in curves.values()])
    bottom.grid(axis="y", visible=False)
    bottom.tick_params(axis="y", length=0)
    figure.text(0.01, 0.01, note, fontsize=6.5, va="bottom")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout moves a little with every drawing: all files get the first
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the saved configuration")
    parser.add_argument("--timings", type=Path, required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--out", type=Path, nargs="+", required=True, help="the suffix is the format")
    arguments = parser.parse_args()

    config = yaml.safe_load(arguments.config.read_text())
    timings = pd.read_csv(arguments.timings)
    # NumPy in, NumPy out: what every backend has.
    timings = timings[(timings["dataset"] == arguments.dataset) & (timings["residency"] == "host")]
    figure = draw(timings, styles(config["backends"]))
    for path in arguments.out:
        save(figure, path, config["figures"]["dpi"])


if __name__ == "__main__":
    main()
