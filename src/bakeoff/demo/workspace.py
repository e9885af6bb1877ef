"""The demo's project folder: configuration, text and backbones."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from bakeoff.demo.backbones import LAYERS, make_backbone
from bakeoff.disk import durable

CONFIG_FOLDER = "config"


def make_workspace(folder: Path) -> Path:
    """Make a project folder for the demo; keep files that are already there.

    Args:
        folder: Project folder.

    Returns:
        Its configuration folder.

    Raises:
        MissingExtraError: The package with the weights is not installed.
    """
    here = files("bakeoff.demo")
    for part in (CONFIG_FOLDER, "data"):
        for entry in sorted(here.joinpath(part).iterdir(), key=lambda entry: entry.name):
            target = folder / part / entry.name
            if entry.is_file() and not target.exists():
                durable.write_bytes(target, entry.read_bytes())
    for name in LAYERS:
        make_backbone(name, folder / "backbones" / name)
    return folder / CONFIG_FOLDER
