"""Validity: the flags of a measurement, each with its figure and its limit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bakeoff.core.job import Environment, Job, TimedJob
from bakeoff.core.quality import measure_quality
from bakeoff.core.records import Flag, HeatFacts
from bakeoff.core.validity.flags import (
    ASYM_THREADS,
    BATCHED_TIMING,
    CI_NOT_REACHED,
    CPUS_APART,
    DRIFT,
    EXCLUSION_MATTERS,
    FEW_REPEATS,
    HEAVY_TAIL,
    INSTRUMENT_OVERHEAD,
    LATE_WARMUP,
    METRIC_NOT_REPRODUCED,
    MULTIMODAL,
    NO_CPUFREQ,
    NO_FREEZE,
    NO_REFERENCE,
    NO_REFIT_METRIC,
    NOT_RESIDENT,
    POWERSAVE,
    THERMAL,
    TRUNCATED,
    UNSUPPORTED,
    VIRTUALISED,
    WARMUP_NOT_STEADY,
)
from bakeoff.core.validity.noise import judge_share, judge_throttling
from bakeoff.core.validity.server import judge_server
from bakeoff.measure.heats.records import Unmet
from bakeoff.measure.scenarios.quality import Quality
from bakeoff.measure.scenarios.server import Server
from bakeoff.measure.statistics.intervals import MIN_REPEATS, minimum_samples
from bakeoff.measure.statistics.readings import (
    APART,
    BLOCK,
    FIRST_CALL,
    LATE,
    LATENCY,
    MAX_DIRTY_SHARE,
    NS_PER_MS,
    OUTCOMES,
    OVERHEAD,
    PASS,
    REFERENCE,
    Reading,
)
from bakeoff.measure.statistics.stability import find_drift, find_far, spread_excess
from bakeoff.measure.system.kernel_counters import THROTTLES
from bakeoff.plural import count

QUANTILES = (0.5, 0.95, 0.99)
# A flag needs both: processes usually differ by a per cent or two, and the interval holds it.
MAX_SPREAD_EXCESS = 3.0
MAX_SPREAD = 0.05
MAX_TAIL_RATIO = 3.0
# A lone core-to-core latency may have met an interrupt.
MAX_FAR_SHARE = 0.02
MAX_OVERHEAD_SHARE = 0.01
MAX_CHANGE_BY_LEAVING_OUT = 0.05
# With fewer there is no interval of what differs between processes.
FEWEST_REPEATS = 2
# More are a way to say no.
MOST_REPEATS = 1000
# A half-width above it is written as a factor.
MOST_PERCENT = 10.0


def judge_measurement(
    job: Job,
    readings: Sequence[Reading],
    environment: Environment,
    *,
    heat: HeatFacts | None = None,
    n_truncated: int = 0,
    token_limit: int | None = None,
    accepts_contention: bool = False,
) -> tuple[Flag, ...]:
    """Find every flag of a measurement.

    Args:
        job: Job that was measured.
        readings: Its readings.
        environment: Environment of the measurement.
        heat: Heat that it was measured in; None if it was measured alone.
        n_truncated: Number of documents with words cut off.
        token_limit: Tokens after which they were cut: the job's ``max_length``, or the model's own maximum if
            that is smaller. None means ``max_length``.
        accepts_contention: Whether a measurement on a busy machine counts as done; it is flagged in any case.
    """
    flags: list[Flag] = []
    if n_truncated:
        flags.append(_tell_truncated(job, n_truncated, token_limit or job.max_length))
    for reading in readings:
        if reading.quantity == OUTCOMES and isinstance(job.scenario, Quality):
            flags += _judge_quality(job, job.scenario, reading)
    if not isinstance(job, TimedJob):
        return tuple(flags)
    if isinstance(job.scenario, Server):
        flags += judge_server(job.scenario, job.protocol, readings, accepts_contention=accepts_contention)
    flags += _judge_repeats(heat, readings)
    if heat is not None:
        flags += _judge_heat(heat, readings, accepts_contention=accepts_contention)
        if heat.reference_key != job.key:
            flags += _judge_reference(heat, readings)
    return (*flags, *_judge_environment(environment))


def _tell_truncated(job: Job, n_truncated: int, token_limit: int) -> Flag:
    why = ", the maximum of this model" if token_limit < job.max_length else ""
    return TRUNCATED.raised(f"{count(n_truncated, 'document')} longer than {token_limit} tokens{why}")


def _judge_quality(job: Job, scenario: Quality, reading: Reading) -> list[Flag]:
    metric = job.task.metrics.get(job.metric_name)
    if metric is None:
        measured_here = ", ".join(job.task.metrics)
        detail = f"the sweep's {job.metric_name} is none of the metrics measured here ({measured_here})"
        return [NO_REFIT_METRIC.raised(detail)]
    measured = measure_quality(reading, metric)
    if job.refit_metric is None and job.source is not None:
        return []  # you named this model: nothing claims a score for it
    if job.refit_metric is None:
        detail = f"no test {job.metric_name} was logged with the checkpoint to compare {measured:.4f} with"
        return [NO_REFIT_METRIC.raised(detail)]
    # Errors in units of a target have no common scale: their tolerance is a share.
    scale = 1.0 if metric.is_bounded else max(abs(measured), abs(job.refit_metric), 1e-300)
    gap = abs(measured - job.refit_metric) / scale
    if gap <= scenario.refit_tolerance:
        return []
    detail = (
        f"{job.metric_name} {measured:.4f} here, {job.refit_metric:.4f} at the refit: "
        f"{gap:.4f}{'' if metric.is_bounded else ' of it'} apart (limit {scenario.refit_tolerance:g})"
    )
    return [METRIC_NOT_REPRODUCED.raised(detail)]


def _judge_repeats(heat: HeatFacts | None, readings: Sequence[Reading]) -> list[Flag]:
    repeats = heat.repeats if heat else max((len(set(row.repeats)) for row in readings), default=0)
    if repeats >= MIN_REPEATS:
        return []
    detail = f"{count(repeats, 'repeat')}: intervals are wide below {MIN_REPEATS}"
    if repeats == FEWEST_REPEATS:
        detail += "; with two, they miss slightly more often if candidates differ in spread"
    return [FEW_REPEATS.raised(detail)]


def _judge_heat(heat: HeatFacts, readings: Sequence[Reading], *, accepts_contention: bool) -> list[Flag]:
    flags: list[Flag] = []
    overhead_ns = next((float(np.median(row.values)) for row in readings if row.quantity == OVERHEAD), 0.0)
    worst = max((row for row in readings if _is_timed(row)), key=lambda row: row.dirty_share, default=None)
    if worst is not None:
        flags += _judge_contention(worst.dirty_share, accepts_contention=accepts_contention)
    for reading in readings:
        if _is_timed(reading):
            flags += _judge_samples(reading, overhead_ns)
        elif reading.quantity == FIRST_CALL and not all(reading.columns["is_steady"]):
            detail = f"{_place(reading)}: calls were not steady when warm-up ended"
            flags.append(WARMUP_NOT_STEADY.raised(detail))
    flags += _judge_drift(heat, readings)
    flags += judge_throttling([row for row in readings if row.quantity == BLOCK], "block_ns")
    flags += _judge_core_to_core(heat, readings)
    flags += [
        CI_NOT_REACHED.raised(_describe_unmet(unmet, heat), quantity=unmet.metric) for unmet in heat.unmet
    ]
    if len(set(heat.threads)) > 1:
        shown = ", ".join(
            f"{name} {threads}" for name, threads in zip(heat.candidates, heat.threads, strict=True)
        )
        detail = f"the candidates used different numbers of threads ({shown}): ratios hold that, too"
        flags.append(ASYM_THREADS.raised(detail))
    if not heat.is_resident:
        detail = "the candidates did not fit into memory together: intervals are 4 to 5 times as wide"
        flags.append(NOT_RESIDENT.raised(detail))
    return flags


def _describe_unmet(unmet: Unmet, heat: HeatFacts) -> str:
    """Describe how wide an interval is, and how many more repeats would reach its target.

    The width falls with the square root of the number of repeats. With few of them it falls faster, so the
    estimate is at most too high.
    """
    ends = {"budget": "the time budget ran out", "repeats": "the most repeats were done"}
    end = ends.get(heat.stopped, "the heat ended")
    if unmet.half_width is None:
        return f"batch size {unmet.variant}: {end} without an interval (target ±{unmet.target:.1%})"
    wanted = heat.repeats * (unmet.half_width / unmet.target) ** 2
    more = max(math.ceil(wanted) - heat.repeats, 1)
    cost = (
        f"more than {MOST_REPEATS:,} more repeats"
        if more > MOST_REPEATS
        else f"about {count(more, 'more repeat')} ({_name_time(more * heat.wall_s / max(heat.repeats, 1))})"
    )
    width = _name_width(unmet.half_width, sign="±")
    return f"batch size {unmet.variant}: {end} at {width} (target ±{unmet.target:.1%}); {cost} would reach it"


def _name_width(share: float, *, sign: str = "") -> str:
    return f"{sign}{share:.1%}" if share < MOST_PERCENT else f"×{1 + share:,.0f}"


def _name_time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{math.ceil(seconds / 60):,} min"  # noqa: PLR2004


def _judge_reference(heat: HeatFacts, readings: Sequence[Reading]) -> list[Flag]:
    """Flag a heat without ratios: its reference may fail before one of its processes is complete."""
    if any(row.quantity == REFERENCE for row in readings) or not any(map(_is_timed, readings)):
        return []
    detail = f"{heat.reference} failed before one of its processes was complete: there are no ratios"
    return [NO_REFERENCE.raised(detail)]


def _is_timed(reading: Reading) -> bool:
    return reading.quantity in (LATENCY, PASS)


def _place(reading: Reading) -> str:
    return f"batch size {reading.at['batch_size']}"


def _judge_contention(share: float, *, accepts_contention: bool) -> list[Flag]:
    return judge_share(
        share,
        contended=f"other work disturbed {share:.0%} of the rounds (limit {MAX_DIRTY_SHARE:.0%}): "
        "read the ratios only, with low confidence",
        disturbed=f"other work disturbed {share:.0%} of the rounds, which were repeated and excluded",
        accepts_contention=accepts_contention,
    )


def _judge_samples(reading: Reading, overhead_ns: float) -> list[Flag]:
    n, place = reading.n_counted, _place(reading)
    flags = [
        UNSUPPORTED.raised(
            f"{place}: {count(n, 'sample')}, at least {minimum_samples(p)} needed", quantity=f"p{p * 100:g}"
        )
        for p in QUANTILES
        if n < minimum_samples(p) and not (reading.quantity == PASS and p > QUANTILES[0])
    ]
    if reading.is_grouped:
        detail = f"{place}: calls are too short to time one by one, so p95 and p99 are missing"
        flags.append(BATCHED_TIMING.raised(detail))
    if LATE in reading.columns["left_out"]:
        n_late = reading.columns["left_out"].count(LATE)
        detail = f"{place}: excluded {count(n_late, 'sample')} before the steady state"
        flags.append(LATE_WARMUP.raised(detail))
    flags += _compare_with_all(reading)
    rows = reading.by_repeat()
    excess = spread_excess(rows)
    spread = float(np.std([np.log(np.median(row)) for row in rows], ddof=1)) if len(rows) > 1 else 0.0
    if excess > MAX_SPREAD_EXCESS and spread > MAX_SPREAD:
        differ = f"processes differ by {_name_width(spread)}"
        detail = f"{place}: {differ}, {excess:,.1f} times what their noise explains"
        flags.append(MULTIMODAL.raised(detail))
    middle, tail = reading.quantile(0.5), reading.quantile(0.99)
    if middle and tail and tail.value > MAX_TAIL_RATIO * middle.value:
        detail = f"{place}: p99 is {tail.value / middle.value:,.1f} times p50 (limit {MAX_TAIL_RATIO:g})"
        flags.append(HEAVY_TAIL.raised(detail))
    if middle and overhead_ns > MAX_OVERHEAD_SHARE * middle.value and not reading.is_grouped:
        detail = f"{place}: the instrument takes {overhead_ns / middle.value:.1%} of a call"
        flags.append(INSTRUMENT_OVERHEAD.raised(detail))
    return flags


def _compare_with_all(reading: Reading) -> list[Flag]:
    """Show the figures of all rounds next to the headline, if excluding some changes it."""
    shown = []
    for p in QUANTILES:
        counted, of_all = reading.quantile(p), reading.quantile_of_all(p)
        if counted and of_all and abs(of_all / counted.value - 1) > MAX_CHANGE_BY_LEAVING_OUT:
            both = f"{of_all / NS_PER_MS:.3g} instead of {counted.value / NS_PER_MS:.3g} ms"
            shown.append(f"p{p * 100:g} {both}")
    if not shown:
        return []
    then = "; the intervals hold both" if reading.is_thinned else ""
    detail = f"{_place(reading)}: with all rounds {', '.join(shown)}{then}"
    return [EXCLUSION_MATTERS.raised(detail)]


def _judge_drift(heat: HeatFacts, readings: Sequence[Reading]) -> list[Flag]:
    """Flag a machine that changed its speed, by the calibration loop: the same work in every process.

    A candidate cannot show it: differences between its processes would pass for drift.
    """
    drift = find_drift(np.array(heat.calibration_ns)) if heat.calibration_ns else None
    if drift is None:
        return []
    change = _name_width(abs(drift.change))
    detail = f"the machine became {change} {'slower' if drift.change > 0 else 'faster'}"
    flags = [DRIFT.raised(f"{detail} over the heat ({drift.kind}); ratios are free of it")]
    n_throttled = sum(
        sum(row.columns.get(THROTTLES, ())) for row in readings if row.quantity == BLOCK and row.columns
    )
    if n_throttled:
        detail = f"the hot processor throttled itself {count(n_throttled, 'time')} during the blocks"
        flags.append(THERMAL.raised(detail))
    return flags


def _judge_core_to_core(heat: HeatFacts, readings: Sequence[Reading]) -> list[Flag]:
    """Flag a host that moved the CPUs, and say whether those rounds could be excluded."""
    latencies_ns = np.array(heat.core_to_core_ns)
    far = find_far(latencies_ns)
    if not far.any() or far.mean() <= MAX_FAR_SHARE:
        return []
    factor = float(np.median(latencies_ns[far]) / np.median(latencies_ns[~far]))
    are_out = any(APART in row.columns["left_out"] for row in readings if _is_timed(row))
    what = f"data took {factor:.1f} times as long from one CPU to the next in {far.mean():.0%} of the rounds"
    then = (
        "absolute figures exclude them, ratios keep them"
        if are_out
        else "too few remain without them, so all count, and ratios change less"
    )
    return [CPUS_APART.raised(f"{what}: {then}")]


def _judge_environment(environment: Environment) -> list[Flag]:
    facts: Mapping[str, str] = environment.facts
    flags = []
    if facts.get("freeze") == "no":
        flags.append(NO_FREEZE.raised("this system cannot stop idle candidates"))
    if facts.get("hypervisor") not in (None, "n/a", "no"):
        flags.append(VIRTUALISED.raised("the machine is virtual, and cannot see the work of its host"))
    elif facts.get("governor") == "n/a":
        flags.append(NO_CPUFREQ.raised("the system does not report the clock of its CPUs"))
    if facts.get("governor") == "powersave":
        flags.append(POWERSAVE.raised("the CPU governor is powersave"))
    return flags
