"""PyNNDescent's graph of the neighbours of a set: NN-descent alone, without what searches of other points need."""

from knnbench.backends.pynndescent import Backend as Index
from knnbench.problem.own_rows import without_own


class Backend(Index):
    """PyNNDescent, which is asked for the graph: every pass makes all of it, and there is nothing to fit.

    Parameters
    ----------
    n_neighbors, diversify_prob, pruning_degree_multiplier : as of the index; of `n_neighbors` the point itself is one
    """

    graphs = True

    def unsupported(self, k, n, d):
        if (neighbors := self.parameters["n_neighbors"]) <= k:
            return f"of {neighbors} neighbours in this graph the point itself is one: K is {neighbors - 1} at most"
        return super().unsupported(k, n, d)

    def fit(self, train):
        yield "transfer"
        self.train = train
        yield "train"
        yield "add"

    def query(self, queries, k):
        ids, _ = self.descend(self.train).neighbor_graph
        return without_own(ids[queries, : k + 1], queries)
