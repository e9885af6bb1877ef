"""How repeatable a measurement is, and how often it ranks wrongly, beside the naive way in the same run.

The naive way: one process a candidate, 10 warm-ups, 100 calls, the smaller median wins. What is measured
again and again is the largest backbone of the demo with the smallest as its reference, one call at a time.
Two candidates that are exactly 5 % apart run the smallest one 20 and 21 times a call; two identical ones run
it 20 times both.

The bar is asked of the median as a ratio to the reference, which is the figure that bakeoff ranks by. The
absolute one is told beside: a measurement of seconds cannot be steadier than its machine is over minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rig import let_workers_find_the_rig, make_checkpoint, make_worker, report

from bakeoff.measure.heats.assemble import assemble_readings, find_apart
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.records import BlockRequest, Heat
from bakeoff.measure.heats.run import run_heat
from bakeoff.measure.statistics.intervals import Interval
from bakeoff.measure.statistics.ratios import judge_ratio
from bakeoff.measure.statistics.readings import LATENCY, NS_PER_MS, REFERENCE, Reading, ratio_to_reference
from bakeoff.measure.system.core_to_core import make_core_to_core_probe
from bakeoff.run.measuring.orders import WORKER
from bakeoff.run.measuring.resident import ResidentWorker

BURN = "while True: pass"
NAIVE = {"warmup_min_s": 0.0, "warmup_max_s": 0.01}


def main() -> int:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measurements", type=int, default=10, help="of one candidate")
    parser.add_argument("--pairs", type=int, default=30, help="5 %% apart, and as many with a load beside")
    parser.add_argument("--twins", type=int, default=30, help="identical pairs")
    arguments = parser.parse_args()
    let_workers_find_the_rig()
    with tempfile.TemporaryDirectory() as name:
        rig = Rig(Path(name))
        scatter = rig.spread(arguments.measurements)
        print(f"p50, interquartile range over median: {scatter.describe()}", flush=True)
        wrong = [rig.count_wrong(arguments.pairs, "idle")]
        load = subprocess.Popen([sys.executable, "-c", BURN])
        try:
            wrong.append(rig.count_wrong(arguments.pairs, "loaded"))
        finally:
            load.kill()
            load.wait()
        claims = rig.count_claims(arguments.twins)
        print(f"identical candidates told apart: {claims} of {arguments.twins}")
    our, other = (sum(pair[side] for pair in wrong) for side in (0, 1))
    claim_share = claims / max(arguments.twins, 1)
    figure = (
        f"spread {scatter.relative / scatter.naive_relative:.2f} of naive as ratios, "
        f"{scatter.absolute / scatter.naive:.2f} in ms, wrong ranks {our} against {other}, "
        f"false claims {claim_share:.0%}"
    )
    holds = scatter.relative <= scatter.naive_relative / 2 and our <= other / 3 and claim_share <= 0.07
    return report("spread", figure, "0.5, a third, 7%", holds)


class Scatter(NamedTuple):
    """Interquartile range over median of what was measured again and again.

    Attributes:
        relative: p50 of the candidate as a ratio to the reference, in rounds that both ran.
        absolute: The same p50 in ns.
        reference: That of the reference.
        naive: p50 the naive way.
        naive_relative: As a ratio to the reference's, measured the naive way right after.
        calibration loop: A fixed matrix product, computed in every process of ours before it loads anything.
    """

    relative: float
    absolute: float
    reference: float
    naive: float
    naive_relative: float
    calibration: float

    def describe(self) -> str:
        """All of it in words."""
        return (
            f"ours {self.relative:.2%} as a ratio to the reference, {self.absolute:.2%} in ms; naive "
            f"{self.naive_relative:.2%} as a ratio, {self.naive:.2%} in ms; of the reference itself "
            f"{self.reference:.2%}, of the calibration loop {self.calibration:.2%}"
        )


class Rig:
    """The largest and the smallest backbone of the demo, and the latter run several times a call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.probe = make_core_to_core_probe(None)
        self.large = make_checkpoint("minilm-l6", folder)
        self.small = make_checkpoint("minilm-l2", folder)
        # A measurement goes on until it is as sure as the defaults ask of a median and of a ratio; a pair
        # takes five processes.
        no_tails = {"p95": None, "p99": None}
        self.protocol = TimingProtocol.model_validate({"targets": no_tails})
        self.pair_protocol = TimingProtocol.model_validate(
            {"processes": 5, "targets": {**no_tails, "p50": None, "ratio": None}}
        )
        self.naive_protocol = TimingProtocol.model_validate(NAIVE)

    def make(
        self, checkpoint: Path, protocol: TimingProtocol, name: str, times: int | None = None
    ) -> ResidentWorker:
        """Make a worker with one call of the model per call, or so many."""
        return make_worker(
            name,
            checkpoint,
            self.folder,
            protocol=protocol,
            batch_sizes=(1,),
            worker=f"rig.repeating_{times}" if times else WORKER,
        )

    def spread(self, count: int) -> Scatter:
        """Measure the same again and again, our way and the naive way, taking turns."""
        rows = []
        for _ in range(count):
            heat = self._heat(
                self.protocol,
                self.make(self.small, self.protocol, "small"),
                self.make(self.large, self.protocol, "large"),
            )
            calls, reference = _calls(heat, "large"), _calls(heat, "large", REFERENCE)
            ratio = ratio_to_reference(calls, reference)
            interval, beside = calls.quantile(0.5), reference.quantile(0.5)
            assert ratio is not None
            assert interval is not None
            assert beside is not None
            naive, naive_reference = self._naive(self.large), self._naive(self.small)
            started = [part.started for repeat in heat.repeats for part in repeat.parts]
            calibration = float(np.median([each.calibration_ns for each in started]))
            rows.append(
                (ratio.value, interval.value, beside.value, naive, naive / naive_reference, calibration)
            )
            n_rounds = sum(len(repeat.rounds) for repeat in heat.repeats)
            n_apart = len(find_apart(heat.repeats))
            print(
                f"ours {_show(ratio, 1)} times the reference, {_show(interval, NS_PER_MS)} ms, of "
                f"{len(heat.repeats)} processes each, CPUs apart in {n_apart} of {n_rounds} rounds; "
                f"naive {naive / naive_reference:.3f} times, {naive / NS_PER_MS:.3f} ms",
                flush=True,
            )
        return Scatter(*(_iqr_ratio(column) for column in zip(*rows, strict=True)))

    def count_wrong(self, count: int, state: str) -> tuple[int, int]:
        """Pairs 5 % apart that are ranked the wrong way round, ours and the naive way, taking turns."""
        ours = naive = 0
        for number in range(count):
            ours += self._ratio(20, 21, flip=bool(number % 2)).value <= 1
            naive += self._naive(self.small, 21) <= self._naive(self.small, 20)
        print(f"wrong ranks of {count}, {state}: ours {ours}, naive {naive}", flush=True)
        return ours, naive

    def count_claims(self, count: int) -> int:
        """Identical pairs of which one is called faster or slower."""
        return sum(
            judge_ratio(self._ratio(20, 20, flip=bool(number % 2))) in ("faster", "slower")
            for number in range(count)
        )

    def _ratio(self, reference: int, other: int, *, flip: bool) -> Interval:
        """Ratio of the other to the reference; flipped, it is taken the other way round and inverted."""
        first, second = (other, reference) if flip else (reference, other)
        protocol = self.pair_protocol
        heat = self._heat(
            protocol,
            self.make(self.small, protocol, "a", first),
            self.make(self.small, protocol, "b", second),
        )
        ratio = ratio_to_reference(_calls(heat, "b"), _calls(heat, "b", REFERENCE))
        assert ratio is not None
        return Interval(1 / ratio.value, 1 / ratio.high, 1 / ratio.low) if flip else ratio

    def _heat(self, protocol: TimingProtocol, *workers: ResidentWorker) -> Heat:
        return run_heat(workers, protocol, now_s=time.monotonic, probe=self.probe)

    def _naive(self, checkpoint: Path, times: int | None = None) -> float:
        worker = self.make(checkpoint, self.naive_protocol, "naive", times)
        worker.start(0)
        try:
            worker.run_block(_request(10))
            return float(np.median(worker.run_block(_request(100)).wall_ns))
        finally:
            worker.kill()


def _show(interval: Interval, unit: float) -> str:
    value, low, high = (each / unit for each in interval)
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _request(samples: int) -> BlockRequest:
    return BlockRequest(variant=1, samples=samples, calls_per_sample=1, first_input=0)


def _calls(heat: Heat, name: str, quantity: str = LATENCY) -> Reading:
    return next(row for row in assemble_readings(heat, name) if row.quantity == quantity)


def _iqr_ratio(values: Sequence[float]) -> float:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float((high - low) / middle)


if __name__ == "__main__":
    sys.exit(main())
