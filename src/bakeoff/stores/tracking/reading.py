"""Read the sweeps of any writer: runs become rows, and a layout makes trials and refits of them."""

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
    """Read every trial and refit of some experiments; no run is cut off.

    Args:
        tracker: Where from.
        experiments: Name of each experiment by its id.
        layout: Of the writer.
        metric: The objective's name, for writers that do not record it.
        more_tags: Only runs with these tags as well.
    """
    found: dict[str, Row] = {}
    for experiment_id, name in experiments.items():
        for tags in layout.queries():
            for run in tracker.search_runs(experiment_id, {**tags, **(more_tags or {})}):
                found[run.info.run_id] = read_row(run, name)
    return read_rows(found.values(), layout, metric)


def sample_rows(tracker: Tracker, experiment_id: str, name: str, n: int) -> list[Row]:
    """The oldest runs of an experiment, at most ``n``: enough to see who wrote it."""
    return [read_row(run, name) for run in islice(tracker.search_runs(experiment_id, {}), n)]


def find_checkpoints(tracker: Tracker, layout: Layout, refits: Iterable[Refit]) -> list[Refit]:
    """Look into the store for the checkpoint of each refit, whatever its tags say."""
    looked = []
    for refit in refits:
        artifact = find_checkpoint(tracker, refit.run_id, layout.checkpoint.artifacts)
        looked.append(
            refit.model_copy(
                update={
                    "artifact_available": artifact is not None,
                    "checkpoint_artifact": artifact or refit.checkpoint_artifact,
                }
            )
        )
    return looked


def find_checkpoint(tracker: Tracker, run_id: str, artifacts: Sequence[str]) -> str | None:
    """The first of some artifacts that a run really has: a file, or a folder that is not empty.

    Args:
        tracker: Where to look.
        run_id: Of the run.
        artifacts: Paths in which a part may be a pattern such as ``checkpoint-*``; the highest number wins.
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
    """The artifacts of one run, and the models that it logged; each folder is listed once."""

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
        """A logged model is listed with the run's artifacts only by who asks for it by its name."""
        run = self._tracker.call("reading a run", lambda client: client.get_run(self._run_id))
        for output in run.outputs.model_outputs if run.outputs else ():
            name = self._tracker.call(
                "reading a logged model", functools.partial(_name_of_model, model_id=output.model_id)
            )
            if name:
                yield name


def rename_backbone(trial: Trial, names: Mapping[str, str]) -> Trial:
    """A trial under its backbone's name in the configuration; one that is not meant gets no name of there.

    Args:
        trial: As recorded.
        names: In the configuration, by the name as recorded.
    """
    own = trial.backbone
    name = names.get(own, f"{own} (as recorded)" if own in names.values() else own)
    return trial if name == own else trial.model_copy(update={"backbone": name})


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
    """A run as plain values."""
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
