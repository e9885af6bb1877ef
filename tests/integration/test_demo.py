"""The demo as its reader runs it: once to see everything happen, once more to see nothing happen again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from bakeoff.core.decision.decide import read_decision
from bakeoff.demo import BASELINE
from bakeoff.demo.backbones import LAYERS
from bakeoff.orchestrator import load_decision, open_project, plan
from bakeoff.stores import tags
from bakeoff.stores.tracking import create_client

# Two runs of minutes each, on a machine that may have other work.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

STAGES = ("sweep", "champions", "plan", "bench", "decide", "report")
SLOTS, INTENTS = Path("config"), Path("intents", "bakeoff.yaml")
N_JOBS = len(LAYERS) * 2 * 2  # backbones × runtimes × scenarios
N_INTENTS_JOBS = (len(LAYERS) + 1) * 2  # backbones in one runtime, and the baseline
# Without the latency limit: on a machine that is busy with other things nobody may be known to keep it.
ONLY_QUALITY = "--set=decision.constraints=[{kind: quality, at_least: 0.5}]"


class Run(NamedTuple):
    """One run of the demo, with what both acts left behind."""

    code: int
    stdout: str
    stderr: str
    decision: bytes
    page: str
    intents_decision: bytes
    intents_page: str

    def stage(self, name: str, config: Path = SLOTS) -> str:
        """What was printed below the command of a stage."""
        pattern = rf"^\$ bakeoff {name} --config \S+/{config}\n(.*?)(?=^\$ bakeoff |^Act |^slots |\Z)"
        (found,) = re.findall(pattern, self.stdout, re.DOTALL | re.MULTILINE)
        return str(found)


class Demo(NamedTuple):
    """The folder of the demo, and the runs in it."""

    folder: Path
    first: Run
    second: Run
    third: Run


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """``bakeoff demo``, three times, in one folder."""
    root = tmp_path_factory.mktemp("demo")
    return Demo(root / "demo", run_demo(root), run_demo(root), run_demo(root))


def run_demo(root: Path) -> Run:
    done = subprocess.run(
        [sys.executable, "-m", "bakeoff", "demo", ONLY_QUALITY],
        check=False,
        cwd=root,
        capture_output=True,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
    )
    assert "Traceback" not in done.stderr, done.stderr
    results, intents = root / "demo" / "results", root / "demo" / "intents" / "results"
    assert intents.is_dir(), done.stderr
    return Run(
        done.returncode,
        done.stdout,
        done.stderr,
        (results / "decision.json").read_bytes(),
        (results / "report.html").read_text(encoding="utf-8"),
        (intents / "decision.json").read_bytes(),
        (intents / "report.html").read_text(encoding="utf-8"),
    )


def test_the_demo_goes_through_every_stage_and_ends_well(demo: Demo) -> None:
    assert demo.first.code == 0, demo.first.stderr
    assert re.findall(r"^\$ bakeoff (\w+)", demo.first.stdout, re.MULTILINE) == [*STAGES, "promote", *STAGES]


def test_the_demo_measures_every_candidate_once(demo: Demo) -> None:
    assert f"{N_JOBS} measured, 0 failed, 0 reused" in demo.first.stage("bench")
    prepared = re.findall(r"^(\S+) × \S+: prepared in \d+ s$", demo.first.stderr, re.MULTILINE)
    assert set(prepared) == set(LAYERS)
    decision = read_decision(demo.first.decision, "decision.json")
    assert {row.backbone for row in decision.standings} == set(LAYERS)
    assert len(decision.standings) == N_JOBS // 2
    assert decision.incomplete == ()


def test_the_demo_names_a_model_and_its_page_says_the_same(demo: Demo) -> None:
    decision = read_decision(demo.first.decision, "decision.json")
    assert decision.winner is not None
    title = "winner" if decision.how == "clear" else "fastest of the tied"
    assert demo.first.stage("decide").startswith(f"{title}  {decision.winner}\n")
    assert f'<h1 id="verdict">{decision.winner}</h1>' in demo.first.page
    assert demo.first.stage("report").strip() == str(demo.folder / "results" / "report.html")


def test_the_demo_promotes_the_winner_s_checkpoint(demo: Demo) -> None:
    assert "demo-slot-filler version 1 is @champion" in demo.first.stage("promote")
    winner = read_decision(demo.first.decision, "decision.json").winning_standing
    assert winner is not None
    client = create_client(f"sqlite:///{demo.folder / 'mlflow.db'}")
    version = client.get_model_version_by_alias("demo-slot-filler", "champion")
    assert version.tags[tags.LINEAGE_REFIT] == winner.champion_run_id
    assert version.tags[tags.CHECKPOINT_DIGEST] == winner.checkpoint_digest


def test_a_second_run_measures_nothing_and_says_so_job_by_job(demo: Demo) -> None:
    assert demo.second.code == 0, demo.second.stderr
    assert f"0 measured, 0 failed, {N_JOBS} reused" in demo.second.stage("bench")
    labels = [planned.job.label for planned in plan(open_project(demo.folder / "config")).jobs]
    assert len(labels) == N_JOBS
    said = re.findall(r"^(.+): reuse: measured \S+, run [0-9a-f]{32}$", demo.second.stderr, re.MULTILINE)
    assert said[:N_JOBS] == labels
    assert len(said) == N_JOBS + N_INTENTS_JOBS
    for backbone in LAYERS:
        for trials in ("3 finished trials", "1 finished trial"):
            assert f"{backbone}: found {trials}; nothing to run" in demo.second.stderr


def test_a_second_run_decides_the_same_and_knows_what_the_first_one_promoted(demo: Demo) -> None:
    first, second = (read_decision(run.decision, "decision.json") for run in (demo.first, demo.second))
    assert (first.production.version, second.production.version) == (None, "1")
    assert second.production.label == second.winner == first.winner
    assert [(row.label, row.place, row.score, row.p_best) for row in second.standings] == [
        (row.label, row.place, row.score, row.p_best) for row in first.standings
    ]


def test_a_third_run_decides_the_same_byte_for_byte(demo: Demo) -> None:
    assert demo.third.decision == demo.second.decision
    assert demo.third.page == demo.second.page
    assert load_decision(open_project(demo.folder / "config")).winner


def test_a_second_run_promotes_no_second_version(demo: Demo) -> None:
    assert "demo-slot-filler version 1 is @champion" in demo.second.stage("promote")
    client = create_client(f"sqlite:///{demo.folder / 'mlflow.db'}")
    assert len(client.search_model_versions("name = 'demo-slot-filler'")) == 1


def test_the_second_act_measures_the_backbones_and_a_scikit_learn_baseline(demo: Demo) -> None:
    assert f"{N_INTENTS_JOBS} measured, 0 failed, 0 reused" in demo.first.stage("bench", INTENTS)
    decision = read_decision(demo.first.intents_decision, "decision.json")
    assert {row.backbone for row in decision.standings} == {*LAYERS, "tfidf"}
    assert decision.incomplete == ()
    for row in decision.standings:
        assert row.quality is not None
        assert 0.8 < row.quality.value <= 1.0


def test_a_second_run_logs_no_second_baseline_and_measures_no_intent_again(demo: Demo) -> None:
    assert [BASELINE in run.stdout for run in (demo.first, demo.second)] == [True, False]
    assert f"0 measured, 0 failed, {N_INTENTS_JOBS} reused" in demo.second.stage("bench", INTENTS)
    client = create_client(f"sqlite:///{demo.folder / 'mlflow.db'}")
    assert len(client.search_model_versions("name = 'demo-tfidf'")) == 1
    assert demo.third.intents_decision == demo.second.intents_decision == demo.first.intents_decision
    assert demo.third.intents_page == demo.second.intents_page


def test_the_demo_ends_with_both_decisions_and_their_pages(demo: Demo) -> None:
    last = demo.first.stdout.splitlines()[-2:]
    decisions = (demo.first.decision, demo.first.intents_decision)
    folders = (demo.folder, demo.folder / "intents")
    for line, name, stored, folder in zip(last, ("slots", "intents"), decisions, folders, strict=True):
        winner = read_decision(stored, "decision.json").winner
        assert winner
        assert line.split("  ")[0].strip() == name
        assert line.endswith(f"{winner}  {folder / 'results' / 'report.html'}")
