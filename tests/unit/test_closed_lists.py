"""Closed lists: every backend, task, scenario and flag is known to everything that must know about it."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter

from bakeoff.cli.bench_tables import tables_of_measured
from bakeoff.cli.main import cli
from bakeoff.cli.tables import name_flags
from bakeoff.core.config.quality_limits import find_misfits, find_unfit_scenarios
from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import assemble_candidates
from bakeoff.core.decision.decide import decide, list_used
from bakeoff.core.records import Measurement
from bakeoff.core.tables import tabulate_measurements, tabulate_samples
from bakeoff.core.validity.flags import FLAGS, FlagKind
from bakeoff.demo import make_workspace
from bakeoff.measure.backends import BACKENDS, Backend
from bakeoff.measure.scenarios import Latency, Quality, Scenario
from bakeoff.measure.tasks import Task
from bakeoff.report import render_html
from bakeoff.report.page.gates import list_gates
from bakeoff.run.machine.hardware import record_environment
from bakeoff.stores.results.benchmark_json import describe_champion
from bakeoff.stores.tracking.packaging import pin_requirements
from unit.report.measured import measure_field, measure_rates

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
DECIDING = Path(__file__).parents[2] / "docs" / "explanation" / "deciding.md"
NEEDED = {"custom": {"function": "math:fsum"}}
TASKS: list[Task] = [
    TypeAdapter(Task).validate_python({"kind": kind, **NEEDED.get(kind, {})})
    for member in get_args(get_args(Task)[0])
    for kind in get_args(member.model_fields["kind"].annotation)
]
KINDS = [kind.model_fields["kind"].default for kind in get_args(get_args(Scenario)[0])]


def kind_of(backend: type[Backend]) -> str:
    return str(backend.model_fields["kind"].default)


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=!~ ]", requirement, maxsplit=1)[0]


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    field = measure_field()
    return [*field, *measure_rates(next(each for each in field if each.job.scenario.kind == "latency"))]


# --- backends ---------------------------------------------------------------------------------------------


def test_the_list_of_backends_is_the_union() -> None:
    assert set(BACKENDS) == set(get_args(get_args(Backend)[0]))


@pytest.mark.parametrize("backend", BACKENDS, ids=kind_of)
def test_the_extras_of_a_backend_bring_its_libraries(backend: type[Backend]) -> None:
    always = PYPROJECT["project"]["dependencies"]
    brought = {
        name_of(each) for each in (*always, *(each for extra in backend.extras for each in EXTRAS[extra]))
    }
    assert {*backend.libraries, *backend.build_libraries} <= brought


@pytest.mark.parametrize("backend", BACKENDS, ids=kind_of)
def test_an_environment_records_the_libraries_of_a_backend(backend: type[Backend]) -> None:
    assert {*backend.libraries, *backend.build_libraries} <= record_environment().libraries.keys()


@pytest.mark.parametrize("backend", BACKENDS, ids=kind_of)
def test_a_promoted_model_pins_the_libraries_of_its_backend(backend: type[Backend]) -> None:
    pinned = {name_of(each) for each in pin_requirements(backend.libraries)}
    known = {name for names in packages_distributions().values() for name in names}
    assert set(backend.libraries) & known <= pinned


@pytest.mark.parametrize("backend", BACKENDS, ids=kind_of)
def test_doctor_checks_a_runtime_of_each_backend(backend: type[Backend], tmp_path: Path) -> None:
    make_workspace(tmp_path / "demo")
    config, runtime = str(tmp_path / "demo" / "config"), f"{{kind: {kind_of(backend)}}}"
    words = ["doctor", "--config", config, "--set", f"benchmark.runtimes=[{runtime}]"]
    done = CliRunner().invoke(cli, words)
    assert re.search(rf"runtime {kind_of(backend)}\S*: (installed|not installed)", done.output), done.output


# --- tasks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_a_task_is_decided_by_one_of_its_metrics_or_by_speed_alone(task: Task) -> None:
    settings = DecisionSettings.model_validate({"objective": {"kind": "fastest"}})
    assert find_misfits(settings.metric, settings.objective, (), task) == ()
    refused = find_misfits(None, DecisionSettings().objective, (), task)
    assert bool(refused) == (not task.metrics)
    assert bool(find_unfit_scenarios((Quality(), Latency()), task)) == (not task.metrics)
    if task.metrics:
        assert task.find_metric(None).name == task.default_metric


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_the_explanation_of_decisions_lists_the_metrics_of_a_task(task: Task) -> None:
    text = DECIDING.read_text(encoding="utf-8")
    (row,) = [line for line in text.splitlines() if line.startswith(f"| `{task.kind}` |")]
    if task.kind != "custom":
        assert all(f"`{name}`" in row for name in task.metrics)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_a_task_has_columns_of_requests_if_it_serves_any(task: Task) -> None:
    assert task.serves_requests or not (task.request_columns or task.answer_columns)


# --- scenarios --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_scenario_is_shown_and_exported_wherever_measurements_are(
    kind: str, measurements: list[Measurement]
) -> None:
    mine = [each for each in measurements if each.job.scenario.kind == kind]
    assert mine, f"no test measures {kind}"
    assert kind in tabulate_measurements(mine).columns["scenario"]
    assert kind == "quality" or kind in tabulate_samples(mine).columns["scenario"]
    assert kind in str(describe_champion(mine[:1]))
    assert bool(tables_of_measured(mine)) == (kind != "quality")


def test_a_decision_shows_every_scenario(measurements: list[Measurement]) -> None:
    candidates, incomplete = assemble_candidates(measurements, DecisionSettings(resamples=400))
    made = decide(candidates, DecisionSettings(resamples=400), incomplete)
    made = made.model_copy(update={"measurements": list_used(measurements)})
    assert render_html(made, {}, {}, measurements=measurements)
    keys = {key for standing in made.standings for key in standing.benchmark_keys}
    assert keys == {each.job.key for each in measurements}


# --- flags ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FLAGS.values(), ids=FLAGS)
def test_one_flag_means_the_same_to_every_consumer(kind: FlagKind, measurements: list[Measurement]) -> None:
    flag = kind.raised("the figure and its limit")
    marked = measurements[0].model_copy(update={"flags": (flag,)})
    settings = DecisionSettings(resamples=400)
    candidates, _ = assemble_candidates([marked, *measurements[1:]], settings)
    made = decide(candidates, settings)
    gate = list_gates(made)[-1]
    assert marked.is_valid == (not kind.invalidates)
    assert candidates[0].is_done == (not kind.invalidates)
    assert (gate.result == "met") == (not kind.invalidates)
    assert name_flags(marked) == kind.name
    assert kind.name in render_html(made, {}, {})
    assert kind.meaning
    assert kind.raised_when
    assert re.match(r"[A-Z][a-z]+ ", kind.fix)
