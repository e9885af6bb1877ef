"""Copies of projects. MLflow writes down where artifacts lie as absolute: a copy's must lie in the copy."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

STORE = "mlflow.db"
_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def copy_project(template: Path, folder: Path, *left_out: str) -> Path:
    """Copy a project's folder.

    Args:
        template: The project's folder.
        folder: Where the copy goes; must not be there.
        left_out: Patterns of names that are not copied.

    Returns:
        The folder.
    """
    shutil.copytree(template, folder, ignore=shutil.ignore_patterns(*left_out))
    if (folder / STORE).exists():
        move_artifacts(folder / STORE, template, folder)
    # For the life of a process MLflow remembers by a run's id where its artifacts lie; copies share the ids.
    _artifact_repos_cache.clear()
    return folder


def copy_unmeasured(template: Path, folder: Path) -> Path:
    """Copy a project without its results; returns the configuration of the copy."""
    return copy_project(template, folder, "results") / "config"


def move_artifacts(store: Path, old: Path, new: Path) -> None:
    """Write into a store that the artifacts that lay in one folder lie in another."""
    with closing(sqlite3.connect(store)) as connection, connection:
        for table, column in _PLACES:
            connection.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)",  # noqa: S608 - names of our own
                (f"{old}/", f"{new}/"),
            )
