"""CPU time of a decision between 1,000 candidates: 100 champions on 10 runtimes, 500 documents each."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
from rig import count_entities, report, time_import_mlflow

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.decide import decide
from bakeoff.core.job import Environment, Hardware
from bakeoff.measure.statistics.readings import LATENCY, Reading

N_CHAMPIONS, N_RUNTIMES = 100, 10
N_DOCUMENTS, N_ENTITIES = 500, 4
REPEATS, CALLS = 5, 80
BATCH_SIZES = (1, 8)
REPEATS = 3
MAX_IMPORTS = 2.5  # of `import mlflow` in the same run


def main() -> int:
    """Decide by every objective; the slowest one counts, and of each the median of its repeats."""
    candidates = list(_make_candidates())
    medians = {}
    for kind in ("weighted", "lexicographic"):
        settings = DecisionSettings.model_validate(
            {
                "objective": {"kind": kind},
                "constraints": [
                    {"kind": "latency", "batch_size": 1, "quantile": 0.95, "at_most_ms": 50},
                    {"kind": "quality_drop", "against": "reference", "at_most": 0.2},
                ],
            }
        )
        times = []
        for _ in range(REPEATS):
            begin = time.process_time()
            decision = decide(candidates, settings)
            times.append(time.process_time() - begin)
        medians[kind] = float(np.median(times))
        n_front = sum(bool(row.is_on_front) for row in decision.standings)
        print(f"{kind}: {medians[kind]:.2f} s of CPU; outcome {decision.outcome}, {n_front} on the front")
    worst = max(medians.values())
    unit = time_import_mlflow()
    return report(
        "decide_1000",
        f"{worst / unit:.2f} × import mlflow ({unit:.2f} s) for {N_CHAMPIONS * N_RUNTIMES:,} candidates",
        f"{MAX_IMPORTS:g} ×",
        worst <= MAX_IMPORTS * unit,
    )


def _make_candidates() -> Iterator[Candidate]:
    """Better champions are slower, and a runtime changes both a little."""
    generator = np.random.default_rng(0)
    hard = generator.random((N_DOCUMENTS, N_ENTITIES))
    hardware = Hardware(machine="x86_64", cpu_model="Example", physical_cores=2, usable_cpus=2)
    environment = Environment(hardware=hardware, libraries={"python": "3"})
    for champion in range(N_CHAMPIONS):
        luck = generator.random((N_DOCUMENTS, N_ENTITIES))
        hits = (0.8 * hard + 0.2 * luck < 0.5 + 0.4 * champion / N_CHAMPIONS).sum(axis=1)
        outcomes = count_entities(hits, N_ENTITIES)
        for runtime in range(N_RUNTIMES):
            ms = 2.0 * 1.03**champion * (1 + 0.2 * runtime)
            yield Candidate(
                backbone=f"champion-{champion}",
                runtime=f"runtime-{runtime}",
                champion_run_id=f"{champion:032x}",
                checkpoint_digest=f"{champion:064x}",
                quality_inputs_digest="q",
                outcomes=outcomes,
                latency={size: _make_latency(ms * size, size, generator) for size in BATCH_SIZES},
                environment=environment,
                benchmark_keys=(f"{champion}:{runtime}",),
            )


def _make_latency(ms: float, batch_size: int, generator: np.random.Generator) -> Reading:
    effects = generator.normal(0, 0.01, (REPEATS, 1))
    values = ms * 1e6 * np.exp(effects + generator.normal(0, 0.05, (REPEATS, CALLS)))
    return Reading(
        quantity=LATENCY,
        unit="ns",
        at={"batch_size": batch_size},
        values=tuple(values.ravel().tolist()),
        repeats=tuple(np.repeat(np.arange(REPEATS), CALLS).tolist()),
    )


if __name__ == "__main__":
    sys.exit(main())
