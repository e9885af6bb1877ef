"""Server: the highest request rate at which responses stay under a limit; open loop, Poisson arrivals.

A response time counts from the scheduled arrival, so a stall delays every request that had to wait for it. It
differs from the service time of a closed loop, and is never shown under the same name.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from bakeoff.disk.digest import digest_json
from bakeoff.measure.heats.disturbed_rounds import MAX_RUN_DELAY_SHARE
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.run import PATIENCE
from bakeoff.measure.heats.timing import time_each, warm_up_all
from bakeoff.measure.scenarios.latency import Latency
from bakeoff.measure.scenarios.open_loop import (
    STOP_BACKLOG_S,
    ResponseLimit,
    ServedRequests,
    expected_wait_s,
    find_max_rate,
    poisson_arrivals_ns,
    serve_open_loop,
)
from bakeoff.measure.scenarios.subject import Region, TimedSubject
from bakeoff.measure.statistics.readings import MAX_RATE, NS_PER_MS, NS_PER_S, PROBE, RESPONSE, Reading
from bakeoff.measure.statistics.response_limits import least_responses, most_over, slo_is_met, slo_is_missed
from bakeoff.measure.system.kernel_counters import QUOTA_STOPS, THROTTLED_NS
from bakeoff.record import Record

# For any quantile. With so many, the binomial bound of a p99 allows a single late answer (at 95 %).
LEAST_QUERIES = 473
P99 = 0.99
DEFAULT_QUERIES = 700
# If the default is too small, it becomes the least number that allows so many late answers.
DEFAULT_LATE = 2
# Each batch size is timed alone over all texts, or for about this long.
ALONE_S = 5.0
LEAST_ALONE_CALLS = 5
COUNTED = ("run_delay_ns", "steal_ns", QUOTA_STOPS, THROTTLED_NS)


class Server(Record):
    """Highest request rate of one instance of the model behind a queue, first come first served.

    Attributes:
        limit_ms: Longest allowed response time, in milliseconds.
        quantile: Share of the requests that must be within the limit.
        n_queries: Requests per trial of a rate, enough that one may be late. A quantile above 0.99 needs more
            than 473. One above 0.993 needs more than 700, and its default is higher.
        batch_max: Most requests that are answered together; the server never waits for more.
        precision: Precision of the search, relative to the rate.
        region: Part of the service that counts, as in the latency scenario; padding always does.
        padding: Padding of a batch; ``longest`` fills every row up to the longest one.
    """

    kind: Literal["server"] = "server"
    limit_ms: Annotated[float, Field(gt=0, le=3_600_000)]
    quantile: Annotated[float, Field(ge=0.5, le=0.999)] = P99
    n_queries: Annotated[int, Field(ge=LEAST_QUERIES, le=1_000_000)] = DEFAULT_QUERIES
    batch_max: Annotated[int, Field(ge=1, le=1024)] = 1
    precision: Annotated[float, Field(ge=0.005, le=0.5)] = 0.05
    region: Region = "model"
    padding: Literal["longest"] = "longest"

    @model_serializer(mode="wrap")
    def _leave_out_what_is_new(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit a newer field at its default, so that earlier keys stay the same."""
        written: dict[str, Any] = write(self)
        if self.region == "model":
            written.pop("region", None)  # it may be absent already
        return written

    @model_validator(mode="before")
    @classmethod
    def _ask_enough(cls, values: object) -> object:
        """Raise the default number of queries if it is too small; keep a number that is stated."""
        if not isinstance(values, dict) or "n_queries" in values:
            return values
        quantile = values.get("quantile")
        if (
            not isinstance(quantile, float)
            or not P99 < quantile < 1
            or count_least(quantile) <= DEFAULT_QUERIES
        ):
            return values
        return {**values, "n_queries": least_responses(quantile, DEFAULT_LATE)}

    @property
    def needs_labels(self) -> bool:
        """Whether the documents must be labelled: no, the text is enough."""
        return False

    @property
    def call_sizes(self) -> tuple[int, ...]:
        """Documents per call, for which outputs are compared with PyTorch's before."""
        return (1, self.batch_max)

    @property
    def is_timed(self) -> bool:
        """Whether it is timed: in fresh processes, each with its own arrivals."""
        return True

    @property
    def least_queries(self) -> int:
        """Fewest queries that can show the quantile within the limit with one late answer."""
        return count_least(self.quantile)

    def search_budget_s(self, protocol: TimingProtocol) -> float:
        """Return how long the search of one process may take: its share of the protocol's time budget.

        All processes of the job share the budget evenly. Loading, warming up and timing single calls are not
        part of it. A heat runs its least repeats even beyond its budget. Likewise, a search goes on until it
        has found a rate, and ends at twice its share in any case.
        """
        return protocol.time_budget_s / protocol.min_repeats

    def longest_search_s(self, protocol: TimingProtocol) -> float:
        """Return the time after which the search of one process ends in any case, in seconds."""
        return PATIENCE * self.search_budget_s(protocol)

    def measure(self, subject: TimedSubject) -> tuple[Reading, ...]:
        """Search the highest rate in this process; keep every trial, and the responses at that rate.

        No trial begins if its schedule would end after ``search_budget_s``, or after ``longest_search_s``
        while no rate is found. The search then ends with the highest rate that met the limit so far.
        """
        alone = self._time_alone(subject)
        trials: dict[float, _Trial] = {}
        begin_ns = subject.clock()
        is_found = False

        def probe(rate_per_s: float) -> bool | None:
            nonlocal is_found
            arrivals_ns = self._draw_arrivals(subject, rate_per_s)
            limit_s = (self.search_budget_s if is_found else self.longest_search_s)(subject.protocol)
            if subject.clock() - begin_ns + int(arrivals_ns[-1]) > limit_s * NS_PER_S:
                return None
            trials[rate_per_s] = trial = self._try(subject, arrivals_ns)
            is_met = self._is_met(trial.served)
            is_found = is_found or is_met
            return is_met

        search = find_max_rate(
            probe,
            capacity_per_s=alone.capacity_per_s,
            precision=self.precision,
            can_be_low=not slo_is_missed(alone.n_calls, alone.n_late, self.quantile),
        )
        chosen = trials[search.rate_per_s].served if search.rate_per_s is not None else None
        rate = Reading(
            quantity=MAX_RATE,
            unit="per_s",
            values=(search.rate_per_s or 0.0,),
            repeats=(subject.repeat,),
            columns={
                "service_ns": (alone.service_ns,),
                "request_ns": (round(NS_PER_S / alone.capacity_per_s),),
                "best_batch": (alone.best_batch,),
                "n_alone": (alone.n_calls,),
                "n_late_alone": (alone.n_late,),
                "is_steady": (int(alone.is_steady),),
                "is_cut_short": (int(search.is_cut_short),),
                **self._compare_waits(search.rate_per_s, chosen),
            },
        )
        return rate, self._describe_trials(trials, subject.repeat), _responses(chosen, subject)

    def _time_alone(self, subject: TimedSubject) -> _Alone:
        """Warm up with batches of the powers of two and of the largest size, then time each alone.

        Sizes in between cost no more than the next larger one.
        """
        sizes = {1, self.batch_max, *(1 << power for power in range(self.batch_max.bit_length()))}
        variants = Latency(batch_sizes=tuple(sizes), region=self.region).variants(subject)
        warm_ups = warm_up_all(variants, subject.protocol, subject.clock)
        durations_ns: dict[int, NDArray[np.float64]] = {}
        for variant, warm in zip(variants, warm_ups, strict=True):
            in_time = int(ALONE_S * NS_PER_S / max(warm.median_ns, 1.0))
            count = max(LEAST_ALONE_CALLS, min(variant.n_inputs, in_time))
            calls = [functools.partial(variant.call, each % variant.n_inputs) for each in range(count)]
            durations_ns[variant.number] = np.array(time_each(calls, subject.clock), dtype=np.float64)
        request_ns = {size: float(np.mean(each)) / size for size, each in durations_ns.items()}
        best_batch = min(request_ns, key=lambda size: request_ns[size])
        return _Alone(
            service_ns=round(request_ns[1]),
            capacity_per_s=NS_PER_S / request_ns[best_batch],
            best_batch=best_batch,
            n_calls=durations_ns[1].size,
            n_late=int(np.count_nonzero(durations_ns[1] > self.limit_ms * NS_PER_MS)),
            is_steady=all(warm.is_steady for warm in warm_ups),
        )

    def _draw_arrivals(self, subject: TimedSubject, rate_per_s: float) -> NDArray[np.int64]:
        seed = digest_json([subject.protocol.seed, subject.repeat, f"{rate_per_s:.6g}"])
        return poisson_arrivals_ns(rate_per_s, self.n_queries, int(seed[:12], 16))

    def _try(self, subject: TimedSubject, arrivals_ns: NDArray[np.int64]) -> _Trial:
        order, serve = subject.arrivals, subject.model.serve
        most_late = most_over(self.n_queries, self.quantile)

        def answer(requests: range) -> None:
            serve([order[number % len(order)] for number in requests], self.region)

        subject.counters.begin()
        begin_ns = subject.clock()
        served = serve_open_loop(
            arrivals_ns,
            answer,
            batch_max=self.batch_max,
            clock=subject.clock,
            sleep_s=subject.sleep_s,
            cpu_clock=subject.cpu_clock,
            stop_backlog_s=max(STOP_BACKLOG_S, self.limit_ms * NS_PER_MS / NS_PER_S),
            limit=ResponseLimit(self.limit_ms * NS_PER_MS, -1 if most_late is None else most_late),
        )
        counts, disturbances = subject.counters.end(subject.clock() - begin_ns)
        # A sleeping process waits for no CPU: in the whole time of an idle server, a wait would not show.
        waited_too_long = counts.get("run_delay_ns", 0.0) > MAX_RUN_DELAY_SHARE * served.awake_ns
        return _Trial(served, counts, is_disturbed=bool(disturbances) or waited_too_long)

    def _describe_trials(self, trials: Mapping[float, _Trial], repeat: int) -> Reading:
        served = [trial.served for trial in trials.values()]
        columns: dict[str, list[int]] = {
            "is_met": [int(self._is_met(each)) for each in served],
            "n": [len(each.response_ns) for each in served],
            "n_late": [self._count_late(each) for each in served],
            "is_overloaded": [int(each.is_overloaded) for each in served],
            "generator_lateness_ns": [int(each.lateness_ns.max(initial=0)) for each in served],
            "awake_ns": [each.awake_ns for each in served],
            "is_disturbed": [int(trial.is_disturbed) for trial in trials.values()],
            **{name: [int(trial.counts.get(name, 0)) for trial in trials.values()] for name in COUNTED},
        }
        return Reading(
            quantity=PROBE,
            unit="per_s",
            values=tuple(trials),
            repeats=(repeat,) * len(trials),
            columns={name: tuple(column) for name, column in columns.items()},
        )

    def _compare_waits(
        self, rate_per_s: float | None, served: ServedRequests | None
    ) -> dict[str, tuple[int]]:
        """Return the measured and the expected wait at the highest rate; nothing if batches form.

        Service times under that same load give the expectation, so the comparison is of the queue alone. An
        expected wait of 0 means that there is nothing to compare.
        """
        if self.batch_max > 1:
            return {}
        waited_ns = expected_ns = load = 0.0
        if served is not None and rate_per_s is not None:
            service_s = served.service_ns / NS_PER_S
            mean_s, second_moment_s2 = float(np.mean(service_s)), float(np.mean(np.square(service_s)))
            load = rate_per_s * mean_s
            expected_s = expected_wait_s(rate_per_s, mean_s, second_moment_s2)
            if np.isfinite(expected_s):
                expected_ns = expected_s * NS_PER_S
                waited_ns = float(np.mean(served.start_ns - served.scheduled_ns))
        return {
            "mean_wait_ns": (round(waited_ns),),
            "expected_wait_ns": (round(expected_ns),),
            "load_permille": (round(load * 1000),),
        }

    def _count_late(self, served: ServedRequests) -> int:
        return int(np.count_nonzero(served.response_ns > self.limit_ms * NS_PER_MS))

    def _is_met(self, served: ServedRequests) -> bool:
        if served.is_overloaded or served.is_missed:
            return False
        return slo_is_met(len(served.response_ns), self._count_late(served), self.quantile)


class _Alone(NamedTuple):
    """Times of calls without a queue.

    Attributes:
        service_ns: Mean time of a single request.
        capacity_per_s: Most requests per second, at any batch size.
        best_batch: Batch size with that rate.
        n_calls: Single requests that were timed.
        n_late: Single requests that took longer than the limit.
        is_steady: Whether every size was steady after its warm-up.
    """

    service_ns: int
    capacity_per_s: float
    best_batch: int
    n_calls: int
    n_late: int
    is_steady: bool


class _Trial(NamedTuple):
    """Trial of one rate, with the system's counts over it."""

    served: ServedRequests
    counts: Mapping[str, float]
    is_disturbed: bool


def count_least(quantile: float) -> int:
    """Return the fewest queries that can show a quantile within its limit with one late answer."""
    return LEAST_QUERIES if quantile <= P99 else least_responses(quantile, 1)


def _responses(served: ServedRequests | None, subject: TimedSubject) -> Reading:
    """Return every response at the highest rate; none if no rate was found."""
    arrays = served or ServedRequests(*(np.zeros(0, dtype=np.int64),) * 7)
    count, order = len(arrays.response_ns), subject.arrivals
    inputs = [order[number % len(order)] for number in range(count)]
    columns: dict[str, list[int]] = {
        "scheduled_ns": arrays.scheduled_ns.tolist(),
        "service_ns": arrays.service_ns.tolist(),
        "cpu_ns": arrays.cpu_ns.tolist(),
        "batch": arrays.batch.tolist(),
        "input": inputs,
        "n_tokens": [subject.model.size_of(row) for row in inputs],
    }
    return Reading(
        quantity=RESPONSE,
        unit="ns",
        values=tuple(arrays.response_ns.astype(float).tolist()),
        repeats=(subject.repeat,) * count,
        columns={name: tuple(column) for name, column in columns.items()},
    )
