"""Answers that are checked, since something between bakeoff and MLflow may answer instead.

To MLflow's client, an empty page or foreign JSON is an answer in which every field has its default: a run
without id, no runs, a write that succeeded. So bakeoff compares an answer with the request, and reads back
what it wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from bakeoff.stores.tracking.faults import ForeignAnswerError

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel
    from mlflow.tracking import MlflowClient

_ABSENT = "RESOURCE_DOES_NOT_EXIST"


def find_experiment(name: str, client: MlflowClient) -> Experiment | None:
    """Find an experiment, active or deleted; None if no experiment has this name.

    Raises:
        ForeignAnswerError: The answer is about another experiment; it does not mean that there is none.
    """
    found = client.get_experiment_by_name(name)
    if found is not None:
        _require_same(name, found.name)
    return found


def read_run(run_id: str, client: MlflowClient) -> Run:
    """Read a run.

    Raises:
        ForeignAnswerError: The answer is about another run.
    """
    found = client.get_run(run_id)
    _require_same(run_id, found.info.run_id)
    return found


def read_version(model: str, version: str, client: MlflowClient) -> ModelVersion:
    """Read a version of a registered model.

    Raises:
        ForeignAnswerError: The answer is about another version.
    """
    found = client.get_model_version(model, version)
    _require_same(f"{model} {version}", f"{found.name} {found.version}")
    return found


def find_model(model: str, client: MlflowClient) -> RegisteredModel | None:
    """Find a registered model; None if no model has this name.

    Raises:
        ForeignAnswerError: The answer is about another model.
    """
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_registered_model(model)
    except MlflowException as error:
        if error.error_code != _ABSENT:
            raise
        return None
    _require_same(model, found.name)
    return found


def require_search(experiment_ids: Sequence[str], client: MlflowClient) -> None:
    """Make sure that MLflow is there, after a search that found no runs.

    Args:
        experiment_ids: Experiments that were searched; MLflow searches those that do not exist, too.
        client: Client of the store.

    Raises:
        ForeignAnswerError: Something else answers.
    """
    from mlflow.exceptions import MlflowException

    try:
        found = client.get_experiment(experiment_ids[0])
    except MlflowException as error:
        if error.error_code != _ABSENT:
            raise
    else:
        _require_same(experiment_ids[0], found.experiment_id)


def require_written(
    run_id: str,
    client: MlflowClient,
    *,
    status: str | None = None,
    names: Mapping[str, Iterable[str]] = MappingProxyType({}),
) -> None:
    """Read a run back after a write.

    Args:
        run_id: Run that was written to.
        client: Client of the store.
        status: Status that it must have; None allows any.
        names: Names of the ``metrics``, ``params`` and ``tags`` that it must have. MLflow may store another
            value, such as for infinity.

    Raises:
        ForeignAnswerError: It does not hold what was written.
    """
    run = read_run(run_id, client)
    missing = [name for kind, asked in names.items() for name in asked if name not in getattr(run.data, kind)]
    if status is not None and run.info.status != status:
        missing.append(f"status {status}")
    if missing:
        raise ForeignAnswerError(f"acknowledged, but run {run_id} is without {', '.join(missing[:3])}")


def _require_same(asked: str, got: object) -> None:
    if str(got) != asked:
        raise ForeignAnswerError(f"asked for {asked!r}, got {got!r}; this is not an MLflow server")
