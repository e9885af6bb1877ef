"""init and doctor through the real command line, on stores that other programs' layouts fill."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bakeoff.errors import ConfigError
from bakeoff.install import install_command
from bakeoff.orchestrator import open_project
from command_line import bakeoff as run_bakeoff
from command_line import read_document

from .conftest import ARCHIVE, Store, write_code_sweep

SCORES = (0.70, 0.80, 0.90)
DOCUMENT = '{"tokens": ["play", "jazz"], "ner_tags": ["O", "B-genre"]}\n'
STAGES = ("tracking", "data", "hpo", "selection", "benchmark", "decision")

bakeoff = functools.partial(run_bakeoff, without=("MLFLOW_TRACKING_URI",))


def read_config(folder: Path) -> dict[str, Any]:
    return {stage: yaml.safe_load((folder / f"{stage}.yaml").read_text()) for stage in STAGES}


def doctor(folder: Path, *words: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """Exit code, and the checks by their names."""
    done = bakeoff(folder, "doctor", "--json", *words)
    document = read_document(done.stdout)
    assert (document["format_version"], document["command"]) == (2, "doctor")
    checks: dict[str, list[dict[str, Any]]] = {}
    for check in document["result"]["checks"]:
        checks.setdefault(check["name"], []).append(check)
    return done.returncode, checks


def states(checks: dict[str, list[dict[str, Any]]], *names: str) -> list[str]:
    return [check["state"] for name in names for check in checks[name]]


@pytest.fixture
def project(store: Store) -> Store:
    """Two backbones of the layout ``code`` in one experiment, and an experiment of something else."""
    write_code_sweep(store, SCORES, folds=2, refit_of=2)
    write_code_sweep(store, (0.5, 0.6, 0.7), backbone="roberta", study="b")
    store.run({"stage": "train"}, metrics={"f1": 0.5}, experiment="something else")
    return store


# --- init -------------------------------------------------------------------------------------------------


def test_init_writes_a_configuration_with_which_champions_works_at_once(project: Store) -> None:
    done = bakeoff(project.folder, "init")
    assert done.returncode == 0, done.stderr
    assert "experiment 'sweep': layout code (certain): " in done.stdout
    assert "experiment 'something else': 1 run, no trials of a known layout" in done.stdout
    assert f"backbone 'distilbert': 3 finished trials, checkpoint {ARCHIVE}" in done.stdout
    assert "backbone 'roberta': 3 finished trials, no checkpoint" in done.stdout
    config = read_config(project.folder / "config")
    assert config["tracking"]["uri"] == "sqlite:///mlflow.db"
    assert (config["tracking"]["layout"], config["tracking"]["sweep_experiment"]) == ("code", "sweep")
    assert config["hpo"] == {
        "objective": {"metric": "macro-f1", "direction": "maximize"},
        "backbones": {"distilbert": {}, "roberta": {}},
    }
    assert "# TODO" in (project.folder / "config" / "data.yaml").read_text()
    champions = bakeoff(project.folder, "champions", "--json")
    assert champions.returncode == 0, champions.stderr
    result = read_document(champions.stdout)["result"]
    assert result["distilbert"]["champion"]["checkpoint_artifact"] == ARCHIVE
    assert result["roberta"]["champion"] is None


def test_init_takes_the_fields_from_the_documents_that_it_is_given(project: Store) -> None:
    (project.folder / "mine.jsonl").write_text('{"sentence": "a", "intent": "x"}\n')
    done = bakeoff(project.folder, "init", "--data", "mine.jsonl")
    assert done.returncode == 0, done.stderr
    assert "task text_classification: 'intent' holds labels; a guess\n" in done.stdout
    assert "text in 'sentence', label in 'intent'\n" in done.stdout
    data = yaml.safe_load((project.folder / "config" / "data.yaml").read_text())
    assert data["test"] == "mine.jsonl"
    assert data["task"] == {"kind": "text_classification", "label_field": "intent", "text_field": "sentence"}
    (project.folder / "config" / "data.yaml").unlink()
    missing = bakeoff(project.folder, "init", "--force", "--data", "gone.jsonl")
    assert (missing.returncode, "gone.jsonl" in missing.stderr) == (2, True)
    assert not (project.folder / "config" / "data.yaml").exists()


def test_what_the_store_cannot_know_is_asked_for_by_the_stage_that_needs_it(project: Store) -> None:
    assert bakeoff(project.folder, "init").returncode == 0
    with pytest.raises(
        ConfigError, match=r"config/data\.yaml: data\.test is missing; add it for sweep, plan, bench"
    ):
        open_project(project.folder / "config").corpus  # noqa: B018 - reading it is the act
    sweep = bakeoff(project.folder, "sweep", "-q", "--set", "tracking.sweep_experiment=[a, b]")
    assert sweep.returncode == 2
    for message in (
        "config/data.yaml: data.test is missing; add it for `bakeoff sweep`",
        "config/data.yaml: data.train is missing; add it for `bakeoff sweep`",
        "config/hpo.yaml: hpo.search_space is missing; add it for `bakeoff sweep`",
        "config/hpo.yaml: hpo.backbones.distilbert.pretrained is missing; add it for `bakeoff sweep`",
        "config/hpo.yaml: hpo.objective.metric: found 'macro-f1'; the built-in trainer offers for ",
        "config/tracking.yaml: tracking.layout: found 'code'; `bakeoff sweep` writes 'bakeoff' only",
        "tracking.sweep_experiment: found 2 names; `bakeoff sweep` writes to one",
    ):
        assert message in " ".join(sweep.stderr.split())


def test_init_overwrites_nothing_unless_forced(project: Store) -> None:
    folder = project.folder / "config"
    folder.mkdir()
    (folder / "hpo.yaml").write_text("mine\n")
    refused = bakeoff(project.folder, "init")
    assert refused.returncode == 2
    assert "hpo.yaml: already there; overwrite with --force" in refused.stderr
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("hpo.yaml", "mine\n")]
    assert bakeoff(project.folder, "init", "--folder", "elsewhere").returncode == 0
    assert (folder / "hpo.yaml").read_text() == "mine\n"
    assert bakeoff(project.folder, "init", "--force").returncode == 0
    assert "distilbert" in (folder / "hpo.yaml").read_text()


def test_a_store_without_runs_gets_no_configuration(store: Store) -> None:
    done = bakeoff(store.folder, "init")
    assert done.returncode == 3
    assert "wrote no configuration" in done.stdout
    assert "run your sweep, or `bakeoff demo` for an example; the store has no runs" in done.stdout
    assert sorted(path.name for path in store.folder.iterdir()) == ["mlflow.db"]


@pytest.mark.parametrize("words", [(), ("--tracking-uri", "sqlite:///deep/er.db")])
def test_a_database_file_that_does_not_exist_is_an_error(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = bakeoff(tmp_path, "init", *words)
    assert done.returncode == 2
    assert ".db: the database file does not exist; correct the address" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_runs_of_an_unknown_writer_are_shown_and_a_layout_is_drafted(store: Store) -> None:
    parent = store.run({"kind": "study"}, params={"optimise": "dev_f1"})
    for number, arch in enumerate(("org/bert", "org/bert", "org/roberta", "org/bert")):
        trial = store.run(
            {"kind": "trial", "team": "a: {b"},
            parent=parent,
            metrics={"dev_f1": 0.5 + number / 10, "train_loss": 0.1, "fold_0_dev_f1": 0.9},
            params={"arch": arch, "lr": f"{number}e-5"},
        )
        store.log_file(trial, "config.json", folder=f"checkpoint-{number}00")
        store.run({"fold": "0"}, parent=trial, metrics={"dev_f1": 0.9})
    done = bakeoff(store.folder, "init")
    assert done.returncode == 3, done.stderr
    for line in (
        "experiment 'sweep': 9 runs, no trials of a known layout",
        "arch (2 values: org/bert, org/roberta)",
        "lr (4 values: ",
        "dev_f1 (8 runs)",
        "kind (2 values: trial, study)",
        "nested: 8 runs in 5 parent runs",
        "artifacts of some runs: checkpoint-100/, checkpoint-200/, checkpoint-300/",
        "no layout fits the runs of this store: wrote no configuration",
        "next: replace each TODO in layout.yaml, then run `bakeoff init --layout layout.yaml`",
    ):
        assert line in done.stdout
    assert sorted(path.name for path in store.folder.iterdir() if path.suffix == ".yaml") == ["layout.yaml"]
    text = (store.folder / "layout.yaml").read_text()
    assert text.count("TODO") > 3
    draft = yaml.safe_load(text)
    assert draft["trial"] == {
        "tags": {"kind": ["trial"]},
        "lacks_tags": ["fold"],
        "has_metrics": ["dev_f1"],
        "has_parent": True,
    }
    assert draft["fold"] == {"has_tags": ["fold"], "number": "fold"}
    assert draft["backbone"] == [{"param": "arch", "last_part": True}]
    assert draft["metric"] == [{"param": "optimise", "of": "parent"}]
    assert (draft["refit"], draft["checkpoint"]) == ({"is_trial": True}, {"artifacts": ["checkpoint-*"]})
    again = bakeoff(store.folder, "init")
    assert again.returncode == 3
    assert "kept layout.yaml, since it is already there" in again.stdout
    read = bakeoff(store.folder, "init", "--layout", "layout.yaml")
    assert read.returncode == 0, read.stderr
    config = read_config(store.folder / "config")
    assert config["tracking"]["layout"] == "layout.yaml"
    assert config["hpo"]["objective"] == {"metric": "dev_f1", "direction": "maximize"}
    assert config["hpo"]["backbones"] == {"bert": {}, "roberta": {}}
    champions = bakeoff(store.folder, "champions", "--json")
    champion = read_document(champions.stdout)["result"]["bert"]["champion"]
    assert (champion["checkpoint_artifact"], champion["is_refitted"]) == ("checkpoint-300", False)


def test_a_layout_that_finds_no_trial_is_refused_with_what_is_there(store: Store) -> None:
    store.run({"kind": "train"}, metrics={"f1": 0.5})
    (store.folder / "own.yaml").write_text(
        "name: own\nwriter: w\ntrial: {tags: {kind: [x]}}\nbackbone: [{param: a}]\nrefit: {is_trial: true}\n"
    )
    done = bakeoff(store.folder, "init", "--layout", "own.yaml", "--json")
    assert done.returncode == 3
    result = read_document(done.stdout)["result"]
    assert (result["layout"], result["files"], result["seen"][0]["tags"][0]["name"]) == (None, [], "kind")


def test_a_backbone_that_only_the_experiment_names_is_a_warning(store: Store) -> None:
    tags = dict.fromkeys(("datetime_start", "datetime_complete"), "0")
    tags |= {"state": "COMPLETE", "direction": "MAXIMIZE"}
    for number in range(3):
        trial = store.run(
            {**tags, "number": str(number)},
            metrics={"f1": 0.5 + number / 10},
            params={"encoder": f"bert-{number % 2}", "lr": str(number), "seed": "1"},
        )
    store.log_file(trial, "config.json", b'{"_name_or_path": "org/bert-small"}', folder="checkpoint")
    done = bakeoff(store.folder, "init")
    assert done.returncode == 0
    varying = "params that vary: encoder (2 values), lr (3 values)"
    assert f"so the name of experiment 'sweep' counts; {varying}" in " ".join(done.stderr.split())
    # The name of the checkpoint's own pretrained model is better than that of the experiment.
    assert read_config(store.folder / "config")["hpo"]["backbones"] == {
        "bert-small": {"recorded_as": "sweep"}
    }
    _, checks = doctor(store.folder)
    assert any(varying in check["found"] for check in checks["backbones"])
    assert bakeoff(store.folder, "champions", "-q").returncode == 0


@pytest.mark.parametrize(
    "name",
    [
        "model_name",
        "base_model",
        "pretrained_model_name_or_path",
        "model_name_or_path",
        "backbone",
        "model",
        "arch",
    ],
)
def test_a_backbone_is_found_under_its_usual_names(store: Store, name: str) -> None:
    tags = dict.fromkeys(("number", "datetime_start", "datetime_complete"), "0")
    tags |= {"state": "COMPLETE", "direction": "MAXIMIZE"}
    store.run(tags, metrics={"f1": 0.5}, params={name: "bert"})
    store.run(
        {"trial_name": "t"},
        metrics={"training_iteration": 1, "time_total_s": 1, "f1": 1},
        params={name: "bert"},
        experiment="ray",
    )
    times = {"train_runtime": 1.0, "total_flos": 1.0, "epoch": 1.0}
    store.run({}, metrics={**times, "eval_f1": 1}, params={name: "bert"}, experiment="hf")
    for experiment in ("sweep", "ray", "hf"):
        done = bakeoff(store.folder, "init", "--experiment", experiment, "--folder", experiment, "-q")
        assert done.returncode == 0
        assert read_config(store.folder / experiment)["hpo"]["backbones"] == {"bert": {}}


def test_a_wrong_metric_name_lists_the_metrics_that_are_logged(store: Store) -> None:
    write_code_sweep(store, SCORES, refit_of=2)
    assert bakeoff(store.folder, "init", "-q").returncode == 0
    change(store, "hpo", objective={"metric": "macro_f1", "direction": "maximize"})
    done = bakeoff(store.folder, "champions", "--json")
    reason = read_document(done.stdout)["result"]["distilbert"]["reason"]
    expected = "no finished trial has the metric 'macro_f1' of hpo.objective.metric; logged are: macro-f1"
    assert reason == expected
    change(store, "hpo", objective={"metric": "macro-f1", "direction": "maximize"})
    change(store, "selection", min_trials_per_group=5)
    done = bakeoff(store.folder, "champions", "--json")
    reason = read_document(done.stdout)["result"]["distilbert"]["reason"]
    assert "3 valid trials; selection.min_trials_per_group is 5" in reason


def test_names_of_backbones_are_compared_whole_with_their_spaces(store: Store) -> None:
    for number, name in enumerate(("bert", " bert", "bert ")):
        write_code_sweep(store, SCORES, backbone=name, study=f"{number}", refit_of=2)
    assert bakeoff(store.folder, "init", "-q").returncode == 0
    rows = read_config(store.folder / "config")["hpo"]["backbones"]
    assert sorted(row.get("recorded_as", name) for name, row in rows.items()) == [" bert", "bert", "bert "]
    done = bakeoff(store.folder, "champions", "--json")
    result = read_document(done.stdout)["result"]
    assert len({row["champion"]["run_id"] for row in result.values()}) == 3
    assert all(row["all_groups"][0]["n_trials"] == 3 for row in result.values())


def test_init_takes_one_experiment_where_one_is_named(project: Store) -> None:
    write_code_sweep(project, SCORES, experiment="more")
    both = bakeoff(project.folder, "init", "--folder", "both", "-q")
    assert both.returncode == 0
    assert read_config(project.folder / "both")["tracking"]["sweep_experiment"] == ["more", "sweep"]
    one = bakeoff(project.folder, "init", "--experiment", "more", "--folder", "one", "-q")
    assert one.returncode == 0
    assert read_config(project.folder / "one")["tracking"]["sweep_experiment"] == "more"
    none = bakeoff(project.folder, "init", "--experiment", "absent", "--folder", "none")
    assert none.returncode == 2
    assert "experiment 'absent' is not in" in none.stderr
    assert not (project.folder / "none").exists()


HOSTILE = [
    "x: {y: [",
    "a\nobjective: {metric: stolen}\n# b",
    "!!python/object/apply:os.system [id]",
    "*anchor",
    "# TODO",
    'it\'s "both"',
    "\x1b[31mred\x1b[0m",
    "ключ\u2028line",
    "../../etc/passwd",
    "null",
    "1e3",
]


def test_nothing_that_a_store_says_can_change_the_shape_of_the_configuration(store: Store) -> None:
    for number, name in enumerate(HOSTILE):
        write_code_sweep(store, SCORES, backbone=name, study=f"{number:x}"[0], experiment="exp: \"#' [")
    done = bakeoff(store.folder, "init")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    config = read_config(store.folder / "config")
    assert config["tracking"]["sweep_experiment"] == "exp: \"#' ["
    assert set(config["hpo"]) == {"objective", "backbones"}
    recorded = {row.get("recorded_as", name) for name, row in config["hpo"]["backbones"].items()}
    assert recorded == {name.strip() for name in HOSTILE}
    champions = bakeoff(store.folder, "champions", "--json")
    assert champions.returncode == 3  # read and understood: none of them has a refit
    reasons = [row["reason"] for row in read_document(champions.stdout)["result"].values()]
    assert len(reasons) == len(HOSTILE)
    assert all("has no refit" in reason for reason in reasons)


def test_a_password_in_the_address_is_told_of_and_not_shown(tmp_path: Path) -> None:
    done = bakeoff(tmp_path, "init", "--tracking-uri", "http://user:secret@127.0.0.1:9")
    assert done.returncode == 5
    assert "user:***@127.0.0.1:9" in done.stderr
    assert "secret" not in done.stderr + done.stdout
    assert not (tmp_path / "config").exists()


def test_a_store_elsewhere_is_named_so_that_the_project_finds_it(project: Store, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    done = bakeoff(other, "init", "--tracking-uri", project.uri)
    assert done.returncode == 0, done.stderr
    assert read_config(other / "config")["tracking"]["uri"] == project.uri
    assert bakeoff(other, "champions", "-q").returncode == 0


# --- doctor -----------------------------------------------------------------------------------------------


@pytest.fixture
def healthy(project: Store) -> Store:
    """The project, initialised, with a test file, and without the backbone that has no refit."""
    assert bakeoff(project.folder, "init", "-q").returncode == 0
    (project.folder / "data").mkdir()
    (project.folder / "data" / "test.jsonl").write_text(DOCUMENT)
    change(project, "data", test="data/test.jsonl")
    change(project, "hpo", backbones={"distilbert": {}})
    return project


def change(store: Store, stage: str, **values: object) -> None:
    path = store.folder / "config" / f"{stage}.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **values}))


def test_doctor_finds_nothing_wrong_where_nothing_is(healthy: Store) -> None:
    code, checks = doctor(healthy.folder)
    assert code == 0
    found = {check["state"] for rows in checks.values() for check in rows}
    assert "fault" not in found
    assert states(checks, "tracking store", "model registry", "sweep experiment", "layout") == ["ok"] * 4
    assert ARCHIVE in checks["champion of distilbert"][0]["found"]
    assert checks["backbones"][0]["found"] == "not configured: 'roberta' (3 trials)"
    assert states(checks, "data.test", "write results", "write .cache") == ["ok"] * 3
    assert states(checks, "runtime torch-fp32", "runtime onnxruntime-fp32") == ["ok"] * 2


def test_doctor_prints_one_line_a_check_and_writes_nothing(healthy: Store) -> None:
    before = sorted(path for path in healthy.folder.rglob("*"))
    done = bakeoff(healthy.folder, "doctor")
    lines = done.stdout.splitlines()
    assert all(line.split()[0] in ("ok", "warning", "fault") for line in lines[:-1])
    assert lines[-1] == f"{len(lines) - 1} checks, 0 faults, 1 warning"
    assert sorted(path for path in healthy.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("spoil", "code", "name", "found", "fix"),
    [
        (
            lambda s: change(s, "tracking", uri="http://u:secret@127.0.0.1:9"),
            5,
            "tracking store",
            "u:***@127.0.0.1:9",
            "correct tracking.uri",
        ),
        (
            lambda s: (s.folder / "mlflow.db").unlink(),
            3,
            "tracking store",
            "mlflow.db: no such file",
            "run `bakeoff sweep`",
        ),
        (
            lambda s: change(s, "tracking", sweep_experiment="absent"),
            3,
            "sweep experiment",
            "experiment 'absent' is not in",
            "bakeoff init",
        ),
        (
            lambda s: change(s, "tracking", layout="optuna"),
            3,
            "layout",
            "optuna: no trial in",
            "set tracking.layout to code",
        ),
        (lambda s: change(s, "tracking", layout="mine.yaml"), 2, "selection", "mine.yaml cannot be read", ""),
        (
            lambda s: change(s, "hpo", backbones={"roberta": {}}),
            3,
            "champion of roberta",
            "has no refit",
            "finish its sweep",
        ),
        (
            lambda s: change(s, "hpo", objective={"metric": "macro-f1", "direction": "minimize"}),
            2,
            "selection",
            "has objective.direction 'maximize'",
            "",
        ),
        (
            lambda s: shutil.rmtree(s.folder / "artifacts"),
            3,
            "champion of distilbert",
            "artifact location",
            "finish its sweep and refit",
        ),
        (
            lambda s: (s.folder / "data" / "test.jsonl").write_text("no json\n"),
            2,
            "data.test",
            "test.jsonl:1: found invalid JSON",
            "correct the file",
        ),
        (
            lambda s: (s.folder / "config" / "data.yaml").unlink(),
            2,
            "data.test",
            "is missing",
            "config/data.yaml; bench needs it",
        ),
        (
            lambda s: change(s, "benchmark", runtimes=[{"kind": "torch", "threads": 4096}]),
            2,
            "runtime torch-fp32",
            "asks for 4,096 threads",
            "lower its threads",
        ),
        (
            lambda s: change(s, "selection", min_trails=3),
            2,
            "configuration",
            "unknown key 'min_trails'",
            "",
        ),
        (
            lambda s: s.client.delete_experiment(s.experiment("bakeoff-benchmark")),
            2,
            "benchmark experiment",
            "was deleted",
            "restore it",
        ),
    ],
)
def test_doctor_tells_a_fault_with_its_fix_and_its_exit_code(
    *, healthy: Store, spoil: Callable[[Store], object], code: int, name: str, found: str, fix: str
) -> None:
    spoil(healthy)
    left_with, checks = doctor(healthy.folder)
    assert (healthy.folder / "mlflow.db").exists() is ("no such file" not in found)
    faults = [check for check in checks[name] if check["state"] == "fault"]
    assert faults, checks
    assert found in faults[0]["found"]
    assert fix in faults[0]["fix"]
    assert left_with == code
    assert "secret" not in json.dumps(checks)


def test_one_backbone_without_champion_among_others_is_a_warning(healthy: Store) -> None:
    change(healthy, "hpo", backbones={"distilbert": {}, "roberta": {}})
    code, checks = doctor(healthy.folder)
    assert code == 0
    assert states(checks, "champion of distilbert", "champion of roberta") == ["ok", "warning"]


def test_doctor_tells_a_library_that_is_not_installed(healthy: Store) -> None:
    program = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'onnxruntime' else find(name, *rest)\n"
        "sys.argv = ['bakeoff', 'doctor']\n"
        "from bakeoff.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, cwd=healthy.folder, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "fault    runtime onnxruntime-fp32: not installed: onnxruntime" in done.stdout
    assert install_command("torch", "onnx") in done.stdout
