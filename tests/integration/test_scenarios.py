"""Scenarios over a real tokenizer: what one call is, and what an open loop finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.heats.timing import Counters
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.model.tokenizer import Batch
from bakeoff.measure.scenarios import Latency, Server, Throughput
from bakeoff.measure.scenarios.subject import NO_COUNTERS, TensorModel, TimedSubject
from bakeoff.measure.statistics.readings import MAX_RATE, PROBE, RESPONSE, Reading, merge_repeats
from bakeoff.measure.statistics.response_limits import slo_is_met
from bakeoff.measure.system.memory import CacheFlush, read_cache_bytes
from bakeoff.measure.tasks.documents import TaggedDocument
from bakeoff.measure.tasks.token_classification import TokenClassification
from clocks import VirtualClock

MakeSubject = Callable[..., TimedSubject]
# Time enough for every search; five processes share it.
PATIENT: dict[str, float] = {"warmup_min_s": 0.0, "warmup_max_s": 0.5, "time_budget_s": 50_000.0}


class Recording:
    """A session that notes what it is asked; a call lasts as long as told, on a clock of its own."""

    def __init__(
        self, n_labels: int, call_s: Callable[[int], float], size_s: Callable[[int], float] | None
    ) -> None:
        self.n_labels = n_labels
        self.call_s = call_s
        self.size_s = size_s
        self.batches: list[Batch] = []
        self.clock = VirtualClock(tick_ns=2_000)

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        size = len(batch.arrays["input_ids"])
        self.clock.pass_by(self.size_s(size) if self.size_s else self.call_s(len(self.batches)))
        self.batches.append(batch)
        return np.zeros((*batch.arrays["input_ids"].shape, self.n_labels), dtype=np.float32)


@pytest.fixture
def make_subject(champion_copy: Path, documents: tuple[TaggedDocument, ...]) -> MakeSubject:
    checkpoint = open_checkpoint(champion_copy)
    encoder = TokenClassification().make_encoder(checkpoint, 32, documents)

    def make(
        repeat: int = 0,
        call_s: Callable[[int], float] = lambda call: 0.001,
        size_s: Callable[[int], float] | None = None,
        counters: Counters = NO_COUNTERS,
        **protocol: float,
    ) -> TimedSubject:
        session = Recording(len(checkpoint.labels), call_s, size_s)
        model = TensorModel(
            session=session,  # type: ignore[arg-type]
            checkpoint=checkpoint,
            encoder=encoder,
            task=TokenClassification(),
            documents=documents,
            encodings=tuple(map(encoder.encode, documents)),
        )
        return TimedSubject(
            model=model,
            task=TokenClassification(),
            documents=documents,
            protocol=TimingProtocol.model_validate(PATIENT | protocol),
            repeat=repeat,
            lengths=tuple(len(document.tokens) for document in documents),
            clock=session.clock,
            sleep_s=session.clock.sleep,
            cpu_clock=lambda: round(0.7 * session.clock.now_ns),
            counters=counters,
        )

    return make


def tensors_of(subject: TimedSubject) -> TensorModel:
    assert isinstance(subject.model, TensorModel)
    return subject.model


def batches_of(subject: TimedSubject) -> list[Batch]:
    session = subject.model.session
    assert isinstance(session, Recording)
    return session.batches


def test_latency_feeds_real_lengths_padded_to_the_longest_of_the_batch(make_subject: MakeSubject) -> None:
    subject = make_subject()
    one, eight = Latency(batch_sizes=(1, 8)).variants(subject)
    assert (one.number, eight.number) == (1, 8)
    assert sorted(one.n_tokens) == sorted(len(encoding.ids) for encoding in tensors_of(subject).encodings)
    assert one.n_tokens == one.n_padded_tokens
    eight.call(0)
    (batch,) = batches_of(subject)
    assert batch.arrays["input_ids"].shape[0] == 8
    assert batch.n_tokens == eight.n_tokens[0] < eight.n_padded_tokens[0] == batch.n_padded_tokens


def test_all_candidates_of_a_repeat_see_one_order_and_the_next_another(make_subject: MakeSubject) -> None:
    orders = [make_subject(repeat).order for repeat in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_end_to_end_latency_tokenises_inside_the_call(make_subject: MakeSubject) -> None:
    subject = make_subject()
    (variant,) = Latency(batch_sizes=(2,), region="end_to_end").variants(subject)
    tags = variant.call(0)
    rows = subject.draw_batches(2)[0]
    assert isinstance(tags, list)
    assert [len(row) for row in tags] == [subject.documents[row].length for row in rows]


def test_a_throughput_sample_is_a_pass_over_all_texts(make_subject: MakeSubject) -> None:
    subject = make_subject()
    (variant,) = Throughput(batch_size=5).variants(subject)
    variant.call(0)
    batches = batches_of(subject)
    assert {batch.arrays["input_ids"].shape[0] for batch in batches} == {5}
    assert len(batches) * 5 == variant.n_documents >= len(subject.documents)
    assert sum(batch.n_padded_tokens for batch in batches) == variant.n_padded_tokens[0]


def test_batches_by_length_hold_less_padding_than_mixed_ones(make_subject: MakeSubject) -> None:
    subject = make_subject()
    (sorted_,) = Throughput(batch_size=5).variants(subject)
    (mixed,) = Throughput(batch_size=5, composition="mixed").variants(subject)
    assert sorted_.n_padded_tokens[0] < mixed.n_padded_tokens[0]


def measure_server(subject: TimedSubject, **changes: float) -> dict[str, Reading]:
    server = Server.model_validate({"limit_ms": 50, "n_queries": 473, **changes})
    return {reading.quantity: reading for reading in server.measure(subject)}


def rate_facts(readings: dict[str, Reading], name: str) -> int:
    (value,) = readings[MAX_RATE].columns[name]
    return value


def test_a_server_finds_a_rate_below_its_capacity_and_keeps_every_probe(make_subject: MakeSubject) -> None:
    readings = measure_server(make_subject(call_s=lambda call: 0.01), precision=0.01)
    (rate,) = readings[MAX_RATE].values
    assert 40 < rate < 100  # a call of 10 ms, and a limit that lets few others wait before it
    probes = readings[PROBE]
    outcomes = dict(zip(probes.values, probes.columns["is_met"], strict=True))
    assert outcomes[rate]
    failed = [value for value, is_met in outcomes.items() if not is_met]
    assert rate < min(failed) <= 1.01 * rate
    assert not rate_facts(readings, "is_cut_short")
    response = readings[RESPONSE]
    assert len(response.values) == 473
    # A response holds its own service at least: it counts from the scheduled arrival.
    assert all(
        value >= service >= 10_000_000
        for value, service in zip(response.values, response.columns["service_ns"], strict=True)
    )


def test_a_server_compares_its_waits_with_the_formula_of_the_queue(make_subject: MakeSubject) -> None:
    readings = measure_server(make_subject(call_s=lambda call: 0.008 + 0.004 * (call % 2)))
    rate, response = readings[MAX_RATE], readings[RESPONSE]
    service_s = np.array(response.columns["service_ns"]) / 1e9
    (rate_per_s,) = rate.values
    load = rate_per_s * service_s.mean()
    expected_s = rate_per_s * np.square(service_s).mean() / (2 * (1 - load))
    waited_ns = np.array(response.values) - np.array(response.columns["service_ns"])
    assert rate.columns["load_permille"] == (round(1000 * load),)
    assert rate.columns["expected_wait_ns"][0] == pytest.approx(expected_s * 1e9, rel=1e-6)
    assert rate.columns["mean_wait_ns"][0] == pytest.approx(waited_ns.mean(), rel=1e-6)


def test_a_server_that_slows_down_under_load_has_no_wait_to_expect(make_subject: MakeSubject) -> None:
    subject = make_subject(call_s=lambda call: 0.01 if call < 100 else 0.0125)
    rate = measure_server(subject, limit_ms=5_000)[MAX_RATE]
    (rate_per_s,) = rate.values
    assert rate_per_s * 0.0125 > 1  # more work than time; only the end of the schedule ends the queue
    assert rate.columns["expected_wait_ns"] == rate.columns["mean_wait_ns"] == (0,)


def test_a_server_that_answers_in_batches_is_not_held_against_the_formula_for_single_requests(
    make_subject: MakeSubject,
) -> None:
    subject = make_subject(call_s=lambda call: 0.01)
    rate = measure_server(subject, batch_max=4)[MAX_RATE]
    assert rate.values[0] > 0
    assert "expected_wait_ns" not in rate.columns
    assert max(len(batch.arrays["input_ids"]) for batch in batches_of(subject)) > 1


def test_cold_caches_are_another_job_and_warm_ones_keep_the_key_of_before() -> None:
    assert "cold_cache" not in Latency().model_dump(mode="json")
    assert Latency.model_validate(Latency(cold_cache=True).model_dump(mode="json")).cold_cache


def test_before_each_sample_with_cold_caches_twice_the_largest_cache_is_overwritten(
    make_subject: MakeSubject,
) -> None:
    (variant,) = Latency(batch_sizes=(1,), cold_cache=True).variants(make_subject())
    assert isinstance(variant.before, CacheFlush)
    assert variant.before.size_bytes >= 2 * max(read_cache_bytes().values(), default=1)
    (warm,) = Latency(batch_sizes=(1,)).variants(make_subject())
    assert warm.before is None


def test_a_limit_that_nobody_can_meet_is_answered_with_zero_and_soon(make_subject: MakeSubject) -> None:
    subject = make_subject(call_s=lambda call: 0.001)
    readings = measure_server(subject, limit_ms=0.5)
    assert readings[MAX_RATE].values == (0.0,)
    assert readings[RESPONSE].values == ()
    # That single calls take longer than the limit was seen before any trial: no low rate is waited for.
    assert rate_facts(readings, "n_late_alone") == rate_facts(readings, "n_alone") == len(subject.documents)
    assert not rate_facts(readings, "is_cut_short")
    probes = readings[PROBE]
    assert min(probes.values) == pytest.approx(300, rel=0.01)
    assert set(probes.columns["is_met"]) == {0}
    # Each is over with the first late response that is one too many.
    assert probes.columns["n"] == probes.columns["n_late"] == (2,) * len(probes.values)


def test_a_limit_near_the_service_time_is_met_at_a_low_rate(make_subject: MakeSubject) -> None:
    readings = measure_server(make_subject(call_s=lambda call: 0.01), limit_ms=15, n_queries=2000)
    (rate,) = readings[MAX_RATE].values
    assert 0.8 < rate < 3  # the chance of two requests within 5 ms must be below 1 in 100
    response = readings[RESPONSE]
    assert slo_is_met(2000, sum(value > 15e6 for value in response.values), 0.99)


def test_batches_raise_the_rate_above_what_single_requests_could(make_subject: MakeSubject) -> None:
    subject = make_subject(size_s=lambda size: 0.008 + 0.002 * size)
    readings = measure_server(subject, batch_max=6, limit_ms=60)
    (rate,) = readings[MAX_RATE].values
    assert 1 / 0.010 < 1.5 / 0.010 < rate < 6 / 0.020
    assert rate_facts(readings, "best_batch") == 6
    assert rate_facts(readings, "request_ns") == pytest.approx(20e6 / 6, rel=0.01)
    assert rate_facts(readings, "service_ns") == pytest.approx(10e6, rel=0.01)
    # Every size was warm before anything counted: first the warm-up of each, then the calls alone.
    sizes = [len(batch.arrays["input_ids"]) for batch in batches_of(subject)]
    changes = [size for number, size in enumerate(sizes) if number == 0 or sizes[number - 1] != size]
    assert changes[:8] == [1, 2, 4, 6, 1, 2, 4, 6]


def test_where_larger_batches_are_slower_a_document_the_best_size_is_the_capacity(
    make_subject: MakeSubject,
) -> None:
    times = {1: 0.010, 2: 0.012, 4: 0.040, 8: 0.160}
    subject = make_subject(size_s=lambda size: times.get(size, 0.16))
    readings = measure_server(subject, batch_max=8, limit_ms=500)
    assert rate_facts(readings, "best_batch") == 2
    assert max(readings[PROBE].values) < 2 / 0.012


def test_a_search_that_would_take_longer_than_its_share_of_the_budget_ends_with_the_best_so_far(
    make_subject: MakeSubject,
) -> None:
    # 473 requests at nine tenths of the capacity are 10.5 s, and are in time; a process has 24 s.
    subject = make_subject(call_s=lambda call: 0.02, time_budget_s=120.0)
    begin_s = clock_s(subject)
    readings = measure_server(subject, limit_ms=1000, precision=0.005)
    assert rate_facts(readings, "is_cut_short")
    probes = readings[PROBE]
    met = [rate for rate, is_met in zip(probes.values, probes.columns["is_met"], strict=True) if is_met]
    assert readings[MAX_RATE].values == (max(met),)
    assert len(readings[RESPONSE].values) == 473
    # Warm-up and calls alone take two seconds.
    assert clock_s(subject) - begin_s < 24 + 2


def test_a_search_that_has_found_nothing_goes_on_to_twice_its_share(make_subject: MakeSubject) -> None:
    def call_s(_: int) -> float:
        return 0.03 if clock_of(subject).slept_s == 0 else 0.075

    # Slower under load than alone: what it can do is less than half of what was to be expected, and a trial
    # of three tenths takes 47 s. A process has 40 s.
    subject = make_subject(call_s=call_s, time_budget_s=200.0)
    begin_s = clock_s(subject)
    readings = measure_server(subject, limit_ms=2000)
    assert readings[MAX_RATE].values[0] == pytest.approx(10, rel=0.01)
    assert rate_facts(readings, "is_cut_short")
    assert 40 < clock_s(subject) - begin_s < 80


def test_a_model_too_slow_for_a_single_trial_is_told_so_and_costs_no_time(make_subject: MakeSubject) -> None:
    subject = make_subject(call_s=lambda call: 0.28, time_budget_s=300.0)
    begin_s = clock_s(subject)
    readings = measure_server(subject, limit_ms=1000)
    assert readings[MAX_RATE].values == (0.0,)
    assert readings[PROBE].values == ()
    assert rate_facts(readings, "is_cut_short")
    assert clock_s(subject) - begin_s < 40


def clock_of(subject: TimedSubject) -> VirtualClock:
    session = subject.model.session
    assert isinstance(session, Recording)
    return session.clock


def clock_s(subject: TimedSubject) -> float:
    return clock_of(subject).now_ns / 1e9


def test_a_limit_of_many_seconds_is_waited_for(make_subject: MakeSubject) -> None:
    # A stall of 20 s in the middle of each trial; who waits for it is in time all the same.
    readings = measure_server(
        make_subject(call_s=lambda call: 20.0 if call % 473 == 300 else 0.1), limit_ms=120_000
    )
    assert readings[MAX_RATE].values[0] > 0
    assert set(readings[PROBE].columns["is_overloaded"]) == {0}


class Busy:
    """Counters of a machine on which every trial waits so long for a CPU, or is disturbed otherwise."""

    def __init__(self, run_delay_ns: float, disturbances: tuple[str, ...] = ()) -> None:
        self.run_delay_ns = run_delay_ns
        self.disturbances = disturbances

    def begin(self) -> None:
        """Note nothing."""

    def end(self, wall_ns: int) -> tuple[dict[str, float], tuple[str, ...]]:
        assert wall_ns > 0
        return {"run_delay_ns": self.run_delay_ns, "steal_ns": 7.0}, self.disturbances


@pytest.mark.parametrize(
    ("counters", "is_disturbed"),
    [
        (Busy(0.0), False),
        # 473 calls of 10 ms are 4.7 s: 2 % are 95 ms, however long the server slept between them.
        (Busy(80e6), False),
        (Busy(150e6), True),
        (Busy(0.0, ("the hypervisor took 3 % of the time",)), True),
    ],
)
def test_a_wait_for_a_cpu_is_held_against_the_time_in_which_the_server_was_awake(
    make_subject: MakeSubject, counters: Busy, is_disturbed: bool
) -> None:
    subject = make_subject(call_s=lambda call: 0.01, counters=counters)
    # The limit leaves little of a queue: most of the time the server sleeps.
    probes = measure_server(subject, limit_ms=18)[PROBE]
    found = probes.columns["is_met"].index(1)
    assert probes.columns["awake_ns"][found] == pytest.approx(473 * 0.0102e9, rel=0.02)
    assert bool(probes.columns["is_disturbed"][found]) is is_disturbed
    assert probes.columns["run_delay_ns"][found] == counters.run_delay_ns
    assert probes.columns["steal_ns"][found] == 7


def test_each_response_says_which_text_it_answers_and_what_it_cost(make_subject: MakeSubject) -> None:
    subject = make_subject(call_s=lambda call: 0.01)
    columns = measure_server(subject, batch_max=2)[RESPONSE].columns
    n = len(subject.documents)
    assert list(columns["input"][:n]) == subject.arrivals
    assert columns["input"][n] == subject.arrivals[0]
    assert list(columns["n_tokens"]) == [
        len(tensors_of(subject).encodings[row].ids) for row in columns["input"]
    ]
    for cpu_ns, service_ns in zip(columns["cpu_ns"], columns["service_ns"], strict=True):
        assert cpu_ns == pytest.approx(0.7 * service_ns, rel=0.01)


def test_quantiles_of_the_responses_come_from_the_readings(make_subject: MakeSubject) -> None:
    def measure(repeat: int) -> tuple[Reading, ...]:
        # The third process meets the limit at no rate.
        call_s = 0.1 if repeat == 2 else 0.01
        server = Server(limit_ms=50)
        return server.measure(make_subject(repeat, call_s=lambda call: call_s))

    merged = {each.quantity: each for each in merge_repeats([measure(each) for each in range(4)])}
    assert [value > 0 for value in merged[MAX_RATE].values] == [True, True, False, True]
    middle, tail = merged[RESPONSE].quantiles((0.5, 0.99))
    assert middle is not None
    assert tail is not None
    assert 10e6 < middle.value < tail.value <= 50e6
    assert len(merged[RESPONSE].by_repeat()) == 3


@pytest.mark.parametrize(
    ("quantile", "n_queries"),
    [(0.5, 700), (0.95, 700), (0.99, 700), (0.993, 700), (0.995, 1258), (0.999, 6294)],
)
def test_where_nothing_is_said_a_trial_has_queries_enough_for_the_quantile(
    quantile: float, n_queries: int
) -> None:
    server = Server(limit_ms=50, quantile=quantile)
    assert server.n_queries == n_queries >= server.least_queries
    assert slo_is_met(server.n_queries, 1, quantile)


def test_what_was_measured_with_too_few_queries_can_be_read() -> None:
    stored = Server(limit_ms=50, quantile=0.999, n_queries=700).model_dump(mode="json")
    assert Server.model_validate(stored).n_queries == 700
