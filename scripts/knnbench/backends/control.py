"""Answers without a search: what bounds the backends that search."""

import numpy as np

from knnbench.backends.base import Backend as Base


class Backend(Base):
    """A control, which is asked by the numbers of the queries.

    Parameters
    ----------
    what : {"null", "random"}
        null: the stored neighbours, so that its time is what a call costs that does nothing; random: points at random, none
        twice, so that its recall is what chance scores: K / n, and more where points tie.
    """

    packages = ("numpy",)
    searches = False

    def __init__(self, metric, device, threads, what):
        super().__init__(metric, device, threads)
        self.what = what

    def questions(self, dataset):
        self.answers = dataset.neighbors
        if self.what == "random":
            generator, (q, k), n = np.random.default_rng(self.build), self.answers.shape, len(dataset.train)
            first, step = generator.integers(n, size=(q, 1)), generator.integers(1, n // k, size=(q, 1), endpoint=True)
            self.answers = ((first + step * np.arange(k)) % n).astype(np.int32)
        return np.arange(len(self.answers))

    def fit(self, train):
        yield "transfer"
        yield "train"
        yield "add"

    def query(self, queries, k):
        return self.answers[queries, :k]
