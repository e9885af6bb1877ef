"""The best checkpoint of a training against its last one, and one trial that was logged several times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from bakeoff.core.records import Champion
from bakeoff.orchestrator import select_champions
from bakeoff.report.text.champions import describe_source, list_remarks, name_evaluation

from .conftest import Store

TIMES = {"train_runtime": 1.0, "total_flos": 1.0}
OPTUNA = dict.fromkeys(("datetime_start", "datetime_complete"), "0") | {
    "state": "COMPLETE",
    "direction": "MAXIMIZE",
    "backbone": "bert",
}


def train(
    store: Store,
    history: Sequence[tuple[int, float]],
    *,
    final: float | None = None,
    logged: Sequence[int] | None = None,
    state: dict[str, Any] | None = None,
    chosen_by: str = "f1",
) -> str:
    """Write one training as the Trainer's callback does, with the checkpoints of some steps."""
    best_step, best = max(history, key=lambda entry: entry[1])
    run_id = store.run(
        {"backbone": "bert"},
        metrics={**TIMES, "epoch": 2.0},
        params={"load_best_model_at_end": "True", "metric_for_best_model": chosen_by},
    )
    last_step = history[-1][0]
    for step, value in (*history, *([(last_step, final)] if final is not None else [])):
        store.client.log_metric(run_id, "eval_f1", value, timestamp=store.clock_ms + step, step=step)
        store.clock_ms += 1
    own = {"best_metric": best, "best_model_checkpoint": f"out/checkpoint-{best_step}", "log_history": []}
    content = json.dumps(own | (state or {})).encode()
    for step in logged if logged is not None else [step for step, _ in history]:
        store.log_file(run_id, "trainer_state.json", content, folder=f"checkpoint-{step}")
    return run_id


def select(store: Store) -> Champion:
    project = store.project(
        "huggingface",
        {"bert": {}},
        hpo={"objective": {"metric": "eval_f1"}},
        selection={"min_trials_per_group": 1},
    )
    selection = select_champions(project)["bert"]
    assert selection.champion is not None, selection.reason
    return selection.champion


def test_the_best_checkpoint_ships_with_its_metric(store: Store) -> None:
    run_id = train(store, [(500, 0.90), (1000, 0.60)], final=0.90)
    train(store, [(500, 0.70), (1000, 0.80)])
    champion = select(store)
    assert (champion.run_id, champion.checkpoint_artifact) == (run_id, "checkpoint-500")
    assert (champion.metric, champion.flags) == (0.90, ())
    assert (champion.evaluation, champion.is_refitted) == ("single split", False)


def test_without_a_last_evaluation_the_metric_is_that_of_the_best_checkpoint(store: Store) -> None:
    train(store, [(500, 0.90), (1000, 0.60)])
    champion = select(store)
    assert (champion.metric, champion.checkpoint_artifact) == (0.90, "checkpoint-500")


def test_a_best_checkpoint_that_was_not_logged_is_flagged(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    train(store, [(500, 0.90), (1000, 0.60)], final=0.90, logged=[1000])
    champion = select(store)
    assert (champion.metric, champion.checkpoint_artifact) == (0.90, "checkpoint-1000")
    (flag,) = champion.flags
    assert flag.name == "metric_of_other_weights"
    assert "checkpoint-500, which was not logged; checkpoint-1000 was" in flag.detail
    assert f"bert: metric_of_other_weights: {flag.detail}" in caplog.text


def test_a_checkpoint_chosen_by_another_metric_has_the_objective_of_its_step(store: Store) -> None:
    state = {"best_metric": 0.2, "best_model_checkpoint": "C:\\out\\checkpoint-500"}
    state |= {
        "log_history": [{"step": 500, "eval_loss": 0.2, "eval_f1": 0.55}, {"step": 1000, "eval_f1": 0.6}]
    }
    train(store, [(500, 0.55), (1000, 0.60)], state=state, chosen_by="loss")
    champion = select(store)
    assert (champion.metric, champion.checkpoint_artifact) == (0.55, "checkpoint-500")


def test_a_checkpoint_chosen_by_an_unlogged_value_is_flagged(store: Store) -> None:
    state = {"best_metric": 0.2, "best_model_checkpoint": "out/checkpoint-500"}
    train(store, [(1000, 0.60)], logged=[500, 1000], state=state, chosen_by="loss")
    champion = select(store)
    assert (champion.metric, champion.checkpoint_artifact) == (0.60, "checkpoint-500")
    assert [flag.name for flag in champion.flags] == ["metric_of_other_weights"]


@pytest.mark.parametrize(
    "state",
    [
        {"best_model_checkpoint": None},
        {"best_model_checkpoint": 7},
        {"best_model_checkpoint": "../../*"},
        {"best_model_checkpoint": "out/..", "best_metric": "high"},
    ],
)
def test_a_state_that_names_no_checkpoint_leaves_the_last_one(store: Store, state: dict[str, Any]) -> None:
    train(store, [(500, 0.90), (1000, 0.60)], state=state)
    champion = select(store)
    assert (champion.metric, champion.checkpoint_artifact, champion.flags) == (0.60, "checkpoint-1000", ())


def write_trial(store: Store, number: int, value: float, params: dict[str, str] | None = None) -> str:
    return store.run(
        {**OPTUNA, "number": str(number)}, metrics={"f1": value}, params=params or {"lr": str(number)}
    )


def test_a_trial_that_was_logged_three_times_is_one_trial(store: Store) -> None:
    same = [write_trial(store, 7, 0.99, {"lr": "1e-3"}) for _ in range(3)]
    for number in range(2):
        write_trial(store, number, 0.5)
    store.log_file(same[1], "config.json", folder="checkpoint")
    project = store.project("optuna", {"bert": {}}, hpo={"objective": {"metric": "f1"}})
    selection = select_champions(project)["bert"]
    champion = selection.champion
    assert champion is not None, selection.reason
    (group,) = selection.all_groups
    assert (group.n_trials, group.n_valid, group.n_duplicates, group.stable_score) == (3, 3, 2, 0.5)
    assert selection.selection_metadata["n_duplicates"] == 2
    # The earliest run stands for the trial; another one of its runs holds the checkpoint.
    assert (champion.trial_run_id, champion.refit_run_id) == (same[0], same[1])
    assert list_remarks(selection) == [
        "2 duplicate runs not counted",
        "not refitted: the trial's own checkpoint",
    ]
    assert name_evaluation(champion) == "as logged"
    assert "not refitted" in describe_source(champion)


def test_too_few_trials_after_duplicates_says_so(store: Store) -> None:
    for _ in range(3):
        write_trial(store, 7, 0.99)
    project = store.project("optuna", {"bert": {}}, hpo={"objective": {"metric": "f1"}})
    reason = select_champions(project)["bert"].reason or ""
    assert reason.endswith(
        "1 valid trial (2 duplicate runs not counted); selection.min_trials_per_group is 3"
    )


def test_runs_with_other_params_or_numbers_are_trials_of_their_own(store: Store) -> None:
    for number, rate in ((1, "a"), (1, "b"), (2, "a")):
        write_trial(store, number, 0.5, {"lr": rate})
    project = store.project("optuna", {"bert": {}}, hpo={"objective": {"metric": "f1"}})
    (group,) = select_champions(project)["bert"].all_groups
    assert (group.n_trials, group.n_duplicates) == (3, 0)


def test_a_duplicate_with_another_metric_lends_no_checkpoint(store: Store) -> None:
    first, second = write_trial(store, 1, 0.9), write_trial(store, 1, 0.8)
    store.log_file(second, "config.json", folder="checkpoint")
    for number in (2, 3):
        write_trial(store, number, 0.5)
    project = store.project("optuna", {"bert": {}}, hpo={"objective": {"metric": "f1"}})
    selection = select_champions(project)["bert"]
    assert selection.champion is None
    assert f"refit {first} of the best trial {first}" in (selection.reason or "")
