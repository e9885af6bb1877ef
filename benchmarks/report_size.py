"""How large the page is, how long it takes to make, and how long a browser takes to draw it.

Evidence is made up, and decided on by the real decision: 3 backbones on 6 runtimes, and 200 candidates.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rig import count_entities, report

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import assemble_candidates
from bakeoff.core.decision.decide import Decision, decide, list_used
from bakeoff.core.job import Environment, Hardware, Job, TimedJob, UntimedJob
from bakeoff.core.records import HeatFacts, Measurement
from bakeoff.disk.digest import digest_json
from bakeoff.measure.backends import Torch
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.scenarios import Latency, Quality
from bakeoff.measure.statistics.readings import COUNTED, LATENCY, Reading
from bakeoff.report import render_html

N_DOCUMENTS, N_ENTITIES = 500, 4
REPEATS, ROUNDS, CALLS = 10, 20, 10
BATCH_SIZES = (1, 8, 32)
MB = 1e6
HARDWARE = Hardware(machine="x86_64", cpu_model="Example", physical_cores=2, usable_cpus=2)
ENVIRONMENT = Environment(hardware=HARDWARE, libraries={"python": "3"})


class Case(NamedTuple):
    """How many candidates, and what the page may take."""

    name: str
    backbones: int
    runtimes: int
    max_bytes: float
    max_make_s: float | None
    max_draw_s: float | None


CASES = (
    Case("report_size", 3, 6, 1.5 * MB, 3.0, None),
    Case("report_size_200", 40, 5, 3.0 * MB, None, 5.0),
)


def main() -> int:
    """Make each page, and draw it where a bar asks for that."""
    for case in CASES:
        measurements = list(_measure(case))
        decision = _decide(measurements)
        begin = time.perf_counter()
        html = render_html(decision, {}, {"bakeoff": "benchmark"}, measurements=measurements)
        make_s = time.perf_counter() - begin
        figures, bars = [f"{len(html.encode()) / MB:.2f} MB"], [f"{case.max_bytes / MB:g} MB"]
        holds = len(html.encode()) <= case.max_bytes
        figures.append(f"made in {make_s:.2f} s")
        if case.max_make_s is not None:
            bars.append(f"{case.max_make_s:g} s")
            holds = holds and make_s <= case.max_make_s
        if case.max_draw_s is not None:
            draw_s = _draw(html)
            bars.append(f"drawn in {case.max_draw_s:g} s")
            figures.append("no browser" if draw_s is None else f"drawn in {draw_s:.2f} s")
            holds = holds and draw_s is not None and draw_s <= case.max_draw_s
        n = len(decision.standings)
        report(case.name, f"{n} candidates, {', '.join(figures)}", ", ".join(bars), holds)
    return 0


def _decide(measurements: Sequence[Measurement]) -> Decision:
    settings = DecisionSettings.model_validate(
        {
            "resamples": 1000,
            "constraints": [
                {"kind": "latency", "batch_size": 1, "quantile": 0.95, "at_most_ms": 50},
                {"kind": "quality", "at_least": 0.5},
            ],
        }
    )
    candidates, incomplete = assemble_candidates(measurements, settings)
    made = decide(candidates, settings, incomplete)
    return made.model_copy(update={"measurements": list_used(measurements)})


def _draw(html: str) -> float | None:
    """Seconds from opening the page from disk until its first frame with everything is painted."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        return None
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "report.html"
        page_file.write_text(html, encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=path, args=["--disable-gpu", "--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        begin = time.perf_counter()
        page.goto(page_file.as_uri())
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        seconds = time.perf_counter() - begin
        browser.close()
    return seconds


def _measure(case: Case) -> Iterator[Measurement]:
    """Better backbones are slower, and a runtime with more threads is faster."""
    jobs = [_job(backbone, runtime) for backbone in range(case.backbones) for runtime in range(case.runtimes)]
    for number, job in enumerate(jobs):
        backbone, runtime = divmod(number, case.runtimes)
        ms = 2.0 * 20 ** (backbone / case.backbones) / (1 + 0.3 * runtime)
        generator = np.random.default_rng(number)
        hits = generator.binomial(N_ENTITIES, 0.55 + 0.4 * backbone / case.backbones, N_DOCUMENTS)
        outcomes = count_entities(hits, N_ENTITIES)
        yield _measurement(_untimed(job), [outcomes], None)
        heat = HeatFacts(
            heat_id=f"{number // 8:064x}",
            reference_key=jobs[0].key,
            reference=jobs[0].candidate,
            candidates=tuple(each.candidate for each in jobs[number // 8 * 8 : number // 8 * 8 + 8]),
            repeats=REPEATS,
            is_resident=True,
            stopped="targets",
            wall_s=300.0,
            calibration_ns=tuple(generator.normal(1e6, 1e4, 8 * REPEATS).tolist()),
        )
        yield _measurement(job, [_calls(ms * size**0.8, size, generator) for size in BATCH_SIZES], heat)


def _job(backbone: int, runtime: int) -> Job:
    digest = digest_json([backbone])
    return TimedJob(
        backbone=f"backbone-{backbone}",
        champion_run_id=digest[:32],
        trial_run_id=digest[:32],
        sweep_run_id=digest[:32],
        study_key_hash=digest,
        trial_key_hash=digest,
        checkpoint_digest=digest,
        data_fingerprint=digest,
        eval_fingerprint=digest,
        runtime=Torch(threads=runtime + 1),
        scenario=Latency(batch_sizes=BATCH_SIZES),
        protocol=TimingProtocol(),
        hardware=HARDWARE,
        inputs_digest="9" * 64,
        max_length=64,
        metric_name="f1",
    )


def _untimed(job: Job) -> Job:
    """Make the quality job of the same candidate."""
    shared = {name: value for name, value in dict(job).items() if name in UntimedJob.model_fields}
    return UntimedJob(**shared | {"scenario": Quality()})


def _measurement(job: Job, readings: Sequence[Reading], heat: HeatFacts | None) -> Measurement:
    return Measurement(
        job=job,
        attempt=1,
        measured_at="2026-01-02T03:04:05+00:00",
        environment=ENVIRONMENT,
        heat=heat,
        readings=tuple(readings),
        flags=(),
        wall_s=300.0,
        timed_s=60.0,
    )


def _calls(ms: float, size: int, generator: np.random.Generator) -> Reading:
    shape = (REPEATS, ROUNDS, CALLS)
    repeats, rounds, _ = np.indices(shape)
    process, noise = generator.normal(0, 0.02, (REPEATS, 1, 1)), generator.normal(0, 0.15, shape)
    return Reading(
        quantity=LATENCY,
        unit="ns",
        at={"batch_size": size},
        values=tuple((ms * 1e6 * np.exp(process + noise)).ravel().tolist()),
        repeats=tuple(repeats.ravel().tolist()),
        columns={
            "round": tuple(rounds.ravel().tolist()),
            "left_out": (COUNTED,) * repeats.size,
            "calls_per_sample": (1,) * repeats.size,
            "n_documents": (size,) * repeats.size,
        },
    )


if __name__ == "__main__":
    sys.exit(main())
