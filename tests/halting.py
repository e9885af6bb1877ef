"""Benches that halt at a point that a test names: there a signal finds them on however busy a machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from bakeoff.measure.heats.records import Block, BlockRequest, Started
from bakeoff.run.machine import processes
from bakeoff.run.measuring import orders
from bakeoff.run.measuring.orders import Done, MeasureOrder, PrepareOrder
from bakeoff.run.measuring.resident import ResidentWorker

PATIENCE_S = 300.0
OnWait = Callable[[], None] | None
Begun = processes.Child | Done


def halt_before_repeat(number: int, here: Path) -> None:
    """From now on in this process: no candidate starts a repeat of that number."""
    start = ResidentWorker.start

    def halted(self: ResidentWorker, repeat: int) -> Started:
        if repeat == number:
            _halt(here)
        return start(self, repeat)

    ResidentWorker.start = halted  # type: ignore[method-assign]


def halt_in_repeat(number: int, here: Path) -> None:
    """From now on in this process: no candidate gets beyond the first block of that repeat."""
    run_block = ResidentWorker.run_block

    def halted(self: ResidentWorker, request: BlockRequest) -> Block:
        block = run_block(self, request)
        if number in self.environments:
            _halt(here)
        return block

    ResidentWorker.run_block = halted  # type: ignore[method-assign]


def halt_untimed() -> None:
    """From now on in this process: an order in which nothing is timed halts, in the process of a worker."""
    begin = orders._begin

    def begin_halted(order: MeasureOrder | PrepareOrder, folder: Path, worker: str, on_wait: OnWait) -> Begun:
        del worker
        return begin(order, folder, "halted_worker", on_wait)

    orders._begin = begin_halted


def _halt(here: Path) -> None:
    """Say that we have come so far, and go no further."""
    here.touch()
    time.sleep(2 * PATIENCE_S)


def wait_until_halted(process: BaseProcess, here: Path) -> list[psutil.Process]:
    """Wait until a process halts; returns its children.

    Raises:
        RuntimeError: It ended, or did not come so far.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not here.exists():
        if not process.is_alive() or time.monotonic() > deadline:
            raise RuntimeError(f"it never halted; its exit code is {process.exitcode}")
        time.sleep(0.01)
    return psutil.Process(process.pid).children(recursive=True)
