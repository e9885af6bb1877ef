"""Options that commands share, and the default configuration."""

from __future__ import annotations

from pathlib import Path

import click

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
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as a JSON document.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print no progress on stderr.")
offline_option = click.option(
    "--offline", is_flag=True, help="Use only this disk and the last selection of champions."
)


def find_config() -> Path:
    """Find the default configuration: the first default place that exists."""
    return next((path for name in DEFAULT_CONFIGS if (path := Path(name)).exists()), Path(DEFAULT_CONFIGS[0]))
