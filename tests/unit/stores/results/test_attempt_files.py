"""Failed attempts on disk: with what was read before the failure, or without, as ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.core.job import Job
from bakeoff.core.records import FailedAttempt
from bakeoff.errors import DataError
from bakeoff.measure.statistics.readings import LATENCY, Reading
from bakeoff.stores.results.attempt_files import parse_attempt
from bakeoff.stores.results.store import ResultStore

READING = Reading(
    quantity=LATENCY,
    unit="ns",
    at={"batch_size": 1},
    values=(1.5, 2.5, 3.5),
    repeats=(0, 0, 1),
    columns={"round": (0, 1, 0)},
)


def fail(job: Job, *readings: Reading) -> FailedAttempt:
    return FailedAttempt(
        job=job, attempt=1, failed_at="2026-01-01T00:00:00+00:00", reason="died", detail="", readings=readings
    )


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path)


def test_what_was_read_before_a_failure_comes_back_whole(
    store: ResultStore, make_job: Callable[..., Job]
) -> None:
    failed = fail(make_job(), READING)
    store.store(failed)
    assert store.load(failed.job.key, 1) == failed
    assert [path.suffix for path in store.attempt_files(failed)] == [".json", ".npz"]
    (packed,) = store.list_packed()
    assert parse_attempt(packed.document, packed.arrays, "here") == failed
    (bare,) = store.list_attempts()
    assert isinstance(bare, FailedAttempt)
    (existing,) = store.list_existing([failed.job.champion_run_id])
    assert (existing.state, existing.reason) == ("failed", "died")
    assert store.load_valid(failed.job) is None


def test_a_failure_without_readings_is_written_as_ever(
    store: ResultStore, make_job: Callable[..., Job]
) -> None:
    failed = fail(make_job())
    path = store.store(failed)
    assert set(json.loads(path.read_text())) == {
        "format_version", "job", "attempt", "failed_at", "reason", "detail", "sha256",
    }  # fmt: skip
    assert store.attempt_files(failed) == [path]
    assert store.load(failed.job.key, 1) == failed


def test_readings_whose_raw_values_are_lost_are_no_attempt(
    store: ResultStore, make_job: Callable[..., Job]
) -> None:
    path = store.store(fail(make_job(), READING))
    path.with_suffix(".npz").unlink()
    with pytest.raises(DataError, match="found no raw values"):
        store.load(make_job().key, 1)
