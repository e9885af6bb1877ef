"""Command line: argv -> one stage -> exit code."""

from bakeoff.cli.main import main

__all__ = ["main"]
