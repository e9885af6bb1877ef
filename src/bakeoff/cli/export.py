"""export: the decision, measurements or samples as a file for other tools."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from bakeoff.cli import output
from bakeoff.cli.options import config_option, find_config, overrides_option, quiet_option
from bakeoff.core.tables import What
from bakeoff.disk.durable import write_bytes
from bakeoff.orchestrator import open_project
from bakeoff.orchestrator.export import tabulate
from bakeoff.plural import count
from bakeoff.stores.results.table_files import Format, encode_frame

STDOUT = "-"


@click.command(short_help="Write the decision, measurements or samples as CSV, JSON or Parquet.")
@click.argument("file")
@click.option(
    "--what",
    type=click.Choice(get_args(What)),
    default="decision",
    show_default=True,
    help="Export candidates, measurements or timed calls: one row for each.",
)
@click.option(
    "--format", "form", type=click.Choice(get_args(Format)), required=True, help="Format of the file."
)
@config_option
@overrides_option
@quiet_option
def export(
    *, file: str, what: What, form: Format, config: Path | None, overrides: tuple[str, ...], quiet: bool
) -> int:
    """Write results on this disk to FILE, whole or not at all; - is stdout.

    Exports the last decision, every measurement, or every timed call. Does not ask the tracking store.
    """
    path = Path(file)
    if file == STDOUT and form == "parquet":
        raise click.UsageError("found parquet on stdout; name a file instead of -")
    if file != STDOUT and path.is_dir():
        raise click.UsageError(f"{path}: found a folder; name a file")
    progress = output.StderrProgress(is_quiet=quiet)
    project = open_project(config or find_config(), overrides, progress)
    table = tabulate(project, what)
    data = encode_frame(table, what, form)
    if file == STDOUT:
        click.echo(data, nl=False)
    else:
        write_bytes(path, data)
        progress.say(f"{path}: {count(table.n_rows, 'row')} of {what}")
    return 0
