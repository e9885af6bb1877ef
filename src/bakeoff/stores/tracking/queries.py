"""Queries for runs in MLflow's filter language: one function runs them, one quotes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.store.entities import PagedList
    from mlflow.tracking import MlflowClient

PAGE_SIZE = 1000
MAX_RUN_IDS = 1000


@dataclass(frozen=True, slots=True)
class Query:
    """Which runs are asked for.

    Attributes:
        experiment_ids: Where to look; a deleted experiment answers only together with ``with_deleted``.
        conditions: In MLflow's filter language; all must hold.
        with_deleted: Whether deleted runs are meant too.
        page_size: Runs of one request; None leaves it to ``PAGE_SIZE``.
    """

    experiment_ids: tuple[str, ...]
    conditions: Sequence[str] = ()
    with_deleted: bool = False
    page_size: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Runs that no earlier page of the query had.

    Attributes:
        is_last: Nothing comes after it.
    """

    runs: tuple[Run, ...]
    is_last: bool


def ask(query: Query, client: MlflowClient, *, token: str | None = None) -> PagedList[Run]:
    """The one place where runs are asked for: one page."""
    from mlflow.entities import ViewType

    return client.search_runs(
        list(query.experiment_ids),
        " and ".join(query.conditions),
        run_view_type=ViewType.ALL if query.with_deleted else ViewType.ACTIVE_ONLY,
        max_results=query.page_size or PAGE_SIZE,
        order_by=["start_time ASC"],
        page_token=token,
    )


def quote_filter_value(value: str) -> str:
    """A string literal for MLflow's filter language, which has no escapes.

    Raises:
        ValueError: The value holds both kinds of quotes, so no filter can carry it: match in the client.
    """
    if "'" not in value:
        return f"'{value}'"
    if '"' not in value:
        return f'"{value}"'
    raise ValueError(f"no MLflow filter can carry {value!r}")


def equals(tag: str, value: str) -> str:
    """The condition that a run has a tag of this value.

    Raises:
        ValueError: No filter can carry the value.
    """
    return f"tags.{_quote_name(tag)} = {quote_filter_value(value)}"


def differs(tag: str, value: str) -> str:
    """The condition that a run has a tag of another value.

    Raises:
        ValueError: No filter can carry the value.
    """
    return f"tags.{_quote_name(tag)} != {quote_filter_value(value)}"


def lacks(tag: str) -> str:
    """The condition that a run has no such tag."""
    return f"tags.{_quote_name(tag)} IS NULL"


def compares(metric: str, comparator: str, value: float) -> str:
    """The condition that the last value of a metric compares so with a finite number; NaN never does."""
    literal = repr(value).replace("e+", "e")  # the filter language knows no plus sign
    return f"metrics.{_quote_name(metric)} {comparator} {literal}"


def list_run_ids(run_ids: Iterable[str]) -> str:
    """The condition that a run is one of some, at most ``MAX_RUN_IDS`` of them."""
    return f"attributes.run_id IN ({', '.join(map(quote_filter_value, run_ids))})"


def begins_with(prefix: str) -> str:
    """The condition that a run's id begins with some digits."""
    return f"attributes.run_id LIKE {quote_filter_value(prefix + '%')}"


def _quote_name(name: str) -> str:
    if "`" in name:
        raise ValueError(f"no MLflow filter can carry {name!r}")
    return f"`{name}`"
