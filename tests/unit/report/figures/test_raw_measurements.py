"""What the page shows from the measurements: every call that counts, what was left out, and the machine."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pytest

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import assemble_candidates
from bakeoff.core.decision.decide import Decision, decide, list_used
from bakeoff.core.decision.production import Production
from bakeoff.core.records import Measurement
from bakeoff.core.validity.flags import CONTENDED, DISTURBED
from bakeoff.measure.statistics.readings import APART, BLOCK, COUNTED, LATENCY, Reading
from bakeoff.report import render_html
from bakeoff.report.figures.distributions import DistributionRow, Panel, describe_left_out, draw_panels
from bakeoff.report.figures.raw_measurements import RawMeasurements
from bakeoff.report.page.trust import CALIBRATION_HEIGHT, draw_calibration
from bakeoff.report.text.units import format_latency, format_ms
from unit.report.measured import (
    CALIBRATION_NS,
    N_COUNTED,
    N_REPEATS,
    N_ROUNDS,
    measure_field,
    measure_rates,
)
from unit.report.page.test_html import Page


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


def heights_of(row: DistributionRow) -> tuple[float, list[int]]:
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
    for panel in draw_panels(measured, RawMeasurements(measured, measurements)):
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
    for panel in draw_panels(measured, RawMeasurements(measured, measurements)):
        slope, start = read_scale(panel)
        for row in panel.rows.shown:
            for mark in row.marks:
                estimate = row.estimates[mark.name]
                assert estimate is not None
                assert mark.at == pytest.approx(start + slope * math.log(estimate.value), abs=0.3)
                assert mark.whisker.start <= mark.at <= mark.whisker.end
            assert row.n_processes == N_REPEATS
            assert 1 <= row.processes.count("v5") <= N_REPEATS


def test_without_the_calls_the_quantiles_of_the_decision_are_drawn_alone(measured: Decision) -> None:
    for panel in draw_panels(measured, RawMeasurements(measured, ())):
        assert not panel.has_shapes
        for row in panel.rows.shown:
            assert row.shape == ""
            assert row.n_calls is None
            known = {name for name, one in row.estimates.items() if one is not None}
            assert {mark.name for mark in row.marks} == known - {"p90"}
            assert {"p50", "p90"} <= known
    page = page_of(measured, ())
    assert "12 of 12 measurements are not on the disk where this page was made" in page.text


def test_counts_say_what_is_left_out_and_why(measured: Decision, measurements: list[Measurement]) -> None:
    rows = page_of(measured, measurements).rows()
    late = disturbed = N_COUNTED // (N_ROUNDS - 2)
    told = (
        f"300 900 {N_REPEATS} {N_REPEATS * N_ROUNDS} batch 1: {N_COUNTED} batch 8: {N_COUNTED} "
        f"batch 1: {late} late, {disturbed} disturbed batch 8: {late} late, {disturbed} disturbed 2026-01-02"
    )
    for standing in measured.standings:
        assert any(row.startswith(f"{standing.backbone} × {standing.runtime} {told}") for row in rows)


def test_calls_with_the_cpus_apart_are_told_among_those_left_out(measurements: list[Measurement]) -> None:
    latency = next(row for each in measurements for row in each.readings if row.quantity == LATENCY)
    why = tuple(APART if number == 0 else COUNTED for number in latency.columns["round"])
    moved = latency.model_copy(update={"columns": {**latency.columns, "left_out": why}})
    assert describe_left_out(moved) == f"{why.count(APART)} with the CPUs apart"


def test_the_calibration_loop_is_told_with_its_spread_and_drawn_in_the_order_of_the_processes(
    measured: Decision, measurements: list[Measurement]
) -> None:
    page = page_of(measured, measurements)
    assert "1.00 ms -1.0% to +5.0%" in page.text
    (name,) = (
        e.attributes["aria-label"] for e in page.elements if e.attributes.get("class") == "calibration"
    )
    assert name == "Calibration loop: median 1.00 ms, from -1.0% to +5.0% over 5 processes"
    calibration = draw_calibration(CALIBRATION_NS)
    assert calibration is not None
    assert [x for x, _ in calibration.dots] == sorted(x for x, _ in calibration.dots)
    assert sorted(range(5), key=lambda n: -calibration.dots[n][1]) == sorted(
        range(5), key=lambda n: CALIBRATION_NS[n]
    )
    assert all(0 < y < CALIBRATION_HEIGHT for _, y in calibration.dots)


def test_a_heat_without_calibration_loop_is_shown_without_one() -> None:
    measurements = measure_field(calibration_ns=())
    assert "– not read" in page_of(decide_on(measurements), measurements).text


def test_the_cost_of_the_instrument_stands_beside_the_quickest_call(
    measured: Decision, measurements: list[Measurement]
) -> None:
    text = page_of(measured, measurements).text
    assert "A call that does nothing takes 80 ns, at most <0.1% of the quickest median call." in text


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
    busy = CONTENDED.raised("94% of the rounds were disturbed")
    measurements = [
        one.model_copy(update={"flags": (busy,)}) if one.job.scenario.kind == "latency" else one
        for one in measure_field()
    ]
    page = page_of(decide_on(measurements), measurements)
    assert "? measurements of 6 candidates: contended: low confidence" in page.text
    assert "12 measurements, 6 of them while the machine was busy" in page.text
    assert "each of them valid" not in page.text
    assert "✓ all measurements: valid" in page_of(decide_on(measure_field()), measure_field()).text


def contend(measurements: Sequence[Measurement]) -> list[Measurement]:
    """As they would be, had other work disturbed most rounds of the latencies."""
    busy = (CONTENDED.raised("94% of the rounds were disturbed"),)
    return [
        one.model_copy(update={"flags": busy}) if one.job.scenario.kind == "latency" else one
        for one in measurements
    ]


@pytest.mark.parametrize("threads", [1, 2])
def test_contended_figures_are_marked_by_a_word_and_ratios_of_cpu_time_say_so(threads: int) -> None:
    measurements = contend(measure_field(threads=threads))
    known = Production(model="ner", version="7", benchmark_keys=(measurements[0].job.key,))
    decision = decide_on(measurements, known)
    page = page_of(decision, measurements)
    is_by_cpu = threads == 1
    for standing in decision.standings:
        assert (standing.is_contended, standing.clock == "CPU time") == (True, is_by_cpu)
        name = f"{standing.backbone} × {standing.runtime}"
        rows = [row for row in page.rows() if row.startswith(name)]
        assert sum(" contended" in row for row in rows) == 3  # standings, and latency at two batch sizes
        assert sum(" by CPU time" in row for row in rows) == 2 * is_by_cpu  # standings, and production
    assert ("By CPU time: compared by the time" in page.text) == is_by_cpu
    assert "; contended: an upper bound" in page.text
    assert ("contended" in page_of(decide_on(measure_field()), measure_field()).text) is False


def test_a_contended_decision_by_a_tail_is_of_cpu_time_too() -> None:
    busy = contend(measure_field(threads=1))
    settings = DecisionSettings.model_validate({"resamples": 400, "quantile": 0.95})
    candidates, _ = assemble_candidates(busy, settings)
    assert {row.clock for row in decide(candidates, settings).standings} == {"CPU time"}


def with_rates(measurements: Sequence[Measurement], unmet: int = 0) -> list[Measurement]:
    """Also throughput and a server of every candidate."""
    latencies = [one for one in measurements if one.job.scenario.kind == "latency"]
    return [*measurements, *(more for one in latencies for more in measure_rates(one, unmet=unmet))]


def test_throughput_and_serving_are_told_of_every_candidate_with_intervals(
    measurements: list[Measurement],
) -> None:
    everything = with_rates(measurements)
    decision = decide_on(everything)
    page = page_of(decision, everything)
    head = "Candidate documents/s, batch 32 requests/s, p99 ≤ 50 ms response p50, ms response p99, ms"
    assert head in page.rows()
    for standing in decision.standings:
        costs = standing.costs
        assert costs is not None
        assert costs.served is not None
        figures = (
            costs.documents_per_s,
            costs.max_rate_per_s,
            costs.served.response_p50_ms,
            costs.served.response_p99_ms,
        )
        told = " ".join(format_latency(one) for one in figures if one is not None)
        assert f"{standing.backbone} × {standing.runtime} {told}" in page.rows()
    assert "Response times count from the scheduled arrival" in page.text
    assert "≥" not in page.text.partition("Throughput and serving")[2].partition("What a winner must meet")[0]


def test_a_server_without_a_rate_says_why_in_place_of_it(measurements: list[Measurement]) -> None:
    everything = with_rates(measurements, unmet=2)
    page = page_of(decide_on(everything), everything)
    titles = [element.attributes.get("title") for element in page.elements if element.tag == "abbr"]
    assert titles.count("no rate that was tried met the limit in 2 of 5 processes") == 3 * 6  # rate, p50, p99


def test_rates_of_a_busy_machine_are_told_to_be_at_least_so_much(measurements: list[Measurement]) -> None:
    disturbed = (DISTURBED.raised("waited for a CPU 9.1% of the time"),)
    everything = [
        one.model_copy(update={"flags": disturbed}) if one.job.scenario.kind == "server" else one
        for one in with_rates(measurements)
    ]
    text = page_of(decide_on(everything), everything).text
    assert "≥ marks a rate that is too low: other work took part of the machine." in text
    assert text.count(" ≥ ") >= 2 * 6
    assert "A server has no rounds, so its rate is a lower bound" in text


def test_without_throughput_and_server_there_is_no_table_of_them(measurements: list[Measurement]) -> None:
    assert "Throughput and serving" not in page_of(decide_on(measurements), measurements).text


def test_what_a_start_takes_is_told_of_the_batch_size_that_meets_a_cold_process(
    measured: Decision, measurements: list[Measurement]
) -> None:
    page = page_of(measured, measurements)
    assert "Candidate memory model size load time first call warm-up tokenising a text" in page.rows()
    for standing in measured.standings:
        costs = standing.costs
        assert costs is not None
        told = f"{format_ms(costs.load_ms or 0)} {format_ms(costs.first_call_ms[1])} 512 ms 0.0371 ms"
        assert f"{standing.backbone} × {standing.runtime} – – {told}" in page.rows()


def without_flags(measurements: Sequence[Measurement]) -> list[Measurement]:
    return [one.model_copy(update={"flags": ()}) for one in measurements]


def undisturbed(reading: Reading) -> Reading:
    why = tuple(COUNTED for _ in reading.columns.get("left_out", ()))
    return reading.model_copy(update={"columns": {**reading.columns, "left_out": why}}) if why else reading


def test_without_flags_the_share_of_disturbed_rounds_is_told_all_the_same() -> None:
    clean = without_flags(measure_field())
    share = max(row.dirty_share for one in clean for row in one.readings)
    assert share > 0
    text = page_of(decide_on(clean), clean).text
    told = (
        f"other work disturbed at most {share:.1%} of a candidate’s rounds, which were excluded and repeated"
    )
    assert told in text
    assert "Other work on spare CPUs is not judged." in text
    quiet = [
        one.model_copy(update={"readings": tuple(undisturbed(row) for row in one.readings)}) for one in clean
    ]
    assert "counters show no round that other work disturbed" in page_of(decide_on(quiet), quiet).text


def test_without_counters_or_measurements_nothing_is_claimed_of_other_work() -> None:
    clean = without_flags(measure_field())
    blind = [
        one.model_copy(update={"readings": tuple(row for row in one.readings if row.quantity != BLOCK)})
        for one in clean
    ]
    assert "the system has no counters that would show" in page_of(decide_on(blind), blind).text
    assert "other work disturbed at most 10% of a candidate’s rounds" in page_of(decide_on(clean), ()).text


def test_what_is_measured_alone_is_told_by_its_waits_for_a_cpu() -> None:
    waits = "Of each measurement made alone, at most 10% was disturbed."
    clean = without_flags(measure_field())
    assert waits not in page_of(decide_on(clean), clean).text
    served = without_flags(with_rates(clean))
    assert waits in page_of(decide_on(served), served).text


def test_a_heat_that_met_its_targets_says_of_which_intervals(
    measured: Decision, measurements: list[Measurement]
) -> None:
    text = page_of(measured, measurements).text
    assert "each requested 95% interval, by itself, reached its target" in text
    assert "intervals that hold for several candidates together" in text


def test_each_candidate_is_compared_with_production(measurements: list[Measurement]) -> None:
    known = measurements[0].job.key
    decision = decide_on(measurements, Production(model="ner", version="7", benchmark_keys=(known,)))
    page = page_of(decision, measurements)
    assert "against minilm-l6 × torch-fp32, which is in production (version 7 of ner)." in page.text
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
    assert "No candidate to compare with: version 7 of ner is not among the measured" in text


def test_what_was_used_is_listed_with_its_attempt(
    measured: Decision, measurements: list[Measurement]
) -> None:
    text = page_of(measured, measurements).text
    for one in measurements:
        assert f"2026-01-02T03:04:05+00:00, attempt 1: {one.job.key}" in text
