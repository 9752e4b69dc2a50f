"""The plain formula under `torch.compile`: differences and their sums in one kernel, without a matrix product.

Of one neighbour the minimum is in that kernel too, and no matrix of keys is stored; of several `topk` takes one per batch.
"""

import functools
import os
import tempfile

from knnbench.system.compiler import missing

if reason := missing():
    raise ImportError(f"torch.compile {reason}")
# What was compiled would be found again by later cells: a folder of its own lets every first query show its compile time.
os.environ["TORCHINDUCTOR_CACHE_DIR"] = tempfile.mkdtemp(prefix="inductor-")

import torch

from knnbench.backends.torch import OPERATIONS
from knnbench.backends.torch import Backend as Torch

torch._dynamo.config.recompile_limit = 64  # dimensions, values of K, and one query or several, until it gives up


@functools.cache
def search(metric):
    """The compiled search under a metric: callable (queries, train, k) -> ids."""

    def find(queries, train, k):
        keys = metric.keys(queries[:, None], train, OPERATIONS)
        return keys.argmin(1, keepdim=True) if k == 1 else keys.topk(k, dim=1, largest=False).indices

    return torch.compile(find, fullgraph=True)


class Backend(Torch):
    """PyTorch's compiler on the definition of a metric, in batches as large as memory has room for their keys."""

    compiles = True

    def __init__(self, metric, device, threads):
        super().__init__(metric, device, threads, batch="memory")
        self.nearest = search(metric)

    def fit(self, train):
        self.train = torch.from_numpy(train).to(self.torch_device)
        yield "transfer"
        yield "train"
        self.step = self.queries_per_matrix()
        yield "add"

    def compile(self, queries, k):
        for number in (1, 2):  # one query is compiled apart, all other numbers of them together
            self.query(self.to_query_device(queries[:number]), k)

    def query(self, queries, k):
        ids = torch.empty((len(queries), k), dtype=torch.int64, device=self.torch_device)
        for start in range(0, len(queries), self.step):
            batch = queries[start : start + self.step]
            if len(batch) > 1:
                torch._dynamo.mark_dynamic(batch, 0)
            ids[start : start + self.step] = self.nearest(batch, self.train, k)
        return ids
