"""Tables of all stages: no width, terminal or pipe breaks an id."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import pytest
from rich.console import Group, RenderableType

from bakeoff.cli import output, tables
from bakeoff.core.job import Job
from bakeoff.core.plan.existing import ExistingBenchmark
from bakeoff.core.plan.jobs import Explanation, PartComparison, Plan, PlannedJob
from bakeoff.core.records import FailedAttempt
from bakeoff.disk.digest import shorten
from bakeoff.orchestrator.bench.bench import BenchResult
from bakeoff.orchestrator.sweep.lead import SweepResult
from bakeoff.report.text.comparison import render_comparison
from unit.models import model_of
from unit.report.conftest import make_selections
from unit.report.text.test_comparison import make_comparison

RUN, DIGEST = sha256(b"run").hexdigest()[:32], sha256(b"digest").hexdigest()
REASON = f"measured 2026-01-02T03:04:05+00:00, run {RUN} of the checkpoint with digest {DIGEST}; as before"
_LEAST = 6  # so many digits in common are no accident


@pytest.fixture(params=[(60, True), (80, True), (60, False), (80, False), (100, False)])
def show(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[RenderableType], str]:
    """Show on a terminal of some width, or to a pipe."""
    width, is_terminal = request.param
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TTY_COMPATIBLE", str(int(is_terminal)))
    monkeypatch.setenv("NO_COLOR", "1")

    def shown(renderable: RenderableType) -> str:
        output.show(renderable)
        return capsys.readouterr().out

    return shown


def is_whole(text: str, id_: str) -> bool:
    """Return whether a text holds the id, whole or shortened, and no other piece of it."""
    n = text.count(id_) + text.replace(id_, "").count(shorten(id_))
    rest = text.replace(id_, "").replace(shorten(id_), "")
    pieces = (id_[at : at + _LEAST] for at in range(len(id_) - _LEAST))
    return n > 0 and not any(piece in rest for piece in pieces)


def test_sweeps_and_champions(show: Callable[[RenderableType], str]) -> None:
    swept = SweepResult(
        backbone="minilm-l6-of-a-long-name",
        study_key_hash=DIGEST,
        action="run",
        n_trials=20,
        n_pruned=3,
        best_metric=0.8,
        failure=f"no room left on the device while run {RUN} was written",
    )
    text = show(tables.table_of_sweep([swept]))
    assert is_whole(text, DIGEST)
    assert is_whole(text, RUN)
    selections = make_selections()
    text = show(tables.table_of_champions(selections))
    champions = [one.champion for one in selections.values() if one.champion]
    assert all(is_whole(text, champion.run_id) for champion in champions)


def test_plans_and_explanations(show: Callable[[RenderableType], str], make_job: Callable[..., Job]) -> None:
    job = make_job()
    planned = PlannedJob(job=job, model=model_of(job), action="reuse", reason=REASON, attempt=1)
    text = show(tables.table_of_plan(Plan(jobs=(planned,))))
    assert is_whole(text, RUN)
    assert is_whole(text, DIGEST)
    nearest = ExistingBenchmark(key=job.key, champion_run_id=RUN, state="valid", run_id=RUN)
    parts = (PartComparison(name="checkpoint_digest", found=f'"{DIGEST}"', wanted=f'"{DIGEST[::-1]}"'),)
    text = show(tables.table_of_explanation(Explanation(planned=planned, nearest=nearest, parts=parts)))
    assert f"key      {job.key}" in text
    assert f"digest   {job.key_digest}" in text
    assert f"run {RUN}," in text
    assert is_whole(text, DIGEST)
    assert is_whole(text, DIGEST[::-1])


def test_benchmarks_and_comparisons(
    show: Callable[[RenderableType], str], make_job: Callable[..., Job]
) -> None:
    job = make_job()
    planned = PlannedJob(job=job, model=model_of(job), action="reuse", reason=REASON, attempt=1)
    failed = FailedAttempt(job=make_job(), attempt=1, failed_at="", reason="checkpoint", detail=REASON)
    result = BenchResult(
        plan=Plan(jobs=(planned,)), measured=(), failed=(failed,), result_files={}, unlogged=1, wall_s=1.0
    )
    text = show(tables.table_of_bench(result))
    assert "1 result on disk" in " ".join(text.split())
    compared = show(render_comparison(make_comparison(f"model of run {RUN} with {DIGEST}")))
    for shown in (text, compared):
        assert is_whole(shown, RUN)
        assert is_whole(shown, DIGEST)


def test_a_pipe_gets_no_colour(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    output.show(Group(tables.table_of_champions(make_selections())))
    assert "\x1b" not in capsys.readouterr().out
