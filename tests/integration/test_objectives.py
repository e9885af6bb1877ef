"""The objective of a sweep is any metric that its trainer returns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bakeoff.core.settings import FloatRange
from bakeoff.errors import ConfigError
from bakeoff.measure.entities import Document
from bakeoff.run import sweep as study

TRAINER = """
from bakeoff.run.trainer import TrainingOutcome

class Quick:
    def train(self, order):
        return TrainingOutcome(metrics={"accuracy": order.hyper_parameters["rate"], "loss": 1.0})
"""


def specify(tmp_path: Path, metric: str) -> study.StudySpec:
    document = Document(tokens=("a",), tags=("O",))
    return study.StudySpec(
        name="s",
        storage=f"sqlite:///{tmp_path / 'optuna.db'}",
        backbone="b",
        pretrained=tmp_path,
        labels=("O",),
        documents=(document,) * 4,
        trainer="quick_trainer:Quick",
        metric=metric,
        direction="maximize",
        search_space={"rate": FloatRange(kind="float", low=0.1, high=0.9)},
        fixed={},
        n_trials=2,
        folds=2,
        max_length=8,
        seed=0,
    )


@pytest.fixture(autouse=True)
def _trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quick_trainer.py").write_text(TRAINER)
    monkeypatch.syspath_prepend(tmp_path)


def test_a_sweep_optimises_whatever_metric_its_trainer_returns(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        events = list(study.run_study(specify(tmp_path, "accuracy"), executor))
    finished = [event for event in events if isinstance(event, study.TrialFinished)]
    drawn = [event.params["rate"] for event in events if isinstance(event, study.TrialStarted)]
    assert [event.metric for event in finished] == pytest.approx(drawn)


def test_a_metric_that_the_trainer_does_not_return_is_told_with_those_that_it_does(tmp_path: Path) -> None:
    expected = r"objective\.metric: found 'f1'; quick_trainer:Quick returned.*accuracy, loss"
    with ThreadPoolExecutor(1) as executor:
        events = study.run_study(specify(tmp_path, "f1"), executor)
        assert isinstance(next(events), study.TrialStarted)
        assert isinstance(next(events), study.TrialFailed)
        with pytest.raises(ConfigError, match=expected):
            next(events)
