"""Champions handed over to be measured: in any shape, without a look-up, one failure stopping no other."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.records import Champion
from bakeoff.errors import ChampionError, NothingMeasuredError
from bakeoff.orchestrator import (
    Project,
    Quiet,
    benchmark_champions,
    filter_missing_benchmarks,
    select_champions,
)
from bakeoff.stores import tags

Reopen = Callable[..., Project]
NOTHING_LISTENS = "tracking.uri=http://127.0.0.1:9"
NOOP = ("benchmark.runtimes=[{kind: noop}]", "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]")
LOOK_UPS = {"reading runs", "downloading", "listing artifacts", "listing experiments"}


class Told(Quiet):
    """Keeps what a stage says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_a_complete_champion_costs_no_look_up_no_search_and_no_hash(
    reopen: Reopen, champion: Champion, count_calls: Counter[str]
) -> None:
    project = reopen(*NOOP)
    files = benchmark_champions([champion], project)
    assert list(files) == ["tiny"]
    assert count_calls["measure_unit"] == 1
    assert {name: n for name, n in count_calls.items() if name.startswith("before: ")} == {}
    after = ("compute_data_fingerprint", "compute_eval_fingerprint", "digest_file", "digest_folder", "search")
    assert {name: count_calls[name] for name in (*after, *LOOK_UPS)} == dict.fromkeys((*after, *LOOK_UPS), 0)
    assert count_calls["get_run"] > 0  # publication asks which result counts
    # Its result was written all the same, once.
    experiment_id = project.tracker.ensure_experiment("benchmark")
    written = project.tracker.search_runs(experiment_id, {tags.STAGE: "benchmark", tags.RUNTIME: "noop"})
    assert len(list(written)) == 1


def test_an_incomplete_champion_is_what_the_counters_see(
    reopen: Reopen, champion: Champion, count_calls: Counter[str]
) -> None:
    project = reopen(*NOOP)
    shutil.rmtree(project.checkpoints.folder)
    bare = champion.model_copy(update={"checkpoint_path": None, "checkpoint_digest": None})
    assert list(benchmark_champions([bare], project)) == ["tiny"]
    assert count_calls["downloading"] == 1
    assert count_calls["digest_folder"] > 0
    assert count_calls["search"] > 0


def test_nested_mappings_with_paths_as_text_are_measured_under_the_same_key(
    reopen: Reopen, champion: Champion
) -> None:
    project = reopen(*NOOP)
    given = {
        "tiny": {
            "champion": champion.model_dump(mode="json") | {"trial_name": "t-3"},
            "all_groups": {},
            "selection_metadata": {"by": "an older release"},
        }
    }
    first = benchmark_champions(given, project)
    document = json.loads(first["tiny"].read_text())
    assert document["champion_run_id"] == champion.run_id
    told = Told()
    project.progress = told
    assert benchmark_champions([champion], project) == first
    assert [line.split(": ")[1] for line in told.lines if "noop" in line] == ["reuse"]


def test_what_select_champions_returns_can_be_handed_over_as_it_is(reopen: Reopen) -> None:
    project = reopen(*NOOP)
    assert list(benchmark_champions(select_champions(project), project)) == ["tiny"]


def test_a_backbone_without_champion_is_warned_of_and_the_others_are_measured(
    reopen: Reopen, champion: Champion, caplog: pytest.LogCaptureFixture
) -> None:
    project = reopen(*NOOP)
    given: dict[str, Any] = {
        "mini": {"champion": None, "reason": "the best trial has no refit"},
        "tiny": champion,
    }
    assert list(benchmark_champions(given, project)) == ["tiny"]
    assert caplog.messages[0] == "mini: no champion: the best trial has no refit"


def test_a_champion_that_lacks_a_field_is_an_error_before_anything_is_measured(
    reopen: Reopen, champion: Champion
) -> None:
    project = reopen(*NOOP)
    values = champion.model_dump(mode="json", exclude={"study_key_hash"})
    before = sorted(project.results.folder.rglob("*.json"))
    with pytest.raises(ChampionError, match="champion of 'tiny': study_key_hash is missing"):
        benchmark_champions({"tiny": {"champion": values}}, project)
    assert sorted(project.results.folder.rglob("*.json")) == before


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"checkpoint_path": None}, id="not in the store"),
        pytest.param({"checkpoint_path": None, "checkpoint_digest": None}, id="of unknown digest"),
        pytest.param({"checkpoint_path": Path("/nowhere")}, id="a folder that is not there"),
    ],
)
def test_a_champion_without_checkpoint_is_skipped_with_a_warning_and_spends_no_attempt(
    reopen: Reopen, champion: Champion, changes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    project = reopen(*NOOP)
    lost_run = "0" * 32
    lost = champion.model_copy(
        update={"backbone": "lost", "run_id": lost_run, "refit_run_id": lost_run, **changes}
    )
    assert list(benchmark_champions([lost, champion], project)) == ["tiny"]
    (warning,) = [line for line in caplog.messages if "lost" in line]
    assert warning.startswith("lost: skipped, since it has no checkpoint: ")
    assert project.results.list_existing([lost_run]) == []


def test_a_given_folder_that_is_not_what_the_refit_logged_is_not_measured(
    reopen: Reopen, champion: Champion, champion_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = champion_copy / "model.safetensors"
    sound = weights.read_bytes()
    weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    project = reopen(*NOOP)
    other = champion.model_copy(update={"checkpoint_path": champion_copy})
    with pytest.raises(NothingMeasuredError, match=r"tiny: no result: .*its content has digest"):
        benchmark_champions([other], project)
    assert any(line.startswith("tiny: no result: ") for line in caplog.messages)
    (failed,) = [one for one in project.results.list_existing([champion.run_id]) if one.state == "failed"]
    assert "its content has digest" in failed.reason


def test_what_is_measured_already_needs_neither_checkpoint_nor_tracking_store(
    reopen: Reopen, champion: Champion
) -> None:
    first = benchmark_champions([champion], reopen(*NOOP))
    project = reopen(*NOOP, NOTHING_LISTENS)
    shutil.rmtree(project.checkpoints.folder)
    bare = champion.model_copy(update={"checkpoint_path": None})
    assert benchmark_champions([bare], project) == first


def test_champions_of_every_shape_are_filtered_by_what_is_left_to_measure(
    reopen: Reopen, champion: Champion
) -> None:
    selections = select_champions(reopen())
    assert filter_missing_benchmarks(selections, reopen()) == []
    nested = {"tiny": {"champion": champion.model_dump(mode="json")}, "mini": {"champion": None}}
    assert filter_missing_benchmarks(nested, reopen(*NOOP)) == [champion]
