"""The model registry: one version a winner, one alias that moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bakeoff.core.production import Production
from bakeoff.record import Record
from bakeoff.stores import tags
from bakeoff.stores.tracking.client import Tracker
from bakeoff.stores.tracking.queries import quote_filter_value

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

CHAMPION_ALIAS = "champion"
PREVIOUS_ALIAS = "previous"


class Promotion(Record):
    """What a promotion did.

    Attributes:
        version: That ``@champion`` now names.
        previous: That it named before; None if it named none.
        is_new: Whether the version was made now.
    """

    model: str
    version: str
    previous: str | None
    is_new: bool


def promote(
    tracker: Tracker, model: str, refit_run_id: str, version_tags: Mapping[str, str], identity: str
) -> Promotion:
    """Register a refit's checkpoint and let ``@champion`` name it; repeating it changes nothing.

    Args:
        tracker: Whose registry.
        model: Name of the registered model.
        refit_run_id: Whose checkpoint artifact is registered.
        version_tags: Decision, keys and digests, for whoever reads the version later.
        identity: Name of the tag that tells whether a version is already there for this winner.
    """
    tracker.call("making a registered model", lambda client: _ensure_model(client, model))
    existing = tracker.call(
        "reading model versions", lambda client: _find_version(client, model, version_tags, identity)
    )
    version = existing or tracker.call(
        "making a model version",
        lambda client: (
            _find_version(client, model, version_tags, identity)
            or client.create_model_version(
                model,
                source=f"runs:/{refit_run_id}/{tags.CHECKPOINT_ARTIFACT}",
                run_id=refit_run_id,
                tags=dict(version_tags),
            )
        ),
    )
    number = str(version.version)
    previous = tracker.call("reading an alias", lambda client: _read_alias(client, model))
    if previous != number:
        if previous is not None:
            tracker.call(
                "keeping the previous alias",
                lambda client: client.set_registered_model_alias(model, PREVIOUS_ALIAS, previous),
            )
        tracker.call(
            "moving the alias",
            lambda client: client.set_registered_model_alias(model, CHAMPION_ALIAS, number),
        )
    return Promotion(
        model=model,
        version=number,
        previous=previous if previous != number else None,
        is_new=existing is None,
    )


def find_production(tracker: Tracker, model: str) -> Production:
    """What ``@champion`` names now, as the tags of the version tell it.

    Args:
        tracker: Whose registry.
        model: Name of the registered model.

    Raises:
        TrackingError: The registry does not answer, or refuses.
    """
    version = tracker.call("reading what is in production", lambda client: _find_champion(client, model))
    if version is None:
        return Production(model=model, reason=f"no version of {model} has the alias @{CHAMPION_ALIAS}")
    found = version.tags
    return Production(
        model=model,
        version=str(version.version),
        checkpoint_digest=found.get(tags.CHECKPOINT_DIGEST, ""),
        runtime=found.get(tags.RUNTIME, ""),
        benchmark_keys=tuple(found.get(tags.BENCHMARK_KEYS, "").split()),
        reason="",
    )


def _find_champion(client: MlflowClient, model: str) -> ModelVersion | None:
    if not client.search_registered_models(f"name = {quote_filter_value(model)}", max_results=1):
        return None
    number = _read_alias(client, model)
    return client.get_model_version(model, number) if number is not None else None


def _ensure_model(client: MlflowClient, model: str) -> None:
    if not client.search_registered_models(f"name = {quote_filter_value(model)}", max_results=1):
        client.create_registered_model(model)


def _find_version(
    client: MlflowClient, model: str, version_tags: Mapping[str, str], identity: str
) -> ModelVersion | None:
    token: str | None = None
    found: list[ModelVersion] = []
    while True:
        page = client.search_model_versions(
            f"name = {quote_filter_value(model)}", max_results=1000, page_token=token
        )
        found += [version for version in page if version.tags.get(identity) == version_tags[identity]]
        token = page.token
        if not token:
            return min(found, key=lambda version: int(version.version), default=None)


def _read_alias(client: MlflowClient, model: str) -> str | None:
    aliases = client.get_registered_model(model).aliases
    found = aliases.get(CHAMPION_ALIAS)
    return str(found) if found is not None else None
