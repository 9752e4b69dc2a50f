"""The CPUs: which share a core or a memory, what holds their clock, and which of them threads shall have.

As the kernel shows them below /sys (Documentation/ABI/stable/sysfs-devices-system-cpu, admin-guide/pm/cpufreq.rst); where it
does not, each CPU counts as a core, and all have one memory. Standard library only.
"""

import re
from collections import Counter
from pathlib import Path

SYSTEM = Path("/sys/devices/system")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def read(path):
    """The words of a file of the kernel; None where it is not there or may not be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def numbers(words):
    """The set that a list of the kernel's, such as "0-3,8", stands for."""
    ends = [part.split("-") for part in (words or "").split(",") if part]
    return {number for first, *last in ends for number in range(int(first), int((last or [first])[0]) + 1)}


def siblings(cpu, system=SYSTEM):
    """The hardware threads of the core that a CPU is of, itself included: a frozenset of numbers."""
    return frozenset(numbers(read(system / f"cpu/cpu{cpu}/topology/thread_siblings_list")) | {cpu})


def cores(cpus, system=SYSTEM):
    """The cores that some CPUs are of, each as its `siblings`: a set."""
    return {siblings(cpu, system) for cpu in cpus}


def memory_nodes(cpus, system=SYSTEM):
    """The number of the memory node that is near to each of some CPUs: a dict, 0 where the kernel does not say."""
    found = {
        cpu: int(folder.name.removeprefix("node"))
        for folder in system.glob("node/node[0-9]*")
        for cpu in numbers(read(folder / "cpulist"))
    }
    return {cpu: found.get(cpu, 0) for cpu in cpus}


def choose(threads, allowed, near=(), system=SYSTEM):
    """Choose the CPUs on which threads are least in each other's way.

    One of each core before a second one of any; of these, those `near` first, then those of the memory node that has the most
    cores to give, as long as they last, then those of the next one.

    Parameters
    ----------
    threads : int
    allowed : set of int, the CPUs that this process may use
    near : set of int, those at which a GPU is connected

    Returns
    -------
    chosen : set of int, as many as there are threads, or all that are allowed if these are fewer
    """
    rank = {cpu: sum(other < cpu for other in siblings(cpu, system) & allowed) for cpu in allowed}
    nodes = memory_nodes(allowed, system)
    room = Counter(nodes[cpu] for cpu in allowed if rank[cpu] == 0)
    ranked = sorted(allowed, key=lambda cpu: (rank[cpu], cpu not in near, -room[nodes[cpu]], nodes[cpu], cpu))
    return set(ranked[:threads])


def describe(cpus, system=SYSTEM, huge_pages=HUGE_PAGES):
    """What of some CPUs and their kernel decides how fast they are, as far as it can be read.

    Returns
    -------
    facts : dict
        `topology` (numbers of cores, sockets, memory nodes, and hardware threads that share a core), `governor` with the driver
        (`clock_driver`) that carries out what it wants and the driver's `energy_preference`, `clock_khz` (what the clock may
        reach, and what it could, of the CPU that is held back most), `clock_percent` (what intel_pstate allows of its highest
        performance), `boost` (whether a clock above the nominal one is allowed), `huge_pages` (when memory is given in large
        pages).
    """
    places = [system / f"cpu/cpu{cpu}" for cpu in sorted(cpus)]

    def common(name):
        """What files of these CPUs say, each once."""
        return ", ".join(sorted({words for place in places if (words := read(place / name))})) or None

    def number(place, name):
        words = read(place / name)
        return int(words) if words and words.isdigit() else None

    facts = {
        "governor": common("cpufreq/scaling_governor"),
        "clock_driver": common("cpufreq/scaling_driver"),
        "energy_preference": common("cpufreq/energy_performance_preference"),
        "clock_percent": number(system / "cpu/intel_pstate", "max_perf_pct"),
    }
    if common("topology/thread_siblings_list"):
        facts["topology"] = {
            "cores": len(cores(cpus, system)),
            "sockets": len({read(place / "topology/physical_package_id") for place in places}),
            "memory_nodes": len(set(memory_nodes(cpus, system).values())),
            "threads_per_core": max(map(len, cores(cpus, system))),
        }
    clocks = [[number(place, f"cpufreq/{name}_max_freq") for name in ("scaling", "cpuinfo")] for place in places]
    if clocks := [(most, possible) for most, possible in clocks if most and possible]:
        facts["clock_khz"] = min(clocks, key=lambda clock: clock[0] / clock[1])
    if (off := read(system / "cpu/intel_pstate/no_turbo")) is not None:
        facts["boost"] = off == "0"
    elif (on := read(system / "cpu/cpufreq/boost")) is not None:
        facts["boost"] = on == "1"
    if chosen := re.search(r"\[(\w+)\]", read(huge_pages) or ""):
        facts["huge_pages"] = chosen[1]
    return {name: value for name, value in facts.items() if value is not None}
