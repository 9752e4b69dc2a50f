"""USearch: its exact search, a kernel for every pair of a query and a point."""

import numpy as np
from usearch.index import MetricKind, search

from knnbench.backends.base import Backend as Base
from knnbench.problem.narrow import ROUND, bits_of_bfloat16

# Of unit vectors the inner product ranks as the angle does, and divides nothing.
METRICS = {"euclidean": MetricKind.L2sq, "angular": MetricKind.IP, "inner-product": MetricKind.IP}
# Queries of a call. Its time for each grows with their number, and by more where that is a power of two: on two cores among
# 100,000 points in dimension 10 it is 1.4 ms with 200 queries, 2 with 2,000 and 5 with 4,000.
BATCH = 200


class Backend(Base):
    """USearch's exact search.

    Parameters
    ----------
    precision : {"float32", "bfloat16", "float16", "int8"}
        What points and queries are stored in; int8 is scaled to the largest coordinate of the points.
    """

    packages = ("usearch", "numkong", "numpy")

    def __init__(self, metric, device, threads, precision="float32"):
        super().__init__(metric, device, threads)
        self.precision = precision
        self.lifts = precision == "float32"
        self.rounds_to = precision if precision in ROUND else None

    def unsupported(self, k, n, d):
        return None if self.metric.like in METRICS else f"USearch has no {self.metric.name} metric"

    def scale_of(self, train):
        """What points and queries are multiplied by before they are rounded."""
        return 127 / (max(train.max(), -train.min()) or 1) if self.precision == "int8" else 1

    def before_rounding(self, train):
        scale = self.scale_of(train)
        return lambda points: points * np.float32(scale)

    def fit(self, train):
        self.scale = self.scale_of(train)
        self.train = self.to_query_device(train)
        yield "transfer"
        yield "train"
        yield "add"

    def to_query_device(self, queries):
        if self.precision == "bfloat16":
            return bits_of_bfloat16(queries)
        if self.precision == "int8":
            return np.clip(np.rint(queries * self.scale), -127, 127).astype(np.int8)
        return queries.astype(self.precision, copy=False)

    def least_queries(self, queries):
        return min(BATCH, queries)

    def query(self, queries, k):
        kind, answers = METRICS[self.metric.like], []
        for start in range(0, len(queries), BATCH):
            batch = queries[start : start + BATCH]
            found = search(self.train, batch, k, kind, exact=True, threads=self.threads, dtype=self.precision)
            answers.append(found.keys.reshape(len(batch), k))
        return answers[0] if len(answers) == 1 else np.concatenate(answers)
