"""Server: the highest request rate at which responses stay under a limit; open loop, Poisson arrivals.

A response time counts from the scheduled arrival, so that a stall is felt by every request that had to wait
for it. It is another quantity than the service time of a closed loop, and never shown under the same name.
"""

from __future__ import annotations

import functools
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from bakeoff.digest import digest_json
from bakeoff.measure.open_loop import (
    Served,
    expected_wait_s,
    find_max_rate,
    poisson_arrivals_ns,
    serve_open_loop,
)
from bakeoff.measure.readings import MAX_RATE, NS_PER_MS, NS_PER_S, PROBE, RESPONSE, Reading
from bakeoff.measure.scenarios.latency import Latency
from bakeoff.measure.statistics import slo_is_met
from bakeoff.measure.subject import Subject
from bakeoff.measure.timing import time_each, warm_up
from bakeoff.record import Record

# Fewer leave the binomial bound of a p99 no room for a single late answer (at 95 %).
LEAST_QUERIES = 473


class Server(Record):
    """One instance of the model behind a queue, first come first served.

    Attributes:
        limit_ms: Within which a response must come.
        quantile: Share of the requests that must be within the limit.
        n_queries: Of one trial of a rate.
        batch_max: Most requests that are answered together; the server never waits for more.
        precision: Of the search, relative to the rate.
        padding: Rows are filled up to the longest of their batch.
    """

    kind: Literal["server"] = "server"
    limit_ms: Annotated[float, Field(gt=0, le=3_600_000)]
    quantile: Annotated[float, Field(ge=0.5, le=0.999)] = 0.99
    n_queries: Annotated[int, Field(ge=LEAST_QUERIES, le=1_000_000)] = 700
    batch_max: Annotated[int, Field(ge=1, le=1024)] = 1
    precision: Annotated[float, Field(ge=0.005, le=0.5)] = 0.05
    padding: Literal["longest"] = "longest"

    @property
    def is_timed(self) -> bool:
        """Repeated in fresh processes, each with arrivals of its own."""
        return True

    def measure(self, subject: Subject) -> tuple[Reading, ...]:
        """Search the highest rate in this process; keeps every trial and the responses at the answer."""
        variant = Latency(batch_sizes=(1,)).variants(subject)[0]
        warm = warm_up(variant, subject.timing, subject.clock)
        calls = [functools.partial(variant.call, number) for number in range(variant.n_inputs)]
        service_s = float(np.mean(time_each(calls, subject.clock))) / NS_PER_S
        trials: dict[float, Served] = {}

        def is_met(rate_per_s: float) -> bool:
            trials[rate_per_s] = served = self._serve(subject, rate_per_s)
            return self._is_met(served)

        search = find_max_rate(is_met, service_s=service_s, precision=self.precision)
        rates = [probe.rate_per_s for probe in search.probes]
        chosen = trials[search.rate_per_s] if search.rate_per_s is not None else None
        generation = subject.generation
        readings = (
            Reading(
                quantity=MAX_RATE,
                unit="per_s",
                values=(search.rate_per_s or 0.0,),
                generations=(generation,),
                columns={
                    "service_ns": (round(service_s * NS_PER_S),),
                    "is_steady": (int(warm.is_steady),),
                    **self._compare_waits(search.rate_per_s, chosen),
                },
            ),
            Reading(
                quantity=PROBE,
                unit="per_s",
                values=tuple(rates),
                generations=(generation,) * len(rates),
                columns={
                    "is_met": tuple(int(probe.is_met) for probe in search.probes),
                    "n": tuple(len(trials[rate].response_ns) for rate in rates),
                    "n_late": tuple(self._count_late(trials[rate]) for rate in rates),
                    "is_overloaded": tuple(int(trials[rate].is_overloaded) for rate in rates),
                    "generator_lateness_ns": tuple(
                        int(trials[rate].lateness_ns.max(initial=0)) for rate in rates
                    ),
                },
            ),
        )
        return (*readings, _responses(chosen, generation))

    def _serve(self, subject: Subject, rate_per_s: float) -> Served:
        seed = digest_json([subject.timing.seed, subject.generation, f"{rate_per_s:.6g}"])
        arrivals = poisson_arrivals_ns(rate_per_s, self.n_queries, int(seed[:12], 16))
        order, infer = subject.arrivals, subject.session.infer

        def answer(requests: range) -> None:
            infer(subject.batch([order[number % len(order)] for number in requests]))

        return serve_open_loop(
            arrivals, answer, batch_max=self.batch_max, clock=subject.clock, sleep_s=subject.sleep_s
        )

    def _compare_waits(self, rate_per_s: float | None, served: Served | None) -> dict[str, tuple[int]]:
        """How long requests queued at the answer, and how long they should have; nothing where batches form.

        Of the service times under that very load, so that what is compared is the queue alone.
        """
        if served is None or rate_per_s is None or self.batch_max > 1:
            return {}
        service_s = served.service_ns / NS_PER_S
        expected_s = expected_wait_s(
            rate_per_s, float(np.mean(service_s)), float(np.mean(np.square(service_s)))
        )
        if not np.isfinite(expected_s):
            return {}
        waited_ns = float(np.mean(served.start_ns - served.scheduled_ns))
        return {
            "mean_wait_ns": (round(waited_ns),),
            "expected_wait_ns": (round(expected_s * NS_PER_S),),
            "load_permille": (round(rate_per_s * float(np.mean(service_s)) * 1000),),
        }

    def _count_late(self, served: Served) -> int:
        return int(np.count_nonzero(served.response_ns > self.limit_ms * NS_PER_MS))

    def _is_met(self, served: Served) -> bool:
        n = len(served.response_ns)
        return not served.is_overloaded and slo_is_met(n, self._count_late(served), self.quantile)


def _responses(served: Served | None, generation: int) -> Reading:
    """Every response at the rate that was found; none where no rate was."""
    arrays = served or Served(*(np.zeros(0, dtype=np.int64),) * 6, is_overloaded=False)
    return Reading(
        quantity=RESPONSE,
        unit="ns",
        values=tuple(arrays.response_ns.astype(float).tolist()),
        generations=(generation,) * len(arrays.response_ns),
        columns={
            "scheduled_ns": tuple(arrays.scheduled_ns.tolist()),
            "service_ns": tuple(arrays.service_ns.tolist()),
            "batch": tuple(arrays.batch.tolist()),
        },
    )
