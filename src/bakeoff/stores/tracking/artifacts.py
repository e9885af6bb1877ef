"""List and fetch artifacts of a run or at a location, and report the true reason of a failure.

A location is the URI of a model that MLflow keeps: ``runs:/RUN/PATH``, ``models:/m-ID``, or the URI of the
artifact itself.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from bakeoff.errors import CheckpointError
from bakeoff.stores.tracking.answers import read_run
from bakeoff.stores.tracking.faults import ForeignAnswerError

if TYPE_CHECKING:
    from mlflow.entities import FileInfo
    from mlflow.tracking import MlflowClient

RUNS, LOGGED = "runs:/", "models:/"


def download_artifact(run_id: str, artifact_path: str, destination: str, client: MlflowClient) -> str:
    """Fetch a folder or file into a folder; return its new path.

    MLflow searches two places, the run and its models. It hides the errors of both, even an outage or a full
    disk, and reports that the artifact does not exist. The run's own store gives the true reason in the last
    line of its message. The decision to try again depends on that reason.

    Raises:
        CheckpointError: The artifact location does not exist.
        ForeignAnswerError: A file has another size than in the list of the run's artifacts, or is missing.
        MlflowException: The download failed; it carries the true reason and its code.
    """
    found = _download_artifact(run_id, artifact_path, destination, client)
    with _as_own_store(client):
        _require_equal(
            Path(found),
            artifact_path,
            lambda path: client.list_artifacts(run_id, path or None),
            is_fetched=True,
        )
    return found


def _download_artifact(run_id: str, artifact_path: str, destination: str, client: MlflowClient) -> str:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        with _as_own_store(client), _of_mlflow():
            return client.download_artifacts(run_id, artifact_path, destination)
    except MlflowException:
        uri = read_run(run_id, client).info.artifact_uri
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


def upload_artifacts(run_id: str, paths: Sequence[Path], artifact_path: str, client: MlflowClient) -> None:
    """Upload files, or the content of folders, below an artifact path, and look whether all of it is there.

    MLflow's client would take an answer without location for the current folder, and upload to there. It also
    accepts any answer with success to an upload.

    Raises:
        ForeignAnswerError: A file is not there afterwards, or has another size.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    location = read_run(run_id, client).info.artifact_uri
    repository: Any = get_artifact_repository(location, client.tracking_uri)
    for path in paths:
        if path.is_dir():
            repository.log_artifacts(str(path), artifact_path)
        else:
            repository.log_artifact(str(path), artifact_path)
    listed = functools.cache(repository.list_artifacts)
    for path in paths:
        place = artifact_path if path.is_dir() else f"{artifact_path}/{path.name}"
        _require_equal(path, place, listed, is_fetched=False)


def _require_equal(
    path: Path, artifact_path: str, list_folder: Callable[[str], Iterable[FileInfo]], *, is_fetched: bool
) -> None:
    """Compare a file or folder of this machine with an artifact, by names and sizes.

    Args:
        path: File or folder of this machine.
        artifact_path: Artifact that it was copied to or from.
        list_folder: Lists a folder of artifacts.
        is_fetched: Whether it must hold all that the artifact holds; more may have been uploaded earlier.

    Raises:
        ForeignAnswerError: They differ.
    """
    is_folder = path.is_dir()
    top, above = (path, artifact_path) if is_folder else (path.parent, artifact_path.rpartition("/")[0])
    for folder in map(Path, (each for each, _, _ in os.walk(path)) if is_folder else (top,)):
        place = (PurePosixPath(above) / folder.relative_to(top).as_posix()).as_posix()
        with _of_mlflow():
            listed = [each for each in list_folder("" if place == "." else place) if not each.is_dir]
        there = {each.path.rpartition("/")[2]: each.file_size for each in listed}
        files = filter(Path.is_file, folder.iterdir()) if is_folder else [path]
        here = {file.name: file.stat().st_size for file in files}
        for name in here | there if is_folder and is_fetched else here:
            if there.get(name, -1) not in (None, here.get(name)):
                raise ForeignAnswerError(
                    f"acknowledged, but {name!r} in {place!r} has {here.get(name)} bytes here, and "
                    f"{there.get(name)} there"
                )


def list_artifacts(run_id: str, artifact_path: str, client: MlflowClient) -> dict[str, bool]:
    """List the paths directly below an artifact path of a run, each with whether it is a folder."""
    with _as_own_store(client), _of_mlflow():
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
        repository = _open_location(location, client)
        found: str = repository.download_artifacts(path, destination)
        _require_equal(Path(found), path, repository.list_artifacts, is_fetched=True)
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
        with _of_mlflow():
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
def _of_mlflow() -> Iterator[None]:
    """Report an answer that MLflow's client cannot take apart; it reads the lists of a server unchecked."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ForeignAnswerError("the list of artifacts is not MLflow's; check tracking.uri") from error


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
