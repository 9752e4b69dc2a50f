"""A library that is asked by points for their neighbours among the others: for one more, and the point itself is dropped."""

from dataclasses import dataclass

import numpy as np

from knnbench.problem.own_rows import without_own


@dataclass(frozen=True)
class Rows:
    """Points with their numbers, which are taken together."""

    points: np.ndarray
    numbers: np.ndarray

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, some):
        return Rows(self.points[some], self.numbers[some])


class AmongOthers:
    """A backend that is asked for k + 1 neighbours. The point is dropped on the host, within the time that answers there take.

    Parameters
    ----------
    inner : Backend
    """

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def unsupported(self, k, n, d):
        return self.inner.unsupported(k + 1, n, d)

    def questions(self, dataset):
        return Rows(self.inner.questions(dataset), dataset.own)

    def searched(self, search, k):
        return self.inner.searched(search, k + 1)

    def to_query_device(self, queries):
        return self.inner.to_query_device(queries.points), queries.numbers

    def compile(self, queries, k):
        self.inner.compile(queries.points, k + 1)

    def query(self, queries, k):
        points, numbers = queries
        return self.inner.query(points, k + 1), numbers

    def to_host(self, answer):
        ids, numbers = answer
        return without_own(self.inner.to_host(ids), numbers)
