"""The door of old callers: their calls, on a store of the old shape and with real worker processes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from bakeoff import legacy
from bakeoff.core.records import Champion
from bakeoff.errors import ConfigError, NothingMeasuredError, TrackingError
from bakeoff.stores.tags import PARENT_RUN_ID
from old_store import write_old_sweep

SOURCE = Path(__file__).parents[2] / "src"
BACKBONE = "distilbert"
SEARCH, BENCHMARK = "ner-hpo-distilbert", "ner-benchmark"
STUDY = "5" * 64
DATA, HPO = {"name": "toy", "version": 1}, {"objective": {"metric": "macro-f1", "goal": "maximize"}}
# The old section; `runtimes` is bakeoff's own and keeps the tests short.
BENCH: dict[str, Any] = {
    "run": {"mode": None},
    "benchmarking": {"batch_sizes": [1, 2], "iterations": 8, "warmup_iterations": 1, "max_length": 32},
    "output": {"filename": "benchmark.json"},
    "runtimes": [{"kind": "noop"}],
    "protocol": {"processes": 2, "rounds": 4, "block_s": 0.005, "max_calls": 20, "warmup_min_s": 0.0},
}
FIGURES = {"mean_ms", "median_ms", "p95_ms", "p99_ms", "throughput_docs_per_sec"}


class OldProject:
    """A project folder and a store as the old module left them."""

    def __init__(self, folder: Path, checkpoint: Path) -> None:
        self.root = folder
        self.client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        self.checkpoint = checkpoint
        self.test = folder / "test.jsonl"
        self.trials: list[str] = []
        location = (folder / "artifacts").as_uri()
        self.experiment_id = str(self.client.create_experiment(SEARCH, artifact_location=location))
        self.client.create_experiment(BENCHMARK, artifact_location=location)

    def run(self, tags: dict[str, str], metrics: dict[str, float], params: dict[str, Any]) -> str:
        run = self.client.create_run(self.experiment_id, tags=tags)
        run_id = str(run.info.run_id)
        rows = [Metric(name, value, 0, 0) for name, value in metrics.items()]
        self.client.log_batch(run_id, rows, [Param(name, str(value)) for name, value in params.items()])
        self.client.set_terminated(run_id)
        return run_id

    def write(self) -> None:
        shared = {
            "code.study_key_hash": STUDY,
            "code.study.key_schema_version": "2.0",
            "code.fingerprint.data": "d" * 64,
            "code.fingerprint.eval": "e" * 64,
        }
        parent = self.run(
            {"code.stage": "hpo", **shared},
            {},
            {"backbone": BACKBONE, "primary_metric": "macro-f1", "objective_goal": "maximize"},
        )
        below = {PARENT_RUN_ID: parent, **shared}
        for number, score in enumerate((0.7, 0.9, 0.8)):
            tags = {"code.stage": "hpo_trial", "code.trial_key_hash": f"{number:064x}", **below}
            params = {"lr": 10.0**-number, "backbone": BACKBONE, "trial_number": number}
            self.trials.append(self.run(tags, {"macro-f1": score}, params))
        tags = {"code.stage": "hpo_refit", "code.refit.of_trial_run_id": self.trials[1], **below}
        self.refit = self.run({**tags, "code.artifact.available": "true"}, {}, {})
        archive = self.root / "best_trial_checkpoint.tar.gz"
        with tarfile.open(archive, "w:gz") as file:
            file.add(self.checkpoint, "best_trial_checkpoint")
        self.client.log_artifact(self.refit, str(archive))

    def champion(self, **changes: Any) -> dict[str, Any]:
        """The dictionary that the old module's first step makes."""
        return {
            "backbone": BACKBONE,
            "run_id": self.refit,
            "trial_run_id": self.trials[1],
            "refit_run_id": self.refit,
            "study_key_hash": STUDY,
            "trial_key_hash": f"{1:064x}",
            "checkpoint_dir": self.checkpoint,
            "trial_name": "trial-1",
            "metric": 0.9,
            "_is_champion": True,
            **changes,
        }

    def bench(self, call: Any, given: dict[str, Any], **changes: Any) -> dict[str, Path]:
        """Call as old code does, all by position."""
        arguments = {"benchmark_config": BENCH, "backup": None, "restore": None, **changes}
        found: dict[str, Path] = call(
            given, self.test, self.root, "local", DATA, HPO, arguments["benchmark_config"], BENCHMARK,
            None, 100, 10, 512, None, None, True, arguments["backup"], arguments["restore"], self.client,
        )  # fmt: skip
        return found


@pytest.fixture
def old(empty_store: Path, champion_copy: Path, shipped: Path, tmp_path: Path) -> OldProject:
    folder = tmp_path / "old"
    folder.mkdir()
    shutil.copyfile(empty_store, folder / "mlflow.db")
    shutil.copyfile(shipped / "data" / "test.jsonl", folder / "test.jsonl")
    project = OldProject(folder, champion_copy)
    project.write()
    return project


def bench_trials(old: OldProject, given: dict[str, Any], **changes: Any) -> dict[str, Path]:
    with pytest.deprecated_call():
        return old.bench(legacy.benchmark_best_trials, given, **changes)


def test_the_old_notebook_cell_runs_with_one_changed_import(old: OldProject) -> None:
    champions = legacy.select_champions_for_backbones(
        [BACKBONE], {BACKBONE: {"name": SEARCH, "id": old.experiment_id}}, {**HPO}, old.client, old.root
    )
    champion = champions[BACKBONE]["champion"]
    assert (champion["run_id"], champion["trial_run_id"]) == (old.refit, old.trials[1])
    assert (champion["metric"], champion["checkpoint_path"]) == (0.9, None)
    data, evaluation = legacy.compute_data_fingerprint(DATA), legacy.compute_eval_fingerprint(HPO)

    def missing() -> Any:
        return legacy.filter_missing_benchmarks(
            champions, BENCHMARK, BENCH, data, evaluation, old.root, "local", old.client, None
        )

    assert missing() == champions
    assert missing()[BACKBONE] is champions[BACKBONE]
    files = old.bench(legacy.benchmark_champions, missing())
    (path,) = files.values()
    place = path.relative_to(old.root / "outputs" / "benchmarking" / "local" / BACKBONE)
    assert place.parts[:2] == ("study-55555555", "trial-00000000")
    assert place.parts[2].startswith("bench-")
    assert place.parts[3] == "benchmark.json"
    document = json.loads(path.read_text())
    assert set(document) == {"batch_1", "batch_2", "device", "timestamp"}
    assert set(document["batch_1"]) == FIGURES
    assert document["batch_1"]["median_ms"] > 0
    assert list((old.root / "results").glob("champions/*/benchmark.json"))
    assert missing() == {}
    assert (
        legacy.filter_missing_benchmarks(
            champions, BENCHMARK, BENCH, data, evaluation, old.root, "local", old.client, "force_new"
        )
        is champions
    )
    assert old.bench(legacy.benchmark_champions, {}) == {}


@pytest.mark.slow
def test_the_old_cell_takes_plain_labels_and_a_list_of_spans(
    empty_store: Path, make_classifier: Callable[..., Path], tmp_path: Path
) -> None:
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    checkpoint = make_classifier("distilbert", ["O", "SKILL", "PERSON"])
    sweep = write_old_sweep(client, tmp_path, (0.7, 0.9, 0.8), refit_of=1, checkpoint=checkpoint)
    texts = [
        {"text": "Ada writes Python", "annotations": [[0, 3, "PERSON"], [11, 17, "SKILL"]]},
        {"text": "Bob knows SQL well", "annotations": [[0, 3, "PERSON"], [10, 13, "SKILL"]]},
    ]
    test = tmp_path / "test.json"
    test.write_text(json.dumps(texts), encoding="utf-8")
    runtime = {"runtimes": [{"kind": "torch", "threads": 1}]}
    champions = legacy.select_champions_for_backbones(
        [BACKBONE], {BACKBONE: {"name": sweep.experiment}}, {**HPO}, client, tmp_path
    )
    missing = legacy.filter_missing_benchmarks(
        champions, BENCHMARK, BENCH | runtime, "data", "evaluation", tmp_path, "local", client
    )
    assert missing == champions
    files = legacy.benchmark_champions(
        missing, test, tmp_path, "local", DATA, HPO, BENCH | runtime, BENCHMARK, mlflow_client=client
    )
    (path,) = files.values()
    assert path.is_relative_to(tmp_path / "outputs" / "benchmarking" / "local" / BACKBONE)
    assert json.loads(path.read_text())["batch_1"]["median_ms"] > 0


def test_a_finished_run_of_the_old_writer_is_a_benchmark(old: OldProject) -> None:
    champions = {BACKBONE: {"champion": old.champion()}}
    key = legacy.build_benchmark_key(old.refit, "data", "evaluation", BENCH)
    experiment = old.client.get_experiment_by_name(BENCHMARK)
    assert experiment is not None
    run = old.client.create_run(
        experiment.experiment_id, tags={"code.stage": "benchmarking", "benchmark_key": key}
    )

    def missing(data: str = "data") -> Any:
        return legacy.filter_missing_benchmarks(
            champions, {"name": BENCHMARK}, BENCH, data, "evaluation", old.root, "local", old.client
        )

    assert missing() == champions
    old.client.set_terminated(run.info.run_id)
    assert missing() == {}
    assert missing("other data") == champions


def test_the_first_steps_champion_costs_no_look_up_no_search_and_no_hash(
    old: OldProject, count_calls: Counter[str]
) -> None:
    files = bench_trials(old, {BACKBONE: old.champion()})
    assert list(files) == [BACKBONE]
    assert count_calls["measure_unit"] == 1
    assert {name: n for name, n in count_calls.items() if name.startswith("before: ")} == {}
    unhashed = ("compute_data_fingerprint", "compute_eval_fingerprint", "digest_file", "digest_folder")
    assert [count_calls[name] for name in (*unhashed, "look_at", "search", "search_runs")] == [0] * 7


def test_files_that_changed_since_the_plan_are_not_measured(old: OldProject) -> None:
    first = bench_trials(old, {BACKBONE: old.champion()})
    weights = old.checkpoint / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert bench_trials(old, {BACKBONE: old.champion()}) == first
    measured = {path.parent.name for path in old.root.glob("results/jobs/*/001.json")}
    assert len(measured) == 2


def test_an_old_trial_is_completed_from_its_folder_and_the_store(old: OldProject) -> None:
    trial_dir = old.root / "trial-1"
    shutil.copytree(old.checkpoint, trial_dir / "refit" / "checkpoint")
    info = {
        "backbone": BACKBONE,
        "trial_name": "trial-1",
        "trial_dir": str(trial_dir),
        "hyperparameters": {"lr": 0.1, "backbone": BACKBONE},
        "accuracy": 0.9,
        "metrics": {"macro-f1": 0.9},
        "checkpoint_dir": None,
    }
    (path,) = bench_trials(old, {BACKBONE: info}).values()
    assert "study-55555555" in path.parts
    (document,) = old.root.glob("results/champions/*/benchmark.json")
    assert json.loads(document.read_text())["champion_run_id"] == old.refit


def test_a_folds_checkpoint_counts_under_the_run_of_its_trial(old: OldProject) -> None:
    fold = old.root / "trial-1" / "cv" / "fold1"
    shutil.copytree(old.checkpoint, fold / "checkpoint")
    (fold / "metrics.json").write_text('{"macro-f1": 0.5}')
    info = {"trial_dir": fold.parents[1], "study_key_hash": STUDY, "trial_key_hash": f"{1:064x}"}
    bench_trials(old, {BACKBONE: info})
    (document,) = old.root.glob("results/champions/*/benchmark.json")
    assert json.loads(document.read_text())["champion_run_id"] == old.trials[1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"checkpoint_dir": "/nowhere"}, "/nowhere"),
        ({"trial_run_id": "12"}, "trial_run_id: found '12'; expected an MLflow run id, 32 hex digits"),
        (
            {"checkpoint_dir": None, "refit_run_id": None, "run_id": None},
            "skipped, since it has no checkpoint",
        ),
        ({"checkpoint_dir": 3}, "checkpoint_dir: Input is not a valid path"),
    ],
)
def test_a_champion_that_cannot_be_used_is_warned_of_and_skipped(
    old: OldProject, changes: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    given = {
        "lost": old.champion(**changes),
        "ghost": None,
        "empty": {"champion": None, "reason": "no trial"},
    }
    files = old.bench(legacy.benchmark_champions, {**given, BACKBONE: old.champion()})
    assert list(files) == [BACKBONE]
    for name, why in (("lost", reason), ("ghost", "expected a mapping"), ("empty", "no champion: no trial")):
        (line,) = [each for each in caplog.messages if each.startswith(f"{name}: skipped")]
        assert why in line
    with pytest.raises(NothingMeasuredError) as caught:
        old.bench(legacy.benchmark_champions, given)
    assert [line.partition(":")[0] for line in sorted(caught.value.reasons)] == ["empty", "ghost", "lost"]


def test_a_trial_that_the_store_does_not_know_is_skipped_but_an_outage_is_an_error(old: OldProject) -> None:
    info = {"checkpoint_dir": old.checkpoint, "hyperparameters": {"lr": 7.0}}
    with pytest.raises(NothingMeasuredError, match="runs: found no finished trial"):
        bench_trials(old, {BACKBONE: info})
    old.client = MlflowClient("http://127.0.0.1:9")
    with pytest.raises(TrackingError):
        bench_trials(old, {BACKBONE: info})


def test_the_drive_gets_paths_and_its_failure_is_a_warning(
    old: OldProject, caplog: pytest.LogCaptureFixture
) -> None:
    away = old.root / "away"
    backed: list[Path] = []

    def restore(path: Path) -> bool:
        shutil.copytree(old.checkpoint, path)
        return True

    def backup(path: Path) -> bool:
        backed.append(path)
        if len(backed) > 1:
            raise OSError("the drive is full")
        return False

    files = bench_trials(old, {BACKBONE: old.champion(checkpoint_dir=away)}, backup=backup, restore=restore)
    assert backed == list(files.values())
    bench_trials(old, {BACKBONE: old.champion(checkpoint_dir=away)}, backup=backup)
    assert [line.partition(": ")[2] for line in caplog.messages if "to the drive" in line] == [
        "could not copy it to the drive: the callback returned False",
        "could not copy it to the drive: OSError: the drive is full",
    ]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"benchmarking": {"device": "mps"}}, "benchmarking.device: found 'mps'; expected cpu, cuda"),
        ({"benchmarking": [1]}, "benchmarking: found"),
        ({"run": {"mode": "force"}}, "'force'"),
        ({"output": {"filename": "../x"}}, "output.filename: "),
        ({"benchmarking": {"batch_sizes": [0]}}, "benchmark.scenarios.0.batch_sizes.0: found 0"),
    ],
)
def test_a_fault_in_an_old_section_is_an_error_with_its_place(
    old: OldProject, section: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        old.bench(
            legacy.benchmark_champions, {BACKBONE: old.champion()}, benchmark_config={**BENCH, **section}
        )
    assert message in str(caught.value)


def test_arguments_come_before_sections_unless_they_are_defaults(old: OldProject) -> None:
    files = legacy.benchmark_champions(
        {BACKBONE: old.champion()}, old.test, old.root, "local", DATA, HPO, BENCH,
        benchmark_batch_sizes=[1, 3], mlflow_client=old.client, restore_from_drive=None,
    )  # fmt: skip
    assert {name for name in json.loads(files[BACKBONE].read_text()) if name.startswith("batch")} == {
        "batch_1",
        "batch_3",
    }


def test_our_own_champions_pass_the_door(old: OldProject, champion: Champion) -> None:
    files = old.bench(legacy.benchmark_champions, {"tiny": champion})
    assert list(files) == ["tiny"]


def test_a_backbone_without_champion_is_warned_of_by_the_selection(
    old: OldProject, caplog: pytest.LogCaptureFixture
) -> None:
    rules = {"champion_selection": {"min_trials_per_group": 9}, **HPO}
    assert legacy.select_champion_per_backbone(BACKBONE, SEARCH, rules, old.client) is None
    assert legacy.select_champions_for_backbones(["a", "b"], {"a": "nowhere"}, rules, old.client) == {}
    assert [line.partition(":")[0] for line in caplog.messages] == [BACKBONE, "a", "b"]


@pytest.mark.slow
def test_everything_else_works_without_the_old_entry_points(tmp_path: Path) -> None:
    shutil.copytree(SOURCE, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "legacy"))
    names = [
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((SOURCE / "bakeoff").rglob("*.py"))
        if "legacy" not in path.parts and path.stem != "__main__"
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
    assert not (tmp_path / "src" / "bakeoff" / "legacy").exists()


def test_no_other_source_names_the_old_entry_points() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (SOURCE / "bakeoff").rglob("*.py")}
    words = ("bakeoff.legacy", "import legacy", "benchmark_best_trials", "compute_grouping_tags")
    named = {path.parent.name for path, text in sources.items() if any(word in text for word in words)}
    assert named == {"legacy"}
