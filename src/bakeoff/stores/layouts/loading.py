"""Load a layout by name, or from the user's own file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from bakeoff.core.config.parse import parse_document
from bakeoff.core.config.yaml_values import MAX_CHARS
from bakeoff.disk.inputs import read_regular, refuse_escape
from bakeoff.errors import ConfigError
from bakeoff.stores.layouts.layout import Layout

OWN_LAYOUT = "bakeoff"
BUILT_IN = (OWN_LAYOUT, "code", "optuna", "huggingface", "ray")
_SUFFIXES = (".yaml", ".yml")


def load_layout(name: str, root: Path) -> Layout:
    """Load a layout.

    Args:
        name: Name of a built-in layout, or path of a YAML file.
        root: Folder that a relative path starts from.

    Raises:
        ConfigError: The layout does not exist, or its file is not valid.
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
        refuse_escape(path, root)
        text = read_regular(path, MAX_CHARS).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"tracking.layout: {path} cannot be read: {error}"]) from error
    return _read(str(path), text)


def _read(file: str, text: str) -> Layout:
    return parse_document(Layout, file, text)
