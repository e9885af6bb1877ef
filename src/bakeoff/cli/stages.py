"""One command a stage: open the project, call the stage, show the result."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bakeoff.cli import output, tables
from bakeoff.cli.documents import (
    BenchDocument,
    BenchOutcome,
    ChampionsDocument,
    ComparedPart,
    DecideDocument,
    ExplainedJob,
    OfflineOrigin,
    PlanDocument,
    PlanRow,
    PromoteDocument,
    ReportDocument,
    SweepDocument,
    SyncDocument,
    WrittenReport,
)
from bakeoff.cli.options import (
    config_option,
    find_config,
    json_option,
    offline_option,
    overrides_option,
    quiet_option,
)
from bakeoff.cli.promote import promotion_options, run_promotion
from bakeoff.cli.report import write_report
from bakeoff.core.decision.decide import Decision
from bakeoff.core.plan.jobs import Explanation
from bakeoff.core.records import BackboneSelection
from bakeoff.core.run_mode import RunMode
from bakeoff.measure.heats.protocol import DECIDED
from bakeoff.orchestrator import (
    Project,
    estimate_time,
    load_decision,
    open_project,
    recall_selection,
    save_decision,
    select_champions,
)
from bakeoff.orchestrator import bench as run_bench
from bakeoff.orchestrator import decide as make_decision
from bakeoff.orchestrator import explain as explain_job
from bakeoff.orchestrator import join_sweep as run_worker
from bakeoff.orchestrator import plan as make_plan
from bakeoff.orchestrator import sweep as run_sweep
from bakeoff.orchestrator import sync as run_sync
from bakeoff.orchestrator.bench.bench import BenchResult
from bakeoff.plural import count
from bakeoff.report import render_terminal
from bakeoff.report.text.units import clean

EXIT_ANSWER_IS_NO, EXIT_CANNOT_TELL, EXIT_TRACKING, EXIT_HAS_WORK = 3, 4, 5, 10


def _stage(document: type[output.PrintedDocument]) -> Callable[[Callable[..., int | None]], click.Command]:
    """Give a stage the options that all share.

    Args:
        document: What the stage prints with ``--json``.
    """
    return functools.partial(_make_command, document)


def _make_command(
    document: type[output.PrintedDocument], function: Callable[..., int | None]
) -> click.Command:
    """Make the command of a stage; its function receives an open project."""

    @config_option
    @overrides_option
    @json_option(document)
    @quiet_option
    @functools.wraps(function)
    def command(
        config: Path | None,
        overrides: tuple[str, ...],
        as_json: bool,
        quiet: bool,
        *,
        offline: bool = False,
        quick: bool = False,
        rigorous: bool = False,
        **more: Any,
    ) -> int | None:
        progress = output.StderrProgress(is_quiet=quiet)
        presets = _preset_overrides(is_quick=quick, is_rigorous=rigorous)
        project = open_project(config or find_config(), (*presets, *overrides), progress, is_offline=offline)
        return function(project, as_json=as_json, **more)

    return click.command(short_help=(function.__doc__ or "").split("\n")[0])(command)


_QUICK, _RIGOROUS = "quick", "rigorous"


Decorator = Callable[[Callable[..., int | None]], Callable[..., int | None]]


def _presets(quick: str, rigorous: str) -> Decorator:
    """Give a stage the options for a preset of the protocol, each with its help."""

    def decorate(function: Callable[..., int | None]) -> Callable[..., int | None]:
        with_rigorous = click.option(f"--{_RIGOROUS}", is_flag=True, help=rigorous)(function)
        return click.option(f"--{_QUICK}", is_flag=True, help=quick)(with_rigorous)

    return decorate


def _presets_to_use(verb: str) -> Decorator:
    """Give the options to a stage that uses measurements and makes none."""
    return _presets(
        *(f"{verb} the measurements that `bench --{preset}` made." for preset in (_QUICK, _RIGOROUS))
    )


_presets_to_measure = _presets(
    "Measure with fewer repeats, for a first look.",
    "Measure with more repeats and narrower targets; takes long.",
)


def _preset_overrides(*, is_quick: bool, is_rigorous: bool) -> tuple[str, ...]:
    """Return the overrides for a preset; they come before every ``--set``, which may change them."""
    if is_quick and is_rigorous:
        raise click.UsageError(f"found --{_QUICK} and --{_RIGOROUS}; choose one")
    chosen = _QUICK if is_quick else _RIGOROUS if is_rigorous else None
    return (f"benchmark.protocol.preset={chosen}",) if chosen else ()


@_stage(SweepDocument)
@click.option(
    "--worker",
    "is_worker",
    is_flag=True,
    help="Run trials of a sweep that another process leads; refit nothing.",
)
def sweep(project: Project, *, as_json: bool, is_worker: bool) -> int:
    """Search each backbone's hyper-parameters and refit the best trial."""
    results = run_worker(project) if is_worker else run_sweep(project)
    if as_json:
        output.show_json(SweepDocument(result=results))
    else:
        output.show(tables.table_of_sweep(results))
    return EXIT_ANSWER_IS_NO if any(result.failure for result in results) else 0


@_stage(ChampionsDocument)
def champions(project: Project, *, as_json: bool) -> int:
    """Select each backbone's champion from the tracking store."""
    selections, sources = select_champions(project), _list_sources(project)
    if as_json:
        return show_champions(selections, as_json=True, models=sources)
    code = show_champions(selections, as_json=False) if project.settings.hpo.backbones else 0
    _say_models(project)
    return code


def _list_sources(project: Project) -> dict[str, str]:
    return {name: model.shown for name, model in project.settings.models.items()}


def _say_models(project: Project) -> None:
    """Print the named models; without a sweep, say that there is none."""
    if not project.settings.hpo.backbones:
        click.echo("no sweep, since hpo.backbones is empty")
    for name, source in _list_sources(project).items():
        click.echo(clean(f"named model {name}: {source}"))


def show_champions(
    selections: dict[str, BackboneSelection], *, as_json: bool, models: dict[str, str] | None = None
) -> int:
    """Print the selection; return 3 if no backbone has a champion."""
    if as_json:
        output.show_json(ChampionsDocument(models=models or {}, result=selections))
    else:
        output.show(tables.table_of_champions(selections))
    has_champion = any(row.champion for row in selections.values())
    return 0 if has_champion or not selections else EXIT_ANSWER_IS_NO


@_stage(PlanDocument)
@offline_option
@_presets(
    "Plan for `run --quick`, which uses fewer repeats.",
    "Plan for `run --rigorous`, which uses more repeats.",
)
@click.option("--exit-code", is_flag=True, help="Exit code 10 if there is something to measure, else 0.")
@click.option(
    "--explain", "text", metavar="KEY", help="Compare one job, by label or key, with the nearest benchmark."
)
def plan(project: Project, *, as_json: bool, exit_code: bool, text: str | None) -> int:
    """Show what run would measure or reuse, why, and how long it takes; measures nothing."""
    if text is not None:
        return show_explanation(project, explain_job(project, text), as_json=as_json)
    made = make_plan(project)
    wall_time = estimate_time(project, made)
    if as_json:
        rows = tuple(map(PlanRow.of, made.jobs))
        output.show_json(PlanDocument(offline=_find_origin(project), estimate=wall_time, result=rows))
    else:
        output.show(tables.table_of_plan(made, wall_time))
        _say_offline(project)
    return EXIT_HAS_WORK if exit_code and made.todo else 0


def show_explanation(project: Project, explanation: Explanation, *, as_json: bool) -> int:
    """Print a job next to its nearest benchmark."""
    if as_json:
        parts = tuple(ComparedPart(is_same=part.is_same, **dict(part)) for part in explanation.parts)
        row = ExplainedJob.of(explanation.planned, nearest=explanation.nearest, parts=parts)
        output.show_json(PlanDocument(offline=_find_origin(project), result=row))
    else:
        output.show(tables.table_of_explanation(explanation))
        _say_offline(project)
    return 0


def _find_origin(project: Project) -> OfflineOrigin | None:
    """Find the origin of a result that was made without the tracking store; None with it."""
    if not project.is_offline:
        return None
    if not project.settings.hpo.backbones:
        return OfflineOrigin()
    kept = recall_selection(project)
    return OfflineOrigin(champions_selected_at=kept.selected_at, champions_from=kept.store)


def _say_offline(project: Project) -> None:
    if project.is_offline and not project.settings.hpo.backbones:
        click.echo("offline: used only this disk")
    elif project.is_offline:
        kept = recall_selection(project)
        click.echo(
            clean(f"offline: used only this disk, with the champions of {kept.store} on {kept.selected_at}")
        )


@_stage(BenchDocument)
@offline_option
@_presets_to_measure
def bench(project: Project, *, as_json: bool) -> int:
    """Measure what is missing and keep every result."""
    return show_bench(project, run_bench(project), as_json=as_json)


def show_bench(project: Project, result: BenchResult, *, as_json: bool) -> int:
    """Print the outcome of each job; return 3 if one failed, 4 if the machine was too busy for one."""
    if as_json:
        output.show_json(BenchDocument(offline=_find_origin(project), result=BenchOutcome.of(result)))
    else:
        output.show(tables.table_of_bench(result))
        if result.contended:
            click.echo(describe_contended(project, result))
        _say_offline(project)
    return code_of_bench(result)


def code_of_bench(result: BenchResult) -> int:
    """Return the exit code; a busy machine is never a pass, since its measurements may be far off."""
    if result.failed:
        return EXIT_ANSWER_IS_NO
    return EXIT_CANNOT_TELL if result.contended else 0


def describe_contended(project: Project, result: BenchResult) -> str:
    """Say what to do about measurements that a busy machine invalidated."""
    jobs = count(len(result.contended), "job")
    most = count(project.settings.benchmark.max_attempts, "attempt")
    return (
        f"Not a pass: the machine was too busy (contended) for {jobs}. Run `bakeoff bench` again on a quiet "
        f"machine (at most {most} a job), or set benchmark.accept_contended."
    )


@_stage(SyncDocument)
def sync(project: Project, *, as_json: bool) -> int:
    """Send results that are not yet in the tracking store."""
    result = run_sync(project)
    if as_json:
        output.show_json(SyncDocument(result=result))
    else:
        for verb, labels in (("sent", result.sent), ("waits", result.waiting)):
            for label in labels:
                click.echo(clean(f"{verb}: {label}"))
        counts = f"{len(result.sent)} sent, {len(result.waiting)} waiting on disk"
        click.echo(clean(f"{counts}: {result.fault}" if result.fault else counts))
    return EXIT_TRACKING if result.waiting else 0


@_stage(DecideDocument)
@offline_option
@_presets_to_use("Decide from")
def decide(project: Project, *, as_json: bool) -> int:
    """Weigh accuracy against latency and name a winner."""
    decision = make_decision(project)
    save_decision(project, decision, is_new=project.decision_mode is RunMode.FORCE_NEW)
    return show_decision(project, decision, as_json=as_json)


def show_decision(project: Project, decision: Decision, *, as_json: bool) -> int:
    """Print the decision; return 3 if no candidate may win, 4 for a tie or invalid measurements."""
    if as_json:
        output.show_json(DecideDocument(offline=_find_origin(project), result=decision))
    else:
        output.show(render_terminal(decision))
        _say_offline(project)
    return code_of_decision(decision)


def code_of_decision(decision: Decision) -> int:
    """Return the exit code: 3 if no candidate may win, 4 for a tie or invalid measurements."""
    if decision.outcome == "none":
        return EXIT_ANSWER_IS_NO
    return 0 if decision.is_pass else EXIT_CANNOT_TELL


@_stage(ReportDocument)
def report(project: Project, *, as_json: bool) -> int:
    """Write the last decision as one self-contained HTML page."""
    path = write_report(project, load_decision(project), select_champions(project))
    if as_json:
        output.show_json(ReportDocument(result=WrittenReport(path=path)))
    else:
        click.echo(path)
    return 0


@_stage(PromoteDocument)
@_presets_to_use("Check the decision against")
@promotion_options
def promote(project: Project, *, as_json: bool, **options: Any) -> int:
    """Register the winner as a model that can be served and point @champion at it."""
    return run_promotion(project, as_json=as_json, **options)


@_stage(DecideDocument)
@_presets_to_measure
def run(project: Project, *, as_json: bool) -> int:
    """Run champions, plan, bench, decide and report; never promotes."""
    selections = select_champions(project)
    if not as_json:
        if selections:
            show_champions(selections, as_json=False)
        _say_models(project)
    result = run_bench(project, DECIDED)
    if not as_json:
        show_bench(project, result, as_json=False)
    decision = make_decision(project)
    if project.decision_mode is RunMode.FORCE_NEW:
        save_decision(project, decision, is_new=True)
    path = write_report(project, decision, selections)
    code = show_decision(project, decision, as_json=as_json)
    if not as_json:
        click.echo(f"report: {path}")
    return code or code_of_bench(result)
