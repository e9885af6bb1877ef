"""What the page shows from the measurements: every call that counts, what was left out, and the machine."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pytest

from bakeoff.core.candidates import assemble_candidates
from bakeoff.core.decision import Decision, decide, list_used
from bakeoff.core.production import Production
from bakeoff.core.records import CONTENDED, Flag, Measurement
from bakeoff.core.settings import DecisionSettings
from bakeoff.measure.readings import APART, COUNTED, LATENCY
from bakeoff.report import render_html
from bakeoff.report.distributions import Distribution, Panel, describe_left_out, draw_panels
from bakeoff.report.evidence import Evidence
from bakeoff.report.trust import CANARY_HEIGHT, draw_canary
from unit.report.measured import CANARY_NS, N_COUNTED, N_GENERATIONS, N_ROUNDS, measure_field
from unit.report.test_page import Page


def decide_on(measurements: Sequence[Measurement], production: Production | None = None) -> Decision:
    settings = DecisionSettings.model_validate({"resamples": 400})
    candidates, incomplete = assemble_candidates(measurements, settings)
    made = decide(candidates, settings, incomplete, production)
    return made.model_copy(update={"measurements": list_used(measurements)})


@pytest.fixture(scope="module")
def measurements() -> list[Measurement]:
    return measure_field()


@pytest.fixture(scope="module")
def measured(measurements: list[Measurement]) -> Decision:
    return decide_on(measurements)


def page_of(decision: Decision, measurements: Sequence[Measurement]) -> Page:
    page = Page(render_html(decision, {}, {}, measurements=measurements))
    assert page.faults == []
    return page


def read_scale(panel: Panel) -> tuple[float, float]:
    """Slope and start of the axis, learnt from its outermost ticks as a reader would."""
    first, last = panel.ticks[0], panel.ticks[-1]
    low, high = (math.log(float(tick.text.replace(",", ""))) for tick in (first, last))
    slope = (last.at - first.at) / (high - low)
    return slope, first.at - slope * low


def heights_of(row: Distribution) -> tuple[float, list[int]]:
    """Where the hill begins, and its height at every third unit from there."""
    begin = float(re.match(r"M([\d.]+) ", row.shape)[1])  # type: ignore[index]
    heights, height = [], 0
    for letter, number in re.findall(r"([vh])(-?\d+)", row.shape):
        if letter == "v":
            height -= int(number)
        else:
            heights += [height] * (int(number) // 3)
    assert height == 0
    return begin, heights


def test_a_hill_is_the_histogram_of_the_calls_that_count(
    measured: Decision, measurements: list[Measurement]
) -> None:
    for panel in draw_panels(measured, Evidence(measured, measurements)):
        slope, start = read_scale(panel)
        for row in panel.rows.shown:
            (reading,) = (
                found
                for one in measurements
                if one.job.key in row.standing.benchmark_keys
                and (found := one.reading(LATENCY, batch_size=panel.batch_size))
            )
            calls = np.asarray(reading.values)[reading.counted] / 1e6
            begin, heights = heights_of(row)
            assert row.n_calls == len(calls) == N_COUNTED
            edges = begin + 3 * np.arange(1, len(heights) + 1)
            below = np.mean(start + slope * np.log(calls) <= edges[:, np.newaxis], axis=1)
            # Heights are whole numbers and ticks rounded, so the shares are near to the calls', not equal.
            assert np.cumsum(heights) / sum(heights) == pytest.approx(below, abs=0.08)
            assert max(heights) == 22


def test_marks_lie_at_their_quantiles_and_ticks_at_the_medians_of_the_processes(
    measured: Decision, measurements: list[Measurement]
) -> None:
    for panel in draw_panels(measured, Evidence(measured, measurements)):
        slope, start = read_scale(panel)
        for row in panel.rows.shown:
            for mark in row.marks:
                estimate = row.estimates[mark.name]
                assert estimate is not None
                assert mark.at == pytest.approx(start + slope * math.log(estimate.value), abs=0.3)
                assert mark.whisker.start <= mark.at <= mark.whisker.end
            assert row.n_processes == N_GENERATIONS
            assert 1 <= row.processes.count("v5") <= N_GENERATIONS


def test_without_the_calls_the_quantiles_of_the_decision_are_drawn_alone(measured: Decision) -> None:
    for panel in draw_panels(measured, Evidence(measured, ())):
        assert not panel.has_shapes
        for row in panel.rows.shown:
            assert row.shape == ""
            assert row.n_calls is None
            assert len(row.marks) == sum(one is not None for one in row.estimates.values()) > 0
    page = page_of(measured, ())
    assert "12 of 12 measurements are not on the disk where this page was made" in page.text


def test_counts_say_what_is_left_out_and_why(measured: Decision, measurements: list[Measurement]) -> None:
    rows = page_of(measured, measurements).rows()
    late = disturbed = N_COUNTED // (N_ROUNDS - 2)
    told = (
        f"300 900 {N_GENERATIONS} {N_GENERATIONS * N_ROUNDS} batch 1: {N_COUNTED} batch 8: {N_COUNTED} "
        f"batch 1: {late} late, {disturbed} disturbed batch 8: {late} late, {disturbed} disturbed 2026-01-02"
    )
    for standing in measured.standings:
        assert any(row.startswith(f"{standing.backbone} × {standing.runtime} {told}") for row in rows)


def test_calls_with_the_cpus_apart_are_told_among_those_left_out(measurements: list[Measurement]) -> None:
    latency = next(row for each in measurements for row in each.readings if row.quantity == LATENCY)
    why = tuple(APART if number == 0 else COUNTED for number in latency.columns["round"])
    moved = latency.model_copy(update={"columns": {**latency.columns, "left_out": why}})
    assert describe_left_out(moved) == f"{why.count(APART)} with the CPUs apart"


def test_the_canary_is_told_with_its_spread_and_drawn_in_the_order_of_the_processes(
    measured: Decision, measurements: list[Measurement]
) -> None:
    page = page_of(measured, measurements)
    assert "1.00 ms -1.0% to +5.0%" in page.text
    (name,) = (e.attributes["aria-label"] for e in page.elements if e.attributes.get("class") == "canary")
    assert name == "Canary: median 1.00 ms, from -1.0% to +5.0% over 5 processes"
    canary = draw_canary(CANARY_NS)
    assert canary is not None
    assert [x for x, _ in canary.dots] == sorted(x for x, _ in canary.dots)
    assert sorted(range(5), key=lambda n: -canary.dots[n][1]) == sorted(range(5), key=lambda n: CANARY_NS[n])
    assert all(0 < y < CANARY_HEIGHT for _, y in canary.dots)


def test_a_heat_without_canary_is_shown_without_one() -> None:
    measurements = measure_field(canary_ns=())
    assert "– not read" in page_of(decide_on(measurements), measurements).text


def test_the_cost_of_the_instrument_stands_beside_the_quickest_call(
    measured: Decision, measurements: list[Measurement]
) -> None:
    text = page_of(measured, measurements).text
    assert "Timing a call that does nothing reads 80 ns, at most <0.1% of the quickest median call." in text


def test_the_state_of_the_machine_is_told_in_words_and_its_load_before_and_after(
    measured: Decision, measurements: list[Measurement]
) -> None:
    page = page_of(measured, measurements)
    assert "instruction sets avx2 avx512_vnni caches L1d 32 KiB, L2 1024 KiB" in page.text
    assert "memory 16.0 GiB" in page.text
    assert "Other whatever_else it says" in page.text
    assert "load average over 1, 5, 15 min 0.10 0.20 0.30 1.90 0.80 0.50" in page.rows()
    assert "waiting for a CPU 1.50% over 10 s, 9.98% over 60 s –" in page.rows()


def test_measurements_of_a_busy_machine_are_told_in_verdict_and_trust() -> None:
    busy = Flag(name=CONTENDED, detail="94% of the rounds were disturbed")
    measurements = [
        one.model_copy(update={"flags": (busy,)}) if one.job.scenario.kind == "latency" else one
        for one in measure_field()
    ]
    page = page_of(decide_on(measurements), measurements)
    assert "? measurements of 6 candidates: contended: low confidence" in page.text
    assert "12 measurements, 6 of them while the machine was busy" in page.text
    assert "each of them valid" not in page.text
    assert "✓ all measurements: valid" in page_of(decide_on(measure_field()), measure_field()).text


def test_each_candidate_is_compared_with_production(measurements: list[Measurement]) -> None:
    known = measurements[0].job.key
    decision = decide_on(measurements, Production(model="ner", version="7", benchmark_keys=(known,)))
    page = page_of(decision, measurements)
    assert "In production is minilm-l6 × torch-fp32, version 7 of ner." in page.text
    rows = page.rows()
    for standing in decision.standings:
        distance = standing.versus_production
        assert distance is not None
        ratio = f"{distance.latency_ratio.value:.2f}×"
        begin = f"{standing.backbone} × {standing.runtime} {standing.place}"
        assert any(row.startswith(begin) and f" {ratio} [" in row for row in rows)
    assert "minilm-l6 × torch-fp32 beaten in production 0.000 [0.000, 0.000] 1.00× [1.000, 1.000]" in rows


def test_a_version_that_was_not_measured_is_told_in_place_of_a_comparison(
    measurements: list[Measurement],
) -> None:
    decision = decide_on(measurements, Production(model="ner", version="7", benchmark_keys=("other",)))
    text = page_of(decision, measurements).text
    assert "There is no candidate to compare with: version 7 of ner is not among the measured" in text


def test_what_was_used_is_listed_with_its_attempt(
    measured: Decision, measurements: list[Measurement]
) -> None:
    text = page_of(measured, measurements).text
    for one in measurements:
        assert f"2026-01-02T03:04:05+00:00, attempt 1: {one.job.key}" in text
