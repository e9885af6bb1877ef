"""Making an experiment, whose unique name is what processes that do it at once agree by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def create_experiment(
    client: MlflowClient,
    name: str,
    *,
    artifact_location: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> str | None:
    """Make an experiment; returns its id, or None where there is one of this name, active or deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return client.create_experiment(
            name, artifact_location=artifact_location, tags=dict(tags) if tags else None
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return None
