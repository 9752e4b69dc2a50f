"""Queries per second against K for one dataset, with the fit times below: the figure."""

import textwrap

import pandas as pd

from knnbench.config.names import plain
from knnbench.draw.figures import literal, plt, settle, stopped
from knnbench.results.machines import by_machine
from knnbench.results.words import name_of

CELL = ["dataset", "backend", "device", "n_neighbors"]
KEY = (
    "Solid: exact; dashed: approximate. Thin: CPU; thick: GPU. Hollow: low recall. "
    "Bars: 95% interval of the median. ×: stopped there."
)


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


def curves_of(timings, elsewhere):
    """Split the rows of a machine into curves, the fastest first, and a note on what has none.

    Parameters
    ----------
    timings : DataFrame, rows of one dataset and machine
    elsewhere : int, number of cells that only other machines have

    Returns
    -------
    curves : dict, (backend, device) -> rows
    note : str, several lines
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
    notes += [f"{elsewhere} cells were measured on other machines only."] * bool(elsewhere)
    return curves, "\n".join([KEY, *["Not measured:"] * bool(notes), *notes])


def draw(timings, looks):
    """Draw the figure of one dataset: what was measured on each machine, one below the other.

    Parameters
    ----------
    timings : DataFrame, the rows of one dataset, residency host
    looks : dict, from figures.styles

    Returns
    -------
    figure : matplotlib Figure
    """
    machines, parts, inches = by_machine(timings), [], []
    for _, rows in machines:
        elsewhere = len(timings.drop_duplicates(CELL)) - len(rows.drop_duplicates(CELL))
        curves, note = curves_of(rows, elsewhere)
        parts.append((curves, note))
        inches += [3.6, 0.17 * max(1, len(curves)) + 0.5, 0.135 * (note.count("\n") + 1)]
    figure, panels = plt.subplots(
        len(inches), figsize=(7.5, sum(inches) + 0.7 * len(parts)), height_ratios=inches, layout="constrained", squeeze=False
    )
    for (words, rows), (curves, note), axes in zip(machines, parts, panels.reshape(-1, 3), strict=True):
        draw_machine(words, rows, curves, note, looks, axes)
    settle(figure)
    return figure


def draw_machine(words, timings, curves, note, looks, axes):
    """Draw one machine's curves, their fit times, and the note, in three axes."""
    top, bottom, below = axes
    for key, rows in curves.items():
        draw_curve(top, rows, looks[key])
    if not curves:
        top.text(0.5, 0.5, "no cell was measured", transform=top.transAxes, ha="center")
    first = timings.iloc[0]
    top.set(xscale="log", yscale="log", xlabel="Number of neighbours K", ylabel="Queries per second")
    ks = sorted(timings["n_neighbors"].unique())
    top.set_xticks(ks, labels=[str(k) for k in ks])
    top.xaxis.minorticks_off()
    title, size = plain(first["title"]), "there is no such dataset here"
    if pd.notna(first["n"]):
        size = f"{first['queries']:,.0f} queries, {first['n']:,.0f} points, d = {first['d']:,.0f}"
    top.set_title(literal(f"{title}: {size}, {first['metric']}\n{words}"), loc="left", fontsize=9)

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
    bottom.set_yticks(range(len(curves)), labels=[literal(name_of(rows.iloc[0])) for rows in curves.values()])
    bottom.grid(axis="y", visible=False)
    bottom.tick_params(axis="y", length=0)
    below.set_axis_off()
    place = ("figure fraction", "axes fraction")
    below.annotate(literal(note), (0.01, 1), xycoords=place, fontsize=6.5, va="top", in_layout=False)
