"""init and doctor: write a configuration for a tracking store, and check everything that it needs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import click

from bakeoff.cli import output
from bakeoff.cli.options import config_option, find_config, json_option, overrides_option, quiet_option
from bakeoff.disk.durable import write_bytes
from bakeoff.errors import ConfigError, UserError
from bakeoff.orchestrator import open_project
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.setup.discover import FoundBackbone, Proposal, propose
from bakeoff.orchestrator.setup.doctor import (
    EXIT_ANSWER_IS_NO,
    Check,
    check_project,
    fault_from,
    worst_exit_code,
)
from bakeoff.orchestrator.setup.draft_layout import draft_layout
from bakeoff.orchestrator.setup.guess_task import Labelled
from bakeoff.orchestrator.setup.observe import describe_seen
from bakeoff.orchestrator.setup.write_config import DRAFTED, draft_config, holds_password, relate_uri
from bakeoff.plural import count
from bakeoff.record import Record
from bakeoff.report.text.units import clean
from bakeoff.stores.documents import read_rows
from bakeoff.stores.layouts import BUILT_IN, load_layout
from bakeoff.stores.tracking import Tracker

DEFAULT_URI = "sqlite:///mlflow.db"
LAYOUT_FILE = "layout.yaml"


class WrittenProposal(Proposal):
    """Content of a store, and the configuration for it.

    Attributes:
        files: Paths of the files that were written.
    """

    files: tuple[Path, ...]


class InitDocument(output.PrintedDocument):
    """Content of a store, and the files that were written for it."""

    command: Literal["init"] = "init"
    result: WrittenProposal


class CheckedProject(Record):
    """Checks of a project.

    Attributes:
        exit_code: Exit code of the command.
    """

    checks: tuple[Check, ...]
    exit_code: int


class DoctorDocument(output.PrintedDocument):
    """Every check, with what was found and the fix."""

    command: Literal["doctor"] = "doctor"
    result: CheckedProject


@click.command(short_help="Look at a tracking store and write a configuration for its sweeps.")
@click.option("--tracking-uri", help=f"URI of the tracking store [MLFLOW_TRACKING_URI, {DEFAULT_URI}].")
@click.option(
    "--experiment",
    "experiments",
    multiple=True,
    metavar="NAME",
    help="Look only at this experiment; repeat for several.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("config"),
    show_default=True,
    help="Write the files to this folder.",
)
@click.option(
    "--layout",
    "layout_name",
    metavar="NAME",
    help="Read the runs with this layout only: a built-in one, or a YAML file.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Labelled documents for data.test, which show the fields of the task.",
)
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@json_option(InitDocument)
@quiet_option
def init(
    *,
    tracking_uri: str | None,
    experiments: tuple[str, ...],
    folder: Path,
    layout_name: str | None,
    data: Path | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Look at a tracking store, recognise the layout of its sweeps, and write one YAML file a stage.

    A TODO in the files marks each setting that the store does not show. The task comes from the checkpoints
    of the best trials, its fields from --data.

    If no layout fits, bakeoff prints what the runs hold and writes no configuration. It drafts a layout as
    layout.yaml, next to the folder of the configuration.

    Exit code 3: no layout fits, or the store has no runs. 2: the store's file does not exist.
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    targets = {stage: folder / f"{stage}.yaml" for stage in DRAFTED}
    there = [str(path) for path in targets.values() if path.exists()]
    if there and not force:
        raise UserError(
            f"{', '.join(there)}: already there; overwrite with --force, or choose another --folder"
        )
    progress = output.StderrProgress(is_quiet=quiet)
    layouts = [load_layout(layout_name, Path())] if layout_name else []
    root = folder.absolute().parent
    documents = Labelled(_relate(data, root), read_rows(data)) if data else None
    proposal = propose(Tracker(uri, notify=warn), experiments, progress.say, layouts, documents)
    if proposal.layout is None:
        return _draft(proposal, folder.parent / LAYOUT_FILE, layout_name, force=force, as_json=as_json)
    for warning in proposal.warnings:
        warn(warning)
    drafts = draft_config(proposal, relate_uri(uri, root), _relate_layout(layout_name, root))
    for stage, path in targets.items():
        write_bytes(path, drafts[stage].encode())
    if holds_password(uri):
        warn(f"{targets['tracking']} holds the password of the store; keep the file private")
    if as_json:
        output.show_json(_document_of(proposal, targets.values()))
    else:
        _tell(proposal, drafts, targets)
    return 0


@click.command(short_help="Check everything that the pipeline needs.")
@config_option
@overrides_option
@json_option(DoctorDocument)
@click.option("-q", "--quiet", is_flag=True, help="Print only warnings and faults.")
def doctor(config: Path | None, overrides: tuple[str, ...], as_json: bool, quiet: bool) -> int:
    """Check configuration, store, experiments, layout, champions, data, libraries, threads and disk.

    Prints one line a check: ok, warning or fault, with the fix.

    Exit code 5: a fault of the tracking store. 2: a fault of configuration, data or this machine. 3: a
    champion is missing.
    """
    checks: list[Check] = []
    progress = output.StderrProgress(is_quiet=True)
    try:
        project = open_project(config or find_config(), overrides, progress)
        for check in check_project(project):
            checks.append(check)
            if not as_json and not (quiet and check.state == "ok"):
                _show(check)
    except ConfigError as error:
        for check in fault_from("configuration", error):
            checks.append(check)
            if not as_json:
                _show(check)
    code = worst_exit_code(checks)
    if as_json:
        output.show_json(DoctorDocument(result=CheckedProject(checks=tuple(checks), exit_code=code)))
    elif not quiet:
        faults, warnings = (sum(c.state == state for c in checks) for state in ("fault", "warning"))
        counts = (count(len(checks), "check"), count(faults, "fault"), count(warnings, "warning"))
        click.echo(", ".join(counts))
    return code


def _document_of(proposal: Proposal, files: Iterable[Path]) -> InitDocument:
    return InitDocument(result=WrittenProposal(files=tuple(files), **dict(proposal)))


def _show(check: Check) -> None:
    fix = f" → {check.fix}" if check.fix else ""
    click.echo(clean(f"{check.state:7}  {check.name}: {check.found}{fix}"))


def _relate_layout(name: str | None, root: Path) -> str | None:
    """Return the path of a layout's file for a configuration below ``root``; None for a built-in layout."""
    if name is None or name in BUILT_IN:
        return None
    return _relate(Path(name), root)


def _relate(path: Path, root: Path) -> str:
    """Return a path for a configuration below ``root``."""
    whole = path.absolute()
    return str(whole.relative_to(root) if whole.is_relative_to(root) else whole)


def _draft(proposal: Proposal, path: Path, given: str | None, *, force: bool, as_json: bool) -> int:
    """Show what the runs hold, and draft a layout for them unless one was given or is there."""
    text = draft_layout(proposal.guess) if proposal.guess and not given else None
    is_kept = path.exists() and not force
    if text and not is_kept:
        write_bytes(path, text.encode())
    if not proposal.seen:
        steps = ["next: run your sweep, or `bakeoff demo` for an example; the store has no runs"]
    elif given:
        steps = [f"next: correct `trial` in {given}, since no run is a trial, and repeat this command"]
    else:
        todos = f"({count((text or '').count('TODO'), 'TODO')}), a draft"
        steps = [
            f"kept {path}, since it is already there" if is_kept else f"wrote {path} {todos}",
            f"next: replace each TODO in {path}, then run `bakeoff init --layout {path}`",
        ]
    if as_json:
        output.show_json(_document_of(proposal, [path] if text and not is_kept else []))
    else:
        _tell_experiments(proposal)
        for step in ("no layout fits the runs of this store: wrote no configuration", *steps):
            click.echo(clean(step))
    return EXIT_ANSWER_IS_NO


def _tell_experiments(proposal: Proposal) -> None:
    seen = {one.name: one for one in proposal.seen}
    for found in proposal.experiments:
        entry = found.recognised
        if not found.n_sampled:
            verdict = "no runs"
        elif entry is None:
            verdict = f"{count(found.n_sampled, 'run')}, no trials of a known layout"
        else:
            verdict = f"layout {entry.layout} ({'certain' if entry.is_sure else 'likely'}): {entry.why}"
        skipped = "" if found.is_taken or proposal.layout is None else "; skipped"
        click.echo(clean(f"experiment {found.name!r}: {verdict}{skipped}"))
        for line in describe_seen(seen[found.name]) if found.name in seen else ():
            click.echo(clean(f"  {line}"))


def _tell(proposal: Proposal, drafts: dict[str, str], targets: dict[str, Path]) -> None:
    _tell_experiments(proposal)
    for backbone in proposal.backbones:
        click.echo(clean(_describe_backbone(backbone)))
    if proposal.objective:
        source = "as recorded" if proposal.objective.is_recorded else "a guess; check it"
        click.echo(clean(f"objective: {proposal.objective.direction} {proposal.objective.metric} ({source})"))
    for line in proposal.task.basis if proposal.task else ():
        click.echo(clean(line))
    for stage, path in targets.items():
        n_todo = drafts[stage].count("TODO")
        click.echo(f"wrote {path}" + (f" ({count(n_todo, 'TODO')})" if n_todo else ""))
    click.echo("next: replace each TODO, then run `bakeoff doctor`")


def _describe_backbone(backbone: FoundBackbone) -> str:
    name = backbone.recorded_as or backbone.name
    trials = count(backbone.n_trials, "finished trial")
    if backbone.n_duplicates:
        trials += f" ({count(backbone.n_duplicates, 'duplicate run')} not counted)"
    checkpoint = f"checkpoint {backbone.checkpoint}" if backbone.checkpoint else "no checkpoint"
    if backbone.missing_location:
        checkpoint += f", since the artifact location {backbone.missing_location} does not exist"
    return f"backbone {name!r}: {trials}, {checkpoint}"
