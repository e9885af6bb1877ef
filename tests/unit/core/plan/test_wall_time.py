"""The wall time that a plan will take: from a probe alone, and from earlier heats on the same hardware."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bakeoff.core.job import Job, race
from bakeoff.core.plan.jobs import AskedJob, Plan, plan_jobs
from bakeoff.core.plan.wall_time import PROBE_NS, START_S, estimate_wall_time
from bakeoff.core.records import HeatFacts, Measurement
from bakeoff.core.run_mode import RunMode
from bakeoff.measure.backends import OnnxRuntime, Torch
from bakeoff.measure.heats.protocol import TimingProtocol
from unit.models import as_quality, ask

PROTOCOL = TimingProtocol(min_repeats=5, max_repeats=20, rounds=10, block_s=0.05, time_budget_s=1.0)


@pytest.fixture
def jobs(make_job: Callable[..., Job]) -> list[Job]:
    """Two candidates, each timed and judged."""
    timed = [make_job(runtime=runtime, protocol=PROTOCOL) for runtime in (Torch(), OnnxRuntime())]
    return [*timed, *(as_quality(job) for job in timed)]


def make_plan(asked: list[AskedJob]) -> Plan:
    return plan_jobs(asked, (), RunMode.REUSE_IF_EXISTS, 3)


def estimate(plan: Plan, known: list[Measurement], slowness: float = 1.0) -> tuple[float, str]:
    found = estimate_wall_time(plan, known, probe_ns=slowness * PROBE_NS, n_at_once=2)
    assert found is not None
    return found.wall_s, found.basis


def test_without_earlier_heats_the_speed_of_the_cpu_counts(jobs: list[Job]) -> None:
    plan = make_plan(ask(jobs))
    blocks_s = 2 * 10 * 0.05 * len(jobs[0].model_dump()["scenario"]["batch_sizes"])
    heat_s = 5 * (START_S["torch"] + START_S["onnxruntime"] + blocks_s)
    untimed_s = (2 * START_S["torch"] + START_S["torch"] + START_S["onnxruntime"]) / 2
    wall_s, basis = estimate(plan, [])
    assert wall_s == pytest.approx(heat_s + untimed_s)
    assert basis == "from a probe of this CPU"
    slower, _ = estimate(plan, [], slowness=3.0)
    assert slower == pytest.approx(3 * (heat_s + untimed_s) - 2 * 5 * blocks_s)


def test_a_race_needs_fewer_repeats(jobs: list[Job]) -> None:
    raced = make_plan([AskedJob(race(job), model) for job, model in ask(jobs)])
    assert estimate(raced, [])[0] < estimate(make_plan(ask(jobs)), [])[0]


def test_earlier_heats_on_this_hardware_replace_the_probe(
    jobs: list[Job], make_measurement: Callable[..., Measurement]
) -> None:
    plan = make_plan(ask(jobs))
    facts = HeatFacts(
        heat_id="heat",
        reference_key=jobs[0].key,
        reference=jobs[0].candidate,
        candidates=tuple(job.candidate for job in jobs[:2]),
        repeats=5,
        is_resident=True,
        stopped="repeats",
        wall_s=5 * 2 * 20.0 + 10.0,
    )
    known = [make_measurement(job).replace(heat=facts, timed_s=5.0) for job in jobs[:2]]
    wall_s, basis = estimate(plan, known)
    assert basis == "from 1 heat on this hardware"
    # 40 s to start both in each repeat, in the proportion of the two runtimes, and the blocks.
    share = 40 / (START_S["torch"] + START_S["onnxruntime"])
    untimed_s = share * (3 * START_S["torch"] + START_S["onnxruntime"]) / 2
    assert wall_s == pytest.approx(210 + untimed_s)
    other = known[0].job.hardware.replace(cpu_model="other")
    moved = [each.replace(job=each.job.replace(hardware=other)) for each in known]
    assert estimate(plan, moved) == estimate(plan, [])
    assert estimate(plan, known[:1])[1] == "from a probe of this CPU"


def test_nothing_to_measure_takes_no_time() -> None:
    assert estimate_wall_time(Plan(jobs=()), [], probe_ns=PROBE_NS, n_at_once=2) is None
