"""Options that commands share, and the default configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from bakeoff.cli.output import PrintedDocument

Function = TypeVar("Function", bound=Callable[..., Any])

DEFAULT_CONFIGS = ("config", "bakeoff.yaml")

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="Configuration folder or file [config, bakeoff.yaml].",
)
overrides_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one setting; repeat for several."
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print no progress on stderr.")
offline_option = click.option(
    "--offline", is_flag=True, help="Use only this disk and the last selection of champions."
)


class JsonOption(click.Option):
    """Option ``--json``, which knows what it prints: the reference and the schemas are written from it.

    Args:
        document: Record of the document.
    """

    def __init__(self, *args: Any, document: type[PrintedDocument], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.document = document


def json_option(document: type[PrintedDocument]) -> Callable[[Function], Function]:
    """Give a command the option ``--json``, which prints this document."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        cls=JsonOption,
        document=document,
        help="Print the result as a JSON document.",
    )


def find_config() -> Path:
    """Find the default configuration: the first default place that exists."""
    return next((path for name in DEFAULT_CONFIGS if (path := Path(name)).exists()), Path(DEFAULT_CONFIGS[0]))
