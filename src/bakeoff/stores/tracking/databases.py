"""What a database holds, looked at before MLflow is let at it: its client makes or changes tables unasked."""

from __future__ import annotations

import re
import sqlite3
import time
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from bakeoff.addresses import mask_password
from bakeoff.errors import TrackingError

# Another process that makes a new store is done within these.
MAKING_WAITS_S = (1.0, 2.0, 4.0)
_SQLITE = re.compile(r"sqlite:///(?P<path>[^?]+)")
_OTHER_SCHEMA = re.compile(r"out-of-date database schema \(found version (?P<found>\w+)")
_ASK_THEM = "or set tracking.uri to the address of the `mlflow server` before it"


def is_unmade(uri: str) -> bool:
    """Whether this is a SQLite store that nobody has made: looking must not make one."""
    match = _SQLITE.fullmatch(uri)
    return match is not None and not Path(match["path"]).is_file()


def check_tables(uri: str) -> None:
    """Refuse a database of another program or of an older MLflow; what is no database is left to MLflow.

    Raises:
        TrackingError: It is one of these; nothing in it was changed.
        ImportError: Its driver is not installed.
        SQLAlchemyError: It does not answer.
    """
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore  # brings tables of its own
    from mlflow.store.tracking.dbmodels.models import SqlRun

    del SqlAlchemyStore
    wanted = set(SqlRun.metadata.tables)
    for wait_s in (*MAKING_WAITS_S, None):
        tables = _list_tables(uri)
        if not tables or wanted <= tables:
            return
        if tables.isdisjoint(wanted):
            found = f"no MLflow store, but a database with the tables {', '.join(sorted(tables)[:5])}"
            raise TrackingError(
                mask_password(uri), action="opening it", found=found, safe="correct tracking.uri"
            )
        if wait_s is None:
            found, cure = _describe_older()
            raise TrackingError(mask_password(uri), action="opening it", found=found, safe=cure)
        time.sleep(wait_s)


def explain_schema(text: str) -> tuple[str, str] | None:
    """What is wrong and what to do, where MLflow says that a database has tables of another version."""
    from alembic.script import ScriptDirectory
    from mlflow.version import VERSION

    match = _OTHER_SCHEMA.search(text)
    if match is None:
        return None
    scripts = ScriptDirectory(str(files("mlflow") / "store" / "db_migrations"))
    if any(script.revision == match["found"] for script in scripts.walk_revisions()):
        return _describe_older()
    found = f"its tables are of a newer MLflow than the {VERSION} installed here"
    return found, f"install that version here, {_ASK_THEM}"


def _describe_older() -> tuple[str, str]:
    from mlflow.version import VERSION

    found = f"its tables are of an older MLflow than the {VERSION} installed here; nothing was changed"
    cure = (
        f"stop what uses it, make a backup, run `mlflow db upgrade` on it with MLflow {VERSION}, and open it "
        f"with no older one from then on; {_ASK_THEM}"
    )
    return found, cure


def _list_tables(uri: str) -> set[str]:
    """Names of a database's tables without Alembic's own; none where it is no database that can be read."""
    from mlflow.store.db.db_types import DATABASE_ENGINES
    from sqlalchemy import create_engine, inspect

    match = _SQLITE.fullmatch(uri)
    if match is not None:
        names = _list_sqlite_tables(uri, match["path"])
    elif uri.partition(":")[0].partition("+")[0] in set(DATABASE_ENGINES) - {"sqlite"}:
        engine = create_engine(uri)
        try:
            names = set(inspect(engine).get_table_names())
        finally:
            engine.dispose()
    else:
        names = set()
    return {name for name in names if not name.startswith("alembic_")}


def _list_sqlite_tables(uri: str, path: str) -> set[str]:
    if not Path(path).is_file():
        return set()
    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    except sqlite3.OperationalError:
        return set()  # locked or unreadable: MLflow says it better
    except sqlite3.DatabaseError as error:
        raise TrackingError(
            uri, action="opening it", found=f"no MLflow store, but a file of another kind ({error})"
        ) from error
    return {str(row[0]) for row in rows}
