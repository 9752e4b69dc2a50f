"""The PyTorch functions of the KeOps page: its arithmetic, its batches, and `topk` of whole rows.

Norms and products are of the points as they are, not of centred ones; each step makes a new matrix. What torch.py does
otherwise is what a comparison of both shows.
"""

from knnbench.backends.torch import Backend as Torch
from knnbench.problem.metrics import PAGE


class Backend(Torch):
    """The page's functions.

    Parameters
    ----------
    batch : {"seed", "all"}
        Queries per matrix: the page's formula, 500 MB / (4·d·n), or all of them; the page shows both.
    """

    def __init__(self, metric, device, threads, batch="seed"):
        super().__init__(metric, device, threads, batch=batch)
        self.function = metric.like or metric.name

    def unsupported(self, k, n, d):
        return None if self.function in PAGE else f"the KeOps page has no function for the {self.metric.name} metric"

    def fit(self, train):
        self.train = self.to_query_device(train)
        yield "transfer"
        self.train_sq = (self.train**2).sum(1)
        yield "train"
        self.step = None if self.whole else self.queries_per_matrix()
        yield "add"

    def nearest(self, queries, k):
        if self.function == "angular":
            return (queries @ self.train.T).topk(k, dim=1).indices
        if self.function == "manhattan":
            keys = (queries[:, None] - self.train).abs().sum(2)
        else:
            keys = (queries**2).sum(1)[:, None] + self.train_sq - 2 * queries @ self.train.T
        if self.function == "hyperbolic":
            keys /= queries[:, :1] * self.train[:, 0]
        return keys.topk(k, dim=1, largest=False).indices
