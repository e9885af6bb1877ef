"""The door's names and signatures, and what its small functions return."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from bakeoff import legacy
from bakeoff.errors import ChampionError, ConfigError
from bakeoff.legacy import hashes

BENCHMARK = (
    "test_data_path, root_dir, environment, data_config, hpo_config, benchmark_config=None, "
    "benchmark_experiment=None, benchmark_batch_sizes=None, benchmark_iterations=100, benchmark_warmup=10, "
    "benchmark_max_length=512, benchmark_device=None, benchmark_tracker=None, backup_enabled=True, "
    "backup_to_drive=None, ensure_restored_from_drive=None, mlflow_client=None"
)
# Positional arguments in their order, as the old module had them.
SIGNATURES = {
    "benchmark_champions": f"champions, {BENCHMARK}",
    "benchmark_best_trials": f"best_trials, {BENCHMARK}",
    "filter_missing_benchmarks": (
        "champions, benchmark_experiment, benchmark_config, data_fingerprint, eval_fingerprint, root_dir, "
        "environment, mlflow_client=None, run_mode=None"
    ),
    "build_benchmark_key": "champion_run_id, data_fingerprint, eval_fingerprint, benchmark_config",
    "compute_config_hash": "config",
    "get_benchmark_run_mode": "benchmark_config, hpo_config",
    "get_run_mode": "config, default='reuse_if_exists'",
    "should_reuse_existing": "config, exists, is_complete=None, process_type='hpo'",
    "find_checkpoint_in_trial_dir": "trial_dir, metric=None, direction='maximize'",
    "compute_grouping_tags": "trial_info, data_config, hpo_config, benchmark_config=None",
    "compute_data_fingerprint": "data_config",
    "compute_eval_fingerprint": "eval_config",
    "select_champion_per_backbone": (
        "backbone, hpo_experiment, selection_config, mlflow_client, root_dir=None, config_dir=None"
    ),
    "select_champions_for_backbones": (
        "backbone_values, hpo_experiments, selection_config, mlflow_client, root_dir=None, config_dir=None"
    ),
}


def show(parameter: inspect.Parameter) -> str:
    default = parameter.default
    return parameter.name if default is parameter.empty else f"{parameter.name}={_text(default)}"


def _text(default: object) -> str:
    return repr(str(default)) if isinstance(default, str) else repr(default)


@pytest.mark.parametrize("name", SIGNATURES)
def test_an_old_function_takes_its_old_arguments_in_their_order(name: str) -> None:
    parameters = inspect.signature(getattr(legacy, name)).parameters.values()
    positional = [show(each) for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert ", ".join(positional) == SIGNATURES[name]


def test_the_door_has_every_old_name_and_no_other() -> None:
    assert sorted(SIGNATURES) == sorted(legacy.__all__)


@pytest.mark.parametrize("name", ["benchmark_champions", "benchmark_best_trials"])
def test_the_drive_has_its_second_name(name: str) -> None:
    parameter = inspect.signature(getattr(legacy, name)).parameters["restore_from_drive"]
    assert parameter.kind is parameter.KEYWORD_ONLY


@pytest.mark.parametrize(
    ("config", "exists", "is_complete", "reuses"),
    [
        ("force_new", True, True, False),
        ({"run": {"mode": "force_new"}}, True, True, False),
        ("reuse_if_exists", True, True, True),
        ("reuse_if_exists", False, None, False),
        ({}, True, None, True),
        ("resume_if_incomplete", True, True, False),
        ("resume_if_incomplete", True, False, True),
    ],
)
def test_a_run_mode_is_a_text_or_a_section(
    config: Any, exists: bool, is_complete: bool | None, reuses: bool
) -> None:
    assert legacy.should_reuse_existing(config, exists, is_complete) is reuses
    assert legacy.should_reuse_existing(config, exists, is_complete, "benchmarking") is reuses


def test_a_mistyped_run_mode_is_an_error() -> None:
    with pytest.raises(ConfigError, match="found 'force-new'; expected one of reuse_if_exists, force_new"):
        legacy.should_reuse_existing("force-new", True, True)


def test_missing_grouping_hashes_are_computed_by_the_old_recipes() -> None:
    info = {"backbone": "Bert ", "hyperparameters": {"lr": 1e-5}, "trial_name": "t-1"}
    data, hpo, bench = {"name": "toy"}, {"k_fold": {"n": 2}}, {"benchmarking": {"max_length": 128}}
    study = hashes.hash_key(hashes.build_study_key(data, hpo, "bert", bench))
    with pytest.deprecated_call():
        found = legacy.compute_grouping_tags(info, data, hpo, bench)
    assert found[:2] == (study, hashes.hash_key(hashes.build_trial_key(study, {"lr": 1e-5})))
    with pytest.deprecated_call(), pytest.raises(ChampionError, match="hyperparameters: missing; give them"):
        legacy.compute_grouping_tags({"backbone": "bert"}, data, hpo)


def test_grouping_hashes_that_a_trial_carries_are_used() -> None:
    carried = {"study_key_hash": "a", "trial_key_hash": "b", "study_family_hash": "c"}
    with pytest.deprecated_call():
        assert legacy.compute_grouping_tags(carried, {}, {}, {}) == ("a", "b", "c")
