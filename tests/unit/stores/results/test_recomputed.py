"""What is told of a heat is what its stored raw samples say, reckoned in another way."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff.core.job import Job
from bakeoff.core.records import Flag, HeatFacts, Measurement
from bakeoff.measure.backends import OnnxRuntime, Torch
from bakeoff.measure.heats.assemble import assemble_readings
from bakeoff.measure.heats.records import Heat
from bakeoff.measure.heats.run import run_heat
from bakeoff.stores.results.store import ResultStore
from reckoning import Raw, reckon_interval, reckon_ratio, reckon_verdict

from ...measure.simulated_heats import Simulated, World, make_protocol

Told = tuple[dict[str, Any], list[Path]]
# The instrument leaves out of its grid what weighs next to nothing; the reckoning takes the whole of it.
NEGLECTED = 1e-3


@pytest.fixture
def tell(
    tmp_path: Path, make_job: Callable[..., Job], make_measurement: Callable[..., Measurement]
) -> Callable[..., Told]:
    """Store a heat of two candidates; what is told of the second, and where the attempts of both lie."""

    def store(heat: Heat, *, threads: int = 2, flags: tuple[Flag, ...] = ()) -> Told:
        runtimes: dict[str, Torch | OnnxRuntime] = {
            "a": Torch(threads=threads),
            "b": OnnxRuntime(threads=threads),
        }
        jobs = {name: make_job(runtime=runtime) for name, runtime in runtimes.items()}
        facts = HeatFacts(
            heat_id="1" * 64,
            reference_key=jobs["a"].key,
            reference=jobs["a"].candidate,
            candidates=tuple(runtime.label for runtime in runtimes.values()),
            threads=(threads, threads),
            repeats=len(heat.repeats),
            is_resident=True,
            stopped=heat.stopped,
            wall_s=1.0,
        )
        results = ResultStore(tmp_path)
        measured = [
            make_measurement(job, *assemble_readings(heat, name), heat=facts, flags=flags)
            for name, job in jobs.items()
        ]
        paths = [results.store(each) for each in measured]
        # What is told is made of what was stored, not of what is in memory.
        loaded = [results.load(job.key, 1) for job in jobs.values()]
        path = results.write_champion([each for each in loaded if isinstance(each, Measurement)])
        document = json.loads(path.read_text(encoding="utf-8"))
        return document["runtimes"]["onnxruntime-fp32"]["batch_1"], paths

    return store


def hold(ratio: float, *, seed: int = 0, **changes: Any) -> Heat:
    """A heat of five processes of two candidates, of which one round in each was disturbed."""
    world = World(seed=seed)
    values: dict[str, Any] = {"process_effect": 0.01, "is_disturbed": lambda _, block: block == 1} | changes
    return run_heat(
        [Simulated(world, "a", **values), Simulated(world, "b", call_ns=ratio * 1e6, **values)],
        make_protocol(min_repeats=5, max_repeats=5, min_calls=20, max_calls=20),
        now_s=world.now_s,
    )


@pytest.mark.parametrize(
    ("ratio", "changes", "verdict"),
    [
        (1.2, {}, "slower"),
        (0.8, {}, "faster"),
        (1.0, {"process_effect": 0.0}, "equivalent"),
        (1.0, {"process_effect": 0.1}, "inconclusive"),
        (1.2, {"is_disturbed": lambda *_: True}, "slower"),
    ],
)
def test_intervals_ratios_and_verdicts_are_those_of_the_stored_samples(
    tell: Callable[..., Told], ratio: float, changes: dict[str, Any], verdict: str
) -> None:
    told, paths = tell(hold(ratio, **changes))
    first, latency = (Raw(path, "latency", 1) for path in paths)
    reference = Raw(paths[1], "reference", 1)
    counted = latency.wall[latency.counted]
    assert told["n"] == counted.size == 5 * 4 * 20
    assert told["median_ms"] == pytest.approx(float(np.median(counted)) / 1e6, rel=1e-12)
    for name, p in (("median", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
        expected = reckon_interval(latency, p, [first, latency])
        assert is_alike(told[f"{name}_interval_ms"], told[f"{name}_ms"], [each / 1e6 for each in expected])
    middle, *ends = reckon_ratio(latency, reference, [(latency, first)])
    assert told["ratio_to_reference"] == pytest.approx(middle, rel=1e-9)
    assert is_alike(told["ratio_interval"], middle, ends)
    assert told["verdict"] == reckon_verdict(*ends) == verdict


def is_alike(told: Sequence[float], value: float, expected: Sequence[float]) -> bool:
    """Whether both ends lie as far from the value as they must."""
    return [math.log(end / value) for end in told] == pytest.approx(
        [math.log(end / value) for end in expected], rel=NEGLECTED
    )


def test_a_process_of_dirty_rounds_is_in_ratios_and_not_in_times(
    tell: Callable[..., Told],
) -> None:
    told, paths = tell(hold(1.2, is_disturbed=lambda repeat, _: repeat == 1))
    first, latency = (Raw(path, "latency", 1) for path in paths)
    # A sixth process was run in its place.
    assert {*latency.repeats[latency.counted].tolist()} == {0, 2, 3, 4, 5}
    assert {*latency.repeats[latency.paired].tolist()} == {0, 1, 2, 3, 4, 5}
    assert told["n"] == 5 * 4 * 20
    assert latency.is_thinned
    expected = [each / 1e6 for each in reckon_interval(latency, 0.5, [first, latency])]
    assert is_alike(told["median_interval_ms"], told["median_ms"], expected)
    middle, *ends = reckon_ratio(latency, Raw(paths[1], "reference", 1), [(latency, first)])
    assert told["ratio_to_reference"] == pytest.approx(middle, rel=1e-9)
    assert is_alike(told["ratio_interval"], middle, ends)


def test_without_any_effect_of_processes_the_order_statistics_bound_the_median(
    tell: Callable[..., Told],
) -> None:
    """The other of the two intervals that are united; of several heats it is the wider one in some."""
    n_wider = 0
    for seed in range(8):
        told, paths = tell(hold(1.0, seed=seed, process_effect=0.0, noise=0.3))
        first, latency = (Raw(path, "latency", 1) for path in paths)
        low, high = reckon_interval(latency, 0.5, [first, latency])
        assert is_alike(told["median_interval_ms"], told["median_ms"], [low / 1e6, high / 1e6])
        n_wider += low in latency.wall or high in latency.wall
    assert n_wider > 0


def test_spreads_of_a_heat_are_stored_and_loaded_as_they_were(
    tmp_path: Path, make_job: Callable[..., Job], make_measurement: Callable[..., Measurement]
) -> None:
    job, results = make_job(), ResultStore(tmp_path)
    results.store(make_measurement(job, *assemble_readings(hold(1.2), "b")))
    (kept,) = assemble_readings(hold(1.2), "b")[:1]
    loaded = results.load(job.key, 1)
    assert isinstance(loaded, Measurement)
    found = loaded.reading("latency", batch_size=1)
    assert found is not None
    assert found.spreads == kept.spreads
    assert {(each.of, each.quantile) for each in found.spreads} == {
        *((of, p) for of in ("time", "ratio") for p in (0.5, 0.9, 0.95, 0.99)),
        ("ratio of CPU time", 0.5),
    }
    # To the last bit, so that an interval that is read again is the one that was told.
    assert found.quantile(0.9) == kept.quantile(0.9)
