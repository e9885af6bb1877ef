"""Targets that a heat has not met: the intervals that are still too wide."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator

from bakeoff.measure.heats.assemble import LeftOut, assemble_calls
from bakeoff.measure.heats.protocol import Targets
from bakeoff.measure.heats.records import Heat, Unmet
from bakeoff.measure.statistics.intervals import MEDIAN, Interval
from bakeoff.measure.statistics.readings import PASS, ratio_to_reference
from bakeoff.measure.statistics.spreads import Kind


def find_unmet(
    heat: Heat, targets: Targets, left_out: LeftOut, quantity: str, *, among: Collection[str]
) -> Iterator[Unmet]:
    """Find every 95 % interval that is wider than its target, by the rounds that count.

    Each interval holds by itself here. The intervals of several candidates next to a reference hold jointly,
    and are wider.
    """
    kinds: list[Kind] = [(p, "time") for _, p, _ in targets.quantiles]
    kinds += [(MEDIAN, "ratio")] if targets.ratio is not None else []
    by_name = assemble_calls(heat, left_out, quantity, kinds) if kinds else {}
    for name in sorted(by_name.keys() & set(among)):
        for variant, calls, reference in by_name[name]:
            for metric, p, target in targets.quantiles:
                if p == MEDIAN and quantity == PASS:
                    yield from _if_wider(name, variant, "throughput", calls.throughput(), target)
                elif p == MEDIAN or calls.has_tail:
                    yield from _if_wider(name, variant, metric, calls.quantile(p), target)
            if targets.ratio is not None and reference is not None:
                ratio = ratio_to_reference(calls, reference)
                yield from _if_wider(name, variant, "ratio", ratio, targets.ratio)


def _if_wider(name: str, variant: int, metric: str, interval: Interval | None, target: float) -> list[Unmet]:
    half_width = interval.half_width_ratio if interval else math.inf
    if half_width <= target:
        return []
    shown = half_width if math.isfinite(half_width) else None
    return [Unmet(participant=name, variant=variant, metric=metric, half_width=shown, target=target)]
