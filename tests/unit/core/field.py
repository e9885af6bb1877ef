"""Synthetic candidates, and the decisions that the real ``decide`` makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bakeoff.core.config.decision_rules import Weighted, Weights
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.decide import Decision, decide
from bakeoff.core.decision.standings import Standing
from bakeoff.core.estimate import Estimate
from bakeoff.core.job import Environment, Hardware
from bakeoff.measure.statistics.readings import Reading
from unit.outcomes import count_entities

N_DOCUMENTS = 200
MS = 1e6
FEW = 300  # resamples: enough for what is clear, and quick

HARDWARE = Hardware(machine="x86_64", cpu_model="Example CPU", physical_cores=2, usable_cpus=2)
ENVIRONMENT = Environment(hardware=HARDWARE, libraries={"python": "3.12.1", "torch": "2.9.0"})


def make_entities(recall: float, seed: int) -> Reading:
    """Three entities a document; the same documents are hard for every candidate."""
    hard = np.random.default_rng(7).random((N_DOCUMENTS, 3))
    luck = np.random.default_rng(seed).random((N_DOCUMENTS, 3))
    hits = (0.8 * hard + 0.2 * luck < recall).sum(axis=1)
    return count_entities(hits, 3)


def make_latency(ms: float, seed: int, batch_size: int = 1, repeats: int = 5, calls: int = 80) -> Reading:
    """Log-normal service times, with a process effect of 1 %."""
    generator = np.random.default_rng(seed)
    effects = generator.normal(0, 0.01, (repeats, 1))
    values = ms * MS * np.exp(effects + generator.normal(0, 0.05, (repeats, calls)))
    return Reading(
        quantity="latency",
        unit="ns",
        at={"batch_size": batch_size},
        values=tuple(float(value) for value in values.ravel()),
        repeats=tuple(g for g in range(repeats) for _ in range(calls)),
    )


def make_candidate(name: str, recall: float = 0.8, ms: float = 5.0, **changes: Any) -> Candidate:
    """A candidate; its noise depends on its name alone."""
    seed = sum(ord(letter) * 31**place for place, letter in enumerate(name)) % 2**31
    values: dict[str, Any] = {
        "backbone": name,
        "runtime": "torch-fp32",
        "champion_run_id": f"{seed:032x}",
        "checkpoint_digest": "c" * 64,
        "quality_inputs_digest": "q" * 64,
        "outcomes": make_entities(recall, seed),
        "latency": {1: make_latency(ms, seed)},
        "environment": ENVIRONMENT,
        "benchmark_keys": (f"{name}:quality", f"{name}:latency"),
    }
    return Candidate(**values | changes)


def constant(values: Sequence[float], **more: Any) -> Reading:
    return Reading(values=tuple(values), repeats=(0,) * len(values), **more)


def make_exact(name: str, *, hits: int, ms: float, n: int = 400) -> Candidate:
    """Of four entities so many are right in every document, and every call takes the same time."""
    outcomes = count_entities([hits] * 20, 4)
    latency = constant([ms * MS] * n, quantity="latency", unit="ns", at={"batch_size": 1})
    return make_candidate(name, outcomes=outcomes, latency={1: latency})


def rule(candidates: Sequence[Candidate], **changes: Any) -> Decision:
    return decide(candidates, DecisionSettings(**{"resamples": FEW} | changes))


def weigh(quality: float, latency: float) -> Weighted:
    return Weighted(weights=Weights(quality=quality, latency=latency))


def standing_of(decision: Decision, name: str) -> Standing:
    (found,) = (standing for standing in decision.standings if standing.backbone == name)
    return found


def order_of(decision: Decision) -> list[str]:
    return [standing.backbone for standing in decision.standings]


def score_of(decision: Decision, name: str) -> Estimate:
    """The score of a candidate that has one."""
    score = standing_of(decision, name).score
    assert score is not None
    return score
