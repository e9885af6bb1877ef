"""A decision as annotations of GitHub Actions: lines that the runner reads from the log of a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bakeoff.report.text.decision import headline, list_reasons, name_latency
from bakeoff.report.text.units import clean, format_ms, latency_interval, quality_with_interval

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision

Level = Literal["notice", "warning", "error"]
_TITLE = "bakeoff"


def annotate(decision: Decision) -> tuple[str, ...]:
    """Write a verdict, then one warning for each candidate that the reader must not trust blindly.

    A winner is a notice, a negative answer is an error. All else, which is not certain, is a warning.
    """
    level: Level = "notice" if decision.is_pass else "error" if decision.outcome == "none" else "warning"
    lines = [_write(level, f"{_TITLE}: {headline(decision)}", _describe_verdict(decision))]
    lines += [
        _write("warning", f"{_TITLE}: {label}", "the machine was too busy for it; run `bakeoff bench` again")
        for label in decision.not_done
    ]
    lines += [_write("warning", f"{_TITLE}: not ranked", reason) for reason in decision.incomplete]
    lines += [
        _write("warning", f"{_TITLE}: {row.label}", f"{flag.label}: {flag.detail}")
        for row in decision.standings
        if row.place in {"winner", "tied"}
        for flag in row.flags
    ]
    return tuple(dict.fromkeys(lines))


def _describe_verdict(decision: Decision) -> str:
    row = decision.winning_standing
    figures: tuple[str, ...] = ()
    if row is not None:
        quality = quality_with_interval(row.quality, decision.metric)
        name = decision.metric.label if decision.metric else "quality"
        latency = f"{format_ms(row.latency_ms.value)} {latency_interval(row.latency_ms)}"
        figures = (f"{name} {quality}", f"{name_latency(decision.settings)}: {latency}")
    return "\n".join([*figures, *list_reasons(decision)])


def _write(level: Level, title: str, message: str) -> str:
    """Write one annotation; text from outside cannot end it or begin another one."""
    text = "\n".join(map(clean, message.splitlines()))
    return f"::{level} title={_escape_property(clean(title))}::{_escape(text)}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
