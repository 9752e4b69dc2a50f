"""Check a configuration against the machines that its jobs run on."""

from knnbench.config.values import ConfigError


def check_cluster(config):
    """Check that nothing which the nodes of a cluster decide is left to the machine that submits the jobs.

    Raises
    ------
    ConfigError
    """
    for place, value, unknown in (
        ("gpu", config["gpu"], "auto"),
        ("cuda", config["cuda"] if config["gpu"] else None, "auto"),
        ("timing.threads", config["timing"]["threads"], 0),
    ):
        if value == unknown:
            raise ConfigError(
                f"{place}: {unknown} would be decided by this machine, and jobs run on others; "
                "say what the nodes have, in profiles/slurm/site.yaml or another --configfile"
            )


def check_machine(timing, facts, cpus):
    """Check that a cell does not ask for more than the machine has.

    Parameters
    ----------
    timing : dict, of the configuration
    facts : dict, from machine.describe
    cpus : int, CPUs that this process may run on

    Raises
    ------
    ConfigError
    """
    if timing["threads"] > cpus:
        raise ConfigError(
            f"timing.threads: {timing['threads']} threads, and there are {cpus} CPUs; lower it, or 0 for one on each core"
        )
    if timing["memory_gb"] * 1e9 > facts["memory_bytes"]:
        raise ConfigError(
            f"timing.memory_gb: {timing['memory_gb']:g}, and there are {facts['memory_bytes'] / 1e9:.1f} GB; "
            "lower it, or 0 for nine tenths of what is available"
        )
