"""Configuration files of a proposal; every text from the store is quoted, since it is not trusted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from bakeoff.core.config.parse import STAGES
from bakeoff.orchestrator.setup.discover import FoundBackbone, FoundObjective, Proposal
from bakeoff.orchestrator.setup.guess_task import FoundTask
from bakeoff.plural import count
from bakeoff.stores.layouts import OWN_LAYOUT

_SQLITE = re.compile(r"sqlite:///(?P<path>[^?]+)")
_PASSWORD = re.compile(r"://[^:/@]*:[^@/]+@")
MIN_TRIALS = 3
_DOCUMENTS = {
    "token_classification": "a list of words with a list of tags, or a text with character spans",
    "text_classification": "a text, or two, with a label or a list of labels",
    "text_regression": "a text, or two, with a number",
}


def draft_config(proposal: Proposal, uri: str, layout: str | None = None) -> dict[str, str]:
    """Draft the text of one YAML file a stage.

    Args:
        proposal: Proposal with a layout.
        uri: URI of the tracking store for the configuration.
        layout: Path of the layout's file for the configuration; None for a built-in layout.

    Raises:
        ValueError: The proposal has no layout.
    """
    if proposal.layout is None or proposal.objective is None or proposal.task is None:
        raise ValueError("the proposal has no layout, so there is nothing to write")
    drafts = {
        "tracking": _draft_tracking(proposal, uri, layout),
        "data": _draft_data(proposal, proposal.task),
        "hpo": _draft_hpo(proposal, proposal.objective),
        "selection": _draft_selection(proposal),
        "benchmark": _BENCHMARK,
        "decision": _DECISION,
    }
    return {stage: drafts[stage] for stage in DRAFTED}


def relate_uri(uri: str, root: Path) -> str:
    """Return a URI for a configuration below ``root``, where the path of a SQLite store starts."""
    match = _SQLITE.fullmatch(uri)
    if match is None:
        return uri
    path = Path(match["path"]).absolute()
    inside = path.is_relative_to(root.absolute())
    return f"sqlite:///{path.relative_to(root.absolute()) if inside else path}"


def holds_password(uri: str) -> bool:
    """Return whether a URI contains a password."""
    return _PASSWORD.search(uri) is not None


def quote(text: str) -> str:
    """Quote a text from outside as one YAML scalar on one line."""
    return yaml.safe_dump(text, default_style='"', width=2**20).strip()


def _remark(text: str) -> str:
    """Escape a text from outside for a comment, so that it cannot end the comment."""
    return json.dumps(text)


def _draft_tracking(proposal: Proposal, uri: str, layout: str | None) -> str:
    taken = [found for found in proposal.experiments if found.is_taken]
    lines = [
        "# A relative SQLite path starts at the parent of this folder.",
        f"uri: {quote(uri)}",
        f"layout: {quote(layout) if layout else proposal.layout}",
        *(f"# {found.recognised.why}" for found in taken if found.recognised),
    ]
    if len(taken) == 1:
        lines.append(f"sweep_experiment: {quote(taken[0].name)}")
    else:
        lines += ["sweep_experiment:", *(f"  - {quote(found.name)}" for found in taken)]
    for found in proposal.experiments:
        if not found.is_taken and found.recognised:
            lines.append(
                f"# not read: {_remark(found.name)} (layout {found.recognised.layout}); one configuration "
                "reads one layout"
            )
    lines += ["benchmark_experiment: bakeoff-benchmark", "registered_model: bakeoff-model", ""]
    return "\n".join(lines)


def _draft_data(proposal: Proposal, task: FoundTask) -> str:
    kind = task.settings["kind"]
    if task.documents is not None:
        lines = [f"test: {quote(task.documents)}"]
    else:
        lines = [
            "# JSON Lines, CSV, Parquet, CoNLL columns, or a folder that datasets saved.",
            f"# Each document is {_DOCUMENTS[kind]}.",
            "# TODO: name your labelled documents, on which bakeoff measures champions.",
            "# test: data/test.jsonl",
        ]
    if proposal.layout == OWN_LAYOUT:
        lines += ["# TODO: set this to run `bakeoff sweep`.", "# train: data/train.jsonl"]
    lines += [f"# {_remark(each)[1:-1]}" for each in task.basis]
    if task.is_guess:
        lines.append(f"# TODO: check the task, a guess; allowed are {', '.join(_DOCUMENTS)}.")
    settings = kind if len(task.settings) == 1 else _write_flow(task.settings)
    lines += [f"task: {settings}", "max_length: 128", ""]
    return "\n".join(lines)


def _write_flow(settings: Mapping[str, object]) -> str:
    """Write settings as one YAML mapping on one line."""
    text: str = yaml.safe_dump(dict(settings), default_flow_style=True, sort_keys=False, width=2**20)
    return text.strip()


def _draft_hpo(proposal: Proposal, objective: FoundObjective) -> str:
    lines = [f"# TODO: check: {_remark(warning)}" for warning in proposal.warnings]
    if not objective.is_recorded:
        lines.append("# TODO: check metric and direction; the store does not record both.")
    if objective.others:
        lines.append(f"# other recorded metrics: {', '.join(map(_remark, objective.others))}")
    lines += [
        f"objective: {{metric: {quote(objective.metric)}, direction: {objective.direction}}}",
        "",
        "backbones:",
    ]
    for found in proposal.backbones:
        lines.append(
            f"  # {count(found.n_trials, 'finished trial')}, {found.n_valid} with a finite metric; "
            + _remark_on_checkpoint(found)
        )
        settings = [f"recorded_as: {quote(found.recorded_as)}"] if found.recorded_as else []
        settings += ["trust_code: false"] if found.runs_code else []
        todo = (
            " # TODO: an MLflow model, which runs code; set true if you trust its author"
            if found.runs_code
            else ""
        )
        lines.append(f"  {quote(found.name)}: {{{', '.join(settings)}}}{todo}")
    if not proposal.backbones:
        lines += ["  # TODO: name the backbones; no trial does, see docs/layouts.md", "  unknown: {}"]
    if proposal.n_nameless:
        lines.append(f"# not read: {count(proposal.n_nameless, 'finished trial')} without a backbone")
    if proposal.layout == OWN_LAYOUT:
        lines += [
            "",
            "# TODO: to run `bakeoff sweep`, set these, and `pretrained: FOLDER` at each backbone.",
            "# search_space:",
            "#   learning_rate: {kind: float, low: 1.0e-5, high: 1.0e-3, log: true}",
        ]
    return "\n".join([*lines, ""])


def _remark_on_checkpoint(found: FoundBackbone) -> str:
    if found.checkpoint:
        return f"checkpoint of the best: {_remark(found.checkpoint)}"
    if found.missing_location:
        return f"TODO: restore artifact location {_remark(found.missing_location)}, which does not exist"
    return "TODO: log a checkpoint for the best trial, which cannot be measured without one"


def _draft_selection(proposal: Proposal) -> str:
    n_trials = min((found.n_valid for found in proposal.backbones), default=MIN_TRIALS)
    lines = []
    if n_trials < MIN_TRIALS:
        lines.append(f"# A backbone has only {count(n_trials, 'valid trial')}; lower this to include it.")
    lines += [
        f"min_trials_per_group: {MIN_TRIALS}",
        "top_k_for_stable_score: 3",
        "require_artifact_available: true",
        "artifact_check_source: store",
        "",
    ]
    return "\n".join(lines)


# A sweep names no models of yours: `init` neither writes nor replaces models.yaml.
DRAFTED = tuple(stage for stage in STAGES if stage != "models")
_BENCHMARK = """\
run:
  mode: null # inherits the one of hpo.yaml

runtimes: # the first one is the reference of the decision
  - {kind: torch, precision: fp32}
  - {kind: onnxruntime, precision: fp32}

scenarios:
  - {kind: quality}
  - {kind: latency, batch_sizes: [1, 8]}
"""
_DECISION = """\
objective: {kind: weighted, weights: {quality: 0.8, latency: 0.2}} # or lexicographic, cost, fastest
batch_size: 1
quantile: 0.5
# constraints:
#   - {kind: latency, batch_size: 1, quantile: 0.95, at_most_ms: 50}
when_tied: report
"""
