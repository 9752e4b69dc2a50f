"""Which CPUs threads get, and what is known of them: machines made up of the files in which the kernel describes them."""

import functools
import json
import os

import pandas as pd
import pytest

from knnbench.draw.page_rows import machine_entries
from knnbench.results.machines import machine_notes, setup_words, slowing_words
from knnbench.system import cpus, gpu, machine


def write(folder, files):
    for name, words in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{words}\n")


def machine_of(folder, siblings, nodes=(), sockets=None, **files):
    """A folder as /sys/devices/system of a machine.

    Parameters
    ----------
    siblings : list of list of int, the CPUs of each core
    nodes : list of str, the list of CPUs of each memory node
    sockets : dict, CPU -> its socket; 0 for all of them if it is not given
    **files : of every CPU, by their names with _ for the last /
    """
    for core in siblings:
        for cpu in core:
            place = f"cpu/cpu{cpu}"
            write(folder, {f"{place}/topology/thread_siblings_list": ",".join(map(str, core))})
            write(folder, {f"{place}/topology/physical_package_id": (sockets or {}).get(cpu, 0)})
            write(folder, {f"{place}/cpufreq/{name}": words for name, words in files.items()})
    write(folder, {f"node/node{number}/cpulist": words for number, words in enumerate(nodes)})
    return folder


PAIRS = [[0, 1], [2, 3], [4, 5], [6, 7]]  # siblings side by side
HALVES = [[0, 4], [1, 5], [2, 6], [3, 7]]  # siblings half of the CPUs apart
ODD_AND_EVEN = [[cpu, cpu + 8] for cpu in range(8)]  # of two sockets whose CPUs alternate


def test_lists_of_the_kernel():
    assert cpus.numbers("0-2,8\n".strip()) == {0, 1, 2, 8} and cpus.numbers("") == cpus.numbers(None) == set()


@pytest.mark.parametrize(
    ("siblings", "nodes", "allowed", "near", "threads", "chosen"),
    [
        (PAIRS, [], range(8), (), 2, {0, 2}),
        (PAIRS, [], range(8), (), 4, {0, 2, 4, 6}),
        (PAIRS, [], range(8), (), 6, {0, 1, 2, 3, 4, 6}),  # second threads of a core come last
        (PAIRS, [], range(8), (), 8, set(range(8))),
        (HALVES, [], range(8), (), 2, {0, 1}),
        (HALVES, [], range(8), (), 5, {0, 1, 2, 3, 4}),
        (
            ODD_AND_EVEN,
            ["0,2,4,6,8,10,12,14", "1,3,5,7,9,11,13,15"],
            range(16),
            (),
            4,
            {0, 2, 4, 6},
        ),  # one memory while it lasts
        (ODD_AND_EVEN, ["0,2,4,6,8,10,12,14", "1,3,5,7,9,11,13,15"], range(16), (), 5, {0, 1, 2, 4, 6}),
        (ODD_AND_EVEN, ["0,2,4,6,8,10,12,14", "1,3,5,7,9,11,13,15"], range(16), {1, 3, 5, 7, 9, 11, 13, 15}, 3, {1, 3, 5}),
        (ODD_AND_EVEN, ["0,2,4,6,8,10,12,14", "1,3,5,7,9,11,13,15"], range(16), {40}, 3, {0, 2, 4}),  # the GPU's are not ours
        (ODD_AND_EVEN, ["0,2,4,6,8,10,12,14", "1,3,5,7,9,11,13,15"], {0, 1, 3, 5}, (), 3, {1, 3, 5}),  # a container's CPUs
        (PAIRS, [], {1, 2, 3}, (), 2, {1, 2}),  # its part of a core is a core
        ([], [], {3, 5, 9}, (), 2, {3, 5}),  # nothing is known
    ],
)
def test_threads_are_apart_before_they_share_a_core(tmp_path, siblings, nodes, allowed, near, threads, chosen):
    place = machine_of(tmp_path, siblings, nodes)
    assert cpus.choose(threads, set(allowed), near, place) == chosen


def test_a_worker_has_the_cpus_that_were_chosen(tmp_path, monkeypatch):
    """One thread for each core if nothing is asked for, of a GPU's cell for each near it, and no more than a quota gives."""
    monkeypatch.setattr(cpus, "cores", functools.partial(cpus.cores, system=machine_of(tmp_path, ODD_AND_EVEN)))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.setattr(machine, "cpu_quota", lambda: None)
    assert machine.usual_threads("cpu") == machine.usual_threads("gpu") == 8 and machine.available_cpus() == 16
    monkeypatch.setattr(gpu, "near_cpus", lambda: {1, 3, 9, 11, 77})
    assert machine.usual_threads("gpu") == 2 and machine.usual_threads("cpu") == 8
    monkeypatch.setattr(machine, "cpu_quota", lambda: 3.5)
    assert machine.usual_threads("cpu") == 3


def test_others_on_our_cores_are_seen(tmp_path, monkeypatch):
    """Who computes on the second thread of a core slows the first one down."""
    monkeypatch.setattr(cpus, "cores", functools.partial(cpus.cores, system=machine_of(tmp_path, PAIRS)))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2})
    monkeypatch.setattr(machine, "held_s", lambda: 0.0)
    accounts = tmp_path / "stat"
    monkeypatch.setattr(machine, "Path", lambda _: accounts)
    accounts.write_text("".join(f"cpu{cpu} 0 0 0 0 0 0 0 0\n" for cpu in range(8)))
    watch = machine.Watch()
    accounts.write_text("".join(f"cpu{cpu} {10_000 * (cpu == 3)} 0 0 0 0 0 0 0\n" for cpu in range(8)))
    assert watch.report()["noisy"]
    watch = machine.Watch()
    accounts.write_text("".join(f"cpu{cpu} {10_000 * (cpu in (3, 5))} 0 0 0 0 0 0 0\n" for cpu in range(8)))
    assert not watch.report()["noisy"]  # on another core


def test_what_is_known_of_a_machine(tmp_path):
    nodes, sockets = ["0,2,4,6,8,10,12,14", "1,3,5,7,9,11,13,15"], {cpu: cpu % 2 for cpu in range(16)}
    files = {
        "scaling_governor": "powersave",
        "scaling_driver": "intel_pstate",
        "energy_performance_preference": "balance_performance",
    }
    files |= {"scaling_max_freq": 3_500_000, "cpuinfo_max_freq": 3_500_000}
    place = machine_of(tmp_path / "system", ODD_AND_EVEN, nodes, sockets, **files)
    write(place, {"cpu/intel_pstate/no_turbo": 0, "cpu/intel_pstate/max_perf_pct": 100, "pages": "always [madvise] never"})
    facts = cpus.describe(set(range(16)), place, place / "pages", place / "nothing")
    assert facts == {
        "topology": {"cores": 8, "sockets": 2, "memory_nodes": 2, "threads_per_core": 2},
        "governor": "powersave",
        "clock_driver": "intel_pstate",
        "energy_preference": "balance_performance",
        "clock_percent": 100,
        "clock_khz": (3_500_000, 3_500_000),
        "boost": True,
        "huge_pages": "madvise",
    }
    assert cpus.describe({0, 2, 4}, place)["topology"] == {"cores": 3, "sockets": 1, "memory_nodes": 1, "threads_per_core": 2}
    layout = "8 cores, 2 sockets, 2 memory nodes, 2 hardware threads a core"
    assert setup_words(facts) == f"{layout}, governor powersave, clock by intel_pstate, large pages madvise, boost on"
    assert slowing_words(facts) == ""  # that driver lets the processor choose
    assert cpus.describe({0}, *[tmp_path / "nothing"] * 3) == {} and setup_words({}) == slowing_words({}) == ""


def test_a_clock_that_is_held_is_the_most_that_it_reaches(tmp_path):
    clocks = {"scaling_max_freq": 3_500_000, "cpuinfo_max_freq": 3_500_000}
    held = machine_of(tmp_path / "held", [[0]], scaling_governor="userspace", scaling_setspeed=800_000, **clocks)
    assert slowing_words(cpus.describe({0}, held)).startswith("the clock may reach 0.80 of 3.50 GHz")
    free = machine_of(tmp_path / "free", [[0]], scaling_governor="schedutil", scaling_setspeed="<unsupported>", **clocks)
    assert "clock" not in slowing_words(cpus.describe({0}, free))


def lines(number=0, **said):
    """A block of /proc/cpuinfo."""
    said = {"processor": number} | {name.replace("_", " "): words for name, words in said.items()}
    return "".join(f"{name}\t: {words}\n" for name, words in said.items()) + "\n"


def arm(number, part, **said):
    return lines(number, **said, CPU_implementer="0x41", CPU_variant="0x3", CPU_part=part, CPU_revision=1)


def x86(name, model):
    return lines(vendor_id="X", cpu_family=6, model=model, model_name=name, stepping=7, cpu_cores=2)


POWER = lines(cpu="POWER9 (architected), altivec supported") + "timebase\t: 512000000\nmachine\t: PowerNV 8335-GTH\n"
S390 = "vendor_id       : IBM/S390\n# processors    : 1\nprocessor 0: version = FF,  identification = 0133E8,  machine = {}\n"


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (arm(0, "0xd0c") + arm(1, "0xd0c"), "aarch64 (implementer 0x41, part 0xd0c, variant 0x3, A board)"),
        (arm(0, "0xd40") + arm(7, "0xd0c"), "aarch64 (implementer 0x41, part 0xd40, variant 0x3, A board)"),  # 7 is not ours
        (
            arm(0, "0xd05") + arm(1, "0xd05") + arm(2, "0xd44"),
            "2 x aarch64 (implementer 0x41, part 0xd05, variant 0x3, A board)"
            " and 1 x aarch64 (implementer 0x41, part 0xd44, variant 0x3, A board)",
        ),
        (
            arm(0, "0xd08", model_name="ARMv8 Processor rev 3"),
            "ARMv8 Processor rev 3 (implementer 0x41, part 0xd08, variant 0x3)",
        ),
        (x86("AMD EPYC 7763 64-Core Processor", 1), "AMD EPYC 7763 64-Core Processor"),
        (x86("Intel(R) Xeon(R) CPU @ 2.20GHz", 79), "Intel(R) Xeon(R) CPU @ 2.20GHz (family 6, model 79, stepping 7)"),
        (x86("QEMU Virtual CPU version 2.5+", 6), "QEMU Virtual CPU version 2.5+ (family 6, model 6, stepping 7)"),
        (POWER, "POWER9 (architected), altivec supported"),
        (lines(isa="rv64gc", mvendorid="0x489", marchid="0x7"), "aarch64 (mvendorid 0x489, marchid 0x7, A board)"),
        (lines(isa="rv64gc", uarch="sifive,u74-mc"), "sifive,u74-mc"),
        (S390.format(3906), "aarch64 (type 3906, A board)"),
        ("", "aarch64"),  # nothing is shown
    ],
)
def test_cpus_are_told_apart_by_what_the_kernel_says(tmp_path, monkeypatch, cpuinfo, name):
    monkeypatch.setattr(cpus.platform, "processor", lambda: "")
    monkeypatch.setattr(cpus.platform, "machine", lambda: "aarch64")
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    (tmp_path / "model").write_text("A board\0")
    boards = [tmp_path / "nothing", tmp_path / "model"]
    assert cpus.name({0, 1, 2}, tmp_path / "cpuinfo", boards, tmp_path) == name


def test_threads_of_one_core_are_another_machine(tmp_path):
    place, cpuinfo = machine_of(tmp_path, PAIRS), tmp_path / "cpuinfo"
    cpuinfo.write_text(x86("Some CPU 5", 85))
    names = [cpus.name(some, cpuinfo, [], place) for some in ({0, 2}, {0, 1}, {1, 2, 3})]
    assert names == ["Some CPU 5", "Some CPU 5, 2 threads a core", "Some CPU 5, 2 threads a core"]


def test_the_page_says_how_a_machine_is_set_up():
    facts = {"cpu": "A CPU", "cpus": 4, "topology": {"cores": 2, "sockets": 1, "memory_nodes": 1, "threads_per_core": 2}}
    machines = ["A CPU, 4 CPUs", "A CPU, 4 CPUs; H100", "A CPU, 40 CPUs"]
    timings = pd.DataFrame({"machine": machines, "threads": 2, "gpu": None, "node": "n1"})
    details = [each["details"] for each in machine_entries(timings, {"cpu": {"machine": facts}})]
    words = "2 cores, 1 socket, 1 memory node, 2 hardware threads a core"
    assert details == [f"2 threads; node n1; {words}", f"2 threads; node n1; {words}", "2 threads; node n1"]


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (
            {"governor": "powersave", "clock_driver": "acpi-cpufreq"},
            "the governor powersave of acpi-cpufreq keeps to the lowest clock",
        ),
        ({"governor": "performance, powersave", "clock_driver": "intel_cpufreq"}, "the governor powersave of intel_cpufreq"),
        (
            {"governor": "powersave", "clock_driver": "amd-pstate-epp", "energy_preference": "power"},
            "the energy preference is power",
        ),
        ({"governor": "powersave", "clock_driver": "amd-pstate-epp", "energy_preference": "balance_power"}, ""),
        ({"governor": "schedutil", "clock_driver": "acpi-cpufreq", "boost": False}, "boost is off"),
        ({"clock_khz": [2_100_000, 3_500_000]}, "the clock may reach 2.10 of 3.50 GHz"),
        ({"platform_profile": "low-power"}, "the platform profile is low-power"),
        ({"platform_profile": "balanced"}, ""),
        ({"clock_percent": 60}, "intel_pstate allows 60% of its highest performance"),
    ],
)
def test_a_slow_setting_is_said(facts, says):
    assert slowing_words(facts).startswith(says) and bool(says) == bool(slowing_words(facts))
    lines = machine_notes([json.loads(json.dumps(facts | {"cpu": "A CPU", "cpus": 2}))] * 2)
    assert [line for line in lines if "slower than it can be" in line] == (
        [f"A CPU, 2 CPUs is slower than it can be: {slowing_words(facts)}.\n"] if says else []
    )
