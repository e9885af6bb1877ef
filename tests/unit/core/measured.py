"""Whole measurements with known causes: how fast, on what machine, beside whom, how good."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bakeoff.core.job import Environment, Job
from bakeoff.core.records import Flag, HeatFacts, Measurement
from bakeoff.disk.digest import digest_json
from bakeoff.measure.backends import Noop
from bakeoff.measure.scenarios import Latency
from bakeoff.measure.statistics.readings import COUNTED, Reading
from unit.models import as_quality
from unit.outcomes import count_entities

N_REPEATS, N_ROUNDS, N_CALLS = 5, 10, 10
SHAPE = (N_REPEATS, N_ROUNDS, N_CALLS)
REFERENCE_MS = 10.0


def wander(heat: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How slow the machine is in each round of a heat: it doubles its times within minutes."""
    steps = np.random.default_rng(heat).normal(0, 0.2, N_REPEATS * N_ROUNDS)
    return np.exp(np.cumsum(steps)).reshape(N_REPEATS, N_ROUNDS, 1)


def calls(quantity: str, ms: float, *, seed: int, heat: int | None, cpu_ms: float | None = None) -> Reading:
    """Timed calls; with a heat the machine wanders while they are made, without one it holds still."""
    noise = np.random.default_rng(seed).normal(0, 0.02, SHAPE)
    wall_ns = ms * 1e6 * (1.0 if heat is None else wander(heat)) * np.exp(noise)
    repeats, rounds, _ = np.indices(SHAPE)
    return Reading(
        quantity=quantity,
        unit="ns",
        at={"batch_size": 1},
        values=tuple(wall_ns.ravel().tolist()),
        repeats=tuple(repeats.ravel().tolist()),
        columns={
            "round": tuple(rounds.ravel().tolist()),
            "left_out": (COUNTED,) * wall_ns.size,
            "calls_per_sample": (1,) * wall_ns.size,
            "n_documents": (1,) * wall_ns.size,
            "cpu_ns": tuple((1e6 * (cpu_ms or ms) * np.exp(noise)).astype(int).ravel().tolist()),
        },
    )


def entities(hits: Callable[[int], int], n_documents: int = 50) -> Reading:
    """Entity counts: of four entities in each document, how many were found."""
    return count_entities([hits(number) for number in range(n_documents)], 4)


class Bench:
    """Makes measurements of one machine.

    Args:
        make_job: The fixture of that name.
        make_environment: The fixture of that name.
    """

    def __init__(self, make_job: Callable[..., Job], make_environment: Callable[..., Environment]) -> None:
        self._make_job = make_job
        self._make_environment = make_environment

    def job(self, name: str, **changes: Any) -> Job:
        values = {
            "backbone": name,
            "champion_run_id": digest_json(name)[:32],
            "runtime": Noop(threads=2),
            "scenario": Latency(),
        }
        return self._make_job(**values | changes)

    def latency(
        self,
        name: str,
        ms: float,
        *,
        seed: int = 1,
        heat: int = 0,
        reference: str = "reference",
        libraries: Mapping[str, str] | None = None,
        flags: tuple[Flag, ...] = (),
        calibration_ns: tuple[float, ...] = (),
        core_to_core_ns: tuple[float, ...] = (),
        threads: tuple[int, ...] = (),
        attempt: int = 1,
        **changes: Any,
    ) -> Measurement:
        """A latency measurement in a heat, with the reference's calls of the same rounds beside."""
        job = self.job(name, **changes)
        own = [calls("latency", ms, seed=seed, heat=heat)]
        if name != reference:
            own.append(calls("reference", REFERENCE_MS, seed=1000 + heat, heat=heat))
        return Measurement(
            job=job,
            attempt=attempt,
            measured_at=f"2026-01-0{attempt}T00:00:00+00:00",
            environment=self._make_environment(**(libraries or {})),
            heat=HeatFacts(
                heat_id=f"heat {heat}",
                reference_key=self.job(reference).key,
                reference=reference,
                candidates=(reference, name),
                threads=threads,
                repeats=N_REPEATS,
                is_resident=True,
                stopped="targets",
                wall_s=1.0,
                calibration_ns=calibration_ns,
                core_to_core_ns=core_to_core_ns,
            ),
            readings=tuple(own),
            flags=flags,
            wall_s=1.0,
            timed_s=1.0,
        )

    def quality(self, name: str, hits: Callable[[int], int], **changes: Any) -> Measurement:
        """A quality measurement of a token classification."""
        return self.outcomes(name, entities(hits), **changes)

    def outcomes(self, name: str, outcomes: Reading, **changes: Any) -> Measurement:
        """A quality measurement of any task."""
        job = as_quality(self.job(name), **changes)
        return Measurement(
            job=job,
            attempt=1,
            measured_at="2026-01-01T00:00:00+00:00",
            environment=self._make_environment(),
            readings=(outcomes,),
            flags=(),
            wall_s=1.0,
            timed_s=0.0,
        )
