"""What a backend is. See docs/extending.md for how to add one."""

from pathlib import Path

import numpy as np

BACKENDS = Path(__file__).parent


def padded(rows, k):
    """Answers to queries, some of fewer than `k` neighbours, filled up with -1: an integer array, shape (q, k)."""
    if all(len(row) == k for row in rows):
        return np.array(rows) if isinstance(rows[0], list) else np.concatenate(rows).reshape(-1, k)
    ids = np.full((len(rows), k), -1)
    for filled, row in zip(ids, rows, strict=True):
        filled[: len(row)] = row
    return ids


def one_by_one(ask, queries, k, refusal):
    """Ask a library that raises where it finds fewer than it was asked for: query by query, for as many as it gives.

    Parameters
    ----------
    ask : callable (queries, k) -> ids, shape (q, k)
    refusal : class of what it raises then

    Returns
    -------
    ids : ndarray, shape (q, k), -1 where nothing was found
    """
    rows = []
    for query in queries:
        found, too_many, asked = [], k + 1, k
        while asked > len(found):
            try:
                found = ask(query[None], asked)[0]
            except refusal:
                too_many = asked
            asked = (len(found) + too_many) // 2
        rows.append(found)
    return padded(rows, k)


class Backend:
    """One way to find neighbours. The harness owns the clock; a backend never times, scores or copies for itself.

    A module `knnbench/backends/NAME.py` holds a subclass called `Backend`, imports its libraries at the top, and lists them
    in `packages`, whose versions are recorded.

    Parameters
    ----------
    metric : Metric
    device : {"cpu", "gpu"}
    threads : int, CPU threads to use
    **parameters : the backend's `parameters` in config.yaml
    """

    packages = ()
    compiles = False  # True if `compile` has something to do
    searches = True  # False for a control, which looks at no points
    graphs = False  # True if each pass makes the kNN graph of all points (self: true), and no other queries are answered
    lifts = False  # True if inner products of it are exact enough for lifted points (measure/lifted.py)
    build = 0  # number of this build of the index: each has another seed, where the library takes one; 0: the library's own

    def __init__(self, metric, device, threads):
        self.metric = metric
        self.device = device
        self.threads = threads

    def unsupported(self, k, n, d):
        """Say why `k` neighbours among `n` points in dimension `d` cannot be had; None if they can."""
        return None

    def threads_used(self):
        """Number of CPU threads that the library says it uses, or None if it cannot tell."""
        return None

    def least_queries(self, queries):
        """Fewest queries that are searched as `queries` of them are: a batch of its own, or where it changes its algorithm.

        A pass over a subset asks a multiple of it. Called after the fit.
        """
        return queries if self.graphs else 1

    def questions(self, dataset):
        """What the harness asks, one row per query: the queries; of a graph, the numbers of the points that they are."""
        return dataset.own if self.graphs else dataset.test

    def fit(self, train):
        """Take the points; a generator that yields "transfer", "train" and "add", each when that phase is over.

        The time between two yields is the phase's, so a phase that the library does not have is yielded at once.

        Parameters
        ----------
        train : ndarray, shape (n, d), float32, C-contiguous
        """
        raise NotImplementedError

    def save(self, path):
        """Write the fitted index, if the entry in config.yaml says `saves: true`.

        Parameters
        ----------
        path : Path, not there yet; a file or a folder
        """
        raise NotImplementedError

    def load(self, path):
        """Take back what `save` wrote, in place of `fit`."""
        raise NotImplementedError

    def set_search(self, **search):
        """Take what the entry's `search` has, for the queries that follow.

        Called after `fit` or `load`, once for each point of a curve. Without it the library's own defaults hold.
        """
        raise NotImplementedError

    def to_query_device(self, queries):
        """Bring queries, an ndarray of shape (q, d) and dtype float32, to where `query` wants them."""
        return queries

    def compile(self, queries, k):
        """Compile what a query of these needs: by default by asking two of them. Has the fit's time limit and a query's."""
        self.query(self.to_query_device(queries[:2]), k)

    def query(self, queries, k):
        """Find the `k` nearest points of each query.

        Returns
        -------
        ids : integer array, shape (q, k), on the query device
            Rows are sorted by increasing distance; ties in any order; -1 where nothing was found.
        """
        raise NotImplementedError

    def synchronize(self):
        """Wait until the device has finished what was asked of it."""

    def to_host(self, ids):
        """Bring an answer to the host as an ndarray."""
        return ids
