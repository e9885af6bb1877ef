"""Needs of a runtime on this machine: optional libraries, and instructions of the CPU."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from bakeoff.errors import MissingExtraError, UnsupportedRuntimeError

# Arithmetic on bfloat16 in hardware: AVX-512 or AMX on x86, its own flag on Arm. Without one of them,
# libraries convert to and from fp32. That is slower than fp32, and would be measured under the wrong name.
BF16_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")
ABSENT = "n/a"
_CPUINFO = Path("/proc/cpuinfo")


def require_libraries(part: str, *, extra: str, libraries: tuple[str, ...]) -> None:
    """Refuse to go on without these libraries; the error names the first missing one. Import nothing."""
    for name in libraries:
        if not _is_installed(name):
            raise MissingExtraError(part, library=name, extra=extra)


def require_bf16(label: str, cpuinfo: Path = _CPUINFO) -> None:
    """Refuse bfloat16 on a CPU that does not compute in it.

    Args:
        label: Label of the runtime.
        cpuinfo: File in which Linux lists the CPU's flags.

    Raises:
        UnsupportedRuntimeError: None of ``BF16_FLAGS`` is listed, or the system lists no flags at all.
    """
    needs = f"a CPU with one of the flags {', '.join(BF16_FLAGS)}"
    fix = "use precision: fp32, or bench on a machine with one of these flags"
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        raise UnsupportedRuntimeError(label, needs=needs, found=f"no {cpuinfo}", fix=fix) from None
    flags = {
        flag
        for line in lines
        if line.startswith(("flags", "Features"))  # x86, Arm
        for flag in line.partition(":")[2].split()
    }
    if not flags.intersection(BF16_FLAGS):
        raise UnsupportedRuntimeError(label, needs=needs, found=f"none of them in {cpuinfo}", fix=fix)


def library_versions(*names: str) -> dict[str, str]:
    """Return the installed version of each distribution, or ``n/a``."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ABSENT
    return found


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # an import hook forbids it, or a half-made module has that name
        return False


@contextmanager
def importing() -> Iterator[None]:
    """Pause garbage collection: imports make thousands of modules, and none of them is garbage.

    It saves a fifth of the time that PyTorch and transformers take. Imports with a reported time run without
    it, since yours do too.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
