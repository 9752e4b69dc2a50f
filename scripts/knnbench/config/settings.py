"""Settings of a backend: lists in its entry multiply, to a build of an index for each of `build`, and a point of a curve for
each of `search`. A build is an entry of its own, with jobs of its own; its points are measured one after the other in each job.
"""

import ast
import itertools
import operator
import re

from knnbench.config.values import ConfigError

COMPARED = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
COMPUTED = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
SETTINGS = ("parameters", "build", "search", "where", "tune")  # keys of an entry
GRAMMAR = "parameters, numbers, + - * /, < <= > >= == !=, and, or, not"


def holds(text, values, place):
    """Whether a condition such as "nprobe <= nlist and nprobe > 1" is true. It is read, and never run as Python.

    Parameters
    ----------
    text : str
    values : dict, parameter -> value
    place : str, of the condition, for errors

    Raises
    ------
    ConfigError
        It is not of `GRAMMAR`.
    """

    def value(node):
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.Name(id=name) if name in values:
                return values[name]
            case ast.BinOp(left, op, right) if type(op) in COMPUTED:
                return COMPUTED[type(op)](value(left), value(right))
            case ast.Compare(left, ops, others) if all(type(op) in COMPARED for op in ops):
                parts = [value(each) for each in (left, *others)]
                return all(COMPARED[type(op)](*pair) for op, pair in zip(ops, itertools.pairwise(parts), strict=True))
            case ast.BoolOp(op, parts):
                return (all if isinstance(op, ast.And) else any)([value(each) for each in parts])
            case ast.UnaryOp(op=ast.Not(), operand=part):
                return not value(part)
            case ast.Name(id=name):
                raise ConfigError(f"{place}: {text!r} names {name!r}; parameters are {', '.join(values)}")
        raise ConfigError(f"{place}: {text!r} is no condition of {GRAMMAR}")

    try:
        return value(ast.parse(text, mode="eval").body)
    except (SyntaxError, TypeError, ZeroDivisionError) as error:
        raise ConfigError(f"{place}: {text!r}: {error}; a condition is made of {GRAMMAR}") from error


def combinations(parameters):
    """Every combination of the values of parameters, each one value or a list: a list of dict."""
    listed = [value if isinstance(value, list) else [value] for value in parameters.values()]
    return [dict(zip(parameters, each, strict=True)) for each in itertools.product(*listed)]


def varying(parameters):
    """The names of those that have several values."""
    return [name for name, value in parameters.items() if isinstance(value, list)]


def in_words(setting):
    """A setting in words: "M=16"; of a text, itself."""
    return [value if isinstance(value, str) else f"{name}={value}" for name, value in setting.items()]


def named_after(name, setting):
    """The name of a build or a point: that of its entry, and what tells it from the others."""
    return "-".join([name, *(re.sub(r"[^A-Za-z0-9_.-]", "", word) for word in in_words(setting))])


def builds_of(name, entry):
    """The builds of an entry: itself, if it has no settings.

    Parameters
    ----------
    name : str
    entry : dict, of the configuration

    Returns
    -------
    builds : dict, name -> entry
        In `parameters` are those of the build as well, in `built` those that differ, in `search` a list of dict, one per point,
        in `family` the name of the entry that they are of, and in `entry` what it said of these.

    Raises
    ------
    ConfigError
        A condition cannot be read, or leaves nothing; two builds, or two points, have one name.
    """
    place, found = f"backends.{name}", {}
    for built in combinations(entry.get("build", {})):
        searches = [
            search
            for search in combinations(entry.get("search", {}))
            if holds(entry.get("where", "1"), built | search, f"{place}.where")
        ]
        if not searches:
            continue
        told = {key: built[key] for key in varying(entry.get("build", {}))}
        build = named_after(name, told)
        points = {named_after(build, {key: each[key] for key in varying(entry.get("search", {}))}): each for each in searches}
        if build in found or len(points) < len(searches):
            raise ConfigError(
                f"{place}: two of its settings have one name, {build}; write values that differ in letters or digits"
            )
        found[build] = {
            **{key: value for key, value in entry.items() if key not in ("build", "where", "tune")},
            "family": name,
            "built": told,
            "entry": {key: entry[key] for key in SETTINGS if key in entry},
            "parameters": entry["parameters"] | built,
        }
        if "search" in entry:
            found[build]["search"] = [{"name": point, "set": each} for point, each in points.items()]
    if not found:
        raise ConfigError(f"{place}.where: {entry['where']!r} holds for none of its settings; widen it")
    return found


def entries_of(backends):
    """The entries that builds are of, as a configuration has them.

    Parameters
    ----------
    backends : dict, name -> entry, resolved
    """
    found = {}
    for build in backends.values():
        if "variant_of" in build:
            continue
        plain = {key: value for key, value in build.items() if key not in ("family", "built", "entry", *SETTINGS)}
        found[build["family"]] = plain | build["entry"]
    return found


def points_of(backends):
    """The points of builds, as entries of their own: what rows of results are of.

    Parameters
    ----------
    backends : dict, name -> entry, resolved; or of results older than settings

    Returns
    -------
    points : dict, name -> entry
        With `build`, the name of the entry that it is a point of, `number` among its points, and `setting`, what its build and
        its search set. An entry without points is its own one, whose number is None.
    """
    found = {}
    for name, entry in backends.items():
        built = entry.get("built", {})
        if "search" not in entry:
            found[name] = entry | {"build": name, "number": None, "setting": built}
        for number, point in enumerate(entry.get("search", ())):
            of = {"build": name, "number": number, "search": point["set"], "setting": built | point["set"]}
            found[point["name"]] = entry | of
    return found
