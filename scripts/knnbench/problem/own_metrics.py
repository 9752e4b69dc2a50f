"""Metrics that a user defines: shipped ones with other parameters, formulas, or a file; tried before they are believed.

A formula is parsed to a closed grammar: names, numbers, operators and six functions. Nothing else of Python is ever evaluated.
"""

import ast
import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np

from knnbench.problem.domains import DOMAINS
from knnbench.problem.metrics import METRICS, Metric, mahalanobis, minkowski
from knnbench.problem.symbols import Symbol, Symbols
from knnbench.system.files import sha256_of

FUNCTIONS = {"abs": 1, "sqrt": 1, "log": 1, "exp": 1, "min": 2, "max": 2}
CALLED = {"min": "minimum", "max": "maximum"}  # as modules of arrays name them
OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub, ast.UAdd)
LONGEST = 1000  # characters of a formula
POINTS, DIMENSION = 60, 4  # random ones that a metric is tried on
SHARE = 0.9  # of them, which have to be their own nearest ones


class MetricError(ValueError):
    """A metric that cannot be used; the message is a sentence that says why, without the metric's name."""


def formula(text, names):
    """Turn a formula into a function of operations, as `Metric.term` and `Metric.finish` are.

    Parameters
    ----------
    text : str, such as "(x - y)**2 / (x + y)"
    names : tuple of str, what it may name: ("x", "y"), or ("total", "x0", "y0")

    Returns
    -------
    function : callable (m) -> callable (*names)

    Raises
    ------
    MetricError
    """
    allowed = f"allowed are {', '.join(names)}, numbers, + - * / **, and {', '.join(FUNCTIONS)}"
    if len(text) > LONGEST:
        raise MetricError(f"a formula has {len(text):,} characters; {LONGEST:,} are enough, or a file: module")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise MetricError(f"{text!r} is no formula ({error}); {allowed}") from error

    def function(names, body):
        return ast.Lambda(ast.arguments([], [ast.arg(name) for name in names], None, [], [], None, []), body)

    def evaluate(body):
        """Call it with a module of operations, `m`; all nodes of `body` were made below, of nothing else of Python."""
        whole = ast.fix_missing_locations(ast.Expression(function(["m"], body)))
        return eval(compile(whole, "<formula>", "eval"), {"__builtins__": {}, "abs": abs})

    def build(node):
        """The same of allowed nodes, with functions by the module of operations, and numbers where there are no names."""
        named = any(isinstance(each, ast.Name) and each.id in names for each in ast.walk(node))
        match node:
            case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
                return ast.Constant(float(node.value))
            case ast.Name(id=name) if name in names:
                return ast.Name(name, ast.Load())
            case ast.BinOp(left, ast.Pow(), right):
                exponent = build(right)
                if not isinstance(exponent, ast.Constant):
                    raise MetricError(f"{ast.unparse(node)!r}: an exponent is a number; take exp and log for others")
                if exponent.value.is_integer():  # then a power is as exact as products are
                    exponent = ast.Constant(int(exponent.value))
                built = ast.BinOp(build(left), ast.Pow(), exponent)
            case ast.BinOp(left, operator, right) if isinstance(operator, OPERATORS):
                built = ast.BinOp(build(left), operator, build(right))
            case ast.UnaryOp(operator, operand) if isinstance(operator, OPERATORS):
                built = ast.UnaryOp(operator, build(operand))
            case ast.Call(ast.Name(id="abs"), [argument], []):
                built = ast.Call(ast.Name("abs", ast.Load()), [build(argument)], [])
            case ast.Call(ast.Name(id=name), arguments, []) if FUNCTIONS.get(name) == len(arguments):
                called = ast.Attribute(ast.Name("m", ast.Load()), CALLED.get(name, name), ast.Load())
                built = ast.Call(called, [build(each) for each in arguments], [])
            case _:
                raise MetricError(f"{ast.unparse(node)!r} in {text!r} is not allowed; {allowed}")
        return built if named else ast.Constant(float(evaluate(built)(np)))

    try:
        return evaluate(function(names, build(tree)))
    except (ArithmeticError, TypeError, RecursionError, MemoryError) as error:
        raise MetricError(f"{text!r} cannot be computed: {error}") from error


def define(name, entry, covariance=None):
    """The metric of an entry of `metrics` in the configuration.

    Parameters
    ----------
    name : str
    entry : dict
        term, finish, reduce, domain; or p; or matrix; or module and sha256 of a file that defines `METRIC`.
    covariance : ndarray, shape (d, d), or None
        Of the points, for `matrix: data`; without it the metric is that of points which are prepared.

    Returns
    -------
    Metric

    Raises
    ------
    MetricError
    """
    if "module" in entry:
        return of_file(name, entry)
    if "p" in entry:
        return named(name, minkowski(float(entry["p"])))
    if "matrix" in entry:
        return named(name, of_matrix(entry["matrix"], covariance))
    term = formula(entry["term"], ("x", "y"))
    finish = formula(entry.get("finish", "total"), ("total", "x0", "y0"))
    return Metric(name, term, finish, reduce=entry.get("reduce", "sum"), domain=entry.get("domain", "any"), length=None)


def named(name, metric):
    return Metric(**{**vars(metric), "name": name})


def of_matrix(path, covariance):
    """Mahalanobis' distance by the matrix in a file, or by the inverse of a covariance."""
    if path == "data":
        return METRICS["euclidean"] if covariance is None else mahalanobis(np.linalg.inv(covariance))
    wanted = "it is a .npy file, shape (d, d), symmetric and positive: the inverse of a covariance"
    try:
        matrix = np.load(path, allow_pickle=False).astype(np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"its shape is {matrix.shape}")
        if not np.isfinite(matrix).all():
            raise ValueError("it has numbers that are not finite")
        if not np.allclose(matrix, matrix.T, rtol=1e-6, atol=1e-9 * np.abs(matrix).max()):
            row, column = np.argwhere(~np.isclose(matrix, matrix.T, rtol=1e-6, atol=1e-9 * np.abs(matrix).max()))[0]
            raise ValueError(
                f"it is not symmetric: {matrix[row, column]:g} in row {row} and column {column},"
                f" {matrix[column, row]:g} in row {column} and column {row}; (A + A.T) / 2 has the same distances"
            )
        return mahalanobis(matrix)
    except (OSError, ValueError, TypeError, EOFError, np.linalg.LinAlgError) as error:
        raise MetricError(f"matrix {path}: {error}; {wanted}") from error


def of_file(name, entry):
    """The `METRIC` of a Python file, which is what it was when the configuration was read."""
    path = Path(entry["module"])
    try:
        if entry.get("sha256", "") not in ("", digest_of(entry)):
            raise MetricError(f"{path} or what it reads was changed since the dataset was made; run again")
        spec = importlib.util.spec_from_file_location(f"metric_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except MetricError:
        raise
    except Exception as error:
        raise MetricError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    if not isinstance(found := getattr(module, "METRIC", None), Metric):
        raise MetricError(f"{path} defines no METRIC, a knnbench.problem.metrics.Metric; docs/extending.md has an example")
    return named(name, found)


def digest_of(entry):
    """SHA-256 of the file of a metric, and of the files that it reads, whatever their paths."""
    digests = [sha256_of(Path(path).absolute()) for path in (entry.get("module") or entry["matrix"], *entry.get("reads", []))]
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()


def content_of(entry):
    """What a metric of one's own is, in JSON: not where its files lie, nor how its formula is spelled.

    Parameters
    ----------
    entry : dict, of `metrics` in the configuration, with the `sha256` of its file filled in

    Returns
    -------
    content : str
    """
    claimed = ("symmetric", "module", "reads", *(["matrix"] if "sha256" in entry else []))
    spelled = {key: ast.unparse(ast.parse(entry[key].strip(), mode="eval")) for key in ("term", "finish") if key in entry}
    usual = {"finish": "total", "reduce": "sum", "domain": "any"} if "term" in entry else {}
    spelled |= {"p": float(entry["p"])} if "p" in entry else {}
    return json.dumps({key: value for key, value in (usual | entry | spelled).items() if key not in claimed}, sort_keys=True)


def metric_of(name, entry=None, covariance=None):
    """A metric by its name: a shipped one, or that of an entry of `metrics`."""
    return METRICS[name] if entry is None else define(name, entry, covariance)


def valid_points(domain, generator, d=DIMENSION):
    """Random points of dimension `d` that a metric of a domain takes."""
    points = generator.uniform(0.1, 0.4, (POINTS, d))
    match domain:
        case "degrees":
            return generator.uniform(0.1, 0.4, (POINTS, 2)) * (200, 400) - (50, 100)
        case "ball":
            return points / np.sqrt(d)
        case "shares":
            return points / points.sum(1, keepdims=True)
    return points


def takes_zero(metric):
    """Whether a metric takes the point whose coordinates are all zero."""
    outside, _ = DOMAINS[metric.domain]
    return not outside(np.zeros((1, 2))).any()


def ignores_origin(metric):
    """Whether adding one vector to all points changes no distance, as tried on random ones."""
    if metric.domain != "any":
        return False
    prepare = metric.prepare or (lambda points: points)
    points = valid_points("any", np.random.default_rng(0), metric.dimension or DIMENSION)
    here, there = (metric.keys(prepare(some)[:, None], prepare(some)) for some in (points, points + 1))
    return np.allclose(here, there, rtol=1e-6, atol=1e-9)


def check_metric(metric, symmetric=True, d=DIMENSION):
    """Try a metric on random points of its domain.

    Parameters
    ----------
    metric : Metric
    symmetric : bool, whether it claims that the order of two points does not matter
    d : int, dimension of the points

    Raises
    ------
    MetricError
        It is not a number for valid points, finds the farthest first, is not symmetric, or asks for values that KeOps and JAX,
        which compile it, do not have yet.
    """
    if metric.domain not in DOMAINS:
        raise MetricError(f"domain {metric.domain!r} is unknown; known are {', '.join(DOMAINS)}")
    if metric.dimension not in (None, d):
        raise MetricError(f"it takes points of dimension {metric.dimension}, and is asked for points of dimension {d}")
    points = valid_points(metric.domain, np.random.default_rng(0), d)
    points = metric.prepare(points) if metric.prepare else points
    try:
        with np.errstate(all="ignore"):
            keys = np.broadcast_to(metric.keys(points[:, None], points), (POINTS, POINTS)).astype(np.float64)
            metric.distance(keys)
    except Exception as error:
        raise MetricError(f"it cannot be computed: {type(error).__name__}: {error}") from error
    if not np.isfinite(keys).all():
        query, point = np.argwhere(~np.isfinite(keys))[0]
        raise MetricError(
            f"it is {keys[query, point]} of {points[query].round(3).tolist()} and {points[point].round(3).tolist()};"
            " is it only for some points? say which: domain"
        )
    if np.ptp(keys) == 0:
        raise MetricError(f"it is {keys[0, 0]:g} of any two points")
    own = np.diag(keys)
    if (own <= keys.min(1) + 1e-9 * np.abs(own)).mean() < SHARE and metric.like != "inner-product":
        way = "farthest" if (own >= keys.max(1) - 1e-9 * np.abs(own)).mean() > SHARE else "wrong points"
        hint = "smaller has to be nearer"
        if metric.domain in ("positive", "distributions"):
            shares = valid_points("shares", np.random.default_rng(0), d)
            keys = metric.keys(shares[:, None], shares)
            if (np.diag(keys) <= keys.min(1) + 1e-9).mean() >= SHARE:
                hint = "of shares of a whole, whose sum is 1, it finds the nearest: say domain: shares"
        raise MetricError(f"points are not their own nearest neighbours: it finds the {way} first; {hint}")
    if symmetric and not np.allclose(keys, keys.T, rtol=1e-9, atol=1e-12):
        query, point = np.argwhere(~np.isclose(keys, keys.T, rtol=1e-9, atol=1e-12))[0]
        raise MetricError(
            f"it is {keys[query, point]:g} one way and {keys[point, query]:g} the other; say symmetric: false if that is meant"
        )
    try:
        metric.finish(Symbols)(metric.term(Symbols)(Symbol(), Symbol()), Symbol(), Symbol())
    except Exception as error:
        raise MetricError(f"KeOps and JAX cannot compile it: {error}") from error
