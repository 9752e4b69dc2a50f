"""NVIDIA GPUs as their driver knows them. All but their number needs nvidia-ml-py and is None without it."""

import contextlib
import ctypes
import functools
import math
import os
import time

# Counters of the driver, fields of NVML: nanoseconds for which each has held the clocks back. Only these have had one number in
# all versions of nvml.h; heat and brakes that the hardware heeds by itself are counted under 251 to 253 or 269 to 271.
COUNTERS = {"SwPowerCap": 74, "SwThermalSlowdown": 75, "BoardLimit": 77}
MPS_DAEMON = "nvidia-cuda-mps-server"  # computes for others, its clients


def driver(question):
    """An integer from the CUDA driver, such as "cuDeviceGetCount"; 0 without a driver."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    number = ctypes.c_int(0)
    if library.cuInit(0) or getattr(library, question)(ctypes.byref(number)):
        return 0
    return number.value


def count():
    """Number of NVIDIA GPUs that the driver shows to this process; 0 without a driver."""
    return driver("cuDeviceGetCount")


def cuda():
    """Newest major version of CUDA that the driver can run, such as 12 or 13; 0 without a driver."""
    return driver("cuDriverGetVersion") // 1000


def driver_file():
    """Path of the CUDA driver's library, which `driver` has opened."""
    with open("/proc/self/maps", encoding="utf-8") as mapped:
        return next(line.split(maxsplit=5)[5].strip() for line in mapped if "/libcuda.so" in line)


@functools.cache
def nvml():
    """The module that asks the driver's library, which it has opened; None where there is none.

    It is long, and imported only where it is asked for: a machine without a GPU does not wait for it.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no module, or NVML's errors
        return None
    return pynvml


def ask(question, *arguments, refused=None):
    """Answer of the driver's library (NVML) to a question about the GPU that a worker uses, the first that it may see.

    Parameters
    ----------
    question : str, the name of a function of NVML without its prefix, such as "DeviceGetName"
    *arguments : of that function, after the device

    Returns
    -------
    answer : what NVML says, or `refused` where it does not know, or does not what it is told
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    if not first or nvml() is None:
        return refused
    try:
        find = nvml().nvmlDeviceGetHandleByIndex if first.isdigit() else nvml().nvmlDeviceGetHandleByUUID
        device = find(int(first) if first.isdigit() else first)
        return getattr(nvml(), f"nvml{question}")(device, *arguments)
    except Exception:  # NVML's errors, and pynvml's own where the driver is older than it
        return refused


def processes():
    """Who computes on the GPU: processes as NVML has them, clients of an MPS daemon too but not the daemon; None if unknown."""
    found = ask("DeviceGetComputeRunningProcesses")
    if found is None:
        return None
    clients = ask("DeviceGetMPSComputeRunningProcesses") or []
    return [each for each in {each.pid: each for each in [*found, *clients]}.values() if not is_daemon(each.pid)]


def is_daemon(pid):
    """Whether a process is MPS's; not where its name is not shown, as in a container."""
    with contextlib.suppress(Exception):  # NVML's errors
        return nvml().nvmlSystemGetProcessName(pid).endswith(MPS_DAEMON)
    return False


def pin():
    """Show this process and its children one GPU only: of the visible ones the first on which the fewest others compute.

    Returns
    -------
    visible : str, its number or UUID, as in CUDA_VISIBLE_DEVICES
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count())))

    def users(choice):
        os.environ["CUDA_VISIBLE_DEVICES"] = choice
        found = processes()
        return math.inf if found is None else len(found)

    chosen = min(visible.split(","), key=users)
    os.environ["CUDA_VISIBLE_DEVICES"] = chosen
    return chosen


def near_cpus():
    """Numbers of the CPUs at whose memory the GPU is connected: a set, empty where nobody says."""
    words = ask("DeviceGetCpuAffinity", math.ceil(max(os.sched_getaffinity(0), default=0) / 64) + 1) or ()
    return {64 * place + bit for place, word in enumerate(words) for bit in range(64) if word >> bit & 1}


@contextlib.contextmanager
def locked(mhz):
    """Hold the clock of the GPU that a worker uses, as long as this lasts, where the driver permits it; 0 leaves it.

    Yields
    ------
    held : bool, whether it is
    """
    held = bool(mhz) and ask("DeviceSetGpuLockedClocks", mhz, mhz, refused=False) is None
    try:
        yield held
    finally:
        if held:
            ask("DeviceResetGpuLockedClocks")


def page_locked(size):
    """Take host memory that the GPU copies from directly, for as long as this process lives.

    Parameters
    ----------
    size : int, bytes

    Returns
    -------
    memory : ctypes array of bytes

    Raises
    ------
    RuntimeError
        The driver has none.
    """
    library, context, place = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(), ctypes.c_void_p()
    error = (
        library.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
        or library.cuCtxSetCurrent(context)
        or library.cuMemHostAlloc(ctypes.byref(place), ctypes.c_size_t(size), 0)
    )
    if error:
        raise RuntimeError(f"the driver locks no {size} bytes of host memory: error {error}")
    return (ctypes.c_char * size).from_address(place.value)


def describe():
    """Name, driver and memory of the GPU in one line."""
    name, memory = ask("DeviceGetName"), ask("DeviceGetMemoryInfo")
    if name is None or memory is None:
        return "unknown: nvidia-ml-py is missing or refused"
    return f"{name}, driver {nvml().nvmlSystemGetDriverVersion()}, {memory.total / 2**20:.0f} MiB"


def held_back():
    """Seconds since its driver was loaded for which the GPU's clocks were held back: by reason, as far as it counts them."""
    values = ask("DeviceGetFieldValues", list(COUNTERS.values())) or ()
    return {name: each.value.ullVal / 1e9 for name, each in zip(COUNTERS, values, strict=False) if each.nvmlReturn == 0}


class Watch:
    """For what part of the time since it was made the clocks of the GPU were held back."""

    def __init__(self):
        self.start, self.before = time.monotonic(), held_back()

    def report(self):
        """The `state` at the end, with `slowed_share`: reason -> share of the time, of those reasons that the driver counts."""
        elapsed, after = time.monotonic() - self.start, held_back()
        shares = {name: round((after[name] - self.before[name]) / elapsed, 3) for name in after.keys() & self.before.keys()}
        return state() | {"slowed_share": shares}


def state():
    """What the GPU does at the moment: clocks, temperature, why it is slowed down, and how busy it is; None where unknown."""
    use, reasons, running = ask("DeviceGetUtilizationRates"), ask("DeviceGetCurrentClocksThrottleReasons"), processes()
    # Heat, power or a fault; the other reasons are idleness and clocks that somebody chose.
    names = ("SwPowerCap", "HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")
    return {
        "sm_mhz": ask("DeviceGetClockInfo", 1),  # NVML_CLOCK_SM
        "max_sm_mhz": ask("DeviceGetMaxClockInfo", 1),
        "memory_mhz": ask("DeviceGetClockInfo", 2),  # NVML_CLOCK_MEM
        "celsius": ask("DeviceGetTemperature", 0),  # NVML_TEMPERATURE_GPU
        "busy_percent": None if use is None else use.gpu,
        "processes": None if running is None else len(running),
        "slowed_by": [name for name in names if reasons and reasons & getattr(nvml(), f"nvmlClocksThrottleReason{name}")],
    }


def memory():
    """Bytes of device memory in use, whoever took them."""
    used = ask("DeviceGetMemoryInfo")
    return None if used is None else used.used


class Memory:
    """Device memory that this process has taken since it was made, before the first library opened the device."""

    def __init__(self):
        self.card, self.others = memory(), processes()

    def taken(self):
        """How much, and whose figure that is.

        Returns
        -------
        taken : int, bytes; None where nobody says
        of : str, "process" if the driver knows it of this process, or else "card": what more is taken of the card, by anyone
        """
        running = processes() or []
        own = [each for each in running if each.pid == os.getpid()]
        if not own and len(running) == 1 and self.others == []:  # in a container its number is another one
            own = running
        if own and own[0].usedGpuMemory is not None:
            return own[0].usedGpuMemory, "process"
        now = memory()
        return (None, None) if now is None or self.card is None else (now - self.card, "card")


def joules():
    """Energy that the GPU has taken since its driver was loaded."""
    millijoules = ask("DeviceGetTotalEnergyConsumption")
    return None if millijoules is None else millijoules / 1e3
