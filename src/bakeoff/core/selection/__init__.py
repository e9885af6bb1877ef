"""Selection: the best trial of the best study group of each backbone, with a refit that is certain."""

from bakeoff.core.selection.select import (
    crown_champions,
    find_best_trial,
    hold_contests,
    leaders_of,
    select_champion_per_backbone,
    select_champions_for_backbones,
)
from bakeoff.core.selection.study_groups import SelectionRules

__all__ = [
    "SelectionRules",
    "crown_champions",
    "find_best_trial",
    "hold_contests",
    "leaders_of",
    "select_champion_per_backbone",
    "select_champions_for_backbones",
]
