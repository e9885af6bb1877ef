"""Champions in words: how the metric came about, and where the checkpoint comes from."""

from __future__ import annotations

from bakeoff.core.records import BackboneSelection, Champion
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
