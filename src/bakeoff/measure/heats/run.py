"""Rounds of a heat: the order of the measurements, and the rule that stops them.

Candidates that will be compared are measured together in one *heat*. A *repeat* is one fresh process of each
candidate, and consists of *rounds*. A round is one *block* of calls of every candidate, in a new random
order; the others are stopped meanwhile. Slow drift of the machine then affects all candidates alike, and
cancels in the ratio of two candidates within a round.

    stop rule: run the least number of repeats. Then stop when every interval is within its target, or when
    the time budget is spent; the record says which. At 1.5 times the budget the heat ends in any
    case: a repeat in progress then ends after four rounds.

The caller may look at the heat after each repeat from the third on: it drops participants that need no more
repeats, and ends the heat when its question is answered.

A repeat does not count as done if the CPUs were apart most of the time, or if none of its rounds counts.
Another repeat takes its place. There are never more than twice as many as allowed.

Nothing here starts a process or reads a clock: participants start processes, and the caller passes the clock.
So the tests run whole heats on a virtual clock.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from bakeoff.errors import WorkerError
from bakeoff.measure.heats.assemble import count_done, find_left_out, is_near_enough
from bakeoff.measure.heats.disturbed_rounds import Round, are_enough, is_disturbed, judge_together
from bakeoff.measure.heats.participant import Participant
from bakeoff.measure.heats.protocol import SHORTEST_SAMPLE_NS, TimingProtocol
from bakeoff.measure.heats.records import (
    BlockRequest,
    Failure,
    Finished,
    Heat,
    HeatLook,
    Part,
    PlacedBlock,
    Repeat,
    Started,
    Stop,
    WarmUp,
)
from bakeoff.measure.heats.stopping import find_unmet
from bakeoff.measure.statistics.readings import LATENCY
from bakeoff.measure.system.kernel_counters import TICKED_NS

# A heat ends in any case after this many time budgets, or this many times ``max_repeats``.
LONGEST = 1.5
PATIENCE = 2.0
# But never with a single repeat, which gives no interval of a ratio.
LEAST_REPEATS = 2
# A repeat in progress then ends after so many rounds: fewer give no usable median.
LEAST_ROUNDS = 4
# The first look at a heat in progress; two repeats leave a single degree of freedom to each candidate.
FIRST_LOOK = 3
# Wait for one of several importing participants before the next one is checked.
LOOK_S = 0.02


def run_heat(
    participants: Sequence[Participant],
    protocol: TimingProtocol,
    *,
    now_s: Callable[[], float],
    memory_budget_bytes: float = math.inf,
    earlier: Sequence[Repeat] = (),
    keep: Callable[[Repeat], None] = lambda _: None,
    pause: Callable[[], None] = lambda: None,
    probe: Callable[[], int | None] = lambda: None,
    quantity: str = LATENCY,
    n_importing: int = 1,
    look: Callable[[Heat], HeatLook] | None = None,
) -> Heat:
    """Measure participants together.

    Args:
        participants: Participants to measure; the first one is the reference.
        protocol: Settings of the measurement.
        now_s: Clock of the time budget, in seconds.
        memory_budget_bytes: Most memory that participants may hold together; beyond it they run one by one.
        earlier: Repeats of the same heat that an interrupted run has kept.
        keep: Called with each finished repeat, before the next begins.
        pause: Called before each block, while all participants are stopped; it must be short.
        probe: Called before each round; returns the core-to-core latency in ns, or None.
        quantity: Quantity that the calls measure; the targets apply to its statistics.
        n_importing: Participants that may import at the same time; from loading on, they go one at a time.
        look: Called after each repeat from the third on, with all repeats so far; may drop any but the
            reference, and may end the heat before the least number of repeats. None looks at nothing.

    Returns:
        All repeats in which at least one participant finished, and the reason that there are no more.
    """
    begin_s = now_s()
    state = _State(
        list(participants),
        protocol,
        memory_budget_bytes,
        pause,
        probe,
        n_importing=n_importing,
        is_spent=lambda: now_s() - begin_s > LONGEST * protocol.time_budget_s,
    )
    repeats: list[Repeat] = []
    waiting = deque(earlier)
    reference = participants[0].name
    longest_s = 0.0
    while True:
        spent_s = now_s() - begin_s
        heat = Heat(reference=reference, repeats=tuple(repeats), failures=state.failures)
        looked = look(heat) if look and _count_done(repeats) >= FIRST_LOOK else HeatLook()
        state.drop(looked.dropped - {reference})
        if waiting:
            state.learn(waiting[0])
            repeats.append(waiting.popleft())
            continue
        stopped = looked.stop or _find_stop(state, heat, quantity, spent_s=spent_s, longest_s=longest_s)
        if stopped is not None:
            break
        repeat_begin_s = now_s()
        repeat = _run_repeat(state, len(repeats))
        longest_s = max(longest_s, now_s() - repeat_begin_s)
        state.learn(repeat)
        repeats.append(repeat)
        keep(repeat)
    is_answered = looked.stop is not None  # then nobody asked for narrow intervals
    left_out = find_left_out(repeats)
    too_wide = find_unmet(heat, protocol.targets, left_out, quantity, among=state.names)
    unmet = () if is_answered else tuple(too_wide)
    return heat.replace(stopped=stopped, unmet=unmet, failures=state.failures)


@dataclass
class _State:
    """State of a heat in progress.

    Attributes:
        alive: Participants that have not failed.
        is_spent: Whether ``LONGEST`` times the time budget is spent.
        shapes: Samples per block and calls per sample of each variant, fixed by its first warm-up.
    """

    alive: list[Participant]
    protocol: TimingProtocol
    memory_budget_bytes: float
    pause: Callable[[], None]
    probe: Callable[[], int | None]
    n_importing: int = 1
    is_spent: Callable[[], bool] = lambda: False
    is_resident: bool = True
    failures: dict[str, Failure] = field(default_factory=dict)
    shapes: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Names of the participants that have not failed."""
        return {participant.name for participant in self.alive}

    def fail(self, participant: Participant, error: WorkerError) -> None:
        participant.kill()
        self.failures[participant.name] = Failure(reason=error.reason, detail=error.detail)
        self.alive = [other for other in self.alive if other.name != participant.name]

    def drop(self, names: Collection[str]) -> None:
        """Run some participants no further; what they measured stays."""
        self.alive = [participant for participant in self.alive if participant.name not in names]

    def learn(self, repeat: Repeat) -> None:
        """Take over what a repeat has fixed, even one of an interrupted run."""
        self.is_resident = repeat.is_resident
        self.failures.update(repeat.failures)
        self.alive = [other for other in self.alive if other.name not in repeat.failures]
        for part in repeat.parts:
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


def _count_done(repeats: Sequence[Repeat]) -> int:
    return count_done(repeats, find_left_out(repeats))


def _find_stop(state: _State, heat: Heat, quantity: str, *, spent_s: float, longest_s: float) -> Stop | None:
    """Apply the stop rule after the repeats of a heat; None asks for another one.

    Args:
        state: State of the heat.
        heat: Its repeats so far.
        quantity: Quantity that the calls measure.
        spent_s: Time that the heat has taken, in seconds.
        longest_s: Time of its longest repeat, in seconds.
    """
    left_out, done = find_left_out(heat.repeats), _count_done(heat.repeats)
    protocol, n_repeats = state.protocol, len(heat.repeats)
    if not state.alive or done >= protocol.max_repeats or n_repeats >= PATIENCE * protocol.max_repeats:
        return "repeats"
    if done >= protocol.min_repeats and is_near_enough(heat.repeats):
        # One interval that is too wide is enough to go on.
        too_wide = find_unmet(heat, protocol.targets, left_out, quantity, among=state.names)
        if next(too_wide, None) is None:
            return "targets"
    is_late = (
        spent_s + longest_s > protocol.time_budget_s
        if n_repeats >= protocol.min_repeats
        else n_repeats >= LEAST_REPEATS and spent_s > LONGEST * protocol.time_budget_s
    )
    return "budget" if is_late else None


@dataclass
class _Attempt:
    """Repeat in progress."""

    started: dict[str, Started] = field(default_factory=dict)
    blocks: dict[str, list[PlacedBlock]] = field(default_factory=dict)
    finished: dict[str, Finished] = field(default_factory=dict)


def _run_repeat(state: _State, number: int) -> Repeat:
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
    return Repeat(
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
    """Start all; return False if they do not fit into memory together (all are killed then).

    Importing takes longest and is not compared, so several participants import at once, and stop. Loading,
    the first call and the warm-up then run one participant at a time.
    """
    used_bytes = _import_together(state, order, number)
    imported = [participant for participant in order if participant.name in used_bytes]
    while imported and sum(used_bytes.values()) <= state.memory_budget_bytes:
        participant = imported.pop(0)
        _start(state, participant, attempt, number)
        started = attempt.started.get(participant.name)
        used_bytes[participant.name] = started.resident_bytes if started else 0
    if sum(used_bytes.values()) > state.memory_budget_bytes:
        for each in order:
            each.kill()
        return False
    return True


def _import_together(state: _State, order: Sequence[Participant], number: int) -> dict[str, int]:
    """Let participants begin and import, some at the same time.

    Returns:
        Memory of each in bytes, by name. Importing ends early once their sum exceeds the budget.
    """
    waiting, importing = deque(order), list[Participant]()
    used_bytes: dict[str, int] = {}
    while (waiting or importing) and sum(used_bytes.values()) <= state.memory_budget_bytes:
        while waiting and len(importing) < state.n_importing:
            importing.append(waiting.popleft())
            importing[-1].begin(number)
        for participant in list(importing):
            try:
                found = participant.wait_imported(LOOK_S)
            except WorkerError as error:
                importing.remove(participant)
                state.fail(participant, error)
                continue
            if found is not None:
                importing.remove(participant)
                used_bytes[participant.name] = found
    return used_bytes


def _start(state: _State, participant: Participant, attempt: _Attempt, number: int) -> None:
    try:
        attempt.started[participant.name] = participant.start(number)
        attempt.blocks[participant.name] = []
    except WorkerError as error:
        state.fail(participant, error)


def _run_rounds(state: _State, attempt: _Attempt, number: int) -> None:
    """Run rounds until enough are clean; counters, never latencies, decide what runs again for all."""
    shuffler = random.Random(f"{state.protocol.seed}:{number}:rounds")  # noqa: S311 - an order, not a secret
    rounds: list[Round] = []
    unjudged: list[Round] = []
    wanted = state.protocol.rounds
    least = min(LEAST_ROUNDS, wanted)
    while state.alive and not are_enough(rounds, wanted) and not (len(rounds) >= least and state.is_spent()):
        rounds.append(_run_round(state, attempt, len(rounds), shuffler))
        unjudged.append(rounds[-1])
        if sum(each.wall_ns for each in unjudged) >= TICKED_NS or are_enough(rounds, wanted):
            judge_together(unjudged)  # may leave too few clean ones again
            unjudged = []
    for each in rounds:
        for name, placed in each.place():
            attempt.blocks[name].append(placed)


def _run_round(state: _State, attempt: _Attempt, number: int, shuffler: random.Random) -> Round:
    """Run one block of every variant of every participant."""
    turns = [
        (participant, warm_up)
        for participant in state.alive
        for warm_up in attempt.started[participant.name].warm_ups
    ]
    current = Round(number, state.probe())
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
            current.blocks.append((participant.name, position, participant.run_block(request)))
        except WorkerError as error:
            state.fail(participant, error)
    current.is_dirty = is_disturbed([block for _, _, block in current.blocks])
    return current


def _finish(state: _State, attempt: _Attempt) -> None:
    for participant in list(state.alive):
        try:
            attempt.finished[participant.name] = participant.finish()
        except WorkerError as error:
            state.fail(participant, error)


def _run_alone(state: _State, participant: Participant, attempt: _Attempt, number: int) -> None:
    """Run all rounds of one participant with no other in memory: still paired by round, but wider."""
    # Each participant has its own rounds here, so core-to-core latencies cannot be judged together.
    alone = _State(
        [participant],
        state.protocol,
        math.inf,
        state.pause,
        lambda: None,
        is_spent=state.is_spent,
        shapes=state.shapes,
    )
    _start(alone, participant, attempt, number)
    if alone.alive:
        _run_rounds(alone, attempt, number)
        _finish(alone, attempt)
    if alone.failures:
        failure = alone.failures[participant.name]
        state.fail(participant, WorkerError(failure.reason, detail=failure.detail))


def _shuffled(participants: Sequence[Participant], seed: str) -> list[Participant]:
    return random.Random(seed).sample(list(participants), k=len(participants))  # noqa: S311 - an order
