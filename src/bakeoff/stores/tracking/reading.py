"""Read the sweeps of any writer: runs become rows, and a layout turns rows into trials and refits."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING

from bakeoff.core.records import Refit, Trial
from bakeoff.stores.layouts import Layout, Row, Sweep, read_rows
from bakeoff.stores.tracking.client import Tracker

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient


def read_sweep(
    tracker: Tracker,
    experiments: Mapping[str, str],
    layout: Layout,
    metric: str,
    more_tags: Mapping[str, str] | None = None,
) -> Sweep:
    """Read every trial and refit of some experiments.

    Args:
        tracker: Tracking store.
        experiments: Name of each experiment by its id.
        layout: Layout of the writer.
        metric: The objective's name, for writers that do not record it.
        more_tags: Further tags that a run must have.
    """
    found: dict[str, Row] = {}
    for experiment_id, name in experiments.items():
        for tags in layout.queries():
            for run in tracker.search_runs(experiment_id, {**tags, **(more_tags or {})}):
                found[run.info.run_id] = read_row(run, name)
    return read_rows(found.values(), layout, metric)


def sample_rows(tracker: Tracker, experiment_id: str, name: str, n: int) -> list[Row]:
    """Read at most ``n`` of the oldest runs of an experiment, enough to recognise its writer."""
    return [read_row(run, name) for run in islice(tracker.search_runs(experiment_id, {}), n)]


def find_checkpoints(tracker: Tracker, layout: Layout, refits: Iterable[Refit]) -> list[Refit]:
    """Look into the store for the checkpoint of each refit, regardless of its tags."""
    looked = []
    for refit in refits:
        artifact = find_checkpoint(tracker, refit.run_id, layout.checkpoint.artifacts)
        looked.append(
            refit.replace(
                artifact_available=artifact is not None,
                checkpoint_artifact=artifact or refit.checkpoint_artifact,
            )
        )
    return looked


def find_checkpoint(tracker: Tracker, run_id: str, artifacts: Sequence[str]) -> str | None:
    """Find the first of some artifacts that a run really has: a file, or a folder that is not empty.

    Args:
        tracker: Tracking store.
        run_id: Run to look at.
        artifacts: Paths. A part may be a pattern such as ``checkpoint-*``; the highest number wins.
    """
    shelf = _Shelf(tracker, run_id)
    for pattern in artifacts:
        path, is_folder = "", True
        for part in pattern.split("/"):
            inside = shelf.look_into(path) if is_folder else {}
            names = [name for name in inside if fnmatchcase(name.rpartition("/")[2], part)]
            if not names:
                break
            path = max(names, key=_by_number)
            is_folder = inside[path]
        else:
            if not is_folder or shelf.look_into(path):
                return path
    return None


class _Shelf:
    """Artifacts of one run and its logged models; lists each folder once."""

    def __init__(self, tracker: Tracker, run_id: str) -> None:
        self._tracker = tracker
        self._run_id = run_id
        self._seen: dict[str, dict[str, bool]] = {}

    def look_into(self, path: str) -> dict[str, bool]:
        if path not in self._seen:
            models = {} if path else dict.fromkeys(self._model_names(), True)
            self._seen[path] = {**self._tracker.browse(self._run_id, path), **models}
        return self._seen[path]

    def _model_names(self) -> Iterator[str]:
        """Yield the names of logged models, which a listing of the run's artifacts does not show."""
        run = self._tracker.call("reading a run", lambda client: client.get_run(self._run_id))
        for output in run.outputs.model_outputs if run.outputs else ():
            name = self._tracker.call(
                "reading a logged model", functools.partial(_name_of_model, model_id=output.model_id)
            )
            if name:
                yield name


def rename_backbone(trial: Trial, names: Mapping[str, str]) -> Trial:
    """Give a trial its backbone's name in the configuration, and mark a recorded name that would collide.

    Args:
        trial: Trial as recorded.
        names: Name in the configuration by recorded name.
    """
    own = trial.backbone
    name = names.get(own, f"{own} (as recorded)" if own in names.values() else own)
    return trial if name == own else trial.replace(backbone=name)


def _name_of_model(client: MlflowClient, model_id: str) -> str | None:
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_logged_model(model_id).name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None  # deleted since
        raise


def _by_number(path: str) -> tuple[list[int], str]:
    return [int(digits) for digits in re.findall(r"\d+", path.rpartition("/")[2])], path


def read_row(run: Run, experiment_name: str) -> Row:
    """Read a run as plain values."""
    return Row(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        status=run.info.status,
        experiment_id=run.info.experiment_id,
        experiment_name=experiment_name,
        start_time_ms=run.info.start_time or 0,
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
    )
