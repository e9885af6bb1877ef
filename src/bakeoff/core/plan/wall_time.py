"""Wall time of a plan before it is measured: from earlier measurements on this hardware, or from a probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bakeoff.core.job import Job, TimedJob, is_race
from bakeoff.core.plan.jobs import Plan, PlannedJob
from bakeoff.core.records import FailedAttempt, Measurement
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.run import FIRST_LOOK
from bakeoff.measure.scenarios import Interleaved, Latency, Server
from bakeoff.plural import count
from bakeoff.record import Record

# Seconds from the start of a process to its first block, by the kind of runtime, where the calibration loop
# takes PROBE_NS: medians of two heats of the demo on two virtual CPUs. Other kinds count as the slowest.
START_S: Mapping[str, float] = {
    "onnxruntime": 1.6,
    "openvino": 2.0,
    "python": 0.8,
    "pyfunc": 4.0,
    "torch": 5.0,
}
PROBE_NS = 48_500.0
# Repeats that a race usually needs beyond the first look.
MORE_REPEATS = 1


class WallTime(Record):
    """Estimate of a wall time; usually right within a factor of 2.

    Attributes:
        wall_s: Time to measure everything, in s.
        basis: What it was estimated from.
    """

    wall_s: float
    basis: str


class _Costs(Record):
    """Costs of processes, in s.

    Attributes:
        start_s: Start of a process by the kind of its runtime; empty key for all others.
        block_s: Mean block by model and runtime, as far as it was measured.
    """

    start_s: Mapping[str, float]
    block_s: Mapping[tuple[str, str], float] = {}

    def start_of(self, job: Job) -> float:
        """Return the time to start a process of this job."""
        return self.start_s.get(job.runtime.kind, self.start_s[""])


def estimate_wall_time(
    plan: Plan, attempts: Sequence[Measurement | FailedAttempt], *, probe_ns: float, n_at_once: int
) -> WallTime | None:
    """Estimate how long a plan takes to measure on this machine; None if there is nothing to measure.

    Args:
        plan: Plan to measure.
        attempts: Attempts on this disk, with or without raw values; those of other hardware do not count.
        probe_ns: Time of the calibration loop now.
        n_at_once: Untimed processes that run at the same time.
    """
    if not plan.todo:
        return None
    hardware = plan.todo[0].job.hardware
    known = [each for each in attempts if isinstance(each, Measurement) and each.job.hardware == hardware]
    costs, n_heats = _learn(known, probe_ns / PROBE_NS)
    untimed = [planned.job for planned in plan.todo if not planned.job.scenario.is_timed]
    # A job that is not timed comes with the preparation of its runtime, which starts PyTorch.
    wall_s = sum(costs.start_of(job) + costs.start_s[""] for job in untimed) / n_at_once
    heats: dict[str, list[PlannedJob]] = {}
    for planned in plan.todo:
        job = planned.job
        if isinstance(job, TimedJob) and isinstance(job.scenario, Interleaved):
            heats.setdefault(job.scenario.model_dump_json(), []).append(planned)
        elif isinstance(job, TimedJob) and isinstance(job.scenario, Server):
            wall_s += job.scenario.longest_search_s(job.protocol) / 2
    wall_s += sum(_estimate_heat([each.job for each in heat], costs) for heat in heats.values())
    basis = f"from {count(n_heats, 'heat')} on this hardware" if n_heats else "from a probe of this CPU"
    return WallTime(wall_s=wall_s, basis=basis)


def _learn(known: Sequence[Measurement], slowness: float) -> tuple[_Costs, int]:
    """Learn the costs of processes from earlier heats; return them with the number of heats."""
    start_s = {kind: slowness * seconds for kind, seconds in START_S.items()}
    heats: dict[str, list[Measurement]] = {}
    block_s: dict[tuple[str, str], float] = {}
    for each in known:
        if each.heat is not None and isinstance(each.job, TimedJob) and each.heat.repeats:
            heats.setdefault(each.heat.heat_id, []).append(each)
            n_blocks = each.heat.repeats * each.job.protocol.rounds * _count_sizes(each.job)
            block_s[each.job.champion_run_id, each.job.runtime.label] = each.timed_s / n_blocks
    # The time of a candidate that is not here is unknown.
    whole = [heat for heat in heats.values() if heat[0].heat and len(heat) == len(heat[0].heat.candidates)]
    found_s = sum(_read_wall_s(heat[0]) - sum(each.timed_s for each in heat) for heat in whole)
    slowest_s = max(start_s.values())
    expected_s = sum(
        start_s.get(each.job.runtime.kind, slowest_s) * (each.heat.repeats if each.heat else 0)
        for heat in whole
        for each in heat
    )
    if expected_s > 0:
        start_s = {kind: seconds * found_s / expected_s for kind, seconds in start_s.items()}
    return _Costs(start_s={**start_s, "": max(start_s.values())}, block_s=block_s), len(whole)


def _read_wall_s(measurement: Measurement) -> float:
    return measurement.heat.wall_s if measurement.heat is not None else 0.0


def _count_sizes(job: Job) -> int:
    return len(job.scenario.batch_sizes) if isinstance(job.scenario, Latency) else 1


def _estimate_heat(jobs: Sequence[Job], costs: _Costs) -> float:
    """Estimate a heat: repeats of a start and all blocks of each candidate."""
    first = jobs[0]
    if not isinstance(first, TimedJob):
        raise TypeError(f"{first.label} is not timed")
    protocol = first.protocol
    repeat_s = sum(costs.start_of(job) + _time_blocks(job, protocol, costs) for job in jobs)
    affordable = max(int(protocol.time_budget_s // repeat_s), 1)
    if is_race(first):
        most = min(FIRST_LOOK + MORE_REPEATS, protocol.max_repeats)
        return repeat_s * min(most, max(affordable, protocol.min_repeats))
    return repeat_s * min(max(affordable, protocol.min_repeats), protocol.max_repeats)


def _time_blocks(job: Job, protocol: TimingProtocol, costs: _Costs) -> float:
    """Return the time of all blocks of one process, in s."""
    block_s = costs.block_s.get((job.champion_run_id, job.runtime.label), protocol.block_s)
    return protocol.rounds * _count_sizes(job) * max(block_s, protocol.block_s)
