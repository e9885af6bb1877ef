"""One old call: champions from trials, measured on bakeoff's own path, results in the old place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bakeoff.core.records import Champion
from bakeoff.errors import NothingMeasuredError, UserError
from bakeoff.legacy import files
from bakeoff.legacy.files import Drive
from bakeoff.legacy.hashes import Config
from bakeoff.legacy.sections import OldArguments, name_experiment, open_old_project
from bakeoff.legacy.shapes import OldTrial, make_champion, read_trial
from bakeoff.orchestrator import Project
from bakeoff.orchestrator import benchmark_champions as measure_champions
from bakeoff.orchestrator.progress import warn

Complete = Callable[[OldTrial, Project], OldTrial]

_SEARCH, _BENCHMARK = "-hpo-", "-benchmark"


def benchmark_old(
    given: Mapping[str, Any],
    complete: Complete,
    *,
    test_data_path: Path | str | None,
    root_dir: Path | str,
    environment: str,
    data_config: Config,
    hpo_config: Config,
    benchmark_config: Config | None,
    benchmark_experiment: object,
    benchmark_batch_sizes: Sequence[int] | None,
    benchmark_iterations: int,
    benchmark_warmup: int,
    benchmark_max_length: int,
    benchmark_device: str | None,
    benchmark_tracker: object,
    backup_enabled: bool,
    backup_to_drive: Drive | None,
    ensure_restored_from_drive: Drive | None,
    mlflow_client: object,
    restore_from_drive: Drive | None,
) -> dict[str, Path]:
    """Benchmark what an old caller passes; ``complete`` adds what is missing in its trials."""
    if not given:
        return {}
    skipped = dict[str, str]()
    trials = dict[str, OldTrial]()
    restore = ensure_restored_from_drive or restore_from_drive
    for backbone, one in given.items():
        with _skipping(backbone, skipped):
            trials[backbone] = _restore(read_trial(backbone, one), restore)
    project = open_old_project(
        root_dir,
        given,
        data_config=data_config,
        hpo_config=hpo_config,
        benchmark_config=benchmark_config,
        arguments=OldArguments(
            test_data_path=_find_file(test_data_path, Path(root_dir)),
            batch_sizes=None if benchmark_batch_sizes is None else tuple(benchmark_batch_sizes),
            iterations=benchmark_iterations,
            warmup=benchmark_warmup,
            max_length=benchmark_max_length,
            device=benchmark_device,
        ),
        benchmark_experiment=name_experiment(benchmark_experiment)
        or name_experiment(benchmark_tracker)
        or _derive_experiment(trials),
        client=mlflow_client or benchmark_tracker,
    )
    champions = dict[str, Champion]()
    for backbone, trial in trials.items():
        with _skipping(backbone, skipped):
            metric = project.settings.hpo.objective.metric
            champions[backbone] = make_champion(complete(trial, project), metric)
    results = _measure(champions, project, skipped)
    places = {
        backbone: files.locate(Path(root_dir), environment, champion, benchmark_config)
        for backbone, champion in champions.items()
        if champion.backbone in results
    }
    for backbone, place in places.items():
        files.write_file(results[champions[backbone].backbone], place)
        if backup_enabled and backup_to_drive is not None:
            files.call_drive(backup_to_drive, place, "copy it to the drive")
    return places


def _measure(
    champions: Mapping[str, Champion], project: Project, skipped: Mapping[str, str]
) -> dict[str, Path]:
    reasons = [f"{backbone}: {reason}" for backbone, reason in skipped.items()]
    if not champions:
        raise NothingMeasuredError(reasons)
    try:
        return measure_champions(list(champions.values()), project)
    except NothingMeasuredError as error:
        raise NothingMeasuredError([*reasons, *error.reasons]) from None


@contextmanager
def _skipping(backbone: str, skipped: dict[str, str]) -> Iterator[None]:
    """Warn of a champion that cannot be used, and go on without it."""
    try:
        yield
    except UserError as error:
        skipped[backbone] = f"skipped: {error}"
        warn(f"{backbone}: skipped: {error}")


def _restore(trial: OldTrial, restore: Drive | None) -> OldTrial:
    """Let the drive bring back a folder that is missing here."""
    for folder in (trial.checkpoint, trial.trial_dir):
        if restore is not None and folder is not None and not folder.exists():
            files.call_drive(restore, folder, "restore it from the drive")
    return trial


def _derive_experiment(trials: Mapping[str, OldTrial]) -> str | None:
    """Return the benchmark experiment next to a search: ``NAME-hpo-BACKBONE`` has ``NAME-benchmark``."""
    names = [trial.experiment_name for trial in trials.values() if trial.experiment_name]
    found = (name.partition(_SEARCH) for name in names)
    return next((f"{project}{_BENCHMARK}" for project, match, _ in found if match), None)


def _find_file(given: Path | str | None, root: Path) -> Path | None:
    """Return an absolute path; a relative one starts at the project folder, or at the current one."""
    if given is None:
        return None
    return (root / given).absolute() if (root / given).exists() else Path(given).absolute()
