"""What the driver is asked, answered by a library that stands in for NVIDIA's (NVML); no GPU is needed."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

NVML = r"""
#include <string.h>
typedef void *device;
static unsigned chosen, held;
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
int nvmlDeviceGetComputeRunningProcesses_v3(device it, unsigned *count, void *processes)
{ if (chosen == 5) { *count = 0; return 0; }
  int enough = *count >= 2; *count = 2; return enough ? 0 : 7 /* insufficient size */; }
int nvmlDeviceSetGpuLockedClocks(device it, unsigned least, unsigned most) { held = most; return least != most; }
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

    def answer(visible, energy="*millijoules = 2500; return 0;", script=ASK):
        folder = tmp_path_factory.mktemp("nvml")
        source = NVML.replace("ENERGY", energy)
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
    """Every job sees one GPU: the first that nobody computes on."""
    assert ask({"CUDA_VISIBLE_DEVICES": "3,5,1"})[:4:3] == ["5", 500]


def test_what_the_driver_does_not_know_is_none(ask):
    _, line, _, memory, joules, *_ = ask({"CUDA_VISIBLE_DEVICES": "1"}, energy="return 3; /* not supported */")
    assert line.startswith("Stand-in") and memory == 100 and joules is None


HELD = """
import json
from knnbench.system import gpu
clock = lambda: gpu.state()["sm_mhz"]
with gpu.locked(0):
    found = [clock()]
with gpu.locked(1200):
    found.append(clock())
print(json.dumps([*found, clock()]))
"""


def test_clocks_are_held_and_given_back(ask):
    assert ask({}, script=HELD) == [1500, 1200, 1500]


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
