"""Gates of the verdict, each as a chip: a mark, a word, the limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from bakeoff.plural import count
from bakeoff.report.text.decision import MET_MARK, describe_constraint
from bakeoff.report.text.flags import group_flags
from bakeoff.report.text.units import NOT_MEASURED

if TYPE_CHECKING:
    from bakeoff.core.decision.constraints import Met
    from bakeoff.core.decision.decide import Decision


class GateChip(NamedTuple):
    """One chip.

    Attributes:
        word: Same meaning as the mark, for readers who do not see it.
        text: Condition to pass.
        anchor: Section of the page with the details.
    """

    result: Met
    mark: str
    word: str
    text: str
    anchor: str


def list_gates(decision: Decision) -> tuple[GateChip, ...]:
    """List the constraints, of the winner or else of all, missing quality, and the state of measurements."""
    return (*_list_constraints(decision), *_list_missing_quality(decision), _judge_measurements(decision))


def _list_constraints(decision: Decision) -> tuple[GateChip, ...]:
    winner = decision.winning_standing
    gates = []
    for number, limit in enumerate(decision.settings.constraints):
        results = [row.constraints[number].result for row in decision.standings]
        text = describe_constraint(limit, decision.metric)
        if winner is not None:
            result = winner.constraints[number].result
            gates.append(GateChip(result, MET_MARK[result], result, text, "constraints"))
            continue
        n_met = results.count("met")
        result = "met" if n_met else "cannot tell" if "cannot tell" in results else "failed"
        word = f"met by {n_met} of {len(results)}"
        gates.append(GateChip(result, MET_MARK[result], word, text, "constraints"))
    return tuple(gates)


def _list_missing_quality(decision: Decision) -> tuple[GateChip, ...]:
    """Warn if the quality of the winner, or else of any candidate, was not measured."""
    missing, winner = decision.without_quality, decision.winner
    if not missing or (winner is not None and winner not in missing):
        return ()
    name = "quality" if winner is not None else f"quality of {count(len(missing), 'candidate')}"
    return (GateChip("cannot tell", MET_MARK["cannot tell"], NOT_MEASURED, name, "candidates"),)


def _judge_measurements(decision: Decision) -> GateChip:
    invalid = [group for group in group_flags(decision) if group.invalidates]
    if not invalid:
        return GateChip("met", MET_MARK["met"], "valid", "all measurements", "trust")
    labels = {label for group in invalid for label in group.candidates}
    names = ", ".join(group.name for group in invalid)
    text = f"measurements of {count(len(labels), 'candidate')}: {names}"
    return GateChip("cannot tell", MET_MARK["cannot tell"], "low confidence", text, "trust")
