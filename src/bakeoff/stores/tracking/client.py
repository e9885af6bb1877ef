"""One way to reach MLflow: one function makes the client, one runs a query, one quotes a filter value."""

from __future__ import annotations

import functools
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bakeoff.errors import TrackingError, UserError
from bakeoff.stores.tags import NONCE
from bakeoff.stores.tracking.artifacts import download_artifact

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

T = TypeVar("T")
Notify = Callable[[str], None]

PAGE_SIZE = 1000
MAX_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
RETRY_WAITS_S = (0.5, 1.0, 2.0)
_SQLITE = re.compile(r"sqlite:///(?P<path>[^?]+)")
# MLflow's own defaults retry in silence for minutes, and it reports its use to its makers.
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_FORCED = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_FINAL = frozenset(
    {
        "RESOURCE_DOES_NOT_EXIST",
        "RESOURCE_ALREADY_EXISTS",
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "CUSTOMER_UNAUTHORIZED",
        "NOT_IMPLEMENTED",
        "BAD_REQUEST",
        "ENDPOINT_NOT_FOUND",
    }
)


def create_client(uri: str) -> MlflowClient:
    """Make the MLflow client; it connects at its first request.

    Raises:
        TrackingError: The URI is of no kind that MLflow serves.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.update(_FORCED)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    for name in ("alembic", "mlflow.store.db.utils", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return MlflowClient(tracking_uri=uri, registry_uri=uri)
    except (MlflowException, ValueError) as error:
        raise TrackingError(mask_password(uri), action="making a client", found=str(error)) from error


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


def mask_password(uri: str) -> str:
    """A URI for eyes: the password in it replaced by stars."""
    return re.sub(r"(://[^:/@]+):[^@/]*@", r"\1:***@", uri)


class Tracker:
    """A tracking store, counted and retried.

    Making one does nothing; the client is made and mlflow imported at the first request.

    Args:
        uri: Of the store.
        artifact_root: Where new experiments of a SQLite store keep their files; None leaves it to the server.
        notify: Told about every retry.

    Attributes:
        n_requests: Calls made so far.
    """

    def __init__(self, uri: str, artifact_root: Path | None = None, notify: Notify = lambda _: None) -> None:
        self.uri = uri
        self.n_requests = 0
        self._artifact_root = artifact_root
        self._notify = notify
        self._client: MlflowClient | None = None

    @property
    def shown_uri(self) -> str:
        """The URI without password."""
        return mask_password(self.uri)

    def call(self, action: str, function: Callable[[MlflowClient], T]) -> T:
        """Run one request; transient faults are tried again a bounded number of times.

        Args:
            action: For the messages: ``reading runs``.
            function: Gets the client. It may run more than once, so it must be repeatable.

        Raises:
            TrackingError: The store refused, or did not answer within the budget.
        """
        from mlflow.exceptions import MlflowException

        if self._client is None:
            self._client = create_client(self.uri)
        for wait_s in (*RETRY_WAITS_S, None):
            self.n_requests += 1
            try:
                return function(self._client)
            except (MlflowException, OSError) as error:
                code = getattr(error, "error_code", "")
                found = _first_line(error)
                if wait_s is None or code in _FINAL:
                    raise TrackingError(
                        self.shown_uri,
                        action=action,
                        found=found,
                        safe="everything measured is safe on disk; repeat the command when the store answers",
                    ) from error
                self._notify(f"tracking store: {action} failed ({found}); again in {wait_s:g} s")
                time.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def find_experiment(self, name: str) -> str | None:
        """The id of an active experiment, or None."""
        if self._lacks_file():
            return None
        found = self.call("finding an experiment", lambda client: client.get_experiment_by_name(name))
        return found.experiment_id if found and found.lifecycle_stage == "active" else None

    def list_experiments(self) -> list[str]:
        """Names of the active experiments, at most 1,000 of them: for messages."""
        if self._lacks_file():
            return []
        found = self.call("listing experiments", lambda client: client.search_experiments(max_results=1000))
        return sorted(experiment.name for experiment in found)

    def ensure_experiment(self, name: str) -> str:
        """The id of an experiment, made if it is not there.

        Raises:
            UserError: A deleted experiment has this name.
        """
        existing = self.find_experiment(name)
        if existing is not None:
            return existing
        location = (self._artifact_root / name).as_uri() if self._artifact_root else None

        def create(client: MlflowClient) -> str:
            found = client.get_experiment_by_name(name)  # ours, if an earlier try lost its reply
            if found is None:
                return client.create_experiment(name, artifact_location=location)
            if found.lifecycle_stage != "active":
                raise UserError(f"experiment {name!r} was deleted; restore it or take another name")
            return found.experiment_id

        return self.call("creating an experiment", create)

    def search_runs(self, experiment_id: str, tags: Mapping[str, str]) -> Iterator[Run]:
        """All active runs of an experiment with these tags, page by page, none cut off.

        Args:
            experiment_id: Where to look.
            tags: Every one must be equal; a value that no filter can carry is compared here instead.
        """
        conditions, unquotable = [], {}
        for name, value in tags.items():
            try:
                conditions.append(f"tags.`{name}` = {quote_filter_value(value)}")
            except ValueError:
                unquotable[name] = value
        token: str | None = None
        seen: set[str] = set()
        while True:
            page = self.call("reading runs", self._page_query(experiment_id, " and ".join(conditions), token))
            for run in page:
                # Pages are offsets: a run that was added meanwhile can push one over the edge twice.
                fits = all(run.data.tags.get(name) == value for name, value in unquotable.items())
                if fits and run.info.run_id not in seen:
                    seen.add(run.info.run_id)
                    yield run
            token = page.token
            if not token:
                return

    @staticmethod
    def _page_query(experiment_id: str, condition: str, token: str | None) -> Callable[[MlflowClient], Any]:
        return lambda client: client.search_runs(
            [experiment_id], condition, max_results=PAGE_SIZE, order_by=["start_time ASC"], page_token=token
        )

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str], nonce: str) -> str:
        """Create a run; a try whose reply was lost is found again by its nonce, not repeated.

        Args:
            experiment_id: Where.
            name: For eyes.
            tags: Of the run, written in the same request.
            nonce: Unique to this creation.
        """
        first = True

        def create(client: MlflowClient) -> str:
            nonlocal first
            if not first:
                condition = f"tags.`{NONCE}` = {quote_filter_value(nonce)}"
                earlier = client.search_runs([experiment_id], condition, order_by=["start_time ASC"])
                if earlier:
                    return str(earlier[0].info.run_id)
            first = False
            made = client.create_run(experiment_id, run_name=name, tags={**tags, NONCE: nonce})
            return str(made.info.run_id)

        return self.call("creating a run", create)

    def log(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log metrics, params and tags: one request unless MLflow's limits ask for more."""
        from mlflow.entities import Metric, Param, RunTag

        now_ms = int(time.time() * 1000)
        rows: dict[str, list[Any]] = {
            "metrics": [Metric(name, value, now_ms, 0) for name, value in (metrics or {}).items()],
            "params": [Param(name, value) for name, value in (params or {}).items()],
            "tags": [RunTag(name, value) for name, value in (tags or {}).items()],
        }
        while any(rows.values()):
            batch = {kind: entries[: MAX_BATCH[kind]] for kind, entries in rows.items()}
            rows = {kind: entries[MAX_BATCH[kind] :] for kind, entries in rows.items()}
            self._log_batch(run_id, batch)

    def _log_batch(self, run_id: str, batch: Mapping[str, Sequence[Any]]) -> None:
        self.call(
            "logging",
            lambda client: client.log_batch(run_id, **batch, synchronous=True),
        )

    def log_files(self, run_id: str, files: Sequence[Path], artifact_path: str) -> None:
        """Upload files, or the content of folders, below an artifact path."""
        for path in files:
            self.call("uploading", functools.partial(_upload, run_id, path, artifact_path))

    def end_run(self, run_id: str, status: str) -> None:
        """Close a run: FINISHED, FAILED or KILLED."""
        self.call("closing a run", lambda client: client.set_terminated(run_id, status))

    def reopen_run(self, run_id: str) -> None:
        """Set a run back to RUNNING, to go on with it."""
        self.call("reopening a run", lambda client: client.update_run(run_id, status="RUNNING"))

    def download(self, run_id: str, artifact_path: str, destination: Path) -> Path:
        """Fetch an artifact of a run, a folder or a file, into a folder; returns where it lies."""
        return Path(
            self.call(
                "downloading", functools.partial(download_artifact, run_id, artifact_path, str(destination))
            )
        )

    def list_artifacts(self, run_id: str, artifact_path: str) -> list[str]:
        """Paths directly below an artifact path of a run."""
        found = self.call("listing artifacts", lambda client: client.list_artifacts(run_id, artifact_path))
        return [entry.path for entry in found]

    def _lacks_file(self) -> bool:
        """Whether this is a SQLite store that nobody has made: looking must not make one."""
        match = _SQLITE.fullmatch(self.uri)
        return match is not None and not Path(match["path"]).is_file()


def _upload(run_id: str, path: Path, artifact_path: str, client: MlflowClient) -> None:
    upload = client.log_artifacts if path.is_dir() else client.log_artifact
    upload(run_id, str(path), artifact_path)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return mask_password(lines[0])[:300] if lines else type(error).__name__
