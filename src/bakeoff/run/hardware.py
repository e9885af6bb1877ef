"""What machine this is, and in what state."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from bakeoff.core.records import Environment, Hardware
from bakeoff.run.processes import CAN_FREEZE

# The libraries that can change the numbers, whether a job uses them or not: the list must be the same for all
# jobs, so that environments can be compared.
_LIBRARIES = ("torch", "transformers", "tokenizers", "onnxruntime", "openvino", "onnx", "numpy", "seqeval")
_ABSENT = "n/a"


def detect_hardware() -> Hardware:
    """The machine as this process may use it: CPU affinity and container limits count."""
    return Hardware(
        machine=platform.machine(),
        cpu_model=_cpu_model(),
        physical_cores=psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        usable_cpus=_usable_cpus(),
        accelerators=_accelerators(),
    )


def record_environment() -> Environment:
    """Hardware, library versions, and what the system says of itself now."""
    return Environment(hardware=detect_hardware(), libraries=_library_versions(), facts=_facts())


def default_threads(hardware: Hardware) -> int:
    """Threads where the settings name none: the physical cores that this process may use."""
    return max(1, min(hardware.physical_cores, hardware.usable_cpus))


def _library_versions() -> Mapping[str, str]:
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = _ABSENT
    return found


def _facts() -> dict[str, str]:
    load = " ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "platform": platform.platform(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "max_frequency_khz": _read("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"),
        "boost": _read("/sys/devices/system/cpu/cpufreq/boost"),
        "microcode": _cpu_field("microcode"),
        "smt": _read("/sys/devices/system/cpu/smt/active"),
        "aslr": _read("/proc/sys/kernel/randomize_va_space"),
        "swap_bytes": str(psutil.swap_memory().total),
        "affinity": _affinity(),
        "nice": str(psutil.Process().nice()),
        "freeze": "yes" if CAN_FREEZE else "no",
        "hypervisor": _read("/sys/hypervisor/type")
        if _read("/sys/hypervisor/type") != _ABSENT
        else _flag("hypervisor"),
        "transparent_hugepage": _read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "clocksource": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "cpu_max": _read("/sys/fs/cgroup/cpu.max"),
        "memory_bytes": str(psutil.virtual_memory().total),
        "load_average": load,
        "cpu_pressure": _read("/proc/pressure/cpu").splitlines()[0],
        "memory_pressure": _read("/proc/pressure/memory").splitlines()[0],
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip() or _ABSENT
    except OSError:
        return _ABSENT


def _cpu_model() -> str:
    found = _cpu_field("model name")
    return found if found != _ABSENT else platform.processor() or platform.machine()


def _flag(name: str) -> str:
    flags = _cpu_field("flags")
    if flags == _ABSENT:
        return _ABSENT
    return "yes" if name in flags.split() else "no"


def _cpu_field(name: str) -> str:
    """What the kernel says of the first CPU."""
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return _ABSENT


def _affinity() -> str:
    """The CPUs that this process may run on."""
    if sys.platform != "linux":
        return _ABSENT
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))


def _usable_cpus() -> int:
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdecimal() and period.isdecimal():
        count = max(1, min(count, -(-int(quota) // int(period))))
    return count


def _accelerators() -> tuple[str, ...]:
    """NVIDIA devices as the driver lists them; read from the kernel, so that no GPU library is loaded."""
    return tuple(
        line.partition(":")[2].strip()
        for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in _read(str(path)).splitlines()
        if line.startswith("Model:")
    )
