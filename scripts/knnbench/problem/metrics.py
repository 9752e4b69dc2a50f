"""The metrics, each defined once: the exact neighbours, the scores and the array backends all read them from here.

A metric adds a term per coordinate and finishes the sum into the *key* that is ranked. `term` and `finish` use operators
only, so that one definition runs on scalars (numba), on NumPy, PyTorch and JAX arrays, and on KeOps' symbolic tensors.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Metric:
    """How two points are compared.

    Attributes
    ----------
    term : callable (x, y) -> contribution of one coordinate, never negative
    finish : callable (total, x0, y0) -> key
        `total` is the sum of the terms, `x0` and `y0` are the first coordinates. A smaller key is nearer.
    expanded : callable (dot, x_sq, y_sq, x0, y0) -> key, or None
        The same ranking from inner products and squared norms: one matrix product instead of n·q·d differences. The terms are
        then squared differences, and `finish` is their sum times a factor of x0 and one of y0: truth.py relies on it.
    distance : callable (key) -> distance
        What `distances` in a dataset file holds.
    length : callable (distance) -> length
        A distance that is additive along a line, at least nearby: a small ball of twice the radius has 2^d times the points.
    normalised : bool
        Points are scaled to unit length when the dataset is made.
    positive_first : bool
        Points need a positive first coordinate (the half-space).
    """

    name: str
    term: Callable
    finish: Callable
    expanded: Callable | None = None
    distance: Callable = lambda key: key
    length: Callable = lambda distance: distance
    normalised: bool = False
    positive_first: bool = False

    def keys(self, x, y):
        """Keys between broadcast arrays of points by direct differences, without cancellation; the last axis is d."""
        return self.finish(self.term(x, y).sum(-1), x[..., 0], y[..., 0])


def squared_difference(x, y):
    return (x - y) ** 2


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "euclidean",
            term=squared_difference,
            finish=lambda total, x0, y0: total,
            expanded=lambda dot, x_sq, y_sq, x0, y0: x_sq + y_sq - 2 * dot,
            distance=np.sqrt,
        ),
        Metric(
            "manhattan",
            term=lambda x, y: abs(x - y),
            finish=lambda total, x0, y0: total,
        ),
        # 1 - cos of unit vectors is half their squared distance; unlike 1 - <x, y> this loses no digits for close points.
        Metric(
            "angular",
            term=squared_difference,
            finish=lambda total, x0, y0: total / 2,
            expanded=lambda dot, x_sq, y_sq, x0, y0: -dot,
            length=lambda distance: np.sqrt(2 * distance),  # of the chord
            normalised=True,
        ),
        # The increasing form of arcosh(1 + |x - y|² / (2 x0 y0)) on the Poincaré half-space, as the KeOps page ranks it.
        Metric(
            "hyperbolic",
            term=squared_difference,
            finish=lambda total, x0, y0: total / (x0 * y0),
            expanded=lambda dot, x_sq, y_sq, x0, y0: (x_sq + y_sq - 2 * dot) / (x0 * y0),
            length=lambda distance: 2 * np.arcsinh(np.sqrt(distance) / 2),  # which is that arcosh, without cancellation
            positive_first=True,
        ),
    )
}
