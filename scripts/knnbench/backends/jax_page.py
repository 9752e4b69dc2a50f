"""The JAX function of the KeOps page: its arithmetic and its batches.

Norms and products are of the points as they are, not of centred ones, and the points' norms are part of every call.
"""

import jax
import jax.numpy as jnp

from knnbench.backends.jax import Backend as Jax
from knnbench.problem.metrics import PAGE

BATCH_BYTES = 500_000_000  # the page's formula divides them by 4·d·n, as if a matrix product made d numbers of each pair


class Backend(Jax):
    """The page's function, in batches of equal size that are no larger than the page's.

    Products are of float32, as those of every backend here; the page leaves them to JAX, which takes TensorFloat-32 on a GPU.
    """

    def __init__(self, metric, device, threads):
        super().__init__(metric, device, threads, batch="memory")
        self.function = metric.like or metric.name

    def unsupported(self, k, n, d):
        return None if self.function in PAGE else f"the KeOps page has no function for the {self.metric.name} metric"

    def prepare(self, points):
        return points

    def queries_per_matrix(self, points):
        return max(1, BATCH_BYTES // (4 * points.size))

    def find(self, queries, points, k):
        if self.function == "angular":
            return jax.lax.top_k(jnp.matmul(queries, points.T, precision="highest"), k)[1]
        if self.function == "manhattan":
            keys = abs(queries[:, None] - points).sum(2)
        else:
            products = jnp.matmul(2 * queries, points.T, precision="highest")
            keys = (queries**2).sum(1)[:, None] + (points**2).sum(1) - products
        if self.function == "hyperbolic":
            keys /= queries[:, :1] * points[:, 0]
        return jax.lax.top_k(-keys, k)[1]
