"""Pruning: a trial that is given up trains no further, and is never taken for a finished one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.orchestrator import Project, open_project, select_champions, sweep
from bakeoff.orchestrator.sweep.lead import SweepResult
from bakeoff.stores import tags
from integration.word_trainers import VARIABLES

HERE = Path(__file__).parent
EPOCHS, FOLDS = 8, 2
MEDIAN = {"kind": "median", "n_startup_trials": 2}
ASHA = {"kind": "asha", "min_resource": 1, "reduction_factor": 2}


@pytest.fixture
def make_sweep(
    tmp_path: Path, make_project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("WORD_TRAINER_LOG", str(tmp_path / "epochs.log"))
    pretrained = tmp_path / "pretrained"
    pretrained.mkdir()
    for name in ("config.json", "tokenizer.json"):
        (pretrained / name).write_text("{}")

    def make(pruner: dict[str, Any] | None, trainer: str = "WordTrainer") -> Path:
        hpo = {
            "trainer": f"word_trainers:{trainer}",
            "n_trials": 12,
            "search_space": {"learning_rate": {"kind": "float", "low": 1e-4, "high": 1.0, "log": True}},
            "training": {"epochs": EPOCHS},
            "pruner": pruner,
            "environment": VARIABLES,
        }
        return make_project(tmp_path / "project", {"words": pretrained}, {"hpo": hpo})

    return make


def trial_runs(project: Project) -> list[Any]:
    experiment_id = project.tracker.ensure_experiment("sweep")
    return list(project.tracker.search_runs(experiment_id, {tags.STAGE: "hpo_trial"}))


def count_epochs(tmp_path: Path) -> Counter[str]:
    """How many epochs were really trained at each learning rate."""
    return Counter(line.split()[1] for line in (tmp_path / "epochs.log").read_text().splitlines())


def check_pruned(project: Project, result: SweepResult, tmp_path: Path) -> None:
    """A pruned trial trains no further, and its run says how far it came."""
    assert (result.n_trials, result.failure) == (12, None)
    trained = count_epochs(tmp_path)
    begun = trial_runs(project)
    pruned = [run for run in begun if run.data.tags[tags.TRIAL_STATE] == "PRUNED"]
    assert len(pruned) == result.n_pruned > 0
    for run in pruned:
        n_epochs = int(run.data.tags[tags.N_EPOCHS])
        assert n_epochs == trained[run.data.params["learning_rate"]] <= EPOCHS
        assert run.info.status == "KILLED"
        assert "f1" not in run.data.metrics
        assert "f1_fold_0_epoch" in run.data.metrics
    assert min(int(run.data.tags[tags.N_EPOCHS]) for run in pruned) < EPOCHS
    for run in begun:
        if run not in pruned:
            assert run.info.status == "FINISHED"
            assert trained[run.data.params["learning_rate"]] >= EPOCHS * FOLDS


@pytest.mark.slow
def test_a_pruned_trial_trains_no_further_and_its_run_says_how_far_it_came(
    make_sweep: Callable[..., Path], tmp_path: Path
) -> None:
    project = open_project(make_sweep(ASHA))
    (result,) = sweep(project)
    check_pruned(project, result, tmp_path)


@pytest.mark.slow
def test_no_champion_is_picked_from_pruned_trials_and_they_count_as_run(
    make_sweep: Callable[..., Path], tmp_path: Path
) -> None:
    project = open_project(make_sweep(MEDIAN))
    (result,) = sweep(project)
    check_pruned(project, result, tmp_path)
    selection = select_champions(project)["words"]
    (group,) = selection.all_groups
    assert group.n_trials == result.n_trials - result.n_pruned
    assert selection.champion is not None
    assert [again.action for again in sweep(project)] == ["reused"]


@pytest.mark.slow
def test_a_trainer_that_cannot_report_still_works_and_is_said_to_prune_nothing(
    make_sweep: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    (result,) = sweep(open_project(make_sweep(MEDIAN, "OldWordTrainer")))
    assert (result.n_trials, result.n_pruned, result.failure) == (12, 0, None)
    (said,) = [line for line in caplog.messages if "has no effect" in line]
    assert said.startswith("hpo.pruner has no effect: the train method of word_trainers:Old")


def test_a_pruner_changes_no_key(make_sweep: Callable[..., Path]) -> None:
    from bakeoff.orchestrator.sweep.lead import identify_study

    project = open_project(make_sweep(None))
    pruned = open_project(project.root / "config", [f"hpo.pruner={MEDIAN}"])
    assert pruned.settings.hpo.pruner is not None
    assert identify_study(pruned, "words") == identify_study(project, "words")
