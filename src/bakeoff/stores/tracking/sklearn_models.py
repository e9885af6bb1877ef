"""Models of scikit-learn: logged with ``mlflow.sklearn``, and registered, once."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING, Any

from bakeoff.measure.backends.availability import library_versions
from bakeoff.stores.tracking.client import Tracker
from bakeoff.stores.tracking.queries import quote_filter_value

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")


def log_sklearn_once(
    tracker: Tracker, experiment_id: str, name: str, fit: Callable[[], tuple[Any, Any]]
) -> bool:
    """Log and register a model of scikit-learn, unless the registry has one of this name.

    Args:
        tracker: Tracking store with the registry.
        experiment_id: Id of the experiment of the new run.
        name: Name of the registered model, and of the run.
        fit: Function that returns the fitted model and an example of its input, a data frame.

    Returns:
        Whether the model was logged now.

    Raises:
        TrackingError: The store does not answer.
    """
    if tracker.call("reading model versions", functools.partial(_has_version, name)):
        return False
    model, example = fit()
    tracker.call(
        "logging a model", lambda _: _log(tracker.uri, experiment_id, name, model, example), is_patient=False
    )
    return True


def _has_version(name: str, client: MlflowClient) -> bool:
    return bool(client.search_model_versions(f"name = {quote_filter_value(name)}", max_results=1))


def _log(uri: str, experiment_id: str, name: str, model: Any, example: Any) -> None:
    import mlflow.sklearn
    from mlflow.models import infer_signature

    # Without the requirements, mlflow would start a process to find them.
    versions = library_versions("scikit-learn", "skops", "pandas")
    pinned = [f"{library}=={version}" for library, version in versions.items()]
    with (
        redirect_stderr(io.StringIO()),  # mlflow prints what it does; its errors are raised
        _tracking_at(uri),
        mlflow.start_run(experiment_id=experiment_id, run_name=name),
    ):
        mlflow.sklearn.log_model(
            model,
            name=name,
            registered_model_name=name,
            signature=infer_signature(example, model.predict(example)),
            pip_requirements=pinned,
        )


@contextmanager
def _tracking_at(uri: str) -> Iterator[None]:
    """Point mlflow's functions, which know no client, at a store for a while.

    mlflow keeps a URI in a module and in a variable. The variable alone says the same afterwards.
    """
    import mlflow

    before = {name: os.environ.get(name) for name in _VARIABLES}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
        mlflow.set_registry_uri(None)  # type: ignore[arg-type]
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
