"""Champions of large sweeps in real stores: the same as reading everything gives, for a few requests."""

from __future__ import annotations

import dataclasses
import math
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from bakeoff.core.records import BackboneSelection
from bakeoff.errors import ConfigError, TrackingError
from bakeoff.orchestrator import Project, open_project, select_champions
from bakeoff.orchestrator.champions import read_sweep, select_from
from bakeoff.stores import tags
from bakeoff.stores.layouts import load_layout
from bakeoff.stores.tracking import Tracker
from bakeoff.stores.tracking.queries import Page, Query
from filling import METRIC, Run, make_refit, make_trials, write_runs
from services import mlflow_server

N_BACKBONES, N_GROUPS = 2, 5


@pytest.fixture
def make_store(empty_store: Path, tmp_path: Path) -> Callable[[Iterable[Run]], str]:
    """The function that fills a SQLite store; returns its URI."""

    def make(runs: Iterable[Run]) -> str:
        path = tmp_path / f"store-{len(list(tmp_path.iterdir()))}.db"
        shutil.copyfile(empty_store, path)
        fill(f"sqlite:///{path}", runs)
        return f"sqlite:///{path}"

    return make


def fill(database: str, runs: Iterable[Run]) -> None:
    write_runs(database, Tracker(database).ensure_experiment("sweep"), runs)


def open_at(folder: Path, uri: str, **stages: Mapping[str, Any]) -> Project:
    sections: dict[str, Any] = {
        "tracking": {"uri": uri, "sweep_experiment": "sweep"},
        "data": {"test": "test.jsonl"},
        "hpo": {"backbones": {f"bert-{number}": {} for number in range(N_BACKBONES)}},
    }
    for stage, section in stages.items():
        sections[stage] = sections.get(stage, {}) | dict(section)
    (folder / "bakeoff.yaml").write_text(yaml.safe_dump(sections), encoding="utf-8")
    return open_project(folder / "bakeoff.yaml")


def select_both(project: Project) -> tuple[dict[str, BackboneSelection], dict[str, BackboneSelection]]:
    """What the filters find, and what reading every run gives."""
    layout = load_layout("bakeoff", project.root)
    return select_champions(project), select_from(project, layout, read_sweep(project, layout))


def assert_alike(project: Project) -> dict[str, BackboneSelection]:
    bounded, full = select_both(project)
    for name, selection in bounded.items():
        assert not selection.is_whole
        assert (selection.champion, selection.reason) == (full[name].champion, full[name].reason)
        for told in ("tied_trials", "tied_groups"):
            assert selection.selection_metadata.get(told) == full[name].selection_metadata.get(told)
        assert (
            selection.selection_metadata["n_finished_trials"]
            < full[name].selection_metadata["n_finished_trials"]
        )
    return bounded


class Watched(Tracker):
    """Keeps what was asked, and counts the runs that came."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri)
        self.asked: list[Query] = []
        self.n_runs = 0

    def read_pages(self, query: Query) -> Iterator[Page]:
        self.asked.append(query)
        for page in super().read_pages(query):
            self.n_runs += len(page.runs)
            yield page


def watch(project: Project) -> Watched:
    tracker = Watched(project.tracker.uri)
    vars(project)["tracker"] = tracker
    return tracker


def change(runs: Iterable[Run], **metrics: Callable[[float], float]) -> list[Run]:
    """The same runs with another value of the objective; of refits nothing is changed."""
    act = metrics[METRIC]
    return [
        dataclasses.replace(run, metrics={**run.metrics, METRIC: act(run.metrics[METRIC])})
        if METRIC in run.metrics
        else run
        for run in runs
    ]


@pytest.mark.parametrize("n_trials", [600, 5_000])
@pytest.mark.slow
def test_champions_of_a_sqlite_store_are_those_of_all_its_runs(
    make_store: Callable[[Iterable[Run]], str], tmp_path: Path, n_trials: int
) -> None:
    project = open_at(tmp_path, make_store(make_trials(n_trials, N_BACKBONES, N_GROUPS)))
    if n_trials == 5_000:
        selections = assert_alike(project)
        assert all(row.champion for row in selections.values())
        return
    bounded, full = select_both(project)
    assert bounded == full
    assert all(selection.is_whole for selection in bounded.values())


@pytest.mark.slow
def test_requests_do_not_grow_from_1200_trials_to_12000_and_few_runs_are_read(
    make_store: Callable[[Iterable[Run]], str], tmp_path: Path
) -> None:
    trackers = []
    for n_trials in (1_200, 12_000):
        project = open_at(tmp_path, make_store(make_trials(n_trials, N_BACKBONES, N_GROUPS)))
        trackers.append(watch(project))
        assert all(row.champion for row in select_champions(project).values())
    small, large = trackers
    assert (
        large.n_requests <= small.n_requests + N_BACKBONES
    )  # a range that proved too large is narrowed once
    assert large.n_runs < 1_200


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.slow
def test_ties_infinities_and_small_numbers_are_compared_by_the_store_as_they_are_here(
    make_store: Callable[[Iterable[Run]], str], tmp_path: Path, direction: str
) -> None:
    rng = random.Random(1)
    sign = 1 if direction == "maximize" else -1

    def spoil(value: float) -> float:
        drawn = rng.random()
        if drawn < 0.02:
            return rng.choice([math.inf, -math.inf, 1.797e308])
        return sign * round(value - 0.75, 1) * 1e-7 if drawn < 0.9 else -sign * 1e17

    runs = change(make_trials(3_000, N_BACKBONES, N_GROUPS), f1=spoil)
    named = [dataclasses.replace(run, tags={**run.tags, tags.OBJECTIVE_DIRECTION: direction}) for run in runs]
    project = open_at(
        tmp_path, make_store(named), hpo={"objective": {"metric": METRIC, "direction": direction}}
    )
    selections = assert_alike(project)
    assert any(row.selection_metadata["tied_trials"] for row in selections.values())


@pytest.mark.slow
def test_a_trial_nested_in_a_trial_is_none_wherever_its_parent_stands(
    make_store: Callable[[Iterable[Run]], str], tmp_path: Path
) -> None:
    runs = list(make_trials(3_000, N_BACKBONES, N_GROUPS))
    parent = runs[0]
    for number in (2_000, 2_500, 2_900):
        nested = runs[number]
        runs[number] = dataclasses.replace(
            nested,
            tags={**nested.tags, tags.PARENT_RUN_ID: parent.run_id},
            metrics={**nested.metrics, METRIC: 9.0},
        )
    selections = assert_alike(open_at(tmp_path, make_store(runs)))
    assert all(row.champion and row.champion.metric < 9 for row in selections.values())


def test_one_trial_of_another_direction_among_thousands_is_an_error_that_names_it(
    make_store: Callable[[Iterable[Run]], str], tmp_path: Path
) -> None:
    runs = list(make_trials(3_000, N_BACKBONES, N_GROUPS))
    odd = runs[1_500]
    runs[1_500] = dataclasses.replace(odd, tags={**odd.tags, tags.OBJECTIVE_DIRECTION: "minimize"})
    with pytest.raises(ConfigError, match=f"run {odd.run_id} .* has objective.direction 'minimize'"):
        select_champions(open_at(tmp_path, make_store(runs)))


@pytest.mark.slow
def test_newer_schema_versions_and_other_objectives_are_told_apart_by_the_store(
    make_store: Callable[[Iterable[Run]], str], tmp_path: Path
) -> None:
    rng = random.Random(2)
    runs = []
    for run in make_trials(3_000, N_BACKBONES, N_GROUPS):
        drawn, own = rng.random(), dict(run.tags)
        if drawn < 0.2:
            own[tags.STUDY_KEY_SCHEMA_VERSION] = "1.0"
        elif drawn < 0.4:
            own[tags.OBJECTIVE_METRIC] = "eval_loss"
        elif drawn < 0.5:
            del own[tags.OBJECTIVE_METRIC]
        runs.append(dataclasses.replace(run, tags=own))
    store = make_store(runs)
    for mixed in (False, True):
        project = open_at(
            tmp_path,
            store,
            selection={"allow_mixed_schema_groups": mixed, "min_trials_per_group": 9},
        )
        assert_alike(project)


@pytest.mark.slow
def test_of_many_refits_only_those_of_the_leaders_are_read(
    make_store: Callable[[Iterable[Run]], str], tmp_path: Path
) -> None:
    runs = list(make_trials(2_000, N_BACKBONES, N_GROUPS))
    more = [
        make_refit(1_000 + number, {}, run.run_id, run.start_ms + 10**9)
        for number, run in enumerate(runs[:1_200])
        if METRIC in run.metrics
    ]
    project = open_at(tmp_path, make_store([*runs, *more]))
    tracker = watch(project)
    selections = assert_alike(project)
    named = [
        query
        for query in tracker.asked
        if any(f"{tags.REFIT_OF_TRIAL}` =" in each for each in query.conditions)
    ]
    assert len(named) == N_BACKBONES
    assert all(row.champion for row in selections.values())


@pytest.mark.slow
def test_a_backbone_that_no_filter_can_carry_is_read_whole(
    make_store: Callable[[Iterable[Run]], str], tmp_path: Path
) -> None:
    odd = """both ' and " here"""
    runs = [
        dataclasses.replace(run, tags={**run.tags, tags.BACKBONE: odd})
        for run in make_trials(1_500, 1, N_GROUPS)
    ]
    project = open_at(tmp_path, make_store(runs), hpo={"backbones": {"bert": {"recorded_as": odd}}})
    (selection,) = select_champions(project).values()
    assert selection.champion is not None
    assert selection.is_whole


def test_a_store_that_stops_in_the_middle_of_its_runs_is_an_error(
    make_store: Callable[[Iterable[Run]], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a proxy would that answers every page with the first one's token."""
    from mlflow.tracking import MlflowClient

    real, tokens = MlflowClient.search_runs, []

    def stuck(self: MlflowClient, *args: Any, **kwargs: Any) -> Any:
        page = real(self, *args, **kwargs)
        tokens.append(page.token)
        page.token = tokens[0]
        return page

    monkeypatch.setattr(MlflowClient, "search_runs", stuck)
    tracker = Tracker(make_store(make_trials(2_500, 1, 1)))
    with pytest.raises(TrackingError, match="announces more"):
        list(tracker.search_runs(tracker.find_experiment("sweep") or "", {}))


@pytest.mark.slow
def test_champions_of_a_postgresql_store_are_those_of_all_its_runs(postgres_uri: str, tmp_path: Path) -> None:
    fill(postgres_uri, make_trials(4_000, N_BACKBONES, N_GROUPS))
    assert_alike(open_at(tmp_path, postgres_uri))


@pytest.mark.slow
def test_champions_through_a_server_are_those_of_all_its_runs(
    postgres_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")  # a busy machine takes long for a page
    fill(postgres_uri, make_trials(4_000, N_BACKBONES, N_GROUPS))
    with mlflow_server(postgres_uri, tmp_path / "server") as uri:
        assert_alike(open_at(tmp_path, uri))
