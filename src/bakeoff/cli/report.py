"""The page of a decision: stored next to the decision, logged with it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from bakeoff.core.decision.decide import Decision
from bakeoff.core.records import BackboneSelection
from bakeoff.disk.digest import digest_json
from bakeoff.disk.durable import write_bytes
from bakeoff.orchestrator import Project, recall_measurements, save_decision
from bakeoff.report import render_html
from bakeoff.uris import find_web_address


def write_report(
    project: Project,
    decision: Decision,
    selections: Mapping[str, BackboneSelection],
    *,
    commands: Sequence[str] | None = None,
) -> Path:
    """Write the HTML page and log it with the decision.

    Args:
        project: Project of the decision.
        decision: What the page shows.
        selections: Selection of champions that it rests on.
        commands: Commands that repeat the decision; None lists those of the project's stages.
    """
    facts = {
        "bakeoff": version("bakeoff"),
        "mlflow": version("mlflow"),
        "tracking store": project.tracker.shown_uri,
        **_name_sweep(project),
        "benchmark experiment": project.settings.tracking.benchmark_experiment,
        "decision digest": digest_json(decision.model_dump(mode="json")),
    }
    page = render_html(
        decision,
        selections,
        facts,
        measurements=recall_measurements(project, decision),
        commands=_list_commands(project, decision) if commands is None else commands,
        sources={name: model.shown for name, model in project.settings.models.items()},
        tracking_address=find_web_address(project.tracker.uri),
    )
    write_bytes(project.report_path, page.encode())
    save_decision(project, decision, [project.report_path])
    return project.report_path


def _name_sweep(project: Project) -> dict[str, str]:
    names = project.settings.tracking.sweep_experiments
    return {"sweep experiment": ", ".join(names)} if project.settings.hpo.backbones else {}


def _list_commands(project: Project, decision: Decision) -> tuple[str, ...]:
    """List the commands that repeat the decision in the project folder."""
    first = ("champions",) if project.settings.hpo.backbones else ()
    stages = (*first, "plan", "bench", "decide", "report", *(("promote",) if decision.winner else ()))
    option = f" --config {shlex.quote(project.config_name)}" if project.config_name else ""
    return tuple(f"bakeoff {stage}{option}" for stage in stages)
