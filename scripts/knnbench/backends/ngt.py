"""NGT: a graph with as many edges out of and into every point as is asked for (ONNG), entered through a tree."""

import shutil
import tempfile
from pathlib import Path

import ngtpy
import numpy as np

from knnbench.backends.base import Backend as Base

# Unit vectors rank alike by angle and by euclidean distance, which is a metric, as its tree wants it.
METRICS = {"euclidean": "L2", "angular": "L2", "manhattan": "L1"}


class Backend(Base):
    """NGT's ONNG: it lies in a folder, where it is built and opened.

    Parameters
    ----------
    edge_size_for_creation : int, edges of a point when it is added
    num_of_outgoings, num_of_incomings : int, edges of a point after the optimization
    """

    packages = ("ngt", "numpy")

    def __init__(self, metric, device, threads, edge_size_for_creation=40, num_of_outgoings=30, num_of_incomings=80):
        super().__init__(metric, device, threads)
        self.edges = edge_size_for_creation
        self.degrees = {"num_of_outgoings": num_of_outgoings, "num_of_incomings": num_of_incomings}

    def unsupported(self, k, n, d):
        return None if self.metric.like in METRICS else f"NGT has no {self.metric.name} metric that it can prune by"

    def fit(self, train):
        self.folder = tempfile.TemporaryDirectory(prefix="ngt-")
        built, optimized = (str(Path(self.folder.name, name)) for name in ("anng", "onng"))
        ngtpy.create(built, train.shape[1], edge_size_for_creation=self.edges, distance_type=METRICS[self.metric.like])
        index = ngtpy.Index(built, log_disabled=True)
        yield "transfer"
        index.batch_insert(train, num_threads=self.threads)
        index.save()
        index.close()
        yield "train"
        optimizer = ngtpy.Optimizer(log_disabled=True, **self.degrees)
        # The edges only, without the tables that choose an epsilon for an accuracy: ours are given.
        optimizer.set_processing_modes(
            search_parameter_optimization=False, prefetch_parameter_optimization=False, accuracy_table_generation=False
        )
        optimizer.execute(built, optimized)
        self.open(optimized)
        yield "add"

    def open(self, path):
        self.path = path
        self.index = ngtpy.Index(path, read_only=True, log_disabled=True)

    def save(self, path):
        shutil.copytree(self.path, path)

    def load(self, path):
        self.open(str(path))

    def set_search(self, epsilon):
        self.index.set(epsilon=epsilon)

    def query(self, queries, k):
        ids = np.full((len(queries), k), -1, np.int32)
        if len(queries) == 1:  # its call for one, without a team of threads
            found = self.index.search(queries[0], k, with_distance=False)
            ids[0, : len(found)] = found
        else:
            results = ngtpy.BatchResults()
            self.index.batch_search(queries, results, k)
            ids[np.arange(k) < np.diff(results.get_index())[:, None]] = results.get_indexed_ids()
        return ids
