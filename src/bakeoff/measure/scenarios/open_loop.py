"""The open loop: requests come when they come, whether or not the server is ready.

One thread plays clients and server. It waits for the next scheduled arrival, answers all that are due in one
batch, and counts each response from its *scheduled* arrival, so that a stall is charged to every request that
it held up (no coordinated omission). The queue is virtual: it is the arrivals that are due and not answered.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
# Sleeping overshoots by some 100 us; the rest of a wait is spun.
SPIN_NS = 200_000
# Shares of the capacity at which a search for the highest rate asks, one after the other until one is met.
LADDER = (0.9, 0.8, 0.7, 0.5, 0.3)
# Further down, where a limit near the service time leaves no room for a queue.
LOWER_LADDER = (0.1, 0.03, 0.01)
# Above a backlog so old nobody waits; a limit that allows more is waited for.
STOP_BACKLOG_S = 5.0

Clock = Callable[[], int]
Probe = Callable[[float], bool | None]


def poisson_arrivals_ns(rate_per_s: float, n: int, seed: int) -> NDArray[np.int64]:
    """Arrival times of a Poisson process: sums of independent exponential gaps.

    The gaps are made from the raw numbers of PCG64, whose stream NumPy promises never to change (NEP 19); its
    own exponential draws carry no such promise. Source: inversion, Devroye, Non-Uniform Random Variate
    Repeat 1986, section II.2.

    Args:
        rate_per_s: Mean requests per second.
        n: Number of arrivals.
        seed: Equal seeds give equal arrivals, bit for bit.

    Returns:
        [n] ascending, in ns from the begin of the schedule.

    Raises:
        ValueError: The rate is not a positive number.
    """
    if not (rate_per_s > 0 and math.isfinite(rate_per_s)):
        raise ValueError(f"the rate of arrivals must be a positive number per second, not {rate_per_s}")
    # The upper 53 bits are the fraction of a double in [0, 1).
    uniform = (np.random.PCG64(seed).random_raw(n) >> np.uint64(11)) * 2.0**-53
    gaps_ns = -np.log1p(-uniform) * (NS_PER_S / rate_per_s)
    arrivals_ns: NDArray[np.int64] = np.rint(np.cumsum(gaps_ns)).astype(np.int64)
    return arrivals_ns


@dataclass(frozen=True)
class ServedRequests:
    """What became of each request that was answered, in the order of the schedule; all arrays are [requests].

    Attributes:
        scheduled_ns: When it was due, from the begin of the schedule.
        start_ns: When its batch was begun, from the begin of the schedule.
        response_ns: From its scheduled arrival to the end of its batch: what a client waits.
        service_ns: How long its batch ran.
        batch: The number of its batch, from 0; equal numbers were answered together.
        lateness_ns: How late the generator woke for it: what the instrument itself added to the response.
            0 where it queued behind another batch.
        cpu_ns: CPU time of the process over its batch.
        awake_ns: How long serving took without the sleeps between requests, in which it wants no CPU.
        is_overloaded: Whether serving was given up because the backlog grew too old; the requests that were
            still waiting then are in no array.
        is_missed: Whether it was given up because too many responses were late; the same holds.
    """

    scheduled_ns: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    response_ns: NDArray[np.int64]
    service_ns: NDArray[np.int64]
    batch: NDArray[np.int64]
    lateness_ns: NDArray[np.int64]
    cpu_ns: NDArray[np.int64]
    awake_ns: int = 0
    is_overloaded: bool = False
    is_missed: bool = False


class ResponseLimit(NamedTuple):
    """What ends serving early.

    Attributes:
        response_ns: A response that takes longer is late.
        most_late: With more late ones the outcome is known, whatever still comes.
    """

    response_ns: float
    most_late: int


class _Batch(NamedTuple):
    size: int
    start: int
    end: int
    was_waited_for: bool
    cpu: int


def serve_open_loop(
    arrivals_ns: NDArray[np.int64],
    run: Callable[[range], object],
    *,
    batch_max: int = 1,
    clock: Clock = time.perf_counter_ns,
    sleep_s: Callable[[float], object] = time.sleep,
    cpu_clock: Clock = time.process_time_ns,
    stop_backlog_s: float = STOP_BACKLOG_S,
    limit: ResponseLimit | None = None,
) -> ServedRequests:
    """Serve a schedule of arrivals, first come first served, by one instance of the model.

    Args:
        arrivals_ns: [requests] ascending, from the begin of the schedule.
        run: Answers the requests of these numbers, as one batch; back when the result is there.
        batch_max: Most requests of a batch. A batch takes what is due when the server is free, and never
            waits for more.
        clock: In ns.
        sleep_s: Gives the processor away for so many seconds.
        cpu_clock: CPU time of this process, in ns.
        stop_backlog_s: Give up when the next request has waited so long.
        limit: Give up when too many responses are late; None serves the whole schedule.
    """
    arrivals: list[int] = arrivals_ns.tolist()
    batches: list[_Batch] = []
    first, n_late, slept, is_overloaded, is_missed = 0, 0, 0, False, False
    begin = now = clock()
    while first < len(arrivals):
        due = begin + arrivals[first]
        is_overloaded = now - due > stop_backlog_s * NS_PER_S
        is_missed = limit is not None and n_late > limit.most_late
        if is_overloaded or is_missed:
            break
        was_waited_for = now < due
        if was_waited_for:
            now, slept_now = _wait_until(due, clock, sleep_s)
            slept += slept_now
        end = first + 1
        while end < len(arrivals) and end - first < batch_max and begin + arrivals[end] <= now:
            end += 1
        cpu_begin = cpu_clock()
        run(range(first, end))
        start, now = now, clock()
        batches.append(_Batch(end - first, start, now, was_waited_for, cpu_clock() - cpu_begin))
        if limit is not None:
            n_late += sum(now - begin - arrivals[number] > limit.response_ns for number in range(first, end))
        first = end
    served = _spread(arrivals_ns[:first], batches, begin)
    return replace(served, awake_ns=now - begin - slept, is_overloaded=is_overloaded, is_missed=is_missed)


def expected_wait_s(rate_per_s: float, mean_s: float, second_moment_s2: float) -> float:
    """Mean time in queue of Poisson arrivals before one server: rate · E[S²] / (2 · (1 - rate · E[S])).

    The formula of Pollaczek and Khinchine (Kleinrock, Queueing Systems vol. 1, 1975, chapter 5), for any
    distribution of the service time S and a batch size of 1. Measured waits far from it show that the server
    is not what it seems, for instance slower under load than when timed alone.

    Args:
        rate_per_s: Mean arrivals per second.
        mean_s: E[S], mean service time.
        second_moment_s2: E[S²], in square seconds.

    Returns:
        Infinite where the work comes faster than it can be done.
    """
    load = rate_per_s * mean_s
    return rate_per_s * second_moment_s2 / (2 * (1 - load)) if load < 1 else math.inf


class ProbedRate(NamedTuple):
    """A rate that was tried, and whether the objective was met at it."""

    rate_per_s: float
    is_met: bool


@dataclass(frozen=True)
class RateSearch:
    """The answer of ``find_max_rate`` with all that was tried.

    Attributes:
        rate_per_s: The highest rate that met the objective; None where none that was tried did.
        probes: In the order of asking.
        is_cut_short: Whether a rate that was to be tried could not be.
    """

    rate_per_s: float | None
    probes: tuple[ProbedRate, ...]
    is_cut_short: bool = False


def find_max_rate(
    probe: Probe, *, capacity_per_s: float, precision: float = 0.05, can_be_low: bool = True
) -> RateSearch:
    """The highest rate at which an objective is met: down a ladder of loads, then by bisection.

    Asks at 90, 80, 70, 50 and 30 % of the capacity, then at 10, 3 and 1 %, down to the first success, and
    halves the gap between it and the failure above it. The capacity itself is never asked: there the queue
    grows without bound. From above, since a trial of a high rate is over sooner than one of a low rate, and
    one that fails sooner still: in the same time the search comes closer.

    Args:
        probe: Whether the objective is met at a rate per second; None where there is no time to find out,
            which ends the search with what it has.
        capacity_per_s: Most requests per second that the server answers when it never idles; with batches,
            their size over the time that they take, of the best size.
        precision: Stop when the gap is at most this share of the rate that succeeded.
        can_be_low: Whether rates below 30 % of the capacity are asked.
    """
    probes: list[ProbedRate] = []

    def ask(rate_per_s: float) -> bool | None:
        is_met = probe(rate_per_s)
        if is_met is not None:
            probes.append(ProbedRate(rate_per_s, is_met))
        return is_met

    best: float | None = None
    limit = capacity_per_s
    for share in (*LADDER, *(LOWER_LADDER if can_be_low else ())):
        is_met = ask(share * capacity_per_s)
        if is_met is None:
            return RateSearch(None, tuple(probes), is_cut_short=True)
        if is_met:
            best = share * capacity_per_s
            break
        limit = share * capacity_per_s
    while best is not None and limit - best > precision * best:
        middle = (best + limit) / 2
        is_met = ask(middle)
        if is_met is None:
            return RateSearch(best, tuple(probes), is_cut_short=True)
        best, limit = (middle, limit) if is_met else (best, middle)
    return RateSearch(best, tuple(probes))


def _wait_until(due: int, clock: Clock, sleep_s: Callable[[float], object]) -> tuple[int, int]:
    """The time when it is over, and how much of it was slept as asked; what woke too late wanted to run."""
    now, slept = clock(), 0
    if due - now > SPIN_NS:
        slept = due - now - SPIN_NS
        sleep_s(slept / NS_PER_S)
        now = clock()
    while now < due:
        now = clock()
    return now, slept


def _spread(scheduled_ns: NDArray[np.int64], batches: Sequence[_Batch], begin: int) -> ServedRequests:
    """From one row a batch to one row a request."""
    rows = np.array(batches, dtype=np.int64).reshape(-1, len(_Batch._fields))
    number = np.repeat(np.arange(len(batches)), rows[:, 0])
    start, end, was_waited_for, cpu = (rows[number, column] for column in (1, 2, 3, 4))
    return ServedRequests(
        scheduled_ns=scheduled_ns,
        start_ns=start - begin,
        response_ns=end - begin - scheduled_ns,
        service_ns=end - start,
        batch=number,
        lateness_ns=np.where(was_waited_for, start - begin - scheduled_ns, 0),
        cpu_ns=cpu,
    )
