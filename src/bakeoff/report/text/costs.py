"""Costs in words: memory, size, start-up, energy and money, the same figures for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from bakeoff.report.text.decision import KeyFigure
from bakeoff.report.text.units import ABSENT, format_bytes, format_energy, format_money, format_ms

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.standings import Standing
    from bakeoff.core.estimate import Estimate

_COSTS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "memory_run_bytes": ("memory", format_bytes),
    "model_size_bytes": ("model size", format_bytes),
    "load_ms": ("load time", format_ms),
    "first_call_ms": ("first call", format_ms),
    "warmup_ms": ("warm-up", format_ms),
    "tokenize_p50_ms": ("tokenising a text", format_ms),
    "energy_per_document_uj": ("energy per document", format_energy),
    "cost_per_million": ("per million", format_money),
    "cost_per_million_served": ("per million, served", format_money),
}
# Not every decision holds these, and a terminal has no room for them.
_FURTHER_COSTS = ("first_call_ms", "warmup_ms", "tokenize_p50_ms", "energy_per_document_uj")


def list_costs(decision: Decision, standing: Standing, *, is_brief: bool = False) -> tuple[KeyFigure, ...]:
    """List the costs of a candidate, the same figures for all; an absent one has its reason.

    Money needs a price, and money for served requests also a rate. First call and warm-up are those of the
    smallest batch size: only they meet a process that was just loaded.

    Args:
        decision: Decision with the standing.
        standing: Standing of the candidate.
        is_brief: Skip first call, warm-up, tokenisation and energy.
    """
    shown = set(_COSTS) - {
        name for name in _FURTHER_COSTS if is_brief or not any(_cost(row, name) for row in decision.standings)
    }
    if decision.settings.price_per_hour is None:
        shown -= {"cost_per_million", "cost_per_million_served"}
    if not any(row.costs and row.costs.max_rate_per_s for row in decision.standings):
        shown -= {"cost_per_million_served"}
    reasons = standing.costs.absent if standing.costs else {}
    figures = []
    for field, (name, write) in _COSTS.items():
        if field in shown:
            value = _cost(standing, field)
            note = "" if value is not None else reasons.get(field, "not measured")
            figures.append(KeyFigure(name, ABSENT if value is None else write(value), note))
    return tuple(figures)


def _cost(standing: Standing, field: str) -> float | None:
    found: Estimate | Mapping[int, float] | float | None = getattr(standing.costs, field, None)
    if isinstance(found, Mapping):
        return found[min(found)] if found else None
    return found if found is None or isinstance(found, float | int) else found.value


def explain_costs(decision: Decision) -> tuple[str, ...]:
    """Explain the costs that are shown, a sentence each."""
    return tuple(_explain_costs(decision))


def _explain_costs(decision: Decision) -> Iterator[str]:
    rows = decision.standings
    yield "Memory is the peak during the timed calls, without the imports of the runtime’s libraries."
    sizes = [min(row.costs.first_call_ms) for row in rows if row.costs and row.costs.first_call_ms]
    if sizes:
        yield (
            f"First call and warm-up are at batch size {min(sizes)}, which a process runs first. The warm-up "
            "lasts until calls are steady, at least as long as the protocol asks for."
        )
    if not any(_cost(row, "energy_per_document_uj") for row in rows):
        absent = next((row.costs.absent for row in rows if row.costs), {})
        if why := absent.get("energy_per_document_uj"):
            yield f"Energy is not shown: {why}."
    if decision.settings.price_per_hour is not None:
        yield (
            "Money is for a million documents on one instance that never idles, at "
            f"{decision.settings.price_per_hour} per hour."
        )
