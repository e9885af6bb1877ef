"""The old entry points on real runs and real worker processes: they lead to the one path of champions."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bakeoff.core.records import Champion, Trial
from bakeoff.errors import ChampionError, ConfigError, TrackingError
from bakeoff.legacy import benchmark_best_trials, compute_grouping_tags, find_checkpoint_in_trial_dir
from bakeoff.orchestrator import Project
from bakeoff.orchestrator.champions import read_sweep
from bakeoff.stores import tags
from bakeoff.stores.layouts import load_layout

Reopen = Callable[..., Project]
Configs = dict[str, dict[str, Any]]
NOOP = ("benchmark.runtimes=[{kind: noop}]", "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]")
OLD = (benchmark_best_trials, compute_grouping_tags, find_checkpoint_in_trial_dir)
SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def configs(project_folder: Path) -> Configs:
    """The sections as old callers hold them: plain mappings."""
    found: Configs = {
        f"{path.stem}_config": yaml.safe_load(path.read_text())
        for path in (project_folder / "config").glob("*.yaml")
        if path.stem in ("data", "hpo", "tracking", "benchmark")
    }
    found["benchmark_config"] |= {
        "runtimes": [{"kind": "noop"}],
        "scenarios": [{"kind": "latency", "batch_sizes": [1]}],
    }
    return found


@pytest.fixture
def best_trial(reopen: Reopen, champion: Champion) -> Trial:
    return next(trial for trial in read_trials(reopen()) if trial.run_id == champion.trial_run_id)


def read_trials(project: Project) -> list[Trial]:
    return list(read_sweep(project, load_layout("bakeoff", project.root)).trials)


def hyperparameters(trial: Trial) -> dict[str, float]:
    return {name: float(value) for name, value in trial.params.items()}


@pytest.fixture
def old_trial(best_trial: Trial, champion_copy: Path, tmp_path: Path) -> dict[str, Any]:
    """What an old release knew of the best trial: its folder and its setting."""
    shutil.move(champion_copy, tmp_path / "trial-2" / "refit" / "checkpoint")
    return {
        "trial_name": "trial-2",
        "trial_dir": str(tmp_path / "trial-2"),
        "hyperparameters": hyperparameters(best_trial),
        "accuracy": best_trial.metric,
        "checkpoint_dir": None,
        "_is_champion": False,
    }


def bench_old(best_trials: dict[str, Any], **kwargs: Any) -> tuple[dict[str, Path], list[str]]:
    """Call the old entry point; returns the files, and what it warned of besides its age."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        files = benchmark_best_trials(best_trials, **kwargs)
    mine = [one for one in caught if one.filename == __file__]
    assert [str(one.message)[:37] for one in mine if "is deprecated" in str(one.message)] == [
        "benchmark_best_trials() is deprecated"
    ]
    return files, [str(one.message) for one in mine if "is deprecated" not in str(one.message)]


def test_computed_hashes_are_those_that_the_sweep_wrote(
    configs: Configs, project_folder: Path, reopen: Reopen
) -> None:
    project = reopen()
    for trial in read_trials(project):
        info = {"backbone": "tiny", "hyperparameters": hyperparameters(trial)}
        with pytest.deprecated_call():
            study, trial_key, family = compute_grouping_tags(
                info,
                configs["data_config"],
                configs["hpo_config"],
                configs["benchmark_config"],
                root_dir=project_folder,
            )
        (run,) = [
            run
            for run in project.tracker.search_runs(trial.experiment_id, {tags.STAGE: "hpo_trial"})
            if run.info.run_id == trial.run_id
        ]
        assert study == run.data.tags[tags.STUDY_KEY_HASH]
        assert trial_key == run.data.tags[tags.TRIAL_KEY_HASH]
        assert family == run.data.tags[tags.STUDY_FAMILY_HASH]


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"backbone": "tiny"}, "trial of 'tiny': hyperparameters: missing; give them"),
        ({"backbone": "tiny", "hyperparameters": {}}, "trial of 'tiny': hyperparameters: missing; give them"),
        (
            {"backbone": "tiny", "hyperparameters": {"x": 2**60}},
            "trial of 'tiny': hyperparameters: no canonical",
        ),
        (
            {"backbone": "huge", "hyperparameters": {"x": 1}},
            "trial of 'huge': backbone: expected one of hpo.backbones: tiny",
        ),
        ({"backbone": "tiny", "study_key_hash": 7}, "study_key_hash: Input should be a valid string"),
    ],
)
def test_what_a_hash_cannot_be_computed_from_is_named(
    configs: Configs, project_folder: Path, info: dict[str, Any], message: str
) -> None:
    with pytest.raises(ChampionError) as caught, pytest.deprecated_call():
        compute_grouping_tags(info, configs["data_config"], configs["hpo_config"], root_dir=project_folder)
    assert message in str(caught.value)


def test_a_fault_in_a_section_is_told_with_its_place(configs: Configs, project_folder: Path) -> None:
    with (
        pytest.raises(ConfigError, match=r"hpo_config:\d+:1: hpo\.n_trails: unknown key"),
        pytest.deprecated_call(),
    ):
        compute_grouping_tags(
            {"backbone": "tiny"},
            configs["data_config"],
            configs["hpo_config"] | {"n_trails": 3},
            root_dir=project_folder,
        )


def test_complete_champion_data_costs_no_look_up_no_search_and_no_hash(
    reopen: Reopen, champion: Champion, count_calls: Counter[str]
) -> None:
    complete = champion.model_dump(mode="json", exclude={"checkpoint_path"}) | {
        "checkpoint_dir": str(champion.checkpoint_path),
        "trial_name": "trial-2",
    }
    files, warned = bench_old({"tiny": complete}, project=reopen(*NOOP))
    assert (list(files), warned) == (["tiny"], [])
    counted = (
        "digest_folder",
        "look_at",
        "build_study_key_hash",
        "build_trial_key_hash",
        "search",
        "reading runs",
        "downloading",
        "listing artifacts",
    )
    assert {name: count_calls[name] for name in counted} == dict.fromkeys(counted, 0)


def test_an_old_trial_is_completed_and_measured_under_the_key_of_the_champion(
    old_trial: dict[str, Any], configs: Configs, project_folder: Path, reopen: Reopen, champion: Champion
) -> None:
    files, warned = bench_old({"tiny": old_trial}, root_dir=project_folder, **configs)
    assert warned == []
    document = json.loads(files["tiny"].read_text())
    assert document["champion_run_id"] == champion.refit_run_id
    assert document["batch_1"]["median_ms"] > 0
    (known,) = [
        one
        for one in reopen(*NOOP).results.list_existing([champion.run_id])
        if one.key == document["latency"]["benchmark_key"]
    ]
    assert known.state == "valid"
    assert known.parts["checkpoint_digest"] == json.dumps(champion.checkpoint_digest)


def test_a_trial_known_by_its_hashes_alone_is_looked_up_and_its_checkpoint_acquired(
    reopen: Reopen, champion: Champion
) -> None:
    info = {"study_key_hash": champion.study_key_hash, "trial_key_hash": champion.trial_key_hash}
    project = reopen(*NOOP)
    shutil.rmtree(project.checkpoints.folder)
    files, warned = bench_old({"tiny": info}, project=project)
    assert warned == []
    assert json.loads(files["tiny"].read_text())["champion_run_id"] == champion.refit_run_id


def test_the_checkpoint_of_a_fold_is_measured_under_the_run_of_its_trial(
    old_trial: dict[str, Any], reopen: Reopen, champion: Champion
) -> None:
    folder = Path(old_trial["trial_dir"])
    shutil.move(folder / "refit", folder / "cv" / "fold1")
    (folder / "cv" / "fold1" / "metrics.json").write_text('{"f1": 0.5}')
    files, warned = bench_old({"tiny": old_trial}, project=reopen(*NOOP))
    assert warned == []
    assert json.loads(files["tiny"].read_text())["champion_run_id"] == champion.trial_run_id


def test_a_trial_without_refit_is_measured_under_its_own_run(
    old_trial: dict[str, Any], reopen: Reopen, champion: Champion
) -> None:
    project = reopen(*NOOP)
    other = next(trial for trial in read_trials(project) if trial.run_id != champion.trial_run_id)
    old_trial["hyperparameters"] = hyperparameters(other)
    files, warned = bench_old({"tiny": old_trial}, project=project)
    assert warned == []
    assert json.loads(files["tiny"].read_text())["champion_run_id"] == other.run_id


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"trial_dir": "/nowhere"}, "trial_dir: found no sound checkpoint in /nowhere"),
        ({"hyperparameters": {"x": []}}, "hyperparameters.x"),
        ({"trial_dir": 3}, "trial_dir: Input is not a valid path"),
        ({"hyperparameters": None}, "hyperparameters: missing; give them, or trial_key_hash"),
        ({"hyperparameters": {"learning_rate": 9.0}}, "no finished trial of backbone 'tiny'"),
        ({"run_id": "0" * 32}, f"run_id: found {'0' * 32}; its trial is "),
        ({"refit_run_id": "0" * 32}, "expected a finished refit of this trial"),
        ({"trial_run_id": "0" * 32}, "no finished trial of backbone 'tiny'"),
    ],
)
def test_a_trial_that_cannot_be_completed_is_skipped_with_its_reason_and_the_others_go_on(
    old_trial: dict[str, Any], reopen: Reopen, champion: Champion, changes: dict[str, Any], reason: str
) -> None:
    sound = champion.model_copy(update={"backbone": "sound"}).model_dump(mode="json")
    files, warned = bench_old(
        {"tiny": old_trial | changes, "ghost": None, "sound": sound}, project=reopen(*NOOP)
    )
    assert list(files) == ["sound"]
    assert warned[0].startswith("tiny: skipped: ")
    assert reason in warned[0]
    assert warned[1:] == ["ghost: skipped: trial of 'ghost': found None; expected a mapping"]


def test_a_checkpoint_that_is_not_what_the_refit_logged_is_skipped(
    old_trial: dict[str, Any], reopen: Reopen
) -> None:
    (Path(old_trial["trial_dir"]) / "refit" / "checkpoint" / "notes.txt").write_text("edited")
    files, (warning,) = bench_old({"tiny": old_trial}, project=reopen(*NOOP))
    assert files == {}
    assert "the refit recorded" in warning


def test_an_outage_is_never_read_as_a_trial_that_is_not_there(
    old_trial: dict[str, Any], reopen: Reopen
) -> None:
    project = reopen(*NOOP, "tracking.uri=http://127.0.0.1:9")
    with pytest.raises(TrackingError), pytest.deprecated_call():
        benchmark_best_trials({"tiny": old_trial}, project=project)


def test_arguments_of_old_callers_are_honoured_or_said_to_be_ignored(
    old_trial: dict[str, Any], configs: Configs, project_folder: Path, tmp_path: Path
) -> None:
    moved = shutil.move(project_folder / "data" / "test.jsonl", tmp_path / "held-out.jsonl")
    files, warned = bench_old(
        {"tiny": old_trial},
        root_dir=project_folder,
        test_data_path=moved,
        benchmark_batch_sizes=[1, 3],
        environment="local",
        benchmark_iterations=100,
        **configs,
    )
    document = json.loads(files["tiny"].read_text())
    assert {name for name in document if name.startswith("batch_")} == {"batch_1", "batch_3"}
    assert warned == [
        "environment is ignored: bakeoff records the machine itself",
        "benchmark_iterations is ignored: benchmark.protocol says how much is timed",
    ]
    with pytest.raises(TypeError, match="unexpected keyword argument 'bench_size'"), pytest.deprecated_call():
        benchmark_best_trials({}, bench_size=3)


def test_everything_else_works_without_the_old_entry_points(tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "legacy.py"))
    names = [
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((SOURCE / "bakeoff").rglob("*.py"))
        if path.stem not in ("legacy", "__main__")
    ]
    assert len(names) > 50
    program = (
        "import importlib, sys, bakeoff\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "for name in bakeoff.__all__: getattr(bakeoff, name)\n"
        "assert bakeoff.__file__.startswith(sys.path[0]), bakeoff.__file__\n"
    )
    environment = {"PYTHONPATH": str(tmp_path / "src"), "PATH": ""}
    (tmp_path / "program.py").write_text(program.replace("sys.path[0]", repr(str(tmp_path))))
    for arguments in ([str(tmp_path / "program.py"), *names], ["-m", "bakeoff", "--help"]):
        subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, check=True, capture_output=True
        )
    assert not (tmp_path / "src" / "bakeoff" / "legacy.py").exists()


def test_no_other_source_names_the_old_entry_points() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (SOURCE / "bakeoff").rglob("*.py")}
    words = ("bakeoff.legacy", "import legacy", *(function.__name__ for function in OLD))
    named = {path.name for path, text in sources.items() if any(word in text for word in words)}
    assert named == {"legacy.py"}
