"""Load a layout by its name or from a file of the user's."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from bakeoff.core.config.parse import parse_document
from bakeoff.errors import ConfigError
from bakeoff.stores.layouts.layout import Layout

OWN_LAYOUT = "bakeoff"
BUILT_IN = (OWN_LAYOUT, "code", "optuna", "huggingface", "ray")
_SUFFIXES = (".yaml", ".yml")


def load_layout(name: str, root: Path) -> Layout:
    """Load a layout.

    Args:
        name: Of a built-in layout, or the path of a YAML file.
        root: A relative path is taken from here.

    Raises:
        ConfigError: There is no such layout, or the file is none.
    """
    if name in BUILT_IN:
        return _read(
            f"layout {name}", files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
        )
    path = root / name
    if path.suffix not in _SUFFIXES:
        raise ConfigError(
            [f"tracking.layout: found {name!r}; expected {', '.join(BUILT_IN)}, or the path of a YAML file"]
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"tracking.layout: {path} cannot be read: {error}"]) from error
    return _read(str(path), text)


def _read(file: str, text: str) -> Layout:
    return parse_document(Layout, file, text)
