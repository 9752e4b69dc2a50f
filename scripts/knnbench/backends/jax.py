"""Brute force in JAX: a matrix of distances and `top_k` in one jitted function. Points are centred as in torch.py."""

import math
import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # take device memory as needed; read at import

import jax
import jax.numpy as jnp
import numpy as np

from knnbench.backends.base import Backend as Base

# (batch, n) arrays of four bytes alive at once, for every metric: the differences of one coordinate are fused away. XLA's
# memory_analysis says one on a CPU. On a GPU top_k may be a sort of whole rows: keys and ids before and after, beside the keys.
MATRICES = {"cpu": 2, "gpu": 5}
CACHE_BYTES, ROWS, HOST_BYTES = 16_000_000, 64, 500_000_000  # as in torch.py
# Numbers of a matrix on a GPU: where XLA sorts rows, it counts with 32 bits where each begins, and loses count beyond
# (xla/backends/gpu/runtime/cub_sort_thunk.cc).
MOST = 2**31 - 1


class Backend(Base):
    """JAX brute force.

    Parameters
    ----------
    batch : {"all", "memory"}
        Queries per matrix: all of them, or as many as memory holds; on a GPU fewer than 2^31 numbers.
    recall_target : float
        If given, `approx_min_k` in place of `top_k`: it may miss neighbours on a TPU, and does not on a GPU, where XLA sorts.
    """

    packages = ("jax", "jaxlib", "numpy")
    compiles = True

    def __init__(self, metric, device, threads, batch="all", recall_target=None):
        super().__init__(metric, device, threads)
        self.jax_device = jax.devices(device)[0]
        self.batch = batch
        self.whole = batch == "all"
        self.recall_target = recall_target
        self.nearest = jax.jit(self.find, static_argnames="k")

    def threads_used(self):
        # XLA sizes its pool from the CPUs that the process may use and has no way to ask for its size.
        return len(os.sched_getaffinity(0))

    def fit(self, train):
        points = jax.device_put(train, self.jax_device).block_until_ready()
        yield "transfer"
        self.prepared = jax.block_until_ready(jax.jit(self.prepare)(points))
        yield "train"
        self.step = self.queries_per_matrix(points)
        yield "add"

    def to_query_device(self, queries):
        return jax.device_put(queries, self.jax_device)

    def prepare(self, points):
        """What the queries are compared with: the points, or for the expanded formula a centre, the centred points, their
        squared norms and their weights."""
        if not self.metric.expanded:
            return points
        sample = points[:1000]
        nearest = jnp.linalg.norm(sample - sample.mean(0), axis=1).argmin()
        centre = sample[nearest] if self.metric.shifts else jnp.zeros_like(sample[0])
        return centre, points - centre, ((points - centre) ** 2).sum(1), self.metric.weight(jnp, points)

    def find(self, queries, prepared, k):
        if self.metric.expanded:
            centre, train, train_sq, weights = prepared
            centred = queries - centre
            keys = self.metric.expanded(
                jnp.matmul(centred, train.T, precision="highest"),
                (centred**2).sum(1, keepdims=True),
                train_sq,
                self.metric.weight(jnp, queries)[:, None],
                weights,
            )
        else:
            keys = self.metric.keys(queries[:, None], prepared, jnp)
        if self.recall_target is not None:
            return jax.lax.approx_min_k(keys, k, recall_target=self.recall_target)[1]
        return jax.lax.top_k(-keys, k)[1]

    def queries_per_matrix(self, points):
        """How many queries make a batch, None for all of them; the points are on the device by now."""
        n = len(points)
        matrix = 4 * n * MATRICES[self.device]
        if self.device == "cpu":
            return None if self.whole else max(1, min(HOST_BYTES // matrix, max(ROWS, CACHE_BYTES // (4 * n))))
        if self.whole:
            return max(1, MOST // n)
        memory = self.jax_device.memory_stats()
        return max(1, min((memory["bytes_limit"] - memory["bytes_in_use"]) // 2 // matrix, MOST // n))

    def queries_per_batch(self, q):
        """Of batches of equal size, for each size compiles anew: as few as the matrix allows."""
        return math.ceil(q / math.ceil(q / (self.step or q)))

    def least_queries(self, queries):
        return queries if self.whole else min(self.step, queries)  # as in torch.py

    def compile(self, queries, k):
        self.query(self.to_query_device(queries[: self.queries_per_batch(len(queries))]), k)  # for this shape

    def query(self, queries, k):
        q = len(queries)
        step = self.queries_per_batch(q)
        answers, self.answer = [], None  # one answer is alive at a time
        for start in range(0, q, step):
            # A last batch that is shorter by some would compile again: it starts earlier, and its first rows are dropped.
            first = min(start, q - step)
            batch = queries if step == q else jax.lax.dynamic_slice_in_dim(queries, first, step)
            ids = self.nearest(batch, self.prepared, k=k)
            answers.append(ids if first == start else ids[start - first :])
        answer = answers[0] if len(answers) == 1 else jnp.concatenate(answers)
        self.answer = answer  # which another thread may replace at once
        return answer

    def synchronize(self):
        if getattr(self, "answer", None) is not None:
            self.answer.block_until_ready()

    def to_host(self, ids):
        return np.asarray(ids)
