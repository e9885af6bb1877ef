"""Production: the version in production, and the distance of each candidate from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bakeoff.core.config.decision_rules import Basis
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.bootstrap import RelativeLatency, estimate_all, estimate_known
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.estimate import Estimate
from bakeoff.core.quality import Draws
from bakeoff.record import Record

NOT_MEASURED = "not measured"
NOT_ASKED = "the registry was not asked for the version in production"


class Production(Record):
    """Version that the alias ``@champion`` names, and its candidate.

    Attributes:
        model: Name of the registered model.
        version: Number of the version; None if no version is known to be in production.
        checkpoint_digest: Digest from the version's tag.
        runtime: Runtime from the version's tag.
        benchmark_keys: Benchmark keys of the measurements with which it won.
        label: Candidate that is this version; None if it was not measured.
        reason: Reason why ``label`` is None, or an empty text.
    """

    model: str = ""
    version: str | None = None
    checkpoint_digest: str = ""
    runtime: str = ""
    benchmark_keys: tuple[str, ...] = ()
    label: str | None = None
    reason: str = NOT_ASKED


class Distance(Record):
    """Distance of a candidate from the one in production, which itself has intervals without width.

    Attributes:
        quality: Quality minus that of production, over the same documents, in units of the metric; None if
            that of either was not measured.
        latency_ratio: Latency divided by that of production: below 1 is faster.
    """

    quality: Estimate | None
    latency_ratio: Estimate


def find_production(production: Production, candidates: Sequence[Candidate]) -> Production:
    """Find the candidate that is in production, or the reason why none is known to be.

    It shares a benchmark key with the version. If it was measured again, checkpoint and runtime must match.
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
        return production.replace(label=found[0].label, reason="")
    what = f"version {production.version} of {production.model}"
    if found:
        reason = f"{what} may be any of {', '.join(sorted(each.label for each in found))}"
    else:
        reason = f"{what} is not among the measured candidates"
    return production.replace(reason=reason)


def measure_distances(
    quality: Draws,
    quality_draws: Draws,
    relative_latency: RelativeLatency,
    base: int,
    settings: DecisionSettings,
) -> list[Distance]:
    """Measure the distance of each candidate from the one in production.

    Args:
        quality: [candidates], as found.
        quality_draws: [resamples, candidates]
        relative_latency: Latencies of the candidates on a common scale.
        base: Number of the one in production.
        settings: Confidence.
    """
    gaps = measure_gaps(quality, quality_draws, base, settings)
    ratios = estimate_all(
        relative_latency.values / relative_latency.values[base],
        relative_latency.draws / relative_latency.draws[:, [base]],
        settings,
    )
    return [Distance(quality=gap, latency_ratio=ratio) for gap, ratio in zip(gaps, ratios, strict=True)]


def measure_gaps(
    quality: Draws, quality_draws: Draws, base: int, settings: DecisionSettings
) -> list[Estimate | None]:
    """Subtract the quality of one candidate from that of each, by the paired bootstrap over documents.

    None for a difference of which a side was not measured.
    """
    return estimate_known(quality - quality[base], quality_draws - quality_draws[:, [base]], settings)


Gaps = Mapping[Basis, Estimate | str]
"""Quality of one candidate minus that of the basis, or the reason why it is not known."""
