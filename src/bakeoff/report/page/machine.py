"""State of the machine: what the system reported, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.report.text.units import ABSENT, format_bytes

if TYPE_CHECKING:
    from bakeoff.core.job import Environment

_AFTER = "_after"

# Facts that the system reports, by group; the others go to "Other".
_FACTS: Mapping[str, Mapping[str, str]] = {
    "Processor": {
        "isa": "instruction sets",
        "caches": "caches",
        "logical_cpus": "logical CPUs",
        "smt": "simultaneous multithreading",
        "numa_nodes": "NUMA nodes",
        "governor": "governor",
        "max_frequency_khz": "highest frequency, kHz",
        "boost": "boost",
        "microcode": "microcode",
        "hypervisor": "virtual machine",
    },
    "System": {
        "platform": "kernel",
        "memory_bytes": "memory",
        "swap_bytes": "swap",
        "cpu_quota": "CPUs allowed by control groups",
        "memory_limit_bytes": "memory allowed by control groups",
        "affinity": "CPUs allowed",
        "nice": "priority (nice)",
        "clocksource": "clock",
        "transparent_hugepage": "huge pages",
        "aslr": "address randomisation",
        "freeze": "idle candidates can be stopped",
        "thread_variables": "thread variables",
    },
}
_LOADS = {
    "load_average": "load average over 1, 5, 15 min",
    "cpu_pressure": "waiting for a CPU",
    "memory_pressure": "waiting for memory",
}


class FactGroup(NamedTuple):
    """Facts of one kind, by name."""

    name: str
    facts: tuple[tuple[str, str], ...]


class LoadRow(NamedTuple):
    """One kind of load, before and after the work."""

    name: str
    before: str
    after: str


def group_facts(environment: Environment) -> tuple[FactGroup, ...]:
    """Group the facts of processor and system; a fact without a name here goes to "Other"."""
    facts = dict(environment.facts)
    groups = []
    for name, known in _FACTS.items():
        rows = tuple((shown, _write(key, facts.pop(key))) for key, shown in known.items() if key in facts)
        groups.append(FactGroup(name, rows))
    for key in _LOADS:
        facts.pop(key, None)
        facts.pop(key + _AFTER, None)
    groups.append(FactGroup("Other", tuple(sorted(facts.items()))))
    return tuple(group for group in groups if group.facts)


def _write(key: str, value: str) -> str:
    if key.endswith("_bytes") and value.isdecimal():
        return format_bytes(float(value))
    return value


def list_loads(environment: Environment) -> tuple[LoadRow, ...]:
    """List load and pressure of the machine, before and after the work."""
    facts = environment.facts
    return tuple(
        LoadRow(shown, _write_load(facts.get(key, "")), _write_load(facts.get(key + _AFTER, "")))
        for key, shown in _LOADS.items()
        if key in facts
    )


def _write_load(value: str) -> str:
    """Write pressure as ``1.5% over 10 s, 10.6% over 60 s``; return other values unchanged."""
    fields = dict(part.partition("=")[::2] for part in value.split())
    if {"avg10", "avg60"} <= fields.keys():
        return f"{fields['avg10']}% over 10 s, {fields['avg60']}% over 60 s"
    return value or ABSENT
