"""A decision's "what if" in words: its sliders, its answers, and the command behind each place."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from bakeoff.plural import count
from bakeoff.report.text.decision import headline
from bakeoff.report.text.units import clean, format_percent

if TYPE_CHECKING:
    from bakeoff.core.config.settings import DecisionSettings
    from bakeoff.core.decision.decide import Decision
    from bakeoff.core.decision.what_if import MovedOutcome, WhatIf

_NAMED = 6  # as many names as a sentence can hold


class Slider(NamedTuple):
    """One setting that a reader moves.

    Attributes:
        id: Name of its element.
        texts: Text of each value; the numbers of the values are the places of the slider.
        now: Number of the value of the settings.
        unit: What the numbers at both ends mean.
    """

    id: str
    label: str
    texts: tuple[str, ...]
    now: int
    unit: str


class WhatIfPanel(NamedTuple):
    """Everything that the page needs to look up an answer.

    Attributes:
        sliders: One or two sliders.
        notes: Sentences about what moves and what does not.
        data: The grid as JSON, for the script.
    """

    sliders: tuple[Slider, ...]
    notes: tuple[str, ...]
    data: str


def describe_what_if(decision: Decision, commands: Sequence[str] = ()) -> WhatIfPanel | None:
    """Describe the grid of a decision; None if it has none.

    Args:
        decision: Decision with its grid.
        commands: Commands that repeat the decision; with ``bakeoff decide`` among them, each place of the
            grid has its command.
    """
    grid = decision.what_if
    if grid is None:
        return None
    value, limit = _value_slider(decision, grid), _limit_slider(grid)
    sliders = (limit,) if value is None else (value, limit)
    base = next((each for each in commands if each.startswith("bakeoff decide")), None)
    return WhatIfPanel(
        sliders=sliders,
        notes=_list_notes(decision, grid),
        data=json.dumps(
            {"texts": {each.id: each.texts for each in sliders}, **_gather(decision, grid, base)},
            ensure_ascii=False,
            separators=(",", ":"),
        ),
    )


def describe_outcome(decision: Decision, found: MovedOutcome) -> str:
    """Say what ``decide`` would name, without a full stop: ``A wins``, ``A and B are tied``."""
    labels = [row.label for row in decision.standings]
    if found.winner is not None:
        how = f", the fastest of {len(found.tied) + 1} that are tied" if found.tied else ""
        return f"{labels[found.winner]} wins{how}"
    if found.outcome == "tie":
        return f"{_join([labels[n] for n in found.tied])} are tied"
    others = [labels[n] for n in found.undecided if n != found.best_so_far]
    if found.best_so_far is not None:
        may = f"; {_join(others)} may still be better" if others else "; its own constraint is undecided"
        return f"{labels[found.best_so_far]} is the best so far{may}"
    if others:
        return f"{_join(others)} may meet every constraint, which is undecided"
    return "no candidate may win"


def _gather(decision: Decision, grid: WhatIf, base: str | None) -> dict[str, Any]:
    settings = decision.settings
    values, limits = range(len(grid.found)), range(len(grid.limits_ms))
    commands: dict[str, Any] = {}
    if base is not None:
        commands = {
            "base": base,
            "values": [_override(settings, grid.settings_at(settings, n, grid.limit_now)) for n in values],
            "limits": [_override(settings, grid.settings_at(settings, grid.value_now, n)) for n in limits],
        }
    return {
        "found": grid.found,
        "p": [[_describe_share(share) for share in row] for row in grid.p_best],
        "outcomes": [
            {
                "text": clean(describe_outcome(decision, each)),
                **each.model_dump(mode="json", exclude={"outcome"}),
            }
            for each in grid.outcomes
        ],
        "now": [grid.value_now, grid.limit_now],
        "decided": clean(f"The decision itself: {headline(decision)}."),
        "commands": commands,
    }


def _describe_share(share: float) -> str:
    return f", best in {format_percent(share)} of resamples" if share else ""


def _override(settings: DecisionSettings, moved: DecisionSettings) -> str:
    """Write the option of ``bakeoff decide`` that moves a setting; empty if nothing moves."""
    options = []
    for name in ("objective", "constraints"):
        if getattr(settings, name) != getattr(moved, name):
            value = json.dumps(moved.model_dump(mode="json", exclude_none=True)[name])
            options.append(f" --set {shlex.quote(f'decision.{name}={value}')}")
    return "".join(options)


def _value_slider(decision: Decision, grid: WhatIf) -> Slider | None:
    metric = decision.metric.label if decision.metric is not None else "quality"
    if grid.moved == "quality share":
        texts = tuple(f"{share:.3g} {metric}, {1 - share:.3g} latency" for share in grid.values)
        label, unit = f"Weight of {metric} against latency", f"only latency – only {metric}"
    elif grid.moved == "accuracy threshold":
        texts = tuple(f"{each:.3g}" for each in grid.values)
        label, unit = "Accuracy threshold", "the most accurate alone – all count as equally accurate"
    else:
        return None
    return Slider("what-if-value", label, texts, grid.value_now, unit)


def _limit_slider(grid: WhatIf) -> Slider:
    texts = tuple("no limit" if limit is None else f"{limit:g} ms" for limit in grid.limits_ms)
    label = f"Limit of the p{grid.quantile * 100:g} latency at batch size {grid.batch_size}"
    return Slider("what-if-limit", label, texts, grid.limit_now, "the fastest alone – no limit")


_WITHOUT_WEIGHT: Mapping[str, str] = {
    "cost": "The objective is the least cost, which has no weight. Only the latency limit moves.",
    "fastest": "The objective ranks by speed alone, which has no weight. Only the latency limit moves.",
}


def _list_notes(decision: Decision, grid: WhatIf) -> tuple[str, ...]:
    cells = count(len(grid.found) * len(grid.limits_ms), "pair", "pairs") + " of values"
    if grid.moved is None:
        cells = count(len(grid.limits_ms), "value")
    notes = [
        f"bakeoff decided at {cells}, with the same resamples as this decision. The sliders look these up.",
        *([_WITHOUT_WEIGHT[decision.settings.objective.kind]] if grid.moved is None else []),
    ]
    if decision.incomplete:
        notes.append("Candidates that are excluded from the ranking take no part here either.")
    return tuple(notes)


def _join(labels: Sequence[str]) -> str:
    shown = list(labels[:_NAMED])
    if len(labels) > _NAMED:
        shown.append(count(len(labels) - _NAMED, "other"))
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
