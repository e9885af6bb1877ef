"""Threads: as many as were asked for, the physical cores where nobody asked, and never more than CPUs."""

from __future__ import annotations

import pytest

from bakeoff.core.job import Hardware
from bakeoff.errors import ConfigError
from bakeoff.measure.backends import Noop
from bakeoff.orchestrator.hardware import fix_threads


def make_hardware(*, usable_cpus: int, physical_cores: int = 4) -> Hardware:
    return Hardware(
        machine="x86_64", cpu_model="Example CPU", physical_cores=physical_cores, usable_cpus=usable_cpus
    )


@pytest.mark.parametrize("threads", [1, 7, 8])
def test_threads_up_to_the_usable_cpus_are_as_asked_for(threads: int) -> None:
    assert fix_threads(Noop(threads=threads), make_hardware(usable_cpus=8)).threads == threads


@pytest.mark.parametrize(("threads", "usable_cpus"), [(9, 8), (2, 1)])
def test_one_thread_more_than_the_usable_cpus_is_refused(threads: int, usable_cpus: int) -> None:
    with pytest.raises(ConfigError, match=rf"asks for {threads} threads; .* {usable_cpus} CPUs?;"):
        fix_threads(Noop(threads=threads), make_hardware(usable_cpus=usable_cpus))


@pytest.mark.parametrize(("physical_cores", "usable_cpus", "expected"), [(4, 8, 4), (4, 2, 2), (1, 1, 1)])
def test_where_nobody_asked_there_is_a_thread_for_each_physical_core_that_may_be_used(
    physical_cores: int, usable_cpus: int, expected: int
) -> None:
    hardware = make_hardware(physical_cores=physical_cores, usable_cpus=usable_cpus)
    assert fix_threads(Noop(threads=None), hardware).threads == expected
