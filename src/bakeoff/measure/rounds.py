"""Rounds: who is measured when, and until when.

Candidates that will be compared are measured together in one *heat*. A *generation* is one fresh process of
each; in it *rounds* follow each other, and a round is one *block* of calls of every candidate, in an order
drawn anew, while all others are stopped. Slow drift of the machine then hits all alike, and the ratio of two
candidates in one round is free of it.

    stop rule: run generations until, with the least number done, every interval that was asked for is within
    its target, or the time budget is spent; the record says which. At twice the budget it ends in any case.

A generation in which the CPUs were apart most of the time does not count as done: another takes its place.
There are never more than twice as many as were allowed.

Nothing here starts a process or reads a clock of its own: participants do the one, the caller hands in the
other, so that the tests run whole heats on a virtual clock.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bakeoff.errors import WorkerError
from bakeoff.measure.assembly import assemble_calls, count_near, find_left_out, is_near_enough
from bakeoff.measure.heat import (
    Block,
    BlockRequest,
    Failure,
    Finished,
    Generation,
    Heat,
    Part,
    PlacedBlock,
    Started,
    Stop,
    Unmet,
    WarmUp,
)
from bakeoff.measure.protocol import SHORTEST_SAMPLE_NS, Targets, TimingProtocol
from bakeoff.measure.readings import MAX_DIRTY_SHARE, ratio_to_reference
from bakeoff.measure.statistics import Interval

# Of all blocks of a round together.
MAX_RUN_DELAY_SHARE = 0.02
# A heat that has spent this many budgets, or that many times the most generations, ends with what it has.
PATIENCE = 2.0
# But never with one, which gives no ratio an interval.
LEAST_GENERATIONS = 2


class Participant(Protocol):
    """A candidate in a process of its own, or in a test a simulated one.

    Every method raises WorkerError if the process fails; it is ended then.
    """

    @property
    def name(self) -> str:
        """Unique in the heat."""
        ...

    def start(self, generation: int) -> Started:
        """Begin afresh, load, warm up every variant, and stop."""
        ...

    def run_block(self, request: BlockRequest) -> Block:
        """Go on, run one block, and stop."""
        ...

    def finish(self) -> Finished:
        """Go on, tell the peak of memory, and end."""
        ...

    def kill(self) -> None:
        """End at once; also when it was never started."""
        ...


def run_heat(
    participants: Sequence[Participant],
    protocol: TimingProtocol,
    *,
    now_s: Callable[[], float],
    memory_budget_bytes: float = math.inf,
    earlier: Sequence[Generation] = (),
    keep: Callable[[Generation], None] = lambda _: None,
    pause: Callable[[], None] = lambda: None,
    probe: Callable[[], int | None] = lambda: None,
) -> Heat:
    """Measure participants together.

    Args:
        participants: The first one is the reference.
        protocol: How.
        now_s: Clock of the time budget, in seconds.
        memory_budget_bytes: Beyond this the participants are not held in memory together.
        earlier: Generations of the same heat that an interrupted run has kept.
        keep: Called with each finished generation, before the next begins.
        pause: Called before each block, while all participants are stopped; it must be short.
        probe: Reads how long data takes from one CPU to the next, in ns, or None; called before each round.

    Returns:
        All generations in which at least one participant finished, and why there are no more.
    """
    begin_s = now_s()
    state = _State(list(participants), protocol, memory_budget_bytes, pause, probe)
    generations: list[Generation] = []
    for generation in earlier:
        state.learn(generation)
        generations.append(generation)
    reference = participants[0].name
    longest_s = 0.0
    while True:
        done, spent_s = count_near(generations), now_s() - begin_s
        is_over = (
            not state.alive
            or done >= protocol.max_generations
            or len(generations) >= PATIENCE * protocol.max_generations
        )
        is_enough = done >= protocol.min_generations and is_near_enough(generations)
        is_late = (
            spent_s + longest_s > protocol.time_budget_s
            if len(generations) >= protocol.min_generations
            else len(generations) >= LEAST_GENERATIONS and spent_s > PATIENCE * protocol.time_budget_s
        )
        # The first that is wider is enough to go on.
        unmet = _find_unmet(generations, protocol.targets, reference, among=state.names)
        is_met = is_enough and not is_over and next(unmet, None) is None
        if is_over or is_met or is_late:
            stopped: Stop = "generations" if is_over else "targets" if is_met else "budget"
            break
        generation_begin_s = now_s()
        generation = _run_generation(state, len(generations))
        longest_s = max(longest_s, now_s() - generation_begin_s)
        state.learn(generation)
        generations.append(generation)
        keep(generation)
    return Heat(
        reference=reference,
        generations=tuple(generations),
        stopped=stopped,
        unmet=find_unmet(generations, protocol.targets, reference, among=state.names),
        failures=state.failures,
    )


def find_unmet(
    generations: Sequence[Generation], targets: Targets, reference: str, *, among: Collection[str]
) -> tuple[Unmet, ...]:
    """Every interval that was asked for and is wider than its target, by the figures that will be reported.

    Args:
        generations: So far.
        targets: What was asked for.
        reference: Name of the participant to which ratios are taken.
        among: Names of the participants that count; those that failed do not.
    """
    return tuple(_find_unmet(generations, targets, reference, among=among))


def _find_unmet(
    generations: Sequence[Generation], targets: Targets, reference: str, *, among: Collection[str]
) -> Iterator[Unmet]:
    heat = Heat(reference=reference, generations=tuple(generations))
    left_out = find_left_out(generations)
    for name in sorted({part.name for generation in generations for part in generation.parts} & set(among)):
        for variant, calls, beside in assemble_calls(heat, name, left_out):
            for metric, p, target in targets.quantiles:
                yield from _if_wider(name, variant, metric, calls.quantile(p), target)
            if targets.ratio is not None and beside is not None:
                ratio = ratio_to_reference(calls, beside)
                yield from _if_wider(name, variant, "ratio", ratio, targets.ratio)


def _if_wider(name: str, variant: int, metric: str, interval: Interval | None, target: float) -> list[Unmet]:
    half_width = interval.half_width_ratio if interval else math.inf
    if half_width <= target:
        return []
    shown = half_width if math.isfinite(half_width) else None
    return [Unmet(participant=name, variant=variant, metric=metric, half_width=shown, target=target)]


@dataclass
class _State:
    """What a heat learns on its way.

    Attributes:
        alive: Participants that have not failed.
        pause: What the caller does between blocks.
        probe: What it reads before a round.
        shapes: Samples a block and calls a sample of each variant, fixed by its first warm-up.
    """

    alive: list[Participant]
    protocol: TimingProtocol
    memory_budget_bytes: float
    pause: Callable[[], None]
    probe: Callable[[], int | None]
    is_resident: bool = True
    failures: dict[str, Failure] = field(default_factory=dict)
    shapes: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Of the participants that have not failed."""
        return {participant.name for participant in self.alive}

    def fail(self, participant: Participant, error: WorkerError) -> None:
        participant.kill()
        self.failures[participant.name] = Failure(reason=error.reason, detail=error.detail)
        self.alive = [other for other in self.alive if other.name != participant.name]

    def learn(self, generation: Generation) -> None:
        """Take over what a generation has fixed, also one of an interrupted run."""
        self.is_resident = generation.is_resident
        self.failures.update(generation.failures)
        self.alive = [other for other in self.alive if other.name not in generation.failures]
        for part in generation.parts:
            for block in part.blocks:
                shape = (len(block.wall_ns), block.calls_per_sample)
                self.shapes.setdefault((part.name, block.variant), shape)

    def shape(self, name: str, warm_up: WarmUp) -> tuple[int, int]:
        place = (name, warm_up.variant)
        if place not in self.shapes:
            calls = max(1, math.ceil(SHORTEST_SAMPLE_NS / max(warm_up.median_ns, 1.0)))
            samples = self.protocol.samples_per_block(warm_up.median_ns, warm_up.least_samples)
            self.shapes[place] = (samples, calls)
        return self.shapes[place]


@dataclass
class _Attempt:
    """One generation on its way."""

    started: dict[str, Started] = field(default_factory=dict)
    blocks: dict[str, list[PlacedBlock]] = field(default_factory=dict)
    finished: dict[str, Finished] = field(default_factory=dict)


def _run_generation(state: _State, number: int) -> Generation:
    failed_before = set(state.failures)
    order = _shuffled(state.alive, f"{state.protocol.seed}:{number}:start")
    attempt = _Attempt()
    try:
        if state.is_resident and not _start_together(state, order, attempt, number):
            state.is_resident = False
            attempt = _Attempt()
        if state.is_resident:
            _run_rounds(state, attempt, number)
            _finish(state, attempt)
        else:
            for participant in order:
                _run_alone(state, participant, attempt, number)
    finally:
        for participant in order:
            participant.kill()
    return Generation(
        number=number,
        is_resident=state.is_resident,
        parts=tuple(
            Part(
                name=name,
                started=attempt.started[name],
                blocks=tuple(attempt.blocks[name]),
                finished=finished,
            )
            for name, finished in sorted(attempt.finished.items())
        ),
        failures={name: why for name, why in state.failures.items() if name not in failed_before},
    )


def _start_together(state: _State, order: Sequence[Participant], attempt: _Attempt, number: int) -> bool:
    """Start all, one at a time; False if they do not fit into memory together (all are ended then)."""
    used_bytes = 0
    for participant in order:
        _start(state, participant, attempt, number)
        started = attempt.started.get(participant.name)
        used_bytes += started.resident_bytes if started else 0
        if used_bytes > state.memory_budget_bytes:
            for each in order:
                each.kill()
            return False
    return True


def _start(state: _State, participant: Participant, attempt: _Attempt, number: int) -> None:
    try:
        attempt.started[participant.name] = participant.start(number)
        attempt.blocks[participant.name] = []
    except WorkerError as error:
        state.fail(participant, error)


def _run_rounds(state: _State, attempt: _Attempt, number: int) -> None:
    """Rounds until enough are clean; a disturbed one is repeated for all, never by looking at latencies."""
    wanted = state.protocol.rounds
    shuffler = random.Random(f"{state.protocol.seed}:{number}:rounds")  # noqa: S311 - an order, not a secret
    n_clean = n_dirty = 0
    while state.alive and n_clean < wanted and n_clean + n_dirty < 2 * wanted:
        if _run_round(state, attempt, n_clean + n_dirty, shuffler):
            n_dirty += 1
        else:
            n_clean += 1
        if n_clean + n_dirty >= wanted and n_dirty > MAX_DIRTY_SHARE * (n_clean + n_dirty):
            return  # the machine is busy; repeating would only choose among disturbed rounds


def _run_round(state: _State, attempt: _Attempt, number: int, shuffler: random.Random) -> bool:
    """One block of every variant of every participant; returns whether any of them was disturbed."""
    turns = [
        (participant, warm_up)
        for participant in state.alive
        for warm_up in attempt.started[participant.name].warm_ups
    ]
    taken: list[tuple[str, int, Block]] = []
    handover_ns = state.probe()
    for position, (participant, warm_up) in enumerate(shuffler.sample(turns, k=len(turns))):
        if participant.name in state.failures:
            continue
        samples, calls = state.shape(participant.name, warm_up)
        request = BlockRequest(
            variant=warm_up.variant,
            samples=samples,
            calls_per_sample=calls,
            first_input=number * len(warm_up.n_tokens) // state.protocol.rounds,
        )
        state.pause()
        try:
            taken.append((participant.name, position, participant.run_block(request)))
        except WorkerError as error:
            state.fail(participant, error)
    is_dirty = _is_disturbed([block for _, _, block in taken])
    for name, position, block in taken:
        placed = PlacedBlock(
            **block.model_dump(),
            round=number,
            position=position,
            is_dirty=is_dirty,
            handover_ns=handover_ns,
        )
        attempt.blocks[name].append(placed)
    return is_dirty


def _is_disturbed(blocks: Sequence[Block]) -> bool:
    """Whether a block of a round was disturbed by itself, or all together waited too long for a CPU."""
    waited_ns = sum(block.counters.get("run_delay_ns", 0.0) for block in blocks)
    wall_ns = sum(sum(block.wall_ns) * block.calls_per_sample for block in blocks)
    return any(block.disturbances for block in blocks) or waited_ns > MAX_RUN_DELAY_SHARE * wall_ns


def _finish(state: _State, attempt: _Attempt) -> None:
    for participant in list(state.alive):
        try:
            attempt.finished[participant.name] = participant.finish()
        except WorkerError as error:
            state.fail(participant, error)


def _run_alone(state: _State, participant: Participant, attempt: _Attempt, number: int) -> None:
    """All rounds of one participant while no other is in memory: still paired by round, but wider."""
    # Each participant has rounds of its own here, so what is read before them cannot be judged together.
    alone = _State([participant], state.protocol, math.inf, state.pause, lambda: None, shapes=state.shapes)
    _start(alone, participant, attempt, number)
    if alone.alive:
        _run_rounds(alone, attempt, number)
        _finish(alone, attempt)
    if alone.failures:
        failure = alone.failures[participant.name]
        state.fail(participant, WorkerError(failure.reason, detail=failure.detail))


def _shuffled(participants: Sequence[Participant], seed: str) -> list[Participant]:
    return random.Random(seed).sample(list(participants), k=len(participants))  # noqa: S311 - an order
