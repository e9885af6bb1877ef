"""Options and output of ``promote``; the command itself is with the other stages."""

from __future__ import annotations

from collections.abc import Callable

import click

from bakeoff.cli import output
from bakeoff.cli.documents import PromoteDocument
from bakeoff.orchestrator import Project, promote, undo_promotion
from bakeoff.orchestrator.promote.promote import Promotion
from bakeoff.report.text.units import clean


def promotion_options(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Give ``promote`` its options."""
    for option in (
        click.option(
            "--force",
            metavar="REASON",
            help="Promote in spite of stale or invalid evidence; the reason is kept.",
        ),
        click.option(
            "--undo", is_flag=True, help="Swap @champion and @previous; a second undo reverts the first."
        ),
        click.option(
            "--expect",
            metavar="VERSION",
            help="Refuse, with exit code 6, unless @champion is this version: v3, 3 or none.",
        ),
        click.option("--dry-run", is_flag=True, help="Show the steps; write nothing."),
    ):
        function = option(function)
    return function


def run_promotion(
    project: Project, *, as_json: bool, dry_run: bool, expect: str | None, undo: bool, force: str | None
) -> int:
    """Promote or undo, and print the result."""
    if undo and force is not None:
        raise click.UsageError("found --undo and --force; drop --force, an undo has no gate")
    if undo:
        done = undo_promotion(project, expect=expect, is_dry_run=dry_run)
    else:
        done = promote(project, expect=expect, force=force, is_dry_run=dry_run)
    if as_json:
        output.show_json(PromoteDocument(result=done))
    else:
        click.echo(clean(_say_undo(done) if undo else say_promotion(done)))
        if done.is_dry_run:
            for step in done.steps:
                click.echo(clean(f"  would do: {step}"))
    return 0


def say_promotion(done: Promotion) -> str:
    """Describe a promotion in one line."""
    version = "a new version" if done.version is None else f"version {done.version}"
    before = f"; @previous is version {done.previous}" if done.previous else ""
    if done.is_dry_run:
        return f"dry run: the winner would be {version} of {done.model}, @champion{before}"
    verb = "is registered as" if done.is_new else "is"
    return f"the winner {verb} {done.model} {version}, @champion{before}"


def _say_undo(done: Promotion) -> str:
    verb = "dry run: would be undone" if done.is_dry_run else "undone"
    return (
        f"{verb}: {done.model} version {done.version}, @champion; @previous is version {done.previous}, "
        "and another undo brings it back"
    )
