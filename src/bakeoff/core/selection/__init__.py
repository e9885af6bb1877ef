"""Selection: the best trial of each backbone's best study group, with a refit that is certain."""

from bakeoff.core.selection.select import (
    find_best_trial,
    find_leading_trials,
    select_champion_per_backbone,
    select_champions_for_backbones,
)

__all__ = [
    "find_best_trial",
    "find_leading_trials",
    "select_champion_per_backbone",
    "select_champions_for_backbones",
]
