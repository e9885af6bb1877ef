"""Heats are split where nodes would be idle; whatever is split, each candidate is measured once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bakeoff.core.job import Job
from bakeoff.core.plan.jobs import Plan, PlannedJob
from bakeoff.measure.backends import Noop
from bakeoff.measure.scenarios import Latency, Quality
from bakeoff.orchestrator.bench.work_units import list_units, split_heats
from unit.models import model_of


@pytest.fixture
def make_plan(make_job: Callable[..., Job]) -> Callable[..., Plan]:
    """A plan with so many candidates in each heat, and jobs that are measured alone."""

    def make(heats: list[int], n_alone: int = 0) -> Plan:
        jobs = [
            make_job(runtime=Noop(threads=threads + 1), scenario=Latency(batch_sizes=(number + 1,)))
            for number, count in enumerate(heats)
            for threads in range(count)
        ]
        jobs += [
            make_job(runtime=Noop(threads=n + 1), scenario=Quality(), protocol=None) for n in range(n_alone)
        ]
        return Plan(
            jobs=tuple(
                PlannedJob(job=each, model=model_of(each), action="measure", reason="new", attempt=1)
                for each in jobs
            )
        )

    return make


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(heats=st.lists(st.integers(1, 6), max_size=3), n_alone=st.integers(0, 2), n_places=st.integers(1, 8))
def test_every_job_is_measured_once_and_every_part_has_its_heats_reference(
    make_plan: Callable[..., Plan], heats: list[int], n_alone: int, n_places: int
) -> None:
    plan = make_plan(heats, n_alone)
    units = list_units(plan, n_places, may_split=True)
    measured = Counter(each.job.key for unit in units for each in unit if each.action == "measure")
    assert measured == Counter(planned.job.key for planned in plan.jobs)
    together = [unit for unit in units if isinstance(unit[0].job.scenario, Latency)]
    assert {unit[0].job.runtime.threads for unit in together} <= {1}
    assert len(units) <= max(n_places, len(heats) + n_alone)


def test_parts_are_as_even_as_can_be_and_none_is_the_reference_alone(make_plan: Callable[..., Plan]) -> None:
    units = list_units(make_plan([5]), 3, may_split=True)
    assert sorted(len(unit) for unit in units) == [2, 2, 3]
    assert [unit[0].action for unit in units].count("measure") == 1
    assert len(list_units(make_plan([3]), 8, may_split=True)) == 2
    assert len(list_units(make_plan([2]), 8, may_split=True)) == 1


def test_nothing_is_split_where_no_place_is_idle_or_it_is_not_wanted(make_plan: Callable[..., Plan]) -> None:
    assert len(list_units(make_plan([4, 4]), 2, may_split=True)) == 2
    assert len(list_units(make_plan([4], n_alone=1), 2, may_split=True)) == 2
    assert len(list_units(make_plan([4]), 4, may_split=False)) == 1
    assert split_heats([], 4) == []
