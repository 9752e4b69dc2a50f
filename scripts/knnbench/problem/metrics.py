"""The metrics, each defined once: the exact neighbours, the scores and the array backends all read them from here.

A metric makes a term of every coordinate, reduces the terms to a total, and finishes that into the *key* that is ranked.
Formulas are functions of a module of operations, `m`: NumPy's for scalars (numba) and arrays, PyTorch's, JAX's, or KeOps' of
symbols. Points may be prepared once, when a dataset is made: many a metric is euclidean between prepared points, and then every
library that knows euclidean answers it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

PAGE = ("euclidean", "manhattan", "angular", "hyperbolic")  # those of the KeOps page
EARTH_M = 6_371_008.8  # mean radius of the earth (IUGG)
NEVER_ZERO = 1e-30  # in place of a denominator that is; float32 holds it


def first(m, points):
    """The first coordinate, which KeOps' tensors have in a way of their own."""
    return m.first(points) if hasattr(m, "first") else points[..., 0]


class Operations:
    """PyTorch's operations as formulas need them: its own maximum of two takes no plain number."""

    def __init__(self, torch):
        self.torch = torch

    def __getattr__(self, name):
        return getattr(self.torch, name)

    def maximum(self, a, b):
        return self.torch.where(a > b, a, b)

    def minimum(self, a, b):
        return self.torch.where(a < b, a, b)


def total_itself(m):
    return lambda total, x0, y0: total


@dataclass(frozen=True, eq=False)  # one is itself: caches are by it
class Metric:
    """How two points are compared.

    Attributes
    ----------
    name : str
    term : callable (m) -> callable (x, y) -> contribution of one coordinate
    finish : callable (m) -> callable (total, x0, y0) -> key
        `total` is the reduced terms, `x0` and `y0` the weights of a query and a point. A smaller key is nearer.
    reduce : {"sum", "max"}, of the terms
    weight : callable (m, points) -> a number for each point; the last axis is d
    expanded : callable (dot, x_sq, y_sq, x0, y0) -> key, or None
        The same ranking from inner products and squared norms: one matrix product instead of n·q·d differences.
    lifts : bool
        `lift` makes points and queries whose inner products rank alike, for libraries that know these (measure/lifted.py).
    shifts : bool
        Adding one vector to all points changes no distance: then `expanded` may be computed around a centre.
    proven : bool
        Terms are never negative and rounded a few times each; `expanded` is of squared differences, times a factor of x0 and
        one of y0. truth.py's bounds on what float32 loses rely on it; other metrics are searched in float64 throughout.
    distance : callable (key) -> distance
        What `distances` in a dataset file holds.
    length : callable (distance) -> length, or None
        A distance that is additive along a line, at least nearby: a small ball of twice the radius has 2^d times the points.
    domain : str, a key of `domains.DOMAINS`: which points are valid
    dimension : int or None, of the points that it takes; None of any
    prepare : callable (points) -> points, or None
        float64 arrays, shape (rows, d); the second may have another d.
    normalised : bool, whether prepared points have unit length
    like : str, the metric that ranks prepared points alike, for libraries that know that one
    parameters : dict, of `like`
    """

    name: str
    term: Callable
    finish: Callable = total_itself
    reduce: str = "sum"
    weight: Callable = first
    expanded: Callable | None = None
    lifts: bool = False
    shifts: bool = False
    proven: bool = False
    distance: Callable = lambda key: key
    length: Callable | None = lambda distance: distance
    domain: str = "any"
    dimension: int | None = None
    prepare: Callable | None = None
    normalised: bool = False
    like: str = ""
    parameters: dict = field(default_factory=dict)

    def keys(self, x, y, m=np):
        """Keys between broadcast arrays of points by direct differences, without cancellation; the last axis is d."""
        terms = self.term(m)(x, y)
        total = terms.sum(-1) if self.reduce == "sum" else m.amax(terms, -1)
        return self.finish(m)(total, self.weight(m, x), self.weight(m, y))

    def lift(self, points, centre, queries=False):
        """Points or queries of d + 2 dimensions: the larger an inner product of them, the smaller |x - y|² / y0, which ranks as
        |x - y|² / (x0 y0) does.

        The product of (2 x, -1, -|x|²) and (y, |y|², 1) / y0 is that, negative.

        Parameters
        ----------
        points : ndarray, shape (rows, d), float32
        centre : ndarray, shape (d,)
            The nearer to the points, the fewer digits cancel.
        queries : bool, whether these are queries

        Returns
        -------
        lifted : ndarray, shape (rows, d + 2), float32, C-contiguous
        """
        near = points - centre
        squares, ones = (near * near).sum(1), np.ones(len(near), near.dtype)
        if queries:
            return np.column_stack([2 * near, -ones, -squares])
        lifted = np.column_stack([near, squares, ones])
        lifted /= self.weight(np, points)[:, None]
        return lifted


def squares(m):
    return lambda x, y: (x - y) ** 2


def differences(m):
    return lambda x, y: abs(x - y)


def by_weights(m):
    return lambda total, x0, y0: total / (x0 * y0)


def of_squares(dot, x_sq, y_sq, x0, y0):
    return x_sq + y_sq - 2 * dot


def of_squares_by_weights(dot, x_sq, y_sq, x0, y0):
    return (x_sq + y_sq - 2 * dot) / (x0 * y0)


def negative_product(dot, x_sq, y_sq, x0, y0):
    return -dot


def unit(points):
    return points / np.sqrt(np.einsum("ij,ij->i", points, points))[:, None]


def share(points):
    return points / points.sum(1, keepdims=True)


def on_sphere(points):
    """Latitude and longitude, in degrees, as unit vectors."""
    latitude, longitude = np.radians(points).T
    return np.column_stack([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])


def euclidean(name, distance=np.sqrt, **more):
    """A metric that ranks as euclidean does, between prepared points; `distance` is of the squared one."""
    return Metric(name, squares, expanded=of_squares, shifts=True, proven=True, distance=distance, like="euclidean", **more)


def angular(name, prepare, domain):
    """One minus the cosine: half the squared distance of unit vectors, which keeps the digits of close points."""
    return Metric(
        name,
        squares,
        finish=lambda m: lambda total, x0, y0: total / 2,
        expanded=negative_product,
        proven=True,
        length=lambda distance: np.sqrt(2 * distance),  # of the chord
        domain=domain,
        prepare=prepare,
        normalised=True,
        like="angular",
    )


def minkowski(p=3.0):
    """The p-th root of the sum of p-th powers."""
    return Metric(
        "minkowski",
        lambda m: lambda x, y: abs(x - y) ** p,
        distance=lambda key: key ** (1 / p),
        like="minkowski",
        parameters={"p": p},
    )


def mahalanobis(matrix):
    """Euclidean after a linear map: the Cholesky factor of `matrix`, the inverse of a covariance, shape (d, d)."""
    factor = np.linalg.cholesky(np.asarray(matrix, dtype=np.float64))
    return euclidean("mahalanobis", prepare=lambda points: points @ factor, dimension=len(factor))


METRICS = {
    metric.name: metric
    for metric in (
        euclidean("euclidean"),
        Metric("manhattan", differences, proven=True, like="manhattan"),
        angular("angular", unit, "directions"),
        # The increasing form of arcosh(1 + |x - y|² / (2 x0 y0)) on the Poincaré half-space, as the KeOps page ranks it.
        Metric(
            "hyperbolic",
            squares,
            finish=by_weights,
            expanded=of_squares_by_weights,
            lifts=True,
            shifts=True,
            proven=True,
            length=lambda distance: 2 * np.arcsinh(np.sqrt(distance) / 2),  # which is that arcosh, without cancellation
            domain="half-space",
        ),
        # The largest is the nearest: no metric, for a point need not be its own neighbour and nothing bounds a detour.
        Metric(
            "inner-product",
            lambda m: lambda x, y: x * y,
            finish=lambda m: lambda total, x0, y0: -total,
            expanded=negative_product,
            length=None,
            like="inner-product",
        ),
        Metric("chebyshev", differences, reduce="max", proven=True, like="chebyshev"),
        minkowski(),
        # arcosh(1 + 2 |x - y|² / ((1 - |x|²) (1 - |y|²))) in the unit ball.
        Metric(
            "poincare",
            squares,
            finish=by_weights,
            weight=lambda m, points: 1 - (points * points).sum(-1),
            expanded=of_squares_by_weights,
            lifts=True,
            shifts=True,
            proven=True,
            distance=lambda key: 2 * np.arcsinh(np.sqrt(key)),
            domain="ball",
        ),
        euclidean(
            "hellinger", distance=lambda key: np.sqrt(key / 2), domain="distributions", prepare=lambda p: np.sqrt(share(p))
        ),
        # The square root of the divergence from the mean of both, as SciPy has it.
        Metric(
            "jensen-shannon",
            lambda m: lambda x, y: (x * m.log(2 * x / (x + y)) + y * m.log(2 * y / (x + y))) / 2,
            distance=lambda key: np.sqrt(np.maximum(key, 0)),
            domain="positive",
            prepare=share,
        ),
        # Of a point from a query, which is not that of the query from the point.
        Metric(
            "kullback-leibler",
            lambda m: lambda x, y: x * m.log(x / y),
            length=lambda distance: np.sqrt(np.maximum(distance, 0)),
            domain="positive",
            prepare=share,
        ),
        euclidean(
            "haversine",
            distance=lambda key: 2 * EARTH_M * np.arcsin(np.minimum(1, np.sqrt(key) / 2)),
            domain="degrees",
            prepare=on_sphere,
        ),
        Metric("canberra", lambda m: lambda x, y: abs(x - y) / (abs(x) + abs(y) + NEVER_ZERO), proven=True),
        angular("correlation", lambda points: unit(points - points.mean(1, keepdims=True)), "varied"),
    )
}
