"""Reasons to trust the numbers or not: what they rest on, and how steady the machine was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bakeoff.core.comparison.reference import CONFIDENCE
from bakeoff.core.job import TimedJob
from bakeoff.core.validity.noise import is_contended
from bakeoff.measure.statistics.outcomes import outcomes_of
from bakeoff.measure.statistics.readings import BLOCK, LATENCY, OUTCOMES, OVERHEAD, PASS, WARN_DIRTY_SHARE
from bakeoff.plural import count
from bakeoff.report.figures.distributions import describe_left_out
from bakeoff.report.text.units import (
    ABSENT,
    format_duration,
    format_ns,
    format_percent,
    format_signed_percent,
)

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.standings import Standing
    from bakeoff.core.records import HeatFacts, Measurement
    from bakeoff.report.figures.raw_measurements import RawMeasurements

CALIBRATION_WIDTH, CALIBRATION_HEIGHT = 220, 44
_COUNTER = "run_delay_ns"  # of a block; without it nothing shows other work
_CALIBRATION_ROOM = 0.02  # the drawing shows at least this much above and below the median


class CountRow(NamedTuple):
    """Counts behind one candidate's numbers, as text, some with a line for each batch size."""

    standing: Standing
    documents: str
    parts: str
    processes: str
    rounds: str
    calls: tuple[str, ...]
    left_out: tuple[str, ...]
    measured_at: str


class CalibrationDrawing(NamedTuple):
    """The same computation in every process of a heat: only the machine can change its time.

    Attributes:
        dots: Places of the processes, in the order of their begin.
        middle: Place of the median.
        median: Median as text.
        spread: Fastest to slowest relative to the median, as text.
    """

    dots: tuple[tuple[float, float], ...]
    middle: float
    median: str
    spread: str


class HeatRow(NamedTuple):
    """One heat in words, with its calibration loop if one was read."""

    name: str
    candidates: tuple[str, ...]
    processes: str
    residence: str
    stopped: str
    wall: str
    calibration: CalibrationDrawing | None


class Trust(NamedTuple):
    """Content of this section of the page.

    Attributes:
        quiet: Meaning of the fact that no measurement has a flag.
        parts: Name of the parts of documents that are judged, such as ``entities``; empty if they are whole.
    """

    summary: tuple[str, ...]
    quiet: str
    parts: str
    counts: tuple[CountRow, ...]
    heats: tuple[HeatRow, ...]
    overhead: str


def gather_trust(decision: Decision, evidence: RawMeasurements) -> Trust:
    """Gather what a reader of the summaries must know of the measurements."""
    return Trust(
        summary=(*_summarize(evidence), *_summarize_absent(evidence)),
        quiet=_describe_quiet(evidence),
        parts=next((found[0] for row in decision.standings if (found := _count_parts(row, evidence))), ""),
        counts=tuple(_count(row, evidence) for row in decision.standings),
        heats=tuple(_describe_heat(facts, members) for facts, members in evidence.heats()),
        overhead=_describe_overhead(evidence.measurements),
    )


def _summarize(evidence: RawMeasurements) -> Iterable[str]:
    if not evidence.measurements:
        return
    held = count(len(evidence.measurements), "measurement")
    n_busy = sum(is_contended(each) for each in evidence.measurements)
    if n_busy:
        yield f"{held}, {n_busy} of them while the machine was busy; only the ratios of those are compared."
    else:
        yield f"{held}, {'each of them ' if len(evidence.measurements) > 1 else ''}valid."
    spent = sum(each.timed_s for each in evidence.measurements)
    days = sorted(each.measured_at for each in evidence.measurements)
    when = (
        f"on {days[0][:10]}" if days[0][:10] == days[-1][:10] else f"from {days[0][:10]} to {days[-1][:10]}"
    )
    yield f"Measured {when}; {format_duration(spent)} of it are timed calls."


def _summarize_absent(evidence: RawMeasurements) -> Iterable[str]:
    if evidence.missing:
        yield (
            f"{len(evidence.missing)} of {count(evidence.n_wanted, 'measurement')} "
            f"{'is' if len(evidence.missing) == 1 else 'are'} not on the disk where this page was made. "
            "Calls, counts and heats of these are not shown; the decision includes them."
        )


def _describe_quiet(evidence: RawMeasurements) -> str:
    """Describe what the absence of flags means: a few disturbed rounds raise none, and not all is judged."""
    alone = [each for each in evidence.measurements if each.heat is None and isinstance(each.job, TimedJob)]
    waits = f" Of each measurement made alone, at most {WARN_DIRTY_SHARE:.0%} was disturbed."
    return (
        "No measurement has a flag. Warm-ups were steady, there are enough samples for every quantile, "
        f"and {_describe_disturbed(evidence)}.{waits if alone else ''} "
        "Other work on spare CPUs is not judged."
    )


def _describe_disturbed(evidence: RawMeasurements) -> str:
    readings = [reading for each in evidence.measurements for reading in each.readings]
    timed = [reading for reading in readings if reading.quantity in {LATENCY, PASS}]
    if evidence.missing or not timed:
        most = f"{WARN_DIRTY_SHARE:.0%}"
    elif not any(_COUNTER in reading.columns for reading in readings if reading.quantity == BLOCK):
        return "the system has no counters that would show disturbed rounds"
    else:
        share = max(reading.dirty_share for reading in timed)
        if not share:
            return "the counters show no round that other work disturbed"
        most = format_percent(share)
    return f"other work disturbed at most {most} of a candidate’s rounds, which were excluded and repeated"


def _count(standing: Standing, evidence: RawMeasurements) -> CountRow:
    outcomes, parts = evidence.find(standing, OUTCOMES), _count_parts(standing, evidence)
    mine = tuple(evidence.of(standing))
    timed = [
        reading
        for measurement in mine
        for reading in measurement.readings
        if reading.quantity in {LATENCY, PASS}
    ]
    rounds = {
        place
        for reading in timed
        for place in zip(reading.repeats, reading.columns.get("round", ()), strict=False)
    }
    left_out = tuple(f"{_name(row.at)}: {words}" for row in timed if (words := describe_left_out(row)))
    return CountRow(
        standing=standing,
        documents=f"{len(outcomes.values):,}" if outcomes else ABSENT,
        parts=f"{parts[1]:,}" if parts else ABSENT,
        processes=_span(len(set(reading.repeats)) for reading in timed),
        rounds=f"{len(rounds):,}" if rounds else ABSENT,
        calls=tuple(f"{_name(row.at)}: {row.n_counted:,}" for row in timed) or (ABSENT,),
        left_out=left_out or ("none" if timed else ABSENT,),
        measured_at=max((each.measured_at for each in mine), default=ABSENT).replace("T", " ")[:16],
    )


def _count_parts(standing: Standing, evidence: RawMeasurements) -> tuple[str, int] | None:
    """Count the parts of the documents that are judged, with their name; None without outcomes or parts."""
    for measurement in evidence.of(standing):
        outcomes = measurement.reading(OUTCOMES)
        if outcomes is not None:
            return measurement.job.task.count_parts(outcomes_of(outcomes))
    return None


def _name(at: Mapping[str, int]) -> str:
    return f"batch {at['batch_size']}" if "batch_size" in at else "all"


def _span(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    if not found:
        return ABSENT
    return str(found[0]) if len(found) == 1 else f"{found[0]}–{found[-1]}"


def _describe_heat(facts: HeatFacts, members: Sequence[Measurement]) -> HeatRow:
    return HeatRow(
        name=f"{members[0].job.scenario.kind}, {members[0].measured_at[:16].replace('T', ' ')}",
        candidates=facts.candidates,
        processes=f"{facts.repeats} each",
        residence="together in memory, in turns" if facts.is_resident else "one after the other",
        stopped={
            "targets": f"each requested {CONFIDENCE:.0%} interval, by itself, reached its target",
            "budget": "the time budget ran out",
            "repeats": "the largest number of repeats was reached",
            "decided": "the decision was known: no other candidate could still win",
            "documents": "the rest is tied, and more repeats would not break the tie",
        }[facts.stopped],
        wall=format_duration(facts.wall_s),
        calibration=draw_calibration(facts.calibration_ns),
    )


def draw_calibration(calibration_ns: Sequence[float]) -> CalibrationDrawing | None:
    """Draw the calibration loop over a heat: a dot a process, above the median if the machine was slower."""
    if not calibration_ns:
        return None
    values = np.asarray(calibration_ns)
    median = float(np.median(values))
    changes = values / median - 1
    room = max(float(np.max(np.abs(changes))), _CALIBRATION_ROOM)
    middle, step = CALIBRATION_HEIGHT / 2, (CALIBRATION_WIDTH - 12) / max(len(values) - 1, 1)
    return CalibrationDrawing(
        dots=tuple(
            (round(6 + number * step, 1), round(middle - change / room * (middle - 5), 1))
            for number, change in enumerate(changes.tolist())
        ),
        middle=middle,
        median=format_ns(median),
        spread=" to ".join(format_signed_percent(float(end)) for end in (changes.min(), changes.max())),
    )


def _describe_overhead(measurements: Sequence[Measurement]) -> str:
    """Compare the time of a call that does nothing with the quickest call that was timed."""
    costs = [
        float(np.median(reading.values))
        for measurement in measurements
        for reading in measurement.readings
        if reading.quantity == OVERHEAD and reading.values
    ]
    calls = [
        middle.value
        for measurement in measurements
        for reading in measurement.readings
        if reading.quantity == LATENCY and (middle := reading.quantile(0.5)) is not None
    ]
    if not costs or not calls:
        return ""
    share = max(costs) / min(calls)
    return (
        f"A call that does nothing takes {format_ns(float(np.median(costs)))}, at most "
        f"{format_percent(share)} of the quickest median call. Nothing is subtracted."
    )
