"""The old module's functions: old names, signatures and shapes, on bakeoff's own path of champions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bakeoff.core import run_mode as modes
from bakeoff.core.config.settings import SelectionSettings
from bakeoff.core.records import Champion
from bakeoff.core.run_mode import DEFAULT_RUN_MODE, RunMode
from bakeoff.errors import NoChampionError, UserError
from bakeoff.legacy import completion, files, hashes
from bakeoff.legacy.benchmark import benchmark_old
from bakeoff.legacy.checkpoints import find_checkpoint
from bakeoff.legacy.files import Drive
from bakeoff.legacy.hashes import Config
from bakeoff.legacy.sections import (
    ITERATIONS,
    LAYOUT,
    MAX_LENGTH,
    WARMUP,
    name_backbone,
    open_old_project,
    read_objective,
)
from bakeoff.legacy.shapes import OldTrial, make_champion, read_trial, show_selection
from bakeoff.measure.tasks.metrics import Direction
from bakeoff.orchestrator import Project
from bakeoff.orchestrator.champions import read_sweep, select_from
from bakeoff.orchestrator.plan import find_existing
from bakeoff.orchestrator.progress import warn
from bakeoff.stores.layouts import load_layout

_KEY_TAGS = ("benchmark_key", "code.benchmark_key")


def benchmark_champions(
    champions: Mapping[str, Any],
    test_data_path: Path | str | None,
    root_dir: Path | str,
    environment: str,
    data_config: Config,
    hpo_config: Config,
    benchmark_config: Config | None = None,
    benchmark_experiment: object = None,
    benchmark_batch_sizes: Sequence[int] | None = None,
    benchmark_iterations: int = ITERATIONS,
    benchmark_warmup: int = WARMUP,
    benchmark_max_length: int = MAX_LENGTH,
    benchmark_device: str | None = None,
    benchmark_tracker: object = None,
    backup_enabled: bool = True,
    backup_to_drive: Drive | None = None,
    ensure_restored_from_drive: Drive | None = None,
    mlflow_client: object = None,
    *,
    restore_from_drive: Drive | None = None,
) -> dict[str, Path]:
    """Benchmark champions of the old shape; nothing is looked up for one that carries its data.

    Args:
        champions: Champions or selections by backbone, old or new.
        test_data_path: Test documents; None takes ``benchmarking.test_data``.
        root_dir: Project folder, which gets the results.
        environment: Name of a folder of the old place.
        data_config: Old ``data`` section.
        hpo_config: Old ``hpo`` section.
        benchmark_config: Old ``benchmark`` section.
        benchmark_experiment: Experiment of the benchmark runs: name, or mapping with a name.
        benchmark_batch_sizes: Batch sizes in place of the section's.
        benchmark_iterations: Minimum number of timed calls of a batch size.
        benchmark_warmup: Minimum number of calls in a warm-up.
        benchmark_max_length: Maximum tokens per document.
        benchmark_device: ``cpu`` or ``cuda``; None means the CPU.
        benchmark_tracker: Tracker of the old module; its experiment is used.
        backup_enabled: Whether to call ``backup_to_drive``.
        backup_to_drive: Gets the path of each result file; returns whether it was copied.
        ensure_restored_from_drive: Gets the path of each missing checkpoint folder; returns whether it is
            there now.
        mlflow_client: Client whose store is used; None means the store that this process has set.
        restore_from_drive: Other name of ``ensure_restored_from_drive``.

    Returns:
        The result file in the old place by backbone. A champion that cannot be used is warned of and skipped.

    Raises:
        ConfigError: A section or argument is unusable.
        NothingMeasuredError: Every champion failed; it names the reason of each.
    """
    given = dict(locals())
    return benchmark_old(given.pop("champions"), lambda trial, _: trial, **given)


def benchmark_best_trials(
    best_trials: Mapping[str, Any],
    test_data_path: Path | str | None,
    root_dir: Path | str,
    environment: str,
    data_config: Config,
    hpo_config: Config,
    benchmark_config: Config | None = None,
    benchmark_experiment: object = None,
    benchmark_batch_sizes: Sequence[int] | None = None,
    benchmark_iterations: int = ITERATIONS,
    benchmark_warmup: int = WARMUP,
    benchmark_max_length: int = MAX_LENGTH,
    benchmark_device: str | None = None,
    benchmark_tracker: object = None,
    backup_enabled: bool = True,
    backup_to_drive: Drive | None = None,
    ensure_restored_from_drive: Drive | None = None,
    mlflow_client: object = None,
    *,
    restore_from_drive: Drive | None = None,
) -> dict[str, Path]:
    """Benchmark the best trial of each backbone; deprecated.

    A trial with run ids, hashes and ``checkpoint_dir`` costs no look-up. An older one is completed: the
    checkpoint from ``trial_dir``, hashes from the sections, run ids from the store. The other arguments are
    those of ``benchmark_champions``.
    """
    _deprecate("benchmark_best_trials", "benchmark_champions()")
    given = dict(locals())

    def complete(trial: OldTrial, project: Project) -> OldTrial:
        found = completion.complete_checkpoint(trial, project)
        if found.measured_run_id and found.study_key_hash and found.trial_key_hash:
            return found
        if found.hyperparameters or found.trial_key_hash:
            found = completion.complete_hashes(found, data_config, hpo_config, benchmark_config)
        return completion.complete_runs(found, project)

    return benchmark_old(given.pop("best_trials"), complete, **given)


def filter_missing_benchmarks(
    champions: Mapping[str, Any],
    benchmark_experiment: object,
    benchmark_config: Config,
    data_fingerprint: str,
    eval_fingerprint: str,
    root_dir: Path | str,
    environment: str,
    mlflow_client: object = None,
    run_mode: str | None = None,
) -> Mapping[str, Any]:
    """Return the champions without a benchmark, the same objects; under ``force_new`` all of them.

    A benchmark exists if its file in the old place shows measurements that still count, or if a finished run
    of the old writer has the old key. Store and disk are asked once for all champions.

    Raises:
        ConfigError: The run mode is unknown.
        TrackingError: The store does not answer; bakeoff never takes that for "nothing exists".
    """
    mode = modes.read_mode(run_mode, "run_mode") if run_mode else modes.get_run_mode(benchmark_config)
    if mode is RunMode.FORCE_NEW or not champions:
        return champions
    project = open_old_project(
        root_dir,
        champions,
        benchmark_config=benchmark_config,
        benchmark_experiment=benchmark_experiment,
        client=mlflow_client,
    )
    known = dict[str, Champion]()
    for backbone, given in champions.items():
        try:
            trial = read_trial(backbone, given).replace(checkpoint_path=None, checkpoint_dir=None)
            known[backbone] = make_champion(trial, project.settings.hpo.objective.metric)
        except UserError as error:
            warn(f"{backbone}: {error}")
    valid = {
        each.key for each in find_existing(project, tuple(known.values())) if each.state == "valid"
    } | _find_old_keys(project)

    def is_measured(champion: Champion) -> bool:
        key = hashes.build_benchmark_key(
            champion.run_id, data_fingerprint, eval_fingerprint, benchmark_config
        )
        origin = files.read_origin(files.locate(Path(root_dir), environment, champion, benchmark_config))
        return key in valid or (origin is not None and valid.issuperset(origin.benchmark_keys))

    return {
        backbone: given
        for backbone, given in champions.items()
        if backbone not in known or not is_measured(known[backbone])
    }


def select_champion_per_backbone(
    backbone: str,
    hpo_experiment: object,
    selection_config: Config,
    mlflow_client: object,
    root_dir: Path | str | None = None,
    config_dir: Path | str | None = None,
) -> dict[str, Any] | None:
    """Select the champion of a backbone, in the old shape; None, with a warning, if it has none.

    Args:
        backbone: Backbone as the runs record it.
        hpo_experiment: Experiment of the search: name, or mapping with a name.
        selection_config: Rules, at the top or under ``champion_selection``; ``objective`` as in ``hpo``.
        mlflow_client: Client whose store is read.
        root_dir: Folder that relative paths start from.
        config_dir: Accepted and not used: the rules are in ``selection_config``.
    """
    del config_dir
    rules = {**selection_config, **(selection_config.get("champion_selection") or {})}
    project = open_old_project(
        root_dir,
        [backbone],
        hpo_config={"objective": read_objective(selection_config)},
        selection={name: rules[name] for name in SelectionSettings.model_fields if name in rules},
        sweep_experiment=hpo_experiment,
        client=mlflow_client,
    )
    layout = load_layout(str(selection_config.get("layout") or LAYOUT), project.root)
    try:
        found = select_from(project, layout, read_sweep(project, layout))[name_backbone(backbone)]
    except NoChampionError as error:
        warn(f"{backbone}: {error}")
        return None
    if found.champion is None:
        warn(f"{backbone}: no champion: {found.reason}")
        return None
    return show_selection(backbone, found)


def select_champions_for_backbones(
    backbone_values: Sequence[str],
    hpo_experiments: Mapping[str, Any],
    selection_config: Config,
    mlflow_client: object,
    root_dir: Path | str | None = None,
    config_dir: Path | str | None = None,
) -> dict[str, dict[str, Any]]:
    """Select the champion of each backbone; one without a champion is warned of and missing.

    Args:
        backbone_values: Backbones as the runs record them.
        hpo_experiments: Experiment of each backbone's search.
        selection_config: Rules, as in ``select_champion_per_backbone``.
        mlflow_client: Client whose store is read.
        root_dir: Folder that relative paths start from.
        config_dir: Accepted and not used.
    """
    found = {}
    for backbone in backbone_values:
        experiment = hpo_experiments.get(backbone)
        if experiment is None:
            warn(f"{backbone}: no champion: hpo_experiments does not name its experiment")
            continue
        selection = select_champion_per_backbone(
            backbone, experiment, selection_config, mlflow_client, root_dir, config_dir
        )
        if selection is not None:
            found[backbone] = selection
    return found


def find_checkpoint_in_trial_dir(
    trial_dir: Path | str, metric: str | None = None, direction: Direction = "maximize"
) -> Path | None:
    """Find the checkpoint of a trial in its folder; deprecated.

    The order is ``refit/checkpoint/``; ``cv/fold{N}/checkpoint/``, the fold with the best metric first;
    ``checkpoint/``. Folders without a sound checkpoint are skipped.

    Args:
        trial_dir: Folder of the trial.
        metric: Metric in ``metrics.json``; None takes ``macro-f1``, else ``f1``.
        direction: Direction of the objective.
    """
    _deprecate("find_checkpoint_in_trial_dir", "the checkpoint_path of a champion")
    return find_checkpoint(Path(trial_dir), metric, direction)


def compute_grouping_tags(
    trial_info: Mapping[str, Any],
    data_config: Config,
    hpo_config: Config,
    benchmark_config: Config | None = None,
) -> tuple[str, str, str]:
    """Return study, trial and family hash by the old recipes, version 1; deprecated.

    Hashes that the trial carries are used, missing ones computed.

    Raises:
        ChampionError: The trial key is missing, and so are the hyper-parameters.
    """
    _deprecate("compute_grouping_tags", "the hashes of a champion")
    trial = read_trial(str(trial_info.get("backbone", "")), trial_info)
    found = completion.complete_hashes(trial, data_config, hpo_config, benchmark_config)
    return str(found.study_key_hash), str(found.trial_key_hash), str(found.study_family_hash)


def should_reuse_existing(
    config: Config | str, exists: bool, is_complete: bool | None = None, process_type: str = "hpo"
) -> bool:
    """Return whether to build on existing results.

    Args:
        config: Section with ``run.mode``, or the mode itself.
        exists: Whether there is a result.
        is_complete: Whether nothing of it is missing; None means unknown, and counts as incomplete.
        process_type: Accepted and not used: one table holds for all stages.

    Raises:
        ConfigError: The mode is unknown.
    """
    del process_type
    mode = config if isinstance(config, str) else modes.get_run_mode(config)
    return modes.should_reuse_existing(mode, exists, bool(is_complete))


def get_run_mode(config: Config, default: str = DEFAULT_RUN_MODE) -> RunMode:
    """Read ``run.mode``; missing or null gives the default, and an unknown mode is a ConfigError."""
    return modes.get_run_mode(config, default)


def get_benchmark_run_mode(benchmark_config: Config, hpo_config: Config) -> RunMode:
    """Read the benchmark's mode; null inherits the search's, and two nulls give the default."""
    return modes.get_benchmark_run_mode(benchmark_config, hpo_config)


def _find_old_keys(project: Project) -> set[str]:
    """Find the keys of the finished benchmarks that the old module logged; one query."""
    experiment_id = project.find_benchmark_experiment()
    if experiment_id is None:
        return set()
    runs = project.tracker.search_runs(experiment_id, {"code.stage": "benchmarking"})
    return {
        str(key)
        for run in runs
        if run.info.status == "FINISHED"
        for name in _KEY_TAGS
        if (key := run.data.tags.get(name))
    }


def _deprecate(name: str, instead: str) -> None:
    warnings.warn(f"{name}() is deprecated; use {instead}", DeprecationWarning, stacklevel=3)
