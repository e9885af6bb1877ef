"""completion: the script with which a shell completes commands and options."""

from __future__ import annotations

import click

SHELLS = ("bash", "zsh", "fish")
_PROGRAM, _VARIABLE = "bakeoff", "_BAKEOFF_COMPLETE"


@click.command(short_help="Print the script that completes commands in your shell.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print the completion script of SHELL.

    \b
    bash: echo 'eval "$(bakeoff completion bash)"' >> ~/.bashrc
    zsh:  echo 'eval "$(bakeoff completion zsh)"' >> ~/.zshrc
    fish: bakeoff completion fish > ~/.config/fish/completions/bakeoff.fish

    Start a new shell afterwards.
    """  # noqa: D301 - the control character keeps the lines unwrapped
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise LookupError(shell)
    click.echo(kind(ctx.find_root().command, {}, _PROGRAM, _VARIABLE).source())
    return 0
