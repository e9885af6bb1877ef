"""Artifacts of a run: listing and fetching them, with the true reason if that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def download_artifact(run_id: str, artifact_path: str, destination: str, client: MlflowClient) -> str:
    """Fetch a folder or file into a folder; returns where it lies.

    MLflow looks for it in two places, the run and its models, swallows every error of both and says that it
    does not exist, be it an outage or a full disk. The run's own store tells the true reason, in the last
    line of what it says; whether to try again depends on it.

    Raises:
        MlflowException: With that reason, and the code that belongs to it.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        with _as_own_store(client):
            return client.download_artifacts(run_id, artifact_path, destination)
    except MlflowException:
        repository = get_artifact_repository(client.get_run(run_id).info.artifact_uri, client.tracking_uri)
        try:
            found: str = repository.download_artifacts(artifact_path, destination)  # type: ignore[no-untyped-call]
        except MlflowException as error:
            reason = str(error).strip().splitlines()[-1]
            raise MlflowException(reason, ErrorCode.Value(error.error_code)) from error
        return found


def list_artifacts(run_id: str, artifact_path: str, client: MlflowClient) -> dict[str, bool]:
    """What lies directly below an artifact path of a run; of each path, whether it is a folder."""
    with _as_own_store(client):
        found = client.list_artifacts(run_id, artifact_path or None)
    return {entry.path: bool(entry.is_dir) for entry in found}


@contextmanager
def _as_own_store(client: MlflowClient) -> Iterator[None]:
    """Set the client's store as the one of this process.

    What a run logged as a model MLflow looks for in the store that the process has set, whichever store the
    client is for.
    """
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None  # type: ignore[no-untyped-call]
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type] # None unsets it
