"""Open loop: requests arrive on a schedule, whether or not the server is ready.

One thread plays clients and server. It waits for the next scheduled arrival and answers all due requests in
one batch. Each response counts from its *scheduled* arrival, so a stall is charged to every request that it
delayed (no coordinated omission). The queue is virtual: the arrivals that are due and not answered.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bakeoff.measure.heats.timing import Clock

NS_PER_S = 1_000_000_000
# Sleeping overshoots by some 100 us, so the end of a wait is spun.
SPIN_NS = 200_000
# Shares of the capacity that a search for the highest rate tries, in order, until one succeeds.
LADDER = (0.9, 0.8, 0.7, 0.5, 0.3)
# Lower shares, for a limit so near the service time that it leaves no room for a queue.
LOWER_LADDER = (0.1, 0.03, 0.01)
# Age of a backlog at which serving stops, unless the limit is longer.
STOP_BACKLOG_S = 5.0

Probe = Callable[[float], bool | None]


def poisson_arrivals_ns(rate_per_s: float, n: int, seed: int) -> NDArray[np.int64]:
    """Draw arrival times of a Poisson process: sums of independent exponential gaps.

    The gaps come from the raw numbers of PCG64, whose stream NumPy promises never to change (NEP 19). NumPy's
    own exponential draws carry no such promise. Source: inversion, Devroye, Non-Uniform Random Variate
    Generation 1986, section II.2.

    Args:
        rate_per_s: Mean requests per second.
        n: Number of arrivals.
        seed: Equal seeds give equal arrivals, bit for bit.

    Returns:
        Arrivals [n], ascending, in ns from the start of the schedule.

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
    """Outcome of each answered request, in the order of the schedule; all arrays are [requests].

    Attributes:
        scheduled_ns: Scheduled arrival, from the start of the schedule.
        start_ns: Start of its batch, from the start of the schedule.
        response_ns: Time from its scheduled arrival to the end of its batch: the client's wait.
        service_ns: Time of its batch.
        batch: Number of its batch, from 0; requests with the same number were answered together.
        lateness_ns: Delay with which the generator woke for it: the instrument's own part of the response.
            0 for a request that queued behind another batch.
        cpu_ns: CPU time of the process over its batch.
        awake_ns: Time of serving without the sleeps between requests, which need no CPU.
        is_overloaded: Whether serving stopped because the backlog grew too old; requests that were still
            waiting are in no array.
        is_missed: Whether serving stopped because too many responses were late; the same holds.
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
    """Limit that ends serving early.

    Attributes:
        response_ns: Time after which a response is late.
        most_late: Number of late responses above which the outcome is certain.
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
        arrivals_ns: Arrivals [requests], ascending, from the start of the schedule.
        run: Answers the requests of these numbers as one batch; returns when the result is there.
        batch_max: Most requests per batch. A batch takes the requests that are due when the server is free,
            and never waits for more.
        clock: Clock, in ns.
        sleep_s: Sleeps for so many seconds.
        cpu_clock: CPU time of this process, in ns.
        stop_backlog_s: Wait of the next request at which serving stops, in seconds.
        limit: Limit of late responses at which serving stops; None serves the whole schedule.
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
    """Return the mean wait of Poisson arrivals at one server: rate · E[S²] / (2 · (1 - rate · E[S])).

    Source: the formula of Pollaczek and Khinchine (Kleinrock, Queueing Systems vol. 1, 1975, chapter 5), for
    any distribution of the service time S and a batch size of 1. Measured waits far from it show that the
    server behaves differently, for instance slower under load than alone.

    Args:
        rate_per_s: Mean arrivals per second.
        mean_s: E[S], mean service time.
        second_moment_s2: E[S²], in square seconds.

    Returns:
        Mean time in queue, in seconds; infinite if requests arrive faster than the server can answer.
    """
    load = rate_per_s * mean_s
    return rate_per_s * second_moment_s2 / (2 * (1 - load)) if load < 1 else math.inf


class ProbedRate(NamedTuple):
    """Rate that was tried, and whether it met the objective."""

    rate_per_s: float
    is_met: bool


@dataclass(frozen=True)
class RateSearch:
    """Result of ``find_max_rate`` with all rates that were tried.

    Attributes:
        rate_per_s: Highest rate that met the objective; None if no tried rate did.
        probes: Tried rates, in order.
        is_cut_short: Whether the search ended because there was no time for a further rate.
    """

    rate_per_s: float | None
    probes: tuple[ProbedRate, ...]
    is_cut_short: bool = False


def find_max_rate(
    probe: Probe, *, capacity_per_s: float, precision: float = 0.05, can_be_low: bool = True
) -> RateSearch:
    """Find the highest rate that meets an objective: down a ladder of loads, then by bisection.

    The search tries 90, 80, 70, 50 and 30 % of the capacity, then 10, 3 and 1 %, down to the first success.
    Then it halves the gap to the failure above. It never tries the capacity itself, where the queue grows
    without bound. It starts from above because a trial of a high rate ends sooner than one of a low rate, and
    a failed one sooner still. So it comes closer in the same time.

    Args:
        probe: Returns whether a rate per second meets the objective; None if time runs out first, which ends
            the search with its result so far.
        capacity_per_s: Most requests per second that the server answers without idling; with batches, the
            best batch size divided by its time.
        precision: Gap at which the search stops, as a share of the highest successful rate.
        can_be_low: Whether to try rates below 30 % of the capacity.
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
    """Wait, and return the time at the end and the planned sleep; after a late wake-up it wanted to run."""
    now, slept = clock(), 0
    if due - now > SPIN_NS:
        slept = due - now - SPIN_NS
        sleep_s(slept / NS_PER_S)
        now = clock()
    while now < due:
        now = clock()
    return now, slept


def _spread(scheduled_ns: NDArray[np.int64], batches: Sequence[_Batch], begin: int) -> ServedRequests:
    """Turn one row per batch into one row per request."""
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
