"""What the machine is and what a process used of it. Standard library only: every environment can import it."""

import contextlib
import functools
import os
import platform
import re
import resource
import time
from pathlib import Path

from knnbench.system import cpus, gpu
from knnbench.system.inherited import recorded

NOISE = 0.05  # share of our CPUs that others may take before a cell is called noisy
TICK_S = 0.01  # of the kernel's accounts (USER_HZ)
POWERCAP = Path("/sys/class/powercap")


def available_cpus():
    """Number of CPUs whose time this process may have: those that it may run on, or fewer under a quota, and at least one."""
    allowed, quota = len(os.sched_getaffinity(0)), cpu_quota()
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def usual_threads(device):
    """How many threads a library gets if nothing is asked for: one for each core, at most as many as a quota gives.

    The two hardware threads of a core share what matrix products and distances are computed with. For `device` gpu only cores
    at which the GPU is connected are counted.
    """
    allowed = os.sched_getaffinity(0)
    near = gpu.near_cpus() & allowed if device == "gpu" else set()
    return min(available_cpus(), len(cpus.cores(near or allowed)))


def describe(device):
    """Describe the machine for a record: CPU, memory, kernel, and for `device` gpu the GPU and its driver."""
    facts = {
        "node": platform.node(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cpu": cpus.name(os.sched_getaffinity(0)),
        "cpus": available_cpus(),
        "cores": usual_threads(device),
        "memory_bytes": min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *memory_limits()),
        "cpu_quota": cpu_quota(),
        "variables": recorded(os.environ),
        "microcode": read_field("/proc/cpuinfo", "microcode"),
        **cpus.describe(os.sched_getaffinity(0)),
    }
    if device == "gpu":
        facts["gpu"] = gpu.describe()
    return facts


def read_field(path, name):
    """Value of the first `name : value` or `name value` line of a kernel file, or None."""
    try:
        found = re.search(rf"^{name}\s*:?\s*(.*)$", Path(path).read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return found[1].strip() if found else None


def read_number(path):
    """The whole number that a file of the kernel holds; None if it holds none or is not there."""
    try:
        return int(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@functools.cache
def control_groups():
    """Folders of the control groups that bound this process, its own first, then those around it, as far as they are shown.

    Returns
    -------
    folders : list of (str, Path)
        With the controllers of a folder: "cpu,cpuacct" or "memory" (version 1), or "" (version 2, which has all in one).
    """
    found = []
    try:
        own = [
            line.split(":", 2)
            for line in Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        ]
        mounts = [
            line.split(" - ")
            for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        ]
    except OSError:
        return []
    for place, system in mounts:  # proc_pid_mountinfo(5)
        kind, *_, options = system.split()
        root, point = (re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), word) for word in place.split()[3:5])
        for _, controllers, path in own if kind in ("cgroup", "cgroup2") else ():
            if controllers.startswith("name=") or (controllers == "") != (kind == "cgroup2"):
                continue
            if not set(controllers.split(",")) <= {*options.split(","), ""}:
                continue
            # In a container the root of what is mounted may be our group, or lie where we cannot see it.
            inside = os.path.relpath(path, root) if os.path.commonpath([path, root]) == root else "."
            folder = Path(os.path.normpath(Path(point, inside)))
            found += [(controllers, each) for each in (folder, *folder.parents) if each.is_relative_to(point)]
    return found


def cpu_quota():
    """CPUs whose time the kernel gives the control groups of this process, such as 1.5; None if it does not bound them."""
    quotas = []
    for _, folder in control_groups():
        quota, period = read_number(folder / "cpu.cfs_quota_us"), read_number(folder / "cpu.cfs_period_us")
        with contextlib.suppress(OSError, ValueError):
            quota, period = map(int, (folder / "cpu.max").read_text().split())  # or "max" and the period
        if quota and period and quota > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


def held_s():
    """Seconds for which the kernel has held the control groups of this process back, for their quota."""
    held = 0.0
    for _, folder in control_groups():
        for name, unit in (("throttled_usec", 1e-6), ("throttled_time", 1e-9)):  # versions 2 and 1
            field = read_field(folder / "cpu.stat", name)
            held += int(field) * unit if field else 0
    return held


def memory_limits():
    """Bytes of memory that the control groups of this process may have, a list; over memory.high it is slowed down."""
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    found = [read_number(folder / name) for _, folder in control_groups() for name in names]
    return [limit for limit in found if limit is not None]


def available_memory():
    """Bytes that can be had without swapping, within the limits of control groups and of ulimit; None where nobody says."""
    field = read_field("/proc/meminfo", "MemAvailable")
    found = [int(field.split()[0]) * 1024] if field else []
    for _, folder in control_groups():
        for limit, usage, caches in (
            ("memory.max", "memory.current", ("inactive_file", "active_file")),
            ("memory.high", "memory.current", ("inactive_file", "active_file")),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
        ):
            most, used = read_number(folder / limit), read_number(folder / usage)
            if most is not None and used is not None:
                kept = [read_field(folder / "memory.stat", name) for name in caches]  # and given back when it is wanted
                found.append(max(0, most - used + sum(int(size or 0) for size in kept)))
    limits = (resource.getrlimit(resource.RLIMIT_DATA)[1], resource.getrlimit(resource.RLIMIT_AS)[0])
    return min(found + [limit for limit in limits if limit != resource.RLIM_INFINITY], default=None)


def oom_kills():
    """How many processes the kernel has killed for lack of memory since boot; None where it does not say."""
    count = read_field("/proc/vmstat", "oom_kill")
    return int(count) if count else None


def peak_memory():
    """Largest resident memory of this process since `reset_peak_memory`, in bytes (VmHWM)."""
    field = read_field("/proc/self/status", "VmHWM")
    return int(field.split()[0]) * 1024 if field else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def reset_peak_memory():
    """Start `peak_memory` anew from what is resident now (proc(5), clear_refs).

    Where the kernel refuses, later peaks include what came before.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def load():
    """Runnable processes averaged over the last minute; None where the kernel does not say."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


class Watch:
    """CPU time that others took from our cores since it was made: processes, interrupts, the host of a virtual machine."""

    def __init__(self):
        self.start = self.read()

    @staticmethod
    def read():
        ours = set().union(*cpus.cores(os.sched_getaffinity(0)))  # who has the other thread of a core slows ours down
        busy, stolen, accounts = 0, 0, []
        with contextlib.suppress(OSError):  # nobody else is seen
            accounts = Path("/proc/stat").read_text(encoding="utf-8").splitlines()
        for line in accounts:
            cpu = re.match(r"cpu(\d+) ", line)
            if cpu and int(cpu[1]) in ours:
                user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])  # proc(5)
                busy += user + nice + system + irq + softirq + steal
                stolen += steal
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = time.process_time() + children.ru_utime + children.ru_stime
        return time.monotonic(), busy * TICK_S, stolen * TICK_S, own, held_s()

    def report(self):
        """How much of our CPUs others had, and whether that was too much.

        Returns
        -------
        report : dict
            `others_cpus` and `stolen_cpus` (the host's part of it) are CPUs on average; `noisy` if others had more than a
            twentieth of ours, by more than the kernel's accounts can be wrong; `held_s` is for how long a quota held us back.
        """
        elapsed, busy, stolen, own, held = (now - then for now, then in zip(self.read(), self.start, strict=True))
        others, ours = max(0.0, busy - own), len(os.sched_getaffinity(0))
        return {
            "seconds": round(elapsed, 3),
            "others_cpus": round(others / elapsed, 3),
            "stolen_cpus": round(stolen / elapsed, 3),
            "noisy": others > max(NOISE * ours * elapsed, 2 * TICK_S * ours),
            "held_s": round(held, 3),
        }


def energy(device, powercap=POWERCAP):
    """Readings of the energy counters that can be read: of the CPUs, and for `device` gpu of the GPU.

    Parameters
    ----------
    device : {"cpu", "gpu"}
    powercap : Path, where the kernel shows the CPUs' counters (RAPL); readable by root only on most systems

    Returns
    -------
    readings : dict, "cpu package 0" ... or "gpu" -> (joules, joules after which it starts again from 0)
    """
    readings = {}
    for zone in sorted(powercap.glob("intel-rapl:[0-9]*")):
        with contextlib.suppress(OSError):
            name = (zone / "name").read_text(encoding="utf-8").strip()
            if name.startswith("package"):  # the zones within a package are part of it
                joules, wrap = (
                    int((zone / part).read_text(encoding="utf-8")) / 1e6 for part in ("energy_uj", "max_energy_range_uj")
                )
                readings[f"cpu {name}"] = (joules, wrap)
    if device == "gpu" and (joules := gpu.joules()) is not None:
        readings["gpu"] = (joules, float("inf"))
    return readings


def energy_between(before, after):
    """Joules of the CPUs and of the GPU between two readings: a dict with those of "cpu" and "gpu" that are known."""
    spent = {}
    for name, (joules, wrap) in before.items():
        if name in after:
            difference = after[name][0] - joules
            spent[name.split()[0]] = spent.get(name.split()[0], 0.0) + (difference if difference >= 0 else difference + wrap)
    return spent
