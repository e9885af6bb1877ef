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
# Child processes run in a folder of their own; this names the folders in which theirs and our code lies.
CODE_PATH_VARIABLE = "BAKEOFF_CODE_PATH"
_added: set[str] = set()


def load_function(reference: str, place: str) -> Callable[..., Any]:
    """Import a function, from an installed package or from the folder in which bakeoff was started.

    Args:
        reference: ``package.module:function``.
        place: Setting that names it, for messages.

    Raises:
        ConfigError: It cannot be imported, or is not callable.
    """
    module, _, name = reference.partition(":")
    find_user_code()
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
    find_user_code()
    try:
        spec = importlib.util.find_spec(module)
    except Exception as error:  # a parent package may run any code
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise ConfigError([f"{place}: {module!r} cannot be found: {reason}"]) from error
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        fix = "name a module that is installed, or that lies in the folder in which you start bakeoff"
        raise ConfigError([f"{place}: found no module {module!r}; {fix}"])
    return digest_file(Path(spec.origin))


def find_user_code() -> None:
    """Search the folders with the user's code too, from now on.

    They come last: a ``random.py`` of the user must replace neither the standard library's nor an installed
    package, for everything else that this process imports.
    """
    folders = [str(folder) for folder in list_code_folders()]
    left = _added.difference(folders)  # the working folder has changed
    _added.difference_update(left)
    sys.path[:] = [folder for folder in sys.path if folder not in left]
    missing = [folder for folder in folders if folder not in sys.path and os.path.isdir(folder)]  # noqa: PTH112
    _added.update(missing)
    sys.path += missing
    if missing:
        importlib.invalidate_caches()


def list_code_folders() -> list[Path]:
    """List the folders with the user's code: the one in which bakeoff was started."""
    named = os.environ.get(CODE_PATH_VARIABLE)
    return [Path(folder) for folder in named.split(os.pathsep)] if named else [Path.cwd()]
