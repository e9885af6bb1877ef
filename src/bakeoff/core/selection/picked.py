"""The picked trial among the others of its study group: hyper-parameters and scores, both of bounded size."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.core.records import PickedTrial, Trial
from bakeoff.core.selection.study_groups import is_valid_metric

MOST_SCORES = 300
MOST_PARAMS = 100
MOST_FOLDS = 100
MOST_CHARS = 200
# So many trials show which hyper-parameters a sweep varies.
_COMPARED_TRIALS = 200


def describe_picked(picked: Trial, group: Sequence[Trial]) -> PickedTrial:
    """Describe the best trial of a study group, and the scores of the group.

    Args:
        picked: Trial of the group with a valid metric.
        group: Finished trials of the group, as far as they were read.
    """
    scores = sorted(each.metric for each in group if each.metric is not None and is_valid_metric(each.metric))
    varied = _find_varied(picked, group)
    names = [*sorted(varied), *sorted(picked.params.keys() - varied)][:MOST_PARAMS]
    return PickedTrial(
        metric=picked.metric or 0.0,
        metric_name=picked.metric_name,
        folds=tuple(filter(is_valid_metric, picked.fold_metrics[:MOST_FOLDS])),
        params=tuple((_cut(name), _cut(picked.params[name])) for name in names),
        n_varied=min(len(varied), MOST_PARAMS),
        n_params=len(picked.params),
        scores=tuple(_thin(scores)),
        n_scores=len(scores),
    )


def _find_varied(picked: Trial, group: Sequence[Trial]) -> set[str]:
    """Find the hyper-parameters of a trial that others have with another value; some log none at all."""
    others = [each.params for each in group[:_COMPARED_TRIALS] if each.params]
    return {
        name
        for name, value in picked.params.items()
        if any(each.get(name, value) != value for each in others)
    }


def _thin(scores: Sequence[float]) -> list[float]:
    """Keep at most as many scores as a drawing shows, at equal distances in their order, with both ends."""
    if len(scores) <= MOST_SCORES:
        return list(scores)
    last = len(scores) - 1
    return [scores[round(number * last / (MOST_SCORES - 1))] for number in range(MOST_SCORES)]


def _cut(text: str) -> str:
    return text if len(text) <= MOST_CHARS else f"{text[: MOST_CHARS - 1]}…"
