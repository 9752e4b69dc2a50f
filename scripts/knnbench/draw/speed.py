"""Queries per second against K for one dataset, with the fit times below: the figure."""

import math
import textwrap

import pandas as pd

from knnbench.config.names import plain
from knnbench.draw.figures import CUT, FAINT, GREY, draw_interval, key, limits, literal, plt, settle, stopped
from knnbench.results.findings import intervals_of, number
from knnbench.results.machines import by_machine
from knnbench.results.tables import controls_apart, flagged
from knnbench.results.words import name_of, span

CELL = ["dataset", "family", "device", "n_neighbors"]


def beyond(rows):
    """Where a curve stopped: the rows without a time whose K is above all that have one."""
    return stopped(rows).loc[lambda ended: ended["n_neighbors"] > rows.dropna(subset=["query_median_s"])["n_neighbors"].max()]


def speeds_at_ends(rows):
    """The speeds at the two ends of the intervals of rows, two Series of float."""
    return ((rows["queries"] / rows[f"query_{end}_s"]).astype(float) for end in ("high", "low"))


def speeds_shown(curves):
    """Limits of the axis of speeds, from the medians of curves."""
    return limits(pd.concat(curves.values())["queries_per_s"].dropna())


def fit_of(rows):
    """The fit of a curve with the ends of its interval, in seconds: the median over K; NaN where it is not known."""
    done = rows.dropna(subset=["query_median_s"])
    low, high = (done[f"fit_{end}_s"].astype(float).median() for end in ("low", "high"))
    return low, max(rows["fit_s"].median(), 1e-6), high


def powers_shown(fits):
    """The powers of ten on the axis of fits, from the medians; others' results may lack them."""
    known = [fit for _, fit, _ in fits if not math.isnan(fit)]
    least, most = min(known, default=1e-3), max(known, default=1)
    return range(math.floor(math.log10(least / 2)), math.ceil(math.log10(most)) + 1)


def is_cut(curves):
    """Whether an interval of a speed or of a fit goes on beyond its axis."""
    least, most = speeds_shown(curves)
    speeds = [(low < least).any() or (high > most).any() for low, high in map(speeds_at_ends, curves.values())]
    fits = [fit_of(rows) for rows in curves.values()]
    powers = powers_shown(fits)
    return any(speeds) or any(low < 10.0 ** powers[0] or high > 10.0 ** powers[-1] for low, _, high in fits)


def draw_curve(axes, rows, look, bounds):
    """Draw one backend on one device: its interval, with the marks that `figures.MARKS` explains, crossed where it stopped.

    `bounds` are the limits of the axis of speeds.
    """
    done = rows.dropna(subset=["query_median_s"])
    done = done.assign(over=flagged(done, "over_page_limit"), subset=flagged(done, "subset"))
    line, mark = look | {"marker": None}, look | {"linestyle": "none"}
    axes.plot(done["n_neighbors"], done["queries_per_s"].where(~done["over"]), **line)
    if done["over"].any():
        axes.plot(done["n_neighbors"], done["queries_per_s"], **line, alpha=FAINT)
    for over, alpha in ((False, 1), (True, FAINT)):
        shown = done[done["over"] == over]
        for k, low, high in zip(shown["n_neighbors"], *speeds_at_ends(shown), strict=True):
            draw_interval(axes, k, low, high, bounds, {"color": look["color"], "alpha": alpha})
        for low, face in ((False, look["color"]), (True, "white")):
            some = shown[(shown["status"] == "low_recall") == low]
            axes.plot(some["n_neighbors"], some["queries_per_s"], **mark, markerfacecolor=face, alpha=alpha)
        some = shown[shown["subset"]]
        ring = {"marker": "o", "markersize": 1.8 * look["markersize"], "markeredgewidth": 0.8, "markerfacecolor": "none"}
        axes.plot(some["n_neighbors"], some["queries_per_s"], **(mark | ring), alpha=alpha)
    ended = beyond(rows)
    if len(ended):
        last, k = done["queries_per_s"].iloc[-1], ended["n_neighbors"].iloc[0]
        axes.plot([done["n_neighbors"].max(), k], [last, last], color=look["color"], linestyle=":", linewidth=0.8)
        axes.plot(k, last, marker="x", color=look["color"], markersize=8, markeredgewidth=2)


def where(some, rows):
    """The K of some rows, as a beginning of words about them; nothing if they are all that have a time."""
    return "" if len(some) == rows["query_median_s"].notna().sum() else f"K = {', '.join(map(str, some['n_neighbors']))}: "


def remark(rows):
    """What a reader must know of a curve beyond its shape."""
    notes = []
    recall = rows["recall"].dropna()
    if not rows["exact"].all() or recall.min() < 0.999:
        notes.append(f"recall {recall.min():.2f}" + (f"–{recall.max():.2f}" if recall.max() - recall.min() > 0.005 else ""))
    part = rows[flagged(rows, "subset")]
    if len(part):
        ends = dict.fromkeys(f"{part['queries_timed'].agg(end):,.0f}" for end in ("min", "max"))
        notes.append(f"{where(part, rows)}{'–'.join(ends)} of {part['queries'].iloc[0]:,.0f} queries")
    for status, some in stopped(rows).groupby("status"):
        notes.append(f"K = {', '.join(map(str, some['n_neighbors']))}: {status}")
    flags = rows.assign(flag=rows["flags"].fillna("").str.split("; ")).explode("flag", ignore_index=True)
    for flag, some in flags[~flags["flag"].isin(("", "subset", "over_page_limit"))].groupby("flag"):  # which are marks
        notes.append(f"{where(some, rows)}{flag}")
    return "; ".join(notes)


def curves_of(timings, elsewhere):
    """Split the rows of a machine into curves, the fastest first and controls last, and a note on what has none.

    Parameters
    ----------
    timings : DataFrame, rows of one dataset and machine
    elsewhere : int, number of cells that only other machines have

    Returns
    -------
    curves, controls : dict, (backend, device) -> rows
    note : str, several lines
    """
    found, missing = ({}, {}), {}
    for curves, part in zip(found, controls_apart(timings), strict=True):
        for _, rows in part.groupby(["family", "device"], sort=False):
            name = tuple(rows[["backend", "device"]].iloc[0])  # of one point, which looks as its family does
            if rows["query_median_s"].notna().any():
                curves[name] = rows.sort_values("n_neighbors")
            else:
                first = rows.iloc[0]
                missing.setdefault(f"{first['status']}: {first['reason']}", []).append(name_of(first))
    curves, controls = (dict(sorted(each.items(), key=lambda item: -item[1]["queries_per_s"].max())) for each in found)
    notes = [textwrap.fill(f"{reason}: {', '.join(names)}", 130, subsequent_indent="    ") for reason, names in missing.items()]
    notes += [f"{elsewhere} cells were measured on other machines only."] * bool(elsewhere)
    marks = [key(timings)]
    if curves:
        called = intervals_of(pd.concat(curves.values()))
        marks += [f"Bars: {called}."] * bool(called)
        marks += [CUT] * is_cut(curves)
    marks += ["×: stopped there."] * any(len(beyond(rows)) for rows in curves.values())
    return curves, controls, "\n".join([textwrap.fill(" ".join(marks), 165), *["Not measured:"] * bool(notes), *notes])


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
        curves, controls, note = curves_of(rows, elsewhere)
        parts.append((curves, controls, note))
        inches += [3.6, 0.17 * max(1, len(curves) + len(controls)) + 0.5, 0.135 * (note.count("\n") + 1)]
    figure, panels = plt.subplots(
        len(inches), figsize=(7.5, sum(inches) + 0.7 * len(parts)), height_ratios=inches, layout="constrained", squeeze=False
    )
    for (words, rows), part, axes in zip(machines, parts, panels.reshape(-1, 3), strict=True):
        draw_machine(words, rows, *part, looks, axes)
    settle(figure)
    return figure


def draw_machine(words, timings, curves, controls, note, looks, axes):
    """Draw one machine's curves, their fit times, and the note, in three axes."""
    top, bottom, below = axes
    first = timings.iloc[0]
    top.set(xscale="log", yscale="log", xlabel="Number of neighbours K", ylabel="Queries per second")
    if curves or controls:  # what a call costs is often so little that all others would be one line
        top.set_ylim(speeds_shown(curves or controls))
    if not curves:
        top.text(0.5, 0.5, "no cell was measured", transform=top.transAxes, ha="center")
    for name, rows in (curves | controls).items():
        draw_curve(top, rows, looks[name], top.get_ylim())
    ks = sorted(timings["n_neighbors"].unique())
    top.set_xticks(ks, labels=[str(k) for k in ks])
    top.xaxis.minorticks_off()
    title, size = plain(first["title"]), "there is no such dataset here"
    if pd.notna(first["n"]):
        size = f"{first['queries']:,.0f} queries, {first['n']:,.0f} points, d = {first['d']:,.0f}"
    top.set_title(literal(f"{title}: {size}, {first['metric']}\n{words}"), loc="left", fontsize=9)
    draw_fits(bottom, curves, controls, top.get_ylim()[1], looks)
    below.set_axis_off()
    place = ("figure fraction", "axes fraction")
    below.annotate(literal(note), (0.01, 1), xycoords=place, fontsize=6.5, va="top", in_layout=False)


def draw_fits(axes, curves, controls, top, looks):
    """Draw the fit times with remarks, in the order of the curves; of controls, which have none, their speeds in words.

    `top` is the largest speed that the figure shows.
    """
    fits = {name: fit_of(rows) for name, rows in curves.items()}
    powers = powers_shown(fits.values())
    left, right, number_of_all = 10.0 ** powers[0], 10.0 ** powers[-1], len(curves) + len(controls)
    axes.set(xscale="log", ylim=(number_of_all - 0.4, -0.6))
    axes.set_xlabel("Fit: seconds before the first query", loc="left")
    beside = {"xytext": (7, 0), "textcoords": "offset points", "va": "center", "fontsize": 6.5}
    for position, (name, rows) in enumerate(curves.items()):
        done = rows.dropna(subset=["query_median_s"])
        alpha = FAINT if flagged(done, "over_page_limit").all() else 1
        low, fit, high = fits[name]
        if math.isnan(fit):
            axes.annotate(f"not known   {remark(rows)}", (left, position), **beside)
            continue
        axes.plot([left, fit], [position, position], markevery=[1], alpha=alpha, **looks[name])
        look = {"color": looks[name]["color"], "linewidth": 0.8, "alpha": alpha}
        draw_interval(axes, position, low, high, (left, right), look, upright=False)
        words = f"{number(fit, 2)} s" + (f"   {remark(rows)}" if remark(rows) else "")
        axes.annotate(words, (max(fit, min(high, right)), position), **beside)
    for position, rows in enumerate(controls.values(), len(curves)):
        fastest = rows["queries_per_s"].max()
        words = f"{number(fastest, 2)} queries/s{', above the figure' if fastest > top else ''}; recall {span(rows['recall'])}"
        axes.annotate(words, (left, position), color=GREY, **beside)
    axes.set_xlim(left, 10 ** (powers[0] + 2.2 * len(powers)))  # to the right is room for words
    axes.set_xticks([10.0**power for power in powers[:: 1 + len(powers) // 6]])
    axes.xaxis.minorticks_off()
    axes.set_yticks(range(number_of_all), labels=[literal(name_of(rows.iloc[0])) for rows in (curves | controls).values()])
    for label in axes.get_yticklabels()[len(curves) :]:
        label.set_color(GREY)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
