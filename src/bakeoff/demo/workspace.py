"""The demo's project folders: configuration, text and backbones."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from bakeoff.demo.backbones import LAYERS, make_backbone
from bakeoff.disk import durable

CONFIG_FOLDER = "config"
INTENTS_FOLDER, INTENTS_CONFIG = "intents", "bakeoff.yaml"


def make_workspace(folder: Path) -> tuple[Path, Path]:
    """Make the project folders of both acts; keep files that are already there.

    Args:
        folder: Project folder of the first act; the second one's is in it.

    Returns:
        Configuration of the first act, a folder, and of the second one, a file.

    Raises:
        MissingExtraError: The package with the weights is not installed.
    """
    here = files("bakeoff.demo")
    for part in (CONFIG_FOLDER, "data", INTENTS_FOLDER):
        for entry in sorted(here.joinpath(part).iterdir(), key=lambda entry: entry.name):
            target = folder / part / entry.name
            if entry.is_file() and not target.exists():
                durable.write_bytes(target, entry.read_bytes())
    for name in LAYERS:
        make_backbone(name, folder / "backbones" / name)
    return folder / CONFIG_FOLDER, folder / INTENTS_FOLDER / INTENTS_CONFIG
