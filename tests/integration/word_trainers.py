"""Trainers that really learn, in milliseconds: softmax regression over hashed words.

Each training appends one line an epoch to the file that ``WORD_TRAINER_LOG`` names: the process that asked
for it, and the learning rate. Then it waits, where tests ask for that: until as many processes as
``WORD_TRAINER_TEAM`` says have asked for trainings, or until the file is there that ``WORD_TRAINER_RELEASE``
names.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from bakeoff.errors import ConfigError
from bakeoff.measure.tasks import Document
from bakeoff.measure.tasks.documents import TaggedDocument
from bakeoff.run.training.trainer import Report, TrainingOrder, TrainingOutcome

# A configuration must name them, or the training process does not get them.
VARIABLES = ["WORD_TRAINER_LOG", "WORD_TRAINER_TEAM", "WORD_TRAINER_RELEASE"]
N_BUCKETS = 512
PATIENCE_S = 300.0
Rows = np.ndarray[Any, np.dtype[np.int64]]


class OldWordTrainer:
    """Knows nothing of reports."""

    def train(self, order: TrainingOrder) -> TrainingOutcome:
        return fit(order, lambda _: None)


class WordTrainer:
    """Reports every epoch."""

    def train(self, order: TrainingOrder, *, report: Report | None = None) -> TrainingOutcome:
        return fit(order, report or (lambda _: None))


def fit(order: TrainingOrder, report: Callable[[Mapping[str, float]], None]) -> TrainingOutcome:
    given = dict(order.hyper_parameters)
    rate, epochs = float(given.pop("learning_rate")), int(given.pop("epochs"))
    if given:
        raise ConfigError([f"hyper-parameters {', '.join(given)} are unknown"])
    words = rows_of(order.train)
    targets = np.array([order.labels.index(tag) for row in tagged(order.train) for tag in row.tags])
    weights = np.zeros((N_BUCKETS, len(order.labels)))
    score = 0.0
    for _ in range(epochs):
        error = softmax(weights[words])
        error[np.arange(len(words)), targets] -= 1
        np.add.at(weights, words, -rate * error)
        log(rate)
        wait_until(is_whole_team_here)
        wait_until(is_released)
        score = judge(weights, order)
        report({"f1": score})
    if order.checkpoint is not None:
        save(weights, order)
    return TrainingOutcome(metrics={"f1": score})


def rows_of(documents: Sequence[Document]) -> Rows:
    return np.array(
        [zlib.crc32(word.encode()) % N_BUCKETS for row in tagged(documents) for word in row.tokens]
    )


def softmax(logits: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray[Any, np.dtype[np.float64]] = powers / powers.sum(axis=1, keepdims=True)
    return shares


def tagged(documents: Sequence[Document]) -> list[TaggedDocument]:
    return [document for document in documents if isinstance(document, TaggedDocument)]


def judge(weights: np.ndarray[Any, np.dtype[np.float64]], order: TrainingOrder) -> float:
    predictions = []
    for document in order.evaluation:
        best = weights[rows_of([document])].argmax(axis=1)
        predictions.append([order.labels[number] for number in best])
    outcomes = order.task.compare(order.evaluation, predictions, order.labels)
    return order.task.find_metric("f1").value_of(outcomes)


def log(rate: float) -> None:
    path = os.environ.get("WORD_TRAINER_LOG")
    if path:
        with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 - appended whole, by many processes
            file.write(f"{os.getppid()} {rate!r}\n")


def is_whole_team_here() -> bool:
    team = int(os.environ.get("WORD_TRAINER_TEAM", "0"))
    if not team:
        return True
    lines = Path(os.environ["WORD_TRAINER_LOG"]).read_text(encoding="utf-8").splitlines()
    return len({line.split()[0] for line in lines if line}) >= team


def is_released() -> bool:
    path = os.environ.get("WORD_TRAINER_RELEASE")
    return path is None or Path(path).exists()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_S:g} s in vain: {is_so.__name__}")
        time.sleep(0.05)


def save(weights: np.ndarray[Any, np.dtype[np.float64]], order: TrainingOrder) -> None:
    assert order.checkpoint is not None
    order.checkpoint.mkdir(parents=True)
    config = {
        "model_type": "bert",
        "architectures": ["BertForTokenClassification"],
        "id2label": dict(enumerate(order.labels)),
    }
    (order.checkpoint / "config.json").write_text(json.dumps(config))
    shutil.copyfile(order.pretrained / "tokenizer.json", order.checkpoint / "tokenizer.json")
    save_file({"weights": weights}, order.checkpoint / "model.safetensors", metadata={"format": "pt"})
