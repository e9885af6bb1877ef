"""try: models as they are and a file of examples in, a decision and a page out."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Literal

import click

from bakeoff.cli import output, tables
from bakeoff.cli.options import json_option, overrides_option, quiet_option
from bakeoff.cli.report import write_report
from bakeoff.cli.stages import code_of_bench, code_of_decision, describe_contended
from bakeoff.core.decision.decide import Decision
from bakeoff.measure.heats.protocol import DECIDED
from bakeoff.orchestrator import bench, decide
from bakeoff.orchestrator.trial.trial import TrialRequest, open_trial, save_trial
from bakeoff.report import render_terminal
from bakeoff.report.text.units import clean


class TryDocument(output.PrintedDocument):
    """Decision: standings, winner, reasons, settings and evidence; nothing is printed for one candidate.

    Attributes:
        report: Path of the page.
        remarks: What was inferred, and how to say otherwise.
    """

    command: Literal["try"] = "try"
    report: Path
    remarks: tuple[str, ...]
    result: Decision


@click.command("try", short_help="Compare models without a configuration: which is better, faster, how sure?")
@click.argument("models", nargs=-1, required=True, metavar="[NAME=]MODEL...")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Labelled examples: JSON Lines, CSV, Parquet, CoNLL columns, or a folder that datasets saved.",
)
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    help="npz file with the inputs of ONNX graphs, each with a leading batch axis: measures cost alone.",
)
@click.option(
    "--runtimes",
    metavar="LIST",
    default="",
    help="Runtimes, such as torch,onnxruntime,onnxruntime-int8,openvino [torch,onnxruntime].",
)
@click.option(
    "--trust-code",
    is_flag=True,
    help="Run code of the models: MLflow models of any flavor but transformers, and functions of Python.",
)
@click.option(
    "--tokenizer", type=click.Path(path_type=Path), help="Folder with the tokenizer.json of ONNX graphs."
)
@click.option(
    "--tracking-uri",
    envvar="MLFLOW_TRACKING_URI",
    default="sqlite:///mlflow.db",
    show_default=True,
    help="Store that holds models:/ and runs:/.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bakeoff-try"),
    show_default=True,
    help="Results folder; nothing is written elsewhere, and a repeat measures nothing again.",
)
@click.option(
    "--save", "saves", is_flag=True, help="Write the settings as a project into the results folder."
)
@overrides_option
@json_option(TryDocument)
@quiet_option
def trial(
    *,
    models: tuple[str, ...],
    data: Path | None,
    inputs: Path | None,
    runtimes: str,
    trust_code: bool,
    tokenizer: Path | None,
    tracking_uri: str,
    folder: Path,
    saves: bool,
    overrides: tuple[str, ...],
    as_json: bool,
    quiet: bool,
) -> int:
    """Compare MODELs on examples: which is better, which is faster, and how sure is that?

    A MODEL is a folder that save_pretrained wrote, an .onnx file, an MLflow model (models:/NAME/VERSION,
    models:/NAME@ALIAS, runs:/RUN/PATH, or a folder with an MLmodel file), or a function package.module:NAME
    that returns an object with predict(rows). Task, fields and labels are inferred and printed.

    \b
    bakeoff try ./minilm ./distilbert --data test.jsonl
    bakeoff try prod=models:/ner/3 new=./checkpoint-900 --data test.parquet --runtimes torch,onnxruntime-int8
    bakeoff try detector=./model.onnx --inputs inputs.npz
    """  # noqa: D301 - click reads the character that \b stands for
    request = TrialRequest(
        models=models,
        data=data,
        inputs=inputs,
        runtimes=[each for each in runtimes.split(",") if each.strip()],
        trusts_code=trust_code,
        tokenizer=tokenizer,
        tracking_uri=tracking_uri,
        overrides=overrides,
    )
    opened = open_trial(request, folder, output.StderrProgress(is_quiet=quiet))
    for remark in opened.remarks:
        click.echo(clean(remark), err=as_json)
    if saves:
        click.echo(f"saved: {save_trial(opened)}", err=as_json)
    project = opened.project
    result = bench(project, DECIDED)
    if not as_json:
        output.show(tables.table_of_bench(result.replace(unlogged=0)))
        if result.contended:
            click.echo(describe_contended(project, result))
    candidates = {planned.job.candidate for planned in result.plan.jobs}
    if len(candidates) == 1:
        told = f"{candidates.pop()} is the only candidate: there is nothing to decide"
        click.echo(clean(f"{told}; name another model or runtime to compare it with"), err=as_json)
        return code_of_bench(result)
    decision = decide(project)
    command = shlex.join(["bakeoff", *sys.argv[1:]])
    path = write_report(project, decision, {}, commands=(command,))
    if as_json:
        output.show_json(TryDocument(report=path, remarks=opened.remarks, result=decision))
    else:
        output.show(render_terminal(decision))
        click.echo(f"report: {path}")
    return code_of_decision(decision) or code_of_bench(result)
