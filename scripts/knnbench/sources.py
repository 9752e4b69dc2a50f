"""Where points come from: seeded samplers, the digits, files of one's own and ann-benchmarks' files."""

from pathlib import Path

import h5py
import numpy as np
from sklearn.datasets import load_digits

from knnbench.datasets import DataError

BLOCK_ROWS = 2**16  # float64 temporaries stay small however large the sample


def draw(kind, rows, d, generator, offset=0.0):
    """Draw points block by block.

    Parameters
    ----------
    kind : {"normal", "uniform", "sphere"}
        Standard normal; uniform on [0.5, 1.5)^d, the KeOps page's box in the half-space; normal scaled to unit length.
    rows, d : int
    generator : numpy.random.Generator
    offset : float, added to every coordinate

    Returns
    -------
    points : ndarray, shape (rows, d), float32
    """
    points = np.empty((rows, d), dtype=np.float32)
    for start in range(0, rows, BLOCK_ROWS):
        shape = points[start : start + BLOCK_ROWS].shape
        block = generator.uniform(0.5, 1.5, shape) if kind == "uniform" else generator.standard_normal(shape)
        if kind == "sphere":
            block /= np.linalg.norm(block, axis=1, keepdims=True)
        points[start : start + BLOCK_ROWS] = block + offset
    if kind == "uniform" and not offset:
        np.minimum(points, np.nextafter(np.float32(1.5), np.float32(0)), out=points)  # float32 may round up to 1.5
    return points


def read_array(path, name=None):
    """Read one array from a .npy file, or the dataset `name` of an HDF5 file.

    Raises
    ------
    DataError
        The file is not what its name says, lacks the dataset, or holds rows of different lengths.
    """
    try:
        if name is None:
            return np.load(path, allow_pickle=False)
        with h5py.File(path, "r") as file:
            if name not in file:
                raise DataError(f"{path}: has no dataset {name!r}, only {sorted(file)}; an HDF5 source needs train and test")
            values = file[name]
            if not isinstance(values, h5py.Dataset) or values.dtype.kind == "O":
                raise DataError(f"{path}: {name} is not a plain array of numbers; rows need one length and one dtype")
            return values[:]
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected an HDF5 file or a .npy file without pickles") from error


def load(settings, download=None):
    """Get the raw points of a dataset.

    Parameters
    ----------
    settings : dict, an entry of `datasets` in the configuration
    download : path or None, the file fetched from `url`

    Returns
    -------
    train, test : ndarray, shapes (n, d) and (q, d)
    hosted : ndarray or None
        Neighbours that the file brought along for the same metric; to be checked, never trusted.
    origin : str, for messages and for the dataset's `source` attribute

    Raises
    ------
    DataError
    """
    source = settings["source"]
    if source == "digits":
        points = load_digits().data
        order = np.random.default_rng(settings["seed"]).permutation(len(points))
        test, train = np.split(points[order], [settings["queries"]])
        return train, test, None, "scikit-learn's digits (test set of the UCI optical recognition of handwritten digits)"
    if source in ("file", "url"):
        if "train" in settings:
            train, test = read_array(settings["train"]), read_array(settings["test"])
            return train, test, None, f"{settings['train']}, {settings['test']}"
        path = Path(download or settings["path"])
        train, test = read_array(path, "train"), read_array(path, "test")
        with h5py.File(path, "r") as file:
            has_neighbors = "neighbors" in file and file.attrs.get("distance") == settings["metric"]
            hosted = read_array(path, "neighbors") if has_neighbors else None
        return train, test, hosted, settings.get("url", str(path))
    generator = np.random.default_rng(settings["seed"])
    offset = settings.get("offset", 0.0)
    train = draw(source, settings["n"], settings["d"], generator, offset)
    test = draw(source, settings["queries"], settings["d"], generator, offset)
    shifted = f" + {offset:g}" if offset else ""
    return train, test, None, f"{source}{shifted}, numpy.random.default_rng({settings['seed']})"
