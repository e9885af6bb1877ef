"""Memory and energy of this process, by the kernel's own counters."""

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
# Where no cache tells its size.
_ASSUMED_CACHE_BYTES = 32 * _KIB * _KIB
# Twice the largest cache leaves nothing in it of what was there.
_FLUSH_FACTOR = 2


class CacheFlush:
    """Overwrites a buffer of twice the largest cache of the CPU: the next call finds nothing of its own."""

    def __init__(self) -> None:
        size = _FLUSH_FACTOR * max([*read_cache_bytes().values(), 0]) or _FLUSH_FACTOR * _ASSUMED_CACHE_BYTES
        self._buffer = np.zeros(size // 8, dtype=np.int64)

    @property
    def size_bytes(self) -> int:
        """Of the buffer."""
        return int(self._buffer.nbytes)

    def __call__(self) -> None:
        """Write every word of it."""
        self._buffer += 1


def read_cache_bytes() -> dict[str, int]:
    """Size of each cache of the first CPU by its name, such as ``L2``; empty where nobody tells."""
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
    """Peak resident memory of this process since it began, or since ``reset_peak``; 0 where nobody counts."""
    return _read_status("VmHWM:")


def read_resident_bytes() -> int:
    """Resident memory of this process now; 0 where nobody counts."""
    return _read_status("VmRSS:")


def reset_peak() -> None:
    """Let the peak begin anew; without the right to do so it stays as it was, which is an upper bound."""
    with suppress(OSError):
        _CLEAR_REFS.write_text(_RESET_PEAK, encoding="ascii")


def read_energy_uj(powercap: Path = _POWERCAP) -> int | None:
    """Energy counters of all CPU packages together, in µJ; None where there are none or they are secret.

    Never an estimate from a nominal power.

    Args:
        powercap: Folder of the counters.
    """
    total: int | None = None
    for zone in sorted(powercap.glob("intel-rapl:[0-9]*")):
        try:
            # Beside the packages stand their parts, and on some machines the platform, which holds them all.
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
