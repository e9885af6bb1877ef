"""The model registry: one version for each winner, made from the run that holds its model."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.core.decision.production import Production
from bakeoff.errors import TrackingError
from bakeoff.stores import tags
from bakeoff.stores.tags import Stage
from bakeoff.stores.tracking import aliases, answers
from bakeoff.stores.tracking.client import Tracker
from bakeoff.stores.tracking.connection import BUDGET_S
from bakeoff.stores.tracking.queries import quote_filter_value

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

_NOT_THERE = "RESOURCE_DOES_NOT_EXIST"


def find_production(tracker: Tracker, model: str) -> Production:
    """Find the model at ``@champion``, described by the tags of its version.

    Args:
        tracker: Tracking store with the registry.
        model: Name of the registered model.
    """
    number = aliases.read_aliases(tracker, model).champion
    if number is None:
        return Production(model=model, reason=f"no version of {model} has the alias @{aliases.CHAMPION}")
    version = tracker.call(
        "reading what is in production", functools.partial(answers.read_version, model, number)
    )
    return Production(
        model=model,
        version=number,
        checkpoint_digest=version.tags.get(tags.CHECKPOINT_DIGEST, ""),
        runtime=version.tags.get(tags.RUNTIME, ""),
        benchmark_keys=tuple(version.tags.get(tags.BENCHMARK_KEYS, "").split()),
        reason="",
    )


def find_versions(tracker: Tracker, model: str, candidate_digest: str) -> list[str]:
    """Find the versions of a candidate, the lowest first, which every process chooses."""
    found = tracker.call("reading model versions", functools.partial(_find_versions, model, candidate_digest))
    return [str(row.version) for row in found]


def upload_model(
    tracker: Tracker,
    experiment_id: str,
    folder: Path,
    *,
    name: str,
    identity: Mapping[str, str],
    described: Mapping[str, str],
) -> str:
    """Upload a model folder as the artifact of a promotion run, once; return the run's id.

    Args:
        tracker: Tracking store.
        experiment_id: Id of the benchmark experiment.
        folder: Folder of the model.
        name: Name of the run, for people.
        identity: Tags that identify the run. A finished run with them is used as it is, and an interrupted
            one is continued.
        described: More tags of the run.
    """
    known = {tags.STAGE: Stage.PROMOTION, **identity}
    run_id = None
    for run in tracker.search_runs(experiment_id, known):
        if run.info.status == "FINISHED":
            return str(run.info.run_id)
        if run.info.status == "RUNNING":
            run_id = run_id or str(run.info.run_id)
    if run_id is None:
        run_id = tracker.create_run(experiment_id, name, known | dict(described), nonce=uuid.uuid4().hex)
    tracker.log_files(run_id, [folder], tags.MODEL_ARTIFACT)
    tracker.end_run(run_id, "FINISHED")
    return run_id


def ensure_version(tracker: Tracker, model: str, run_id: str, version_tags: Mapping[str, str]) -> str:
    """Return the one version of a candidate; make it if it is missing.

    MLflow silently makes a second version after a lost reply, or if two machines promote at once. Numbers
    rise, so every process keeps the lowest version and removes the others.

    Args:
        tracker: Tracking store with the registry.
        model: Name of the registered model, made if it is missing.
        run_id: Run with the model as its artifact.
        version_tags: Tags of the version; ``CANDIDATE_DIGEST`` among them identifies it.

    Raises:
        TrackingError: The store does not answer, or does not keep the version.
    """
    tracker.call("making a registered model", functools.partial(_ensure_model, model))
    tracker.call(
        "making a model version", functools.partial(_ensure_version, model, run_id, dict(version_tags))
    )
    found = find_versions(tracker, model, version_tags[tags.CANDIDATE_DIGEST])
    if not found:
        raise TrackingError(
            tracker.shown_uri,
            action="making a model version",
            found="acknowledged, but it is not there",
            safe="repeat the command",
        )
    remove_versions(tracker, model, found[1:])
    return found[0]


def remove_versions(tracker: Tracker, model: str, doubles: Sequence[str]) -> None:
    """Remove duplicate versions of a candidate."""
    for double in doubles:
        tracker.call("removing a duplicate version", functools.partial(_remove_version, model, double))


def _ensure_model(model: str, client: MlflowClient) -> None:
    from mlflow.exceptions import MlflowException

    if answers.find_model(model, client) is not None:
        return
    try:
        client.create_registered_model(model)
    except MlflowException as error:  # another machine was faster, or our own reply was lost
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _ensure_version(model: str, run_id: str, version_tags: dict[str, str], client: MlflowClient) -> None:
    if not _find_versions(model, version_tags[tags.CANDIDATE_DIGEST], client):
        source = f"runs:/{run_id}/{tags.MODEL_ARTIFACT}"
        # MLflow would wait five minutes for a version to be ready; the next try finds one that needs longer.
        client.create_model_version(
            model, source=source, run_id=run_id, tags=version_tags, await_creation_for=round(BUDGET_S)
        )


def _remove_version(model: str, version: str, client: MlflowClient) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.delete_model_version(model, version)
    except MlflowException as error:  # its maker removed it
        if error.error_code != _NOT_THERE:
            raise


def _find_versions(model: str, candidate_digest: str, client: MlflowClient) -> list[ModelVersion]:
    """Find all versions of a candidate, the lowest number first."""
    token: str | None = None
    found: list[ModelVersion] = []
    while True:
        page = client.search_model_versions(
            f"name = {quote_filter_value(model)}", max_results=1000, page_token=token
        )
        found += [row for row in page if row.tags.get(tags.CANDIDATE_DIGEST) == candidate_digest]
        token = page.token
        if not token:
            return sorted(found, key=lambda row: int(row.version))
