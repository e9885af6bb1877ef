"""The ledger of a benchmark experiment: entries written once, which every machine reads alike.

MLflow's database makes one operation atomic: a param keeps its first value, so ``log_param`` is a
compare-and-set. The name of an experiment is unique, so all machines find the same ledger.

    experiment  NAME.claims-ID      its tag names the root
    root        run, stage claims   params part.<n> = run id; tags bakeoff.heartbeat.<token>
    part        run, stage claims   params <key digest>.<entry>

A run stays fast up to some thousands of params, so digests spread the keys over parts. The root holds the
number of parts, which never changes: all machines must agree on the part of a key.
"""

from __future__ import annotations

import functools
import uuid
from typing import TYPE_CHECKING

from bakeoff.errors import TrackingError
from bakeoff.stores import tags
from bakeoff.stores.tags import Stage
from bakeoff.stores.tracking import Tracker
from bakeoff.stores.tracking.answers import find_experiment, read_run, require_written
from bakeoff.stores.tracking.experiments import create_experiment
from bakeoff.stores.tracking.ledger_entries import Entries

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

N_PARTS = 16
_PART = "part."
_PREFIX_DIGITS = 8
# MLflow's message for a param with another value; the error code is that of every bad argument.
_HAS_ANOTHER_VALUE = "Changing param values is not allowed"
_PURPOSE = "Names the run that holds the ledger of a benchmark experiment, also while this one is deleted."


class Ledger:
    """The ledger of one benchmark experiment, found or made at the first use.

    Args:
        tracker: Tracking store.
        experiment: Name of the benchmark experiment.
        n_parts: Number of runs that share the keys of a new ledger; an existing ledger keeps its number.
    """

    def __init__(self, tracker: Tracker, experiment: str, n_parts: int = N_PARTS) -> None:
        self._tracker = tracker
        self._experiment = experiment
        self._n_parts = n_parts
        self._root = ""
        self._parts: dict[int, str] = {}

    def read(self, key_digest: str) -> Entries:
        """Read all entries of a key."""
        return Entries.parse(self._read_run(self._part_of(key_digest)).data.params, key_digest)

    def write_once(self, key_digest: str, entry: str, value: str) -> bool:
        """Write an entry of a key, unless it has another value; return whether it has this one now."""
        return self._set_once(self._part_of(key_digest), f"{key_digest}.{entry}", value)

    def read_marks(self) -> dict[str, str]:
        """Read the marks that owners leave and change."""
        return dict(self._read_run(self._find_root()).data.tags)

    def write_mark(self, name: str, value: str, *, is_patient: bool) -> None:
        """Set a mark, which may change."""
        root = self._find_root()
        self._tracker.call(
            "writing a heartbeat",
            lambda client: client.set_tag(root, name, value),
            is_patient=is_patient,
        )

    def remove_mark(self, name: str) -> None:
        """Remove a mark that was set."""
        root = self._find_root()
        self._tracker.call(
            "removing the heartbeat", lambda client: client.delete_tag(root, name), is_patient=False
        )

    def find_run(self, run_id: str) -> Run | None:
        """Find a run, deleted or not; None if the store does not know it."""
        from mlflow.exceptions import MlflowException

        def look(client: MlflowClient) -> Run | None:
            try:
                return read_run(run_id, client)
            except MlflowException as error:
                if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                    return None
                raise

        return self._tracker.call("reading a run", look)

    def _part_of(self, key_digest: str) -> str:
        root = self._find_root()
        number = int(key_digest[:_PREFIX_DIGITS], 16) % self._n_parts
        if number not in self._parts:
            self._learn(self._read_run(root))
        if number not in self._parts:
            made = self._make_run(f"claims {number + 1}/{self._n_parts}")
            if self._set_once(root, f"{_PART}{number}", made):
                self._parts[number] = made
            else:
                self._tracker.end_run(made, "KILLED")
                self._learn(self._read_run(root))
        return self._parts[number]

    def _find_root(self) -> str:
        if self._root:
            return self._root
        experiment_id = self._tracker.ensure_experiment(self._experiment)
        name = f"{self._experiment}.claims-{experiment_id}"
        root = self._look_up(name)
        if root is None:
            made = self._make_run("claims")
            root = self._agree(name, made)
            if root != made:
                self._tracker.end_run(made, "KILLED")
        self._learn(self._read_run(root))
        self._root = root
        return root

    def _look_up(self, name: str) -> str | None:
        """Find the root that an experiment names, also a deleted experiment."""
        found = self._tracker.call("finding the ledger", functools.partial(find_experiment, name))
        if found is None:
            return None
        return str(found.tags.get(tags.LEDGER_RUN) or "") or None

    def _agree(self, name: str, made: str) -> str:
        names_ours = {tags.LEDGER_RUN: made, tags.NOTE: _PURPOSE}
        self._tracker.call(
            "agreeing on a ledger", lambda client: create_experiment(client, name, tags=names_ours)
        )
        root = self._look_up(name)
        if root is None:
            found = f"experiment {name!r} does not name a ledger; delete it for good, or rename it"
            raise TrackingError(self._tracker.shown_uri, action="agreeing on a ledger", found=found)
        return root

    def _make_run(self, name: str) -> str:
        identity = {
            tags.STAGE: Stage.CLAIMS,
            tags.SCHEMA_VERSION: tags.TAG_SCHEMA,
            tags.LEDGER_PARTS: str(self._n_parts),
        }
        experiment_id = self._tracker.ensure_experiment(self._experiment)
        return self._tracker.create_run(experiment_id, name, identity, nonce=uuid.uuid4().hex)

    def _learn(self, root: Run) -> None:
        text = root.data.tags.get(tags.LEDGER_PARTS, "")
        self._n_parts = int(text) if text.isdecimal() and int(text) > 0 else self._n_parts
        for name, value in root.data.params.items():
            number = name.removeprefix(_PART)
            if name.startswith(_PART) and number.isdecimal():
                self._parts[int(number)] = value

    def _read_run(self, run_id: str) -> Run:
        run = self._tracker.call("reading the ledger", functools.partial(read_run, run_id))
        if run.info.lifecycle_stage != "active":
            found = f"its run {run_id} was deleted; restore it, so that results can be claimed and published"
            raise TrackingError(self._tracker.shown_uri, action="reading the ledger", found=found)
        return run

    def _set_once(self, run_id: str, name: str, value: str) -> bool:
        from mlflow.exceptions import MlflowException

        def attempt(client: MlflowClient) -> bool:
            try:
                client.log_param(run_id, name, value)
            except MlflowException as error:
                if _HAS_ANOTHER_VALUE not in str(error):
                    raise
                return False
            require_written(run_id, client, names={"params": [name]})
            return True

        return self._tracker.call("writing to the ledger", attempt)
