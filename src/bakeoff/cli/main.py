"""The command group, and the one place that turns errors into exit codes.

Imports nothing heavy: ``bakeoff --help`` must answer at once.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bakeoff.cli.signals import StopSignals, end
from bakeoff.errors import FULL_OR_READ_ONLY, BakeoffError, StorageError
from bakeoff.uris import mask_password

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

EXIT_BUG = 1
_MOST_OF_REASON = 300
_MOST_READ = 10_000

_COMMANDS = {
    "try": "Compare models without a configuration: which is better, faster, how sure?",
    "init": "Look at a tracking store and write a configuration for its sweeps.",
    "doctor": "Check everything that the pipeline needs.",
    "sweep": "Search each backbone's hyper-parameters and refit the best trial.",
    "champions": "Select each backbone's champion from the tracking store.",
    "plan": "Show what run would measure or reuse, and why.",
    "bench": "Measure what is missing and keep every result.",
    "sync": "Send results that are not yet in the tracking store.",
    "decide": "Weigh accuracy against latency and name a winner.",
    "report": "Write the decision as one self-contained HTML page.",
    "compare": "Compare one candidate with another; a gate for CI.",
    "promote": "Register the winner and point @champion at it.",
    "export": "Write the decision, measurements or samples for other tools.",
    "run": "Run champions, plan, bench, decide and report; never promotes.",
    "demo": "Run all stages on bundled text, in a folder of its own.",
}
_AIDS = {
    "help": "Explain a command, or flags, exit codes, layouts or guarantees.",
    "completion": "Print the script that completes commands in your shell.",
}
_ALL = {**_COMMANDS, **_AIDS}
# The control character keeps the lines below it unwrapped; ruff accepts none in a docstring.
_HELP = """From hyper-parameter sweeps to the model you ship.

sweep → champions → plan → bench → decide → report → promote

\b
Exit codes:
  0 done · 1 a bug · 2 bad usage, configuration or input · 3 negative result
  4 no certain result · 5 tracking store or disk · 6 changed meanwhile
  10 plan --exit-code found work · 130 interrupted (SIGINT)
  143 terminated (SIGTERM)
"""
_HOMES = {
    "init": "bakeoff.cli.setup",
    "doctor": "bakeoff.cli.setup",
    "compare": "bakeoff.cli.compare",
    "export": "bakeoff.cli.export",
    "demo": "bakeoff.cli.demo",
    "try": "bakeoff.cli.trial",
    "help": "bakeoff.cli.help_pages",
    "completion": "bakeoff.cli.completion",
}
# A function cannot have the name of a keyword, and should not have that of a built-in function.
_NAMES = {"try": "trial", "help": "help_pages"}


class _StoppedError(BaseException):
    """A signal interrupted a command; click would print an empty line for KeyboardInterrupt."""


class _LazyGroup(click.Group):
    """Commands from a table; each is imported only when it is called."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise _StoppedError from interrupt

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_ALL)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # click compares with the commands that are imported, which are none.
        if args[0] not in _ALL and not args[0].startswith("-") and not ctx.resilient_parsing:
            refuse_name(ctx, "command", args[0], _ALL)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = [
            CompletionItem(name, help=text) for name, text in _ALL.items() if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _ALL:
            return None
        home = _HOMES.get(cmd_name, "bakeoff.cli.stages")
        command: click.Command = getattr(importlib.import_module(home), _NAMES.get(cmd_name, cmd_name))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Stages"):
            formatter.write_dl(list(_COMMANDS.items()))
        with formatter.section("Help"):
            formatter.write_dl(list(_AIDS.items()))


def refuse_name(
    ctx: click.Context, what: str, name: str, names: Iterable[str], expected: str = ""
) -> NoReturn:
    """Refuse a name that does not exist, with the nearest one that does.

    Args:
        ctx: Context of the command.
        what: Kind of the name.
        name: Name that was given.
        names: Names that exist.
        expected: Description of these names, if they are too many to list.

    Raises:
        click.UsageError: Always.
    """
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected {expected or 'one of ' + ', '.join(names)}"
    ctx.fail(f"No such {what} {name!r}; {hint}")


@click.group(cls=_LazyGroup, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bakeoff")
def cli() -> None:
    """Group the commands."""


class _StderrWarnings(logging.Handler):
    """Handler that prints each warning of the library as one line."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        from bakeoff.report.text.units import clean

        click.echo(f"warning: {clean(record.getMessage())}", err=True)


def main() -> None:
    """Run the command line and exit with its code."""
    logger = logging.getLogger("bakeoff")
    logger.addHandler(_StderrWarnings(logging.WARNING))
    logger.propagate = False  # a handler of the root would print the same line again
    stops = StopSignals()
    stops.catch()
    try:
        code = cli.main(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt, _StoppedError):
        sys.stdout.flush()
        end(stops.received or signal.SIGINT)
    except Exception as error:  # noqa: BLE001 - outermost: a bug is one line, too
        # A fault while the command cleaned up after a signal is not the reason that it ends.
        code = _explain(error) if stops.received is None else None
    finally:
        stops.finish()
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> int:
    """Print what was wrong, and return the exit code."""
    if isinstance(error, OSError) and error.errno in FULL_OR_READ_ONLY:
        place = error.filename or f"the output, or a file that was open in {Path.cwd()}"
        error = StorageError(place, action="writing", error=error)
    if isinstance(error, BakeoffError):
        _complain(str(error))
        return error.exit_code
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    return _report_bug(error)


def _report_bug(error: Exception) -> int:
    """Print one line, and keep the traceback in a file of the user's own; return the exit code."""
    import tempfile
    import traceback

    reason = " ".join(f"{type(error).__name__}: {mask_password(str(error)[:_MOST_READ])}".split())[
        :_MOST_OF_REASON
    ]
    try:
        descriptor, place = tempfile.mkstemp(prefix="bakeoff-traceback-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(mask_password("".join(traceback.format_exception(error))))
        where = f"the traceback is in {place}; report it with that file"
    except OSError as fault:
        where = f"the traceback could not be kept ({fault.strerror})"
    _complain(f"a bug in bakeoff ({reason}); results on disk are kept; {where}")
    return EXIT_BUG


def _complain(message: str) -> None:
    from bakeoff.report.text.units import clean

    lines = [clean(line) for line in message.splitlines()]
    for line in lines[:1]:
        click.echo(f"error: {line}", err=True)
    for line in lines[1:]:
        click.echo(f"       {line}", err=True)
