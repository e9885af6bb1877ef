"""Requests to MLflow: all go through here, counted and retried."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from bakeoff.errors import TrackingError, UserError
from bakeoff.stores.tags import NONCE
from bakeoff.stores.tracking import answers
from bakeoff.stores.tracking.artifacts import (
    download_artifact,
    download_from,
    list_artifacts,
    list_at,
    upload_artifacts,
)
from bakeoff.stores.tracking.connection import BUDGET_S, create_client
from bakeoff.stores.tracking.databases import is_unmade
from bakeoff.stores.tracking.experiments import create_experiment
from bakeoff.stores.tracking.faults import ForeignAnswerError, describe_fault, is_refusal, is_transient
from bakeoff.stores.tracking.queries import MAX_RUN_IDS, Page, Query, ask, equals, list_run_ids
from bakeoff.stores.tracking.versions import blame_server, check_installed
from bakeoff.uris import find_uri_fault, knock, mask_password

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

T = TypeVar("T")
Notify = Callable[[str], None]

MAX_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
RETRY_WAITS_S: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
_SAFE = (
    "measurements are safe on disk; repeat the command when the store answers, or add --offline "
    "(plan, bench, decide)"
)


class Tracker:
    """A tracking store, with counted and retried requests.

    The constructor connects to nothing. The first request imports mlflow and makes the client.

    Args:
        uri: URI of the store.
        artifact_location: URI for the files of new experiments; None leaves the choice to the store.
        notify: Receives a line for each retry.
        safe: Ending of the message if the store does not answer: what is kept, and how to go on.
        is_offline: Whether to refuse every request at once.

    Attributes:
        n_requests: Requests so far.
    """

    def __init__(
        self,
        uri: str,
        artifact_location: str | None = None,
        notify: Notify = lambda _: None,
        *,
        safe: str = _SAFE,
        is_offline: bool = False,
    ) -> None:
        self.uri = uri
        self.n_requests = 0
        self.is_offline = is_offline
        self._artifact_location = artifact_location
        self._notify = notify
        self._safe = safe
        self._client: MlflowClient | None = None
        self._experiments: dict[str, str] = {}

    @property
    def shown_uri(self) -> str:
        """The URI without password."""
        return mask_password(self.uri)

    @property
    def is_there(self) -> bool:
        """Whether the store exists; a request to a missing SQLite file would make one."""
        return not is_unmade(self.uri)

    def call(self, action: str, function: Callable[[MlflowClient], T], *, is_patient: bool = True) -> T:
        """Run one request, and retry transient faults for about 15 s in all.

        Args:
            action: Name of the request in messages, such as ``reading runs``.
            function: The request; receives the client. It may run more than once, so it must be repeatable.
            is_patient: Whether to retry at all.

        Raises:
            TrackingError: The store refused, or did not answer within the budget.
            UnsuitableLibraryError: bakeoff does not support the installed version of MLflow.
        """
        if self.is_offline:
            found = "not asked, because of --offline"
            raise TrackingError(self.shown_uri, action=action, found=found, safe="repeat without --offline")
        if fault := find_uri_fault(self.uri):
            raise TrackingError(self.shown_uri, action=action, found=fault, safe="correct tracking.uri")
        if self._client is None:
            check_installed()
        from google.protobuf.json_format import ParseError
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        deadline = time.monotonic() + BUDGET_S
        for wait_s in (*(RETRY_WAITS_S if is_patient else ()), None):
            self.n_requests += 1
            try:
                return function(self._connect())
            except (MlflowException, SQLAlchemyError, OSError, ImportError, ParseError) as error:
                found = describe_fault(error)
                is_late = wait_s is None or time.monotonic() + wait_s > deadline
                if wait_s is None or is_late or not is_transient(error):
                    found += blame_server(self.uri, error)
                    raise TrackingError(
                        self.shown_uri,
                        action=action,
                        found=found,
                        safe=self._safe,
                        is_refusal=is_refusal(error),
                    ) from error
                self._notify(f"tracking store: {action} failed ({found}); retrying in {wait_s:g} s")
                time.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _connect(self) -> MlflowClient:
        if self._client is None:
            knock(self.uri)
            self._client = create_client(self.uri)
        return self._client

    def find_experiment(self, name: str) -> str | None:
        """Find the id of an active experiment, with one request for each experiment that exists.

        Raises:
            TrackingError: The store does not answer, or not as an MLflow store would.
        """
        if name in self._experiments:
            return self._experiments[name]
        if is_unmade(self.uri):
            return None
        found = self.call("finding an experiment", functools.partial(answers.find_experiment, name))
        if found is None or found.lifecycle_stage != "active":
            return None
        self._experiments[name] = str(found.experiment_id)
        return self._experiments[name]

    def find_lifecycle_stage(self, name: str) -> str | None:
        """Find whether an experiment is ``active`` or ``deleted``; None if no experiment has this name."""
        if is_unmade(self.uri):
            return None
        found = self.call("finding an experiment", functools.partial(answers.find_experiment, name))
        return str(found.lifecycle_stage) if found else None

    def list_experiments(self) -> list[str]:
        """List the names of at most 1,000 active experiments, for messages."""
        if is_unmade(self.uri):
            return []
        found = self.call("listing experiments", lambda client: client.search_experiments(max_results=1000))
        return sorted(experiment.name for experiment in found)

    def ensure_experiment(self, name: str) -> str:
        """Return the id of an experiment; make the experiment if it is missing.

        Raises:
            UserError: A deleted experiment has this name.
        """
        found = self.find_experiment(name)
        if found is None:
            found = self._experiments[name] = self._create_experiment(name)
        return found

    def _create_experiment(self, name: str) -> str:
        root = self._artifact_location
        location = f"{root.rstrip('/')}/{quote(name)}" if root else None

        def create(client: MlflowClient) -> str:
            found = answers.find_experiment(name, client)  # our own, if an earlier try lost its reply
            if found is None:
                made = create_experiment(client, name, artifact_location=location)
                if made is not None:
                    return made
                found = answers.find_experiment(name, client)
            if found is None or found.lifecycle_stage != "active":
                raise UserError(f"experiment {name!r} was deleted; restore it, or choose another name")
            return found.experiment_id

        return self.call("creating an experiment", create)

    def search_runs(self, experiment_id: str, tags: Mapping[str, str]) -> Iterator[Run]:
        """Find all active runs of an experiment with these tags, page by page.

        Args:
            experiment_id: Experiment to search.
            tags: Tags that must all be equal; values that no filter can carry are compared here.
        """
        conditions, unquotable = [], {}
        for name, value in tags.items():
            try:
                conditions.append(equals(name, value))
            except ValueError:
                unquotable[name] = value
        for page in self.read_pages(Query((experiment_id,), conditions)):
            for run in page.runs:
                if all(run.data.tags.get(name) == value for name, value in unquotable.items()):
                    yield run

    def read_pages(self, query: Query) -> Iterator[Page]:
        """Answer a query page by page.

        Raises:
            TrackingError: The store does not answer, or stops before the last page.
        """
        token: str | None = None
        seen: set[str] = set()
        while True:
            found = self.call("reading runs", functools.partial(ask, query, token=token))
            # Pages are offsets: a run added meanwhile can push another run onto the next page again.
            fresh = tuple(run for run in found if run.info.run_id not in seen)
            seen |= {run.info.run_id for run in fresh}
            if found.token and (not len(found) or found.token == token):
                cut = f"the answer ends early, but announces more (runs read: {len(seen)})"
                raise TrackingError(self.shown_uri, action="reading runs", found=cut, safe=self._safe)
            yield Page(fresh, is_last=not found.token)
            token = found.token
            if not token:
                return

    def find_lifecycles(self, run_ids: Iterable[str], experiment_ids: Iterable[str]) -> dict[str, str]:
        """Find whether each of some runs is ``active`` or ``deleted``; unknown runs are absent.

        Args:
            run_ids: Runs to look for.
            experiment_ids: Experiments of these runs, active or deleted.
        """
        wanted, experiments = sorted(set(run_ids)), sorted(set(experiment_ids))
        found: dict[str, str] = {}
        if not experiments or is_unmade(self.uri):
            return found
        for start in range(0, len(wanted), MAX_RUN_IDS):
            among = list_run_ids(wanted[start : start + MAX_RUN_IDS])
            query = Query(tuple(experiments), [among], with_deleted=True)
            for page in self.read_pages(query):
                found |= {run.info.run_id: run.info.lifecycle_stage for run in page.runs}
        return found

    def create_run(self, experiment_id: str, name: str, tags: Mapping[str, str], nonce: str) -> str:
        """Create a run. If a reply was lost, the next try finds the run by its nonce.

        Args:
            experiment_id: Experiment of the run.
            name: Name for people.
            tags: Tags of the run, written in the same request.
            nonce: Text unique to the content of the run.
        """
        first = True

        def create(client: MlflowClient) -> str:
            nonlocal first
            if not first:
                found = ask(Query((experiment_id,), [equals(NONCE, nonce)]), client)
                for earlier in found:
                    if earlier.info.status != "KILLED":  # KILLED: given up for another
                        return str(earlier.info.run_id)
            first = False
            made = client.create_run(experiment_id, run_name=name, tags={**tags, NONCE: nonce})
            if not made.info.run_id:
                raise ForeignAnswerError("acknowledged, but the run got no id")
            return str(made.info.run_id)

        return self.call("creating a run", create)

    def log(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        curves: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """Log metrics, params and tags, in one request if MLflow's limits allow.

        Args:
            run_id: Run to log to.
            metrics: One value for each name.
            params: One text for each name.
            tags: One text for each name.
            curves: One value for each step from 1 on; the last one is the metric's value.
        """
        from mlflow.entities import Metric, Param, RunTag

        now_ms = int(time.time() * 1000)
        rows: dict[str, list[Any]] = {
            "metrics": [
                *(Metric(name, value, now_ms, 0) for name, value in (metrics or {}).items()),
                *(
                    Metric(name, value, now_ms, step)
                    for name, values in (curves or {}).items()
                    for step, value in enumerate(values, start=1)
                ),
            ],
            "params": [Param(name, value) for name, value in (params or {}).items()],
            "tags": [RunTag(name, value) for name, value in (tags or {}).items()],
        }
        while any(rows.values()):
            batch = {kind: entries[: MAX_BATCH[kind]] for kind, entries in rows.items()}
            rows = {kind: entries[MAX_BATCH[kind] :] for kind, entries in rows.items()}
            self._log_batch(run_id, batch)

    def _log_batch(self, run_id: str, batch: Mapping[str, Sequence[Any]]) -> None:
        def write(client: MlflowClient) -> None:
            client.log_batch(run_id, **batch, synchronous=True)
            names = {kind: [entry.key for entry in entries] for kind, entries in batch.items()}
            answers.require_written(run_id, client, names=names)

        self.call("logging", write)

    def log_files(self, run_id: str, files: Sequence[Path], artifact_path: str) -> None:
        """Upload files, or the content of folders, below an artifact path."""
        self.call("uploading", lambda client: upload_artifacts(run_id, files, artifact_path, client))

    def end_run(self, run_id: str, status: str) -> None:
        """Close a run as FINISHED, FAILED or KILLED."""

        def end(client: MlflowClient) -> None:
            client.set_terminated(run_id, status)
            answers.require_written(run_id, client, status=status)

        self.call("closing a run", end)

    def reopen_run(self, run_id: str) -> None:
        """Set a run back to RUNNING, to continue it."""

        def reopen(client: MlflowClient) -> None:
            client.update_run(run_id, status="RUNNING")
            answers.require_written(run_id, client, status="RUNNING")

        self.call("reopening a run", reopen)

    def download(self, holder: str, artifact_path: str, destination: Path) -> Path:
        """Fetch an artifact into a folder; return its new path.

        Args:
            holder: Run id, or location of a model: a URI.
            artifact_path: Path below the run or the location.
            destination: Folder that exists.
        """
        fetch = download_from if ":" in holder else download_artifact
        return Path(
            self.call("downloading", functools.partial(fetch, holder, artifact_path, str(destination)))
        )

    def list_artifacts(self, run_id: str, artifact_path: str) -> list[str]:
        """List the paths directly below an artifact path of a run."""
        return list(self.browse(run_id, artifact_path))

    def list_at(self, location: str, path: str = "") -> dict[str, bool]:
        """List the names directly below a path of a model's location, each with whether it is a folder."""
        return self.call("listing artifacts", functools.partial(list_at, location, path))

    def browse(self, run_id: str, artifact_path: str = "") -> dict[str, bool]:
        """List the paths directly below an artifact path of a run, each with whether it is a folder."""
        return self.call("listing artifacts", functools.partial(list_artifacts, run_id, artifact_path))
