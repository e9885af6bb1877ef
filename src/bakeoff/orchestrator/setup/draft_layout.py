"""Draft of a layout file: bakeoff's best guesses, each with a TODO. Every text from the store is quoted."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bakeoff.orchestrator.setup.guess_layout import LayoutGuess
from bakeoff.orchestrator.setup.write_config import quote
from bakeoff.stores.layouts.layout import Source

_FALLBACK_METRIC = "f1"


def draft_layout(guess: LayoutGuess) -> str:
    """Write the text of a layout file that loads as it is."""
    return "\n".join(
        [
            "# Draft of a layout: bakeoff's best guesses. docs/layouts.md shows every field.",
            f"# It was made from {guess.n_runs} runs of experiment {json.dumps(guess.experiment)}.",
            "name: mine",
            "writer: our training code # TODO: name the program that wrote the runs",
            *_draft_trial(guess),
            *_draft_fold(guess),
            *_draft_backbone(guess),
            *_draft_objective(guess),
            *_draft_refit(guess),
            *_draft_checkpoint(guess),
            "",
        ]
    )


def _draft_trial(guess: LayoutGuess) -> list[str]:
    lines = [
        f"trial: # TODO: check that this holds for trials alone; {guess.n_trials} of {guess.n_runs} runs"
    ]
    if guess.kind:
        lines.append(f"  tags: {{{quote(guess.kind.tag)}: {_list(guess.kind.values)}}}")
    if guess.fold:
        lines.append(f"  lacks_tags: {_list([guess.fold])}")
    if guess.metric:
        lines.append(f"  has_metrics: {_list([guess.metric])}")
    elif not guess.kind:
        lines.append(f"  has_metrics: [{_FALLBACK_METRIC}] # TODO: no run has a metric; name the objective")
    if guess.has_parent:
        lines.append("  has_parent: true")
    if guess.number:
        lines.append(f"trial_number: [{_show(guess.number)}] # TODO: check that it numbers trials")
    return lines


def _draft_fold(guess: LayoutGuess) -> list[str]:
    if not guess.fold:
        return []
    lines = [
        "fold: # TODO: check that these are the folds of a trial",
        f"  has_tags: {_list([guess.fold])}",
        f"  number: {quote(guess.fold)}",
    ]
    if guess.folds_beside and guess.number:
        lines.append("  by_trial_number: true # they are not nested in their trial")
    return lines


def _draft_backbone(guess: LayoutGuess) -> list[str]:
    if not guess.backbone:
        return [
            "# TODO: name the tag or param of the backbone; none was found, so the experiment's name counts.",
            f"# Params that vary: {json.dumps(guess.varying)}",
            "backbone: [{field: experiment_name}]",
        ]
    return [
        "backbone: # TODO: check; the first place with a text counts",
        *(f"  - {_show(source)}" for source in guess.backbone),
    ]


def _draft_objective(guess: LayoutGuess) -> list[str]:
    if guess.metric_source:
        return [f"metric: [{_show(guess.metric_source)}] # TODO: check that it names the objective"]
    return ["# metric: [{tag: NAME}] # where the objective's name is recorded, if it is"]


def _draft_refit(guess: LayoutGuess) -> list[str]:
    if guess.refit is None:
        return ["refit: {is_trial: true} # TODO: or match, if separate runs hold the checkpoints"]
    match = guess.refit.match
    of_trial = (
        f"[{{tag: {quote(guess.refit.of_trial)}}}]"
        if guess.refit.of_trial
        else "[] # TODO: name the tag with the trial's run id"
    )
    return [
        "refit: # TODO: check that these runs hold the checkpoints",
        "  match:",
        f"    tags: {{{quote(match.tag)}: {_list(match.values)}}}",
        f"  of_trial: {of_trial}",
    ]


def _draft_checkpoint(guess: LayoutGuess) -> list[str]:
    if not guess.artifacts:
        return ["checkpoint:", "  artifacts: [checkpoint] # TODO: none was found; name the artifact"]
    return ["checkpoint:", f"  artifacts: {_list(guess.artifacts)} # TODO: check"]


def _show(source: Source) -> str:
    entries = source.model_dump(exclude_defaults=True).items()
    words = (
        f"{name}: {quote(value) if isinstance(value, str) else str(value).lower()}" for name, value in entries
    )
    return f"{{{', '.join(words)}}}"


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(quote, texts))}]"
