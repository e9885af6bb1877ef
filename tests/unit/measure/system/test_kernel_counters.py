"""Contention: judged by the kernel's counters, over long enough to be told from their own coarseness."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bakeoff.measure.system.kernel_counters import KernelCounters, _read_ticks, judge_ticks

MS = 1_000_000


class Told(KernelCounters):
    """Counters that read what they are told instead of /proc."""

    def __init__(self, readings: Iterator[dict[str, float]], threads: int = 2) -> None:
        super().__init__(threads, range(2))
        self.readings = readings

    def _read(self) -> dict[str, float]:
        return next(self.readings)


def count(*blocks: dict[str, float], threads: int = 2) -> list[tuple[dict[str, float], tuple[str, ...]]]:
    """What is noted of each block of 50 ms, and what speaks against it, by what was counted over it."""

    def readings() -> Iterator[dict[str, float]]:
        zero = {"run_delay_ns": 0.0, "busy_ns": 0.0, "steal_ns": 0.0, "cpu_ns": 0.0}
        for block in blocks:
            yield zero
            yield zero | block

    counters = Told(readings(), threads)
    rows = []
    for _ in blocks:
        counters.begin()
        rows.append(counters.end(50 * MS))
    return rows


def judge(*blocks: dict[str, float], threads: int = 2) -> tuple[str, ...]:
    """What speaks against all blocks together."""
    return judge_ticks([counts for counts, _ in count(*blocks, threads=threads)])


def test_a_lone_preemption_is_no_disturbance_and_a_long_wait_is() -> None:
    (_, quiet), (_, waited) = count({"run_delay_ns": 1.5 * MS}, {"run_delay_ns": 6 * MS})
    assert quiet == ()
    assert waited == ("waited for a CPU 12.0% of the time (limit 10%)",)


def test_ticks_that_are_off_by_one_either_way_are_no_other_process() -> None:
    """A CPU second is counted in ticks of 10 ms: a block of 50 ms is off by as much as a fifth."""
    busy: list[dict[str, float]] = [
        {"busy_ns": 110 * MS, "cpu_ns": 100 * MS},
        {"busy_ns": 90 * MS, "cpu_ns": 100 * MS},
    ] * 20
    assert judge(*busy) == ()
    assert [reasons for _, reasons in count(*busy)] == [()] * 40


@pytest.mark.parametrize(("threads", "is_told"), [(2, True), (1, False)])
def test_another_process_disturbs_where_no_cpu_is_spare(threads: int, is_told: bool) -> None:
    block: dict[str, float] = {"busy_ns": 100 * MS, "cpu_ns": 80 * MS}
    expected = ("other processes used 0.40 CPUs (limit 0.1), and none is spare",) if is_told else ()
    assert judge(*[block] * 20, threads=threads) == expected


@pytest.mark.parametrize(("threads", "share"), [(2, "2.0%"), (1, "4.0%")])
def test_time_that_the_hypervisor_took_is_told_as_a_share_of_each_thread(threads: int, share: str) -> None:
    """The kernel adds up all CPUs, and only those that had work were stolen from."""
    block: dict[str, float] = {"steal_ns": 2 * MS}
    stolen = judge(*[block] * 20, threads=threads)
    assert stolen == (f"the hypervisor took {share} of the time (limit 1%)",)


@pytest.mark.parametrize(("n_ticks", "is_told"), [(1, False), (2, False), (3, True)])
def test_over_less_than_a_second_a_lone_tick_tells_nothing(n_ticks: int, is_told: bool) -> None:
    blocks: list[dict[str, float]] = [{"steal_ns": 10.0 * MS}] * n_ticks
    assert bool(judge(*blocks)) == is_told


def test_this_machine_can_be_read() -> None:
    counters = KernelCounters(1, range(2))
    counters.begin()
    counts, _ = counters.end(MS)
    assert counts["involuntary_switches"] >= 0


@pytest.mark.parametrize(("threads", "stopped_ms"), [(1, 20.0), (2, 10.0)])
def test_pauses_by_a_quota_are_counted_and_are_no_wait_for_other_work(
    tmp_path: Path, threads: int, stopped_ms: float
) -> None:
    statistics = tmp_path / "cpu.stat"

    class Waiting(KernelCounters):
        """Some kernels count a pause by the quota as a wait for a CPU, too."""

        waited_ns = 0.0

        def _read(self) -> dict[str, float]:
            return super()._read() | {"run_delay_ns": self.waited_ns}

    counters = Waiting(threads, range(2), [statistics])
    statistics.write_text("nr_periods 100\nnr_throttled 3\nthrottled_time 5000000\n")
    counters.begin()
    statistics.write_text("nr_periods 109\nnr_throttled 7\nthrottled_time 25000000\n")
    counters.waited_ns = 21.0 * MS
    counts, reasons = counters.end(50 * MS)
    assert (counts["quota_stops"], counts["throttled_ns"]) == (4, stopped_ms * MS)
    assert counts["run_delay_ns"] == MS
    assert not any("waited for a CPU" in reason for reason in reasons)


def test_on_some_of_the_cpus_only_work_on_these_counts(tmp_path: Path) -> None:
    path = tmp_path / "stat"
    path.write_text(
        "cpu  111 0 11 0 0 0 0 6 0 0\ncpu0 100 0 10 0 0 0 0 1 0 0\ncpu1 1 0 1 0 0 0 0 2 0 0\n"
        "cpu2 10 0 0 0 0 0 0 3 0 0\nintr 12345 0 0\n"
    )
    assert _read_ticks({"cpu1", "cpu2"}, path)[:3] == [11, 0, 1]
    assert _read_ticks({"cpu"}, path)[0] == 111
