"""compare: two candidates, benchmarks or decisions side by side, as a gate."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, get_args

import click

from bakeoff.cli import output
from bakeoff.cli.options import (
    config_option,
    find_config,
    json_option,
    offline_option,
    overrides_option,
    quiet_option,
)
from bakeoff.cli.stages import EXIT_ANSWER_IS_NO, EXIT_CANNOT_TELL
from bakeoff.core.comparison.compare import Comparison
from bakeoff.core.comparison.gate import ComparedQuantity, ComparisonSettings, GateResult
from bakeoff.orchestrator import compare as compare_sides
from bakeoff.orchestrator import open_project
from bakeoff.report.text.comparison import render_comparison, render_markdown

EXIT_CODES: dict[GateResult, int] = {"pass": 0, "fail": EXIT_ANSWER_IS_NO, "cannot tell": EXIT_CANNOT_TELL}


class CompareDocument(output.PrintedDocument):
    """Comparison of two sides, with the result of the gate."""

    command: Literal["compare"] = "compare"
    result: Comparison


class FiniteRange(click.FloatRange):
    """A range of finite numbers; click's own ranges accept NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a number, or refuse it with click's message."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


@click.command(short_help="Compare one candidate with another; a gate for CI.")
@click.argument("baseline", metavar="A")
@click.argument("candidate", metavar="B")
@click.option(
    "--margin",
    type=FiniteRange(min=0, max=10),
    default=0.05,
    show_default=True,
    help="How much more time, memory or size B may take: 0.05 is 5%.",
)
@click.option(
    "--quality-margin",
    type=FiniteRange(min=0),
    show_default="1 point, or nothing",
    help="How much quality B may lose: in points, of 100, if the metric lies between 0 and 1 and more is "
    "better; otherwise in its units.",
)
@click.option(
    "--quality-metric",
    metavar="NAME",
    help="Compare this metric of the task [that of a compared decision, decision.metric].",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    help="Compare the latency at this batch size [decision.batch_size].",
)
@click.option(
    "--quantile",
    type=FiniteRange(min=0, max=1, min_open=True, max_open=True),
    help="Compare this quantile of the latency [decision.quantile].",
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    type=click.Choice(get_args(ComparedQuantity)),
    help="Gate on this metric; repeat for several [latency, quality].",
)
@click.option("--markdown", "as_markdown", is_flag=True, help="Print a table for a pull request.")
@json_option(CompareDocument)
@click.option(
    "--allow-unlike-environments",
    is_flag=True,
    help="Compare absolute times from different environments or unconnected sessions.",
)
@offline_option
@config_option
@overrides_option
@quiet_option
def compare(
    *,
    baseline: str,
    candidate: str,
    margin: float,
    quality_margin: float | None,
    quality_metric: str | None,
    batch_size: int | None,
    quantile: float | None,
    metrics: tuple[ComparedQuantity, ...],
    as_markdown: bool,
    as_json: bool,
    allow_unlike_environments: bool,
    offline: bool,
    config: Path | None,
    overrides: tuple[str, ...],
    quiet: bool,
) -> int:
    """Compare candidate B with candidate A, its baseline.

    A and B may each be a label (`minilm x torch`), a benchmark key or its digest, or the beginning of one.
    They may also be a file (an attempt, benchmark.json or decision.json), or the id of a benchmark or
    decision run. NAME@2 is an older state: attempt 2 of a key, or a candidate without attempts after 2. Two
    decisions are compared candidate by candidate, by label.

    Exit code 0: no interval passes its margin. 3: a whole interval is past its margin. 4: anything else.
    """
    if as_markdown and as_json:
        raise click.UsageError("found --markdown and --json; choose one")
    progress = output.StderrProgress(is_quiet=quiet)
    project = open_project(config or find_config(), overrides, progress, is_offline=offline)
    decision = project.settings.decision
    settings = ComparisonSettings(
        margin=margin,
        quality_margin=quality_margin,
        quality_metric=quality_metric,
        metrics=tuple(dict.fromkeys(metrics)),
        batch_size=batch_size or decision.batch_size,
        quantile=quantile or decision.quantile,
        confidence=decision.confidence,
        resamples=decision.resamples,
        seed=decision.seed,
        allow_unlike_environments=allow_unlike_environments,
    )
    result = compare_sides(project, baseline, candidate, settings)
    if as_json:
        output.show_json(CompareDocument(result=result))
    elif as_markdown:
        click.echo(render_markdown(result), nl=False)
    else:
        output.show(render_comparison(result))
    return EXIT_CODES[result.outcome]
