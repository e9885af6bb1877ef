"""Champions: the best trial of the best study group, equal on every machine and in every order of runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from bakeoff.core.config.settings import SelectionSettings
from bakeoff.core.records import BackboneSelection, Champion, Flag, PickedTrial, Refit, StudyGroup, Trial
from bakeoff.core.selection.picked import describe_picked
from bakeoff.core.selection.study_groups import (
    WHOLE,
    Coverage,
    GroupName,
    SelectionRules,
    find_newest_version,
    group_trials,
    is_valid_metric,
    judge_group,
    loss_of,
    merge_duplicates,
)
from bakeoff.core.validity.flags import METRIC_OF_OTHER_WEIGHTS
from bakeoff.errors import ConfigError
from bakeoff.measure.tasks.metrics import Direction

FINISHED = "FINISHED"


def select_champions_for_backbones(
    backbones: Sequence[str],
    trials: Sequence[Trial],
    refits: Sequence[Refit],
    rules: SelectionRules,
    coverage: Mapping[str, Coverage] | None = None,
) -> dict[str, BackboneSelection]:
    """Select the champion of each backbone; one without a champion does not stop the others.

    Args:
        backbones: Names of the backbones, matched exactly.
        trials: All trial runs of active experiments, in any order.
        refits: All refit runs of the same experiments, in any order.
        rules: Rules of the selection.
        coverage: Coverage of each backbone with trials that were not read.

    Raises:
        ConfigError: A run records the other direction of the objective.
    """
    return crown_champions(hold_contests(backbones, trials, rules, coverage), refits)


def select_champion_per_backbone(
    backbone: str,
    trials: Iterable[Trial],
    refits: Iterable[Refit],
    rules: SelectionRules,
    coverage: Coverage = WHOLE,
) -> BackboneSelection:
    """Select one backbone's champion: best stable score of the groups, then best metric in the group.

    Arguments and errors are those of ``select_champions_for_backbones``.
    """
    return GroupContest(backbone, trials, rules, coverage).crown(refits)


def hold_contests(
    backbones: Sequence[str],
    trials: Sequence[Trial],
    rules: SelectionRules,
    coverage: Mapping[str, Coverage] | None = None,
) -> dict[str, GroupContest]:
    """Score the study groups of each backbone, and find its leading trial; refits are not needed yet.

    Arguments and errors are those of ``select_champions_for_backbones``.
    """
    read = coverage or {}
    return {
        backbone: GroupContest(backbone, trials, rules, read.get(backbone, WHOLE)) for backbone in backbones
    }


def leaders_of(contests: Mapping[str, GroupContest]) -> tuple[Trial, ...]:
    """Return the trials that become champions if their refits hold: only these refits matter."""
    return tuple(contest.leader for contest in contests.values() if contest.leader is not None)


def crown_champions(
    contests: Mapping[str, GroupContest], refits: Sequence[Refit]
) -> dict[str, BackboneSelection]:
    """Make each leading trial the champion of its backbone, if its refit holds."""
    return {backbone: contest.crown(refits) for backbone, contest in contests.items()}


class GroupContest:
    """Contest of one backbone's study groups.

    Args:
        backbone: Name of the backbone, matched exactly.
        trials: Trial runs, of any backbone.
        rules: Rules of the selection.
        coverage: Share of the backbone's trials that was read.

    Attributes:
        judged: Every group with its score, or the reason why it cannot win.
        winner: Group that won; None without one.
        leader: Best trial of that group, before its refit is checked.
        picked: That trial among the others of its group; None without one.

    Raises:
        ConfigError: A run records the other direction of the objective.
    """

    def __init__(
        self, backbone: str, trials: Iterable[Trial], rules: SelectionRules, coverage: Coverage = WHOLE
    ) -> None:
        self._backbone, self._rules, self._coverage = backbone, rules, coverage
        direction = rules.direction
        mine = merge_duplicates(
            trial for trial in trials if trial.backbone == backbone and trial.status == FINISHED
        )
        judged_alike = [trial for trial in mine if rules.takes(trial.metric_name)]
        _refuse_other_direction(judged_alike, direction)
        self._n_finished = len(mine)
        members = group_trials(mine)
        newest = find_newest_version(judged_alike)
        self.judged = {
            name: judge_group(name, group, rules, newest=newest, coverage=coverage)
            for name, group in sorted(members.items())
        }
        able = [name for name, group in self.judged.items() if group.stable_score is not None]
        best_of = {name: find_best_trial(members[name], direction) for name in able}
        winner = min(
            able, key=lambda name: _group_order(self.judged[name], best_of[name], direction), default=None
        )
        self.winner = self.judged[winner] if winner else None
        self.leader = best_of[winner] if winner else None
        self._tied_groups = [
            self.judged[name].study_key_hash
            for name in able
            if self.winner and name != winner and self.judged[name].stable_score == self.winner.stable_score
        ]
        self._tied_trials = _tied_trials(members[winner], best_of[winner]) if winner else []
        self.picked: PickedTrial | None = (
            describe_picked(best_of[winner], members[winner]) if winner else None
        )

    def crown(self, refits: Iterable[Refit]) -> BackboneSelection:
        """Make the leading trial the champion, if its refit holds."""
        settings = self._rules.settings
        metadata: dict[str, object] = {
            "direction": self._rules.direction,
            "n_finished_trials": self._n_finished,
            "n_duplicates": sum(group.n_duplicates for group in self.judged.values()),
            "n_groups": len(self.judged),
            "top_k": settings.top_k,
            "min_trials_per_group": settings.min_trials_per_group,
        }
        champion = None
        if self.leader is None or self.winner is None:
            reason: str | None = _why_no_group(self._backbone, self.judged)
        else:
            metadata |= {"tied_groups": self._tied_groups, "tied_trials": self._tied_trials}
            refit, reason = _find_refit(self.leader, refits, settings)
            champion = _crown(self.leader, refit, self.winner) if refit else None
        return BackboneSelection(
            backbone=self._backbone,
            champion=champion,
            all_groups=tuple(self.judged.values()),
            selection_metadata=metadata,
            picked=self.picked,
            reason=reason,
            is_whole=self._coverage.is_whole,
        )


def find_best_trial(trials: Iterable[Trial], direction: Direction) -> Trial:
    """Find the best valid trial; ties go to the earliest start, then the lowest run id.

    Raises:
        ValueError: No trial is finished with a finite metric.
    """
    return min(
        (trial for trial in trials if trial.status == FINISHED and is_valid_metric(trial.metric)),
        key=lambda trial: (loss_of(trial.metric or 0.0, direction), trial.start_time_ms, trial.run_id),
    )


def _refuse_other_direction(trials: Iterable[Trial], direction: Direction) -> None:
    faults = [
        f"run {trial.run_id} of experiment {trial.experiment_name!r} has objective.direction "
        f"{trial.direction!r}, but the configuration has {direction!r}; "
        "correct hpo.objective.direction, or select from another experiment"
        for trial in trials
        if trial.direction not in (None, direction)
    ]
    if faults:
        raise ConfigError(sorted(faults)[:3])


def _group_order(group: StudyGroup, best: Trial, direction: Direction) -> tuple[float, int, str]:
    if group.stable_score is None:
        raise ValueError("an excluded group has no place in the order")
    return (loss_of(group.stable_score, direction), best.start_time_ms, best.run_id)


def _tied_trials(trials: Iterable[Trial], best: Trial) -> list[str]:
    return sorted(
        trial.run_id for trial in trials if trial.metric == best.metric and trial.run_id != best.run_id
    )


def _why_no_group(backbone: str, judged: Mapping[GroupName, StudyGroup]) -> str:
    if not judged:
        return f"no finished trial of backbone {backbone!r}"
    return "; ".join(f"group {group.study_key_hash[:12]}: {group.left_out}" for group in judged.values())


def _find_refit(
    trial: Trial, refits: Iterable[Refit], settings: SelectionSettings
) -> tuple[Refit | None, str | None]:
    mine = sorted(
        (refit for refit in refits if _is_refit_of(trial, refit)),
        key=lambda refit: (refit.of_trial_run_id != trial.run_id, refit.start_time_ms, refit.run_id),
    )
    finished = [refit for refit in mine if refit.status == FINISHED]
    ready = [
        refit for refit in finished if refit.artifact_available or not settings.require_artifact_available
    ]
    if ready:
        return ready[0], None
    if finished:
        first = finished[0]
        if first.missing_location:
            missing = f"its artifact location {first.missing_location} does not exist"
            return None, f"refit {first.run_id} of the best trial {trial.run_id}: {missing}"
        held = f"refit {first.run_id} of the best trial {trial.run_id} holds no checkpoint"
        return None, f"{held} ({first.checkpoint_artifact})"
    if mine:
        states = ", ".join(sorted({refit.status for refit in mine}))
        return None, f"the refit of the best trial {trial.run_id} is not finished ({states})"
    return None, f"the best trial {trial.run_id} has no refit"


def _is_refit_of(trial: Trial, refit: Refit) -> bool:
    """Return whether a refit belongs to a trial, or to another run that logged the same trial.

    A run that is both trial and refit must have the trial's metric, or its weights are different ones.
    """
    named = refit.of_trial_run_id
    if named == trial.run_id:
        return True
    is_own_refit = refit.run_id == named
    return named in trial.duplicates and (not is_own_refit or trial.duplicates[named] == trial.metric)


def _judge_best(trial: Trial, refit: Refit) -> tuple[float | None, tuple[Flag, ...]]:
    """Return the metric of the checkpoint that ships, with a flag if the checkpoint may have another one."""
    best = refit.best_checkpoint
    if best is None:
        return trial.metric, ()
    if best.is_taken and best.metric is not None:
        return best.metric, ()
    metric = f"{trial.metric_name} {trial.metric}"
    detail = f"{metric} was logged last; the checkpoint is {best.name}, chosen by another metric"
    if not best.is_taken:
        detail = f"{metric} may be that of {best.name}, which was not logged; {refit.checkpoint_artifact} was"
    return trial.metric, (METRIC_OF_OTHER_WEIGHTS.raised(detail),)


def _crown(trial: Trial, refit: Refit, group: StudyGroup) -> Champion:
    metric, flags = _judge_best(trial, refit)
    if metric is None or group.stable_score is None:
        raise ValueError("a champion has a metric and its group a score")
    return Champion(
        backbone=trial.backbone,
        run_id=refit.run_id,
        trial_run_id=trial.run_id,
        refit_run_id=refit.run_id,
        sweep_run_id=trial.sweep_run_id,
        study_key_hash=trial.study_key_hash,
        trial_key_hash=trial.trial_key_hash,
        metric=metric,
        metric_name=trial.metric_name,
        stable_score=group.stable_score,
        fold_metrics=tuple(value if math.isfinite(value) else None for value in trial.fold_metrics),
        evaluation=trial.evaluation,
        is_refitted=refit.run_id != refit.of_trial_run_id,
        flags=flags,
        schema_version=trial.schema_version,
        data_fingerprint=trial.data_fingerprint,
        eval_fingerprint=trial.eval_fingerprint,
        refit_metric=refit.test_metric,
        checkpoint_artifact=refit.checkpoint_artifact,
        checkpoint_digest=refit.checkpoint_digest,
        experiment_id=trial.experiment_id,
        experiment_name=trial.experiment_name,
    )
