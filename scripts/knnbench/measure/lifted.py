"""A library that knows inner products, in place of one that knows the metric: points and queries are lifted (Metric.lift)."""

import numpy as np

SAMPLE = 1000  # points whose mean is the centre


class Lifted:
    """A backend of inner products that answers under another metric. Lifting the points is part of its fit, lifting queries of
    the time that answers on the host take.

    Parameters
    ----------
    inner : Backend, of the metric inner-product
    metric : Metric that lifts
    """

    def __init__(self, inner, metric):
        self.inner = inner
        self.metric = metric

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def unsupported(self, k, n, d):
        return self.inner.unsupported(k, n, d + 2)

    def look_at(self, train):
        self.centre = train[:SAMPLE].mean(0, dtype=np.float64).astype(np.float32)

    def questions(self, dataset):
        self.look_at(dataset.train)  # an index that was loaded does not know them
        return self.inner.questions(dataset)

    def fit(self, train):
        self.look_at(train)
        yield from self.inner.fit(self.metric.lift(train, self.centre))

    def lift(self, queries):
        return self.metric.lift(queries, self.centre, queries=True)

    def to_query_device(self, queries):
        return self.inner.to_query_device(self.lift(queries))

    def compile(self, queries, k):
        self.inner.compile(self.lift(queries), k)
