"""The objective of a sweep is any metric that its trainer returns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bakeoff.core.config.search_space import FloatRange
from bakeoff.errors import ConfigError, WorkerError
from bakeoff.measure.tasks.documents import TaggedDocument
from bakeoff.measure.tasks.token_classification import TokenClassification
from bakeoff.run.training import cross_validate
from bakeoff.run.training.process import TrainingProcess
from bakeoff.run.training.search import StudyPlan
from bakeoff.run.training.study import SharedStudy

TRAINER = """
from bakeoff.run.training.trainer import TrainingOutcome

class Quick:
    def train(self, order):
        return TrainingOutcome(metrics={"accuracy": order.hyper_parameters["rate"], "loss": 1.0})

class Broken:
    def train(self, order):
        return order.labels["no such key"]
"""


def make_plan(tmp_path: Path, metric: str, trainer: str = "Quick") -> cross_validate.TrainingPlan:
    return cross_validate.TrainingPlan(
        pretrained=tmp_path,
        task=TokenClassification(),
        labels=("O",),
        documents=(TaggedDocument(tokens=("a",), tags=("O",)),) * 4,
        trainer=f"quick_trainer:{trainer}",
        metric=metric,
        fixed={},
        folds=2,
        max_length=8,
        seed=0,
    )


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharedStudy:
    (tmp_path / "quick_trainer.py").write_text(TRAINER)
    monkeypatch.syspath_prepend(tmp_path)
    plan = StudyPlan(
        storage=f"sqlite:///{tmp_path / 'optuna.db'}",
        direction="maximize",
        search_space={"rate": FloatRange(kind="float", low=0.1, high=0.9)},
        n_trials=2,
        seed=0,
    )
    study = SharedStudy(plan)
    study.lay_out("s")
    return study


@pytest.fixture
def process(tmp_path: Path) -> Iterator[TrainingProcess]:
    with TrainingProcess(tmp_path / "training") as process:
        yield process


def test_a_sweep_optimises_whatever_metric_its_trainer_returns(
    tmp_path: Path, study: SharedStudy, process: TrainingProcess
) -> None:
    events = list(cross_validate.run_study(make_plan(tmp_path, "accuracy"), study, process))
    finished = [event for event in events if isinstance(event, cross_validate.TrialFinished)]
    drawn = [event.params["rate"] for event in events if isinstance(event, cross_validate.TrialStarted)]
    assert len(drawn) == 2
    assert [event.metric for event in finished] == pytest.approx(drawn)


def test_a_metric_that_the_trainer_does_not_return_is_told_with_those_that_it_does(
    tmp_path: Path, study: SharedStudy, process: TrainingProcess
) -> None:
    expected = r"objective\.metric: found 'f1'; quick_trainer:Quick returned.*accuracy, loss"
    events = cross_validate.run_study(make_plan(tmp_path, "f1"), study, process)
    assert isinstance(next(events), cross_validate.TrialStarted)
    failed = next(events)
    assert isinstance(failed, cross_validate.TrialFailed)
    assert failed.is_retried
    with pytest.raises(ConfigError, match=expected):
        next(events)


def test_what_a_trainer_raises_is_told_in_one_line_with_its_place(
    tmp_path: Path, study: SharedStudy, process: TrainingProcess
) -> None:
    expected = r"quick_trainer:Broken raised TypeError: .* \(.*quick_trainer\.py:10\)"
    with pytest.raises(WorkerError, match=expected):
        list(cross_validate.run_study(make_plan(tmp_path, "accuracy", "Broken"), study, process))
