"""Champions: compared with a brute-force oracle, in every order of the same runs."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.core.config.settings import SelectionSettings
from bakeoff.core.records import BackboneSelection, Refit, Trial
from bakeoff.core.selection.select import (
    find_best_trial,
    hold_contests,
    leaders_of,
    select_champion_per_backbone,
    select_champions_for_backbones,
)
from bakeoff.core.selection.study_groups import SelectionRules, is_valid_metric
from bakeoff.errors import ConfigError

Direction = Literal["maximize", "minimize"]
BACKBONE = "minilm-l6"
UNUSABLE = [math.nan, math.inf, -math.inf, 1.797e308, -1.797e308, 1.7976931348623157e308, None]


def run_id(number: int) -> str:
    return f"{number:032x}"


def make_trial(number: int, metric: float | None, **changes: Any) -> Trial:
    values: dict[str, Any] = {
        "run_id": run_id(number),
        "status": "FINISHED",
        "backbone": BACKBONE,
        "study_key_hash": "a" * 64,
        "trial_key_hash": f"{number:064x}",
        "schema_version": "2.0",
        "sweep_run_id": run_id(9999),
        "experiment_id": "1",
        "experiment_name": "sweep",
        "start_time_ms": 1000 + number,
        "metric": metric,
        "metric_name": "f1",
        "direction": None,
        "data_fingerprint": "d" * 64,
        "eval_fingerprint": "e" * 64,
    }
    return Trial(**values | changes)


def make_refit(trial: Trial, **changes: Any) -> Refit:
    values: dict[str, Any] = {
        "run_id": "f" + trial.run_id[1:],
        "status": "FINISHED",
        "of_trial_run_id": trial.run_id,
        "start_time_ms": 5000,
        "artifact_available": True,
        "checkpoint_digest": "c" * 64,
    }
    return Refit(**values | changes)


def make_group(key: str, metrics: Sequence[float | None], first: int = 0, **changes: Any) -> list[Trial]:
    return [
        make_trial(first + number, metric, study_key_hash=key * 64, **changes)
        for number, metric in enumerate(metrics)
    ]


def select(
    trials: Sequence[Trial],
    refits: Sequence[Refit] | None = None,
    direction: Direction = "maximize",
    **changes: Any,
) -> BackboneSelection:
    """Select for the one backbone; every trial has a good refit unless refits are given."""
    chosen = [make_refit(trial) for trial in trials] if refits is None else refits
    return select_champion_per_backbone(
        BACKBONE, trials, chosen, SelectionRules(SelectionSettings(**changes), direction)
    )


def champion_trial(selection: BackboneSelection) -> str | None:
    return selection.champion.trial_run_id if selection.champion else None


# --- the oracle -------------------------------------------------------------------------------------------


def counts(metric: float | None) -> bool:
    return metric is not None and metric == metric and -1.797e308 < metric < 1.797e308  # noqa: PLR0124


def beats(one: Trial, other: Trial, direction: Direction) -> bool:
    """Whether one valid trial stands before another: the rules of CONTRACT 3, said once more."""
    assert one.metric is not None
    assert other.metric is not None
    if one.metric != other.metric:
        return (one.metric > other.metric) == (direction == "maximize")
    if one.start_time_ms != other.start_time_ms:
        return one.start_time_ms < other.start_time_ms
    return one.run_id < other.run_id


def stand_in_order(trials: Sequence[Trial], direction: Direction) -> list[Trial]:
    """Insertion sort with ``beats``: slow, and shares no line with the code under test."""
    line: list[Trial] = []
    for trial in trials:
        place = next((n for n, other in enumerate(line) if beats(trial, other, direction)), len(line))
        line.insert(place, trial)
    return line


def middle(values: Sequence[float]) -> float:
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def find_by_brute_force(
    trials: Sequence[Trial], refits: Sequence[Refit], chosen: SelectionSettings, direction: Direction
) -> tuple[str | None, str | None, float | None]:
    """Trial, refit and stable score of the champion; the trial alone where its refit does not hold."""
    mine = [trial for trial in trials if trial.backbone == BACKBONE and trial.status == "FINISHED"]
    if not chosen.allow_mixed_schema_groups and any(trial.schema_version == "2.0" for trial in mine):
        mine = [trial for trial in mine if trial.schema_version == "2.0"]
    top_k = min(chosen.top_k_for_stable_score, chosen.min_trials_per_group)
    contest: list[tuple[float, Trial]] = []
    for name in {(trial.schema_version, trial.study_key_hash) for trial in mine}:
        group = [trial for trial in mine if (trial.schema_version, trial.study_key_hash) == name]
        line = stand_in_order([trial for trial in group if counts(trial.metric)], direction)
        if len(line) >= chosen.min_trials_per_group:
            contest.append((middle([trial.metric or 0.0 for trial in line[:top_k]]), line[0]))
    if not contest:
        return None, None, None
    best_score = (max if direction == "maximize" else min)(score for score, _ in contest)
    leaders = [trial for score, trial in contest if score == best_score]
    trial = min(leaders, key=lambda leader: (leader.start_time_ms, leader.run_id))
    good = sorted(
        (refit.start_time_ms, refit.run_id)
        for refit in refits
        if refit.of_trial_run_id == trial.run_id
        and refit.status == "FINISHED"
        and (refit.artifact_available or not chosen.require_artifact_available)
    )
    return trial.run_id, good[0][1] if good else None, best_score


metrics = st.sampled_from([*UNUSABLE, 0.1, 0.2, 0.5, 0.7, 0.70001, 0.9, -0.3, 0.0, -0.0]) | st.floats(-1, 1)
trial_facts = st.tuples(
    metrics,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["2.0", "2.0", "2.0", "1.0"]),
    st.sampled_from(["FINISHED"] * 6 + ["FAILED", "RUNNING", "KILLED"]),
    st.sampled_from([BACKBONE] * 5 + ["minilm-l", "minilm-l6-v2", "MiniLM-L6"]),
    st.integers(0, 3),
)
refit_facts = st.tuples(
    st.sampled_from(["FINISHED", "FINISHED", "FAILED", "RUNNING"]), st.booleans(), st.integers(0, 2)
)


@st.composite
def stores(draw: st.DrawFn) -> tuple[list[Trial], list[Refit]]:
    trials = [
        make_trial(
            number,
            metric,
            study_key_hash=key * 64,
            schema_version=version,
            status=status,
            backbone=backbone,
            start_time_ms=start,
        )
        for number, (metric, key, version, status, backbone, start) in enumerate(
            draw(st.lists(trial_facts, max_size=16))
        )
    ]
    refits = [
        make_refit(
            trial, run_id=run_id(1000 + 10 * n + m), status=status, artifact_available=flag, start_time_ms=at
        )
        for n, trial in enumerate(trials)
        for m, (status, flag, at) in enumerate(draw(st.lists(refit_facts, max_size=2)))
    ]
    return trials, refits


choices = st.builds(
    SelectionSettings,
    min_trials_per_group=st.integers(1, 4),
    top_k_for_stable_score=st.integers(1, 5),
    require_artifact_available=st.booleans(),
    allow_mixed_schema_groups=st.booleans(),
)
directions: st.SearchStrategy[Direction] = st.sampled_from(["maximize", "minimize"])


@settings(max_examples=400)
@given(store=stores(), chosen=choices, direction=directions)
def test_the_champion_is_the_one_that_brute_force_finds(
    store: tuple[list[Trial], list[Refit]], chosen: SelectionSettings, direction: Direction
) -> None:
    trials, refits = store
    selection = select_champion_per_backbone(BACKBONE, trials, refits, SelectionRules(chosen, direction))
    trial, refit, score = find_by_brute_force(trials, refits, chosen, direction)
    if refit is None:
        assert selection.champion is None
        assert selection.reason
        assert (trial or "") in selection.reason
    else:
        assert selection.champion is not None
        assert selection.reason is None
        assert selection.champion.trial_run_id == trial
        assert selection.champion.run_id == selection.champion.refit_run_id == refit
        assert selection.champion.stable_score == score


@settings(max_examples=300)
@given(store=stores(), chosen=choices, direction=directions, data=st.data())
def test_any_order_of_the_same_runs_gives_the_same_answer(
    store: tuple[list[Trial], list[Refit]],
    chosen: SelectionSettings,
    direction: Direction,
    data: st.DataObject,
) -> None:
    trials, refits = store
    shuffled = data.draw(st.permutations(trials)), data.draw(st.permutations(refits))
    one = select_champion_per_backbone(BACKBONE, trials, refits, SelectionRules(chosen, direction))
    other = select_champion_per_backbone(BACKBONE, *shuffled, SelectionRules(chosen, direction))
    assert one == other


@settings(max_examples=200)
@given(store=stores(), chosen=choices)
def test_minimising_mirrors_maximising(
    store: tuple[list[Trial], list[Refit]], chosen: SelectionSettings
) -> None:
    trials, refits = store
    mirrored = [
        trial.model_copy(update={"metric": None if trial.metric is None else -trial.metric})
        for trial in trials
    ]
    one = select_champion_per_backbone(BACKBONE, trials, refits, SelectionRules(chosen, "maximize"))
    other = select_champion_per_backbone(BACKBONE, mirrored, refits, SelectionRules(chosen, "minimize"))
    assert champion_trial(one) == champion_trial(other)
    assert one.reason == other.reason
    for group, mirror in zip(one.all_groups, other.all_groups, strict=True):
        assert (group.n_trials, group.n_valid, group.n_invalid) == (
            mirror.n_trials,
            mirror.n_valid,
            mirror.n_invalid,
        )
        assert group.stable_score == (None if mirror.stable_score is None else -mirror.stable_score)
        assert group.best_metric == (None if mirror.best_metric is None else -mirror.best_metric)


def make_small_store(rng: random.Random) -> tuple[list[Trial], list[Refit]]:
    """Few trials out of few values, so that ties, empty groups and lost refits are frequent."""
    trials = [
        make_trial(
            number,
            rng.choice([0.5, 0.5, 0.7, 0.9, 0.9, -0.1, math.nan, math.inf, 1.797e308, None]),
            study_key_hash=rng.choice("ab") * 64,
            schema_version=rng.choice(["2.0", "2.0", "1.0"]),
            status=rng.choice(["FINISHED"] * 7 + ["FAILED"]),
            backbone=rng.choice([BACKBONE] * 7 + ["minilm-l"]),
            start_time_ms=rng.randrange(4),
        )
        for number in rng.sample(range(50), k=rng.randrange(13))
    ]
    refits = [
        make_refit(
            trial,
            run_id=run_id(1000 + number),
            status=rng.choice(["FINISHED"] * 5 + ["RUNNING"]),
            artifact_available=rng.random() < 0.8,
            start_time_ms=rng.randrange(3),
        )
        for number, trial in enumerate(trials * 2)
        if rng.random() < 0.6
    ]
    rng.shuffle(refits)
    return trials, refits


@pytest.mark.slow
def test_ten_thousand_small_stores_all_have_the_champion_that_brute_force_finds() -> None:
    rng = random.Random(20)
    outcomes = {"champion": 0, "no refit": 0, "no group": 0, "tie": 0}
    for _ in range(10_000):
        trials, refits = make_small_store(rng)
        direction: Direction = rng.choice(["maximize", "minimize"])
        chosen = SelectionSettings(
            min_trials_per_group=rng.choice([1, 1, 2, 3]),
            top_k_for_stable_score=rng.choice([1, 2, 3]),
            require_artifact_available=rng.random() < 0.7,
            allow_mixed_schema_groups=rng.random() < 0.3,
        )
        selection = select_champion_per_backbone(BACKBONE, trials, refits, SelectionRules(chosen, direction))
        trial, refit, score = find_by_brute_force(trials, refits, chosen, direction)
        found = selection.champion
        assert (found.refit_run_id if found else None) == refit
        assert (found.trial_run_id if found else None) == (trial if refit else None)
        assert found is None or found.stable_score == score
        outcomes["champion" if refit else "no refit" if trial else "no group"] += 1
        outcomes["tie"] += bool(selection.selection_metadata.get("tied_trials"))
    assert min(outcomes.values()) > 1000, outcomes  # every outcome was put to the test


@settings(max_examples=200)
@given(store=stores(), chosen=choices, direction=directions)
def test_only_the_refits_of_leading_trials_can_change_the_answer(
    store: tuple[list[Trial], list[Refit]], chosen: SelectionSettings, direction: Direction
) -> None:
    trials, refits = store
    names = [BACKBONE, "minilm-l"]
    leaders = {
        trial.run_id for trial in leaders_of(hold_contests(names, trials, SelectionRules(chosen, direction)))
    }
    needed = [refit for refit in refits if refit.of_trial_run_id in leaders]
    rules = SelectionRules(chosen, direction)
    assert select_champions_for_backbones(names, trials, needed, rules) == select_champions_for_backbones(
        names, trials, refits, rules
    )


# --- what counts as a metric ------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", UNUSABLE)
@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_what_is_no_finite_number_is_counted_and_never_wins(
    metric: float | None, direction: Direction
) -> None:
    trials = make_group("a", [metric, 0.5, 0.6, 0.7, metric])
    selection = select(trials, direction=direction)
    (group,) = selection.all_groups
    assert (group.n_trials, group.n_valid, group.n_invalid) == (5, 3, 2)
    assert champion_trial(selection) == (run_id(3) if direction == "maximize" else run_id(1))
    assert not is_valid_metric(metric)


@given(value=st.floats(-1e300, 1e300))
def test_every_ordinary_number_is_a_valid_metric(value: float) -> None:
    assert is_valid_metric(value)


def test_a_group_of_unusable_metrics_alone_gives_a_reason_and_no_champion() -> None:
    selection = select(make_group("a", UNUSABLE))
    assert selection.champion is None
    assert selection.reason is not None
    assert "0 valid trials" in selection.reason
    assert selection.all_groups[0].best_metric is None
    assert selection.all_groups[0].n_invalid == len(UNUSABLE)


def test_huge_metrics_whose_sum_is_no_number_still_have_a_median() -> None:
    trials = make_group("a", [1.5e308, 1.5e308])
    selection = select(trials, min_trials_per_group=2, top_k_for_stable_score=2)
    assert selection.champion is not None
    assert selection.champion.stable_score == 1.5e308


@pytest.mark.parametrize("fold", [math.nan, math.inf, -math.inf])
def test_a_fold_without_a_number_stops_nobody(fold: float) -> None:
    broken = make_group("a", [0.5, 0.6, 0.9], fold_metrics=(0.9, fold))
    whole = [make_trial(100 + n, 0.5, backbone="minilm-l3") for n in range(3)]
    trials = [*broken, *whole]
    selections = select_champions_for_backbones(
        [BACKBONE, "minilm-l3"],
        trials,
        [make_refit(t) for t in trials],
        SelectionRules(SelectionSettings(), "maximize"),
    )
    assert selections["minilm-l3"].champion is not None


# --- groups -----------------------------------------------------------------------------------------------


def test_the_group_with_the_best_stable_score_wins_over_the_best_single_trial() -> None:
    lucky = make_group("a", [0.99, 0.10, 0.10])
    steady = make_group("b", [0.80, 0.81, 0.82], first=10)
    selection = select(lucky + steady)
    assert champion_trial(selection) == run_id(12)
    assert selection.champion is not None
    assert (selection.champion.metric, selection.champion.stable_score) == (0.82, 0.81)


def test_the_stable_score_is_the_median_of_the_best_k() -> None:
    selection = select(make_group("a", [0.1, 0.9, 0.2, 0.7, 0.8]))
    assert selection.all_groups[0].stable_score == 0.8


def test_k_is_clamped_to_the_least_number_of_trials() -> None:
    selection = select(make_group("a", [0.9, 0.5, 0.1]), min_trials_per_group=2, top_k_for_stable_score=5)
    assert selection.selection_metadata["top_k"] == 2
    assert selection.all_groups[0].stable_score == pytest.approx(0.7)


def test_a_group_with_too_few_valid_trials_is_out_however_good_it_is() -> None:
    few = make_group("a", [0.99, 0.98, math.nan])
    enough = make_group("b", [0.5, 0.6, 0.7], first=10)
    selection = select(few + enough)
    assert champion_trial(selection) == run_id(12)
    out = selection.all_groups[0]
    assert out.stable_score is None
    assert out.left_out == "2 valid trials; selection.min_trials_per_group is 3"
    assert out.best_metric == 0.99


def test_every_group_is_told_with_its_counts() -> None:
    selection = select(make_group("a", [0.5, 0.6, 0.7, None]) + make_group("b", [0.1], first=10))
    told = [(g.study_key_hash[0], g.n_trials, g.n_valid, g.n_invalid) for g in selection.all_groups]
    assert told == [("a", 4, 3, 1), ("b", 1, 1, 0)]


def test_unfinished_trials_are_no_trials() -> None:
    trials = [
        *make_group("a", [0.5, 0.6, 0.7]),
        make_trial(50, 0.99, status="RUNNING"),
        make_trial(51, 0.99, status="FAILED"),
        make_trial(52, 0.99, status="KILLED"),
        make_trial(53, 0.99, status="SCHEDULED"),
    ]
    selection = select(trials)
    assert champion_trial(selection) == run_id(2)
    assert selection.selection_metadata["n_finished_trials"] == 3


@pytest.mark.parametrize("other", ["minilm-l", "minilm-l6-v2", "MINILM-L6", " minilm-l6", "minilm"])
def test_a_backbone_is_matched_exactly_and_never_by_prefix(other: str) -> None:
    trials = make_group("a", [0.5, 0.6, 0.7]) + make_group("a", [0.9, 0.9, 0.9], first=10, backbone=other)
    selection = select(trials)
    assert champion_trial(selection) == run_id(2)
    assert selection.all_groups[0].n_trials == 3


def test_a_backbone_without_trials_is_told_by_name() -> None:
    selection = select([])
    assert selection.champion is None
    assert selection.reason == "no finished trial of backbone 'minilm-l6'"


# --- schema versions --------------------------------------------------------------------------------------


def test_groups_of_an_older_schema_version_are_set_apart() -> None:
    old = make_group("a", [0.9, 0.9, 0.9], schema_version="1.0")
    new = make_group("b", [0.5, 0.6, 0.7], first=10)
    selection = select(old + new)
    assert champion_trial(selection) == run_id(12)
    assert (
        selection.all_groups[0].left_out
        == "schema version 1.0 is not compared with 2.0, which exists as well"
    )


def test_groups_of_all_schema_versions_compete_if_that_is_allowed() -> None:
    old = make_group("a", [0.9, 0.91, 0.92], schema_version="1.0")
    new = make_group("b", [0.5, 0.6, 0.7], first=10)
    assert champion_trial(select(old + new, allow_mixed_schema_groups=True)) == run_id(2)


def test_one_study_key_under_two_schema_versions_is_two_groups() -> None:
    trials = make_group("a", [0.9, 0.9], schema_version="1.0") + make_group("a", [0.5, 0.6], first=10)
    selection = select(trials, allow_mixed_schema_groups=True)
    assert selection.champion is None
    assert [group.n_trials for group in selection.all_groups] == [2, 2]


def test_an_old_schema_version_alone_can_be_read() -> None:
    selection = select(make_group("a", [0.5, 0.6, 0.7], schema_version="1.0"))
    assert selection.champion is not None
    assert selection.champion.schema_version == "1.0"


def test_schema_versions_are_ordered_as_numbers() -> None:
    trials = make_group("a", [0.9, 0.9, 0.9], schema_version="9.0")
    trials += make_group("b", [0.5, 0.6, 0.7], first=10, schema_version="10.0")
    assert champion_trial(select(trials)) == run_id(12)


def test_strange_schema_versions_give_one_answer_in_every_order() -> None:
    one = make_group("a", [0.5, 0.6, 0.7], schema_version="2.0-rc1")
    other = make_group("b", [0.5, 0.6, 0.7], first=10, schema_version="2.0-rc2")
    assert select(one + other) == select(other + one)


# --- ties -------------------------------------------------------------------------------------------------


def test_a_tie_goes_to_the_earliest_start_and_is_reported() -> None:
    trials = [
        make_trial(1, 0.9, start_time_ms=300),
        make_trial(2, 0.9, start_time_ms=100),
        make_trial(3, 0.9, start_time_ms=200),
        make_trial(4, 0.5, start_time_ms=50),
    ]
    selection = select(trials)
    assert champion_trial(selection) == run_id(2)
    assert selection.selection_metadata["tied_trials"] == [run_id(1), run_id(3)]


def test_a_tie_at_the_same_start_goes_to_the_lowest_run_id() -> None:
    trials = [make_trial(number, 0.9, start_time_ms=100) for number in (7, 3, 5)]
    selection = select(trials)
    assert champion_trial(selection) == run_id(3)
    assert selection.selection_metadata["tied_trials"] == [run_id(5), run_id(7)]


def test_a_tie_of_groups_goes_to_the_one_whose_best_trial_started_first_and_is_reported() -> None:
    late = make_group("a", [0.7, 0.7, 0.7], first=20)
    early = make_group("b", [0.7, 0.7, 0.7], first=10)
    selection = select(late + early)
    assert champion_trial(selection) == run_id(10)
    assert selection.selection_metadata["tied_groups"] == ["a" * 64]


def test_without_a_tie_none_is_reported() -> None:
    metadata = select(make_group("a", [0.5, 0.6, 0.7])).selection_metadata
    assert (metadata["tied_groups"], metadata["tied_trials"]) == ([], [])


def test_a_tie_asks_for_the_refit_of_the_trial_that_was_chosen() -> None:
    trials = [make_trial(number, 0.9) for number in (1, 2, 3)]
    selection = select(trials, [make_refit(trials[0])])
    assert champion_trial(selection) == run_id(1)


# --- refits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "RUNNING"}, "is not finished (RUNNING)"),
        ({"status": "FAILED"}, "is not finished (FAILED)"),
        ({"status": "KILLED"}, "is not finished (KILLED)"),
        ({"artifact_available": False}, "holds no checkpoint"),
        ({"of_trial_run_id": run_id(0)}, f"the best trial {run_id(2)} has no refit"),
        ({"of_trial_run_id": ""}, f"the best trial {run_id(2)} has no refit"),
    ],
)
def test_a_refit_that_does_not_hold_puts_its_backbone_out_and_no_other(
    changes: dict[str, Any], reason: str
) -> None:
    mine = make_group("a", [0.5, 0.6, 0.7])
    others = make_group("a", [0.5, 0.6, 0.7], first=10, backbone="minilm-l3")
    refits = [make_refit(mine[2], **changes), make_refit(others[2])]
    selections = select_champions_for_backbones(
        [BACKBONE, "minilm-l3"], mine + others, refits, SelectionRules(SelectionSettings(), "maximize")
    )
    out = selections[BACKBONE]
    assert out.champion is None
    assert reason in (out.reason or "")
    assert champion_trial(selections["minilm-l3"]) == run_id(12)


def test_no_second_best_trial_steps_in_for_a_missing_refit() -> None:
    trials = make_group("a", [0.5, 0.6, 0.7])
    assert select(trials, [make_refit(trials[0]), make_refit(trials[1])]).champion is None


def test_a_refit_without_checkpoint_holds_where_none_is_required() -> None:
    trials = make_group("a", [0.5, 0.6, 0.7])
    refit = make_refit(trials[2], artifact_available=False, checkpoint_digest=None)
    selection = select(trials, [refit], require_artifact_available=False)
    assert champion_trial(selection) == run_id(2)


def test_an_unfinished_refit_does_not_hold_even_where_no_checkpoint_is_required() -> None:
    trials = make_group("a", [0.5, 0.6, 0.7])
    refit = make_refit(trials[2], status="RUNNING")
    assert select(trials, [refit], require_artifact_available=False).champion is None


def test_of_several_refits_the_earliest_that_holds_is_taken() -> None:
    trials = make_group("a", [0.5, 0.6, 0.7])
    refits = [
        make_refit(trials[2], run_id=run_id(100), start_time_ms=10, status="FAILED"),
        make_refit(trials[2], run_id=run_id(101), start_time_ms=20, artifact_available=False),
        make_refit(trials[2], run_id=run_id(103), start_time_ms=30),
        make_refit(trials[2], run_id=run_id(102), start_time_ms=30),
    ]
    selection = select(trials, refits)
    assert selection.champion is not None
    assert selection.champion.run_id == run_id(102)


def test_the_reason_names_the_same_refit_in_every_order() -> None:
    trials = make_group("a", [0.5, 0.6, 0.7])
    refits = [make_refit(trials[2], run_id=run_id(100 + n), artifact_available=False) for n in range(2)]
    assert select(trials, refits).reason == select(trials, refits[::-1]).reason


def test_the_champion_is_the_refit_with_the_facts_of_its_trial() -> None:
    trials = make_group("a", [0.5, 0.6, 0.7], fold_metrics=(0.6, 0.8))
    selection = select(trials, [make_refit(trials[2], test_metric=0.65)])
    champion = selection.champion
    assert champion is not None
    assert champion.run_id == champion.refit_run_id == "f" + run_id(2)[1:]
    assert champion.trial_run_id == run_id(2)
    assert champion.sweep_run_id == run_id(9999)
    assert (champion.study_key_hash, champion.trial_key_hash) == ("a" * 64, f"{2:064x}")
    assert (champion.metric, champion.stable_score, champion.refit_metric) == (0.7, 0.6, 0.65)
    assert champion.fold_metrics == (0.6, 0.8)
    assert champion.checkpoint_path is None
    assert champion.checkpoint_digest == "c" * 64
    assert (champion.experiment_id, champion.experiment_name) == ("1", "sweep")


# --- direction --------------------------------------------------------------------------------------------


def test_a_run_of_the_other_direction_is_an_error_that_names_it() -> None:
    trials = [*make_group("a", [0.5, 0.6, 0.7]), make_trial(8, 0.1, direction="minimize")]
    with pytest.raises(ConfigError) as caught:
        select(trials)
    assert run_id(8) in str(caught.value)
    assert "'minimize'" in str(caught.value)
    assert "'maximize'" in str(caught.value)


def test_the_error_about_directions_is_the_same_in_every_order() -> None:
    trials = [make_trial(number, 0.1, direction="minimize") for number in range(8)]
    messages = set()
    for order in (trials, trials[::-1]):
        with pytest.raises(ConfigError) as caught:
            select(order)
        messages.add(str(caught.value))
    assert len(messages) == 1


@pytest.mark.parametrize("direction", ["maximize", None])
def test_a_run_of_the_same_or_no_direction_is_a_trial(direction: str | None) -> None:
    assert select(make_group("a", [0.5, 0.6, 0.7], direction=direction)).champion is not None


# --- another objective ------------------------------------------------------------------------------------


def test_trials_that_were_judged_by_another_metric_are_out_and_the_reason_names_both() -> None:
    losses = make_group("a", [9.0, 8.0, 7.0], metric_name="eval_loss", direction="minimize")
    scores = make_group("b", [0.5, 0.6, 0.7], first=10)
    refits = [make_refit(trial) for trial in losses + scores]
    selection = select_champion_per_backbone(
        BACKBONE, losses + scores, refits, SelectionRules(SelectionSettings(), "maximize", "f1")
    )
    assert champion_trial(selection) == run_id(12)
    assert (
        selection.all_groups[0].left_out == "its objective is 'eval_loss', but hpo.objective.metric is 'f1'"
    )
    alone = select_champion_per_backbone(
        BACKBONE, losses, refits, SelectionRules(SelectionSettings(), "maximize", "f1")
    )
    assert "its objective is 'eval_loss'" in (alone.reason or "")


def test_a_newer_schema_version_under_another_objective_puts_no_older_group_out() -> None:
    other = make_group("a", [9.0, 8.0, 7.0], metric_name="eval_loss")
    mine = make_group("b", [0.5, 0.6, 0.7], first=10, schema_version="1.0")
    refits = [make_refit(trial) for trial in mine]
    selection = select_champion_per_backbone(
        BACKBONE, other + mine, refits, SelectionRules(SelectionSettings(), "maximize", "f1")
    )
    assert champion_trial(selection) == run_id(12)


def test_a_champion_carries_the_artifact_of_its_refit_and_its_group_says_that_its_key_is_derived() -> None:
    trials = make_group("a", [0.5, 0.6, 0.7], study_key_is_derived=True)
    selection = select(trials, [make_refit(trials[2], checkpoint_artifact="model.tar.gz")])
    assert selection.champion is not None
    assert selection.champion.checkpoint_artifact == "model.tar.gz"
    assert selection.all_groups[0].key_is_derived


# --- large stores -----------------------------------------------------------------------------------------


def test_the_true_best_of_170_five_fold_trials_is_found_however_old_it_is() -> None:
    scores = [0.95, 0.94, 0.93] + [0.70 + 0.0004 * number for number in range(167)]
    trials = [
        make_trial(number, score, fold_metrics=tuple(score + 0.001 * (fold - 2) for fold in range(5)))
        for number, score in enumerate(scores)
    ]
    newest_first = trials[::-1]
    shuffled = random.Random(0).sample(trials, k=len(trials))
    for order in (trials, newest_first, shuffled):
        selection = select(order)
        assert champion_trial(selection) == run_id(0)
        assert selection.champion is not None
        assert selection.champion.metric == 0.95
        assert selection.champion.stable_score == 0.94
        assert selection.all_groups[0].n_trials == 170


def test_the_best_trial_of_a_list_without_valid_trials_is_an_error() -> None:
    with pytest.raises(ValueError, match="empty"):
        find_best_trial([make_trial(1, math.nan), make_trial(2, 0.5, status="FAILED")], "maximize")
