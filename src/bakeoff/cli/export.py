"""export: the decision, measurements or samples for other tools: a file, annotations or a summary."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import click

from bakeoff.cli import output
from bakeoff.cli.options import config_option, find_config, overrides_option, quiet_option
from bakeoff.core.tables import What
from bakeoff.disk.durable import write_bytes
from bakeoff.orchestrator import load_decision, open_project
from bakeoff.orchestrator.export import tabulate
from bakeoff.plural import count
from bakeoff.report.text.annotations import annotate
from bakeoff.report.text.summary import render_summary
from bakeoff.stores.results.table_files import Format, encode_frame

STDOUT = "-"
# Formats of text about a decision, in place of a table.
DecisionText = Literal["github", "markdown"]


@click.command(short_help="Write the decision, measurements or samples for other tools.")
@click.argument("file", default=STDOUT)
@click.option(
    "--what",
    type=click.Choice(get_args(What)),
    default="decision",
    show_default=True,
    help="Export candidates, measurements or timed calls: one row for each.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice([*get_args(Format), *get_args(DecisionText)]),
    required=True,
    help="Format of the file; github writes annotations of GitHub Actions, markdown a summary.",
)
@config_option
@overrides_option
@quiet_option
def export(
    *,
    file: str,
    what: What,
    form: Format | DecisionText,
    config: Path | None,
    overrides: tuple[str, ...],
    quiet: bool,
) -> int:
    """Write results on this disk to FILE, whole or not at all; - is stdout [-].

    Exports the last decision, every measurement, or every timed call. Does not ask the tracking store.

    The format github writes the decision as annotations, which a step of GitHub Actions prints: a winner is a
    notice, no winner an error, everything uncertain a warning.

    The format markdown writes the decision as a summary for a pull request, which is also on the page of the
    report.
    """
    path = Path(file)
    if file == STDOUT and form == "parquet":
        raise click.UsageError("found parquet on stdout; name a file instead of -")
    if file != STDOUT and path.is_dir():
        raise click.UsageError(f"{path}: found a folder; name a file")
    if form in get_args(DecisionText) and what != "decision":
        raise click.UsageError(f"found --what {what} with --format {form}, which writes a decision only")
    progress = output.StderrProgress(is_quiet=quiet)
    project = open_project(config or find_config(), overrides, progress)
    if form == "github":
        lines = annotate(load_decision(project))
        data, found = "".join(f"{line}\n" for line in lines).encode(), count(len(lines), "annotation")
    elif form == "markdown":
        data, found = render_summary(load_decision(project)).encode(), "the summary of the decision"
    else:
        table = tabulate(project, what)
        data, found = encode_frame(table, what, form), f"{count(table.n_rows, 'row')} of {what}"
    if file == STDOUT:
        click.echo(data, nl=False)
    else:
        write_bytes(path, data)
        progress.say(f"{path}: {found}")
    return 0
