"""What a database holds, looked at before MLflow is let at it: its client makes or changes tables unasked."""

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

# Another process that makes a new store shows something new within these; while it does, it is waited for.
MAKING_WAITS_S = (1.0, 2.0, 4.0)
MOST_LOOKS = 20
_REVISION_TABLE = "alembic_version"
_ASK_REVISION = "SELECT version_num FROM alembic_version"
_OTHER_SCHEMA = re.compile(r"out-of-date database schema \(found version (?P<found>\w+)")
_ASK_THEM = "or set tracking.uri to the address of the `mlflow server` before it"


def is_unmade(uri: str) -> bool:
    """Whether this is a SQLite store that nobody has made: looking must not make one."""
    path = _sqlite_path(uri)
    return path is not None and not path.is_file()


def check_tables(uri: str) -> None:
    """Refuse a database of another program or another MLflow; what is no database is left to MLflow.

    Raises:
        TrackingError: It is one of these; nothing in it was changed.
        ImportError: Its driver is not installed.
        SQLAlchemyError: It does not answer.
    """
    if not is_database(uri):
        return  # the stores of databases take their time to import
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore  # brings tables of its own
    from mlflow.store.tracking.dbmodels.models import SqlRun

    del SqlAlchemyStore
    wanted = set(SqlRun.metadata.tables)
    before, waits_s = None, iter(MAKING_WAITS_S)
    for _ in range(MOST_LOOKS):
        tables, revision = seen = _look_at(uri)
        if not tables or wanted <= tables:
            return
        if tables.isdisjoint(wanted):
            found = f"no MLflow store, but a database with the tables {', '.join(sorted(tables)[:5])}"
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
    """What is wrong and what to do, where MLflow says that a database has tables of another version."""
    match = _OTHER_SCHEMA.search(text)
    return _describe(match["found"]) if match else None


def _describe(revision: str | None) -> tuple[str, str]:
    """What is wrong with tables of a revision that is not ours, and what to do."""
    from alembic.script import ScriptDirectory
    from mlflow.version import VERSION

    if revision is None:
        found = "some of MLflow's tables are missing: it is being made, or its making was interrupted"
        return found, f"repeat when it is whole; one that stays so must be dropped, {_ASK_THEM}"
    scripts = ScriptDirectory(str(files("mlflow") / "store" / "db_migrations"))
    if any(script.revision == revision for script in scripts.walk_revisions()):
        found = f"its tables are of an older MLflow than the {VERSION} installed here; nothing was changed"
        fix = (
            f"stop what uses it, make a backup, run `mlflow db upgrade` on it with MLflow {VERSION}, and "
            f"open it with no older one from then on; {_ASK_THEM}"
        )
        return found, fix
    found = f"its tables are of a newer MLflow than the {VERSION} installed here"
    return found, f"install that version here, {_ASK_THEM}"


def _look_at(uri: str) -> tuple[set[str], str | None]:
    """Names of a database's tables, and the revision of MLflow's; neither where nothing can be read."""
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
        return set(), None  # locked or unreadable: MLflow says it better
    except sqlite3.DatabaseError as error:
        raise TrackingError(
            uri, action="opening it", found=f"no MLflow store, but a file of another kind ({error})"
        ) from error
    return names, str(found[0]) if found else None


def _sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other store, and where SQLite alone can tell which it is."""
    path = find_sqlite_path(uri)
    return None if path is None or str(path).startswith("file:") else path
