"""Moves of ``@champion`` and ``@previous``. A process may die at any request; the next one continues.

MLflow's aliases have no compare-and-set: the last writer wins. So bakeoff reads the alias again directly
before the move, and once more after it. It notices moves by other machines, but cannot prevent them.
"""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from bakeoff.errors import AliasMovedError, NothingToUndoError, TrackingError
from bakeoff.record import Record
from bakeoff.stores import tags
from bakeoff.stores.tracking.answers import find_model, read_version
from bakeoff.stores.tracking.client import Tracker
from bakeoff.stores.tracking.faults import ForeignAnswerError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CHAMPION, PREVIOUS = "champion", "previous"


class Aliases(Record):
    """Versions at the aliases; None without the alias or the model."""

    champion: str | None
    previous: str | None


class Expected(Record):
    """Condition for a move: the version that ``@champion`` must name, or None for no version."""

    version: str | None


class _Undo(Record):
    """An undo in progress, noted at the model until it is done, so that it happens only once."""

    undone: str
    restored: str


def read_aliases(tracker: Tracker, model: str) -> Aliases:
    """Read the versions at the aliases of a model."""
    return tracker.call("reading the aliases", functools.partial(_read_aliases, model))


def require(model: str, expected: Expected | None, found: Aliases) -> None:
    """Refuse to continue unless ``@champion`` is at the expected version.

    Raises:
        AliasMovedError: ``@champion`` is at another version, or at none.
    """
    if expected is not None and expected.version != found.champion:
        raise AliasMovedError(model, expected=expected.version, found=found.champion)


def move_champion(
    tracker: Tracker, model: str, version: str, expected: Expected | None, remark: str
) -> Aliases:
    """Move ``@champion`` to a version and ``@previous`` to the one before; a second call changes nothing.

    Args:
        tracker: Tracking store with the registry.
        model: Name of the registered model.
        version: New champion.
        expected: Condition for the move, unless ``@champion`` names the version already; None allows any.
        remark: Reason for the version's history, in one line.

    Returns:
        The aliases before.

    Raises:
        AliasMovedError: ``@champion`` is not at the expected version, or another process is moving it.
    """
    before = read_aliases(tracker, model)
    if before.champion == version:
        return before
    require(model, expected, before)
    _note(tracker, model, version, f"@champion after {_name(before.champion)}, {remark}")
    if before.champion is not None:
        _set_previous(tracker, model, before.champion)
    require(model, Expected(version=before.champion), read_aliases(tracker, model))
    _set(tracker, model, CHAMPION, version)
    require(model, Expected(version=version), read_aliases(tracker, model))
    return before


def plan_undo(tracker: Tracker, model: str, expected: Expected | None) -> Aliases:
    """Return the aliases as ``undo`` would leave them, and write nothing.

    Raises:
        AliasMovedError: ``@champion`` is not at the expected version.
        NothingToUndoError: The aliases do not name two versions.
    """
    begun = _find_undo(tracker, model, expected)
    return Aliases(champion=begun.restored, previous=begun.undone)


def undo(tracker: Tracker, model: str, expected: Expected | None) -> Aliases:
    """Swap ``@champion`` and ``@previous``; an interrupted undo is finished, not repeated.

    Returns:
        The aliases after.

    Raises:
        AliasMovedError: ``@champion`` is not at the expected version, or another process is moving it.
        NothingToUndoError: The aliases do not name two versions.
    """
    begun = _find_undo(tracker, model, expected)
    tracker.call("noting the undo", functools.partial(_write_undo, model, begun))
    _note(tracker, model, begun.undone, f"undone, @champion is {_name(begun.restored)}")
    _note(tracker, model, begun.restored, f"@champion after {_name(begun.undone)}")
    found = read_aliases(tracker, model)
    if found.champion != begun.restored:
        require(model, Expected(version=begun.undone), found)
        _set(tracker, model, CHAMPION, begun.restored)
    _set_previous(tracker, model, begun.undone)
    after = read_aliases(tracker, model)
    require(model, Expected(version=begun.restored), after)
    tracker.call("closing the undo", functools.partial(_remove_undo, model))
    return after


def _find_undo(tracker: Tracker, model: str, expected: Expected | None) -> _Undo:
    """Find an unfinished undo that the aliases still match; otherwise derive the undo from the aliases."""
    found = read_aliases(tracker, model)
    begun = tracker.call("reading the registered model", functools.partial(_read_undo, model))
    if begun is not None and {found.champion, found.previous} <= {begun.undone, begun.restored}:
        require(model, expected, Aliases(champion=begun.undone, previous=begun.restored))
        return begun
    require(model, expected, found)
    if found.champion is None or found.previous is None or found.champion == found.previous:
        raise NothingToUndoError(model, champion=found.champion, previous=found.previous)
    return _Undo(undone=found.champion, restored=found.previous)


def _set(tracker: Tracker, model: str, alias: str, version: str) -> None:
    tracker.call(f"moving @{alias}", lambda client: client.set_registered_model_alias(model, alias, version))


def _set_previous(tracker: Tracker, model: str, version: str) -> None:
    """Move ``@previous``, and read it back, since no later step does."""
    _set(tracker, model, PREVIOUS, version)
    if (found := read_aliases(tracker, model).previous) != version:
        raise TrackingError(
            tracker.shown_uri,
            action=f"moving @{PREVIOUS}",
            found=f"it is at {_name(found)}, not at {_name(version)}",
            safe="repeat the command",
        )


def _note(tracker: Tracker, model: str, version: str, event: str) -> None:
    """Add a line to a version's history before the act, unless an earlier try added it."""
    tracker.call("noting the history", functools.partial(_add_line, model, version, event))


def _add_line(model: str, version: str, event: str, client: MlflowClient) -> None:
    lines = read_version(model, version, client).tags.get(tags.HISTORY, "").splitlines()
    if not lines or not lines[-1].endswith(f" {event}"):
        when = datetime.now(UTC).isoformat(timespec="seconds")
        text = "\n".join([*lines, f"{when} {event}"])
        client.set_model_version_tag(model, version, tags.HISTORY, text)
        if read_version(model, version, client).tags.get(tags.HISTORY) != text:
            raise ForeignAnswerError(f"acknowledged, but version {version} is without {tags.HISTORY}")


def _read_aliases(model: str, client: MlflowClient) -> Aliases:
    found = find_model(model, client)
    # A number over SQLite, a text over HTTP.
    numbers = {name: str(version) for name, version in (found.aliases if found else {}).items()}
    return Aliases(champion=numbers.get(CHAMPION), previous=numbers.get(PREVIOUS))


def _read_undo(model: str, client: MlflowClient) -> _Undo | None:
    found = find_model(model, client)
    text = found.tags.get(tags.UNDO) if found else None
    try:
        return _Undo.model_validate(json.loads(text)) if text else None
    except (ValueError, ValidationError):  # not written by bakeoff
        return None


def _write_undo(model: str, undo: _Undo, client: MlflowClient) -> None:
    client.set_registered_model_tag(model, tags.UNDO, undo.model_dump_json())
    if _read_undo(model, client) != undo:
        raise ForeignAnswerError(f"acknowledged, but the model is without {tags.UNDO}")


def _remove_undo(model: str, client: MlflowClient) -> None:
    client.delete_registered_model_tag(model, tags.UNDO)
    if _read_undo(model, client) is not None:
        raise ForeignAnswerError(f"acknowledged, but the model still has {tags.UNDO}")


def _name(version: str | None) -> str:
    return "none" if version is None else f"v{version}"
