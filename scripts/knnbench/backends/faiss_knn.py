"""FAISS without an index: `knn` on arrays, `knn_gpu` on tensors where they lie."""

import faiss

from knnbench.backends.faiss import METRICS
from knnbench.backends.faiss import Backend as Faiss


class Backend(Faiss):
    """FAISS's functions for brute force; norms are computed anew in every call."""

    def __init__(self, metric, device, threads):
        super().__init__(metric, device, threads, index="Flat")

    def fit(self, train):
        self.d = train.shape[1]
        self.train = self.to_query_device(train)
        self.synchronize()
        yield "transfer"
        yield "train"
        yield "add"

    def query(self, queries, k):
        metric = METRICS[self.metric.name]
        if self.device == "gpu":
            return faiss.knn_gpu(self.resources, queries, self.train, k, metric=metric)[1]
        return faiss.knn(queries, self.train, k, metric=metric)[1]
