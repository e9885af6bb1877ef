"""Tables of all stages but the decision."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from bakeoff.cli.bench_tables import add_row, make_table, tables_of_measured
from bakeoff.core.plan.existing import ExistingBenchmark
from bakeoff.core.plan.jobs import Explanation, Plan
from bakeoff.core.plan.wall_time import WallTime
from bakeoff.core.records import BackboneSelection, Measurement
from bakeoff.disk.digest import shorten
from bakeoff.orchestrator.bench.bench import BenchResult
from bakeoff.orchestrator.sweep.lead import SweepResult
from bakeoff.plural import count
from bakeoff.report.text.champions import list_remarks
from bakeoff.report.text.units import clean, count_trials, format_duration

# A row has room for so many flags; the report has all of them.
MOST_FLAGS = 3
_DIGEST = re.compile(r"[0-9a-f]{64}")


def table_of_sweep(results: Sequence[SweepResult]) -> Table:
    """Make one row a backbone."""
    table = make_table("backbone", "study", "trials", "best (cross-validated)", "outcome", ids=("study",))
    for result in results:
        best = f"{result.best_metric:.4f}" if result.best_metric is not None else "no valid trial"
        done = f"failed: {result.failure}" if result.failure else result.action
        trials = f"{result.n_trials}" + (f" ({result.n_pruned} pruned)" if result.n_pruned else "")
        add_row(table, result.backbone, shorten(result.study_key_hash), trials, best, done)
    return table


def table_of_champions(selections: Mapping[str, BackboneSelection]) -> Table:
    """Make one row a backbone, with the champion or the reason why there is none."""
    run = "champion run"
    table = make_table("backbone", run, "metric", "stable score", "folds", "trials", "remark", ids=(run,))
    for selection in selections.values():
        champion = selection.champion
        counts = count_trials(selection)
        if champion is None:
            add_row(table, selection.backbone, "none", "", "", "", counts, selection.reason or "")
            continue
        tied = len(selection.selection_metadata.get("tied_trials") or [])
        tied_groups = len(selection.selection_metadata.get("tied_groups") or [])
        remarks = [f"tied with {tied} more"] if tied else []
        remarks += [f"its study is tied with {tied_groups} more"] if tied_groups else []
        remarks += list_remarks(selection)
        if any(
            group.key_is_derived
            for group in selection.all_groups
            if group.study_key_hash == champion.study_key_hash
        ):
            remarks.append("no study key recorded; grouped by experiment and parent")
        add_row(
            table,
            selection.backbone,
            shorten(champion.run_id),
            f"{champion.metric:.4f}",
            f"{champion.stable_score:.4f}",
            " ".join("–" if value is None else f"{value:.3f}" for value in champion.fold_metrics),
            counts,
            "; ".join(remarks),
        )
    return table


def table_of_plan(plan: Plan, wall_time: WallTime | None = None) -> Group:
    """Make one row a job, with the counts below."""
    table = make_table("job", "", "why")
    for planned in plan.jobs:
        add_row(table, planned.job.label, planned.action, planned.reason)
    counts = f"{len(plan.todo)} to measure, {len(plan.reused)} reused, {len(plan.left)} left alone"
    if wall_time is not None:
        counts += f"; about {format_duration(wall_time.wall_s)} ({wall_time.basis})"
    return Group(table, Text(counts))


def table_of_explanation(explanation: Explanation) -> Group:
    """Show a job, its nearest benchmark, and every part of the identity, found and wanted."""
    planned, nearest = explanation.planned, explanation.nearest
    lines = [
        planned.job.label,
        f"key      {planned.job.key}",
        f"digest   {planned.job.key_digest}",
        f"{planned.action:<8} {planned.reason}",
        f"nearest  {_describe_nearest(nearest)}",
    ]
    table = make_table("part", "found", "", "wanted")
    for part in explanation.parts:
        sign = "=" if part.is_same else "→"
        add_row(table, part.name, _show_part(part.found), sign, _show_part(part.wanted))
    n_same = sum(part.is_same for part in explanation.parts)
    counts = f"{len(explanation.parts) - n_same} of {count(len(explanation.parts), 'part')} different"
    # Keys and ids are copied from here: they are whole, and the console breaks none.
    return Group(*(Text(clean(line), no_wrap=True, overflow="ignore") for line in lines), table, Text(counts))


def _show_part(value: str | None) -> str:
    """Return a part for people, a digest shortened."""
    if value is None:
        return "–"
    bare = value.strip('"')
    return shorten(bare) if _DIGEST.fullmatch(bare) else value


def _describe_nearest(nearest: ExistingBenchmark | None) -> str:
    if nearest is None:
        return "none of this model"
    where = f"run {nearest.run_id}" if nearest.run_id else "only on this disk"
    reason = f": {nearest.reason}" if nearest.reason and nearest.state != "valid" else ""
    return f"{where}, {nearest.measured_at}, attempt {nearest.attempt}, {nearest.state}{reason}"


def name_flags(measurement: Measurement) -> str:
    """Name the first flags of a measurement, invalidating ones first, and count the others."""
    ordered = sorted(measurement.flags, key=lambda flag: not flag.invalidates)
    names = list(dict.fromkeys(flag.name for flag in ordered))
    more = len(names) - MOST_FLAGS
    return ", ".join(names[:MOST_FLAGS]) + (f" and {count(more, 'other')}" if more > 0 else "")


def table_of_bench(result: BenchResult) -> Group:
    """Make one row a job that ran, with the counts of the others below."""
    table = make_table("job", "outcome", "remark")
    for measurement in result.measured:
        add_row(table, measurement.job.label, f"measured, {measurement.validity}", name_flags(measurement))
    for attempt in result.failed:
        add_row(table, attempt.job.label, "failed", f"{attempt.reason} {attempt.detail}".strip()[:300])
    timed_s = sum(measurement.timed_s for measurement in result.measured)
    counts = (
        f"{len(result.measured)} measured, {len(result.failed)} failed, {len(result.plan.reused)} reused, "
        f"{len(result.plan.left)} left alone; {timed_s:.1f} s timed in {result.wall_s:.1f} s"
    )
    if result.unlogged:
        counts += f"; {count(result.unlogged, 'result')} on disk, not yet in the tracking store"
    figures = tables_of_measured(result.measured)
    return Group(table, *figures, *([Text()] if figures else []), Text(counts))
