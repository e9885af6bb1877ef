"""The options that commands share, and the configuration that is taken where none is named."""

from __future__ import annotations

from pathlib import Path

import click

DEFAULT_CONFIGS = ("config", "bakeoff.yaml")

config_option = click.option(
    "-c", "--config", type=click.Path(path_type=Path), help="Folder or file [config, bakeoff.yaml]."
)
overrides_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one setting."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print a JSON document.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
offline_option = click.option(
    "--offline", is_flag=True, help="Ask this disk alone, and the last selection of champions."
)


def find_config() -> Path:
    """The configuration where none is named: the first of the default places that is there."""
    return next((path for name in DEFAULT_CONFIGS if (path := Path(name)).exists()), Path(DEFAULT_CONFIGS[0]))
