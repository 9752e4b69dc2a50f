"""FAISS without an index: `knn` on arrays, `knn_gpu` on tensors where they lie."""

import faiss

from knnbench.backends.faiss import METRICS
from knnbench.backends.faiss import Backend as Faiss


class Backend(Faiss):
    """FAISS's functions for brute force; norms are computed anew in every call."""

    def __init__(self, metric, device, threads):
        super().__init__(metric, device, threads, index="Flat")

    def unsupported(self, k, n, d):
        if self.device == "gpu" and self.metric.like == "minkowski":
            return "FAISS's knn_gpu takes no power"
        return super().unsupported(k, n, d)

    def fit(self, train):
        self.d = train.shape[1]
        self.train = self.to_query_device(train)
        self.synchronize()
        yield "transfer"
        yield "train"
        yield "add"

    def query(self, queries, k):
        metric = METRICS[self.metric.like]
        if self.device == "gpu":
            return faiss.knn_gpu(self.resources, queries, self.train, k, metric=metric)[1]
        return faiss.knn(queries, self.train, k, metric=metric, metric_arg=self.metric.parameters.get("p", 0))[1]
