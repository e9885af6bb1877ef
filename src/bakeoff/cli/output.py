"""Output of commands: results on stdout, progress on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import click
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from bakeoff.orchestrator.progress import Advance
from bakeoff.record import Record
from bakeoff.report.text.units import clean

MIN_WIDTH = 100


class PrintedDocument(Record):
    """JSON document that a command prints; ``bakeoff/schemas/output`` holds the schema of each.

    Attributes:
        format_version: Version of the form of these documents.
    """

    format_version: Literal[2] = 2


class StderrProgress:
    """Bars on a terminal, plain lines elsewhere; with ``--quiet`` nothing.

    Warnings do not pass through here: the command line prints those of the ``bakeoff`` logger.

    Args:
        is_quiet: Whether to print nothing.
    """

    def __init__(self, is_quiet: bool = False) -> None:
        self._is_quiet = is_quiet
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """Print one line."""
        if not self._is_quiet:
            self._console.print(clean(line))

    @contextmanager
    def track(self, what: str, total: int) -> Iterator[Advance]:
        """Draw a bar on a terminal; print a line a step elsewhere."""
        if self._is_quiet:
            yield lambda _: None
        elif self._console.is_terminal:
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[step]}", markup=False),
            )
            # A thread that redraws by itself would run alongside the measurement.
            with Progress(*columns, console=self._console, transient=True, auto_refresh=False) as bars:
                task = bars.add_task(what, total=total, step="")
                bars.refresh()
                yield lambda step: bars.update(task, advance=1, step=clean(step), refresh=True)
        else:
            yield self._count(what, total)

    def _count(self, what: str, total: int) -> Advance:
        begin, done = time.monotonic(), 0

        def advance(step: str) -> None:
            nonlocal done
            done += 1
            self._console.print(f"{what} {done}/{total} {clean(step)} ({time.monotonic() - begin:.0f} s)")

        return advance


def show(renderable: RenderableType) -> None:
    """Print a result on stdout; a pipe gets no colour and at least 100 columns.

    Nothing is cropped: an id that is wider than the terminal stays whole.
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, MIN_WIDTH))
    console.print(renderable, crop=False)


def show_json(document: PrintedDocument) -> None:
    """Print a JSON document on stdout."""
    fields = document.model_dump(mode="json")
    click.echo(json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False))
