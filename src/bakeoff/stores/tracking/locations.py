"""Locations: the artifact that an MLflow source of a named model means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bakeoff.core.config.models import ModelSource
from bakeoff.errors import ModelSourceError, TrackingError
from bakeoff.stores.tracking.client import Tracker
from bakeoff.stores.tracking.queries import quote_filter_value
from bakeoff.uris import mask_password

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

# Stores that MLflow itself writes models to. The text of a registry comes from others: a web address is not
# among them.
_SCHEMES = frozenset(
    {"", "abfss", "dbfs", "file", "gs", "hdfs", "mlflow-artifacts", "r2", "s3", "viewfs", "wasbs"}
)
_FIX = "name a version or an alias that exists"
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def locate(tracker: Tracker, source: ModelSource, place: str) -> str:
    """Return the location that a source means now; an alias may mean another one tomorrow.

    Args:
        tracker: Tracking store with the registry; asked only for a registered model.
        source: URI of MLflow.
        place: Setting of the source, for messages.

    Raises:
        ModelSourceError: The registry has no such model, version or alias, or its artifact is out of reach.
        TrackingError: The store does not answer.
    """
    wanted = source.registered
    if wanted is None:
        return source.source
    if not tracker.is_there:
        raise ModelSourceError(
            place, found=f"no tracking store at {tracker.shown_uri}", fix="correct tracking.uri"
        )

    def read(client: MlflowClient) -> ModelVersion:
        if wanted.alias is not None:
            return client.get_model_version_by_alias(wanted.name, wanted.alias)
        return client.get_model_version(wanted.name, str(wanted.version))

    try:
        version = tracker.call("reading a model version", read)
    except TrackingError as error:
        if getattr(error.__cause__, "error_code", "") not in _ABSENT:
            raise
        raise ModelSourceError(place, found=_describe_absent(tracker, source), fix=_FIX) from error
    return _check(str(version.source), place)


def _describe_absent(tracker: Tracker, source: ModelSource) -> str:
    """Describe what the registry has instead, as far as one more request finds it."""
    wanted = source.registered
    if wanted is None:
        raise TypeError(f"{source.source} is not a registered model")
    name = wanted.name

    def read(client: MlflowClient) -> str:
        from mlflow.exceptions import MlflowException

        try:
            model = client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            others = sorted(row.name for row in client.search_registered_models(max_results=20))
            return (
                f"no registered model {name!r} in {tracker.shown_uri}; it has: {', '.join(others) or 'none'}"
            )
        if wanted.alias is not None:
            aliases = ", ".join(f"@{alias}" for alias in sorted(model.aliases)) or "none"
            return f"{name!r} has no alias @{wanted.alias}; it has: {aliases}"
        versions = client.search_model_versions(f"name = {quote_filter_value(name)}", max_results=20)
        numbers = ", ".join(sorted((str(row.version) for row in versions), key=int)) or "none"
        return f"{name!r} has no version {wanted.version}; it has: {numbers}"

    return tracker.call("reading a registered model", read)


def _check(location: str, place: str) -> str:
    scheme = location.partition(":")[0].lower() if ":" in location else ""
    if scheme in {"runs", "models"}:
        try:
            inner = ModelSource(source=location)
        except ValueError:
            inner = None
        if inner is not None and inner.registered is None:
            return location
    elif scheme in _SCHEMES:
        return location if scheme else f"file://{location}"
    raise ModelSourceError(
        place,
        found=f"the registry keeps it at {mask_password(location)[:200]!r}, which bakeoff does not read",
        fix="register a version from a run or a logged model",
    )
