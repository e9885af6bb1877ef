"""help: pages of the documentation on the terminal, and the help of each command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import click

from bakeoff.cli import output
from bakeoff.cli.main import cli, refuse_name
from bakeoff.errors import UserError
from bakeoff.install import find_checkout

# Page of each topic below docs/. The wheel holds them as pages/NAME.md; a checkout reads the page itself.
TOPICS: Mapping[str, str] = {
    "flags": "reference/flags.md",
    "exit-codes": "reference/exit-codes.md",
    "layouts": "layouts.md",
    "guarantees": "reference/guarantees.md",
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\([^)]+\)")


@click.command(short_help="Explain a command, or flags, exit codes, layouts or guarantees.")
@click.argument("topic", required=False)
@click.pass_context
def help_pages(ctx: click.Context, topic: str | None) -> int:
    """Show the page of TOPIC: flags, exit-codes, layouts, guarantees, a command, or one flag by its name."""
    from bakeoff.core.validity.flags import FLAGS

    root = ctx.find_root()
    command = cli.get_command(root, topic) if topic else None
    if topic is None:
        click.echo(root.get_help())
        click.echo(f"\nTopics: {', '.join(TOPICS)}, a command, or the name of a flag.")
    elif topic in TOPICS:
        _show_page(read_page(topic))
    elif command is not None:
        click.echo(command.get_help(click.Context(command, parent=root, info_name=topic)))
    elif topic in FLAGS:
        flag = FLAGS[topic]
        click.echo(
            f"{flag.name}\n  raised when  {flag.raised_when}\n  meaning      {flag.meaning}\n"
            f"  what to do   {flag.fix}"
        )
    else:
        names = [*TOPICS, *cli.list_commands(root), *FLAGS]
        refuse_name(ctx, "topic", topic, names, f"{', '.join(TOPICS)}, a command, or the name of a flag")
    return 0


def read_page(topic: str) -> str:
    """Read the page of a topic, from the package or from the checkout that it runs from.

    Raises:
        UserError: Neither holds it.
    """
    packaged = files("bakeoff").joinpath("pages", Path(TOPICS[topic]).name)
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    checkout = find_checkout()
    page = checkout / "docs" / TOPICS[topic] if checkout else None
    if page is None or not page.is_file():
        raise UserError(f"help {topic}: this installation does not hold the page; install bakeoff again")
    return page.read_text(encoding="utf-8")


def _show_page(text: str) -> None:
    """Show a page; a link is its words alone, since its target is not here."""
    from rich.markdown import Markdown

    output.show(Markdown(_LINK.sub(r"\1", text), hyperlinks=False))
