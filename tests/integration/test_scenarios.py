"""Scenarios over a real tokenizer: what one call is, and what an open loop finds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bakeoff.measure.checkpoint import open_checkpoint
from bakeoff.measure.encoding import Batch, Encoder
from bakeoff.measure.entities import Document
from bakeoff.measure.memory import CacheFlush, read_cache_bytes
from bakeoff.measure.protocol import TimingProtocol
from bakeoff.measure.readings import MAX_RATE, PROBE, RESPONSE, Reading
from bakeoff.measure.scenarios import Latency, Server, Throughput
from bakeoff.measure.subject import Subject
from clocks import VirtualClock

MakeSubject = Callable[..., Subject]


class Recording:
    """A session that notes what it is asked; a call lasts as long as told, on a clock of its own."""

    def __init__(self, n_labels: int, call_s: Callable[[int], float]) -> None:
        self.n_labels = n_labels
        self.call_s = call_s
        self.batches: list[Batch] = []
        self.clock = VirtualClock(tick_ns=100)

    def infer(self, batch: Batch) -> NDArray[np.float32]:
        self.clock.pass_by(self.call_s(len(self.batches)))
        self.batches.append(batch)
        return np.zeros((*batch.arrays["input_ids"].shape, self.n_labels), dtype=np.float32)


@pytest.fixture
def make_subject(champion_copy: Path, documents: tuple[Document, ...]) -> MakeSubject:
    checkpoint = open_checkpoint(champion_copy)
    encoder = Encoder(checkpoint, 32)

    def make(generation: int = 0, call_s: Callable[[int], float] = lambda call: 0.001) -> Subject:
        session = Recording(len(checkpoint.labels), call_s)
        return Subject(
            session=session,  # type: ignore[arg-type]
            checkpoint=checkpoint,
            encoder=encoder,
            documents=documents,
            encodings=tuple(encoder.encode(document.tokens) for document in documents),
            protocol=TimingProtocol(warmup_min_s=0.0, warmup_max_s=0.5),
            generation=generation,
            lengths=tuple(len(document.tokens) for document in documents),
            clock=session.clock,
            sleep_s=session.clock.sleep,
        )

    return make


def batches_of(subject: Subject) -> list[Batch]:
    assert isinstance(subject.session, Recording)
    return subject.session.batches


def test_latency_feeds_real_lengths_padded_to_the_longest_of_the_batch(make_subject: MakeSubject) -> None:
    subject = make_subject()
    one, eight = Latency(batch_sizes=(1, 8)).variants(subject)
    assert (one.number, eight.number) == (1, 8)
    assert sorted(one.n_tokens) == sorted(len(encoding.ids) for encoding in subject.encodings)
    assert one.n_tokens == one.n_padded_tokens
    eight.call(0)
    (batch,) = batches_of(subject)
    assert batch.arrays["input_ids"].shape[0] == 8
    assert batch.n_tokens == eight.n_tokens[0] < eight.n_padded_tokens[0] == batch.n_padded_tokens


def test_all_candidates_of_a_generation_see_one_order_and_the_next_another(make_subject: MakeSubject) -> None:
    orders = [make_subject(generation).order for generation in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_end_to_end_latency_tokenises_inside_the_call(make_subject: MakeSubject) -> None:
    subject = make_subject()
    (variant,) = Latency(batch_sizes=(2,), region="e2e").variants(subject)
    tags = variant.call(0)
    rows = subject.draw_batches(2)[0]
    assert isinstance(tags, list)
    assert [len(row) for row in tags] == [len(subject.documents[row].tokens) for row in rows]


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


def measure_server(subject: Subject, **changes: float) -> dict[str, Reading]:
    server = Server.model_validate({"limit_ms": 50, "n_queries": 473, **changes})
    return {reading.quantity: reading for reading in server.measure(subject)}


def test_a_server_finds_a_rate_below_its_capacity_and_keeps_every_probe(make_subject: MakeSubject) -> None:
    readings = measure_server(make_subject(call_s=lambda call: 0.01), precision=0.01)
    (rate,) = readings[MAX_RATE].values
    assert 50 < rate < 100  # a call of 10 ms, and a limit that lets few others wait before it
    probes = readings[PROBE]
    outcomes = dict(zip(probes.values, probes.columns["is_met"], strict=True))
    assert outcomes[rate]
    failed = [value for value, is_met in outcomes.items() if not is_met]
    assert rate < min(failed) <= 1.01 * rate
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
    assert "expected_wait_ns" not in rate.columns


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


def test_a_limit_that_nobody_can_meet_is_answered_with_zero(make_subject: MakeSubject) -> None:
    readings = measure_server(make_subject(call_s=lambda call: 0.001), limit_ms=0.5)
    assert readings[MAX_RATE].values == (0.0,)
    assert "expected_wait_ns" not in readings[MAX_RATE].columns
    assert readings[RESPONSE].values == ()
    assert readings[PROBE].columns["is_met"] == (0,)
