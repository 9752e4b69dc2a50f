"""What the driver is asked, answered by a library that stands in for NVIDIA's (NVML); no GPU is needed."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from knnbench.results.flags import slowed_by

NVML = r"""
#include <string.h>
#include <unistd.h>
typedef void *device;
typedef struct { unsigned pid; unsigned long long bytes; unsigned instance, part; } process;
typedef struct { unsigned field, scope; long long when, latency; unsigned type, error; unsigned long long value; } counter;
static unsigned chosen, held, opened;
static unsigned long long waited;
static int list(unsigned *count, process *into, unsigned number, const process *all)
{ unsigned enough = *count >= number; *count = number;
  if (enough && number) memcpy(into, all, number * sizeof *all);
  return enough ? 0 : 7 /* insufficient size */; }
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) { strncpy(text, "999.1", length); return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, device *it) { chosen = index; *it = &chosen; return 0; }
int nvmlDeviceGetHandleByUUID(const char *uuid, device *it) { chosen = strcmp(uuid, "GPU-7") ? 1 : 7; *it = &chosen; return 0; }
int nvmlDeviceGetName(device it, char *text, unsigned length) { strncpy(text, "Stand-in", length); return 0; }
int nvmlDeviceGetMemoryInfo(device it, unsigned long long *info)
{ info[0] = 1024ULL << 20; info[2] = chosen * 100; info[1] = info[0] - info[2]; return 0; }
int nvmlDeviceGetClockInfo(device it, int kind, unsigned *mhz)
{ *mhz = held ? held : kind == 1 ? 1500 : kind == 2 ? 2600 : 0; return 0; }
int nvmlDeviceGetMaxClockInfo(device it, int kind, unsigned *mhz) { *mhz = kind == 1 ? 1980 : 0; return 0; }
int nvmlDeviceGetTemperature(device it, int sensor, unsigned *celsius) { *celsius = 60 + sensor; return 0; }
int nvmlDeviceGetUtilizationRates(device it, unsigned *rates) { rates[0] = 40; rates[1] = 9; return 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(device it, unsigned long long *reasons)
{ *reasons = 0x1 /* idle */ | 0x4 /* SwPowerCap */ | 0x40 /* HwThermalSlowdown */; return 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(device it, unsigned *count, process *into)
{ process two[] = {{11, 1000}, {12, 2000}}, daemon[] = {{900, 10}}, ours[] = {{11, 1000}, {getpid(), 77}};
  process hidden[] = {{14, 55}};
  return chosen == 5 || (chosen == 9 && !opened) ? list(count, into, 0, 0) : chosen == 6 ? list(count, into, 1, daemon)
       : chosen == 8 ? list(count, into, 2, ours) : chosen == 9 ? list(count, into, 1, hidden) : list(count, into, 2, two); }
int nvmlDeviceGetMPSComputeRunningProcesses_v3(device it, unsigned *count, process *into)
{ process client[] = {{13, 5}}; return list(count, into, chosen == 6, client); }
int nvmlSystemGetProcessName(unsigned pid, char *name, unsigned length)
{ strncpy(name, pid == 900 ? "/usr/bin/nvidia-cuda-mps-server" : "python", length); return pid == 12 ? 6 /* not found */ : 0; }
int nvmlDeviceGetFieldValues(device it, int number, counter *of)
{ waited += 4000000000ULL;
  for (int i = 0; i < number; i++) { of[i].value = of[i].field == 74 ? waited : 9; of[i].error = of[i].field == 77 ? 3 : 0; }
  return COUNTED; }
int nvmlDeviceGetCpuAffinity(device it, unsigned words, unsigned long *set) { set[0] = 0xF0; return 0; }
void open_device(void) { opened = 1; }
int nvmlDeviceSetGpuLockedClocks(device it, unsigned least, unsigned most)
{ if (chosen == 4) return 4 /* no permission */; held = most; return least != most; }
int nvmlDeviceResetGpuLockedClocks(device it) { held = 0; return 0; }
int nvmlDeviceGetTotalEnergyConsumption(device it, unsigned long long *millijoules) { ENERGY }
"""
ASK = """
import json
from knnbench.system import gpu, machine
print(json.dumps([gpu.pin(), gpu.describe(), gpu.state(), gpu.memory(), gpu.joules(), sorted(machine.energy("gpu")),
                  "gpu" in machine.energy("cpu")]))
"""


@pytest.fixture(scope="module")
def ask(tmp_path_factory):
    """Function that asks a driver which answers, or not, for its energy."""

    def answer(visible, energy="*millijoules = 2500; return 0;", script=ASK, counted="0"):
        folder = tmp_path_factory.mktemp("nvml")
        source = NVML.replace("ENERGY", energy).replace("COUNTED", counted)
        compiler = ["gcc", "-x", "c", "-", "-shared", "-fPIC", "-w", "-o", folder / "libnvidia-ml.so.1"]
        subprocess.run(compiler, input=source, text=True, check=True)
        environment = os.environ | {"LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(ROOT / "scripts")} | visible
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    return answer


def test_answers_of_a_driver(ask):
    visible, line, state, memory, joules, counters, of_cpu = ask({"CUDA_VISIBLE_DEVICES": "3,1"})
    assert visible == "3"  # somebody computes on both
    assert line == "Stand-in, driver 999.1, 1024 MiB" and memory == 300 and joules == 2.5
    assert "gpu" in counters and not of_cpu
    assert state == {
        "sm_mhz": 1500,
        "max_sm_mhz": 1980,
        "memory_mhz": 2600,
        "celsius": 60,
        "busy_percent": 40,
        "processes": 2,
        "slowed_by": ["SwPowerCap", "HwThermalSlowdown"],
    }


def test_the_gpu_that_is_visible_is_asked(ask):
    assert ask({"CUDA_VISIBLE_DEVICES": "GPU-7"})[3] == 700
    assert ask({"CUDA_VISIBLE_DEVICES": ""})[3] is None


def test_a_gpu_that_is_free_is_taken(ask):
    """Every job sees one GPU: the first that nobody computes on, or else on which the fewest do."""
    assert ask({"CUDA_VISIBLE_DEVICES": "3,5,1"})[:4:3] == ["5", 500]
    assert ask({"CUDA_VISIBLE_DEVICES": "3,6,1"})[:4:3] == ["6", 600]  # one client of MPS; its daemon is nobody
    assert ask({"CUDA_VISIBLE_DEVICES": "6"})[2]["processes"] == 1


def test_what_the_driver_does_not_know_is_none(ask):
    _, line, _, memory, joules, *_ = ask({"CUDA_VISIBLE_DEVICES": "1"}, energy="return 3; /* not supported */")
    assert line.startswith("Stand-in") and memory == 100 and joules is None


PASSES = """
import json
from knnbench.system import gpu
gpu.time.monotonic = iter([100.0, 110.0]).__next__
watch = gpu.Watch()
print(json.dumps([watch.report(), sorted(gpu.near_cpus())]))
"""


def test_what_held_the_clocks_back_is_counted(ask):
    """Of ten seconds the driver's counter of the power limit says four; what it refuses to count is seen right after them."""
    state, near = ask({}, script=PASSES)
    assert state["slowed_share"] == {"SwPowerCap": 0.4, "SwThermalSlowdown": 0.0} and state["sm_mhz"] == 1500
    assert slowed_by(state) == {"SwPowerCap": 0.4, "HwThermalSlowdown": None}
    assert near == [4, 5, 6, 7]
    state, _ = ask({}, script=PASSES, counted="3")
    assert state["slowed_share"] == {} and slowed_by(state) == {"SwPowerCap": None, "HwThermalSlowdown": None}


TAKEN = """
import ctypes, json
from knnbench.system import gpu
memory = gpu.Memory()
if gpu.nvml():
    ctypes.CDLL("libnvidia-ml.so.1").open_device()
print(json.dumps(memory.taken()))
"""


@pytest.mark.parametrize(
    ("visible", "taken"),
    [
        ("8", [77, "process"]),  # beside another process
        ("9", [55, "process"]),  # the only one, and under another number, as in a container
        ("3", [0, "card"]),  # two of which neither has our number
        ("", [None, None]),
    ],
)
def test_memory_is_the_process_s_own(ask, visible, taken):
    assert ask({"CUDA_VISIBLE_DEVICES": visible}, script=TAKEN) == taken


HELD = """
import json
from knnbench.system import gpu
clock = lambda: gpu.state()["sm_mhz"]
with gpu.locked(0) as held:
    found = [clock(), held]
with gpu.locked(1200) as held:
    found += [clock(), held]
print(json.dumps([*found, clock()]))
"""


def test_clocks_are_held_and_given_back(ask):
    assert ask({}, script=HELD) == [1500, False, 1200, True, 1500]
    assert ask({"CUDA_VISIBLE_DEVICES": "4"}, script=HELD) == [1500, False, 1500, False, 1500]  # where it may not be


LOCKED = r"""
#include <stdlib.h>
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)7; return 0; }
int cuCtxSetCurrent(void *context) { return context != (void *)7; }
int cuMemHostAlloc(void **place, size_t bytes, unsigned flags) { *place = malloc(bytes); return bytes > 1000 ? 2 : 0; }
"""


def test_host_memory_of_the_driver(tmp_path):
    """Arrays in it are arrays; what the driver refuses is an error that says so."""
    compiler = ["gcc", "-x", "c", "-", "-shared", "-fPIC", "-w", "-o", tmp_path / "libcuda.so.1"]
    subprocess.run(compiler, input=LOCKED, text=True, check=True)
    script = """
import numpy as np
from knnbench.system import gpu
array = np.frombuffer(gpu.page_locked(24), np.float32).reshape(2, 3)
array[...] = [[1, 2, 3], [4, 5, 6]]
print(array.sum())
gpu.page_locked(2000)
"""
    known = os.environ | {"LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run([sys.executable, "-c", script], env=known, capture_output=True, text=True)
    assert done.stdout == "21.0\n" and "the driver locks no 2000 bytes of host memory: error 2" in done.stderr
