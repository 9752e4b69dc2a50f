"""Where points come from: seeded samplers, the digits, files of one's own and ann-benchmarks' files."""

from pathlib import Path

import h5py
import numpy as np

from knnbench.problem.datasets import renumber
from knnbench.problem.formats import open_array, read_plain, text_attribute
from knnbench.problem.metrics import METRICS
from knnbench.problem.points import DataError, Points, block_rows, check_form, in_blocks


def draw(kind, rows, d, generator, offset=0.0):
    """Draw points block by block; the size of the blocks does not change them.

    Parameters
    ----------
    kind : {"normal", "uniform", "sphere"}
        Standard normal; uniform on [0.5, 1.5)^d, the KeOps page's box in the half-space; normal scaled to unit length.
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
            block = generator.uniform(0.5, 1.5, shape) if kind == "uniform" else generator.standard_normal(shape)
            if kind == "sphere":
                block /= np.linalg.norm(block, axis=1, keepdims=True)
            block += offset
            block = block.astype(np.float32)
            if kind == "uniform" and not offset:
                np.minimum(block, np.nextafter(np.float32(1.5), np.float32(0)), out=block)  # float32 may round up to 1.5
            yield block

    return Points((rows, d), np.dtype(np.float32), blocks())


def have_directions(values, origin):
    """Which rows of a downloaded array are not zero: only those have a direction.

    Raises
    ------
    DataError
        None has one.
    """
    with np.errstate(over="ignore"):
        kept = np.concatenate([block.astype(np.float32).any(axis=1) for block in in_blocks(values).blocks])
    if not kept.any():
        raise DataError(f"{origin}: every row is zero, which has no direction; take another file or metric")
    return kept


def load(settings, download=None):
    """Get the raw points of a dataset.

    Parameters
    ----------
    settings : dict, an entry of `datasets` in the configuration
    download : path or None, the file fetched from `url`

    Returns
    -------
    train, test : Points, shapes (n, d) and (q, d); take all of train before test
        Of a download for a metric of directions, without its rows of zeros: nobody here can repair them.
    hosted : ndarray or None
        Neighbours that the file brought along for the same metric; to be checked, never trusted.
    origin : str, for messages and for the dataset's `source` attribute

    Raises
    ------
    DataError
    """
    source = settings["source"]
    if source == "digits":
        from sklearn.datasets import load_digits  # three seconds, which no other source waits for

        points = load_digits().data
        order = np.random.default_rng(settings["seed"]).permutation(len(points))
        test, train = np.split(points[order], [settings["queries"]])
        return (
            in_blocks(train),
            in_blocks(test),
            None,
            "scikit-learn's digits (test set of the UCI optical recognition of handwritten digits)",
        )
    if source in ("file", "url"):
        if "train" in settings:
            train, test = (in_blocks(open_array(settings[part])) for part in ("train", "test"))
            return train, test, None, f"{settings['train']}, {settings['test']}"
        path = Path(download or settings["path"])
        origin = settings.get("url", str(path))
        arrays, kept = [open_array(path, part) for part in ("train", "test")], None
        if source == "url" and METRICS[settings["metric"]].normalised:
            for values, part in zip(arrays, ("train", "test"), strict=True):
                check_form(values.shape, values.dtype, f"{origin}, {part}")
            kept = tuple(have_directions(values, origin) for values in arrays)
            kept = None if all(mask.all() for mask in kept) else kept
        train, test = map(in_blocks, arrays, kept or (None, None))
        with h5py.File(path, "r") as file:
            has_neighbors = "neighbors" in set(file) and text_attribute(file, "distance") == settings["metric"]
            hosted = read_plain(file, "neighbors", path) if has_neighbors else None
        return train, test, hosted if hosted is None else renumber(hosted, kept), origin
    generator = np.random.default_rng(settings["seed"])
    offset = settings.get("offset", 0.0)
    train = draw(source, settings["n"], settings["d"], generator, offset)
    test = draw(source, settings["queries"], settings["d"], generator, offset)
    shifted = f" + {offset:g}" if offset else ""
    return train, test, None, f"{source}{shifted}, numpy.random.default_rng({settings['seed']})"
