"""Existing benchmarks, from the tracking store and the disk, compared with a job."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from bakeoff.core.identity import flatten
from bakeoff.core.job import Job
from bakeoff.disk.digest import canonical_json, digest_json
from bakeoff.measure.heats.protocol import PRESETS, TimingProtocol
from bakeoff.record import Record

BenchmarkState = Literal["valid", "invalid", "failed", "deleted", "superseded"]

_IN_WORDS = {
    "data_fingerprint": "other training data",
    "eval_fingerprint": "other evaluation",
    "inputs_digest": "other input texts",
    "checkpoint_digest": "other checkpoint",
    "key_version": "older key version",
    "protocol.until": "measured as a race so far, which stops once the decision is known",
}
# Without these three a record does not say what was timed; see docs/decisions/0002.
_ENOUGH = frozenset({"runtime.kind", "runtime.device", "scenario.batch_sizes"})
_OLDER_NAMES = {"backend": "runtime.kind", "runtime": "runtime.kind"}
STANDARD = "standard"
_PROTOCOL = "protocol"
_OLDER_PREFIXES = ("benchmark_", "benchmark.", "config.")


class ExistingBenchmark(Record):
    """A measurement or failed attempt that the tracking store or the disk knows.

    Attributes:
        key: Benchmark key; None if an older writer recorded none.
        parts: Parts of its identity by name, as ``Job.parts``; without a key, everything recorded.
        state: ``invalid`` was measured but does not count. ``failed`` has no numbers. ``deleted`` is a copy
            on disk whose run was deleted in the tracking store. ``superseded`` is sound, but another run
            counts for its key.
        reason: Why it does not count; empty if it is valid.
        run_id: Run in the tracking store; None if only the disk has it.
        on_disk: Whether this machine has the readings.
    """

    key: str | None
    champion_run_id: str
    parts: Mapping[str, str] = {}
    state: BenchmarkState
    attempt: int = 1
    reason: str = ""
    measured_at: str = ""
    run_id: str | None = None
    on_disk: bool = False


def agrees(recorded: Mapping[str, str], job: Job) -> bool:
    """Return whether the settings that an older writer recorded equal those of a job.

    They must name runtime, device and batch sizes. Each must equal its counterpart in the job's identity. A
    setting without counterpart does not agree: measuring again costs minutes, a wrong match costs the
    decision.
    """
    if not recorded:
        return False
    wanted = job.parts
    found: set[str] = set()
    for name, value in recorded.items():
        part = _find_part(name, wanted)
        if part is None:
            return False
        is_label = part == "runtime.kind" and value == job.runtime.label
        if not is_label and wanted[part] not in (value, _canonical(value)):
            return False
        found.add(part)
    return found >= _ENOUGH


def _find_part(name: str, parts: Mapping[str, str]) -> str | None:
    """Find the part that a name means: a whole dotted name, or a unique last step."""
    for prefix in _OLDER_PREFIXES:
        name = name.removeprefix(prefix)
    name = _OLDER_NAMES.get(name, name)
    if name in parts:
        return name
    same_end = [part for part in parts if part.endswith(f".{name}")]
    return same_end[0] if len(same_end) == 1 else None


def _canonical(value: str) -> str:
    """Return a recorded value as ``Job.parts`` writes it: older writers wrote words without quotes."""
    try:
        return canonical_json(json.loads(value)).decode()
    except (ValueError, RecursionError):
        return canonical_json(value).decode()


def find_nearest(job: Job, existing: Sequence[ExistingBenchmark]) -> ExistingBenchmark | None:
    """Find the benchmark of the same model that shares most parts with a job; of equals, the last attempt."""
    wanted = job.parts
    candidates = [
        benchmark
        for benchmark in existing
        if benchmark.champion_run_id == job.champion_run_id and benchmark.parts
    ]
    return min(
        candidates,
        key=lambda benchmark: (
            len(find_differences(wanted, benchmark.parts)),
            benchmark.key or "",
            -benchmark.attempt,
            benchmark.run_id or "",
        ),
        default=None,
    )


def find_differences(
    wanted: Mapping[str, str], found: Mapping[str, str]
) -> dict[str, tuple[str | None, str | None]]:
    """Find each part that differs, with the value found and the value wanted."""
    return {
        name: (found.get(name), wanted.get(name))
        for name in sorted(wanted.keys() | found.keys())
        if wanted.get(name) != found.get(name)
    }


def find_other_presets(job: Job, existing: Sequence[ExistingBenchmark]) -> list[str]:
    """Find protocol presets under which an otherwise equal job was measured."""
    presets = {
        name: flatten(TimingProtocol.model_validate({"preset": name}).model_dump(mode="json"), _PROTOCOL)
        for name in PRESETS
    }
    rest = {name: value for name, value in job.parts.items() if not name.startswith(f"{_PROTOCOL}.")}
    until = f"{_PROTOCOL}.until"
    return [
        preset
        for benchmark in existing
        if benchmark.state == "valid" and benchmark.champion_run_id == job.champion_run_id
        for preset, protocol in presets.items()
        if {name: value for name, value in benchmark.parts.items() if name != until} == rest | protocol
    ]


def describe_differences(job: Job, differences: Mapping[str, tuple[str | None, str | None]]) -> str:
    """Describe in one line how a job differs from a benchmark."""
    if "scenario.kind" in differences:
        return f"new scenario: {job.scenario.kind}"
    if "runtime.kind" in differences:
        return f"new runtime: {job.runtime.label}"
    lines: list[str] = []
    for name, (found, wanted) in differences.items():
        if name == "protocol.until" and wanted is not None:
            continue  # what was measured in full would serve a race, too
        if name.startswith("hardware."):
            line = "other hardware"
        elif name in _IN_WORDS:
            line = _IN_WORDS[name]
        else:
            leaf = name.rsplit(".", 1)[-1]
            line = f"config changed: {leaf} ({found or 'unset'} → {wanted or 'unset'})"
        if line not in lines:
            lines.append(line)
    return "; ".join(lines)


def invalid_attempts(existing: Sequence[ExistingBenchmark], key: str) -> frozenset[int]:
    """Return the numbers of attempts at a key that were measured and do not count as done."""
    return frozenset(each.attempt for each in existing if each.key == key and each.state == "invalid")


def sound_attempts(existing: Sequence[ExistingBenchmark], key: str) -> frozenset[int]:
    """Return the numbers of attempts at a key that count as measured, or did until another replaced them."""
    states = ("valid", "superseded")
    return frozenset(each.attempt for each in existing if each.key == key and each.state in states)


def valid_attempts(existing: Sequence[ExistingBenchmark], key: str) -> frozenset[int]:
    """Return the numbers of attempts at a key that count as measured."""
    return frozenset(each.attempt for each in existing if each.key == key and each.state == "valid")


def count_failed_or_invalid(existing: Sequence[ExistingBenchmark]) -> dict[str, int]:
    """Count attempts that failed or do not count, by key digest."""
    failed = {(each.key, each.attempt) for each in existing if each.state in ("invalid", "failed")}
    counts = Counter(key for key, _ in failed if key is not None)
    return {digest_json(key): count for key, count in counts.items()}
