"""The open loop: requests come when they come, whether or not the server is ready.

One thread plays clients and server. It waits for the next scheduled arrival, answers all that are due in one
batch, and counts each response from its *scheduled* arrival, so that a stall is charged to every request that
it held up (no coordinated omission). The queue is virtual: it is the arrivals that are due and not answered.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
# Sleeping overshoots by some 100 us; the rest of a wait is spun.
SPIN_NS = 200_000
# Shares of the capacity at which a search for the highest rate begins.
LADDER = (0.3, 0.5, 0.7, 0.8, 0.9)

Clock = Callable[[], int]
Probe = Callable[[float], bool]


def poisson_arrivals_ns(rate_per_s: float, n: int, seed: int) -> NDArray[np.int64]:
    """Arrival times of a Poisson process: sums of independent exponential gaps.

    The gaps are made from the raw numbers of PCG64, whose stream NumPy promises never to change (NEP 19); its
    own exponential draws carry no such promise. Source: inversion, Devroye, Non-Uniform Random Variate
    Generation 1986, section II.2.

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
class Served:
    """What became of each request that was answered, in the order of the schedule; all arrays are [requests].

    Attributes:
        scheduled_ns: When it was due, from the begin of the schedule.
        start_ns: When its batch was begun, from the begin of the schedule.
        response_ns: From its scheduled arrival to the end of its batch: what a client waits.
        service_ns: How long its batch ran.
        batch: The number of its batch, from 0; equal numbers were answered together.
        lateness_ns: How late the generator woke for it: what the instrument itself added to the response.
            0 where it queued behind another batch.
        is_overloaded: Whether serving was given up because the backlog grew too old; the requests that were
            still waiting then are in no array.
    """

    scheduled_ns: NDArray[np.int64]
    start_ns: NDArray[np.int64]
    response_ns: NDArray[np.int64]
    service_ns: NDArray[np.int64]
    batch: NDArray[np.int64]
    lateness_ns: NDArray[np.int64]
    is_overloaded: bool


class _Batch(NamedTuple):
    size: int
    start: int
    end: int
    was_waited_for: bool


def serve_open_loop(
    arrivals_ns: NDArray[np.int64],
    run: Callable[[range], object],
    *,
    batch_max: int = 1,
    clock: Clock = time.perf_counter_ns,
    sleep_s: Callable[[float], object] = time.sleep,
    stop_backlog_s: float = 5.0,
) -> Served:
    """Serve a schedule of arrivals, first come first served, by one instance of the model.

    Args:
        arrivals_ns: [requests] ascending, from the begin of the schedule.
        run: Answers the requests of these numbers, as one batch; back when the result is there.
        batch_max: Most requests of a batch. A batch takes what is due when the server is free, and never
            waits for more.
        clock: In ns.
        sleep_s: Gives the processor away for so many seconds.
        stop_backlog_s: Give up when the next request has waited so long.
    """
    arrivals: list[int] = arrivals_ns.tolist()
    batches: list[_Batch] = []
    first, is_overloaded = 0, False
    begin = now = clock()
    while first < len(arrivals):
        due = begin + arrivals[first]
        is_overloaded = now - due > stop_backlog_s * NS_PER_S
        if is_overloaded:
            break
        was_waited_for = now < due
        if was_waited_for:
            now = _wait_until(due, clock, sleep_s)
        end = first + 1
        while end < len(arrivals) and end - first < batch_max and begin + arrivals[end] <= now:
            end += 1
        run(range(first, end))
        start, now = now, clock()
        batches.append(_Batch(end - first, start, now, was_waited_for))
        first = end
    return _spread(arrivals_ns[:first], batches, begin, is_overloaded=is_overloaded)


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
        rate_per_s: The highest rate that met the objective; None where even the lowest tried did not.
        probes: In the order of asking.
    """

    rate_per_s: float | None
    probes: tuple[ProbedRate, ...]


def find_max_rate(probe: Probe, *, service_s: float, precision: float = 0.05) -> RateSearch:
    """The highest rate at which an objective is met, by a ladder of loads and then by bisection.

    Asks at 30, 50, 70, 80 and 90 % of the capacity 1 / service_s, up to the first failure, then halves the
    gap between the last success and that failure. The capacity itself is never asked: there the queue grows
    without bound.

    Args:
        probe: Whether the objective is met at a rate per second.
        service_s: Mean time that a request costs the server; with batches, that of a full batch divided by
            its size.
        precision: Stop when the gap is at most this share of the rate that succeeded.
    """
    probes: list[ProbedRate] = []

    def is_met(rate_per_s: float) -> bool:
        probes.append(ProbedRate(rate_per_s, probe(rate_per_s)))
        return probes[-1].is_met

    best: float | None = None
    limit = 1 / service_s
    for rate_per_s in (share / service_s for share in LADDER):
        if not is_met(rate_per_s):
            limit = rate_per_s
            break
        best = rate_per_s
    while best is not None and limit - best > precision * best:
        middle = (best + limit) / 2
        if is_met(middle):
            best = middle
        else:
            limit = middle
    return RateSearch(best, tuple(probes))


def _wait_until(due: int, clock: Clock, sleep_s: Callable[[float], object]) -> int:
    now = clock()
    if due - now > SPIN_NS:
        sleep_s((due - now - SPIN_NS) / NS_PER_S)
        now = clock()
    while now < due:
        now = clock()
    return now


def _spread(
    scheduled_ns: NDArray[np.int64], batches: Sequence[_Batch], begin: int, *, is_overloaded: bool
) -> Served:
    """From one row a batch to one row a request."""
    rows = np.array(batches, dtype=np.int64).reshape(-1, len(_Batch._fields))
    number = np.repeat(np.arange(len(batches)), rows[:, 0])
    start, end, was_waited_for = (rows[number, column] for column in (1, 2, 3))
    return Served(
        scheduled_ns=scheduled_ns,
        start_ns=start - begin,
        response_ns=end - begin - scheduled_ns,
        service_ns=end - start,
        batch=number,
        lateness_ns=np.where(was_waited_for, start - begin - scheduled_ns, 0),
        is_overloaded=is_overloaded,
    )
