"""How much of a heat's wall time is spent in timed calls, and what the rest is beside starting alone.

Three ONNX Runtime candidates at the default settings, and three PyTorch ones beside. What starting and
loading cost alone is measured in the same run, before the heat and after it: the same workers, started, and
ended before they warm up.

A timed call is one whose duration the instrument takes. Those of the warm-up are: they tell when a worker is
steady, and the first of them and their sum are figures of the measurement. The call before each block is not.
What the whole would be with the warm-up among the untimed is told beside; no driver could bring that down.

What a command does before its heats and after them is not in it: the plan, claims, and logging.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rig import make_checkpoint, make_worker, report

from bakeoff.demo.backbones import LAYERS
from bakeoff.measure.backends import Torch
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.run import run_heat
from bakeoff.run.measuring.resident import ResidentWorker

MAX_REST = 1.5
MIN_TIMED = 0.3
N_STARTS = 5
NS_PER_S = 1e9
NO_WARM_UP = {"warmup_min_s": 0.0, "warmup_max_s": 0.001}


def main() -> int:
    """Run one heat of each runtime and divide its time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-torch", action="store_true", help="leave the PyTorch candidates out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if not arguments.no_torch:
            beside = divide(Path(temporary), Torch(threads=2))
            print(f"PyTorch beside: {beside.figure}")
        found = divide(Path(temporary), None)
    holds = found.rest <= MAX_REST and found.share >= MIN_TIMED
    return report("overhead", found.figure, f"{MAX_REST} ×, {MIN_TIMED}", holds)


class Divided(NamedTuple):
    """A heat's wall time.

    Attributes:
        rest: Seconds outside timed calls over those of starting alone.
        with_warm_up: The same with the warm-up among them.
        share: Seconds inside the calls of blocks, of which the results are made, over all.
    """

    rest: float
    with_warm_up: float
    share: float

    @property
    def figure(self) -> str:
        """For the last line."""
        return (
            f"untimed {self.rest:.2f} × starting alone ({self.with_warm_up:.2f} × with the warm-up), blocks "
            f"{self.share:.2f} of the wall"
        )


def divide(folder: Path, runtime: Torch | None) -> Divided:
    """Run a heat of three backbones, and start the same workers alone."""
    protocol = TimingProtocol()
    checkpoints = {backbone: make_checkpoint(backbone, folder) for backbone in LAYERS}
    workers = [
        make_worker(name, path, folder, runtime=runtime, protocol=protocol)
        for name, path in checkpoints.items()
    ]
    cold = TimingProtocol.model_validate(NO_WARM_UP)
    alone = [
        make_worker(f"{name}-alone", path, folder, runtime=runtime, protocol=cold)
        for name, path in checkpoints.items()
    ]
    # Before the heat and after it: the machine is not as fast in one minute as in another.
    before_s = [_starts_alone_s(worker) for worker in alone]
    begin = time.perf_counter()
    heat = run_heat(workers, protocol, now_s=time.monotonic)
    wall_s = time.perf_counter() - begin
    after_s = [_starts_alone_s(worker) for worker in alone]
    # The mean, since what it is held against is a sum: some starts take longer, there as here.
    alone_s = sum(float(np.mean(both)) for both in np.hstack([before_s, after_s]))
    blocks = [block for each in heat.repeats for part in each.parts for block in part.blocks]
    warm_ups = [row for each in heat.repeats for part in each.parts for row in part.started.warm_ups]
    timed_s = sum(sum(block.wall_ns) * block.calls_per_sample for block in blocks) / NS_PER_S
    warm_up_s = sum(row.warmup_ns for row in warm_ups) / NS_PER_S
    run_in_s = sum(block.run_in_ns for block in blocks) / NS_PER_S
    starts_s = alone_s * len(heat.repeats)
    print(
        f"{len(heat.repeats)} repeats, stopped by {heat.stopped}: wall {wall_s:.1f} s, blocks "
        f"{timed_s:.1f} s, warm-up {warm_up_s:.1f} s, the call before each block {run_in_s:.1f} s, "
        f"starting alone {starts_s:.1f} s"
    )
    return Divided(
        rest=(wall_s - timed_s - warm_up_s) / starts_s,
        with_warm_up=(wall_s - timed_s) / starts_s,
        share=timed_s / wall_s,
    )


def _starts_alone_s(worker: ResidentWorker) -> list[float]:
    return [_start_alone_s(worker, number) for number in range(N_STARTS)]


def _start_alone_s(worker: ResidentWorker, number: int) -> float:
    """Seconds from nothing to a loaded process and to nothing again, the least warm-up taken off."""
    begin = time.perf_counter()
    started = worker.start(number)
    worker.finish()
    return time.perf_counter() - begin - sum(row.warmup_ns for row in started.warm_ups) / NS_PER_S


if __name__ == "__main__":
    sys.exit(main())
