"""demo: each stage under the command that a user would type."""

from __future__ import annotations

from pathlib import Path

import click

from bakeoff.cli import output, stages, tables
from bakeoff.cli.options import overrides_option, quiet_option
from bakeoff.cli.report import write_report
from bakeoff.demo import make_workspace
from bakeoff.orchestrator import bench, decide, open_project, promote, select_champions, sweep
from bakeoff.orchestrator import plan as make_plan


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
    """Fine-tune three small backbones for slot filling, measure them, decide, report and promote.

    A second run measures nothing again and gives the reason for each job.
    """
    config = make_workspace(folder)
    project = open_project(config, overrides, output.StderrProgress(is_quiet=quiet))
    _head("sweep", config)
    results = sweep(project)
    output.show(tables.table_of_sweep(results))
    _head("champions", config)
    selections = select_champions(project)
    code = stages.show_champions(selections, as_json=False)
    if code:
        return code
    _head("plan", config)
    output.show(tables.table_of_plan(make_plan(project)))
    _head("bench", config)
    benched = bench(project)
    stages.show_bench(project, benched, as_json=False)
    _head("decide", config)
    decision = decide(project)
    code = stages.show_decision(project, decision, as_json=False)
    _head("report", config)
    click.echo(write_report(project, decision, selections))
    if decision.winner is None:
        # A tie and a best so far are results too: the demo has done its job.
        return code if decision.outcome == "none" else 0
    _head("promote", config)
    promotion = promote(project)
    click.echo(f"{promotion.model} version {promotion.version} is @champion")
    return stages.EXIT_ANSWER_IS_NO if benched.failed or any(r.failure for r in results) else 0


def _head(stage: str, config: Path) -> None:
    click.echo(f"\n$ bakeoff {stage} --config {config}")
