"""How long a process that measures alone is waited for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bakeoff.core.job import Job, TimedJob
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.scenarios import Quality, Server
from bakeoff.orchestrator.bench.execute import choose_timeout_s


@pytest.mark.parametrize(
    "protocol",
    [{}, {"preset": "rigorous"}, {"processes": 1, "time_budget_s": 86_400}, {"processes": 7}],
)
def test_a_search_that_spends_its_whole_budget_has_the_time_out_left_for_all_else(
    make_job: Callable[..., Job], protocol: dict[str, object]
) -> None:
    job = make_job(scenario=Server(limit_ms=50), protocol=TimingProtocol.model_validate(protocol))
    assert isinstance(job, TimedJob)
    share_s = job.protocol.time_budget_s / job.protocol.min_repeats
    # A search that has found no rate goes on to twice its share.
    assert choose_timeout_s(job, 60.0) - 2 * share_s == pytest.approx(60.0)


def test_what_has_no_budget_has_the_time_out_alone(make_job: Callable[..., Job]) -> None:
    assert choose_timeout_s(make_job(scenario=Quality(), protocol=None), 60.0) == 60.0
