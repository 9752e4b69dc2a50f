"""What jobs ask of a queue, if cells are jobs of one (docs/clusters.md): time, memory, CPUs, a GPU, a place."""

import math

LOCAL = not CLUSTER or config["cluster"]["local"]
MOST_MB = int(config["cluster"]["memory_gb"] * 1e9 / 2**20)


def at_most(bytes_expected, attempt):
    """Memory to ask of a queue, in MiB: what is expected and half as much; all that may be asked for at the second attempt."""
    if config["cluster"]["exclusive"] or attempt > 1:
        return MOST_MB
    return min(MOST_MB, int((1.5 * bytes_expected + 1e9) / 2**20))


def cell_memory_mb(wildcards, attempt):
    from knnbench.workflow import plan  # Pandas: only where there is a queue

    size = plan.size_of(wildcards.dataset, config["datasets"][wildcards.dataset])
    return at_most(plan.host_bytes(size, config["backends"][wildcards.backend]), attempt)


def dataset_memory_mb(wildcards, attempt):
    from knnbench.workflow import plan

    size = plan.size_of(wildcards.dataset, config["datasets"][wildcards.dataset])
    return at_most(2e9 + plan.dataset_bytes(size, config["truth_k"]), attempt)


def cell_minutes(wildcards, points=None):
    """Time to ask of a queue: what the limits of a cell allow, so that they end it and not the queue."""
    from knnbench.workflow import plan

    backend = config["backends"][wildcards.backend] if points is None else {}
    points = points or len(backend.get("search", [None]))
    return math.ceil(plan.longest_s(config["timing"], points, backend.get("callers", ())) / 60)


def dataset_minutes(wildcards, attempt):
    from knnbench.workflow import plan

    size = plan.size_of(wildcards.dataset, config["datasets"][wildcards.dataset])
    return attempt * math.ceil(10 + 3 * plan.dataset_s(size, config["timing"]["threads"]) / 60)


def queue(minutes, memory_mb, device):
    """What a job asks of a queue, as resources of its rule; without a queue nothing.

    Parameters
    ----------
    minutes, memory_mb : function as Snakemake calls it for a resource
    device : function, wildcards -> "cpu" or "gpu"
    """
    if not CLUSTER:
        return {"runtime": 0, "mem_mb": 0, "most_mb": 0}
    site = config["cluster"]
    return {
        "runtime": minutes,
        "mem_mb": memory_mb,
        "most_mb": lambda wildcards, attempt: MOST_MB if attempt == 1 else 0,
        "cpus_per_task": config["timing"]["threads"],
        "slurm_partition": lambda wildcards: site["partition"].get(device(wildcards)),
        "slurm_account": site["account"] or None,
        "slurm_extra": "--exclusive" if site["exclusive"] else None,
        "gpu_model": lambda wildcards: site["gpu_model"] if device(wildcards) == "gpu" else None,
    }


# An index and its cells are one job of a queue; a later round, which waits for the first one, is a job of its own.
GROUP = "cells-{dataset}-{device}-{round}" if CLUSTER else None
FOR_CELL = queue(cell_minutes, cell_memory_mb, lambda wildcards: wildcards.device)
FOR_DATASET = queue(
    dataset_minutes, dataset_memory_mb, lambda wildcards: "gpu" if GPU_PYTHON else "cpu"
)
FOR_CEILINGS = queue(
    lambda wildcards: cell_minutes(wildcards, points=1),
    lambda wildcards, attempt: at_most(4e9, attempt),
    lambda wildcards: wildcards.device,
)
