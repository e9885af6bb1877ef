"""How much CPU the driver takes while a worker measures: it must not disturb what it waits for."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from rig import make_checkpoint, make_worker, report

from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.records import Block, BlockRequest
from bakeoff.measure.heats.run import run_heat
from bakeoff.run.measuring.resident import ResidentWorker

MAX_SHARE = 0.01


def main() -> int:
    """Run a heat of two candidates and add up the driver's CPU time inside the blocks."""
    protocol = TimingProtocol.model_validate({"processes": 3})
    wall_s = cpu_s = 0.0
    run_block = ResidentWorker.run_block

    def watched(self: ResidentWorker, request: BlockRequest) -> Block:
        nonlocal wall_s, cpu_s
        wall, cpu = time.perf_counter(), time.process_time()
        block = run_block(self, request)
        cpu_s += time.process_time() - cpu
        wall_s += time.perf_counter() - wall
        return block

    ResidentWorker.run_block = watched  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workers = [
            make_worker(backbone, make_checkpoint(backbone, folder), folder, protocol=protocol)
            for backbone in ("minilm-l6", "minilm-l2")
        ]
        run_heat(workers, protocol, now_s=time.monotonic)
    share = cpu_s / wall_s
    return report(
        "driver", f"{share:.2%} of a core over {wall_s:.0f} s", f"{MAX_SHARE:.0%}", share <= MAX_SHARE
    )


if __name__ == "__main__":
    sys.exit(main())
