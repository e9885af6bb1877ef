"""Guess of the task for a new configuration, with the reason; never without saying that it is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bakeoff.core.config.data import DEFAULT_KIND
from bakeoff.errors import ConfigError, DataError
from bakeoff.measure.tasks.rows import Row
from bakeoff.orchestrator.infer import ModelFacts, infer_task
from bakeoff.record import Record


class Labelled(NamedTuple):
    """File or folder of labelled documents.

    Attributes:
        path: Path for the configuration.
    """

    path: str
    rows: Sequence[Row]


class FoundTask(Record):
    """Task of the models.

    Attributes:
        settings: Settings of ``data.task``.
        is_guess: Whether you must check the kind; else the models record it.
        basis: What was inferred, and why, a line each.
        documents: Path of the labelled documents for ``data.test``; None without any.
    """

    settings: dict[str, Any]
    is_guess: bool
    basis: tuple[str, ...]
    documents: str | None = None


def guess_task(models: Mapping[str, ModelFacts], documents: Labelled | None) -> FoundTask:
    """Guess the task of a sweep's models.

    Args:
        models: What the checkpoint of each backbone shows, as far as it shows anything.
        documents: Labelled documents; None without any.
    """
    if not models and documents is None:
        return _assume_default("no champion shows its task", None)
    path = documents.path if documents else None
    try:
        inferred = infer_task(models, documents.rows if documents else (), {}, path or "")
    except (ConfigError, DataError) as error:
        return _assume_default(str(error), path)
    found = [each.found for each in inferred.remarks]
    if not inferred.is_certain:
        found[0] += "; a guess"
    kinds = {model.problem_type for model in models.values() if model.head}
    if inferred.task == {"kind": "text_classification"} and kinds == {None}:
        found.append("no model records its problem_type; add multi_label: true if a text has several labels")
    return FoundTask(
        settings=inferred.task, is_guess=not inferred.is_certain, basis=tuple(found), documents=path
    )


def _assume_default(reason: str, path: str | None) -> FoundTask:
    basis = (f"task {DEFAULT_KIND}: a guess, since bakeoff cannot infer it: {reason}",)
    return FoundTask(settings={"kind": DEFAULT_KIND}, is_guess=True, basis=basis, documents=path)
