"""Decisions by speed alone on real measurements: decided, logged, reported, compared, promoted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import assemble_candidates
from bakeoff.core.decision.decide import decide as make_decision
from bakeoff.core.records import Measurement
from bakeoff.errors import CannotTellError, PromotionRefusedError
from bakeoff.measure.tasks import Tensors
from bakeoff.orchestrator import Project, decide, load_decision, plan, promote, save_decision
from bakeoff.stores import tags
from bakeoff.stores.tracking import create_client
from command_line import bakeoff, read_document

Reopen = Callable[..., Project]
FASTEST = "decision.objective={kind: fastest}"


@pytest.fixture
def timed(reopen: Reopen) -> str:
    """The override that asks for the latency scenario that was measured, and for nothing else."""
    (scenario,) = {
        each.job.scenario.model_dump_json()
        for each in plan(reopen()).reused
        if each.job.scenario.kind == "latency"
    }
    return f"benchmark.scenarios=[{scenario}]"


def test_latency_alone_is_decided_and_says_that_quality_was_not_measured(
    reopen: Reopen, timed: str, project_folder: Path
) -> None:
    project = reopen(timed, FASTEST)
    assert plan(project).todo == ()
    decision = decide(project)
    assert len(decision.standings) == 2
    assert decision.without_quality == tuple(sorted(row.label for row in decision.standings))
    assert "quality was not measured: this ranking is by speed alone" in decision.reasons
    run_id = save_decision(project, decision)
    assert load_decision(project) == decision
    assert run_id is not None
    run = create_client(project.tracker.uri).get_run(run_id)
    assert "quality" not in run.data.metrics
    assert run.data.tags[tags.METRIC] == "f1"
    kept = json.loads(project.decision_path.read_bytes())
    assert [row["quality"] for row in kept["standings"]] == [None, None]
    done = bakeoff(project_folder, "report")
    assert done.returncode == 0, done.stderr
    assert "Quality was not measured: this ranking is by speed alone." in project.report_path.read_text()


def test_measured_quality_is_shown_and_changes_no_winner(reopen: Reopen, timed: str) -> None:
    seen, unseen = decide(reopen(FASTEST)), decide(reopen(timed, FASTEST))
    assert seen.without_quality == ()
    assert [row.quality is None for row in seen.standings] == [False, False]
    assert [(row.label, row.place, row.p_best) for row in seen.standings] == [
        (row.label, row.place, row.p_best) for row in unseen.standings
    ]
    assert seen.inputs_digest != unseen.inputs_digest


@pytest.mark.parametrize("objective", ["{kind: weighted}", "{kind: lexicographic}"])
def test_other_objectives_refuse_and_name_the_one_that_needs_no_quality(
    reopen: Reopen, timed: str, objective: str
) -> None:
    with pytest.raises(CannotTellError) as caught:
        decide(reopen(timed, f"decision.objective={objective}"))
    assert str(caught.value) == (
        "no candidate has a quality measurement; add quality to benchmark.scenarios, and run `bakeoff bench`"
        "; or set decision.objective to {kind: fastest}, which ranks by speed alone"
    )


def test_quality_that_is_planned_and_not_measured_is_named(reopen: Reopen, timed: str) -> None:
    scenarios = f"{timed[:-1]}, {{kind: quality, batch_size: 7}}]"
    with pytest.raises(CannotTellError) as caught:
        decide(reopen(scenarios, "decision.objective={kind: weighted}"))
    message = str(caught.value)
    assert "tiny × torch-fp32 × quality" in message
    assert "run `bakeoff bench`; or set decision.objective to {kind: fastest}" in message
    assert decide(reopen(scenarios, FASTEST)).standings


def test_without_latency_even_the_fastest_cannot_be_found(reopen: Reopen) -> None:
    with pytest.raises(CannotTellError, match="no candidate has a latency measurement; add latency to"):
        decide(reopen("benchmark.scenarios=[{kind: quality}]", FASTEST))


def test_a_comparison_without_quality_says_so(reopen: Reopen, timed: str, project_folder: Path) -> None:
    words = ("compare", "tiny × torch-fp32", "tiny × onnxruntime-fp32", "--json", "--set", timed)
    done = bakeoff(project_folder, *words)
    result = read_document(done.stdout)["result"]
    assert result["remarks"] == ["quality: not measured on either side"]
    assert result["pairs"][0]["lines"][0]["metric"] == "latency"
    keys = [each.job.key_digest for each in plan(reopen(timed)).reused]
    single = bakeoff(project_folder, "compare", *keys, "--json")
    assert read_document(single.stdout)["result"]["remarks"] == []


@pytest.mark.slow
def test_a_winner_by_speed_is_promoted_with_a_warning(
    reopen: Reopen, timed: str, caplog: pytest.LogCaptureFixture
) -> None:
    project = reopen(timed, FASTEST, "decision.when_tied=fastest")
    decision = decide(project)
    save_decision(project, decision)
    promoted = promote(project, force="its machine was busy")
    assert promoted.is_new
    assert f"{decision.winner}: quality: not measured; it won by speed alone" in caplog.text


def test_a_model_of_tensors_is_not_promoted_and_cannot_be_forced(reopen: Reopen) -> None:
    project, task = reopen(), Tensors(kind="tensors")
    reused = next(each for each in plan(project).reused if each.job.scenario.kind == "latency")
    found = project.results.load(reused.job.key, reused.attempt)
    assert isinstance(found, Measurement)
    measured = found.replace(job=found.job.replace(task=task, metric_name=""))
    project.results.store(measured)
    settings = DecisionSettings.model_validate({"objective": {"kind": "fastest"}})
    save_decision(project, make_decision(assemble_candidates([measured], settings)[0], settings))
    for force in (None, "I know better"):
        with pytest.raises(PromotionRefusedError) as caught:
            promote(project, force=force)
        label = measured.job.candidate
        assert str(caught.value) == (
            f"{label} is not promoted: the task tensors serves no requests; deploy its file as it is"
        )
