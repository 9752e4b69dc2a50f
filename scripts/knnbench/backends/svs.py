"""Scalable Vector Search (SVS), by Intel: Vamana, a graph with edges to near points and to some far ones."""

import svs

from knnbench.backends.base import Backend as Base

# Unit vectors rank alike by angle and by euclidean distance, by which the graph is better.
METRICS = {"euclidean": svs.DistanceType.L2, "angular": svs.DistanceType.L2, "inner-product": svs.DistanceType.MIP}
ALPHA_OF_PRODUCTS = 0.95  # its own default for MIP (VamanaBuildParameters), as 1.2 is the one for L2
PARTS = ("config", "graph", "data")  # folders of a saved index


class Backend(Base):
    """SVS's Vamana.

    Parameters
    ----------
    graph_max_degree : int, edges of a point at most
    window_size : int, candidates for the edges of a point
    alpha : float, how much shorter a detour has to be than the edge that it makes superfluous: the larger, the more edges
        Under inner products, which are the nearer the larger they are, it is `ALPHA_OF_PRODUCTS`, whatever is said here.
    """

    packages = ("scalable-vs", "numpy")
    at_least_k = "search_window_size"

    def __init__(self, metric, device, threads, graph_max_degree=64, window_size=128, alpha=1.2):
        super().__init__(metric, device, threads)
        if metric.like == "inner-product":
            alpha = ALPHA_OF_PRODUCTS
        self.parameters = {"graph_max_degree": graph_max_degree, "window_size": window_size, "alpha": alpha}

    def unsupported(self, k, n, d):
        return None if self.metric.like in METRICS else f"SVS has no {self.metric.name} metric"

    def fit(self, train):
        yield "transfer"
        parameters = svs.VamanaBuildParameters(**self.parameters)
        self.index = svs.Vamana.build(parameters, train, METRICS[self.metric.like], num_threads=self.threads)
        yield "train"
        yield "add"

    def save(self, path):
        path.mkdir()
        self.index.save(*(str(path / part) for part in PARTS))

    def load(self, path):
        config, graph, data = (str(path / part) for part in PARTS)
        loaders = svs.GraphLoader(graph), svs.VectorDataLoader(data, svs.DataType.float32)
        self.index = svs.Vamana(config, *loaders, distance=METRICS[self.metric.like], num_threads=self.threads)

    def set_search(self, search_window_size):
        self.index.search_window_size = search_window_size

    def query(self, queries, k):
        return self.index.search(queries, k)[0]
