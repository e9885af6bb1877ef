"""Memory of this process and energy of the machine, by the kernel's own counters."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"
_POWERCAP = Path("/sys/class/powercap")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_KIB = 1024
# Used if no cache reports its size.
_ASSUMED_CACHE_BYTES = 32 * _KIB * _KIB
# Twice the largest cache replaces all of its content.
_FLUSH_FACTOR = 2


class CacheFlush:
    """Buffer of twice the largest CPU cache; writing it leaves the next call nothing of its own."""

    def __init__(self) -> None:
        size = _FLUSH_FACTOR * max([*read_cache_bytes().values(), 0]) or _FLUSH_FACTOR * _ASSUMED_CACHE_BYTES
        self._buffer = np.zeros(size // 8, dtype=np.int64)

    @property
    def size_bytes(self) -> int:
        """Size of the buffer, in bytes."""
        return int(self._buffer.nbytes)

    def __call__(self) -> None:
        """Write every word of the buffer."""
        self._buffer += 1


def read_cache_bytes() -> dict[str, int]:
    """Return the size of each cache of the first CPU in bytes, by name such as ``L2``; empty if unknown."""
    found: dict[str, int] = {}
    for folder in sorted(_CACHES.glob("index*")):
        with suppress(OSError, ValueError):
            level, kind, size = (
                (folder / name).read_text(encoding="ascii").strip() for name in ("level", "type", "size")
            )
            letter = {"Data": "d", "Instruction": "i"}.get(kind, "")
            found[f"L{level}{letter}"] = int(size.removesuffix("K")) * _KIB
    return found


def read_peak_bytes() -> int:
    """Return this process's peak resident memory in bytes since its start or ``reset_peak``; 0 if unknown."""
    return _read_status("VmHWM:")


def read_resident_bytes() -> int:
    """Return this process's current resident memory in bytes; 0 if unknown."""
    return _read_status("VmRSS:")


def reset_peak() -> None:
    """Start the peak again; without the right to do so it stays as it was, an upper bound."""
    with suppress(OSError):
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")


def read_energy_uj(powercap: Path = _POWERCAP) -> int | None:
    """Return the energy counters of all CPU packages together, in µJ; None if missing or unreadable.

    It is never an estimate from a nominal power.

    Args:
        powercap: Folder of the counters.
    """
    total: int | None = None
    for zone in sorted(powercap.glob("intel-rapl:[0-9]*")):
        try:
            # The folder also lists parts of packages, and on some machines the platform that holds them all.
            if (zone / "name").read_text(encoding="ascii").startswith("package"):
                total = (total or 0) + int((zone / "energy_uj").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
    return total


def _read_status(name: str) -> int:
    with suppress(OSError, ValueError, IndexError):
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * _KIB
    return 0
