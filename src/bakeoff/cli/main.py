"""The command group, and the one place where errors become exit codes.

Nothing heavy is imported here: ``bakeoff --help`` must answer at once.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from bakeoff.errors import FULL_OR_READ_ONLY, BakeoffError, StorageError

EXIT_INTERRUPTED = 130

_COMMANDS = {
    "init": "Look at a tracking store and write a configuration for what is there.",
    "doctor": "Check everything that the pipeline will need.",
    "sweep": "Search each backbone's hyper-parameters and refit the best trial.",
    "champions": "Pick each backbone's champion from the tracking store.",
    "plan": "Say what bench would measure or reuse, and why.",
    "bench": "Measure what is missing; every result is kept.",
    "sync": "Send what is measured or decided and not yet in the tracking store.",
    "decide": "Weigh accuracy against latency and name a winner.",
    "report": "Write the decision as one self-contained HTML page.",
    "compare": "Set one candidate beside another; a gate for CI.",
    "promote": "Register the winner and point @champion at it.",
    "export": "Write the decision, measurements or samples as CSV, JSON or Parquet.",
    "run": "champions, plan, bench, decide and report; never promotes.",
    "demo": "The whole job on bundled text, in a folder of its own.",
}
# The control character keeps the lines below it as they are; a docstring that ruff accepts cannot hold it.
_HELP = """From hyper-parameter sweeps to the model you ship.

sweep → champions → plan → bench → decide → report → promote

\b
Exit codes:
  0 done · 1 a bug · 2 bad usage, configuration or input · 3 the answer is no
  4 cannot tell · 5 tracking store or disk · 6 the world moved
  10 plan --exit-code found work · 130 interrupted
"""
_HOMES = {
    "init": "bakeoff.cli.setup",
    "doctor": "bakeoff.cli.setup",
    "compare": "bakeoff.cli.compare",
    "export": "bakeoff.cli.export",
    "demo": "bakeoff.cli.demo",
}


class _LazyGroup(click.Group):
    """Lists the commands from a table; imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        home = _HOMES.get(cmd_name, "bakeoff.cli.stages")
        command: click.Command = getattr(importlib.import_module(home), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Stages"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_LazyGroup, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bakeoff")
def cli() -> None:
    """Hold the commands."""


class _StderrWarnings(logging.Handler):
    """Prints each warning of the library as one line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        from bakeoff.report.text.units import clean

        click.echo(clean(record.getMessage()), err=True)


def main() -> None:
    """Run the command line and leave with its exit code."""
    logger = logging.getLogger("bakeoff")
    logger.addHandler(_StderrWarnings(logging.WARNING))
    logger.propagate = False  # a handler of the root would print the same line again
    try:
        code = cli.main(standalone_mode=False)
    except BakeoffError as error:
        _complain(str(error))
        code = error.exit_code
    except OSError as error:
        if error.errno not in FULL_OR_READ_ONLY:
            raise
        place = error.filename or f"the output, or a file that was open in {Path.cwd()}"
        fault = StorageError(place, action="writing", error=error)
        _complain(str(fault))
        code = fault.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        _interrupted()
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str) -> None:
    from bakeoff.report.text.units import clean

    lines = [clean(line) for line in message.splitlines()]
    for line in lines[:1]:
        click.echo(f"error: {line}", err=True)
    for line in lines[1:]:
        click.echo(f"       {line}", err=True)


def _interrupted() -> NoReturn:
    """Say so and leave at once.

    An interrupt that struck inside exec(), as some imports use it, marks CPython to end by the signal
    although it was caught; leaving past that gives callers the code that is documented.
    """
    click.echo("interrupted; what was finished is kept, and the same command goes on from there", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_INTERRUPTED)
