"""Readings of one job of a heat: all values raw, no summaries."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bakeoff.measure.heats.records import Heat, Part, PlacedBlock, Repeat
from bakeoff.measure.statistics.intervals import MIN_REPEATS
from bakeoff.measure.statistics.readings import (
    APART,
    BLOCK,
    CALIBRATION,
    COUNTED,
    DIRTY,
    ENERGY,
    FIRST_CALL,
    LATE,
    LATENCY,
    LOAD,
    MAX_DIRTY_SHARE,
    MEMORY,
    OVERHEAD,
    REFERENCE,
    TOKENIZE,
    Reading,
    read_each,
    share_of_dirty,
)
from bakeoff.measure.statistics.spreads import Kind, find_spreads
from bakeoff.measure.statistics.stability import find_far, mser_truncation, summarize_block

LATE_SHARE = 0.2
LATE_CHANGE = 0.05
LATE_REPEATS = 2
# The truncation rule is not reliable for fewer blocks.
LATE_MIN_BLOCKS = 8
# A single process gives no interval.
LEAST_NEAR_REPEATS = 2

LeftOut = Mapping[tuple[int, int], int]


class Calls(NamedTuple):
    """Timed calls of one variant of a participant.

    Attributes:
        variant: Number of the variant.
        own: Calls of the participant, with the spreads between the repeats of all participants.
        reference: Calls of the reference in the same rounds; None for the reference itself, and for a variant
            that the reference does not have.
    """

    variant: int
    own: Reading
    reference: Reading | None


def assemble_readings(
    heat: Heat, name: str, quantity: str = LATENCY, calls: Mapping[str, Sequence[Calls]] | None = None
) -> tuple[Reading, ...]:
    """Assemble all readings of one participant.

    Args:
        heat: Whole heat, since all participants together decide which rounds count.
        name: Name of the participant.
        quantity: Quantity that its calls measure.
        calls: Calls of all participants, from ``assemble_calls``; None assembles them here.

    Returns:
        For each variant the calls, the reference's calls of the same rounds, the warm-ups and the blocks.
        Then load times, memory, tokenisation, calibration loop, the instrument's overhead and energy.
    """
    left_out = find_left_out(heat.repeats)
    parts = list(_parts(heat.repeats, name))
    readings: list[Reading] = []
    for each in (calls or assemble_calls(heat, left_out, quantity))[name]:
        readings += [row for row in (each.own, each.reference) if row is not None]
        readings.append(_warm_ups(parts, each.variant))
        readings.append(_blocks(parts, each.variant, left_out))
    return (*readings, *_process_readings(parts))


def assemble_calls(
    heat: Heat, left_out: LeftOut, quantity: str = LATENCY, kinds: Sequence[Kind] | None = None
) -> dict[str, list[Calls]]:
    """Assemble the timed calls of all participants that finished a process.

    Args:
        heat: Whole heat.
        left_out: Reason that each round is excluded, from ``find_left_out``.
        quantity: Quantity that the calls measure.
        kinds: Statistics for which the calls get the spread between repeats; None takes all that are shown.
    """
    names = sorted({part.name for repeat in heat.repeats for part in repeat.parts})
    own = {
        name: {variant: _calls(quantity, parts, variant, left_out) for variant in sorted(_variants(parts))}
        for name in names
        for parts in [list(_parts(heat.repeats, name))]
    }
    whole = {name: rows for name, rows in own.items() if name not in heat.failures}
    spreads = find_spreads(whole, heat.reference, kinds)
    return {
        name: [
            Calls(
                variant,
                reading.replace(spreads=spreads),
                _calls_of_reference(heat, name, variant, left_out),
            )
            for variant, reading in rows.items()
        ]
        for name, rows in own.items()
    }


def _calls_of_reference(heat: Heat, name: str, variant: int, left_out: LeftOut) -> Reading | None:
    """Return the reference's calls of the rounds that a participant ran."""
    own = {number for number, _ in _parts(heat.repeats, name)}
    reference = [row for row in _parts(heat.repeats, heat.reference) if row[0] in own]
    if name == heat.reference or variant not in _variants(reference):
        return None
    return _calls(REFERENCE, reference, variant, left_out)


def find_left_out(repeats: Sequence[Repeat]) -> dict[tuple[int, int], int]:
    """Return whether each (repeat, round) counts, or why it is excluded; the same for every participant.

    Headline figures exclude disturbed rounds, rounds in which the CPUs were apart, and the first rounds of a
    process that was not steady yet. Those are found by the first blocks of a variant: they are slower than
    the rest (MSER, beyond 5 %) in half of the repeats, and in two at least. Only those repeats exclude them.
    """
    apart = find_apart(repeats)
    late = _find_late(repeats, apart)

    def judge(repeat: int, number: int, *, is_dirty: bool) -> int:
        if number < late.get(repeat, 0):
            return LATE
        if is_dirty:
            return DIRTY
        return APART if (repeat, number) in apart else COUNTED

    return {
        (repeat.number, number): judge(repeat.number, number, is_dirty=is_dirty)
        for repeat in repeats
        for number, is_dirty in repeat.rounds.items()
    }


def find_apart(repeats: Sequence[Repeat]) -> frozenset[tuple[int, int]]:
    """Find the (repeat, round) pairs in which the CPUs were further apart, by their core-to-core latency.

    There are none if too few other rounds remain for a measurement.
    """
    return _find_far(repeats) if is_near_enough(repeats) else frozenset()


def is_near_enough(repeats: Sequence[Repeat]) -> bool:
    """Return whether the CPUs were near in half of the repeats: in two at least, and five are enough."""
    wanted = min(MIN_REPEATS, max(LEAST_NEAR_REPEATS, len(repeats) / 2))
    return len(_find_near(repeats)) >= min(wanted, len(repeats))


def count_done(repeats: Sequence[Repeat], left_out: LeftOut) -> int:
    """Count the repeats that add to the measurement: some rounds count, and in half the CPUs were near.

    Args:
        repeats: Repeats so far.
        left_out: Reason that each of their rounds is excluded, from ``find_left_out``.
    """
    counted = {number for number, _ in find_counted(left_out)}
    return len(_find_near(repeats) & counted)


def find_counted(left_out: LeftOut) -> frozenset[tuple[int, int]]:
    """Return the (repeat, round) pairs that headline figures use.

    Disturbed rounds count too if they are the majority: the rest would be a selection.
    """
    counts_all = share_of_dirty(left_out.values()) > MAX_DIRTY_SHARE
    return frozenset(
        place for place, why in left_out.items() if why == COUNTED or (why == DIRTY and counts_all)
    )


def _find_near(repeats: Sequence[Repeat]) -> set[int]:
    """Return the numbers of the repeats in which the CPUs were near in at least half of the rounds."""
    far = _find_far(repeats)
    return {
        each.number
        for each in repeats
        if 2 * sum((each.number, number) in far for number in each.rounds) <= len(each.rounds)
    }


def _find_far(repeats: Sequence[Repeat]) -> frozenset[tuple[int, int]]:
    latencies_ns: dict[tuple[int, int], int] = {}
    for each in repeats:
        is_dirty = each.rounds
        for number, ns in each.core_to_core_by_round_ns.items():
            if not is_dirty[number]:  # other work disturbs core-to-core latencies too
                latencies_ns[each.number, number] = ns
    far = find_far(np.array(list(latencies_ns.values()), dtype=float))
    return frozenset(place for place, is_far in zip(latencies_ns, far, strict=True) if is_far)


def _find_late(repeats: Sequence[Repeat], apart: Container[tuple[int, int]]) -> dict[int, int]:
    """Return how many first rounds to exclude, by repeat."""
    cuts: dict[tuple[str, int], dict[int, int]] = {}
    judged: Counter[tuple[str, int]] = Counter()
    for repeat in repeats:
        for part in repeat.parts:
            for warm_up in part.started.warm_ups:
                blocks = [
                    block
                    for block in part.blocks
                    if block.variant == warm_up.variant and (repeat.number, block.round) not in apart
                ]
                if len(blocks) < LATE_MIN_BLOCKS:
                    continue
                judged[part.name, warm_up.variant] += 1
                cut = _late_rounds(blocks)
                if cut:
                    cuts.setdefault((part.name, warm_up.variant), {})[repeat.number] = cut
    late: dict[int, int] = {}
    for place, by_repeat in cuts.items():
        if len(by_repeat) >= max(LATE_REPEATS, judged[place] / 2):
            for number, cut in by_repeat.items():
                late[number] = max(late.get(number, 0), cut)
    return late


def _late_rounds(blocks: Sequence[PlacedBlock]) -> int:
    ordered = sorted(blocks, key=lambda block: block.round)
    summaries = [summarize_block(np.maximum(np.array(block.wall_ns, dtype=float), 1.0)) for block in ordered]
    medians = np.array([summary.median for summary in summaries])
    cut = mser_truncation(medians)
    if cut <= LATE_SHARE * len(ordered):
        return 0
    noise = float(np.median([summary.noise for summary in summaries]))
    change = math.log(float(np.median(medians[:cut])) / float(np.median(medians[cut:])))
    limit = max(LATE_CHANGE, 3 * noise / math.sqrt(cut))
    return ordered[cut].round if change > limit else 0


def _parts(repeats: Iterable[Repeat], name: str) -> Iterable[tuple[int, Part]]:
    for repeat in repeats:
        for part in repeat.parts:
            if part.name == name:
                yield repeat.number, part


def _variants(parts: Iterable[tuple[int, Part]]) -> set[int]:
    return {warm_up.variant for _, part in parts for warm_up in part.started.warm_ups}


def _calls(quantity: str, parts: Sequence[tuple[int, Part]], variant: int, left_out: LeftOut) -> Reading:
    columns: dict[str, list[int]] = {
        name: []
        for name in (
            "cpu_ns", "round", "position", "input", "n_tokens", "n_padded_tokens", "block_start_ns",
            "calls_per_sample", "n_documents", "left_out",
        )
    }  # fmt: skip
    values: list[float] = []
    numbers: list[int] = []
    for number, part in parts:
        warm_up = next(row for row in part.started.warm_ups if row.variant == variant)
        n_inputs = len(warm_up.n_tokens)
        for block in (block for block in part.blocks if block.variant == variant):
            inputs = [
                (block.first_input + sample * block.calls_per_sample) % n_inputs
                for sample in range(len(block.wall_ns))
            ]
            values += map(float, block.wall_ns)
            numbers += [number] * len(block.wall_ns)
            columns["cpu_ns"] += block.cpu_ns
            columns["input"] += inputs
            columns["n_tokens"] += [warm_up.n_tokens[each] for each in inputs]
            columns["n_padded_tokens"] += [warm_up.n_padded_tokens[each] for each in inputs]
            for name, value in (
                ("round", block.round),
                ("position", block.position),
                ("block_start_ns", block.start_ns),
                ("calls_per_sample", block.calls_per_sample),
                ("n_documents", warm_up.n_documents),
                ("left_out", left_out[number, block.round]),
            ):
                columns[name] += [value] * len(block.wall_ns)
    return Reading(
        quantity=quantity,
        unit="ns",
        at={"batch_size": variant},
        values=tuple(values),
        repeats=tuple(numbers),
        columns={name: tuple(column) for name, column in columns.items()},
    )


def _blocks(parts: Sequence[tuple[int, Part]], variant: int, left_out: LeftOut) -> Reading:
    """Return the wall time of each block, with the system's counters as columns."""
    rows = [(number, block) for number, part in parts for block in part.blocks if block.variant == variant]
    names = sorted({name for _, block in rows for name in block.counters})
    return Reading(
        quantity=BLOCK,
        unit="ns",
        at={"batch_size": variant},
        values=tuple(float(sum(block.wall_ns) * block.calls_per_sample) for _, block in rows),
        repeats=tuple(number for number, _ in rows),
        columns={
            "round": tuple(block.round for _, block in rows),
            "is_disturbed": tuple(int(bool(block.disturbances)) for _, block in rows),
            "left_out": tuple(left_out[number, block.round] for number, block in rows),
            **{name: tuple(int(block.counters.get(name, 0)) for _, block in rows) for name in names},
        },
    )


def _warm_ups(parts: Sequence[tuple[int, Part]], variant: int) -> Reading:
    rows = [
        (number, row) for number, part in parts for row in part.started.warm_ups if row.variant == variant
    ]
    return Reading(
        quantity=FIRST_CALL,
        unit="ns",
        at={"batch_size": variant},
        values=tuple(float(row.first_call_ns) for _, row in rows),
        repeats=tuple(number for number, _ in rows),
        columns={
            "warmup_ns": tuple(row.warmup_ns for _, row in rows),
            "n_calls": tuple(row.n_calls for _, row in rows),
            "is_steady": tuple(int(row.is_steady) for _, row in rows),
        },
    )


def _process_readings(parts: Sequence[tuple[int, Part]]) -> list[Reading]:
    """Return what a process reads once, or a few times at its start."""
    readings = [
        read_each(LOAD, "ns", [(number, part.started.load_ns) for number, part in parts]).replace(
            columns={
                "at_unix_ns": tuple(part.started.at_ns for _, part in parts),
                "spawn_ns": tuple(part.started.spawn_ns for _, part in parts),
                "import_ns": tuple(part.started.import_ns for _, part in parts),
            }
        )
    ]
    marks = sorted(
        {mark for _, part in parts for mark in (*part.started.memory_bytes, *part.finished.memory_bytes)}
    )
    for mark in marks:
        rows = [
            (number, {**part.started.memory_bytes, **part.finished.memory_bytes}.get(mark, 0))
            for number, part in parts
        ]
        readings.append(read_each(f"{MEMORY}_{mark}", "bytes", rows))
    for quantity, rows in (
        (TOKENIZE, [(n, each) for n, part in parts for each in part.started.tokenize_ns]),
        (CALIBRATION, [(n, each) for n, part in parts for each in part.started.calibration_ns]),
        (OVERHEAD, [(n, each) for n, part in parts for each in part.started.overhead_ns]),
    ):
        if rows:
            readings.append(read_each(quantity, "ns", rows))
    energies = [(number, part.finished.energy_uj) for number, part in parts]
    if energies and all(energy is not None for _, energy in energies):
        readings.append(read_each(ENERGY, "uj", [(n, energy or 0) for n, energy in energies]))
    return readings
