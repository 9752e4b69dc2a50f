"""What a run will take: expected time, memory, disk and downloads of every cell, from cells that were measured before.

The cell of the same backend that is most like it, of this machine or of `published/`, is scaled by n·q·d. Nothing is expected
to take longer than its limit.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from knnbench.config.checks import DEFAULT_QUERIES, DIGITS, read_header
from knnbench.config.suite import AUTO, Cell, rounds_of
from knnbench.config.values import ConfigError
from knnbench.measure.callers import SECONDS, SIZES
from knnbench.measure.statuses import NOT_RUN
from knnbench.problem.own_rows import EVERY
from knnbench.workflow.seen import NO_INDEX_S, START_S, nearest, passes_s, read_seen

CELLS, INDEXES = Path("results/cells"), Path("results/indexes")

# Measured on two CPU cores; they are small beside the cells. Seconds:
JOB_S = 0.2  # Snakemake, for each job
ENVIRONMENT_S = 12  # making an environment from a warm cache; downloads come on top
CEILINGS_S = 15
FIGURE_S = 4
GUESSED = 10**6  # rows of a file that only reading it would count
DRAWN_PER_S = 3e7  # numbers
DOWNLOADED_PER_S = 1e7  # bytes; a guess
# Per pair of points; per pair and coordinate with a matrix product, and without: docs/performance.md.
TRUTH_PAIR_S = (8e-10, 1.0e-11, 2.5e-11)
UNKNOWN_RATE = {"cpu": 2e10, "gpu": 2e12}  # n·q·d per second, of a backend that nobody has measured on such a device
UNKNOWN_CELL_S = 5.0
POINT_S = 0.6  # of a point besides the first, above its passes: calls with few queries, its score


@dataclass(frozen=True)
class Size:
    """What a dataset will be: n and q points in dimension d; megabytes to download."""

    metric: str
    n: int
    d: int
    q: int
    megabytes: float = 0


@dataclass(frozen=True)
class Expected:
    """What a cell is expected to take."""

    cell: Cell
    seconds: float  # of all rounds that are not measured, and of the index
    each_s: float  # of one round
    host_bytes: float
    measured: bool
    build_s: float = 0.0  # of its index, if it is saved: once for all K
    begun: bool = False  # whether its first round is measured


def size_of(name, settings):
    """Size of a dataset as far as it is known before it is made."""
    source, split, megabytes = settings["source"], settings.get("split", 0), settings.get("megabytes", 0)
    if source == "digits":
        n, d = DIGITS - (0 if settings.get("self") else settings["queries"]), 64
    elif source == "file":
        rows, d = read_header(name, settings, "train")
        n = settings.get("rows", rows or GUESSED) - split
    else:
        n, d = settings.get("n", GUESSED) - split, settings.get("d", 100)
    if settings.get("self"):
        q = min(n, settings.get("queries", EVERY))
    elif source == "file":
        q = split or read_header(name, settings, "test")[0] or DEFAULT_QUERIES
    else:
        q = split or settings.get("queries", DEFAULT_QUERIES)
    return Size(settings["metric"], n, d, q, megabytes)


def host_bytes(size, backend):
    """Memory of a cell on its host: libraries, the points and copies of them, and for some backends the whole matrix."""
    matrix = 8 * size.n * size.q if backend["parameters"].get("batch") == "all" else 0
    return 5e8 + 12 * size.n * size.d + matrix


def callers_s(callers):
    """Seconds of calls of several callers, of each point: what a caller alone asks before is as much at most."""
    return len(SIZES) * SECONDS * (len(callers) + 1) if callers else 0.0


def longest_s(timing, points=1, callers=()):
    """Seconds that a cell can take before each of its limits has ended it, ten minutes for imports and scoring included.

    With a second worker, which fits again and asks few queries where many at once took too long.
    """
    passes = 8 + 2 * (timing["min_repeats"] + 4 * (1 + len(timing["batch_sizes"])))
    passes += len(SIZES) * (2 * max(callers) + len(callers)) if callers else 0
    attempts = 3 if timing["retry_noisy"] else 1
    return 600 + attempts * (3 * timing["max_fit_s"] + points * passes * timing["max_query_s"])


def expect_cell(cell, size, backend, seen, timing):
    """Seconds of one round of a cell, and of building its index, if it is saved."""
    work = size.n * size.q * size.d
    like = nearest(seen, cell.device, size, cell.k)
    if like is None:
        query = 0.0 if backend["control"] else work / UNKNOWN_RATE[cell.device]
        fit, fixed, finished = 0.0, UNKNOWN_CELL_S, True
    else:
        ratio = work / (like.n * like.q * like.d)
        finished = like.status not in NOT_RUN or like.status.startswith("timeout")
        fit = like.fit_s * size.n * size.d / (like.n * like.d) if like.fit_s is not None else 0.0
        query = like.query_s * ratio if like.query_s is not None else 0.0
        if like.status == "timeout_query":
            query = timing["max_query_s"] * ratio * 1.01
        if like.status == "timeout_fit":
            fit = timing["max_fit_s"] * size.n * size.d / (like.n * like.d) * 1.01
        fixed = like.before_s + like.compile_s + max(START_S, like.after_s)
    build = min(fit, timing["max_fit_s"]) + 1 if backend["saves"] else 0.0
    if backend["saves"] and (not finished or fit > timing["max_fit_s"]):
        return NO_INDEX_S, build
    seconds = fixed + (0 if backend["saves"] else min(fit, timing["max_fit_s"]))
    if not finished or fit > timing["max_fit_s"]:
        return seconds, build
    if query > timing["max_query_s"] and backend["parameters"].get("batch") == "all":  # which asks no subset
        return seconds + timing["max_query_s"], build
    each = min(query, timing["pass_s"]) + passes_s(query, timing) + callers_s(backend.get("callers"))
    return seconds + each + (len(backend.get("search", [None])) - 1) * (each + POINT_S), build


def expect(config, listed, published, machine):
    """What every cell of a list is expected to take, those that are measured already nothing.

    Parameters
    ----------
    config : dict, resolved
    listed : list of Cell
    published : Path, folder of results of other machines
    machine : dict, from machine.describe

    Returns
    -------
    expected : list of Expected, in the order of the list
    """
    timing, rounds = config["timing"], rounds_of(config["timing"])
    seen = read_seen(CELLS, published, timing, machine, config["backends"])
    sizes = {name: size_of(name, config["datasets"][name]) for name in {cell.dataset for cell in listed}}
    built, expected = set(), []
    for cell in listed:
        done = sum((CELLS / cell.record(number)).exists() for number in rounds)
        backend = config["backends"][cell.backend]
        like = seen.get(cell.backend) or seen.get(backend.get("variant_of"), [])
        seconds, build = expect_cell(cell, sizes[cell.dataset], backend, like, timing)
        each_s = seconds + JOB_S
        seconds = each_s * (len(rounds) - done)
        place = cell.dataset, cell.backend, cell.device
        index = INDEXES / Path(cell.record(0)).parent
        if build and seconds and place not in built:
            built.add(place)
            builds = rounds[:1] if build > timing["rebuild_s"] else rounds
            missing = [number for number in builds if not (index / f"round{number}").exists()]
            seconds += len(missing) * (build + JOB_S)
        memory = host_bytes(sizes[cell.dataset], backend)
        expected.append(Expected(cell, seconds, each_s, memory, done == len(rounds), build, (CELLS / cell.record(0)).exists()))
    return expected


def affordable(expected, timing):
    """The cells that fit into `timing.budget_h`: K nearest to 10 first, then the shortest, so that a little time shows most of
    the grid. Of `rounds: auto` all: its hours are for further rounds (`check_hours`).

    Parameters
    ----------
    expected : list of Expected
    timing : dict, section of the configuration

    Returns
    -------
    chosen : set of Cell
    """
    spent, chosen = 0.0, set()
    for each in sorted(expected, key=lambda each: (abs(math.log(each.cell.k / 10)), each.seconds)):
        spent += each.seconds
        if timing["rounds"] == AUTO or not timing["budget_h"] or spent <= timing["budget_h"] * 3600:
            chosen.add(each.cell)
    return chosen


def check_hours(expected, budget_h):
    """Check that the hours of `rounds: auto` are enough for the first round of every cell.

    Parameters
    ----------
    expected : list of Expected
    budget_h : float; 0 is no limit

    Raises
    ------
    ConfigError
    """
    new = [each for each in expected if not each.begun]
    builds = {(each.cell.dataset, each.cell.backend, each.cell.device): each.build_s for each in new}  # which several K share
    once_h = (sum(each.each_s for each in new) + sum(builds.values())) / 3600
    if budget_h and once_h > budget_h:
        raise ConfigError(
            f"timing.budget_h: {budget_h:g} hours are not enough for one round of every cell (rounds: auto), which takes about"
            f" {once_h:.2g}; give at least as much, take a smaller suite, or say rounds: 1, which leaves cells out"
        )


def dataset_s(size, cpus):
    """Seconds of drawing a dataset and finding its exact neighbours on the CPU."""
    fixed, product, differences = TRUTH_PAIR_S
    per_pair = fixed + size.d * (product if size.metric != "manhattan" and size.d >= 16 else differences)
    return 3 + (size.n + size.q) * size.d / DRAWN_PER_S + size.n * size.q * per_pair * 2 / cpus


def dataset_bytes(size, truth_k):
    """Bytes of a dataset file."""
    return 4 * size.d * (size.n + size.q) + 16 * size.q * min(truth_k, size.n)


def index_bytes(size):
    """Bytes of a saved index, about: the points and half as much of links or lists."""
    return 6 * size.n * size.d
