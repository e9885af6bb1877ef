"""The Hugging Face trainer on a tiny model: every hyper-parameter is applied, or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from bakeoff.core.config.data import DataSettings
from bakeoff.errors import CheckpointError, ConfigError
from bakeoff.measure.backends.pretrained import load_model
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.tasks.token_classification import TokenClassification
from bakeoff.run.training.hugging_face import HuggingFaceTrainer, HyperParameters, build_model
from bakeoff.run.training.trainer import TrainingOrder, TrainingStopped, load_trainer
from bakeoff.stores.documents import read_documents


@pytest.fixture
def order(tiny_backbone: Path, shipped: Path) -> TrainingOrder:
    data = DataSettings(train="", test="")
    train = read_documents(shipped / "data" / "train.jsonl", data)
    test = read_documents(shipped / "data" / "test.jsonl", data)
    return TrainingOrder(
        pretrained=tiny_backbone,
        labels=TokenClassification().list_labels((*train, *test)),
        train=train,
        evaluation=test,
        hyper_parameters={"learning_rate": 0.01, "epochs": 2},
        max_length=32,
        seed=3,
    )


def changed(order: TrainingOrder, **hyper_parameters: float) -> TrainingOrder:
    return order.model_copy(update={"hyper_parameters": {**order.hyper_parameters, **hyper_parameters}})


def test_a_searched_dropout_is_the_dropout_of_every_layer(tiny_backbone: Path) -> None:
    import torch

    for rate in (0.0, 0.37):
        model = build_model(tiny_backbone, TokenClassification(), ("O", "B-x", "I-x"), dropout=rate)
        rates = {module.p for module in model.modules() if isinstance(module, torch.nn.Dropout)}
        assert rates == {rate}


@pytest.mark.slow
def test_every_hyper_parameter_changes_the_training(order: TrainingOrder) -> None:
    trainer = HuggingFaceTrainer()
    base = trainer.train(order).epoch_losses
    others = {
        "learning_rate": 0.02,
        "epochs": 3,
        "batch_size": 5,
        "weight_decay": 0.9,
        "dropout": 0.5,
        "warmup_fraction": 0.9,
        "freeze_embeddings": True,
        "trained_layers": 0,
        "max_grad_norm": 0.01,
    }
    assert set(others) == set(HyperParameters.model_fields)
    for name, value in others.items():
        assert trainer.train(changed(order, **{name: value})).epoch_losses != base, name


def test_only_the_upper_layers_that_are_asked_for_learn(order: TrainingOrder, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    before = load_file(order.pretrained / "model.safetensors")
    layers = sorted({match[1] for name in before if (match := re.search(r"layer\.(\d+)\.", name))})
    HuggingFaceTrainer().train(
        changed(order, trained_layers=1).model_copy(update={"checkpoint": tmp_path / "checkpoint"})
    )
    after = load_file(tmp_path / "checkpoint" / "model.safetensors")

    def is_as_before(layer: str) -> bool:
        name = next(name for name in after if re.search(rf"layer\.{layer}\..*query\.weight", name))
        return bool((after[name] == before.get(name, before.get(name.removeprefix("bert.")))).all())

    assert [is_as_before(layer) for layer in layers] == [True] * (len(layers) - 1) + [False]


def test_the_same_order_gives_the_same_outcome(order: TrainingOrder) -> None:
    trainer = HuggingFaceTrainer()
    assert trainer.train(order) == trainer.train(order)


def test_reporting_every_epoch_changes_no_outcome_and_ends_with_it(order: TrainingOrder) -> None:
    told: list[float] = []
    trainer = HuggingFaceTrainer()
    order = changed(order, epochs=3, dropout=0.3)
    outcome = trainer.train(order, report=lambda metrics: told.append(metrics["f1"]))
    assert outcome == trainer.train(order)
    assert len(told) == 3
    assert told[-1] == outcome.metrics["f1"]


def test_a_training_that_is_stopped_trains_no_further_epoch(order: TrainingOrder) -> None:
    told: list[float] = []

    def stop_after_two(metrics: Mapping[str, float]) -> None:
        told.append(metrics["f1"])
        if len(told) == 2:
            raise TrainingStopped

    with pytest.raises(TrainingStopped):
        HuggingFaceTrainer().train(changed(order, epochs=9), report=stop_after_two)
    assert len(told) == 2


def test_an_unknown_hyper_parameter_is_refused_with_the_known_ones(order: TrainingOrder) -> None:
    with pytest.raises(ConfigError, match=r"lerning_rate.*HuggingFaceTrainer knows learning_rate, epochs"):
        HuggingFaceTrainer().train(changed(order, lerning_rate=0.1))


def test_a_saved_checkpoint_is_whole_and_carries_the_labels(order: TrainingOrder, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    HuggingFaceTrainer().train(order.model_copy(update={"checkpoint": folder}))
    assert open_checkpoint(folder).labels == order.labels


def test_a_backbone_without_tokenizer_or_config_is_refused(order: TrainingOrder, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json; point hpo\.backbones"):
        HuggingFaceTrainer().train(order.model_copy(update={"pretrained": tmp_path}))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.to_be:found", "No module named 'nowhere'"),
        ("bakeoff.run.training.trainer:Nobody", "Nobody"),
        ("bakeoff.errors:BakeoffError", r"no train\(order\) method"),
    ],
)
def test_a_trainer_that_cannot_be_used_is_named(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_trainer(name)


def test_a_checkpoint_with_missing_weights_is_refused_not_filled_at_random(
    champion_copy: Path,
) -> None:
    from safetensors.numpy import load_file, save_file

    weights = champion_copy / "model.safetensors"
    tensors = load_file(weights)
    del tensors["classifier.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"weights missing or of another shape: classifier\.weight"):
        load_model(open_checkpoint(champion_copy))


def test_weights_of_another_shape_are_refused(champion_copy: Path) -> None:
    path = champion_copy / "config.json"
    config = json.loads(path.read_text())
    config["id2label"]["9999"] = "B-more"
    labels = [*config["id2label"].values()]
    config["id2label"] = {str(number): label for number, label in enumerate(labels)}
    config["label2id"] = {label: number for number, label in enumerate(labels)}
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"classifier"):
        load_model(open_checkpoint(champion_copy))
