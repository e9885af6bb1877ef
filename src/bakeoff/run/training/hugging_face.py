"""The built-in trainer: fine-tunes a transformers model in a plain PyTorch loop."""

from __future__ import annotations

import inspect
import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from bakeoff.errors import CheckpointError, ConfigError, MissingExtraError
from bakeoff.measure.backends.availability import importing
from bakeoff.measure.backends.pretrained import auto_class
from bakeoff.measure.backends.torch import TorchSession
from bakeoff.measure.model.checkpoint import TOKENIZER_FILE, Checkpoint, refuse_adapter
from bakeoff.measure.model.model_config import CONFIG_FILE, read_max_positions
from bakeoff.measure.model.tokenizer import Encoder, Encoding
from bakeoff.measure.tasks import Task
from bakeoff.measure.tasks.task import Prediction
from bakeoff.record import Record
from bakeoff.run.training.trainer import Report, TrainingOrder, TrainingOutcome

EVALUATION_BATCH_SIZE = 32


class HyperParameters(Record):
    """Hyper-parameters of the Hugging Face trainer.

    Attributes:
        epochs: Passes over the training documents.
        dropout: Dropout rate of hidden layers and attention; null keeps the backbone's own.
        warmup_fraction: Share of the steps in which the learning rate rises; then it falls linearly to 0.
        freeze_embeddings: Whether the embeddings stay as pretrained.
        trained_layers: Number of upper layers to train; lower ones stay as pretrained, and most of their time
            is saved. Null, or more layers than the backbone has, trains all.
        max_grad_norm: Norm to which gradients are clipped.
    """

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-5
    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    warmup_fraction: Annotated[float, Field(ge=0, le=1)] = 0.1
    freeze_embeddings: bool = False
    trained_layers: Annotated[int, Field(ge=0)] | None = None
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0


class HuggingFaceTrainer:
    """Fine-tunes a transformers model for a task with a head, in a plain PyTorch loop."""

    def train(self, order: TrainingOrder, *, report: Report | None = None) -> TrainingOutcome:
        """Train with AdamW and a linear schedule; judge after the last epoch by all metrics of the task.

        With a report, every epoch is judged. Evaluation draws no random number, so nothing else changes.
        """
        settings = parse_hyper_parameters(order.hyper_parameters)
        torch = import_torch()
        random.seed(order.seed)
        np.random.seed(order.seed % 2**32)
        torch.manual_seed(order.seed)
        model = build_model(order.pretrained, order.task, order.labels, settings.dropout)
        if settings.freeze_embeddings:
            model.base_model.embeddings.requires_grad_(False)
        if settings.trained_layers is not None:
            _freeze_lower_layers(model, settings.trained_layers)
        base = Checkpoint(
            order.pretrained,
            order.labels,
            int(model.config.pad_token_id or 0),
            max_positions=read_max_positions(order.pretrained, model.config.to_dict()),
        )
        encoder = Encoder(base, order.max_length)
        encodings = [order.task.encode(encoder, document) for document in order.train]
        judged = [order.task.encode(encoder, document) for document in order.evaluation]
        losses: list[float] = []
        metrics: dict[str, float] = {}
        for loss in _fit(torch, model, encoder, encodings, order=order, settings=settings):
            losses.append(loss)
            if report is not None or len(losses) == settings.epochs:
                metrics = _evaluate(model, encoder, judged, order)
            if report is not None:
                report(metrics)
        if order.checkpoint is not None:
            _save(model, order.pretrained, order.checkpoint)
        return TrainingOutcome(
            metrics=metrics,
            epoch_losses=tuple(losses),
            n_truncated=sum(encoding.is_truncated for encoding in (*encodings, *judged)),
            token_limit=base.token_limit(order.max_length),
        )


def parse_hyper_parameters(values: Mapping[str, Any]) -> HyperParameters:
    """Parse hyper-parameters; refuse an unknown one, since a search of it would have no effect."""
    try:
        return HyperParameters.model_validate(dict(values))
    except ValidationError as error:
        known = ", ".join(HyperParameters.model_fields)
        raise ConfigError(
            [
                f"hyper-parameter {'.'.join(map(str, fault['loc']))}: found {fault['input']!r}; "
                f"{fault['msg'][0].lower()}{fault['msg'][1:]}; HuggingFaceTrainer knows {known}"
                for fault in error.errors()
            ]
        ) from None


def build_model(pretrained: Path, task: Task, labels: Sequence[str], dropout: float | None) -> Any:
    """Build a pretrained body with a new head for the task and its labels.

    Raises:
        CheckpointError: The folder is not a backbone, or weights of its body are missing.
        ConfigError: The settings name a dropout, but the architecture has none.
    """
    torch = import_torch()
    from transformers import AutoConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    check_backbone(pretrained)
    config = AutoConfig.from_pretrained(str(pretrained), local_files_only=True, trust_remote_code=False)
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    for name, value in task.training_config.items():
        setattr(config, name, value)
    if dropout is not None:
        _set_dropout(config, dropout)
    model, info = auto_class(task.head).from_pretrained(
        str(pretrained),
        config=config,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    prefix = f"{model.base_model_prefix}."
    missing = sorted(
        str(key) for key in (*info["missing_keys"], *info["mismatched_keys"]) if str(key).startswith(prefix)
    )
    if missing:
        raise CheckpointError(
            pretrained,
            found=f"pretrained weights are missing: {', '.join(missing[:3])}",
            fix="copy it again",
        )
    return model


def check_backbone(folder: Path) -> None:
    """Raise CheckpointError if a folder is missing a file that training needs, or holds an adapter."""
    refuse_adapter(folder)
    for name in (CONFIG_FILE, TOKENIZER_FILE):
        if not (folder / name).is_file():
            raise CheckpointError(
                folder, found=f"no {name}", fix="point hpo.backbones.NAME.pretrained at a local model folder"
            )


def import_torch() -> Any:
    """Import torch, and the parts of transformers that a training needs; return torch."""
    try:
        with importing():
            import torch
            from transformers import PreTrainedModel  # noqa: F401 - both are needed, one error names either
    except ImportError as error:
        raise MissingExtraError("HuggingFaceTrainer", library=error.name or "torch", extra="torch") from error
    return torch


def _set_dropout(config: Any, dropout: float) -> None:
    """Set every dropout rate in the architecture's configuration, under any name."""
    names = [
        name
        for name in config.to_dict()
        if "dropout" in name
        and isinstance(getattr(config, name), float | int | None)
        and not isinstance(getattr(config, name), bool)
    ]
    if not names:
        raise ConfigError([f"hyper-parameter dropout: {config.model_type} has no dropout to set"])
    for name in names:
        setattr(config, name, dropout)


def _freeze_lower_layers(model: Any, n_trained: int) -> None:
    """Train only the upper layers."""
    torch = import_torch()
    stacks = [module for module in model.base_model.modules() if isinstance(module, torch.nn.ModuleList)]
    if not stacks:
        raise ConfigError(
            [f"hyper-parameter trained_layers: {model.config.model_type} has no list of layers"]
        )
    layers = max(stacks, key=len)
    for layer in layers[: max(0, len(layers) - n_trained)]:
        layer.requires_grad_(False)


def _fit(
    torch: Any,
    model: Any,
    encoder: Encoder,
    encodings: Sequence[Encoding],
    *,
    order: TrainingOrder,
    settings: HyperParameters,
) -> Iterator[float]:
    """Train epoch by epoch, and yield the mean loss of each."""
    shuffler = random.Random(order.seed)  # noqa: S311 - an order, not a secret
    n_steps = settings.epochs * math.ceil(len(encodings) / settings.batch_size)
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, _linear(n_steps, max(1, round(n_steps * settings.warmup_fraction)))
    )
    accepted = inspect.signature(model.forward).parameters
    for _ in range(settings.epochs):
        model.train()
        total = 0.0
        batches = _length_buckets([len(e.ids) for e in encodings], settings.batch_size, shuffler)
        for rows in batches:
            batch = encoder.pad([encodings[row] for row in rows])
            targets = order.task.make_targets(
                [order.train[row] for row in rows], [encodings[row] for row in rows], order.labels
            )
            inputs = {name: torch.from_numpy(a) for name, a in batch.arrays.items() if name in accepted}
            loss = model(**inputs, labels=torch.from_numpy(targets)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad(set_to_none=True)
            total += float(loss.detach())
        yield total / len(batches)


def _linear(n_steps: int, n_warmup: int) -> Callable[[int], float]:
    """Return the learning-rate factor: up to 1 in the warm-up, then down to 0 at the last step."""

    def factor(step: int) -> float:
        if step < n_warmup:
            return (step + 1) / n_warmup
        return max(0.0, (n_steps - step) / max(1, n_steps - n_warmup))

    return factor


def _length_buckets(lengths: Sequence[int], size: int, shuffler: random.Random) -> list[list[int]]:
    """Draw batches of documents of similar length, so that there is little padding."""
    order = shuffler.sample(range(len(lengths)), k=len(lengths))
    order.sort(key=lambda row: lengths[row])
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    shuffler.shuffle(batches)
    return batches


def _evaluate(
    model: Any, encoder: Encoder, encodings: Sequence[Encoding], order: TrainingOrder
) -> dict[str, float]:
    """Compute every metric of the task on the evaluation documents."""
    session = TorchSession(model.eval(), "cpu")
    rows = sorted(range(len(encodings)), key=lambda row: len(encodings[row].ids))
    found: dict[int, Prediction] = {}
    for start in range(0, len(rows), EVALUATION_BATCH_SIZE):
        picked = rows[start : start + EVALUATION_BATCH_SIZE]
        chosen = [encodings[row] for row in picked]
        logits = session.infer(encoder.pad(chosen))
        found |= zip(picked, order.task.read_predictions(logits, chosen, order.labels), strict=True)
    predictions = [found[number] for number in range(len(encodings))]
    outcomes = order.task.compare(order.evaluation, predictions, order.labels)
    return {name: metric.value_of(outcomes) for name, metric in order.task.metrics.items()}


def _save(model: Any, pretrained: Path, folder: Path) -> None:
    """Save weights, configuration and the backbone's own tokenizer files, byte for byte."""
    model.save_pretrained(str(folder), safe_serialization=True)
    for name in (TOKENIZER_FILE, "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (pretrained / name).is_file():
            shutil.copyfile(pretrained / name, folder / name)
