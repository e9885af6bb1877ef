"""Hardware and state of this machine."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from bakeoff.core.job import Environment, Hardware
from bakeoff.measure.backends import list_libraries
from bakeoff.measure.system.cgroups import count_whole_cpus, read_cpu_quota, read_memory_limit_bytes
from bakeoff.measure.system.memory import read_cache_bytes
from bakeoff.run.machine.processes import CAN_FREEZE

_ABSENT = "n/a"
# Instruction sets with special kernels in the runtimes.
_ISA_FLAGS = (
    "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
_POOL_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "TOKENIZERS_PARALLELISM",
)
AFTER = "_after"


def detect_hardware(cpus: Collection[int] | None = None) -> Hardware:
    """Describe the machine as this process may use it: CPU affinity and container limits count.

    Args:
        cpus: CPUs of another process to describe it for; None means those of this process.
    """
    return Hardware(
        machine=platform.machine(),
        cpu_model=_cpu_model(),
        physical_cores=psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        usable_cpus=_usable_cpus(cpus),
        accelerators=_accelerators(),
    )


def record_environment(before: Mapping[str, str] | None = None) -> Environment:
    """Record hardware, library versions and facts of the system.

    Args:
        before: Result of ``read_load`` before the work; the load of now is then recorded as that after it.
    """
    facts = {**_facts(), **(before or read_load())}
    environment = Environment(hardware=detect_hardware(), libraries=_library_versions(), facts=facts)
    return environment if before is None else add_load_after(environment, read_load())


def add_load_after(environment: Environment, load: Mapping[str, str]) -> Environment:
    """Add the load and pressure after the work to an environment with those before it."""
    after = {name + AFTER: value for name, value in load.items()}
    return environment.replace(facts={**environment.facts, **after})


def read_load() -> dict[str, str]:
    """Read load and pressure of the machine now."""
    return {
        "load_average": " ".join(f"{value:.2f}" for value in os.getloadavg()),
        "cpu_pressure": _read("/proc/pressure/cpu").splitlines()[0],
        "memory_pressure": _read("/proc/pressure/memory").splitlines()[0],
    }


def default_threads(hardware: Hardware) -> int:
    """Return the default number of threads: the physical cores that this process may use."""
    return max(1, min(hardware.physical_cores, hardware.usable_cpus))


def _library_versions() -> Mapping[str, str]:
    found = {"python": platform.python_version()}
    # Every library that can change the numbers, also those that a job does not use. All jobs need the same
    # list, so that environments can be compared.
    for name in ("numpy", *list_libraries()):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = _ABSENT
    return found


def _facts() -> dict[str, str]:
    caches = (f"{name} {size // 1024} KiB" for name, size in read_cache_bytes().items())
    flags = set((_cpu_field("flags") + " " + _cpu_field("Features")).split())
    return {
        "platform": platform.platform(),
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "max_frequency_khz": _read("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"),
        "boost": _read("/sys/devices/system/cpu/cpufreq/boost"),
        "microcode": _cpu_field("microcode"),
        "caches": ", ".join(caches) or _ABSENT,
        "isa": " ".join(flag for flag in _ISA_FLAGS if flag in flags) or _ABSENT,
        "logical_cpus": str(os.cpu_count()),
        "numa_nodes": _read("/sys/devices/system/node/online"),
        "thread_variables": " ".join(
            f"{name}={os.environ[name]}" for name in _POOL_VARIABLES if name in os.environ
        )
        or _ABSENT,
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
        "cpu_quota": _text(read_cpu_quota()),
        "memory_limit_bytes": _text(read_memory_limit_bytes()),
        "memory_bytes": str(psutil.virtual_memory().total),
    }


def _text(limit: float | None) -> str:
    return _ABSENT if limit is None else f"{limit:g}" if isinstance(limit, float) else str(limit)


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
    """Read a field of the first CPU in the kernel's list."""
    for line in _read("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return _ABSENT


def _affinity() -> str:
    """List the CPUs that this process may run on."""
    return ",".join(map(str, sorted(usable_cpu_numbers()))) or _ABSENT


def usable_cpu_numbers() -> frozenset[int]:
    """Return the CPUs on which this process may run; empty if the system does not report them."""
    return frozenset(os.sched_getaffinity(0)) if sys.platform == "linux" else frozenset()


def _usable_cpus(cpus: Collection[int] | None) -> int:
    return count_whole_cpus(len(cpus or usable_cpu_numbers()) or os.cpu_count() or 1, read_cpu_quota())


def _accelerators() -> tuple[str, ...]:
    """List NVIDIA devices from the kernel's driver files, so that no GPU library is loaded."""
    return tuple(
        line.partition(":")[2].strip()
        for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in _read(str(path)).splitlines()
        if line.startswith("Model:")
    )
