"""How figures look: one colour per library, one marker per variant, and files that are the same for the same numbers."""

import collections
import contextlib
import os
import tempfile

from knnbench.config.settings import points_of
from knnbench.measure.statuses import NOT_RUN
from knnbench.results.tables import controls_apart, flagged

# Matplotlib comes from here for all scripts, as it is by itself: with no matplotlibrc, style or font of the user's, and no
# backend of a notebook's. It reads files of the working folder, of two variables and of the user's folders, and one that it
# cannot read stops its import; so it is imported where there are none.
for name in ("MATPLOTLIBRC", "MPLBACKEND"):
    os.environ.pop(name, None)
os.environ["MPL_IGNORE_SYSTEM_FONTS"] = "1"
with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
    os.environ["MPLCONFIGDIR"] = empty
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
del os.environ["MPLCONFIGDIR"]

GREY = "#8A8A8A"  # of controls
# Okabe and Ito's palette: told apart by colour-blind readers, and in grey by their markers.
COLOURS = {"keops": "#D55E00", "faiss": "#0072B2", "torch": "#CC79A7", "jax": "#009E73", "sklearn": "#B58900", "control": GREY}
# Then the rest of it, and what Paul Tol's muted one has besides.
OTHER_COLOURS = ("#000000", "#56B4E9", "#882255", "#44AA99", "#999933", "#332288", "#7B3F00")
MARKERS = "osD^vP*X<>"
FAINT = 0.4  # opacity of what is over the page's limits
MARGIN = 1.25, 0.1  # of an axis beyond the medians: a factor, and a share of what they span in logarithms
CUT = "An arrow: the interval goes on."
# What a mark means, and whether measured rows have it.
MARKS = {
    "Solid: exact; dashed: approximate.": lambda rows: not rows["exact"].all(),
    "Thin: CPU; thick: GPU.": lambda rows: (rows["device"] == "gpu").any(),
    "Hollow: low recall.": lambda rows: (rows["status"] == "low_recall").any(),
    "Ringed: a subset of the queries.": lambda rows: flagged(rows, "subset").any(),
    "Faint: over the page's limits.": lambda rows: flagged(rows, "over_page_limit").any(),
    "Grey: controls.": lambda rows: len(controls_apart(rows)[1]) > 0,
}

plt.rcParams.update(
    {
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#dddddd",
        "grid.linewidth": 0.5,
        "svg.hashsalt": "knnbench",  # the same ids in every run
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
    }
)


def places(backends):
    """Place of every backend: its library, by what its module's name begins with; a colour; and which one of that colour it is.

    The points of a family have one place.

    Parameters
    ----------
    backends : dict, name -> entry of the configuration, in its order

    Returns
    -------
    places : dict, name -> (library, colour, position)
    """
    libraries = {}
    for name, entry in points_of(backends).items():
        families = libraries.setdefault(entry["module"].split("_")[0], {})
        families.setdefault(entry.get("family", name), []).append(name)
    others = [library for library in libraries if library not in COLOURS]
    colours = COLOURS | {library: OTHER_COLOURS[position % len(OTHER_COLOURS)] for position, library in enumerate(others)}
    found, taken = {}, collections.Counter()
    for library, families in libraries.items():
        for names in families.values():
            found |= dict.fromkeys(names, (library, colours[library], taken[colours[library]]))
            taken[colours[library]] += 1
    return found


def styles(backends):
    """Give every backend and device a look of its own.

    Parameters
    ----------
    backends : dict, name -> entry of the configuration, in its order

    Returns
    -------
    styles : dict, (backend, device) -> keyword arguments of Axes.plot
        Solid lines are exact and dashed ones approximate; thick lines and large markers are GPUs, the thinnest controls.
    """
    looks, points = {}, points_of(backends)
    for name, (_, colour, position) in places(backends).items():
        for device in points[name]["environments"]:
            gpu, control = device == "gpu", points[name].get("control")
            looks[name, device] = {
                "color": colour,
                "marker": MARKERS[position % len(MARKERS)],
                "linestyle": "-" if points[name]["exact"] else (0, (4, 2)),
                "linewidth": 0.6 if control else 2.4 if gpu else 1.2,
                "markersize": 3 if control else 7 if gpu else 5,
            }
    return looks


def key(rows):
    """The marks that rows have, and what they mean."""
    done = rows.dropna(subset=["query_median_s"])
    return " ".join(words for words, occurs in MARKS.items() if occurs(done))


def stopped(rows):
    """Rows of cells that have no time, by K."""
    return rows[rows["status"].isin(NOT_RUN)]


def limits(medians):
    """Limits of a logarithmic axis from what was measured: an interval may be so wide that it would make all else one point.

    Parameters
    ----------
    medians : iterable of float, positive

    Returns
    -------
    least, most : float
    """
    least, most = min(medians), max(medians)
    factor, share = MARGIN
    beyond = factor * (most / least) ** share
    return least / beyond, most * beyond


def draw_interval(axes, place, low, high, bounds, look, upright=True):
    """Draw an interval up to the limits of its axis, with an arrow where it goes on.

    Parameters
    ----------
    axes : matplotlib Axes
    place : float, on the other axis
    low, high : float, NaN where they are not known
    bounds : (float, float), of `limits`
    look : dict, color and alpha, and what else the line takes
    upright : bool, whether the interval is along the y axis
    """
    if not (low <= bounds[1] and high >= bounds[0]):  # also of NaN
        return
    ends = max(low, bounds[0]), min(high, bounds[1])
    (axes.vlines if upright else axes.hlines)(place, *ends, **look)
    for goes_on, end, marker in ((low < ends[0], ends[0], "v<"), (high > ends[1], ends[1], "^>")):
        if goes_on:
            where = (place, end) if upright else (end, place)
            mark = {"marker": marker[not upright], "markersize": 4, "clip_on": False, "linestyle": "none"}
            axes.plot(*where, color=look["color"], alpha=look["alpha"], **mark)


def literal(text):
    """A text of the user's for Matplotlib, which takes what is between two $ for mathematics."""
    return text.replace("$", r"\$")


def settle(figure):
    """Fix the layout of a figure: it moves a little with every drawing, and in its last digits with every process."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(number, 5) for number in axes.get_position().bounds])


def save(figure, path, dpi):
    """Write a figure without the date, so that the same numbers give the same bytes."""
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:])
    figure.savefig(path, dpi=dpi, metadata=metadata)
