"""What lets a reader trust the numbers, or not: what they rest on, and how steady the machine was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bakeoff.core.comparison.reference import CONFIDENCE
from bakeoff.core.records import TimedJob
from bakeoff.core.validity.noise import is_contended
from bakeoff.measure.statistics.readings import BLOCK, ENTITIES, LATENCY, OVERHEAD, PASS, WARN_DIRTY_SHARE
from bakeoff.report.figures.distributions import describe_left_out
from bakeoff.report.text.units import (
    ABSENT,
    count,
    format_duration,
    format_ns,
    format_percent,
    format_signed_percent,
)

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.standings import Standing
    from bakeoff.core.records import HeatFacts, Measurement
    from bakeoff.report.figures.raw import RawMeasurements

CALIBRATION_WIDTH, CALIBRATION_HEIGHT = 220, 44
_COUNTER = "run_delay_ns"  # of a block; without it nothing tells of other work
_CALIBRATION_ROOM = 0.02  # the drawing shows at least so much above and below the median


class CountRow(NamedTuple):
    """What one candidate's numbers rest on, each a text, or a line for each batch size."""

    standing: Standing
    documents: str
    entities: str
    processes: str
    rounds: str
    calls: tuple[str, ...]
    left_out: tuple[str, ...]
    measured_at: str


class CalibrationDrawing(NamedTuple):
    """The same computation in every process of a heat: what changes in it is the machine.

    Attributes:
        dots: Places of the processes, in the order in which they began.
        middle: Place of the median.
        median: In words.
        spread: From the fastest to the slowest, relative to the median, in words.
    """

    dots: tuple[tuple[float, float], ...]
    middle: float
    median: str
    spread: str


class HeatRow(NamedTuple):
    """One heat in words, with its calibration loop; None where none was read."""

    name: str
    candidates: tuple[str, ...]
    processes: str
    residence: str
    stopped: str
    wall: str
    calibration: CalibrationDrawing | None


class Trust(NamedTuple):
    """Everything of this section of the page.

    Attributes:
        quiet: What it means that no measurement carries a flag.
    """

    summary: tuple[str, ...]
    quiet: str
    counts: tuple[CountRow, ...]
    heats: tuple[HeatRow, ...]
    overhead: str


def gather_trust(decision: Decision, evidence: RawMeasurements) -> Trust:
    """Read from the measurements what a reader of their summaries must know."""
    return Trust(
        summary=(*_summarize(evidence), *_summarize_absent(evidence)),
        quiet=_describe_quiet(evidence),
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
        yield f"{held}, {n_busy} of them while the machine was busy: of those only ratios are compared."
    else:
        yield f"{held}, each of them valid."
    spent = sum(each.timed_s for each in evidence.measurements)
    days = sorted(each.measured_at for each in evidence.measurements)
    when = (
        f"on {days[0][:10]}" if days[0][:10] == days[-1][:10] else f"from {days[0][:10]} to {days[-1][:10]}"
    )
    yield f"Measured {when}; {format_duration(spent)} of it are timed calls."


def _summarize_absent(evidence: RawMeasurements) -> Iterable[str]:
    if evidence.missing:
        yield (
            f"{len(evidence.missing)} of {count(evidence.n_wanted, 'measurement')} are not on the disk where "
            "this page was made: their calls, counts and heats are not shown. What was decided from them is."
        )


def _describe_quiet(evidence: RawMeasurements) -> str:
    """What no flag means, and no more: a few disturbed rounds raise none, and not all that runs is judged."""
    alone = [each for each in evidence.measurements if each.heat is None and isinstance(each.job, TimedJob)]
    waits = f" Of what is measured alone, at most {WARN_DIRTY_SHARE:.0%} of its work was disturbed."
    return (
        "No measurement carries a flag: warm-ups were steady, there are enough samples for every quantile, "
        f"and {_describe_disturbed(evidence)}.{waits if alone else ''} "
        "What others did on spare CPUs is not judged."
    )


def _describe_disturbed(evidence: RawMeasurements) -> str:
    readings = [reading for each in evidence.measurements for reading in each.readings]
    timed = [reading for reading in readings if reading.quantity in {LATENCY, PASS}]
    if evidence.missing or not timed:
        most = f"{WARN_DIRTY_SHARE:.0%}"
    elif not any(_COUNTER in reading.columns for reading in readings if reading.quantity == BLOCK):
        return "the system has no counters that would tell of rounds that other work disturbed"
    else:
        share = max(reading.dirty_share for reading in timed)
        if not share:
            return "its counters tell of no round that other work disturbed"
        most = format_percent(share)
    return f"other work disturbed at most {most} of a candidate’s rounds, which were repeated and left out"


def _count(standing: Standing, evidence: RawMeasurements) -> CountRow:
    entities = evidence.find(standing, ENTITIES)
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
    left_out = tuple(f"{_name(row.at)}: {told}" for row in timed if (told := describe_left_out(row)))
    return CountRow(
        standing=standing,
        documents=f"{len(entities.values):,}" if entities else ABSENT,
        entities=f"{sum(entities.columns['actual']):,}" if entities else ABSENT,
        processes=_span(len(set(reading.repeats)) for reading in timed),
        rounds=f"{len(rounds):,}" if rounds else ABSENT,
        calls=tuple(f"{_name(row.at)}: {row.n_counted:,}" for row in timed) or (ABSENT,),
        left_out=left_out or ("none" if timed else ABSENT,),
        measured_at=max((each.measured_at for each in mine), default=ABSENT).replace("T", " ")[:16],
    )


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
            "targets": f"each {CONFIDENCE:.0%} interval that was asked for, by itself, was within its target",
            "budget": "the time was up",
            "repeats": "the most processes were reached",
        }[facts.stopped],
        wall=format_duration(facts.wall_s),
        calibration=draw_calibration(facts.calibration_ns),
    )


def draw_calibration(calibration_ns: Sequence[float]) -> CalibrationDrawing | None:
    """The calibration loop over a heat: each process a dot, above the median where the machine was slower."""
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
    """What timing a call that does nothing reads, beside the quickest call that was timed."""
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
        f"Timing a call that does nothing reads {format_ns(float(np.median(costs)))}, at most "
        f"{format_percent(share)} of the quickest median call. Nothing is subtracted."
    )
