"""Rates: response times at the highest rate of a server, and never those of its lucky processes alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from bakeoff.core.decision.costs import describe_served
from bakeoff.core.job import Job
from bakeoff.core.records import Measurement
from bakeoff.measure.scenarios import Latency, Server
from bakeoff.measure.statistics.readings import Reading

MS = 1e6
N_REQUESTS = 700
SERVER = Server(limit_ms=50, quantile=0.95)
Serve = Callable[..., Measurement]


@pytest.fixture
def serve(make_job: Callable[..., Job], make_measurement: Callable[..., Measurement]) -> Serve:
    """A server that was measured in as many processes as rates, each with its responses in ms."""

    def make(rates: Sequence[float], responses_ms: Sequence[Sequence[float]], scenario: Any) -> Measurement:
        places = [(number, ms) for number, row in enumerate(responses_ms) for ms in row]
        found = Reading(
            quantity="max_rate", unit="per_s", values=tuple(rates), repeats=tuple(range(len(rates)))
        )
        responses = Reading(
            quantity="response",
            unit="ns",
            values=tuple(ms * MS for _, ms in places),
            repeats=tuple(number for number, _ in places),
        )
        return make_measurement(make_job(scenario=scenario), found, responses)

    return make


def ramp(slowest_ms: float) -> list[float]:
    return [1 + (slowest_ms - 1) * n / (N_REQUESTS - 1) for n in range(N_REQUESTS)]


def test_response_times_are_of_all_processes_with_an_interval_of_their_spread(serve: Serve) -> None:
    rows = [ramp(40), ramp(50), ramp(60)]
    served = describe_served(serve([90, 100, 110], rows, SERVER))
    assert served is not None
    assert (served.limit_ms, served.quantile, served.batch_max) == (50, 0.95, 1)
    for found, p in ((served.response_p50_ms, 0.5), (served.response_p99_ms, 0.99)):
        assert found is not None
        assert found.high is not None
        assert found.value == pytest.approx(float(np.quantile(np.concatenate(rows), p)))
        medians = [float(np.quantile(row, p)) for row in rows]
        assert found.low < min(medians) < max(medians) < found.high


def test_where_a_process_met_the_limit_at_no_rate_no_response_time_is_told(serve: Serve) -> None:
    served = describe_served(serve([90, 0, 110], [ramp(40), [], ramp(60)], SERVER))
    assert served is not None
    assert (served.limit_ms, served.response_p50_ms, served.response_p99_ms) == (50, None, None)


def test_a_response_p99_takes_as_many_samples_as_every_p99(serve: Serve) -> None:
    served = describe_served(serve([90], [ramp(40)[:367]], SERVER))
    assert served is not None
    assert served.response_p50_ms is not None
    assert served.response_p99_ms is None


def test_a_closed_loop_has_no_response_time(serve: Serve) -> None:
    assert describe_served(serve([90], [ramp(40)], Latency())) is None
