"""Result files in the old place and shape, and the callbacks that copy them to a drive."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from bakeoff.core.records import Champion
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_json
from bakeoff.disk.names import find_name_fault
from bakeoff.errors import ConfigError
from bakeoff.legacy.hashes import Config, compute_config_hash
from bakeoff.orchestrator.progress import warn
from bakeoff.record import Record

Drive = Callable[[Path], bool]

DEFAULT_FILE = "benchmark.json"
ORIGIN_FILE = "bakeoff.json"
_DIGITS = 8
_PLAIN = re.compile(r"[0-9A-Za-z]{8,}")
_FIGURES = ("mean_ms", "median_ms", "p95_ms", "p99_ms", "throughput_docs_per_sec")


class Origin(Record):
    """Measurements behind a file in the old place.

    Attributes:
        benchmark_keys: Keys of the measurements.
        result: bakeoff's own file with all the evidence.
    """

    format_version: int = 1
    benchmark_keys: tuple[str, ...]
    result: str


def locate(root_dir: Path, environment: str, champion: Champion, config: Config | None) -> Path:
    """Return the file of a champion in the old place.

    The run mode does not name the folder: it does not change what is measured.

    Raises:
        ConfigError: The environment or the file name is not a plain name.
    """
    section = (config or {}).get("output") or {}
    file = str(section.get("filename") or DEFAULT_FILE)
    for place, name in (("environment", str(environment)), ("output.filename", file)):
        if fault := find_name_fault(name):
            raise ConfigError([f"{place}: {fault}; use a plain name"])
    measured = {name: value for name, value in (config or {}).items() if name != "run"}
    return (
        root_dir / "outputs" / "benchmarking" / str(environment) / champion.backbone
        / f"study-{_shorten(champion.study_key_hash or champion.run_id)}"
        / f"trial-{_shorten(champion.trial_key_hash or champion.trial_run_id)}"
        / f"bench-{compute_config_hash(measured)[:_DIGITS]}"
        / file
    )  # fmt: skip


def write_file(result: Path, place: Path) -> None:
    """Write a result in the old shape, with a note of its origin next to it."""
    document = json.loads(result.read_bytes())
    shape = {
        name: {figure: value.get(figure) for figure in _FIGURES}
        for name, value in document.items()
        if name.startswith("batch_")
    }
    durable.write_json(place, shape | {name: document.get(name) for name in ("device", "timestamp")})
    origin = Origin(benchmark_keys=tuple(_list_keys(document["runtimes"])), result=str(result))
    durable.write_json(place.with_name(ORIGIN_FILE), origin.model_dump(mode="json"))


def read_origin(place: Path) -> Origin | None:
    """Read which measurements a file in the old place shows; None without file or note."""
    try:
        if not place.is_file():
            return None
        return Origin.model_validate_json(place.with_name(ORIGIN_FILE).read_bytes())
    except (OSError, ValueError):
        return None


def call_drive(drive: Drive, path: Path, action: str) -> bool:
    """Call a drive callback; warn if it fails."""
    try:
        is_done = bool(drive(path))
    except Exception as error:  # noqa: BLE001 - the caller's own code
        warn(f"{path}: could not {action}: {type(error).__name__}: {error}")
        return False
    if not is_done:
        warn(f"{path}: could not {action}: the callback returned False")
    return is_done


def _list_keys(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["benchmark_key"]] if "benchmark_key" in value else []
        return [*own, *(key for inner in value.values() for key in _list_keys(inner))]
    return [key for inner in value for key in _list_keys(inner)] if isinstance(value, list) else []


def _shorten(hash_text: str) -> str:
    """Return the first digits of a hash; one that is not plain, and could be a path, is digested first."""
    plain = hash_text if _PLAIN.fullmatch(hash_text) else digest_json(hash_text)
    return plain[:_DIGITS]
