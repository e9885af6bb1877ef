"""Decisions with real stores: what is in production, what a decision run holds, whose numbers are missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest

from bakeoff.core.identity import flatten
from bakeoff.disk.sealed import open_sealed, seal_json
from bakeoff.errors import CannotTellError, DataError
from bakeoff.orchestrator import Project, bench, decide, load_decision, open_project, promote, save_decision
from bakeoff.stores import tags
from bakeoff.stores.tracking import create_client, registry
from judged import quality_of

Reopen = Callable[..., Project]
DROP = "decision.constraints=[{kind: quality_drop, against: production, at_most: 0.005}]"


def test_before_anything_is_promoted_production_cannot_be_told(reopen: Reopen) -> None:
    decision = decide(reopen(DROP))
    assert decision.outcome == "undecided"
    assert decision.production.reason == "no version of bakeoff-model has the alias @champion"
    for row in decision.standings:
        assert row.constraints[0].text.endswith(decision.production.reason)


def test_what_was_promoted_is_in_production_and_meets_the_limit_that_it_sets(reopen: Reopen) -> None:
    project = reopen()
    promoted = promote(project)
    winner = load_decision(project).winner
    decision = decide(reopen(DROP))
    assert (decision.production.version, decision.production.label) == (promoted.version, winner)
    (own,) = (row for row in decision.standings if row.label == winner)
    assert own.constraints[0].result == "met"
    assert own.versus_production is not None
    assert quality_of(own.versus_production).value == 0
    assert decision.winner is not None


def test_a_promotion_changes_the_inputs_of_the_next_decision(reopen: Reopen) -> None:
    project = reopen()
    before = load_decision(project)
    promote(project)
    after = decide(reopen())
    assert after.inputs_digest != before.inputs_digest
    save_decision(project, after)
    assert decide(reopen()) == after


def test_offline_production_is_what_the_stored_decision_knew(reopen: Reopen, project_folder: Path) -> None:
    project = reopen()
    promote(project)
    made = decide(reopen())
    save_decision(project, made)
    offline = open_project(project_folder / "config", ["tracking.uri=http://127.0.0.1:9"], is_offline=True)
    assert decide(offline) == made
    assert offline.tracker.n_requests == 0


def test_the_decision_run_holds_settings_figures_of_the_winner_versions_and_the_decision(
    reopen: Reopen,
) -> None:
    project = reopen("decision.confidence=0.9")
    decision = decide(project)
    run_id = save_decision(project, decision)
    assert run_id is not None
    run = create_client(project.tracker.uri).get_run(run_id)
    winner = decision.winning_standing
    assert winner is not None
    assert run.data.params == flatten(decision.settings.model_dump(mode="json", exclude={"run"}))
    assert run.data.params["confidence"] == "0.9"
    assert run.data.metrics["quality"] == quality_of(winner).value
    assert run.data.metrics["latency_ms.low"] == winner.latency_ms.low
    assert run.data.tags[tags.OUTCOME] == "winner"
    assert run.data.tags[tags.HOW] == decision.how
    assert run.data.tags[tags.CHECKPOINT_DIGEST] == winner.checkpoint_digest
    assert run.data.tags[tags.BENCHMARK_KEYS].splitlines() == list(winner.benchmark_keys)
    assert f"bakeoff {version('bakeoff')}" in run.data.tags[tags.VERSIONS]
    kept = json.loads(project.decision_path.read_bytes())
    assert [each["key"] for each in kept["measurements"]] == [each.key for each in decision.measurements]
    assert {key for row in decision.standings for key in row.benchmark_keys} == {
        each.key for each in decision.measurements
    }


def test_a_registry_that_refuses_hinders_no_decision(reopen: Reopen, monkeypatch: pytest.MonkeyPatch) -> None:
    project = reopen()
    broken = project.tracker.call

    def refuse(action: str, function: Callable[..., object]) -> object:
        if action == "reading the aliases":
            return broken(action, lambda client: client.get_model_version("bakeoff-model", "999"))
        return broken(action, function)

    monkeypatch.setattr(project.tracker, "call", refuse)
    decision = decide(project)
    assert decision.winner is not None
    assert decision.production.reason == "the registry entry of bakeoff-model could not be read"


@pytest.mark.slow
def test_where_another_preset_was_measured_the_error_names_it_and_its_flag(reopen: Reopen) -> None:
    one = "benchmark.runtimes=[{kind: onnxruntime}]"
    assert bench(reopen(one, "benchmark.protocol={preset: quick, time_budget_s: 60}")).failed == ()
    with pytest.raises(CannotTellError) as caught:
        decide(reopen(one, "benchmark.protocol={}"))
    assert "measured with the preset quick); run `bakeoff decide` with --quick" in str(caught.value)
    assert decide(reopen(one, "benchmark.protocol={preset: quick}")).standings


def test_a_stored_decision_without_standings_is_no_decision(reopen: Reopen) -> None:
    project = reopen()
    document = open_sealed(project.decision_path.read_bytes())
    project.decision_path.write_bytes(seal_json(document | {"standings": []}))
    with pytest.raises(DataError, match="a file that `bakeoff decide` wrote"):
        load_decision(project)


def test_the_version_in_production_is_read_with_its_tags(reopen: Reopen) -> None:
    project = reopen()
    promote(project)
    found = registry.find_production(project.tracker, "bakeoff-model")
    winner = load_decision(project).winning_standing
    assert winner is not None
    assert found.benchmark_keys == winner.benchmark_keys
    assert (found.checkpoint_digest, found.runtime) == (winner.checkpoint_digest, winner.runtime)
