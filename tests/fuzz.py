"""Look for input that a reader neither reads nor refuses, guided by coverage.

The properties are those of test_fuzzing.py. ``python tests/fuzz.py [--seconds N] [PART OF A NAME ...]`` needs
``pip install atheris``, which has wheels for Python 3.11 to 3.13. Each property runs in a process of its own,
since libFuzzer ends its process.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

MODULE = "unit.test_fuzzing"
MOST_BYTES = 4096
# Changes begin with these, as they are and with their digests.
WHOLE = ("CONFIG", "OUTCOME", "DECISION", "ATTEMPT", "MODEL_CONFIG", "INDEX", "HEADER")


def list_properties() -> list[str]:
    """List the names of the properties whose input is text or bytes."""
    module = importlib.import_module(MODULE)
    names = [name for name in vars(module) if name.startswith("test_")]
    return [name for name in names if set(_find_inputs(module, name).values()) <= {"Path", "str", "bytes"}]


def _find_inputs(module: ModuleType, name: str) -> dict[str, str]:
    """Return the types of a property's arguments by name."""
    parameters = inspect.signature(getattr(module, name).hypothesis.inner_test).parameters
    return {each.name: str(each.annotation) for each in parameters.values()}


def fuzz(name: str, seconds: float, folder: Path) -> None:
    """Fuzz one property until the time is over or it fails; then this process ends.

    Args:
        name: Name of the property.
        seconds: Time.
        folder: New folder, in which it may write.
    """
    import atheris

    with atheris.instrument_imports(include=["bakeoff"]):
        module = importlib.import_module(MODULE)
    check = getattr(module, name).hypothesis.inner_test
    inputs = _find_inputs(module, name)
    last = [place for place, kind in inputs.items() if kind != "Path"][-1]

    def run(data: bytes) -> None:
        source = atheris.FuzzedDataProvider(data)
        arguments: dict[str, Any] = {}
        for place, kind in inputs.items():
            if kind == "Path":
                arguments[place] = folder
                continue
            is_last = place == last  # it gets all, so that whole documents stay whole
            size = source.remaining_bytes() if is_last else source.ConsumeIntInRange(0, MOST_BYTES)
            part = source.ConsumeBytes(size)
            arguments[place] = part.decode(errors="surrogateescape") if kind == "str" else part
        with suppress(UnicodeEncodeError):  # a lone surrogate is in no file
            check(**arguments)

    corpus = folder / "corpus"
    corpus.mkdir()
    for number, document in enumerate(_list_documents(module)):
        (corpus / str(number)).write_bytes(document)
    options = (
        f"-max_total_time={seconds:g}",
        f"-max_len={MOST_BYTES}",
        "-timeout=60",
        "-print_final_stats=1",
    )
    atheris.Setup([sys.argv[0], str(corpus), *options], run)
    atheris.Fuzz()


def _list_documents(module: ModuleType) -> Iterator[bytes]:
    for value in (getattr(module, name) for name in WHOLE):
        yield module.write(value)
        yield module.seal(value)


def main() -> int:
    """Fuzz each property for some time; the exit code is 1 if one found a fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help="parts of the names of properties [all]")
    parser.add_argument("--seconds", type=float, default=60.0, help="time for each [60]")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside is not None:
        fuzz(chosen.parts[0], chosen.seconds, chosen.inside)
        return 0
    names = [name for name in list_properties() if not chosen.parts or any(map(name.count, chosen.parts))]
    return max([_fuzz_in_process(name, chosen.seconds) for name in names], default=0)


def _fuzz_in_process(name: str, seconds: float) -> int:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        command = [sys.executable, __file__, name, "--seconds", str(seconds), "--inside", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    lines = done.stderr.splitlines()
    counts = [line.split()[-1] for line in lines if "number_of_executed_units" in line]
    print(
        f"{name}: {''.join(counts) or '?'} inputs, {'a fault' if done.returncode else 'no fault'}", flush=True
    )
    if done.returncode:
        print("\n".join(lines[-30:]), flush=True)
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
