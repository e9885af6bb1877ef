"""Queries for runs in MLflow's filter language. One function runs them, one quotes values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bakeoff.stores.tracking.answers import require_search

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.store.entities import PagedList
    from mlflow.tracking import MlflowClient

PAGE_SIZE = 1000
MAX_RUN_IDS = 1000


@dataclass(frozen=True, slots=True)
class Query:
    """A query for runs.

    Attributes:
        experiment_ids: Experiments to search; a deleted one answers only with ``with_deleted``.
        conditions: Conditions in MLflow's filter language; all must hold.
        with_deleted: Whether to include deleted runs.
        page_size: Runs per request; None means ``PAGE_SIZE``.
    """

    experiment_ids: tuple[str, ...]
    conditions: Sequence[str] = ()
    with_deleted: bool = False
    page_size: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Runs that no earlier page of the query had.

    Attributes:
        is_last: Whether no page follows.
    """

    runs: tuple[Run, ...]
    is_last: bool


def ask(query: Query, client: MlflowClient, *, token: str | None = None) -> PagedList[Run]:
    """Fetch one page of runs; every query goes through here.

    Raises:
        ForeignAnswerError: Nothing was found, and what answers is not MLflow.
    """
    from mlflow.entities import ViewType

    found = client.search_runs(
        list(query.experiment_ids),
        " and ".join(query.conditions),
        run_view_type=ViewType.ALL if query.with_deleted else ViewType.ACTIVE_ONLY,
        max_results=query.page_size or PAGE_SIZE,
        order_by=["start_time ASC"],
        page_token=token,
    )
    if not found and token is None:
        require_search(query.experiment_ids, client)
    return found


def quote_filter_value(value: str) -> str:
    """Quote a value for MLflow's filter language, which has no escapes.

    Raises:
        ValueError: The value holds both kinds of quotes, so compare it in the client instead.
    """
    if "'" not in value:
        return f"'{value}'"
    if '"' not in value:
        return f'"{value}"'
    raise ValueError(f"no MLflow filter can carry {value!r}")


def equals(tag: str, value: str) -> str:
    """Return the condition that a tag has this value.

    Raises:
        ValueError: No filter can carry the value.
    """
    return f"tags.{_quote_name(tag)} = {quote_filter_value(value)}"


def differs(tag: str, value: str) -> str:
    """Return the condition that a tag has another value.

    Raises:
        ValueError: No filter can carry the value.
    """
    return f"tags.{_quote_name(tag)} != {quote_filter_value(value)}"


def lacks(tag: str) -> str:
    """Return the condition that a run does not have this tag."""
    return f"tags.{_quote_name(tag)} IS NULL"


def compares(metric: str, comparator: str, value: float) -> str:
    """Return a condition on the last value of a metric against a finite number; it never holds for NaN."""
    literal = repr(value).replace("e+", "e")  # the filter language knows no plus sign
    return f"metrics.{_quote_name(metric)} {comparator} {literal}"


def list_run_ids(run_ids: Iterable[str]) -> str:
    """Return the condition that a run has one of these ids, at most ``MAX_RUN_IDS``."""
    return f"attributes.run_id IN ({', '.join(map(quote_filter_value, run_ids))})"


def begins_with(prefix: str) -> str:
    """Return the condition that a run's id begins with some digits."""
    return f"attributes.run_id LIKE {quote_filter_value(prefix + '%')}"


def _quote_name(name: str) -> str:
    if "`" in name:
        raise ValueError(f"no MLflow filter can carry {name!r}")
    return f"`{name}`"
