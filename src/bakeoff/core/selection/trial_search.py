"""Branch and bound: queries that find every trial that could win, without reading all trials.

The search asks a store for the trials whose metric is at least as good as a threshold. A group with K values
up to it has its exact stable score. In any other group the rest is worse than the threshold, so its score is
worse than the median of its values filled up with the threshold. Once the best exact score beats all these
bounds, no unread trial can win or tie. Otherwise the search lowers the threshold, or reads one group further.
The threshold comes from a sample, and from a sixteenth of the range before all of it.

Pure: it yields queries and takes pages, so that any store can answer.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bakeoff.core.records import Trial
from bakeoff.core.selection.query import (
    ONE_IN_16,
    FieldName,
    ReadTrials,
    SearchRules,
    StoreProfile,
    TrialPage,
    TrialQuery,
    find_profile,
    spell,
    take_sample,
)
from bakeoff.core.selection.study_groups import (
    OLDEST_SCHEMA,
    STORED_INFINITY,
    Coverage,
    find_newest_version,
    group_trials,
    is_older,
    loss_of,
    median,
    valid_losses,
)

# A backbone with fewer trials in the common sample gets a sample of its own.
MIN_OF_BACKBONE = 30
# Stores with at most this many trials per backbone are read whole: a search would take more requests.
RUNS_PER_BACKBONE = 10
FIRST_SHARE = 0.02
# Number of a backbone's trials to find at first; each step wants more.
FIRST_RUNS = 96
MAX_NARROWINGS = 8
LOWER_BY = 4
# The worst loss that is a number; a store writes infinity as anything beyond it.
WORST_LOSS = math.nextafter(STORED_INFINITY, 0)


Search = Generator[TrialQuery, TrialPage, None]


def search_contest(
    backbones: Sequence[str], rules: SearchRules
) -> Generator[TrialQuery, TrialPage, ReadTrials]:
    """Ask for every trial that could win or tie, and for those that would make the selection an error.

    Args:
        backbones: Backbones that need a champion.
        rules: SearchRules of the selection.

    Yields:
        A query for the store; send its page in.

    Returns:
        The trials that were read. Selecting from them gives the champions, ties and errors of all trials.
    """
    limit = max(rules.whole_runs, RUNS_PER_BACKBONE * len(backbones))
    enough = max(rules.sample_runs, MIN_OF_BACKBONE * len(backbones))
    sample = yield from take_sample(TrialQuery(), replace(rules, sample_runs=enough, whole_runs=limit))
    if not sample.is_cut:
        return ReadTrials(sample.trials, {})
    profile = yield from find_profile(sample.trials, rules)
    trials, coverage = {trial.run_id: trial for trial in sample.trials}, {}
    for backbone in backbones:
        seen = {run_id: trial for run_id, trial in trials.items() if trial.backbone == backbone}
        branch = _Branch(backbone, seen, profile, rules)
        yield from branch.search()
        trials |= branch.seen
        coverage[backbone] = branch.coverage
    return ReadTrials(tuple(trials.values()), coverage)


@dataclass(frozen=True, slots=True)
class _Unsettled:
    """Group that may still win.

    Attributes:
        bound: Best score that the group can have.
        is_exact: Whether the bound is the score, if the group has enough trials.
    """

    bound: float
    study_key_hash: str
    is_exact: bool
    is_derived: bool


class _Branch:
    """Search for the trials of one backbone.

    Args:
        backbone: Name of the backbone.
        seen: Trials of the backbone that were read already.
        profile: Facts that all trials of the store share.
        rules: SearchRules of the selection.
    """

    def __init__(
        self, backbone: str, seen: Mapping[str, Trial], profile: StoreProfile, rules: SearchRules
    ) -> None:
        self.seen = dict(seen)
        self.coverage = Coverage(is_whole=False, reach=-math.inf)
        self._backbone = backbone
        self._profile = profile
        self._rules = rules
        self._n_wanted = FIRST_RUNS
        self._sampled: list[float] = []
        self._whole = TrialQuery(equals={"backbone": backbone})
        # MLflow's filters have no "or": a metric name that only some trials record takes two queries.
        self._arms: tuple[TrialQuery, ...] = (self._whole,)
        if "metric" in profile.mixed:
            named: Mapping[FieldName, str] = {"backbone": backbone, "metric": rules.metric_name}
            self._arms = (replace(self._whole, equals=named), replace(self._whole, lacks=("metric",)))

    def search(self) -> Search:
        """Ask until no unread trial can win."""
        if len(self.seen) < MIN_OF_BACKBONE:
            sample = yield from take_sample(self._whole, self._rules)
            self._see(sample)
            if not sample.is_cut:
                self.coverage = Coverage()
                return
        if not self._profile.is_plain or not (yield from self._settle_profile()):
            yield from self._ask(self._whole, None)
            self.coverage = Coverage()
            return
        self._sampled = self._losses(self._competing())
        while True:
            best, unsettled = self._judge()
            first = unsettled[0] if unsettled else None
            reach = self.coverage.reach
            if reach == math.inf or (best <= reach and first is None):
                return
            if first and not first.is_derived and (first.is_exact or best <= reach):
                yield from self._visit(first.study_key_hash)
            else:
                yield from self._lower()

    def _ask(self, query: TrialQuery, max_runs: int | None) -> Generator[TrialQuery, TrialPage, TrialPage]:
        page = yield replace(query, max_runs=max_runs)
        self._see(page)
        return page

    def _see(self, page: TrialPage) -> None:
        self.seen |= {trial.run_id: trial for trial in page.trials if trial.backbone == self._backbone}

    def _is_alike(self, trial: Trial) -> bool:
        return trial.metric_name == self._rules.metric_name

    def _alike(self) -> list[Trial]:
        return [trial for trial in self.seen.values() if self._is_alike(trial)]

    def _competing(self) -> list[Trial]:
        alike = self._alike()
        if self._rules.selection.settings.allow_mixed_schema_groups:
            return alike
        newest = find_newest_version(alike)
        return [trial for trial in alike if trial.schema_version == newest]

    def _losses(self, trials: Iterable[Trial]) -> list[float]:
        return valid_losses(trials, self._rules.selection.direction)

    # --- facts that the search needs before it compares trials --------------------------------------------

    def _settle_profile(self) -> Generator[TrialQuery, TrialPage, bool]:
        """Find a trial of another direction and the newest schema version.

        Returns:
            Whether queries distinguish trials as reading them does. A text with unusual letters or spaces
            around it differs for a filter, but not for a reader.
        """
        direction = self._rules.selection.direction
        if "direction" in self._profile.mixed:
            for arm in self._arms:
                unlike: Mapping[FieldName, tuple[str, ...]] = {"direction": spell(direction)}
                other = yield from self._ask(replace(arm, unlike=unlike), 1)
                if any(trial.direction == direction for trial in other.trials):
                    return False
        if (
            "schema_version" not in self._rules.recorded
            or self._rules.selection.settings.allow_mixed_schema_groups
        ):
            return True
        newest = find_newest_version(self._alike())
        if "schema_version" not in self._profile.mixed and newest == self._profile.version:
            return not is_older(newest, OLDEST_SCHEMA)
        for arm in self._arms:
            if not (yield from self._find_versions(arm)):
                return False
        return self._keep_to_newest()

    def _find_versions(self, arm: TrialQuery) -> Generator[TrialQuery, TrialPage, bool]:
        """Read a trial of every schema version, and return whether queries distinguish the versions."""
        while True:
            known = {trial.schema_version for trial in self._alike() if not trial.study_key_is_derived}
            unlike: Mapping[FieldName, tuple[str, ...]] = {
                "schema_version": tuple(sorted(known)) or ("",),
                "study_key": ("",),  # a recorded version counts only together with a study key
            }
            other = yield from self._ask(replace(arm, unlike=unlike), 1)
            if not other.trials:
                return True
            if known.issuperset(trial.schema_version for trial in other.trials if self._is_alike(trial)):
                return False

    def _keep_to_newest(self) -> bool:
        """Restrict queries to the newest schema version, and return whether no unrecorded one is newer."""
        newest = find_newest_version(self._alike())
        if newest and newest != OLDEST_SCHEMA:
            if is_older(newest, OLDEST_SCHEMA):
                return False
            self._arms = tuple(
                replace(arm, equals={**arm.equals, "schema_version": newest}) for arm in self._arms
            )
        return True

    # --- bounds -------------------------------------------------------------------------------------------

    def _judge(self) -> tuple[float, list[_Unsettled]]:
        """Return the best certain score, and the groups that may still reach it, the likeliest first."""
        settings = self._rules.selection.settings
        best, unsettled = math.inf, []
        for (_, study_key_hash, _), trials in group_trials(self._competing()).items():
            losses, reach = self._losses(trials), self.coverage.reach_of(study_key_hash)
            certain = [loss for loss in losses if loss <= reach][: settings.top_k]
            is_exact = len(certain) == settings.top_k
            if is_exact and len(losses) >= settings.min_trials_per_group:
                best = min(best, median(certain))
            elif reach < math.inf and len(certain) > (settings.top_k - 1) // 2:
                bound = median([*certain, *[reach] * (settings.top_k - len(certain))])
                is_derived = any(trial.study_key_is_derived for trial in trials)
                unsettled.append(_Unsettled(bound, study_key_hash, is_exact, is_derived))
            # Any other group scores worse than ``reach``, like one without a trial that was read.
        able = [group for group in unsettled if group.bound <= best]
        return best, sorted(able, key=lambda group: (group.bound, group.study_key_hash))

    # --- reading more -------------------------------------------------------------------------------------

    def _lower(self) -> Search:
        """Read further in all groups: as far as some more trials are expected, in the end everything."""
        reach, sampled = self.coverage.reach, self._sampled
        n_inside = sum(loss <= reach for loss in sampled)
        rank = max(1, math.ceil(FIRST_SHARE * len(sampled)), LOWER_BY * n_inside)
        target = sampled[rank - 1] if rank <= len(sampled) else math.inf
        reach = yield from self._read_range(self._arms, reach, target)
        self.coverage = self.coverage.replace(reach=reach)
        self._n_wanted *= LOWER_BY

    def _visit(self, study_key_hash: str) -> Search:
        """Read enough valid trials of one group, the best ones for certain."""
        settings = self._rules.selection.settings
        arms = tuple(replace(arm, equals={**arm.equals, "study_key": study_key_hash}) for arm in self._arms)
        start = self.coverage.reach_of(study_key_hash)
        limit = max(self._rules.range_runs, settings.min_trials_per_group)
        _, is_cut = yield from self._ask_range(arms, start, math.inf, limit)
        members = [trial for trial in self._competing() if trial.study_key_hash == study_key_hash]
        lines = [self._losses(trials) for trials in group_trials(members).values()]
        reach = math.inf
        if is_cut and all(len(line) >= settings.min_trials_per_group for line in lines):
            reach = max(line[settings.top_k - 1] for line in lines)
            if reach > start:
                reach = yield from self._read_range(arms, start, reach)
            reach = max(reach, start)
        elif is_cut:
            yield from self._ask_range(arms, start, math.inf, None)
        more = {**self.coverage.group_reach, study_key_hash: reach}
        self.coverage = self.coverage.replace(group_reach=more)

    def _read_range(
        self, arms: Sequence[TrialQuery], start: float, target: float
    ) -> Generator[TrialQuery, TrialPage, float]:
        """Read every valid trial beyond one loss up to another, or up to a better one if there are too many.

        Returns:
            The loss up to which all valid trials were read.
        """
        limit = max(self._rules.range_runs, 2 * self._n_wanted)
        for number in range(MAX_NARROWINGS):
            prefix = "" if number % 2 else ONE_IN_16
            trials, is_cut = yield from self._ask_range(arms, start, target, limit, id_prefix=prefix)
            if not prefix and not is_cut:
                return target
            losses = [loss for loss in self._losses(trials) if start < loss < target]
            rank = math.ceil(self._n_wanted / 16)
            if rank <= len(losses):
                target = losses[rank - 1]
            elif is_cut and start < -STORED_INFINITY:
                start = -STORED_INFINITY  # infinitely good trials are not valid, and may be many
            elif is_cut:
                break
        yield from self._ask_range(arms, start, target, None)
        return target

    def _ask_range(
        self,
        arms: Sequence[TrialQuery],
        start: float,
        target: float,
        max_runs: int | None,
        *,
        id_prefix: str = "",
    ) -> Generator[TrialQuery, TrialPage, tuple[list[Trial], bool]]:
        """Ask for the trials with a loss beyond ``start`` up to ``target``, and whether more exist."""
        direction, is_cut = self._rules.selection.direction, False
        found: list[Trial] = []
        for arm in arms:
            query = replace(
                arm,
                reaches=loss_of(min(target, WORST_LOSS), direction),
                short_of=None if math.isinf(start) else loss_of(start, direction),
                id_prefix=id_prefix,
            )
            page = yield from self._ask(query, max_runs)
            found += page.trials
            is_cut = is_cut or page.is_cut
        return found, is_cut
