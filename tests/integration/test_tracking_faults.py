"""A tracking store that is down, slow, broken or another thing: bounded retries, one line, no password."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bakeoff.errors import TrackingError, UnsuitableLibraryError, UserError
from bakeoff.stores.tracking import Tracker, create_client, databases, quote_filter_value
from bakeoff.stores.tracking import client as client_module
from bakeoff.stores.tracking.faults import describe_fault
from bakeoff.uris import mask_password

REAL_WAITS_S = client_module.RETRY_WAITS_S
N_TRIES = len(REAL_WAITS_S) + 1
SOUND = b'{"experiment": {"experiment_id": "7", "name": "sweep", "lifecycle_stage": "active"}}'


class Server(ThreadingHTTPServer):
    """Answers each request with the next of ``answers``, the last one for ever; counts the requests.

    Asked for its version it says it, or knows no such page; that is no request of the API.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, bytes]] = []
        self.version: bytes | None = None
        self.n_requests = 0
        self.hang = threading.Event()

    @property
    def uri(self) -> str:
        return f"http://user:secret@127.0.0.1:{self.server_port}"


DROP, TRUNCATE, HANG = 0, 1, 2


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/version":
            self.send_response(200 if self.server.version else 404)
            self.end_headers()
            self.wfile.write(self.server.version or b"")
            return
        answers, self.server.n_requests = self.server.answers, self.server.n_requests + 1
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        self.close_connection = True
        if status == HANG:
            self.server.hang.wait(30)
        if status in (DROP, HANG):
            return
        self.send_response(200 if status == TRUNCATE else status)
        self.send_header("Content-Length", str(len(body) + (100 if status == TRUNCATE else 0)))
        if status == 429:
            self.send_header("Retry-After", "600")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name is the standard library's

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.hang.set()
        made.shutdown()
        thread.join()


Ask = Callable[[Tracker], object]
ASKS: dict[str, Ask] = {
    "experiment": lambda tracker: tracker.find_experiment("sweep"),
    "runs": lambda tracker: list(tracker.search_runs("0", {"a": "b"})),
}


@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS)
@pytest.mark.parametrize(
    ("answer", "message", "n_tries"),
    [
        ((500, b"oops"), "it answers with error 500", N_TRIES),
        ((503, b"oops"), "it answers with error 503", N_TRIES),
        ((429, b"slow down"), "it answers 429: too many requests", N_TRIES),
        ((DROP, b""), "the connection broke off", N_TRIES),
        ((TRUNCATE, b'{"runs": ['), "the connection broke off", N_TRIES),
        ((200, b"<html>log in</html>"), "the answer is not JSON, but '<html>log in</html>'; check", 1),
        ((404, b"not here"), "no MLflow API at this address (404); check tracking.uri", 1),
        ((401, b"who?"), "the server refuses these credentials (401)", 1),
        ((403, b'{"error_code": "PERMISSION_DENIED", "message": "not yours"}'), "not yours", 1),
    ],
)
def test_a_fault_of_the_server_is_tried_again_only_where_that_can_help_and_told_in_one_line(
    server: Server, ask: Ask, answer: tuple[int, bytes], message: str, n_tries: int
) -> None:
    server.answers = [answer]
    said: list[str] = []
    tracker = Tracker(server.uri, notify=said.append)
    with pytest.raises(TrackingError) as caught:
        ask(tracker)
    line = str(caught.value)
    assert message in line
    assert "\n" not in line
    assert f"http://user:***@127.0.0.1:{server.server_port}" in line
    assert server.n_requests == tracker.n_requests == n_tries
    assert len(said) == n_tries - 1
    assert "secret" not in "".join([line, *said])


# What a server of MLflow 2.0.1 says to a list of run ids, and one before 2.3 to a question for an alias.
UNKNOWN_CLAUSE = (
    400,
    b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid clause(s) in filter string: \'IN\'"}',
)
UNKNOWN_PAGE = (404, b"<!doctype html><title>404 Not Found</title>")


@pytest.mark.parametrize("answer", [UNKNOWN_CLAUSE, UNKNOWN_PAGE], ids=["clause", "page"])
@pytest.mark.parametrize(
    ("version", "told"),
    [
        (b"2.8.1", "; the server is MLflow 2.8.1; bakeoff needs MLflow 2.9 or newer there; "),
        (None, "; the server does not report its version, as old ones do not; bakeoff needs MLflow 2.9"),
    ],
)
def test_a_server_too_old_for_a_request_is_told_with_its_version_and_what_is_needed(
    server: Server, answer: tuple[int, bytes], version: bytes | None, told: str
) -> None:
    server.answers, server.version = [answer], version
    tracker = Tracker(server.uri)
    with pytest.raises(TrackingError) as caught:
        ASKS["runs"](tracker)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert server.n_requests == tracker.n_requests == 1


def test_a_request_that_a_new_server_refuses_is_not_blamed_on_its_version(server: Server) -> None:
    server.answers, server.version = [UNKNOWN_CLAUSE], b"3.17.2"
    with pytest.raises(TrackingError) as caught:
        ASKS["runs"](Tracker(server.uri))
    assert "newer there" not in str(caught.value)


@pytest.mark.parametrize(("library", "version"), [("mlflow", "2.22.0"), ("mlflow-skinny", "3.16.4")])
def test_an_installed_mlflow_that_is_too_old_is_told_before_anything_is_asked(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, version: str
) -> None:
    information = tmp_path / f"{library.replace('-', '_')}-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    for ask in ASKS.values():
        with pytest.raises(UnsuitableLibraryError) as caught:
            ask(Tracker(server.uri))
        assert str(caught.value) == (
            f"{library}: found version {version}; bakeoff needs >=3.17,<4; "
            f"run `pip install '{library}>=3.17,<4'`"
        )
        assert caught.value.exit_code == 2
    assert server.n_requests == 0


def test_a_server_that_recovers_is_asked_again_and_every_retry_is_told(server: Server) -> None:
    server.answers = [(503, b"busy"), (DROP, b""), (200, SOUND)]
    said: list[str] = []
    assert Tracker(server.uri, notify=said.append).find_experiment("sweep") == "7"
    assert said == [
        "tracking store: finding an experiment failed (it answers with error 503); retrying in 0.01 s",
        "tracking store: finding an experiment failed (the connection broke off); retrying in 0.01 s",
    ]


def test_waiting_for_a_dead_server_ends_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    # Of this module alone: other threads of the tests go by the real clock.
    clock = SimpleNamespace(sleep=lambda s: now.__setitem__(0, now[0] + s), monotonic=lambda: now[0])
    monkeypatch.setattr(client_module, "time", clock)
    monkeypatch.setattr(client_module, "RETRY_WAITS_S", REAL_WAITS_S)
    with pytest.raises(TrackingError, match="connection refused"):
        Tracker("http://127.0.0.1:9").find_experiment("sweep")
    assert 5 <= now[0] <= 15


def test_a_server_that_accepts_and_never_answers_gets_no_second_chance_past_the_budget(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(client_module, "BUDGET_S", 1.0)
    server.answers = [(HANG, b"")]
    tracker = Tracker(server.uri)
    with pytest.raises(TrackingError, match="no answer in time"):
        tracker.find_experiment("sweep")
    assert tracker.n_requests == 1
    server.shutdown()  # it has heard by now whatever was asked
    assert server.n_requests <= 1


def test_our_client_waits_as_long_as_the_budget_and_leaves_a_user_his_own_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import os

    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT", raising=False)
    create_client("http://127.0.0.1:9")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "15"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "0"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "90")
    create_client("http://127.0.0.1:9")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "90"


@pytest.mark.parametrize("body", [b"{}", b'{"experiment": {"name": "other", "lifecycle_stage": "active"}}'])
def test_a_server_of_another_kind_is_not_read_as_an_empty_store(server: Server, body: bytes) -> None:
    server.answers = [(200, body)]
    with pytest.raises(TrackingError, match="not an MLflow server"):
        Tracker(server.uri).find_experiment("sweep")


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg2", "mysql+pymysql", "mssql+pyodbc"])
def test_a_database_server_that_is_down_is_told_like_any_other(scheme: str) -> None:
    tracker = Tracker(f"{scheme}://user:secret@127.0.0.1:9/mlflow")
    with pytest.raises(TrackingError, match=r"user:\*\*\*@127\.0\.0\.1:9/mlflow.*connection refused"):
        tracker.find_experiment("sweep")
    assert tracker.n_requests == N_TRIES


@pytest.mark.skipif(find_spec("MySQLdb") is not None, reason="the driver is installed here")
def test_a_database_whose_driver_is_not_installed_is_told_so(server: Server) -> None:
    with pytest.raises(TrackingError, match="its driver is not installed") as caught:
        Tracker(f"mysql+mysqldb://user:secret@127.0.0.1:{server.server_port}/x").find_experiment("sweep")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "/tmp/mlruns"])
def test_a_file_store_is_refused_with_the_way_out(uri: str) -> None:
    with pytest.raises(TrackingError, match=r"no longer serves file stores.*sqlite:///mlflow\.db.*migrate"):
        create_client(uri)


@pytest.mark.parametrize("uri", ["ftp://host/x", "s3://bucket/x"])
def test_a_uri_that_mlflow_does_not_know_is_refused(uri: str) -> None:
    with pytest.raises(TrackingError, match="unsupported URI"):
        create_client(uri)


def test_another_programs_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "optuna.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE studies (id INTEGER)")
        database.commit()
    before = path.read_bytes()
    for ask in ASKS.values():
        with pytest.raises(TrackingError, match="not an MLflow store, but a database with the tables"):
            ask(Tracker(f"sqlite:///{path}"))
    assert path.read_bytes() == before


# Revisions of the tables: that of MLflow 2.9, and one that nobody knows yet.
OF_2_9, NEWER = "acf3f17fdcc7", "ffff00001111"


def make_store_of(revision: str, uri: str) -> None:
    """Make a database as an older MLflow made it, by MLflow's own migrations up to there."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    engine = create_engine(uri)
    Base.metadata.create_all(engine)
    config = _get_alembic_config(uri)  # type: ignore[no-untyped-call]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def test_a_database_of_an_older_mlflow_is_not_migrated_unasked_and_the_way_out_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "MAKING_WAITS_S", (0.01,))
    path = tmp_path / "mlflow.db"
    make_store_of(OF_2_9, f"sqlite:///{path}")
    before = path.read_bytes()
    uris = [f"sqlite:///{path}", f"sqlite:///{path}?timeout=60", f"sqlite+pysqlite:///{path}"]
    for ask, uri in product(ASKS.values(), uris):
        with pytest.raises(TrackingError) as caught:
            ask(Tracker(uri))
        assert "its tables are of an older MLflow" in str(caught.value)
        assert "make a backup, run `mlflow db upgrade`" in str(caught.value)
        assert "or set tracking.uri to the address of its `mlflow server`" in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("revision", "told"),
    [
        ("parent", r"of an older MLflow .*make a backup, run `mlflow db upgrade`"),
        (NEWER, r"of a newer MLflow .*; install that version here, or set tracking\.uri to the address"),
    ],
)
def test_a_database_with_all_tables_but_of_another_version_says_on_which_side_to_upgrade(
    empty_store: Path, tmp_path: Path, revision: str, told: str
) -> None:
    from alembic.script import ScriptDirectory

    path = tmp_path / "mlflow.db"
    shutil.copyfile(empty_store, tmp_path / "made.db")
    Tracker(f"sqlite:///{tmp_path / 'made.db'}").ensure_experiment("sweep")
    shutil.copyfile(tmp_path / "made.db", path)
    if revision == "parent":
        scripts = ScriptDirectory(str(files("mlflow") / "store" / "db_migrations"))
        _, revision, *_ = (script.revision for script in scripts.walk_revisions())
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
        database.commit()
    with pytest.raises(TrackingError, match=told) as caught:
        Tracker(f"sqlite:///{path}").find_experiment("sweep")
    assert "\n" not in str(caught.value)


def test_a_store_that_is_being_made_is_not_taken_for_an_old_one(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "MAKING_WAITS_S", (0.01,))
    shutil.copyfile(empty_store, tmp_path / "made.db")
    Tracker(f"sqlite:///{tmp_path / 'made.db'}").ensure_experiment("sweep")
    path = tmp_path / "mlflow.db"
    shutil.copyfile(tmp_path / "made.db", path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE registered_model_aliases")
        database.execute("DROP TABLE alembic_version")
        database.commit()
    with pytest.raises(TrackingError, match="another process is making them, or was interrupted"):
        Tracker(f"sqlite:///{path}").find_experiment("sweep")
    looks: list[float] = []

    def wait(seconds: float) -> None:
        looks.append(seconds)
        with closing(sqlite3.connect(path)) as database:
            database.execute(f"CREATE TABLE step_{len(looks)} (a INTEGER)")
            database.commit()
        if len(looks) == 5:
            shutil.copyfile(tmp_path / "made.db", path)

    monkeypatch.setattr("bakeoff.stores.tracking.databases.time.sleep", wait)
    assert Tracker(f"sqlite:///{path}").find_experiment("sweep") is not None
    assert len(looks) == 5


@pytest.mark.slow
@pytest.mark.parametrize("content", ["of another program", "of an older MLflow"])
def test_a_postgresql_database_that_is_not_ours_to_change_is_refused_and_left_as_it_is(
    postgres_uri: str, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    import optuna
    from sqlalchemy import create_engine, inspect

    monkeypatch.setattr(databases, "MAKING_WAITS_S", (0.01,))
    if content == "of another program":
        optuna.storages.RDBStorage(postgres_uri)
    else:
        make_store_of(OF_2_9, postgres_uri)
    engine = create_engine(postgres_uri)
    before = inspect(engine).get_table_names()
    told = "not an MLflow store, but a database" if content == "of another program" else "mlflow db upgrade"
    with pytest.raises(TrackingError, match=told):
        Tracker(postgres_uri).ensure_experiment("sweep")
    assert inspect(engine).get_table_names() == before
    engine.dispose()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    path.write_text("tracking:\n  uri: none\n" * 100)
    with pytest.raises(TrackingError, match="not an MLflow store, but another kind of file"):
        Tracker(f"sqlite:///{path}").find_experiment("sweep")


def test_a_database_that_cannot_be_opened_is_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow takes such a URI for a relative path, and makes its folders
    with pytest.raises(TrackingError, match="unable to open database file") as caught:
        create_client(f"sqlite:///file:{tmp_path}/none.db?mode=ro&uri=true")
    assert "\n" not in str(caught.value)


def test_looking_into_a_sqlite_store_that_is_not_there_makes_none(tmp_path: Path) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert tracker.find_experiment("sweep") is None
    assert tracker.list_experiments() == []
    assert tracker.find_lifecycles(["a" * 32], ["1"]) == {}
    assert list(tmp_path.iterdir()) == []
    assert tracker.n_requests == 0


def test_an_offline_tracker_makes_no_request(server: Server) -> None:
    tracker = Tracker(server.uri, is_offline=True)
    for ask in ASKS.values():
        with pytest.raises(TrackingError, match="not asked, because of --offline; repeat without --offline"):
            ask(tracker)
    assert (server.n_requests, tracker.n_requests) == (0, 0)


def test_a_deleted_experiment_is_not_made_again_under_its_name(empty_store: Path, tmp_path: Path) -> None:
    shutil.copy(empty_store, tmp_path)
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment_id = tracker.ensure_experiment("benchmark")
    create_client(tracker.uri).delete_experiment(experiment_id)
    other = Tracker(tracker.uri)
    assert other.find_experiment("benchmark") is None
    with pytest.raises(UserError, match="'benchmark' was deleted; restore it, or choose another name"):
        other.ensure_experiment("benchmark")


def test_the_store_says_of_each_run_whether_it_lives_was_deleted_or_was_never_there(
    empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(empty_store, tmp_path)
    tracker = Tracker(f"sqlite:///{tmp_path / 'mlflow.db'}")
    kept, doomed = tracker.ensure_experiment("kept"), tracker.ensure_experiment("doomed")
    runs = [tracker.create_run(kept, "r", {}, nonce=str(n)) for n in range(3)]
    lost = tracker.create_run(doomed, "r", {}, nonce="d")
    client = create_client(tracker.uri)
    client.delete_run(runs[1])
    client.delete_experiment(doomed)
    before = tracker.n_requests
    asked = [*runs, lost, "f" * 32]
    expected = {runs[0]: "active", runs[1]: "deleted", runs[2]: "active", lost: "deleted"}
    assert tracker.find_lifecycles(asked, [kept, doomed, "404"]) == expected
    assert tracker.n_requests == before + 1
    monkeypatch.setattr(client_module, "MAX_RUN_IDS", 2)
    assert tracker.find_lifecycles(asked, [kept, doomed]) == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:secret@host:5000/x", "http://user:***@host:5000/x"),
        ("postgresql://user:se:cr@et/@host/db", "postgresql://user:***@host/db"),
        ("https://:secret@host", "https://:***@host"),
        ("postgresql://host/db?user=u&password=secret&x=1", "postgresql://host/db?user=u&password=***&x=1"),
        (
            "a call to http://u:secret@h/a failed; see http://docs/b",
            "a call to http://u:***@h/a failed; see http://docs/b",
        ),
        ("sqlite:////home/a@b/mlflow.db", "sqlite:////home/a@b/mlflow.db"),
        ("http://host:5000", "http://host:5000"),
    ],
)
def test_a_password_in_a_uri_is_not_shown(text: str, shown: str) -> None:
    assert mask_password(text) == shown


def test_a_fault_without_text_is_told_by_its_kind() -> None:
    assert describe_fault(ConnectionResetError()) == "ConnectionResetError"
    assert describe_fault(OSError("first\nsecond")) == "first"


def test_a_filter_value_is_quoted_with_the_kind_of_quotes_that_it_lacks() -> None:
    assert [quote_filter_value(text) for text in ("plain", "it's", 'a "b"')] == [
        "'plain'",
        '"it\'s"',
        "'a \"b\"'",
    ]
    with pytest.raises(ValueError, match="no MLflow filter can carry"):
        quote_filter_value("""both ' and " """)
