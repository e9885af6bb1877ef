"""The decision on a terminal: who wins and why, for everyone, also without colour."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable

import pytest
from rich.console import Console

from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.decide import Decision
from bakeoff.core.records import Flag
from bakeoff.core.validity.flags import CONTENDED, UNSUPPORTED
from bakeoff.report import render_terminal
from bakeoff.report.text.units import format_number_of_ms, latency_interval
from judged import quality_of
from unit.report.figures.test_raw_measurements import contend, decide_on, with_rates
from unit.report.measured import measure_field

CandidateMaker = Callable[..., Candidate]
DecisionMaker = Callable[..., Decision]
HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;https://example.org\x07link\x1b]8;;\x07",
    "\x1b[2J\x1b[1;1H",
    "model\u202egnp.exe",
    "[bold red]markup[/]",
    "[link=https://example.org]click[/link]",
    "two\nlines\r",
)


def show(decision: Decision, width: int = 100, **options: bool | str) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, **options)  # type: ignore[arg-type]
    console.print(render_terminal(decision))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def flat(text: str) -> str:
    """Without the breaks that the width makes."""
    return " ".join(text.split())


def section(text: str, name: str) -> str:
    """The lines below a heading, up to the next."""
    _, _, rest = text.partition(f"\n{name}\n")
    lines = rest.splitlines()
    end = next((n for n, line in enumerate(lines) if not line.strip()), len(lines))
    return "\n".join(lines[:end])


def test_the_first_line_is_the_verdict(decision: Decision, tie: Decision, nobody: Decision) -> None:
    assert show(decision).splitlines()[0].rstrip() == f"winner  {decision.winner}"
    assert show(tie).splitlines()[0].rstrip() == "A tie between 2 candidates"
    assert show(nobody).splitlines()[0].rstrip() == "No winner"


@pytest.mark.parametrize("name", ["decision", "tie", "nobody", "alone", "crowd"])
def test_every_candidate_has_its_place_its_numbers_and_its_reason(
    name: str, request: pytest.FixtureRequest
) -> None:
    decision: Decision = request.getfixturevalue(name)
    text = show(decision, width=180)
    reasons = flat(section(text, "Reasons"))
    table = text.partition("Reasons")[0].splitlines()
    for row in decision.standings:
        (line,) = (line for line in table if f" {row.place} " in line and f" {row.label} " in line[:60])
        assert f"{quality_of(row).value:.3f} [{quality_of(row).low:.3f}, {quality_of(row).high:.3f}]" in line
        assert row.score is not None
        assert f"{row.score.value:.3f}" in line
        assert line.lstrip().startswith("◆") == row.is_on_front
        if row.place != "winner":
            assert f"{row.label}: {row.reason}" in reasons
    for reason in decision.reasons:
        assert reason in reasons


def test_the_units_the_level_and_the_reference_are_told(make_decision: DecisionMaker) -> None:
    decision = make_decision(confidence=0.9, batch_size=8, quantile=0.95)
    text = flat(show(decision))
    assert "p95 ms, batch 8" in text
    assert "Intervals hold with 90% confidence; score 1 is minilm-l6 × torch-fp32." in text


def test_what_the_winner_gives_up_is_told(decision: Decision) -> None:
    text = flat(show(decision))
    assert "The most accurate of the others, minilm-l6 × onnxruntime-fp32, has " in text
    assert "more F1 and is " in text
    assert "The fastest of the others, minilm-l2 × onnxruntime-fp32, has " in text


def test_each_constraint_is_told_with_all_who_are_not_known_to_meet_it(decision: Decision) -> None:
    lines = section(show(decision, width=180), "Constraints")
    for number, name in enumerate(("p95 at batch size 1 ≤ 12 ms", "F1 ≥ 0.78")):
        results = [(row.label, row.constraints[number]) for row in decision.standings]
        n_met = sum(result.result == "met" for _, result in results)
        assert f"{name}: met by {n_met} of 6 candidates" in lines
        for label, result in results:
            assert (f"{label}: {result.result}: {result.text}" in lines) == (result.result != "met")


def test_costs_are_told_with_their_units_for_every_candidate(priced: Decision) -> None:
    lines = show(priced, width=100).splitlines()
    (head,) = (number for number, line in enumerate(lines) if line.startswith("costs "))
    assert flat(lines[head]) == "costs memory model size load time per million per million, served"
    rows = {line.split("  ")[0].strip(): line.split() for line in lines[head + 1 : head + 3]}
    tail = ["87.3", "MiB", "21.8", "MiB", "123", "ms", "1.23"]
    assert rows["minilm-l6 × onnxruntime-fp32"][-8:] == [*tail, "0.694"]
    assert rows["minilm-l6 × torch-fp32"][-8:] == [*tail, "–"]


def test_money_is_told_only_where_a_price_is_set(priced: Decision) -> None:
    settings = priced.settings.model_copy(update={"price_per_hour": None})
    text = show(priced.model_copy(update={"settings": settings}))
    assert "load time" in text
    assert "per million" not in text


def test_a_decision_without_costs_has_no_table_of_them(decision: Decision) -> None:
    assert "model size" not in show(decision)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_throughput_and_serving_are_shown_with_their_intervals(width: int) -> None:
    measurements = with_rates(measure_field())
    decision = decide_on(measurements)
    lines = show(decision, width=width).splitlines()
    assert max(map(len, lines)) <= width
    text = flat("\n".join(lines))
    assert "requests/s," in text
    assert "Response times count from the scheduled arrival" in text
    for standing in decision.standings:
        costs = standing.costs
        assert costs is not None
        assert costs.served is not None
        figures = (costs.documents_per_s, costs.max_rate_per_s, costs.served.response_p99_ms)
        for figure in figures:
            assert figure is not None
            assert f" {format_number_of_ms(figure.value)} " in text
            assert f" {latency_interval(figure)} " in text
    assert "…" not in text


@pytest.mark.parametrize("threads", [1, 2])
def test_a_busy_machine_is_told_below_the_standings_and_so_is_what_is_compared(threads: int) -> None:
    text = flat(show(decide_on(contend(measure_field(threads=threads)))))
    assert "The latency is an upper bound, and comparisons have low confidence. Applies to all." in text
    assert ("By CPU time: compared by the time" in text) == (threads == 1)
    assert "Contended" not in show(decide_on(measure_field()))


def test_every_flag_is_told_with_those_whom_it_concerns(
    make_decision: DecisionMaker, field: list[Candidate]
) -> None:
    marked = field[0].model_copy(
        update={"flags": (*field[0].flags, CONTENDED.raised("waited for a CPU 9.1% of the time (limit 2%)"))}
    )
    lines = section(show(make_decision([marked, *field[1:]]), width=180), "Flags")
    assert f"contended: waited for a CPU 9.1% of the time (limit 2%) ({marked.label})" in lines
    assert "unsupported: p99, batch size 8: 150 samples, 368 are needed (all)" in lines


def test_flags_of_one_name_share_a_line(make_decision: DecisionMaker, field: list[Candidate]) -> None:
    details = [
        UNSUPPORTED.raised(f"batch size {size}: {n} samples", quantity="p99") for size, n in ((1, 9), (8, 5))
    ]
    marked = [
        one.model_copy(update={"flags": (detail,)}) for one, detail in zip(field, details, strict=False)
    ]
    lines = section(show(make_decision([*marked, *field[2:]]), width=180), "Flags")
    assert "unsupported: p99, batch size 1: 9 samples, and 2 like it (all)" in lines


def test_candidates_that_could_not_be_ranked_are_told(make_decision: DecisionMaker) -> None:
    left_out = "minilm-l12 × torch-fp32: no latency measurement"
    assert left_out in section(show(make_decision(None, [left_out])), "Reasons")


def test_without_constraints_and_flags_there_are_no_empty_sections(
    make_decision: DecisionMaker, field: list[Candidate]
) -> None:
    text = show(make_decision([candidate.model_copy(update={"flags": ()}) for candidate in field]))
    assert "Constraints" not in text
    assert "Flags" not in text


@pytest.mark.parametrize("text", HOSTILE)
def test_names_from_outside_bring_no_terminal_sequence_no_markup_and_no_line(
    make_decision: DecisionMaker, make_candidate: CandidateMaker, text: str
) -> None:
    candidates = [
        make_candidate(f"a{text}", f"r{text}", 0.84, 8.0, flags=(Flag(name=text, detail=text),)),
        make_candidate(f"b{text}", f"r{text}", 0.70, 3.0),
    ]
    limit = {"kind": "quality", "at_least": 0.75}
    decision = make_decision(candidates, [f"left out: {text}"], constraints=[limit])
    shown = show(decision, width=400, force_terminal=False)
    seen = [char for char in shown if char != "\n"]
    assert not [char for char in seen if unicodedata.category(char) in {"Cc", "Cf"}]
    if text.startswith("["):
        assert f"a{text} × r{text}" in shown
    coloured = show(decision, width=400, force_terminal=True)
    assert "example.org\x07" not in coloured
    assert "\x1b]8" not in coloured
    assert "\x1b[2J" not in coloured
    tamed = [c.model_copy(update={"backbone": c.backbone[0], "runtime": "r"}) for c in candidates]
    tame = make_decision(tamed, ["left out"], constraints=[limit])
    assert len(shown.splitlines()) <= len(show(tame, width=400).splitlines()) + 4


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_breaks_no_number_and_no_name(priced: Decision, width: int) -> None:
    lines = show(priced, width=width).splitlines()
    assert max(map(len, lines)) <= width
    text = flat("\n".join(lines))
    for row in priced.standings:
        for figure in (
            f"{quality_of(row).value:.3f}",
            f"[{quality_of(row).low:.3f}, {quality_of(row).high:.3f}]",
        ):
            assert f" {figure} " in text
        assert f" {latency_interval(row.latency_ms)} " in text
        assert {row.backbone, row.runtime} <= set(text.split())
    for cost in ("87.3 MiB", "123 ms", "0.694"):
        assert f" {cost} " in text
    assert "…" not in text


@pytest.mark.parametrize("width", [60, 80, 100])
def test_an_id_in_a_reason_is_never_broken(make_decision: DecisionMaker, width: int) -> None:
    run_id, digest = "0123456789abcdef" * 2, "fedcba9876543210" * 4
    decision = make_decision(None, [f"no latency of run {run_id} with the checkpoint of digest {digest}"])
    text = show(decision, width=width)
    assert f"{run_id[:12]} " in text
    assert f"{digest[:12]}" in text
    assert flat(text).count(run_id[12:20]) == flat(text).count(digest[12:20]) == 0


def test_only_a_winner_has_a_green_headline(
    decision: Decision, tie: Decision, nobody: Decision, undecided: Decision
) -> None:
    def first_line(made: Decision) -> str:
        return show(made, force_terminal=True, color_system="standard").splitlines()[0]

    green, yellow = "\x1b[1;32m", "\x1b[1;33m"
    assert green in first_line(decision)
    for made in (tie, nobody, undecided):
        assert green not in first_line(made)
        assert first_line(made).startswith(yellow)
