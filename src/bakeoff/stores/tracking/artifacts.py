"""List and fetch artifacts of a run, and report the true reason of a failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bakeoff.errors import CheckpointError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


def download_artifact(run_id: str, artifact_path: str, destination: str, client: MlflowClient) -> str:
    """Fetch a folder or file into a folder; return its new path.

    MLflow searches two places, the run and its models. It hides the errors of both, even an outage or a full
    disk, and reports that the artifact does not exist. The run's own store gives the true reason in the last
    line of its message. The decision to try again depends on that reason.

    Raises:
        CheckpointError: The artifact location does not exist.
        MlflowException: The download failed; it carries the true reason and its code.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        with _as_own_store(client):
            return client.download_artifacts(run_id, artifact_path, destination)
    except MlflowException:
        uri = client.get_run(run_id).info.artifact_uri
        if location := find_absent_folder(uri, run_id):
            raise CheckpointError(
                f"{artifact_path!r} of run {run_id}",
                found=f"its artifact location {location} does not exist",
                fix="mount or restore it, or run bakeoff where it exists",
            ) from None
        repository = get_artifact_repository(uri, client.tracking_uri)
        try:
            found: str = repository.download_artifacts(artifact_path, destination)  # type: ignore[no-untyped-call]
        except MlflowException as error:
            reason = str(error).strip().splitlines()[-1]
            raise MlflowException(reason, ErrorCode.Value(error.error_code)) from error
        return found


def list_artifacts(run_id: str, artifact_path: str, client: MlflowClient) -> dict[str, bool]:
    """List the paths directly below an artifact path of a run, each with whether it is a folder."""
    with _as_own_store(client):
        found = client.list_artifacts(run_id, artifact_path or None)
    return {entry.path: bool(entry.is_dir) for entry in found}


def find_absent_folder(artifact_uri: str, run_id: str) -> str | None:
    """Return the artifact location of a run's experiment if it is a folder of this machine that is absent."""
    parts = urlsplit(artifact_uri)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        path = Path(url2pathname(parts.path))
    elif parts.scheme or not artifact_uri:
        return None
    else:
        path = Path(artifact_uri).absolute()
    names = path.parts
    location = Path(*names[: names.index(run_id)]) if run_id in names else path
    return None if location.is_dir() else str(location)


@contextmanager
def _as_own_store(client: MlflowClient) -> Iterator[None]:
    """Set the client's store as the store of this process.

    MLflow looks for logged models in the store that the process has set, not in the client's store.
    """
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None  # type: ignore[no-untyped-call]
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type] # None unsets it
