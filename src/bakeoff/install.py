"""The command that installs an optional part of bakeoff into the environment at hand.

No package index has bakeoff yet. So the command names the checkout or the wheel that this copy came from.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

# The one switch: True makes every command install from the package index.
PUBLISHED = False
# On Linux the package index has torch with CUDA, which is gigabytes. Here is the build for the CPU.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_NAME = "bakeoff"
_WITH_TORCH = frozenset({"torch", "demo", "dev"})
_DRIVER = Path("/proc/driver/nvidia")


def install_command(*extras: str) -> str:
    """Return the pip command that adds extras to this installation; a shell takes it as it is.

    Without an NVIDIA driver it names the CPU build of torch, if an extra needs torch.
    """
    wanted = f"[{','.join(extras)}]" if extras else ""
    words = ["pip", "install", *_name_source(wanted)]
    if _WITH_TORCH.intersection(extras) and _gets_cuda_in_vain():
        words += ["--extra-index-url", TORCH_CPU_INDEX]
    return shlex.join(words)


def find_checkout() -> Path | None:
    """Find the checkout that this copy of bakeoff runs from, or None."""
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() and (root / "src" / _NAME).is_dir() else None


def _name_source(wanted: str) -> list[str]:
    checkout = find_checkout()
    if checkout is not None:
        return ["-e", f"{checkout}{wanted}"]
    origin = None if PUBLISHED else _find_origin()
    return [f"{_NAME}{wanted}" if origin is None else f"{_NAME}{wanted} @ {origin}"]


def _find_origin() -> str | None:
    """Find the URL that pip installed bakeoff from; None if it came by its name from an index."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = json.loads(distribution(_NAME).read_text("direct_url.json") or "null")
    except (PackageNotFoundError, ValueError):
        return None
    if not isinstance(found, dict) or not isinstance(url := found.get("url"), str):
        return None
    source = found.get("vcs_info")
    return f"{source['vcs']}+{url}@{source['commit_id']}" if isinstance(source, dict) else url


def _gets_cuda_in_vain() -> bool:
    return sys.platform == "linux" and not _DRIVER.exists() and shutil.which("nvidia-smi") is None
