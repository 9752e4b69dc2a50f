"""Where points come from: seeded samplers, the digits, files of one's own and ann-benchmarks' files."""

import h5py
import numpy as np

from knnbench.problem.datasets import renumber
from knnbench.problem.formats import read_plain, text_attribute
from knnbench.problem.own_metrics import metric_of, takes_zero
from knnbench.problem.points import DataError, Points, Stream, block_rows, check_form, in_blocks
from knnbench.problem.readers import HAVE_ARRAYS, format_of, open_rows

SHOWN, SHOWN_NUMBERS = 3, 6  # rows of a preview, and numbers of each
# Metrics as VIBE's files name them; ann-benchmarks' names are ours.
NAMES = {"ip": "inner-product", "cosine": "angular", "normalized": "angular"}


def on_sphere(generator, shape):
    block = generator.standard_normal(shape)
    return block / np.linalg.norm(block, axis=1, keepdims=True)


def in_ball(generator, shape):
    # The shadow of a sphere of two more dimensions is uniform in the ball; float32 rounds none to its boundary.
    return 0.999 * on_sphere(generator, (shape[0], shape[1] + 2))[:, : shape[1]]


def shares(generator, shape):
    block = generator.standard_exponential(shape) + 1e-6  # none is zero
    return block / block.sum(1, keepdims=True)


def on_earth(generator, shape):
    sine, longitude = generator.uniform(-1, 1, shape).T
    return np.column_stack([np.degrees(np.arcsin(sine)), 180 * longitude])


DRAWN = {
    "normal": lambda generator, shape: generator.standard_normal(shape),
    "uniform": lambda generator, shape: generator.uniform(0.5, 1.5, shape),
    "sphere": on_sphere,
    "ball": in_ball,
    "simplex": shares,
    "earth": on_earth,
}


DIGITS = "scikit-learn's digits (test set of the UCI optical recognition of handwritten digits)"


def draw(kind, rows, d, generator, offset=0.0):
    """Draw points block by block; the size of the blocks does not change them.

    Parameters
    ----------
    kind : {"normal", "uniform", "sphere", "ball", "simplex", "earth"}
        Standard normal; uniform on [0.5, 1.5)^d, the KeOps page's box in the half-space; normal scaled to unit length; uniform
        in the unit ball; uniform among shares of a whole; latitude and longitude in degrees, uniform on the globe.
    rows, d : int
    generator : numpy.random.Generator
    offset : float, added to every coordinate

    Returns
    -------
    points : Points, float32
    """

    def blocks():
        step = block_rows(d)
        for first in range(0, rows, step):
            shape = (min(step, rows - first), d)
            block = DRAWN[kind](generator, shape)
            block += offset
            block = block.astype(np.float32)
            if kind == "uniform" and not offset:
                np.minimum(block, np.nextafter(np.float32(1.5), np.float32(0)), out=block)  # float32 may round up to 1.5
            yield block

    return Points((rows, d), np.dtype(np.float32), blocks())


def not_zero(values, origin):
    """Which rows of an array are not zero.

    Raises
    ------
    DataError
        None is.
    """
    with np.errstate(over="ignore"):
        kept = np.concatenate([block.astype(np.float32).any(axis=1) for block in in_blocks(values).blocks])
    if not kept.any():
        raise DataError(f"{origin}: every row is zero, which the metric does not take; take another file or metric")
    return kept


def places(settings, download=None):
    """Where the points of a file of one's own or of a download are.

    Parameters
    ----------
    settings : dict, an entry of `datasets` in the configuration, of source file or url
    download : path or None, the file fetched from `url`

    Returns
    -------
    places : dict, part -> (path, name of the array in the file or None)
        Of train and test; of train alone if `split` makes the queries of it, or points are their own (`self`).
    """
    parts = ["train"] if "split" in settings or settings.get("self") else ["train", "test"]
    file = download or settings.get("path")
    if file is None:
        array = settings.get("array")
        forms = {part: settings.get("format") or format_of(settings[part]) for part in parts}
        if array and set(HAVE_ARRAYS).isdisjoint(forms.values()):
            raise DataError(f"array: {array}: a file of format {forms['train']} has one array; leave it out")
        return {part: (settings[part], array if forms[part] in HAVE_ARRAYS else None) for part in parts}
    named = {part: settings.get(part) for part in parts}
    if (settings.get("format") or format_of(file)) == "hdf5":  # ann-benchmarks' names
        named = {part: name or part for part, name in named.items()}
    found = {part: (str(file), name) for part, name in named.items()}
    if len(set(found.values())) < len(found):
        raise DataError(
            f"{file}: points and queries would be the same rows; say which array is test, or split: 1000, or self: true"
        )
    return found


def preview(settings):
    """How the files of a dataset of one's own are read, with the first numbers of their first rows.

    Parameters
    ----------
    settings : dict, an entry of `datasets` in the configuration, of source file

    Returns
    -------
    lines : list of str
    """
    lines = []
    for part, (path, name) in places(settings).items():
        said = []
        rows = open_rows(path, name, settings.get("format"), said.append)
        n = "rows that are not counted yet" if isinstance(rows, Stream) and callable(rows.n) else f"{rows.shape[0]:,} rows"
        d = rows.shape[1] if not isinstance(rows, Stream) else rows.d
        array = f" of {name!r}" if name else ""
        lines += [f"{part}: {path}{array}, {settings.get('format') or format_of(path)}: {n} x {d:,}, {rows.dtype}", *said]
        first = next(rows.blocks(SHOWN)) if isinstance(rows, Stream) else rows[:SHOWN]
        lines += [", ".join(f"{number:.6g}" for number in row[:SHOWN_NUMBERS]) + ", ..." * (d > SHOWN_NUMBERS) for row in first]
    return lines


def choose(settings, n, origin):
    """Which rows of a file are points and which are queries, if the entry says `rows` or `split`.

    Returns
    -------
    train, test : ndarray of bool, shape (n,), or None for all; test is None, too, where the queries are elsewhere

    Raises
    ------
    DataError
        There are fewer rows than are wanted.
    """
    rows, split = settings.get("rows", n), settings.get("split", 0)
    if rows > n or split >= rows:
        raise DataError(f"{origin}: has {n:,} rows; rows: {rows:,} and split: {split:,} want more; lower them")
    if rows == n and not split:
        return None, None
    generator, train = np.random.default_rng(settings.get("seed", 0)), np.zeros(n, bool)
    train[generator.choice(n, rows, replace=False) if "seed" in settings else slice(rows)] = True
    if not split:
        return train, None
    test = np.zeros(n, bool)
    test[generator.choice(np.flatnonzero(train), split, replace=False)] = True
    return train & ~test, test


def from_files(settings, download=None):
    """Points of a file of one's own, or of a download; as `load` has them."""
    where = places(settings, download)
    origin = settings.get("url") or ", ".join(dict.fromkeys(path for path, _ in where.values()))
    remarks = []
    arrays = {part: open_rows(*place, settings.get("format"), remarks.append) for part, place in where.items()}
    for part, values in arrays.items():
        check_form(values.shape, values.dtype, f"{origin}, {part}")
    train, test = choose(settings, arrays["train"].shape[0], origin)
    if "split" in settings:
        arrays["test"] = arrays["train"]
    kept = {"train": train, "test": test}
    drops = settings.get("zero_rows", "drop" if settings["source"] == "url" else "refuse") == "drop"
    if drops and not takes_zero(metric_of(settings["metric"], settings.get("metric_entry"))):
        counts = []
        for part, values in arrays.items():
            every = np.ones(values.shape[0], bool) if kept[part] is None else kept[part]
            some = every & not_zero(values, origin)
            counts.append(f"{every.sum() - some.sum():,} of {every.sum():,}")
            kept[part] = some if some.sum() < every.sum() else kept[part]
        if any(not each.startswith("0 ") for each in counts):
            remarks.append(
                f"{counts[0]} points and {counts[-1]} queries of the file are zero, which {settings['metric']} does not take:"
                " left out, and ids count the others"
            )
    if any(some is not None for some in kept.values()):  # of both or of none
        kept |= {part: np.ones(values.shape[0], bool) for part, values in arrays.items() if kept[part] is None}
    points, queries = (in_blocks(arrays[part], kept[part]) if part in arrays else None for part in ("train", "test"))
    hosted = None
    own_names = [(where["train"][0], "train"), (where["train"][0], "test")]
    if train is None and isinstance(arrays["train"], h5py.Dataset) and list(where.values()) == own_names:
        with h5py.File(where["train"][0], "r") as file:
            said = text_attribute(file, "distance")
            has_neighbors = "neighbors" in set(file) and NAMES.get(said, said) == settings["metric"]
            hosted = read_plain(file, "neighbors", where["train"][0]) if has_neighbors else None
    if hosted is not None and points.kept is not None:
        hosted = renumber(hosted, (points.kept, queries.kept))
    return points, queries, hosted, origin, remarks


def load(settings, download=None):
    """Get the raw points of a dataset.

    Parameters
    ----------
    settings : dict, an entry of `datasets` in the configuration
    download : path or None, the file fetched from `url`

    Returns
    -------
    train, test : Points, shapes (n, d) and (q, d); take all of train before test, which is None if points are their own queries
        With `kept` where they are not all rows of their file: of a download for a metric of directions, for example, rows of
        zeros are left out, which nobody here can repair.
    hosted : ndarray or None
        Neighbours that the file brought along for the same metric; to be checked, never trusted.
    origin : str, for messages and for the dataset's `source` attribute
    remarks : list of str, what to say of the points

    Raises
    ------
    DataError
    """
    source = settings["source"]
    if source == "digits":
        from sklearn.datasets import load_digits  # three seconds, which no other source waits for

        points, origin = load_digits().data, DIGITS
        if settings.get("self"):
            return in_blocks(points), None, None, origin, []
        order = np.random.default_rng(settings["seed"]).permutation(len(points))
        test, train = np.split(points[order], [settings["queries"]])
        return in_blocks(train), in_blocks(test), None, origin, []
    if source in ("file", "url"):
        return from_files(settings, download)
    generator = np.random.default_rng(settings["seed"])
    offset = settings.get("offset", 0.0)
    train = draw(source, settings["n"], settings["d"], generator, offset)
    test = None if settings.get("self") else draw(source, settings["queries"], settings["d"], generator, offset)
    shifted = f" + {offset:g}" if offset else ""
    return train, test, None, f"{source}{shifted}, numpy.random.default_rng({settings['seed']})", []
