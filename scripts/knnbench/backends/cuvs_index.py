"""cuVS's indexes on an NVIDIA GPU: a graph (CAGRA), and inverted files of the points (IVF-Flat) or of their codes (IVF-PQ)."""

import math

import numpy as np
import torch
from cuvs.neighbors import cagra, ivf_flat, ivf_pq, refine

from knnbench.backends.cuvs import METRICS
from knnbench.backends.cuvs import Backend as BruteForce
from knnbench.problem.narrow import LARGEST

INDEXES = {"cagra": cagra, "ivf_flat": ivf_flat, "ivf_pq": ivf_pq}
IDS = {"cagra": torch.uint32, "ivf_flat": torch.int64, "ivf_pq": torch.int64}
NONE = 2**31 - 1  # what stands where nothing was found is no smaller, or negative, in each of these types
# Tables and coarse search in half precision, as its authors recommend for speed; these hold squared distances and norms.
HALVES = {"lut_dtype": np.float16, "coarse_search_dtype": np.float16}


class Backend(BruteForce):
    """CAGRA, IVF-Flat or IVF-PQ, with one handle for all calls and outputs of PyTorch's pool.

    Parameters
    ----------
    index : {"cagra", "ivf_flat", "ivf_pq"}
    lists_per_sqrt : int or float, lists of an inverted file by the square root of the number of points, in place of n_lists
    **build : arguments of its IndexParams, such as graph_degree or n_lists
    """

    def __init__(self, metric, device, threads, index="cagra", lists_per_sqrt=None, **build):
        super().__init__(metric, device, threads)
        self.lifts = False  # lifted points have neighbours that a graph does not find
        self.kind, self.module = index, INDEXES[index]
        self.parameters, self.lists_per_sqrt, self.halves = build, lists_per_sqrt, {}
        self.at_least_k = "itopk_size" if index == "cagra" else None
        self.set_search()

    def unsupported(self, k, n, d):
        if METRICS.get(self.metric.like) not in ("sqeuclidean", "inner_product"):
            return f"cuVS's {self.kind} knows euclidean and inner product only"
        lists = self.index_parameters(n).get("n_lists", 0)
        return f"k-means needs at least {lists} points, the dataset has {n}" if lists > n else None

    def index_parameters(self, n):
        """Arguments of IndexParams for `n` points."""
        return self.parameters | ({"n_lists": round(self.lists_per_sqrt * math.sqrt(n))} if self.lists_per_sqrt else {})

    def fit(self, train):
        points = self.to_query_device(train)
        self.synchronize()
        yield "transfer"
        parameters = self.module.IndexParams(metric=METRICS[self.metric.like], **self.index_parameters(len(train)))
        self.take(points)
        self.index = self.module.build(parameters, points, resources=self.handle)
        yield "train"
        yield "add"

    def take(self, points):
        """Keep the points, which CAGRA looks at, and who refines; float16 only where it holds their squared norms.

        Where it does not, cuVS takes float32 for the search by which its own CAGRA is built (cagra_build.cuh).
        """
        self.train = points
        if self.kind == "ivf_pq":
            most = max(float(points.max()), -float(points.min()))
            self.halves = HALVES if points.shape[1] * most**2 <= LARGEST["float16"] else {}

    def save(self, path):
        path.mkdir()
        self.module.save(str(path / "index"), self.index, resources=self.handle)
        if self.kind == "ivf_pq":
            np.save(path / "points.npy", self.train.cpu().numpy())

    def load(self, path):
        file = str(path / "index")
        if hasattr(self.module, "Dataset"):  # CAGRA since cuVS 26.10, which has the points apart from the graph
            self.index = self.module.Index()
            self.module.load(self.index, file, out_dataset=self.module.Dataset(), resources=self.handle)
        else:
            self.index = self.module.load(file, resources=self.handle)
        if self.kind == "ivf_pq":
            self.take(self.to_query_device(np.load(path / "points.npy")))

    def set_search(self, refine_ratio=1, **search):
        """Take arguments of SearchParams, and for IVF-PQ how many times K candidates are ranked again by their points."""
        self.refine_ratio, self.search = refine_ratio, search
        self.parameters_of = {}  # made once for each K: in calls of some 50 us it would be seen

    def search_parameters(self, k):
        if k not in self.parameters_of:
            search = self.halves | self.search
            if self.kind == "cagra":  # it keeps itopk_size candidates, 64 if nothing is said, and wants K of them at least
                search = search | {"itopk_size": max(k, search.get("itopk_size", 64))}
            self.parameters_of[k] = self.module.SearchParams(**search)
        return self.parameters_of[k]

    def query(self, queries, k):
        ids, distances = self.outputs(queries, k * self.refine_ratio, IDS[self.kind])
        self.module.search(
            self.search_parameters(k),
            self.index,
            queries,
            ids.shape[1],
            neighbors=ids,
            distances=distances,
            resources=self.handle,
        )
        if self.refine_ratio > 1:
            candidates = ids
            ids, distances = self.outputs(queries, k)
            refine(
                self.train,
                queries,
                candidates,
                metric=METRICS[self.metric.like],
                indices=ids,
                distances=distances,
                resources=self.handle,
            )
        return ids

    def to_host(self, ids):
        found = ids.cpu().numpy().astype(np.int64)
        return np.where((found >= 0) & (found < NONE), found, -1)
