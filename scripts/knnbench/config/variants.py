"""Builds of a suite under several numbers of threads, or asked by several callers: entries beside those that they are of.

A variant is a cell of its own, with its own files. What a suite measures as `timing.threads` has it keeps its name.
"""

from knnbench.config.values import ConfigError


def variants_of(suite, threads, most):
    """What a suite varies of each of its builds.

    Parameters
    ----------
    suite : dict, entry of the configuration
    threads : int, `timing.threads`
    most : int, CPU threads that a cell may have here

    Returns
    -------
    variants : list of dict
        `threads` where it is not what every cell has, and `callers` if the suite has them; {} is the build as it is. Numbers
        of threads that this machine does not have are left out.
    """
    numbers = [number for number in suite.get("threads", [most]) if number <= most]
    callers = {"callers": suite["callers"]} if "callers" in suite else {}
    return [({"threads": number} if number not in (threads, most) else {}) | callers for number in numbers]


def variant_name(name, variant):
    """The name of a build, or of a point, under a variant: "hnswlib-threads1-callers"."""
    words = [f"threads{number}" for key, number in variant.items() if key == "threads"] + ["callers"] * ("callers" in variant)
    return "-".join([name, *words])


def add_variants(config, most):
    """Give the configuration an entry for each variant of the chosen suite's builds, in place, and the suite a list `builds` of
    what it measures: the builds of its backends, or these variants.

    Parameters
    ----------
    config : dict, resolved
    most : int, CPU threads that a cell may have here

    Raises
    ------
    ConfigError
        No number of threads is left, or another entry has the name of a variant.
    """
    name, backends = config["suite"], config["backends"]
    suite = config["suites"][name]
    if "threads" not in suite and "callers" not in suite:
        return
    variants = variants_of(suite, config["timing"]["threads"], most)
    if not variants:
        raise ConfigError(f"suites.{name}.threads: {suite['threads']}, and a cell has {most} here; name {most} or fewer")
    suite["builds"] = []
    for build in suite["backends"]:
        entry = backends[build]
        for variant in variants:
            varied = variant_name(build, variant)
            if varied in backends and variant:
                raise ConfigError(
                    f"suites.{name}: {build} would be measured as {varied}, which is another entry; rename that one"
                )
            suite["builds"].append(varied)
            if not variant:
                continue
            backends[varied] = entry | variant | {"variant_of": build}
            if "search" in entry:
                points = [each | {"name": variant_name(each["name"], variant)} for each in entry["search"]]
                backends[varied]["search"] = points


def builds_of_suite(suite):
    """The builds that a suite measures, in the order of the configuration.

    Parameters
    ----------
    suite : dict, entry of a resolved or saved configuration
    """
    return suite.get("builds", suite["backends"])


def devices_of(suite, entry):
    """The devices on which a suite measures a backend: several numbers of threads are of cells on a CPU.

    Parameters
    ----------
    suite, entry : dict, of a resolved or saved configuration
    """
    return [device for device in entry["environments"] if device == "cpu" or len(suite.get("threads", ())) < 2]
