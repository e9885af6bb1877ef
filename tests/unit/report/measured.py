"""Whole measurements as a heat leaves them, for what a page shows beyond the decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bakeoff.core.job import Environment, Hardware, Job, TimedJob
from bakeoff.core.records import Flag, HeatFacts, Measurement
from bakeoff.disk.digest import digest_json
from bakeoff.measure.backends import Backend, OnnxRuntime, Torch
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.scenarios import Latency, Server, Throughput
from bakeoff.measure.statistics.readings import (
    BLOCK,
    COUNTED,
    DIRTY,
    FIRST_CALL,
    LATE,
    LATENCY,
    LOAD,
    MAX_RATE,
    OVERHEAD,
    PASS,
    REFERENCE,
    RESPONSE,
    TOKENIZE,
    Reading,
)
from unit.models import as_quality
from unit.outcomes import count_entities

N_DOCUMENTS, N_ENTITIES = 300, 3
N_REPEATS, N_ROUNDS, N_CALLS = 5, 10, 10
# In each process the first round is late, and the second was disturbed.
LEFT_OUT = (LATE, DIRTY, *(COUNTED,) * (N_ROUNDS - 2))
N_COUNTED = N_REPEATS * LEFT_OUT.count(COUNTED) * N_CALLS
BATCH_SIZE, PASS_TEXTS, N_REQUESTS = 32, 64, 700
CALIBRATION_NS = (1.00e6, 1.01e6, 0.99e6, 1.05e6, 1.00e6)
BACKBONES = {"minilm-l6": (0.845, 9.0), "minilm-l3": (0.80, 5.0), "minilm-l2": (0.72, 3.0)}
RUNTIMES: Mapping[Backend, float] = {Torch(threads=2): 1.0, OnnxRuntime(threads=2): 0.42}
HARDWARE = Hardware(machine="x86_64", cpu_model="Example CPU @ 2.90GHz", physical_cores=4, usable_cpus=4)
ENVIRONMENT = Environment(
    hardware=HARDWARE,
    libraries={"python": "3.11.7", "torch": "2.13.0"},
    facts={
        "isa": "avx2 avx512_vnni",
        "caches": "L1d 32 KiB, L2 1024 KiB",
        "memory_bytes": str(16 * 2**30),
        "load_average": "0.10 0.20 0.30",
        "load_average_after": "1.90 0.80 0.50",
        "cpu_pressure": "some avg10=1.50 avg60=9.98 avg300=18.51 total=3151421545",
        "whatever_else": "it says",
    },
)


def measure_field(*, threads: int = 2, **facts: Any) -> list[Measurement]:
    """Quality and latency of three backbones on two runtimes, in one heat; the first one is the reference."""
    runtimes = [runtime.model_copy(update={"threads": threads}) for runtime in RUNTIMES]
    jobs = [_job(backbone, runtime) for backbone in BACKBONES for runtime in runtimes]
    heat = HeatFacts(
        heat_id="h" * 64,
        reference_key=jobs[0].key,
        reference=jobs[0].candidate,
        candidates=tuple(job.candidate for job in jobs),
        threads=tuple(job.runtime.threads for job in jobs),
        repeats=N_REPEATS,
        is_resident=True,
        stopped="targets",
        wall_s=300.0,
        calibration_ns=CALIBRATION_NS,
    ).model_copy(update=facts)
    return [made for job in jobs for made in (_quality(job), _latency(job, heat, is_first=job is jobs[0]))]


def measure_rates(latency: Measurement, *, unmet: int = 0) -> list[Measurement]:
    """Throughput and a server of the candidate of a latency measurement, as if it were their reference.

    Args:
        latency: Of which candidate.
        unmet: In how many processes the server met its limit at no rate.
    """
    ms = _ms_of(latency.job)
    job = latency.job.model_copy(update={"scenario": Throughput(batch_size=BATCH_SIZE)})
    assert latency.heat is not None
    facts = latency.heat.model_copy(update={"reference_key": job.key, "reference": job.candidate})
    passes = _calls(PASS, ms * PASS_TEXTS / 2, BATCH_SIZE, job.candidate, n_documents=PASS_TEXTS)
    numbers = tuple(range(N_REPEATS))
    # A server of one instance, at a load of 0.7; each process found a rate of its own.
    rates = [0.0 if n < unmet else 700 / ms * (1 + 0.02 * n) for n in numbers]
    found = Reading(quantity=MAX_RATE, unit="per_s", values=tuple(rates), repeats=numbers)
    waits = np.random.default_rng(7).exponential(ms, (N_REPEATS, N_REQUESTS)) + ms
    places = [(n, wait) for n in numbers[unmet:] for wait in waits[n]]
    responses = Reading(
        quantity=RESPONSE,
        unit="ns",
        values=tuple(float(wait) * 1e6 for _, wait in places),
        repeats=tuple(n for n, _ in places),
    )
    server = latency.job.model_copy(update={"scenario": Server(limit_ms=50)})
    return [_measurement(job, [passes], [], heat=facts), _measurement(server, [found, responses], [])]


def _ms_of(job: Job) -> float:
    runtime = next(each for each in RUNTIMES if each.label == job.runtime.label)
    return BACKBONES[job.backbone][1] * RUNTIMES[runtime]


def _job(backbone: str, runtime: Backend) -> Job:
    return TimedJob(
        backbone=backbone,
        champion_run_id=digest_json(backbone)[:32],
        trial_run_id=digest_json(f"trial {backbone}")[:32],
        sweep_run_id="5" * 32,
        study_key_hash="a" * 64,
        trial_key_hash="b" * 64,
        checkpoint_digest=digest_json(f"checkpoint {backbone}"),
        data_fingerprint="d" * 64,
        eval_fingerprint="e" * 64,
        runtime=runtime,
        scenario=Latency(),
        protocol=TimingProtocol(),
        hardware=HARDWARE,
        inputs_digest="9" * 64,
        max_length=64,
        metric_name="f1",
    )


def _measurement(job: Job, readings: Sequence[Reading], flags: Sequence[Flag], **more: Any) -> Measurement:
    return Measurement(
        job=job,
        attempt=1,
        measured_at="2026-01-02T03:04:05+00:00",
        environment=ENVIRONMENT,
        readings=tuple(readings),
        flags=tuple(flags),
        wall_s=300.0,
        timed_s=60.0,
        **more,
    )


def _quality(job: Job) -> Measurement:
    recall, _ = BACKBONES[job.backbone]
    hard = np.random.default_rng(1).random((N_DOCUMENTS, N_ENTITIES))
    luck = np.random.default_rng(len(job.backbone) + int(recall * 1000)).random((N_DOCUMENTS, N_ENTITIES))
    hits = (0.8 * hard + 0.2 * luck < recall).sum(axis=1)
    return _measurement(as_quality(job), [count_entities(hits, N_ENTITIES)], [])


def _latency(job: Job, heat: HeatFacts, *, is_first: bool) -> Measurement:
    ms = _ms_of(job)
    readings = [_calls(LATENCY, ms * size**0.8, size, job.candidate) for size in (1, 8)]
    if not is_first:
        first = next(iter(BACKBONES.values()))[1]
        readings += [_calls(REFERENCE, first * size**0.8, size, heat.reference) for size in (1, 8)]
    overhead = Reading(quantity=OVERHEAD, unit="ns", values=(80.0,) * 5, repeats=tuple(range(N_REPEATS)))
    blocks = Reading(quantity=BLOCK, unit="ns", values=(5e7,), repeats=(0,), columns={"run_delay_ns": (0,)})
    flags = [Flag(name="virtualised", detail="a virtual machine")]
    return _measurement(job, [*readings, *_starts(ms), blocks, overhead], flags, heat=heat)


def _starts(ms: float) -> Iterator[Reading]:
    """Loading, the first call and the warm-up at each batch size, and the time to encode a text."""
    numbers = tuple(range(N_REPEATS))
    for quantity, value_ms, size, columns in (
        (LOAD, 40 * ms, None, {"import_ns": 900 * 10**6}),
        (FIRST_CALL, 6 * ms, 1, {"warmup_ns": 512 * 10**6, "is_steady": 1}),
        (FIRST_CALL, 10 * ms, 8, {"warmup_ns": 498 * 10**6, "is_steady": 1}),
        (TOKENIZE, 0.0371, None, {}),
    ):
        yield Reading(
            quantity=quantity,
            unit="ns",
            at={"batch_size": size} if size else {},
            values=(value_ms * 1e6,) * N_REPEATS,
            repeats=numbers,
            columns={name: (value,) * N_REPEATS for name, value in columns.items()},
        )


def _calls(quantity: str, ms: float, size: int, name: str, n_documents: int | None = None) -> Reading:
    generator = np.random.default_rng([size, int(digest_json(name)[:8], 16)])
    shape = (N_REPEATS, N_ROUNDS, N_CALLS)
    repeats, rounds, _ = np.indices(shape)
    process, noise = generator.normal(0, 0.02, (N_REPEATS, 1, 1)), generator.normal(0, 0.1, shape)
    n, wall_ns = repeats.size, ms * 1e6 * np.exp(process + noise)
    return Reading(
        quantity=quantity,
        unit="ns",
        at={"batch_size": size},
        values=tuple(wall_ns.ravel().tolist()),
        repeats=tuple(repeats.ravel().tolist()),
        columns={
            "round": tuple(rounds.ravel().tolist()),
            "left_out": tuple(np.asarray(LEFT_OUT)[rounds].ravel().tolist()),
            "calls_per_sample": (1,) * n,
            "n_documents": (n_documents or size,) * n,
            "cpu_ns": tuple((0.9 * wall_ns).astype(int).ravel().tolist()),
        },
    )
