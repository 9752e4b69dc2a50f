"""The worker of a cell before it has imported anything big: its limits first, then the measurement."""

import json
import os
import sys

from knnbench.system import isolation, machine


def work(arguments, threads):
    """Be the worker: measure and leave.

    Parameters
    ----------
    arguments : Namespace, the command line of scripts/measure_cell.py, with what --worker was given
    threads : int
    """
    memory = int(arguments.memory_gb * 1e9) or int(0.9 * (machine.available_memory() or 0))
    if arguments.job:
        memory = min(memory or sys.maxsize, arguments.job.data_bytes(arguments.data))
    supervisor, *descriptors = arguments.worker
    cpus = os.sched_getaffinity(0)
    isolation.confine(supervisor, threads, arguments.device, memory if arguments.device == "cpu" else None)
    reporter = isolation.Reporter(*descriptors)

    from knnbench.measure import cell  # NumPy and h5py: after the limits, and not in the supervisor

    cell.measure(
        cell.Task(
            data=arguments.data,
            module=arguments.module,
            parameters=arguments.parameters,
            device=arguments.device,
            n_neighbors=arguments.n_neighbors,
            index=arguments.index,
            build=arguments.build,
            threads=threads,
            cpus=cpus,
            max_fit_s=arguments.max_fit_s,
            search=arguments.search,
            points=arguments.points,
            half=arguments.half,
            first=arguments.asked and json.loads(arguments.asked.read_text(encoding="utf-8")),
            few=arguments.few,
            timing=arguments.timing and cell.Timing(**arguments.timing),
            spec=arguments.spec,
            pinned=not arguments.unpinned,
            prefix=arguments.prefix,
            out=arguments.out,
        ),
        reporter,
    )
    isolation.leave()
