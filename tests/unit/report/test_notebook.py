"""What a notebook shows of the values that the stages return."""

from __future__ import annotations

from collections.abc import Callable

import bakeoff
from bakeoff.core.job import Job
from bakeoff.core.plan.jobs import Plan, PlannedJob
from bakeoff.core.records import FailedAttempt
from bakeoff.orchestrator.bench.bench import BenchResult
from bakeoff.report.notebook import show
from unit.models import model_of

from .conftest import make_decision, make_selections


def rendered(value: object) -> str:
    return show(value)._repr_html_()  # type: ignore[arg-type]


def test_a_decision_is_shown_with_its_winner_reasons_and_every_candidate() -> None:
    decision = make_decision()
    page = rendered(decision)
    assert decision.winner is not None
    assert f"<strong>Winner: {decision.winner}</strong>" in page
    assert page.count("<tr") == 1 + len(decision.standings)
    assert all(standing.label in page for standing in decision.standings)
    (bold,) = [line for line in page.splitlines() if "font-weight: bold" in line]
    assert decision.winner in bold


def test_selections_are_shown_with_the_reason_of_a_backbone_without_champion() -> None:
    page = rendered(make_selections())
    assert "3 of 4 backbones with a champion" in page
    assert "2 valid trials; at least 3 are asked for" in page


def test_champions_are_shown_one_a_row() -> None:
    champions = [one.champion for one in make_selections().values() if one.champion]
    assert "3 champions" in rendered(champions)
    assert rendered(champions).count("<tr") == 4
    assert "<table>" not in rendered([])


def test_a_plan_is_shown_job_by_job_with_the_reasons(make_job: Callable[..., Job]) -> None:
    job = make_job()
    plan = Plan(
        jobs=(PlannedJob(job=job, model=model_of(job), action="measure", reason="new champion", attempt=1),)
    )
    page = rendered(plan)
    assert "1 to measure, 0 reused, 0 left alone" in page
    assert job.label in page
    assert "new champion" in page


def test_what_bench_returned_is_shown_with_failures_and_what_waits_to_be_logged(
    make_job: Callable[..., Job],
) -> None:
    job = make_job()
    planned = PlannedJob(job=job, model=model_of(job), action="reuse", reason="measured yesterday", attempt=1)
    result = BenchResult(
        plan=Plan(jobs=(planned,)),
        measured=(),
        failed=(FailedAttempt(job=job, attempt=1, failed_at="", reason="killed by SIGKILL", detail=""),),
        result_files={},
        unlogged=1,
        wall_s=0.0,
    )
    page = rendered(result)
    assert "0 measured, 1 failed, 1 reused, 0 left alone" in page
    assert "killed by SIGKILL" in page
    assert "measured yesterday" in page
    assert "1 result on disk, not yet in the tracking store." in page


def test_names_from_outside_are_escaped_and_cleaned(make_job: Callable[..., Job]) -> None:
    hostile = "<script>alert(1)</script>\x1b[31m\u202ered"
    job = make_job()
    plan = Plan(jobs=(PlannedJob(job=job, model=model_of(job), action="leave", reason=hostile, attempt=1),))
    page = rendered(plan)
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;red" in page
    assert not {"\x1b", "\u202e"} & set(page)


def test_the_public_name_is_the_same_function() -> None:
    assert bakeoff.show is show
    assert repr(show(make_decision())).startswith("<Winner: minilm-")


def test_a_decision_and_its_champions_are_drawn_as_on_the_page() -> None:
    decision, selections = make_decision(), make_selections()
    page = rendered(decision)
    assert page.count('class="point ') == len(decision.standings)
    assert page.count("<style>") == 1
    assert "url(" not in page
    drawn = rendered(selections)
    assert drawn.count('<svg class="trials"') == 3
    assert "learning_rate = 3e-05; epochs = 3" in drawn
    assert "f1 of 9 trials, of which more is better" in drawn
    assert "<svg" not in rendered(make_decision(objective={"kind": "fastest"}).replace(metric=None))
