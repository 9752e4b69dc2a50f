"""Which points a metric takes."""

import numpy as np

SUM = 1e-4  # by which the sum of shares may miss 1, as float32 rounds them


def norms(points):
    return np.sqrt(np.einsum("ij,ij->i", points, points))


# Domain -> which rows (float64, shape (rows, d)) are outside of it, and what is said of the first.
DOMAINS = {
    "any": (lambda points: np.zeros(len(points), bool), ""),
    "directions": (lambda points: norms(points) == 0, "is zero, which has no direction for the {} metric"),
    "varied": (
        lambda points: (points == points[:, :1]).all(1),
        "has one value in all coordinates, which correlates with nothing",
    ),
    "half-space": (lambda points: points[:, 0] <= 0, "has a first coordinate <= 0, outside the half-space of the {} metric"),
    "ball": (lambda points: norms(points) >= 1, "has a norm of 1 or more, outside the ball of the {} metric"),
    "distributions": (
        lambda points: (points < 0).any(1) | (points.sum(1) <= 0),
        "has a negative coordinate or only zeros: the {} metric is of shares of a whole",
    ),
    "shares": (
        lambda points: (points <= 0).any(1) | (np.abs(points.sum(1) - 1) > SUM),
        "is no shares of a whole: the {} metric takes coordinates above 0 whose sum is 1; divide each row by its sum",
    ),
    "positive": (
        lambda points: (points <= 0).any(1),
        "has a coordinate <= 0, and the {} metric takes positive ones (a logarithm or a root of them)",
    ),
    "degrees": (
        lambda points: (np.abs(points) > (90, 360)).any(1) if points.shape[1] == 2 else np.ones(len(points), bool),
        "is no latitude and longitude in degrees, within 90 and 360",
    ),
}
