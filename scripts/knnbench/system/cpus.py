"""The CPUs: which share a core or a memory, what holds their clock, and which of them threads shall have.

As the kernel shows them below /sys (Documentation/ABI/stable/sysfs-devices-system-cpu, admin-guide/pm/cpufreq.rst); where it
does not, each CPU counts as a core, and all have one memory. Standard library only.
"""

import platform
import re
from collections import Counter
from pathlib import Path

SYSTEM = Path("/sys/devices/system")
CPUINFO = Path("/proc/cpuinfo")
BOARDS = (Path("/proc/device-tree/model"), Path("/sys/class/dmi/id/sys_vendor"))  # of them the first that there is
# What the kernel calls a CPU in /proc/cpuinfo, by architecture: x86, LoongArch, MIPS, POWER and SPARC, RISC-V ...
NAMES = ("model name", "Model Name", "cpu model", "cpu", "uarch")
# ... and the numbers that tell CPUs apart which have no name, or one that is all of a family's: ARM, RISC-V, s390 ...
NUMBERS = ("CPU implementer", "CPU part", "CPU variant", "mvendorid", "marchid", "mimpid", "type")
X86_NUMBERS = ("cpu family", "model", "stepping")  # ... and of x86, whose name is a host's choice in many virtual machines
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
PROFILE = Path("/sys/firmware/acpi/platform_profile")


def read(path):
    """The words of a file of the kernel; None where it is not there or may not be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def name(cpus, cpuinfo=CPUINFO, boards=BOARDS, system=SYSTEM):
    """What the kernel says that some CPUs are; where they are of several kinds, as in phones, how many of each.

    A name without a number besides its clock, such as "Intel(R) Xeon(R) CPU @ 2.20GHz" or "AMD EPYC", is that of several
    generations: the numbers of the CPU are said, too. Those that have no name at all are told apart by their maker's
    numbers and by the board, or the vendor of the machine. Where several of these CPUs are of one core, that is said: as many
    CPUs that are a core each are another machine.

    Parameters
    ----------
    cpus : set of int
    cpuinfo : Path, /proc/cpuinfo (show_cpuinfo in arch/*/kernel of Linux says what its lines are)
    boards : sequence of Path, of files that name a board or a vendor
    system : Path, /sys/devices/system

    Returns
    -------
    name : str
    """
    # s390 has a line for each CPU, not a block.
    text = re.sub(r"(?m)^processor (\d+): .*machine = (\w+)$", r"\nprocessor: \1\ntype: \2\n", read(cpuinfo) or "")
    blocks = [dict(re.findall(r"(?m)^([^:\n]+?)[ \t]*:[ \t]*(.*?)[ \t]*$", part)) for part in re.split(r"\n\s*\n", text)]
    every = [block for block in blocks if block.get("processor", "").isdigit()]
    kinds = Counter(model(block) for block in every if int(block["processor"]) in cpus) or Counter(map(model, every[:1]))
    board = next((words.strip("\0") for path in boards if (words := read(path))), "")
    usual, words = platform.processor() or platform.machine(), []
    for (own, *told), count in sorted(kinds.items()):
        told = ", ".join(told if own or not board else (*told, board))
        words.append(f"{count} x " * (len(kinds) > 1) + (own or usual) + f" ({told})" * bool(told))
    threads = max((len(core & cpus) for core in cores(cpus, system)), default=1)
    return (" and ".join(words) or usual) + f", {threads} threads a core" * (threads > 1)


def model(block):
    """One CPU of /proc/cpuinfo: a tuple of its name, "" if it has none, and of the numbers that tell it apart, in words.

    Parameters
    ----------
    block : dict, its lines, such as "model name" -> "AMD EPYC 7763 64-Core Processor"
    """
    own = next((block[key] for key in NAMES if block.get(key)), "")
    keys = NUMBERS if re.search(r"\d", re.sub(r"@.*|version.*", "", own)) else (*NUMBERS, *X86_NUMBERS)
    return own, *(f"{key.split()[-1]} {block[key]}" for key in keys if block.get(key))


def numbers(words):
    """The set that a list of the kernel's, such as "0-3,8", stands for."""
    ends = [part.split("-") for part in (words or "").split(",") if part]
    return {number for first, *last in ends for number in range(int(first), int((last or [first])[0]) + 1)}


def siblings(cpu, system=SYSTEM):
    """The hardware threads of the core that a CPU is of, itself included: a frozenset of numbers."""
    place = system / f"cpu/cpu{cpu}/topology"
    return frozenset(numbers(read(place / "core_cpus_list") or read(place / "thread_siblings_list")) | {cpu})


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


def describe(cpus, system=SYSTEM, huge_pages=HUGE_PAGES, profile=PROFILE):
    """What of some CPUs and their kernel decides how fast they are, as far as it can be read.

    Returns
    -------
    facts : dict
        `topology` (numbers of cores, sockets, memory nodes, and hardware threads that share a core), `governor` with the driver
        (`clock_driver`) that carries out what it wants and the driver's `energy_preference`, `platform_profile` (what the
        firmware aims at), `clock_khz` (what the clock may reach, and what it could, of the CPU that is held back most),
        `clock_percent` (what intel_pstate allows of its highest performance), `boost` (whether a clock above the nominal one is
        allowed), `huge_pages` (when memory is given in large pages).
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
        "platform_profile": read(profile),
        "clock_percent": number(system / "cpu/intel_pstate", "max_perf_pct"),
    }
    if common("topology/core_cpus_list") or common("topology/thread_siblings_list"):
        facts["topology"] = {
            "cores": len(cores(cpus, system)),
            "sockets": len({read(place / "topology/physical_package_id") for place in places}),
            "memory_nodes": len(set(memory_nodes(cpus, system).values())),
            "threads_per_core": max(map(len, cores(cpus, system))),
        }
    # The governor userspace holds the clock at one speed.
    asked = [[number(place, f"cpufreq/scaling_{name}") for name in ("setspeed", "max_freq")] for place in places]
    clocks = [
        (held or most, number(place, "cpufreq/cpuinfo_max_freq")) for place, (held, most) in zip(places, asked, strict=True)
    ]
    if clocks := [(most, possible) for most, possible in clocks if most and possible]:
        facts["clock_khz"] = min(clocks, key=lambda clock: clock[0] / clock[1])
    if (off := read(system / "cpu/intel_pstate/no_turbo")) is not None:
        facts["boost"] = off == "0"
    elif (on := read(system / "cpu/cpufreq/boost")) is not None:
        facts["boost"] = on == "1"
    if chosen := re.search(r"\[(\w+)\]", read(huge_pages) or ""):
        facts["huge_pages"] = chosen[1]
    return {name: value for name, value in facts.items() if value is not None}
