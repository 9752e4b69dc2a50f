"""What the machine is and what a process used of it. Standard library only: every environment can import it."""

import contextlib
import ctypes
import os
import platform
import re
import subprocess
from pathlib import Path


def gpu_count():
    """Number of NVIDIA GPUs that the driver shows to this process; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def available_cpus():
    """Number of CPUs that this process may run on."""
    return len(os.sched_getaffinity(0))


def describe(gpu):
    """Describe the machine for a record: CPU, memory, kernel, and with `gpu` the GPU and its driver."""
    facts = {
        "node": platform.node(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "cpu": read_field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cpus": available_cpus(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
    if gpu:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        try:
            answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
            facts["gpu"] = answer.strip().splitlines()[0]
        except (OSError, subprocess.SubprocessError, IndexError) as error:
            facts["gpu"] = f"unknown: {error}"
    return facts


def read_field(path, name):
    """Value of the first `name : value` or `name value` line of a kernel file, or None."""
    try:
        found = re.search(rf"^{name}\s*:?\s*(.*)$", Path(path).read_text(), re.MULTILINE)
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
    """Largest resident memory of this process since `reset_peak_memory`, in bytes (VmHWM); None where unknown."""
    field = read_field("/proc/self/status", "VmHWM")
    return int(field.split()[0]) * 1024 if field else None


def reset_peak_memory():
    """Start `peak_memory` anew from what is resident now (proc(5), clear_refs).

    Where the kernel refuses, later peaks include what came before.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def load():
    """Runnable processes averaged over the last minute."""
    return round(os.getloadavg()[0], 2)


def boot_id():
    """Identifies this machine since it was started (proc(5), random/boot_id)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process_start(pid):
    """When a process started, in clock ticks since boot, or None if there is no such process (proc(5), stat)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return None
