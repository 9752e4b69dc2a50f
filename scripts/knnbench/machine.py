"""What the machine is and what a process used of it. Standard library only: every environment can import it."""

import contextlib
import os
import platform
import re
import resource
import time
from pathlib import Path

from knnbench import gpu

NOISE = 0.05  # share of our CPUs that others may take before a cell is called noisy
TICK_S = 0.01  # of the kernel's accounts (USER_HZ)
POWERCAP = Path("/sys/class/powercap")


def available_cpus():
    """Number of CPUs that this process may run on."""
    return len(os.sched_getaffinity(0))


def describe(device):
    """Describe the machine for a record: CPU, memory, kernel, and for `device` gpu the GPU and its driver."""
    facts = {
        "node": platform.node(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cpu": read_field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cpus": available_cpus(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor.exists():
        facts["governor"] = governor.read_text(encoding="utf-8").strip()
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


def available_memory():
    """Bytes that can be had without swapping; None where the kernel does not say."""
    field = read_field("/proc/meminfo", "MemAvailable")
    return int(field.split()[0]) * 1024 if field else None


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
    """Runnable processes averaged over the last minute."""
    return round(os.getloadavg()[0], 2)


def boot_id():
    """Identifies this machine since it was started (proc(5), random/boot_id)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()


def process_start(pid):
    """When a process started, in clock ticks since boot, or None if there is no such process (proc(5), stat)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19]
    except OSError:
        return None


class Watch:
    """CPU time that others took from our CPUs since it was made: processes, interrupts, the host of a virtual machine."""

    def __init__(self):
        self.start = self.read()

    @staticmethod
    def read():
        ours = os.sched_getaffinity(0)
        busy = stolen = 0
        for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines():
            cpu = re.match(r"cpu(\d+) ", line)
            if cpu and int(cpu[1]) in ours:
                user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])  # proc(5)
                busy += user + nice + system + irq + softirq + steal
                stolen += steal
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = time.process_time() + children.ru_utime + children.ru_stime
        return time.monotonic(), busy * TICK_S, stolen * TICK_S, own

    def report(self):
        """How much of our CPUs others had, and whether that was too much.

        Returns
        -------
        report : dict
            `others_cpus` and `stolen_cpus` (the host's part of it) are CPUs on average; `noisy` if others had more than a
            twentieth of ours, by more than the kernel's accounts can be wrong.
        """
        elapsed, busy, stolen, own = (now - then for now, then in zip(self.read(), self.start, strict=True))
        others, cpus = max(0.0, busy - own), available_cpus()
        return {
            "seconds": round(elapsed, 3),
            "others_cpus": round(others / elapsed, 3),
            "stolen_cpus": round(stolen / elapsed, 3),
            "noisy": others > max(NOISE * cpus * elapsed, 2 * TICK_S * cpus),
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
