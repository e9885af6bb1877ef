"""init and doctor: write a configuration for a tracking store, and check everything that it needs."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import click

from bakeoff.cli import output
from bakeoff.cli.options import config_option, find_config, json_option, overrides_option, quiet_option
from bakeoff.core.config.parse import STAGES
from bakeoff.disk.durable import write_bytes
from bakeoff.errors import ConfigError, UserError
from bakeoff.orchestrator import open_project
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.setup.discover import Proposal, propose
from bakeoff.orchestrator.setup.doctor import Check, check_project, fault_from, worst_exit_code
from bakeoff.orchestrator.setup.write_config import draft_config, holds_password, quote, relate_uri
from bakeoff.plural import count
from bakeoff.report.text.units import clean
from bakeoff.stores.tracking import Tracker

DEFAULT_URI = "sqlite:///mlflow.db"


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
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@json_option
@quiet_option
def init(
    *,
    tracking_uri: str | None,
    experiments: tuple[str, ...],
    folder: Path,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Look at a tracking store, recognise the layout of its sweeps, and write one YAML file a stage.

    Without a store, or with an empty one, bakeoff writes the example configuration. A TODO in the files marks
    each setting that the store does not show.
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    targets = {stage: folder / f"{stage}.yaml" for stage in STAGES}
    there = [str(path) for path in targets.values() if path.exists()]
    if there and not force:
        raise UserError(
            f"{', '.join(there)}: already there; overwrite with --force, or choose another --folder"
        )
    progress = output.StderrProgress(is_quiet=quiet)
    proposal = propose(Tracker(uri, notify=warn), experiments, progress.say)
    written_uri = relate_uri(uri, folder.absolute().parent)
    drafts = draft_config(proposal, written_uri) if proposal.layout else _example(written_uri)
    for stage, path in targets.items():
        write_bytes(path, drafts[stage].encode())
    if holds_password(uri):
        warn(f"{targets['tracking']} holds the password of the store; keep the file private")
    if as_json:
        document = proposal.model_dump(mode="json") | {"files": [str(path) for path in targets.values()]}
        output.show_json("init", document)
    else:
        _tell(proposal, drafts, targets)
    return 0


@click.command(short_help="Check everything that the pipeline needs.")
@config_option
@overrides_option
@json_option
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
        rows = [check.model_dump(mode="json") for check in checks]
        output.show_json("doctor", {"checks": rows, "exit_code": code})
    elif not quiet:
        faults, warnings = (sum(c.state == state for c in checks) for state in ("fault", "warning"))
        counts = (count(len(checks), "check"), count(faults, "fault"), count(warnings, "warning"))
        click.echo(", ".join(counts))
    return code


def _show(check: Check) -> None:
    fix = f" → {check.fix}" if check.fix else ""
    click.echo(clean(f"{check.state:7}  {check.name}: {check.found}{fix}"))


def _example(uri: str) -> dict[str, str]:
    """Return the configuration of the demo, with this store."""
    folder = files("bakeoff.demo").joinpath("config")
    drafts = {stage: folder.joinpath(f"{stage}.yaml").read_text(encoding="utf-8") for stage in STAGES}
    lines = drafts["tracking"].splitlines(keepends=True)
    drafts["tracking"] = "".join(
        f"uri: {quote(uri)}\n" if line.startswith("uri:") else line for line in lines
    )
    return drafts


def _tell(proposal: Proposal, drafts: dict[str, str], targets: dict[str, Path]) -> None:
    for found in proposal.experiments:
        entry = found.recognised
        if not found.n_sampled:
            verdict = "no runs"
        elif entry is None:
            verdict = f"{count(found.n_sampled, 'run')}, no trials of a built-in layout"
        else:
            verdict = f"layout {entry.layout} ({'certain' if entry.is_sure else 'likely'}): {entry.why}"
        click.echo(clean(f"experiment {found.name!r}: {verdict}{'' if found.is_taken else '; skipped'}"))
    for backbone in proposal.backbones:
        checkpoint = f"checkpoint {backbone.checkpoint}" if backbone.checkpoint else "no checkpoint"
        name = backbone.recorded_as or backbone.name
        click.echo(clean(f"backbone {name!r}: {count(backbone.n_trials, 'finished trial')}, {checkpoint}"))
    if proposal.objective:
        source = "as recorded" if proposal.objective.is_recorded else "a guess; check it"
        click.echo(clean(f"objective: {proposal.objective.direction} {proposal.objective.metric} ({source})"))
    if proposal.layout is None:
        click.echo("no sweep recognised: wrote the example configuration")
    for stage, path in targets.items():
        n_todo = drafts[stage].count("TODO")
        click.echo(f"wrote {path}" + (f" ({count(n_todo, 'TODO')})" if n_todo else ""))
    click.echo("next: replace each TODO, then run `bakeoff doctor`")
