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


def by_halves(ask, queries, k, refusal):
    """Ask a library that raises where it finds fewer than it was asked for.

    Queries among which it raises are asked again in halves, and one for which it does so alone for as many as it gives: each of
    these costs some calls for every halving, and the other queries together no more than twice what they cost at once.

    Parameters
    ----------
    ask : callable (queries, k) -> ids, shape (q, k)
    refusal : class of what it raises then

    Returns
    -------
    ids : ndarray, shape (q, k), -1 where nothing was found
    """
    try:
        return ask(queries, k)
    except refusal:
        pass
    if middle := len(queries) // 2:
        return np.concatenate([by_halves(ask, half, k, refusal) for half in (queries[:middle], queries[middle:])])
    found, too_many, asked = [], k, k // 2
    while asked > len(found):
        try:
            found = ask(queries, asked)[0]
        except refusal:
            too_many = asked
        asked = (len(found) + too_many) // 2
    return padded([found], k)


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
    whole = False  # True if all queries are asked at once or none: whether that fits into memory and time is what it shows
    alone = ""  # why several threads may not call it at once; empty if they may
    lifts = False  # True if inner products of it are exact enough for lifted points (measure/lifted.py)
    at_least_k = None  # the search parameter in whose place the library, or the backend, takes K where K is larger
    # Narrower numbers than float32, if it rounds points to them: "float16", "bfloat16" or "int8" (problem/narrow.py). A dataset
    # that they do not hold is `unsupported`.
    rounds_to = None
    rounds_queries = True  # False if it compares queries as they are
    build = 0  # number of this build of the index: each has another seed, where the library takes one; 0: the library's own

    def __init__(self, metric, device, threads):
        self.metric = metric
        self.device = device
        self.threads = threads

    def unsupported(self, k, n, d):
        """Say why `k` neighbours among `n` points in dimension `d` cannot be had; None if they can."""
        return None

    def before_rounding(self, train):
        """What is done to points and queries before they are rounded to `rounds_to`, such as centring or scaling by `train`.

        Returns
        -------
        prepare : callable (points) -> ndarray, shape (rows, d), float32
        """
        return lambda points: points

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

    def searched(self, search, k):
        """What is really searched with where `set_search` was given `search`: of several that are the same, one is measured."""
        name = self.at_least_k
        return search | {name: max(search[name], k)} if name in search else search

    def begin_thread(self):
        """Set what belongs to a thread, in one that is about to call `query` beside others."""

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
