"""What runs foreign models runs no file of the working folder, and sees no secret of who called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from bakeoff.errors import ConfigError
from bakeoff.measure.tasks import TokenClassification
from bakeoff.orchestrator import open_project, plan
from bakeoff.run.training.process import TrainingProcess
from bakeoff.run.training.trainer import TrainingOrder
from command_line import bakeoff

# Modules that what we start imports, of the standard library and of others; one need not be installed.
PLANTED = ("logging", "random", "json", "typing", "torch", "numpy", "psutil", "sentencepiece")
PLANT = """
import os
with open({ran!r}, "a") as file:
    file.write(__name__ + " ")
raise ImportError("planted")
"""
SECRETS = {
    "HF_TOKEN": "s",
    "MLFLOW_TRACKING_TOKEN": "s",
    "MLFLOW_TRACKING_PASSWORD": "s",
    "AWS_SECRET_ACCESS_KEY": "s",
    "AWS_SESSION_TOKEN": "s",
    "MY_SECRET_THING": "s",
    "DATABASE_URL": "s",
    "https_proxy": "s",
}
NEEDED = {"KMP_AFFINITY": "disabled", "CUDA_VISIBLE_DEVICES": "", "LC_TIME": "C", "BAKEOFF_ANYTHING": "1"}
# Reports what its process sees, in a file next to it.
REPORT = """
import json, os, random, sys
from pathlib import Path

def report():
    seen = {"environment": dict(os.environ), "folder": os.getcwd(), "random": random.__file__}
    Path(__file__).with_name("seen.json").write_text(json.dumps(seen))
"""
MODEL = (
    REPORT
    + """
class Model:
    def predict(self, rows):
        return ["a" for _ in rows]

def make():
    report()
    return Model()
"""
)
TRAINER = (
    REPORT
    + """
from bakeoff.run.training.trainer import TrainingOutcome

class Reporting:
    def train(self, order):
        report()
        return TrainingOutcome(metrics={"f1": 1.0})
"""
)
BENCHMARK = {
    "scenarios": [{"kind": "quality"}, {"kind": "latency", "batch_sizes": [1]}],
    "protocol": {
        "processes": 2,
        "rounds": 2,
        "block_s": 0.005,
        "max_calls": 5,
        "warmup_min_s": 0.0,
        "warmup_max_s": 0.1,
    },
    "accept_contended": True,
    "environment": ["MY_SECRET_THING", "NOT_SET_ANYWHERE"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder full of traps, which is the folder of the project as well."""
    folder, ran = tmp_path / "project", tmp_path / "ran"
    folder.mkdir()
    for name in PLANTED:
        (folder / f"{name}.py").write_text(PLANT.format(ran=str(ran)))
    for name, value in (SECRETS | NEEDED).items():
        monkeypatch.setenv(name, value)
    yield folder
    assert not ran.exists(), ran.read_text()


def write_project(folder: Path) -> Path:
    rows = [{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(8)]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "our_model.py").write_text(MODEL)
    config = {
        "data": {"test": "data.jsonl", "task": {"kind": "text_classification"}},
        "models": {"ours": {"factory": "our_model:make", "trust_code": True}},
        "benchmark": BENCHMARK,
    }
    path = folder / "bakeoff.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def read_seen(folder: Path) -> tuple[dict[str, str], Path, Path]:
    seen = json.loads((folder / "seen.json").read_text())
    return seen["environment"], Path(seen["folder"]), Path(seen["random"])


def check_isolated(folder: Path, *passed: str) -> Path:
    """What a report says that is so in every process with foreign code; returns its working folder."""
    environment, here, random = read_seen(folder)
    assert SECRETS.keys() & environment.keys() == set(passed)
    assert NEEDED.items() <= environment.items()
    assert environment["PATH"] == os.environ["PATH"]
    assert random.parent != folder
    assert here != folder
    return here


def test_a_worker_runs_no_planted_file_and_gets_no_secret_but_what_is_named(folder: Path) -> None:
    write_project(folder)
    done = bakeoff(folder, "bench", "--offline", "--json", "-c", "bakeoff.yaml")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)["result"]["measured"]
    assert len(measured) == 2
    assert done.stderr.count("benchmark.environment: NOT_SET_ANYWHERE is not set") == 1
    here = check_isolated(folder, "MY_SECRET_THING")
    assert here.is_relative_to(folder / "results")
    attempts = [json.loads(path.read_text()) for path in (folder / "results" / "jobs").rglob("*.json")]
    passed = {each["environment"]["facts"]["passed_variables"] for each in attempts}
    assert passed == {"MY_SECRET_THING NOT_SET_ANYWHERE"}


def test_a_training_runs_no_planted_file_and_gets_no_secret_but_what_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "our_training.py").write_text(TRAINER)
    monkeypatch.chdir(folder)
    order = TrainingOrder(
        pretrained=Path("pretrained"),
        task=TokenClassification(),
        labels=("O",),
        train=(),
        evaluation=(),
        hyper_parameters={},
        max_length=8,
        seed=0,
    )
    assert order.pretrained == folder / "pretrained"
    with TrainingProcess(tmp_path / "training", ["MY_SECRET_THING"]) as process:
        assert process.train("our_training:Reporting", order).metrics == {"f1": 1.0}
        with pytest.raises(ConfigError, match="No module named 'sentencepieces'"):
            process.load("sentencepieces:Nothing")
    assert check_isolated(folder, "MY_SECRET_THING") == tmp_path / "training"


def test_python_dash_m_runs_no_planted_file(folder: Path) -> None:
    """Before our own first line Python has imported little; what comes later is found elsewhere."""
    (folder / "typing.py").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "bakeoff", "--help"],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_names_of_variables_to_pass_change_no_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_project(folder)
    monkeypatch.chdir(folder)

    def keys(names: list[str]) -> list[str]:
        project = open_project(config, [f"benchmark.environment={json.dumps(names)}"], is_offline=True)
        return [planned.job.key for planned in plan(project).jobs]

    assert keys([]) == keys(["MY_SECRET_THING"]) != []
