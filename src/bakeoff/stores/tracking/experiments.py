"""Creation of an experiment; its unique name lets concurrent processes agree on one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bakeoff.stores.tracking.faults import ForeignAnswerError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def create_experiment(
    client: MlflowClient,
    name: str,
    *,
    artifact_location: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> str | None:
    """Make an experiment; return its id, or None if the name is taken, also by a deleted experiment.

    Raises:
        ForeignAnswerError: The answer names no experiment.
    """
    from mlflow.exceptions import MlflowException

    try:
        made = client.create_experiment(
            name, artifact_location=artifact_location, tags=dict(tags) if tags else None
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return None
    if not made:
        raise ForeignAnswerError(f"acknowledged, but experiment {name!r} got no id")
    return made
