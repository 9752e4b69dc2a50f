"""The points of a cell: in which order they are measured, and which of them there is no need to measure."""

import numpy as np


def in_words(search):
    return ", ".join(f"{name}={value}" for name, value in search.items())


class Curve:
    """The settings of a cell, of which each is a point.

    Two settings may be the same search, since a library that keeps as many candidates as it returns takes K in place of a
    smaller number (`Backend.searched`); the last of these is measured. And a curve has an end: where a point has a recall that
    is enough, those that look at more in every parameter are not measured, more meaning later in the list of its values.
    Which these are is found in the first round, which goes through the settings in their order. Later rounds measure the same
    points, in a random order of their own.

    Parameters
    ----------
    task : Task
    backend : Backend

    Attributes
    ----------
    searched : list of dict, what is really searched with, of each setting
    """

    def __init__(self, task, backend):
        self.task, self.k, self.enough = task, task.n_neighbors, task.timing.enough_recall
        self.searched = [backend.searched(search, self.k) for search in task.search]
        self.first = (task.first or {}).get("points", {})  # of the first round, by number
        self.reached = {}  # number of a point -> its recall, where that is enough
        values = {}  # of each parameter, in the order of its list
        for name, value in (pair for search in task.search for pair in search.items()):
            values.setdefault(name, []).append(value)
        self.places = [{name: values[name].index(value) for name, value in search.items()} for search in task.search]

    def order(self):
        """The numbers of the points, in the order in which they are looked at."""
        count = len(self.task.search)
        if not self.first:
            return list(range(count))
        return np.random.default_rng([self.task.timing.seed, self.task.build]).permutation(count).tolist()

    def add(self, number, recall):
        """Take note of the recall of a point."""
        if recall >= self.enough:
            self.reached[number] = recall

    def why_not(self, number):
        """Why there is no need to measure a point; empty if there is."""
        if self.first:
            before = self.first.get(str(number), {})
            return before["reason"] if before.get("status") == "not_needed" else ""
        same = max(other for other, searched in enumerate(self.searched) if searched == self.searched[number])
        if same != number:
            return f"the same search as {in_words(self.task.search[same])}: K = {self.k} takes the place of smaller numbers"
        for end, recall in self.reached.items():
            if all(self.places[number][name] >= place for name, place in self.places[end].items()):
                return f"a curve ends at recall {self.enough:g}, and {in_words(self.searched[end])} has {recall:.4f}"
        return ""
