"""The open loop against queueing theory, on a virtual clock; and once against the real one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bakeoff.measure.scenarios.open_loop import (
    RateSearch,
    ResponseLimit,
    ServedRequests,
    expected_wait_s,
    find_max_rate,
    poisson_arrivals_ns,
    serve_open_loop,
)
from bakeoff.measure.statistics.response_limits import most_over, slo_is_met
from clocks import VirtualClock

from ..simulation import Floats

MS = 1_000_000
Arrivals = NDArray[np.int64]


def serve(
    arrivals: Arrivals,
    service_s: Callable[[range], float],
    *,
    batch_max: int = 1,
    stop_backlog_s: float = 1e9,
    clock: VirtualClock | None = None,
) -> ServedRequests:
    """Serve on a virtual clock, each batch taking exactly as long as told."""
    clock = clock or VirtualClock()
    return serve_open_loop(
        arrivals,
        lambda requests: clock.pass_by(service_s(requests)),
        batch_max=batch_max,
        clock=clock,
        sleep_s=clock.sleep,
        stop_backlog_s=stop_backlog_s,
    )


def serve_one_by_one(arrivals: Arrivals, durations_s: Floats) -> ServedRequests:
    return serve(arrivals, lambda requests: float(durations_s[requests.start]))


# --- arrivals ---


def test_equal_seeds_give_equal_arrivals_bit_for_bit_on_every_machine() -> None:
    assert poisson_arrivals_ns(1000, 5, seed=7).tolist() == [981084, 3256188, 4750895, 5006055, 5362967]
    assert np.array_equal(poisson_arrivals_ns(250, 500, seed=3), poisson_arrivals_ns(250, 500, seed=3))
    assert not np.array_equal(poisson_arrivals_ns(250, 500, seed=3), poisson_arrivals_ns(250, 500, seed=4))


def test_a_longer_schedule_begins_like_a_shorter_one() -> None:
    assert np.array_equal(poisson_arrivals_ns(250, 900, seed=3)[:500], poisson_arrivals_ns(250, 500, seed=3))


def looks_exponential(arrivals: Arrivals, rate_per_s: float) -> bool:
    from scipy.stats import kstest

    gaps_s = np.diff(arrivals, prepend=0) / 1e9
    return bool(kstest(gaps_s * rate_per_s, "expon").pvalue > 0.01)


def test_gaps_between_arrivals_are_exponential_and_independent() -> None:
    arrivals = poisson_arrivals_ns(250, 5000, seed=3)
    assert looks_exponential(arrivals, 250)
    gaps = np.diff(arrivals)
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 3 / math.sqrt(5000)
    # The same test sees even gaps, uniform ones, and a rate that is 10 % off.
    assert not looks_exponential(np.arange(1, 5001) * 4 * MS, 250)
    assert not looks_exponential(np.cumsum(np.random.default_rng(1).integers(0, 8 * MS, 5000)), 250)
    assert not looks_exponential(poisson_arrivals_ns(275, 5000, seed=3), 250)


@given(st.integers(0, 2**53), st.floats(0.01, 1e5), st.floats(0.1, 10))
def test_the_rate_only_stretches_the_schedule(seed: int, rate_per_s: float, factor: float) -> None:
    slow, fast = poisson_arrivals_ns(rate_per_s, 50, seed), poisson_arrivals_ns(rate_per_s * factor, 50, seed)
    assert np.all(np.diff(slow) >= 0)
    assert np.allclose(slow, fast * factor, rtol=1e-12, atol=0.5 + 0.5 * factor)


@pytest.mark.parametrize("rate_per_s", [0.0, -1.0, math.inf, math.nan])
def test_a_rate_that_is_none_is_refused(rate_per_s: float) -> None:
    with pytest.raises(ValueError, match="positive number per second"):
        poisson_arrivals_ns(rate_per_s, 10, seed=0)


# --- queueing ---

# Service times [s] of one request with their first two moments.
SERVICE_S = 0.1


def constant(_: np.random.Generator, n: int) -> Floats:
    return np.full(n, SERVICE_S)


def exponential(rng: np.random.Generator, n: int) -> Floats:
    return rng.exponential(SERVICE_S, n)


def with_stalls(rng: np.random.Generator, n: int) -> Floats:
    """One call in 50 takes 10 times as long."""
    return np.where(rng.random(n) < 0.02, 10 * SERVICE_S, SERVICE_S)


MOMENTS = {
    "constant": (constant, SERVICE_S, SERVICE_S**2),
    "exponential": (exponential, SERVICE_S, 2 * SERVICE_S**2),
    "with stalls": (with_stalls, 1.18 * SERVICE_S, (0.98 + 0.02 * 100) * SERVICE_S**2),
}


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("name", MOMENTS)
def test_the_mean_response_is_what_pollaczek_and_khinchine_say(name: str, load: float) -> None:
    draw, mean, second_moment = MOMENTS[name]
    rate = load / mean
    means, from_start = [], []
    for seed in range(24):
        durations = draw(np.random.default_rng(1000 + seed), 2000)
        served = serve_one_by_one(poisson_arrivals_ns(rate, 2000, seed), durations)
        means.append(float(served.response_ns.mean()) / 1e9)
        from_start.append(float(served.service_ns.mean()) / 1e9)
    theory = mean + expected_wait_s(rate, mean, second_moment)
    error = np.std(means, ddof=1) / math.sqrt(len(means))
    assert abs(np.mean(means) - theory) <= 3 * error
    # Counted from the start of its service, a request never waits.
    assert theory - np.mean(from_start) > 3 * error


def test_the_expected_wait_is_that_of_the_textbook() -> None:
    # M/M/1 at load .8: rho / (mu - lambda) = .8 / .2 = 4 service times; M/D/1: half of that.
    assert expected_wait_s(0.8, 1.0, 2.0) == pytest.approx(4.0)
    assert expected_wait_s(0.8, 1.0, 1.0) == pytest.approx(2.0)
    assert expected_wait_s(1.0, 1.0, 1.0) == math.inf
    assert expected_wait_s(2.0, 1.0, 1.0) == math.inf


def test_a_stall_is_charged_to_every_request_that_it_holds_up() -> None:
    # 500 requests per second, 1 ms each, and one that takes a second.
    stalled = 1000
    arrivals = np.arange(1, 4001, dtype=np.int64) * 2 * MS

    def service_s(requests: range) -> float:
        return 1.0 if requests.start == stalled else 0.001

    served = serve(arrivals, service_s, clock=VirtualClock(tick_ns=100))
    response_ms = served.response_ns / MS
    held_up = response_ms > 1.5
    assert held_up.sum() >= 500 * 1.0
    # The backlog grows by the stall and is then worked off at 1 ms per request.
    assert response_ms[stalled] == pytest.approx(1000, abs=1)
    backlog = response_ms[stalled : stalled + 990]
    assert np.allclose(np.diff(backlog), -1, atol=0.01)
    assert not held_up[:stalled].any()
    assert not held_up[-1000:].any()
    # A closed loop asks again only when it has its answer: the same second is one sample of all.
    assert int((served.service_ns > 1.5 * MS).sum()) == 1
    assert np.quantile(served.service_ns, 0.99) < 1.5 * MS
    assert np.quantile(served.response_ns, 0.99) > 900 * MS


# --- batches ---


@given(
    st.lists(st.integers(0, 50 * MS), min_size=1, max_size=60).map(sorted),
    st.integers(1, 8),
    st.floats(0.0, 0.02),
)
def test_every_request_is_served_once_in_order_when_due_and_with_all_that_wait(
    arrivals: list[int], batch_max: int, service_s: float
) -> None:
    asked: list[range] = []

    def work(requests: range) -> float:
        asked.append(requests)
        return service_s

    served = serve(np.array(arrivals, dtype=np.int64), work, batch_max=batch_max)
    assert [request for requests in asked for request in requests] == list(range(len(arrivals)))
    assert served.scheduled_ns.tolist() == arrivals
    assert [number for number, requests in enumerate(asked) for _ in requests] == served.batch.tolist()
    assert np.all(served.start_ns >= served.scheduled_ns)
    assert np.array_equal(served.response_ns, served.start_ns - served.scheduled_ns + served.service_ns)
    for number, requests in enumerate(asked):
        start = served.start_ns[requests.start]
        assert 1 <= len(requests) <= batch_max
        if requests.stop < len(arrivals) and len(requests) < batch_max:
            assert arrivals[requests.stop] > start
        if number:
            before = asked[number - 1].start
            assert start >= served.start_ns[before] + served.service_ns[before]
    assert not served.is_overloaded


@pytest.mark.parametrize("batch_max", [1, 4, 32])
def test_a_server_with_more_than_enough_to_do_answers_batch_over_latency(batch_max: int) -> None:
    served = serve(np.zeros(320, dtype=np.int64), lambda _: 0.05, batch_max=batch_max)
    elapsed_s = float(served.start_ns[-1] + served.service_ns[-1]) / 1e9
    assert 320 / elapsed_s == pytest.approx(batch_max / 0.05, rel=0.001)
    assert int(served.batch[-1]) + 1 == 320 // batch_max


# --- waiting ---


def test_a_generator_that_oversleeps_says_by_how_much_and_charges_it_to_the_response() -> None:
    # Requests 0 and 1 come while nothing runs, 2 while 1 is served. 0.2 ms of every wait are spun.
    arrivals = np.array([50, 100, 101], dtype=np.int64) * MS
    clock = VirtualClock(tick_ns=1, oversleep_s=0.0005)
    served = serve(arrivals, lambda _: 0.01, clock=clock)
    assert np.allclose(served.lateness_ns, [300_000, 300_000, 0], atol=10)
    assert np.allclose(served.response_ns, [10.3 * MS, 10.3 * MS, 19.3 * MS], atol=20)


def test_a_generator_that_wakes_in_time_adds_less_than_a_look_at_the_clock() -> None:
    arrivals = poisson_arrivals_ns(100, 500, seed=5)
    clock = VirtualClock(tick_ns=100)
    served = serve(arrivals, lambda _: 0.001, clock=clock)
    assert served.lateness_ns.min() >= 0
    assert served.lateness_ns.max() <= 100
    # An idle server sleeps; it spins for no more than 0.2 ms before each request.
    idle_s = float(arrivals[-1]) / 1e9 - 500 * 0.001
    assert clock.slept_s > idle_s - 500 * 0.0002


def test_a_request_due_at_the_begin_of_the_schedule_is_awaited_like_any_other() -> None:
    served = serve(np.array([0], dtype=np.int64), lambda _: 0.01)
    assert 0 <= served.start_ns[0] < 20_000
    assert served.response_ns[0] == pytest.approx(0.01 * 1e9, rel=0.005)


def test_requests_that_queue_are_not_late_by_the_generators_fault() -> None:
    served = serve(np.array([0, 1, 2], dtype=np.int64) * MS, lambda _: 0.01)
    assert served.lateness_ns[1:].tolist() == [0, 0]


# --- overload ---


def test_serving_is_given_up_when_the_next_request_has_waited_too_long() -> None:
    arrivals = np.arange(1, 5001, dtype=np.int64) * MS
    served = serve(arrivals, lambda _: 0.002, stop_backlog_s=0.5)
    assert served.is_overloaded
    # The backlog grows by 1 ms per request, so that the limit is reached after some 500.
    assert 480 <= served.response_ns.size <= 520
    lengths = {
        len(column)
        for column in (
            served.scheduled_ns,
            served.start_ns,
            served.response_ns,
            served.service_ns,
            served.batch,
            served.lateness_ns,
            served.cpu_ns,
        )
    }
    assert lengths == {served.response_ns.size}
    assert served.response_ns.max() <= (0.5 + 0.01) * 1e9


def test_a_server_that_keeps_up_is_not_overloaded() -> None:
    served = serve(np.arange(1, 5001, dtype=np.int64) * 2 * MS, lambda _: 0.0019, stop_backlog_s=0.5)
    assert not served.is_overloaded
    assert served.response_ns.size == 5000


def test_serving_is_given_up_when_too_many_are_late_and_not_before() -> None:
    arrivals = np.arange(1, 1001, dtype=np.int64) * 10 * MS

    def serve_with(most_late: int) -> ServedRequests:
        clock = VirtualClock(tick_ns=100)
        # Every tenth call takes 8 ms, the others 2 ms.
        return serve_open_loop(
            arrivals,
            lambda requests: clock.pass_by(0.008 if requests.start % 10 == 9 else 0.002),
            clock=clock,
            sleep_s=clock.sleep,
            limit=ResponseLimit(5 * MS, most_late),
        )

    given_up, whole = serve_with(3), serve_with(100)
    assert given_up.is_missed
    assert given_up.response_ns.size == 40
    assert int((given_up.response_ns > 5 * MS).sum()) == 4
    assert not whole.is_missed
    assert whole.response_ns.size == 1000
    assert np.array_equal(whole.response_ns[:40], given_up.response_ns)


@pytest.mark.parametrize("oversleep_s", [0.0, 0.005])
def test_what_was_slept_is_not_counted_as_awake_and_waking_late_is(oversleep_s: float) -> None:
    clock = VirtualClock(tick_ns=100, oversleep_s=oversleep_s)
    served = serve(np.arange(1, 101, dtype=np.int64) * 50 * MS, lambda _: 0.01, clock=clock)
    elapsed_s = 0.05 * 100 + 0.01 + max(0.0, oversleep_s - 0.0002)
    assert served.awake_ns / 1e9 == pytest.approx(elapsed_s - clock.slept_s, rel=0.001)
    assert served.awake_ns / 1e9 == pytest.approx(100 * (0.01 + max(0.0002, oversleep_s)), rel=0.01)


def test_each_response_has_the_cpu_time_of_its_batch() -> None:
    clock = VirtualClock(tick_ns=1)
    cpu_ns = 0

    def work(requests: range) -> None:
        nonlocal cpu_ns
        clock.pass_by(0.01)
        cpu_ns += 3 * MS * len(requests)

    served = serve_open_loop(
        np.array([0, 1, 2, 50], dtype=np.int64) * MS,
        work,
        batch_max=4,
        clock=clock,
        sleep_s=clock.sleep,
        cpu_clock=lambda: cpu_ns,
    )
    assert served.batch.tolist() == [0, 1, 1, 2]
    assert served.cpu_ns.tolist() == [3 * MS, 6 * MS, 6 * MS, 3 * MS]


def test_an_empty_schedule_is_served_at_once() -> None:
    served = serve(np.array([], dtype=np.int64), lambda _: 1.0)
    assert served.response_ns.size == 0
    assert not served.is_overloaded


# --- the real clock ---


def test_on_the_real_clock_no_request_is_served_before_it_is_due() -> None:
    answered: list[int] = []

    def work(requests: range) -> None:
        until = time.perf_counter_ns() + MS // 2
        while time.perf_counter_ns() < until:
            pass
        answered.extend(requests)

    served = serve_open_loop(poisson_arrivals_ns(500, 50, seed=6), work, batch_max=4, stop_backlog_s=math.inf)
    assert answered == list(range(50))
    assert np.all(served.start_ns >= served.scheduled_ns)
    assert np.all(served.service_ns >= MS // 2)
    assert np.all(served.response_ns >= served.service_ns)


# --- search ---


@given(
    st.floats(0.0101, 0.999), st.floats(0.1, 1e4), st.sampled_from([0.01, 0.05, 0.2]), st.sampled_from([1, 8])
)
def test_the_search_comes_within_its_precision_below_the_true_limit(
    limit: float, service_rate: float, precision: float, batch_max: int
) -> None:
    asked: list[float] = []
    capacity = service_rate * batch_max

    def probe(rate_per_s: float) -> bool:
        asked.append(rate_per_s)
        return rate_per_s / capacity <= limit

    found = find_max_rate(probe, capacity_per_s=capacity, precision=precision)
    assert found.rate_per_s is not None
    assert found.rate_per_s / capacity <= limit
    # The capacity bounds the search from above where every rate below it would do.
    assert found.rate_per_s / capacity * (1 + precision) >= limit * (1 - 1e-12)
    assert [probed.rate_per_s for probed in found.probes] == asked
    assert [probed.is_met for probed in found.probes] == [rate / capacity <= limit for rate in asked]
    assert len(set(asked)) == len(asked)
    assert max(asked) < capacity
    assert not found.is_cut_short


@given(st.floats(0.005, 0.999), st.integers(0, 12))
def test_a_search_without_time_for_a_rate_ends_with_the_highest_that_was_met(
    limit: float, n_in_time: int
) -> None:
    asked: list[float] = []

    def whole(rate_per_s: float) -> bool:
        asked.append(rate_per_s)
        return rate_per_s <= limit

    find_max_rate(whole, capacity_per_s=1.0)
    in_time = asked[:n_in_time]
    found = find_max_rate(lambda rate: rate <= limit if rate in in_time else None, capacity_per_s=1.0)
    assert [probed.rate_per_s for probed in found.probes] == in_time
    assert found.rate_per_s == max((rate for rate in in_time if rate <= limit), default=None)
    assert found.is_cut_short == (len(in_time) < len(asked))


def test_the_ladder_is_gone_down_from_above_and_left_at_the_first_success() -> None:
    found = find_max_rate(lambda rate: rate <= 60, capacity_per_s=100)
    shares = [round(probed.rate_per_s / 100, 6) for probed in found.probes]
    assert shares[:4] == [0.9, 0.8, 0.7, 0.5]
    assert 0.3 not in shares
    assert all(0.5 < share < 0.7 for share in shares[4:])


@pytest.mark.parametrize(
    ("can_be_low", "asked"), [(False, [90, 80, 70, 50, 30]), (True, [90, 80, 70, 50, 30, 10, 3, 1])]
)
def test_where_even_the_lowest_rate_fails_there_is_no_answer_but_the_record_of_the_tries(
    can_be_low: bool, asked: list[int]
) -> None:
    found = find_max_rate(lambda _: False, capacity_per_s=100, can_be_low=can_be_low)
    assert found.rate_per_s is None
    assert [(round(probed.rate_per_s), probed.is_met) for probed in found.probes] == [
        (rate, False) for rate in asked
    ]
    assert not found.is_cut_short


def search_queue(limit_s: float, service_s: Callable[[range], float], batch_max: int = 1) -> RateSearch:
    """Search over simulated schedules of 2000 requests, as the scenario does."""
    most_late = most_over(2000, 0.99)
    assert most_late is not None

    def probe(rate_per_s: float) -> bool:
        arrivals = poisson_arrivals_ns(rate_per_s, 2000, seed=8)
        clock = VirtualClock(tick_ns=100)
        served = serve_open_loop(
            arrivals,
            lambda requests: clock.pass_by(service_s(requests)),
            batch_max=batch_max,
            clock=clock,
            sleep_s=clock.sleep,
            limit=ResponseLimit(limit_s * 1e9, most_late),
        )
        n_over = int((served.response_ns > limit_s * 1e9).sum())
        return not (served.is_overloaded or served.is_missed) and slo_is_met(2000, n_over, 0.99)

    capacity = max(size / service_s(range(size)) for size in range(1, batch_max + 1))
    return find_max_rate(probe, capacity_per_s=capacity)


@pytest.mark.parametrize("limit_s", [0.04, 0.1])
def test_a_server_that_batches_sustains_more_than_its_requests_one_by_one_could(limit_s: float) -> None:
    def service_s(requests: range) -> float:
        return 0.008 + 0.002 * len(requests)

    one_by_one = search_queue(limit_s, service_s).rate_per_s
    together = search_queue(limit_s, service_s, batch_max=8).rate_per_s
    assert one_by_one is not None
    assert together is not None
    assert one_by_one < 1 / 0.010 < together < 8 / 0.024


def test_a_limit_that_leaves_no_room_for_a_queue_is_met_at_a_low_rate() -> None:
    # 1 in 100 may take more than 15 ms, and so may find a call of 10 ms with more than 5 ms to go: at a rate
    # of 2 per second that is how many there are.
    found = search_queue(0.015, lambda _: 0.010).rate_per_s
    assert found is not None
    assert 0.8 <= found <= 3


def test_a_stricter_limit_on_p99_allows_a_lower_rate() -> None:
    def highest_rate(limit_ms: float) -> float:
        def probe(rate_per_s: float) -> bool:
            served = serve(poisson_arrivals_ns(rate_per_s, 3000, seed=8), lambda _: SERVICE_S)
            n_over = int((served.response_ns > limit_ms * MS).sum())
            return not served.is_overloaded and slo_is_met(3000, n_over, 0.99)

        found = find_max_rate(probe, capacity_per_s=1 / SERVICE_S)
        assert found.rate_per_s is not None
        return found.rate_per_s

    loose, strict = highest_rate(2000), highest_rate(500)
    assert 0.3 / SERVICE_S <= strict < 0.95 * loose
    assert loose < 1 / SERVICE_S
