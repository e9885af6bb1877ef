"""Champions in words: how the metric came about, and where the checkpoint comes from."""

from __future__ import annotations

from bakeoff.core.records import BackboneSelection, Champion, PickedTrial
from bakeoff.plural import count


def name_evaluation(champion: Champion) -> str:
    """Name how a champion's trial was evaluated: ``cross-validated``, ``single split`` or ``as logged``."""
    if champion.evaluation == "cross-validation" or len(champion.fold_metrics) > 1:
        return "cross-validated"
    return "single split" if champion.evaluation == "single split" else "as logged"


def describe_source(champion: Champion) -> str:
    """Describe where a champion's checkpoint comes from."""
    if champion.is_refitted:
        return "the refit of the trial, trained once more on all training data"
    return "the trial's own run; the trial was not refitted"


def list_remarks(selection: BackboneSelection) -> list[str]:
    """List what the reader of a champion must know: duplicates, a missing refit, flags."""
    champion, metadata = selection.champion, selection.selection_metadata
    duplicates = metadata.get("n_duplicates") or 0
    remarks = [f"{count(duplicates, 'duplicate run')} not counted"] if duplicates else []
    if champion is not None:
        remarks += [] if champion.is_refitted else ["not refitted: the trial's own checkpoint"]
        remarks += [f"{flag.name}: {flag.detail}" for flag in champion.flags]
    return remarks


def describe_trials(picked: PickedTrial, direction: str | None = None) -> str:
    """Describe the scores of a study group, for readers who do not see the drawing.

    Args:
        picked: The picked trial, with the scores of its group.
        direction: ``maximize`` or ``minimize``; None if unknown.
    """
    scores, name = picked.scores, picked.metric_name
    better = {"maximize": ", of which more is better", "minimize": ", of which less is better"}
    span = f"from {scores[0]:.4g} to {scores[-1]:.4g}, median {scores[len(scores) // 2]:.4g}"
    trials = f"{name} of {count(picked.n_scores, 'trial')}{better.get(direction or '', '')}"
    lines = [f"{trials}: {span}.", f"The picked trial has {picked.metric:.4g}."]
    if picked.folds:
        lines.append(f"Its folds have {min(picked.folds):.4g} to {max(picked.folds):.4g}.")
    return " ".join(lines)


def describe_thinning(picked: PickedTrial) -> str:
    """Say that only some of many trials are drawn; empty if all are."""
    n_shown = len(picked.scores)
    if n_shown == picked.n_scores:
        return ""
    return f"The drawing shows {n_shown:,} of {picked.n_scores:,} trials, at equal distances in their order."


def list_params(picked: PickedTrial) -> tuple[str, ...]:
    """List hyper-parameters in a line each: those that the sweep varied, or else all that are known."""
    shown = picked.params[: picked.n_varied] or picked.params
    return tuple(f"{name} = {value}" for name, value in shown)
