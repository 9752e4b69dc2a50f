"""Metrics of the user's own, in the configuration."""

import contextlib
import functools
import importlib.util
import os
import sys
from pathlib import Path

from knnbench.config.values import ConfigError
from knnbench.problem.metrics import METRICS
from knnbench.problem.own_metrics import DIMENSION, MetricError, check_metric, define, digest_of

# Where files lie that are part of Python, of a package or of the system, and not of a metric.
OTHERS = tuple(map(os.path.realpath, (sys.prefix, sys.base_prefix, Path(__file__).parents[2])))
OTHERS += ("/proc", "/sys", "/dev", "/etc", "/usr")


@functools.cache
def opened():
    """A list of what is opened from now on; Python has no way to end that."""
    paths = []
    sys.addaudithook(lambda event, arguments: event == "open" and isinstance(arguments[0], str) and paths.append(arguments[0]))
    return paths


@contextlib.contextmanager
def only_reads(entry):
    """See to it that a metric's file reads no others than it names, for others would be in no digest and no artifact.

    Raises
    ------
    MetricError
    """
    paths = opened()
    del paths[:]
    yield
    named = {os.path.realpath(path) for path in (entry["module"], *entry["reads"])}
    for path in dict.fromkeys(paths):
        source = importlib.util.source_from_cache(path) if path.endswith(".pyc") else path
        real = os.path.realpath(source)
        if not os.path.isfile(real) or any(real.startswith(f"{other}{os.sep}") for other in OTHERS):
            continue
        if real not in named:
            raise MetricError(
                f"{entry['module']} reads {source}, which the entry does not name; say reads: [{source}], so that it is part of"
                " what the neighbours depend on and of an artifact"
            )
        if not os.path.isabs(path):
            raise MetricError(
                f"{entry['module']} opens {path} in the folder that a program runs in, which is another one elsewhere; open"
                f" pathlib.Path(__file__).with_name({Path(path).name!r})"
            )


def check_own_metric(name, entry, dimensions=()):
    """Check a metric of the user's own by trying it on random points, and note what its files are.

    Parameters
    ----------
    name : str
    entry : dict, changed
    dimensions : iterable of int, of points that are to be searched by it, as far as they are known

    Raises
    ------
    ConfigError
    """
    if name in METRICS:
        raise ConfigError(f"metrics.{name}: knnbench has a metric of this name; give yours another one")
    kinds = sorted({"term", "module", "p", "matrix"} & entry.keys())
    if len(kinds) != 1:
        raise ConfigError(f"metrics.{name}: has {', '.join(kinds) or 'none'} of term, module, p and matrix; it needs just one")
    if kinds != ["term"] and (surplus := sorted({"finish", "reduce", "domain"} & entry.keys())):
        raise ConfigError(f"metrics.{name}: {', '.join(surplus)} belong to a formula (term), not to {kinds[0]}")
    if kinds not in (["term"], ["module"]) and "symmetric" in entry:
        raise ConfigError(f"metrics.{name}: symmetric: that of {kinds[0]} is known; leave it out")
    if kinds != ["module"] and "reads" in entry:
        raise ConfigError(f"metrics.{name}.reads: only a module reads files; leave it out")
    try:
        with contextlib.ExitStack() as within:
            if kinds == ["module"]:
                beside = Path(entry["module"]).resolve().parent
                for path in entry.setdefault("reads", []):
                    if not Path(path).resolve().is_relative_to(beside):
                        raise MetricError(f"reads: {path} is not in the folder of {entry['module']}, or below; put it there")
                entry["sha256"] = digest_of(entry)
                within.enter_context(only_reads(entry))
            elif entry.get("matrix", "data") != "data":
                entry["sha256"] = digest_of(entry)
            metric = define(name, entry)
            for d in [metric.dimension] if metric.dimension else sorted(set(dimensions)) or [DIMENSION]:
                check_metric(metric, entry.get("symmetric", True), d)
    except (MetricError, OSError) as error:
        raise ConfigError(f"metrics.{name}: {error}") from error
