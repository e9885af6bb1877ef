"""Numbers, names and ids as a reader sees them."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from bakeoff.disk.digest import shorten

if TYPE_CHECKING:
    from bakeoff.core.estimate import Estimate
    from bakeoff.core.quality import QualityMetric
    from bakeoff.core.records import BackboneSelection

SHARE_DECIMALS = 3
# An interval that reaches further than this factor to a side is of no use to a reader.
WIDEST_FACTOR = 3.0
TOO_WIDE = "(too few clean repeats for an interval)"
ABSENT = "–"
NOT_MEASURED = "not measured"
_LEAST_MULTIPLE = 10.0  # from 1000% on a multiple is easier to read
_ID = re.compile(r"(?<![0-9a-z])(?:[0-9a-f]{32}|[0-9a-f]{64})(?![0-9a-z])")

# Whole sequences go, so that "\x1b[31mred" leaves no "[31m" behind. A sequence without an end stays, or
# a single stray escape would hide the rest of a name.
_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, …: titles, links
    r"|\x1b[ -/]+[0-~]"  # character sets
)
_BREAKS = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029")
# Controls; halves of surrogate pairs, which no encoding takes; and unseen characters that turn or hide text,
# above all the bidi controls.
_UNSEEN = frozenset({"Cc", "Cs", "Cf"})
_JOINERS = frozenset("\u200c\u200d")  # of the same category, but some scripts cannot be written without them


def clean(text: str) -> str:
    """Make a text from outside fit for one line of a terminal or page.

    Removes terminal sequences, controls and bidi controls; line breaks and tabs become spaces.
    """
    spaced = "".join(" " if char in _BREAKS else char for char in _ESCAPE_SEQUENCE.sub("", text))
    return "".join(char for char in spaced if char in _JOINERS or unicodedata.category(char) not in _UNSEEN)


def truncate(text: str, length: int) -> str:
    """Clean a text and cut it to at most ``length`` characters; an ellipsis marks the cut."""
    cleaned = clean(text)
    return cleaned if len(cleaned) <= length else cleaned[: length - 1] + "…"


def shorten_ids(text: str) -> str:
    """Cut run ids and digests to 12 characters, so that no column breaks one; ``--json`` has them whole."""
    return _ID.sub(lambda match: shorten(match[0]), text)


def count_trials(selection: BackboneSelection) -> str:
    """Return ``12 (1 invalid)``, or ``≥ 1,320 (≥ 6 invalid)`` if only trials that could win were read."""
    at_least = "" if selection.is_whole else "≥ "
    n_trials = sum(group.n_trials for group in selection.all_groups)
    n_invalid = sum(group.n_invalid for group in selection.all_groups)
    return f"{at_least}{n_trials:,}" + (f" ({at_least}{n_invalid:,} invalid)" if n_invalid else "")


def format_percent(share: float) -> str:
    """Format a share as a percentage, or from 10 on as ``12.3×``; only 0 and 1 give 0% and 100%."""
    if share >= _LEAST_MULTIPLE:
        return format_ratio(share)
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    return f"{share:.0%}" if share in {0.0, 1.0} else f"{share:.1%}"


def format_signed_percent(share: float) -> str:
    """Format a change as a signed percentage, without ``-0.0%``; a change to 11× or more as ``+10.0×``."""
    if share >= _LEAST_MULTIPLE:
        return f"+{format_ratio(share)}"
    text = f"{share:+.1%}"
    return "0.0%" if text in {"+0.0%", "-0.0%"} else text


def format_ratio(ratio: float) -> str:
    """Format a ratio: ``3.40×``, with three significant digits and at most two decimals."""
    return f"{ratio:,.{min(_decimals(ratio), 2)}f}×"


def quality_decimals(value: float, metric: QualityMetric) -> int:
    """Return the decimals of a quality: three within [-1, 1], else those of three significant digits."""
    return SHARE_DECIMALS if metric.is_bounded else _decimals(value)


def format_quality(value: float, metric: QualityMetric) -> str:
    """Format a quality without its name: ``0.774``, or ``12.3`` for an error in units of a target."""
    return _fixed(value, quality_decimals(value, metric))


def quality_with_interval(estimate: Estimate | None, metric: QualityMetric | None) -> str:
    """Format a quality with its interval: ``0.774 [0.751, 0.796]``, or say that it was not measured."""
    if estimate is None or metric is None:
        return NOT_MEASURED
    return f"{format_quality(estimate.value, metric)} {quality_interval(estimate, metric)}"


def quality_interval(estimate: Estimate, metric: QualityMetric) -> str:
    """Format the interval of a quality with the decimals of its value."""
    return _interval(estimate, quality_decimals(estimate.value, metric))


def format_difference(estimate: Estimate, metric: QualityMetric) -> str:
    """Format a signed difference of quality: ``+0.012``; one that rounds to 0 has no sign."""
    text = f"{estimate.value:+,.{_difference_decimals(estimate, metric)}f}"
    return text if any(digit in text for digit in "123456789") else text[1:]


def difference_interval(estimate: Estimate, metric: QualityMetric) -> str:
    """Format the interval of a difference of quality."""
    return _interval(estimate, _difference_decimals(estimate, metric))


def _difference_decimals(estimate: Estimate, metric: QualityMetric) -> int:
    if metric.is_bounded:
        return SHARE_DECIMALS
    return _decimals(max(abs(end) for end in (estimate.value, estimate.low, estimate.high or 0.0)))


def score_interval(estimate: Estimate) -> str:
    """Format the interval of a score: ``[0.751, 0.796]``, or ``[0.751, ∞)`` without an upper bound."""
    return _interval(estimate, SHARE_DECIMALS)


def ratio_interval(estimate: Estimate) -> str:
    """Format the interval of a ratio: ``[0.151, 0.191]``, or why it is not shown."""
    return TOO_WIDE if is_too_wide(estimate) else _interval(estimate, SHARE_DECIMALS)


def is_too_wide(estimate: Estimate) -> bool:
    """Return whether an interval of times or ratios reaches further than a factor of 3 to a side.

    An interval without an upper bound is judged by its lower bound alone.
    """
    is_high = estimate.high is not None and estimate.high > WIDEST_FACTOR * estimate.value
    return is_high or estimate.low < estimate.value / WIDEST_FACTOR


def format_number_of_ms(value: float) -> str:
    """Format milliseconds with three significant digits, without the unit."""
    return f"{value:,.{_decimals(value)}f}"


def format_ms(value: float) -> str:
    """Format milliseconds: ``12.3 ms``."""
    return f"{format_number_of_ms(value)} ms"


def format_ns(value: float) -> str:
    """Format nanoseconds with one to three digits before the point: ``412 ns``, ``1.23 ms``."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if value >= size:
            return f"{value / size:,.{_decimals(value / size)}f} {unit}"
    return f"{value:.0f} ns"


def format_duration(seconds: float) -> str:
    """Format seconds: ``8 s``, ``12 min``, ``3.4 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def format_latency(estimate: Estimate) -> str:
    """Format milliseconds with their interval, without the unit: ``12.3 [11.8, 12.9]``."""
    return f"{format_number_of_ms(estimate.value)} {latency_interval(estimate)}"


def format_rate(estimate: Estimate) -> str:
    """Format a rate per second like a latency, without the unit: ``1,240 [1,190, 1,290]``."""
    return format_latency(estimate)


def name_limit(quantile: float, limit_ms: float) -> str:
    """Name the limit of a server: ``p99 ≤ 50 ms``."""
    return f"p{quantile * 100:g} ≤ {limit_ms:g} ms"


def latency_interval(estimate: Estimate) -> str:
    """Format the interval of a latency with the decimals of its value, or why it is not shown."""
    if is_too_wide(estimate):
        return TOO_WIDE
    return _interval(estimate, _decimals(estimate.value))


def format_bytes(value: float) -> str:
    """Format bytes with three significant digits: ``87.3 MiB``."""
    unit, size = ("GiB", 2**30) if abs(value) >= 2**30 else ("MiB", 2**20)
    return f"{value / size:,.{min(_decimals(value / size), 2)}f} {unit}"


def format_energy(value_uj: float) -> str:
    """Format microjoules with three significant digits: ``1.23 mJ``."""
    value = value_uj / 1000
    return f"{value:,.{_decimals(value)}f} mJ"


def format_money(value: float) -> str:
    """Format money with three significant digits, without the currency."""
    return f"{value:,.{_decimals(value)}f}" if value else "0"


def _interval(estimate: Estimate, decimals: int) -> str:
    low = f"[{_fixed(estimate.low, decimals)}"
    return f"{low}, {_fixed(estimate.high, decimals)}]" if estimate.high is not None else f"{low}, ∞)"


def _fixed(value: float, decimals: int) -> str:
    """Format a number without the sign of a zero: -0.0001 gives 0.000."""
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"


def _decimals(value: float) -> int:
    """Return the decimals for three significant digits of the rounded value: 9.996 gives 10.0."""
    exponent = int(f"{value:.2e}".partition("e")[2])
    return min(max(2 - exponent, 0), 6)
