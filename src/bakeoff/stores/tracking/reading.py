"""Read the sweeps of any writer: runs become rows, and a layout turns rows into trials and refits."""

from __future__ import annotations

import functools
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from yaml import YAMLError

from bakeoff.core.config.yaml_values import read_value
from bakeoff.core.records import BestCheckpoint, Refit, Trial
from bakeoff.disk.names import find_path_fault
from bakeoff.measure.model.row_model import MLMODEL_FILE
from bakeoff.stores.layouts import Layout, RunRow, Sweep, read_rows
from bakeoff.stores.tracking.answers import read_run
from bakeoff.stores.tracking.artifacts import find_absent_folder
from bakeoff.stores.tracking.client import Tracker
from bakeoff.stores.tracking.trainer_state import (
    MAX_STATE_BYTES,
    STATE_FILE,
    TrainerState,
    as_number,
    read_state,
)

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

_CONFIG_FILE = "config.json"
_NUMBERED = re.compile(r"[-_]\d+$")


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
    found: dict[str, RunRow] = {}
    for experiment_id, name in experiments.items():
        for tags in layout.queries():
            for run in tracker.search_runs(experiment_id, {**tags, **(more_tags or {})}):
                found[run.info.run_id] = read_row(run, name)
    return read_rows(found.values(), layout, metric)


def sample_rows(tracker: Tracker, experiment_id: str, name: str, n: int) -> list[RunRow]:
    """Read at most ``n`` of the oldest runs of an experiment, enough to recognise its writer."""
    return [read_row(run, name) for run in islice(tracker.search_runs(experiment_id, {}), n)]


def find_checkpoints(tracker: Tracker, layout: Layout, refits: Iterable[Refit], metric: str) -> list[Refit]:
    """Look into the store for the checkpoint of each refit, regardless of its tags.

    A training that is both trial and refit may record its best checkpoint, which is taken if it was logged.

    Args:
        tracker: Tracking store.
        layout: Layout of the writer.
        refits: Refits to look at.
        metric: The objective's name.
    """
    patterns = layout.checkpoint.artifacts
    looked = []
    for refit in refits:
        shelf = _Shelf(tracker, refit.run_id)
        artifact, best = shelf.find(patterns), None
        if artifact is not None and layout.refit.is_trial:
            artifact, best = _find_best(shelf, artifact, patterns, metric)
        looked.append(
            refit.replace(
                artifact_available=artifact is not None,
                checkpoint_artifact=artifact or refit.checkpoint_artifact,
                missing_location=None if artifact else find_missing_location(tracker, refit.run_id),
                best_checkpoint=best,
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
    return _Shelf(tracker, run_id).find(artifacts)


def list_artifacts(tracker: Tracker, run_ids: Iterable[str]) -> list[str]:
    """List the names of the artifacts and logged models of some runs; a folder ends with a slash."""
    found: dict[str, None] = {}
    for run_id in run_ids:
        for path, is_folder in _Shelf(tracker, run_id).look_into("").items():
            found[f"{path}/" if is_folder else path] = None
    return list(found)


def find_missing_location(tracker: Tracker, run_id: str) -> str | None:
    """Find the artifact location of a run's experiment on this machine, if it does not exist.

    Returns:
        Its path; None if it exists, or if a server or another service keeps the artifacts.
    """
    run = tracker.call("reading a run", functools.partial(read_run, run_id))
    return find_absent_folder(run.info.artifact_uri or "", run_id)


def holds_mlflow_model(tracker: Tracker, run_id: str, artifact: str) -> bool:
    """Return whether an artifact is a folder with an ``MLmodel`` file."""
    return f"{artifact}/{MLMODEL_FILE}" in _Shelf(tracker, run_id).look_into(artifact)


class OwnFiles(NamedTuple):
    """Content of the files in which a model describes itself.

    Attributes:
        config: ``config.json`` of transformers; None for an archive, or if it is missing or broken.
        mlmodel: ``MLmodel`` of MLflow, empty if it is broken; None without one.
    """

    config: Mapping[str, Any] | None
    mlmodel: Mapping[str, Any] | None

    @property
    def name(self) -> str | None:
        """Name of the pretrained model: the last part of ``_name_or_path``; None if it is not recorded."""
        name = (self.config or {}).get("_name_or_path")
        if not isinstance(name, str):
            return None
        return name.replace("\\", "/").rstrip("/").rpartition("/")[2] or None


def read_own_files(tracker: Tracker, run_id: str, artifact: str) -> OwnFiles:
    """Read the files in which a model describes itself, and nothing else of it."""
    shelf = _Shelf(tracker, run_id)
    mlmodel = None
    if f"{artifact}/{MLMODEL_FILE}" in shelf.look_into(artifact):
        mlmodel = shelf.read_object(f"{artifact}/{MLMODEL_FILE}", read_value) or {}
        flavors = mlmodel.get("flavors")
        flavor = flavors.get("transformers") if isinstance(flavors, dict) else None
        folder = flavor.get("model_binary") if isinstance(flavor, dict) else None
        if isinstance(folder, str) and not find_path_fault(folder):
            artifact = f"{artifact}/{folder}"
    if f"{artifact}/{_CONFIG_FILE}" not in shelf.look_into(artifact):
        return OwnFiles(None, mlmodel)
    return OwnFiles(shelf.read_object(f"{artifact}/{_CONFIG_FILE}", json.loads), mlmodel)


def _find_best(
    shelf: _Shelf, artifact: str, patterns: Sequence[str], metric: str
) -> tuple[str, BestCheckpoint | None]:
    """Find the checkpoint that a training recorded as its best one, if it recorded one.

    Returns:
        The artifact to ship, and the best checkpoint.
    """
    if f"{artifact}/{STATE_FILE}" not in shelf.look_into(artifact):
        return artifact, None
    with shelf.fetch(f"{artifact}/{STATE_FILE}") as path:
        state = read_state(path)
    if state is None:
        return artifact, None
    taken = shelf.find([own for pattern in patterns if (own := _pin(pattern, state.best_name))])
    if taken is None and not _NUMBERED.search(artifact) and shelf.says("load_best_model_at_end", "true"):
        taken = artifact  # the final model, which the Trainer replaced by the best one
    best = BestCheckpoint(
        name=state.best_name, metric=_metric_of_best(shelf, state, metric), is_taken=taken is not None
    )
    return taken or artifact, best


def _pin(pattern: str, name: str) -> str | None:
    """Replace each wildcard part of a pattern by a name that it matches; None if the last part differs."""
    parts = [name if "*" in part and fnmatchcase(name, part) else part for part in pattern.split("/")]
    return "/".join(parts) if parts[-1] == name else None


def _metric_of_best(shelf: _Shelf, state: TrainerState, metric: str) -> float | None:
    """Find the objective's metric of a best checkpoint: from its own log, the store, or its best metric."""
    value = state.find_metric(metric)
    if value is None and state.best_step is not None:
        value = next((v for step, v in shelf.history(metric) if step == state.best_step), None)
    is_objective = any(
        shelf.says("metric_for_best_model", name) for name in (metric, metric.removeprefix("eval_"))
    )
    return state.best_metric if value is None and is_objective else value


class _Shelf:
    """Artifacts of one run and its logged models; reads the run and lists each folder once."""

    def __init__(self, tracker: Tracker, run_id: str) -> None:
        self._tracker = tracker
        self._run_id = run_id
        self._seen: dict[str, dict[str, bool]] = {}

    @functools.cached_property
    def _run(self) -> Run:
        return self._tracker.call("reading a run", functools.partial(read_run, self._run_id))

    def find(self, artifacts: Sequence[str]) -> str | None:
        """Find the first of some artifacts, as ``find_checkpoint`` does."""
        for pattern in artifacts:
            path, is_folder = "", True
            for part in pattern.split("/"):
                inside = self.look_into(path) if is_folder else {}
                names = [name for name in inside if fnmatchcase(name.rpartition("/")[2], part)]
                if not names:
                    break
                path = max(names, key=_by_number)
                is_folder = inside[path]
            else:
                if not is_folder or self.look_into(path):
                    return path
        return None

    def says(self, param: str, text: str) -> bool:
        """Return whether a param of the run has this value, in any case."""
        return str(self._run.data.params.get(param, "")).lower() == text.lower()

    def history(self, metric: str) -> list[tuple[int, float]]:
        """Return the finite values of a metric with their steps, in the order logged."""
        found = self._tracker.call(
            "reading a metric", lambda client: client.get_metric_history(self._run_id, metric)
        )
        return [(entry.step, entry.value) for entry in found if as_number(entry.value) is not None]

    @contextmanager
    def fetch(self, path: str) -> Iterator[Path]:
        """Fetch one file, and remove it again."""
        with tempfile.TemporaryDirectory(prefix="bakeoff-") as folder:
            yield self._tracker.download(self._run_id, path, Path(folder))

    def read_object(self, path: str, parse: Callable[[str], Any]) -> dict[str, Any] | None:
        """Read a small file that holds an object; None if it is too large, or broken."""
        with self.fetch(path) as file:
            try:
                text = file.read_text("utf-8") if file.stat().st_size <= MAX_STATE_BYTES else ""
                found = parse(text)
            except (OSError, ValueError, RecursionError, YAMLError):
                return None
        return found if isinstance(found, dict) else None

    def look_into(self, path: str) -> dict[str, bool]:
        if path not in self._seen:
            models = {} if path else dict.fromkeys(self._model_names(), True)
            self._seen[path] = {**self._tracker.browse(self._run_id, path), **models}
        return self._seen[path]

    def _model_names(self) -> Iterator[str]:
        """Yield the names of logged models, which a listing of the run's artifacts does not show."""
        outputs = self._run.outputs
        for output in outputs.model_outputs if outputs else ():
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


def read_row(run: Run, experiment_name: str) -> RunRow:
    """Read a run as plain values."""
    return RunRow(
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
