"""Functions of the user, named as ``package.module:function``; only code that the user trusts is imported."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bakeoff.disk.digest import digest_file
from bakeoff.errors import ConfigError

FUNCTION = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"


def load_function(reference: str, place: str) -> Callable[..., Any]:
    """Import a function, from an installed package or from the folder in which bakeoff was started.

    Args:
        reference: ``package.module:function``.
        place: Setting that names it, for messages.

    Raises:
        ConfigError: It cannot be imported, or is not callable.
    """
    module, _, name = reference.partition(":")
    _look_here()
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # code of the user: any error becomes one line
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise ConfigError([f"{place}: {reference!r} cannot be imported: {reason}"]) from error
    if not callable(found):
        raise ConfigError([f"{place}: {reference!r} is a {type(found).__name__}; name a function"])
    function: Callable[..., Any] = found
    return function


def digest_source(reference: str, place: str) -> str:
    """Return the digest of the file that defines a function.

    Raises:
        ConfigError: The module does not exist, or has no source file.
    """
    module = reference.partition(":")[0]
    _look_here()
    try:
        spec = importlib.util.find_spec(module)
    except Exception as error:  # a parent package may run any code
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise ConfigError([f"{place}: {module!r} cannot be found: {reason}"]) from error
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        fix = "name a module that is installed, or that lies in the folder in which you start bakeoff"
        raise ConfigError([f"{place}: found no module {module!r}; {fix}"])
    return digest_file(Path(spec.origin))


def _look_here() -> None:
    """Look for modules in the present folder too, as ``python -m`` does."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path and os.path.isdir(here):  # noqa: PTH112
        sys.path.insert(0, here)
        importlib.invalidate_caches()
