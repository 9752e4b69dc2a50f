"""The plain formula under `torch.compile`: differences and their sums in one kernel, without a matrix product.

Of one neighbour the minimum is in that kernel too, and no matrix of keys is stored; of several it is one per batch.
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

from knnbench.backends.torch import OPERATIONS, smallest
from knnbench.backends.torch import Backend as Torch

torch._dynamo.config.recompile_limit = 64  # dimensions, values of K, and one query or several, until it gives up


@functools.cache
def search(metric):
    """The compiled keys under a metric: callable (queries, train, nearest) -> keys, or the id of the nearest point alone."""

    def find(queries, train, nearest):
        keys = metric.keys(queries[:, None], train, OPERATIONS)
        return keys.argmin(1, keepdim=True) if nearest else keys

    return torch.compile(find, fullgraph=True)


class Backend(Torch):
    """PyTorch's compiler on the definition of a metric, in batches as large as memory has room for their keys."""

    compiles = True

    def __init__(self, metric, device, threads):
        super().__init__(metric, device, threads, batch="memory")
        self.search = search(metric)

    def fit(self, train):
        self.train = torch.from_numpy(train).to(self.torch_device)
        yield "transfer"
        yield "train"
        self.step = self.queries_per_matrix()
        yield "add"

    def numbers_per_query(self):
        return self.train.numel()  # steps of the loop: what is compiled for 32 bits is compiled again for more

    def compile(self, queries, k):
        for number in (1, 2):  # one query is compiled apart, all other numbers of them together
            self.query(self.to_query_device(queries[:number]), k)

    def query(self, queries, k):
        ids = torch.empty((len(queries), k), dtype=torch.int64, device=self.torch_device)
        for start in range(0, len(queries), self.step):
            batch = queries[start : start + self.step]
            if len(batch) > 1:
                torch._dynamo.mark_dynamic(batch, 0)
            found = self.search(batch, self.train, k == 1)
            ids[start : start + self.step] = found if k == 1 else smallest(found, k)
        return ids
