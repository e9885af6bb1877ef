"""The examples, as their READMEs run them: a sweep in the user's own code, init, run, promote, serve."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from bakeoff.orchestrator import load_decision, open_project
from integration.test_serving import ask, load, served

EXAMPLES = Path(__file__).parents[2] / "examples"
# A busy machine must not end the commands before the last one, and a test needs no narrow intervals.
FEWER_CALLS = """\
cat >> config/benchmark.yaml <<'EOF'
accept_contended: true
n_texts: 20
protocol: {processes: 2, rounds: 2, block_s: 0.005, max_calls: 10, warmup_min_s: 0.0}
EOF
"""
LABELS = {"AddToPlaylist", "BookRestaurant", "GetWeather", "PlayMusic", "RateBook", "SearchCreativeWork"} | {
    "SearchScreeningEvent"
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "winners"),
    [
        ("trainer_script", {"bert-tiny × torch-fp32", "bert-tiny × onnxruntime-fp32"}),
        ("torch_loop", {f"distil-{n} × {kind}-fp32" for n in (32, 64) for kind in ("torch", "onnxruntime")}),
        ("sklearn_sweep", {"tfidf-words × pyfunc", "tfidf-chars × pyfunc"}),
    ],
)
def test_an_example_goes_from_its_sweep_to_a_served_model(
    name: str, winners: set[str], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(EXAMPLES / name, tmp_path / name))
    commands = re.findall(r"```sh\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)[0]
    script = commands.replace("bakeoff run", f"{FEWER_CALLS}bakeoff run")
    assert script != commands
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {key: text for key, text in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env=environment | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    project = open_project(folder / "config")
    assert {row.label for row in load_decision(project).standings} == winners
    rows = [{"text": "Will it rain in Paris tomorrow?"}, {"text": "play the album Making Evening And Night"}]
    if name == "sklearn_sweep":
        with served(project, tmp_path, "models:/bakeoff-model@champion") as uri:
            code, reply = ask(uri, {"dataframe_records": rows})
        assert (code, set(reply["predictions"]) <= LABELS) == (200, True), reply
    else:
        answers = load(project).predict(pd.DataFrame(rows))
        assert {answer["label"] for answer in answers} <= LABELS
