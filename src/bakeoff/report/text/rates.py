"""Rates: documents and requests per second of each candidate, and response times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from bakeoff.report.text.units import ABSENT, format_number_of_ms, latency_interval, name_limit

if TYPE_CHECKING:
    from bakeoff.core.decision.costs import Costs
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.standings import Standing
    from bakeoff.core.estimate import Estimate

LOWER_BOUND = "≥ "


class RateFigure(NamedTuple):
    """One rate or response time.

    Attributes:
        name: Name with the unit and the conditions.
        interval: Empty without a figure.
        note: Reason why the figure is absent; else empty.
    """

    name: str
    value: str
    interval: str
    note: str


def list_rates(decision: Decision, standing: Standing) -> tuple[RateFigure, ...]:
    """List the figures of throughput and server, the same for all, as far as they were measured."""
    measured = [row.costs for row in decision.standings if row.costs]
    size = next((each.throughput_batch_size for each in measured if each.throughput_batch_size), None)
    served = next((each.served for each in measured if each.served), None)
    costs = standing.costs
    mine = costs.served if costs else None
    figures: list[RateFigure] = []
    if any(each.documents_per_s for each in measured):
        name = "documents/s" if size is None else f"documents/s, batch {size}"
        figures.append(_figure(name, costs, "documents_per_s"))
    if served is None and not any(each.max_rate_per_s for each in measured):
        return tuple(figures)
    limit = f", {name_limit(served.quantile, served.limit_ms)}" if served else ""
    figures.append(_figure(f"requests/s{limit}", costs, "max_rate_per_s"))
    if served is not None:
        why = figures[-1].note or "too few responses for this quantile"
        figures.append(_describe("response p50, ms", mine.response_p50_ms if mine else None, why))
        figures.append(_describe("response p99, ms", mine.response_p99_ms if mine else None, why))
    return tuple(figures)


def explain_rates(decision: Decision) -> tuple[str, ...]:
    """Explain the figures that are shown, a sentence each."""
    return tuple(_explain(decision))


def _explain(decision: Decision) -> Iterator[str]:
    measured = [row.costs for row in decision.standings if row.costs]
    if any(each.documents_per_s for each in measured):
        yield "Documents per second come from calls one after the other, over all texts."
    if any(each.served for each in measured):
        yield (
            "Requests per second are the highest rate at which one instance keeps the limit, with random "
            "arrivals. Response times count from the scheduled arrival, at the rate that each process found; "
            "they include waiting."
        )
    if any(each.is_contended and (each.documents_per_s or each.max_rate_per_s) for each in measured):
        yield f"{LOWER_BOUND.strip()} marks a rate that is too low: other work took part of the machine."


def _figure(name: str, costs: Costs | None, field: str) -> RateFigure:
    found: Estimate | None = getattr(costs, field) if costs else None
    why = costs.absent.get(field, "not measured") if costs else "not measured"
    return _describe(name, found, why, bound=LOWER_BOUND if costs and costs.is_contended else "")


def _describe(name: str, found: Estimate | None, why: str, bound: str = "") -> RateFigure:
    if found is None:
        return RateFigure(name, ABSENT, "", why)
    return RateFigure(name, f"{bound}{format_number_of_ms(found.value)}", latency_interval(found), "")
