"""cuVS's indexes on an NVIDIA GPU: a graph (CAGRA), and inverted files of the points (IVF-Flat) or of their codes (IVF-PQ)."""

import numpy as np
import torch
from cuvs.neighbors import cagra, ivf_flat, ivf_pq, refine

from knnbench.backends.cuvs import METRICS
from knnbench.backends.cuvs import Backend as BruteForce

INDEXES = {"cagra": cagra, "ivf_flat": ivf_flat, "ivf_pq": ivf_pq}
IDS = {"cagra": torch.uint32, "ivf_flat": torch.int64, "ivf_pq": torch.int64}
NONE = 2**31 - 1  # what stands where nothing was found is no smaller, or negative, in each of these types
# Tables and coarse search in half precision, as its authors recommend for speed.
HALVES = {"lut_dtype": np.float16, "coarse_search_dtype": np.float16}


class Backend(BruteForce):
    """CAGRA, IVF-Flat or IVF-PQ, with one handle for all calls and outputs of PyTorch's pool.

    Parameters
    ----------
    index : {"cagra", "ivf_flat", "ivf_pq"}
    **build : arguments of its IndexParams, such as graph_degree or n_lists
    """

    def __init__(self, metric, device, threads, index="cagra", **build):
        super().__init__(metric, device, threads)
        self.lifts = False  # lifted points have neighbours that a graph does not find
        self.kind, self.module = index, INDEXES[index]
        self.parameters = build
        self.refine_ratio, self.search = 1, HALVES if index == "ivf_pq" else {}

    def unsupported(self, k, n, d):
        if METRICS.get(self.metric.like) not in ("sqeuclidean", "inner_product"):
            return f"cuVS's {self.kind} knows euclidean and inner product only"
        lists = self.parameters.get("n_lists", 0)
        return f"k-means needs at least {lists} points, the dataset has {n}" if lists > n else None

    def fit(self, train):
        points = self.to_query_device(train)
        self.synchronize()
        yield "transfer"
        parameters = self.module.IndexParams(metric=METRICS[self.metric.like], **self.parameters)
        self.train = points  # CAGRA looks at them, and so does who refines
        self.index = self.module.build(parameters, points, resources=self.handle)
        yield "train"
        yield "add"

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
            self.train = self.to_query_device(np.load(path / "points.npy"))

    def set_search(self, refine_ratio=1, **search):
        """Take arguments of SearchParams, and for IVF-PQ how many times K candidates are ranked again by their points."""
        self.refine_ratio, self.search = refine_ratio, (HALVES | search if self.kind == "ivf_pq" else search)

    def outputs(self, queries, k):
        """Room for ids and distances."""
        shape = len(queries), k
        return torch.empty(shape, dtype=IDS[self.kind], device="cuda"), torch.empty(shape, dtype=torch.float32, device="cuda")

    def query(self, queries, k):
        search = self.search
        if self.kind == "cagra":  # it keeps itopk_size candidates, 64 if nothing is said, and wants K of them at least
            search = search | {"itopk_size": max(k, search.get("itopk_size", 64))}
        ids, distances = self.outputs(queries, k * self.refine_ratio)
        parameters = self.module.SearchParams(**search)
        self.module.search(
            parameters, self.index, queries, ids.shape[1], neighbors=ids, distances=distances, resources=self.handle
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
