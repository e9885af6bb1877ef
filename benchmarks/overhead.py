"""How much of a heat's wall time is spent in timed calls, and what the rest is beside starting alone.

Three ONNX Runtime candidates at the default settings; with ``--torch`` three PyTorch ones.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rig import make_checkpoint, make_worker, report

from bakeoff.demo.backbones import LAYERS
from bakeoff.measure.backends import Torch
from bakeoff.measure.protocol import TimingProtocol
from bakeoff.measure.rounds import run_heat

MAX_REST = 1.5
MIN_TIMED = 0.3


def main() -> int:
    """Run one heat and divide its time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", action="store_true")
    arguments = parser.parse_args()
    protocol = TimingProtocol()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        runtime = Torch(threads=2) if arguments.torch else None
        workers = [
            make_worker(
                backbone, make_checkpoint(backbone, folder), folder, runtime=runtime, protocol=protocol
            )
            for backbone in LAYERS
        ]
        begin = time.perf_counter()
        heat = run_heat(workers, protocol, now_s=time.monotonic)
        wall_s = time.perf_counter() - begin
    parts = [part for generation in heat.generations for part in generation.parts]
    timed_s = (
        sum(sum(block.wall_ns) * block.calls_per_sample for part in parts for block in part.blocks) / 1e9
    )
    starts_s = (
        sum(part.started.spawn_ns + part.started.import_ns + part.started.load_ns for part in parts) / 1e9
    )
    warm_s = sum(row.warmup_ns for part in parts for row in part.started.warm_ups) / 1e9
    print(
        f"{len(heat.generations)} generations, stopped by {heat.stopped}: wall {wall_s:.1f} s, "
        f"timed {timed_s:.1f} s, starting and loading {starts_s:.1f} s, warming up {warm_s:.1f} s"
    )
    rest, share = (wall_s - timed_s) / starts_s, timed_s / wall_s
    return report(
        "overhead_torch" if arguments.torch else "overhead",
        f"untimed {rest:.2f} × starting and loading, timed {share:.2f} of the wall",
        f"{MAX_REST} ×, {MIN_TIMED}",
        rest <= MAX_REST and share >= MIN_TIMED,
    )


if __name__ == "__main__":
    sys.exit(main())
