"""Checks of a database before MLflow opens it, since its client makes or changes tables unasked."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from bakeoff.errors import TrackingError
from bakeoff.uris import SQLITE, dialect_of, find_sqlite_path, is_database, mask_password

# Another process that makes a new store shows progress within these; until it stops, bakeoff waits.
MAKING_WAITS_S = (1.0, 2.0, 4.0)
MOST_LOOKS = 20
_REVISION_TABLE = "alembic_version"
_ASK_REVISION = "SELECT version_num FROM alembic_version"
_OTHER_SCHEMA = re.compile(r"out-of-date database schema \(found version (?P<found>\w+)")
_ASK_THEM = "or set tracking.uri to the address of its `mlflow server`"


def is_unmade(uri: str) -> bool:
    """Return whether a URI is of a SQLite store that does not exist; a look must not make one."""
    path = _sqlite_path(uri)
    return path is not None and not path.is_file()


def check_tables(uri: str) -> None:
    """Refuse a database of another program or another MLflow; leave other URIs to MLflow.

    Raises:
        TrackingError: The database is one of these; nothing in it was changed.
        ImportError: Its driver is not installed.
        SQLAlchemyError: It does not answer.
    """
    if not is_database(uri):
        return  # MLflow's database stores are slow to import
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore  # registers more tables
    from mlflow.store.tracking.dbmodels.models import SqlRun

    del SqlAlchemyStore
    wanted = set(SqlRun.metadata.tables)
    before, waits_s = None, iter(MAKING_WAITS_S)
    for _ in range(MOST_LOOKS):
        tables, revision = seen = _look_at(uri)
        if not tables or wanted <= tables:
            return
        if tables.isdisjoint(wanted):
            found = f"not an MLflow store, but a database with the tables {', '.join(sorted(tables)[:5])}"
            raise TrackingError(
                mask_password(uri), action="opening it", found=found, safe="correct tracking.uri"
            )
        if seen != before:
            before, waits_s = seen, iter(MAKING_WAITS_S)
        wait_s = next(waits_s, None)
        if wait_s is None:
            break
        time.sleep(wait_s)
    found, fix = _describe(revision)
    raise TrackingError(mask_password(uri), action="opening it", found=found, safe=fix)


def explain_schema(text: str) -> tuple[str, str] | None:
    """Explain MLflow's message about tables of another version: the fault and the fix."""
    match = _OTHER_SCHEMA.search(text)
    return _describe(match["found"]) if match else None


def _describe(revision: str | None) -> tuple[str, str]:
    """Describe tables of another revision: the fault and the fix."""
    from alembic.script import ScriptDirectory
    from mlflow.version import VERSION

    if revision is None:
        found = "some of MLflow's tables are missing; another process is making them, or was interrupted"
        return found, f"repeat when they are complete, drop a database that stays so, {_ASK_THEM}"
    scripts = ScriptDirectory(str(files("mlflow") / "store" / "db_migrations"))
    if any(script.revision == revision for script in scripts.walk_revisions()):
        found = f"its tables are of an older MLflow than the installed {VERSION}; nothing was changed"
        fix = (
            f"stop its users, make a backup, run `mlflow db upgrade` on it with MLflow {VERSION}, and do not "
            f"open it with an older MLflow again; {_ASK_THEM}"
        )
        return found, fix
    found = f"its tables are of a newer MLflow than the installed {VERSION}"
    return found, f"install that version here, {_ASK_THEM}"


def _look_at(uri: str) -> tuple[set[str], str | None]:
    """Read the names of a database's tables and MLflow's revision; neither if it is unreadable."""
    names, revision = _look_at_file(uri) if dialect_of(uri) == SQLITE else _look_at_server(uri)
    return {name for name in names if not name.startswith("alembic_")}, revision


def _look_at_server(uri: str) -> tuple[set[str], str | None]:
    from sqlalchemy import create_engine, inspect

    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            names = set(inspect(connection).get_table_names())
            is_marked = _REVISION_TABLE in names
            return names, connection.exec_driver_sql(_ASK_REVISION).scalar() if is_marked else None
    finally:
        engine.dispose()


def _look_at_file(uri: str) -> tuple[set[str], str | None]:
    path = _sqlite_path(uri)
    if path is None or not path.is_file():
        return set(), None
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            names = {str(row[0]) for row in rows}
            found = database.execute(_ASK_REVISION).fetchone() if _REVISION_TABLE in names else None
    except sqlite3.OperationalError:
        return set(), None  # locked or unreadable: MLflow reports it better
    except sqlite3.DatabaseError as error:
        raise TrackingError(
            uri, action="opening it", found=f"not an MLflow store, but another kind of file ({error})"
        ) from error
    return names, str(found[0]) if found else None


def _sqlite_path(uri: str) -> Path | None:
    """Find the file of a SQLite store; None for other stores, and for URIs that only SQLite can resolve."""
    path = find_sqlite_path(uri)
    return None if path is None or str(path).startswith("file:") else path
