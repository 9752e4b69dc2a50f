"""Metrics of the user's own, in the configuration."""

from knnbench.config.values import ConfigError
from knnbench.problem.metrics import METRICS
from knnbench.problem.own_metrics import MetricError, check_metric, define
from knnbench.system.files import sha256_of


def check_own_metric(name, entry):
    """Check a metric of the user's own by trying it on random points, and note what its file is."""
    if name in METRICS:
        raise ConfigError(f"metrics.{name}: knnbench has a metric of this name; give yours another one")
    kinds = sorted({"term", "module", "p", "matrix"} & entry.keys())
    if len(kinds) != 1:
        raise ConfigError(f"metrics.{name}: has {', '.join(kinds) or 'none'} of term, module, p and matrix; it needs just one")
    if kinds != ["term"] and (surplus := sorted({"finish", "reduce", "domain"} & entry.keys())):
        raise ConfigError(f"metrics.{name}: {', '.join(surplus)} belong to a formula (term), not to {kinds[0]}")
    path = entry.get("module") or entry.get("matrix")
    try:
        if path and path != "data":
            entry["sha256"] = sha256_of(path)
        check_metric(define(name, entry), entry.get("symmetric", True))
    except (MetricError, OSError) as error:
        raise ConfigError(f"metrics.{name}: {error}") from error
