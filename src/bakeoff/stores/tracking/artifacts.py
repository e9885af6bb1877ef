"""List and fetch artifacts of a run or at a location, and report the true reason of a failure.

A location is the URI of a model that MLflow keeps: ``runs:/RUN/PATH``, ``models:/m-ID``, or the URI of the
artifact itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bakeoff.errors import CheckpointError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

RUNS, LOGGED = "runs:/", "models:/"


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


def download_from(location: str, path: str, destination: str, client: MlflowClient) -> str:
    """Fetch a folder or file below a location into a folder; return its new path. An empty path means all.

    Raises:
        CheckpointError: The artifact location of the run does not exist.
        MlflowException: The download failed; it carries the true reason and its code.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    if location.startswith(RUNS):
        run_id, artifact = _split(location)
        return download_artifact(run_id, _join(artifact, path), destination, client)
    try:
        found: str = _open_location(location, client).download_artifacts(path, destination)
    except MlflowException as error:
        reason = str(error).strip().splitlines()[-1]
        raise MlflowException(reason, ErrorCode.Value(error.error_code)) from error
    return found


def list_at(location: str, path: str, client: MlflowClient) -> dict[str, bool]:
    """List the names directly below a path of a location, each with whether it is a folder."""
    if location.startswith(RUNS):
        run_id, artifact = _split(location)
        found = list_artifacts(run_id, _join(artifact, path), client)
    else:
        entries = _open_location(location, client).list_artifacts(path)
        found = {entry.path: bool(entry.is_dir) for entry in entries}
    return {name.rpartition("/")[2]: is_folder for name, is_folder in found.items()}


def _split(location: str) -> tuple[str, str]:
    run_id, _, artifact = location.removeprefix(RUNS).partition("/")
    return run_id, artifact


def _join(folder: str, path: str) -> str:
    return f"{folder}/{path}" if path else folder


def _open_location(location: str, client: MlflowClient) -> Any:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if location.startswith(LOGGED):
        location = client.get_logged_model(location.removeprefix(LOGGED)).artifact_location
    return get_artifact_repository(location, client.tracking_uri)


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
