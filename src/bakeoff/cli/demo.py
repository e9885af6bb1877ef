"""demo: each stage of both acts under the command that a user would type."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from bakeoff.cli import output, stages, tables
from bakeoff.cli.options import overrides_option, quiet_option
from bakeoff.cli.report import write_report
from bakeoff.core.decision.decide import Decision
from bakeoff.demo import BASELINE, log_baseline, make_workspace
from bakeoff.orchestrator import (
    Project,
    bench,
    decide,
    estimate_time,
    open_project,
    promote,
    select_champions,
    sweep,
)
from bakeoff.orchestrator import plan as make_plan
from bakeoff.report.text.decision import headline
from bakeoff.report.text.units import clean
from bakeoff.run.machine.forks import keeping_servers


@click.command(short_help="Run all stages on bundled text, in a folder of its own.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Project folder of the demo; created if missing.",
)
@overrides_option
@quiet_option
def demo(folder: Path, overrides: tuple[str, ...], quiet: bool) -> int:
    """Fine-tune three small backbones for two tasks, measure them, decide, report and promote.

    Act 1 labels the slots of sentences. Act 2, in FOLDER/intents, finds their intents; a scikit-learn
    baseline competes there. --set changes both acts.

    A second run measures nothing again and gives the reason for each job.
    """
    progress = output.StderrProgress(is_quiet=quiet)
    configs = make_workspace(folder)
    # Opened before minutes of work, so that a wrong setting is refused at once.
    slots, intents = (open_project(config, overrides, progress) for config in configs)
    with keeping_servers():
        click.echo("Act 1 of 2: the slots of a sentence (token classification)")
        endings = [_play(slots, configs[0], has_promotion=True)]
        click.echo("\nAct 2 of 2: the intent of a sentence (text classification)")
        if log_baseline(intents):
            click.echo(f"mlflow.sklearn logged the baseline, TF-IDF with logistic regression, as {BASELINE}")
        endings.append(_play(intents, configs[1]))
    click.echo()
    for name, project, ending in zip(("slots", "intents"), (slots, intents), endings, strict=True):
        page = f"  {project.report_path}" if ending.decision else ""
        click.echo(f"{name:<7}  {ending.verdict}{page}")
    return max(ending.code for ending in endings)


class _Ending(NamedTuple):
    """End of an act.

    Attributes:
        decision: None if no backbone has a champion.
        code: Exit code.
    """

    decision: Decision | None
    code: int

    @property
    def verdict(self) -> str:
        return clean(headline(self.decision)) if self.decision else "no champion"


def _play(project: Project, config: Path, *, has_promotion: bool = False) -> _Ending:
    """Run every stage of an act; a tie and a best so far are results too."""
    _head("sweep", config)
    results = sweep(project)
    output.show(tables.table_of_sweep(results))
    _head("champions", config)
    selections = select_champions(project)
    code = stages.show_champions(selections, as_json=False)
    if code:
        return _Ending(None, code)
    _head("plan", config)
    made = make_plan(project)
    output.show(tables.table_of_plan(made, estimate_time(project, made)))
    _head("bench", config)
    benched = bench(project)
    stages.show_bench(project, benched, as_json=False)
    _head("decide", config)
    decision = decide(project)
    code = stages.show_decision(project, decision, as_json=False)
    _head("report", config)
    click.echo(write_report(project, decision, selections))
    if decision.winner is None:
        return _Ending(decision, code if decision.outcome == "none" else 0)
    if has_promotion:
        _head("promote", config)
        promotion = promote(project)
        click.echo(f"{promotion.model} version {promotion.version} is @champion")
    has_failed = benched.failed or any(result.failure for result in results)
    return _Ending(decision, stages.EXIT_ANSWER_IS_NO if has_failed else 0)


def _head(stage: str, config: Path) -> None:
    click.echo(f"\n$ bakeoff {stage} --config {config}")
