"""One way to ask MLflow: every request is counted and retried here."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from bakeoff.errors import TrackingError, UserError
from bakeoff.stores.tags import NONCE
from bakeoff.stores.tracking.artifacts import download_artifact, list_artifacts
from bakeoff.stores.tracking.connection import BUDGET_S, create_client
from bakeoff.stores.tracking.databases import is_unmade
from bakeoff.stores.tracking.experiments import create_experiment
from bakeoff.stores.tracking.faults import describe_fault, is_refusal, is_transient
from bakeoff.stores.tracking.queries import MAX_RUN_IDS, Page, Query, ask, equals, list_run_ids
from bakeoff.stores.tracking.versions import blame_server, check_installed
from bakeoff.uris import knock, mask_password

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Run
    from mlflow.tracking import MlflowClient

T = TypeVar("T")
Notify = Callable[[str], None]

MAX_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
RETRY_WAITS_S: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
_SAFE = (
    "everything measured is safe on disk; repeat the command when the store answers (plan, bench and decide "
    "know --offline)"
)


class Tracker:
    """A tracking store, counted and retried.

    Making one does nothing; the client is made and mlflow imported at the first request.

    Args:
        uri: Of the store.
        artifact_location: URI below which new experiments keep their files; None leaves it to the store.
        notify: Told about every retry.
        is_offline: Refuse every request at once instead of making it.

    Attributes:
        n_requests: Calls made so far.
    """

    def __init__(
        self,
        uri: str,
        artifact_location: str | None = None,
        notify: Notify = lambda _: None,
        *,
        is_offline: bool = False,
    ) -> None:
        self.uri = uri
        self.n_requests = 0
        self.is_offline = is_offline
        self._artifact_location = artifact_location
        self._notify = notify
        self._client: MlflowClient | None = None
        self._experiments: dict[str, str] = {}

    @property
    def shown_uri(self) -> str:
        """The URI without password."""
        return mask_password(self.uri)

    @property
    def is_there(self) -> bool:
        """Whether there is a store: asking for a SQLite file that is missing would make one."""
        return not is_unmade(self.uri)

    def call(self, action: str, function: Callable[[MlflowClient], T], *, is_patient: bool = True) -> T:
        """Run one request; transient faults are tried again, for about 15 s in all.

        Args:
            action: For the messages: ``reading runs``.
            function: Gets the client. It may run more than once, so it must be repeatable.
            is_patient: Whether it is tried again at all.

        Raises:
            TrackingError: The store refused, or did not answer within the budget.
            UnsuitableLibraryError: The MLflow that is installed is older or newer than bakeoff is made for.
        """
        if self.is_offline:
            found = "--offline: it was not asked"
            raise TrackingError(self.shown_uri, action=action, found=found, safe="repeat without --offline")
        if self._client is None:
            check_installed()
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        deadline = time.monotonic() + BUDGET_S
        for wait_s in (*(RETRY_WAITS_S if is_patient else ()), None):
            self.n_requests += 1
            try:
                return function(self._connect())
            except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
                found = describe_fault(error)
                is_late = wait_s is None or time.monotonic() + wait_s > deadline
                if wait_s is None or is_late or not is_transient(error):
                    found += blame_server(self.uri, error)
                    raise TrackingError(
                        self.shown_uri, action=action, found=found, safe=_SAFE, is_refusal=is_refusal(error)
                    ) from error
                self._notify(f"tracking store: {action} failed ({found}); again in {wait_s:g} s")
                time.sleep(wait_s)
        raise AssertionError("the last attempt returns or raises")

    def _connect(self) -> MlflowClient:
        if self._client is None:
            knock(self.uri)
            self._client = create_client(self.uri)
        return self._client

    def find_experiment(self, name: str) -> str | None:
        """The id of an active experiment, or None; one that was found once is not asked for again.

        Raises:
            TrackingError: The store does not answer, or not as an MLflow store would.
        """
        if name in self._experiments:
            return self._experiments[name]
        if is_unmade(self.uri):
            return None
        found = self.call("finding an experiment", lambda client: client.get_experiment_by_name(name))
        self._check_experiment(found, name)
        if found is None or found.lifecycle_stage != "active":
            return None
        self._experiments[name] = str(found.experiment_id)
        return self._experiments[name]

    def _check_experiment(self, found: Experiment | None, name: str) -> None:
        """An answer that is about nothing asked must not be read as "there is none"."""
        if found is not None and found.name != name:
            raise TrackingError(
                self.shown_uri,
                action="finding an experiment",
                found=f"asked for {name!r}, it answered about {found.name!r}: no MLflow server speaks there",
            )

    def find_lifecycle_stage(self, name: str) -> str | None:
        """``active`` or ``deleted``, or None where no experiment has this name."""
        if is_unmade(self.uri):
            return None
        found = self.call("finding an experiment", lambda client: client.get_experiment_by_name(name))
        return str(found.lifecycle_stage) if found else None

    def list_experiments(self) -> list[str]:
        """Names of the active experiments, at most 1,000 of them: for messages."""
        if is_unmade(self.uri):
            return []
        found = self.call("listing experiments", lambda client: client.search_experiments(max_results=1000))
        return sorted(experiment.name for experiment in found)

    def ensure_experiment(self, name: str) -> str:
        """The id of an experiment, made if it is not there.

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
            found = client.get_experiment_by_name(name)  # ours, if an earlier try lost its reply
            if found is None:
                made = create_experiment(client, name, artifact_location=location)
                if made is not None:
                    return made
                found = client.get_experiment_by_name(name)
            if found is None or found.lifecycle_stage != "active":
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
            TrackingError: The store does not answer, or leaves off without having said all.
        """
        token: str | None = None
        seen: set[str] = set()
        while True:
            found = self.call("reading runs", functools.partial(ask, query, token=token))
            # Pages are offsets: a run that was added meanwhile can push one over the edge twice.
            fresh = tuple(run for run in found if run.info.run_id not in seen)
            seen |= {run.info.run_id for run in fresh}
            if found.token and (not len(found) or found.token == token):
                cut = f"a page of {len(found)} runs after {len(seen)} which says that there are more of them"
                raise TrackingError(self.shown_uri, action="reading runs", found=cut, safe=_SAFE)
            yield Page(fresh, is_last=not found.token)
            token = found.token
            if not token:
                return

    def find_lifecycles(self, run_ids: Iterable[str], experiment_ids: Iterable[str]) -> dict[str, str]:
        """Whether each of some runs is ``active`` or ``deleted``; one that the store does not know is absent.

        Args:
            run_ids: Which runs.
            experiment_ids: Where they were logged; a deleted experiment counts too.
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
        """Create a run; a try whose reply was lost is found again by its nonce, not repeated.

        Args:
            experiment_id: Where.
            name: For eyes.
            tags: Of the run, written in the same request.
            nonce: Unique to what is written there.
        """
        first = True

        def create(client: MlflowClient) -> str:
            nonlocal first
            if not first:
                found = ask(Query((experiment_id,), [equals(NONCE, nonce)]), client)
                for earlier in found:
                    if earlier.info.status != "KILLED":  # one that was given up for another
                        return str(earlier.info.run_id)
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
        curves: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """Log metrics, params and tags: one request unless MLflow's limits ask for more.

        Args:
            run_id: Of the run.
            metrics: By name, one value each.
            params: By name.
            tags: By name.
            curves: By name, one value a step from 1 on; the last one is the metric's value.
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
        return list(self.browse(run_id, artifact_path))

    def browse(self, run_id: str, artifact_path: str = "") -> dict[str, bool]:
        """What lies directly below an artifact path of a run; of each path, whether it is a folder."""
        return self.call("listing artifacts", functools.partial(list_artifacts, run_id, artifact_path))


def _upload(run_id: str, path: Path, artifact_path: str, client: MlflowClient) -> None:
    upload = client.log_artifacts if path.is_dir() else client.log_artifact
    upload(run_id, str(path), artifact_path)
