"""What is in production now, and how far each candidate is from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bakeoff.core.config.decision_rules import Basis
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.bootstrap import Draws, RelativeLatency, estimate_all
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.estimate import Estimate
from bakeoff.measure.scenarios.quality import f1_of
from bakeoff.record import Record

NOT_ASKED = "nobody asked the registry what is in production"


class Production(Record):
    """The version that the alias ``@champion`` names, and which candidate it is.

    Attributes:
        model: Name of the registered model.
        version: Number of the version; None where nothing is known to be in production.
        checkpoint_digest: As the version's tag tells it.
        runtime: As the version's tag tells it.
        benchmark_keys: Of the measurements with which it won.
        label: The candidate that it is; None where it is not among the measured.
        reason: Why ``label`` is None; empty where it is not.
    """

    model: str = ""
    version: str | None = None
    checkpoint_digest: str = ""
    runtime: str = ""
    benchmark_keys: tuple[str, ...] = ()
    label: str | None = None
    reason: str = NOT_ASKED


class Distance(Record):
    """How far a candidate is from the one in production; of that one itself without any width.

    Attributes:
        quality: F1 minus that of production, over the same documents.
        latency_ratio: Latency divided by that of production: below 1 is faster.
    """

    quality: Estimate
    latency_ratio: Estimate


def find_production(production: Production, candidates: Sequence[Candidate]) -> Production:
    """Say which of the candidates is in production, or why none is known to be.

    It is the candidate of one of whose measurements the version knows; else, where it was measured anew, the
    one of the same checkpoint and runtime.
    """
    if production.version is None:
        return production
    keys = set(production.benchmark_keys)
    found = [each for each in candidates if keys & set(each.benchmark_keys)] or [
        each
        for each in candidates
        if production.checkpoint_digest
        and (each.checkpoint_digest, each.runtime) == (production.checkpoint_digest, production.runtime)
    ]
    if len(found) == 1:
        return production.model_copy(update={"label": found[0].label, "reason": ""})
    what = f"version {production.version} of {production.model}"
    if found:
        reason = f"{what} may be any of {', '.join(sorted(each.label for each in found))}"
    else:
        reason = f"{what} is not among the measured candidates"
    return production.model_copy(update={"reason": reason})


def measure_distances(
    candidates: Sequence[Candidate],
    base: int,
    quality_draws: Draws,
    relative_latency: RelativeLatency,
    settings: DecisionSettings,
) -> list[Distance]:
    """The distance of each candidate from one of them.

    Args:
        candidates: In the order of the columns.
        base: Number of the one in production.
        quality_draws: [resamples, candidates]
        relative_latency: Of the candidates.
        settings: Confidence.
    """
    gaps = measure_gaps(candidates, base, quality_draws, settings)
    ratios = estimate_all(
        relative_latency.values / relative_latency.values[base],
        relative_latency.draws / relative_latency.draws[:, [base]],
        settings,
    )
    return [Distance(quality=gap, latency_ratio=ratio) for gap, ratio in zip(gaps, ratios, strict=True)]


def measure_gaps(
    candidates: Sequence[Candidate], base: int, quality_draws: Draws, settings: DecisionSettings
) -> list[Estimate]:
    """F1 of each candidate minus that of one of them, by the paired bootstrap over documents."""
    quality = np.array([f1_of(candidate.entities) for candidate in candidates])
    return estimate_all(quality - quality[base], quality_draws - quality_draws[:, [base]], settings)


Gaps = Mapping[Basis, Estimate | str]
"""Of one candidate: F1 minus that of another, or why it is not known."""
