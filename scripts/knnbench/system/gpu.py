"""NVIDIA GPUs as their driver knows them. All but their number needs nvidia-ml-py and is None without it."""

import contextlib
import ctypes
import functools
import os


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


def ask(question, *arguments):
    """Answer of the driver's library (NVML) to a question about the GPU that a worker uses, the first that it may see.

    Parameters
    ----------
    question : str, the name of a function of NVML without its prefix, such as "DeviceGetName"
    *arguments : of that function, after the device

    Returns
    -------
    answer : what NVML says, or None where it does not know
    """
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    if not first or nvml() is None:
        return None
    try:
        find = nvml().nvmlDeviceGetHandleByIndex if first.isdigit() else nvml().nvmlDeviceGetHandleByUUID
        device = find(int(first) if first.isdigit() else first)
        return getattr(nvml(), f"nvml{question}")(device, *arguments)
    except Exception:  # NVML's errors, and pynvml's own where the driver is older than it
        return None


def pin():
    """Show this process and its children one GPU only: the first visible one that nobody computes on, or else the first.

    Returns
    -------
    visible : str, its number or UUID, as in CUDA_VISIBLE_DEVICES
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count())))
    choices = visible.split(",")
    for each in choices:
        os.environ["CUDA_VISIBLE_DEVICES"] = each
        if ask("DeviceGetComputeRunningProcesses") == []:
            return each
    os.environ["CUDA_VISIBLE_DEVICES"] = choices[0]
    return choices[0]


@contextlib.contextmanager
def locked(mhz):
    """Hold the clock of the GPU that a worker uses, as long as this lasts, where the driver permits it; 0 leaves it."""
    if mhz:
        ask("DeviceSetGpuLockedClocks", mhz, mhz)
    try:
        yield
    finally:
        if mhz:
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


def state():
    """What the GPU does at the moment: clocks, temperature, why it is slowed down, and how busy it is; None where unknown."""
    use, reasons = ask("DeviceGetUtilizationRates"), ask("DeviceGetCurrentClocksThrottleReasons")
    processes = ask("DeviceGetComputeRunningProcesses")
    # Heat, power or a fault; the other reasons are idleness and clocks that somebody chose.
    names = ("SwPowerCap", "HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown")
    return {
        "sm_mhz": ask("DeviceGetClockInfo", 1),  # NVML_CLOCK_SM
        "max_sm_mhz": ask("DeviceGetMaxClockInfo", 1),
        "memory_mhz": ask("DeviceGetClockInfo", 2),  # NVML_CLOCK_MEM
        "celsius": ask("DeviceGetTemperature", 0),  # NVML_TEMPERATURE_GPU
        "busy_percent": None if use is None else use.gpu,
        "processes": None if processes is None else len(processes),
        "slowed_by": [name for name in names if reasons and reasons & getattr(nvml(), f"nvmlClocksThrottleReason{name}")],
    }


def memory():
    """Bytes of device memory in use, whoever took them."""
    used = ask("DeviceGetMemoryInfo")
    return None if used is None else used.used


def joules():
    """Energy that the GPU has taken since its driver was loaded."""
    millijoules = ask("DeviceGetTotalEnergyConsumption")
    return None if millijoules is None else millijoules / 1e3
