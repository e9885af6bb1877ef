"""What is told of a heat is what its stored raw samples say, reckoned in another way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bakeoff.core.records import Flag, HeatFacts, Job, Measurement
from bakeoff.measure.assembly import assemble_readings
from bakeoff.measure.backends import OnnxRuntime, Torch
from bakeoff.measure.heat import Heat
from bakeoff.measure.rounds import run_heat
from bakeoff.stores.results import ResultStore
from reckoning import Raw, reckon_interval, reckon_ratio, reckon_verdict

from ..measure.heats import Simulated, World, make_protocol

Told = tuple[dict[str, Any], Path]


@pytest.fixture
def tell(
    tmp_path: Path, make_job: Callable[..., Job], make_measurement: Callable[..., Measurement]
) -> Callable[..., Told]:
    """Store a heat of two candidates; what is told of the second, and where its attempt lies."""

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
            generations=len(heat.generations),
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
        return document["runtimes"]["onnxruntime-fp32"]["batch_1"], paths[1]

    return store


def hold(ratio: float, *, seed: int = 0, **changes: Any) -> Heat:
    """A heat of five processes of two candidates, of which one round in each was disturbed."""
    world = World(seed=seed)
    values: dict[str, Any] = {"process_effect": 0.01, "is_disturbed": lambda _, block: block == 1} | changes
    return run_heat(
        [Simulated(world, "a", **values), Simulated(world, "b", call_ns=ratio * 1e6, **values)],
        make_protocol(min_generations=5, max_generations=5, min_calls=20, max_calls=20),
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
    told, path = tell(hold(ratio, **changes))
    latency, reference = (Raw(path, quantity, 1) for quantity in ("latency", "reference"))
    counted = latency.wall[latency.counted]
    assert told["n"] == counted.size == 5 * 4 * 20
    assert told["median_ms"] == pytest.approx(float(np.median(counted)) / 1e6, rel=1e-12)
    for name, p in (("median", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)):
        low, high = reckon_interval(latency.by_generation(), p)
        assert told[f"{name}_interval_ms"] == pytest.approx([low / 1e6, high / 1e6], rel=1e-9)
    middle, *ends = reckon_ratio(*(each.block_medians(by_cpu=False) for each in (latency, reference)))
    assert told["ratio_to_reference"] == pytest.approx(middle, rel=1e-9)
    assert told["ratio_interval"] == pytest.approx(ends, rel=1e-9)
    assert told["verdict"] == reckon_verdict(*ends) == verdict


def test_without_any_effect_of_processes_the_order_statistics_bound_the_median(
    tell: Callable[..., Told],
) -> None:
    """The other of the two intervals that are united; of several heats it is the wider one in some."""
    n_wider = 0
    for seed in range(8):
        told, path = tell(hold(1.0, seed=seed, process_effect=0.0, noise=0.3))
        rows = Raw(path, "latency", 1).by_generation()
        low, high = reckon_interval(rows, 0.5)
        assert told["median_interval_ms"] == pytest.approx([low / 1e6, high / 1e6], rel=1e-9)
        n_wider += low in np.concatenate(rows) or high in np.concatenate(rows)
    assert n_wider > 0
