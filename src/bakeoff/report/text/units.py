"""Numbers and names as a reader sees them."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bakeoff.core.estimate import Estimate
    from bakeoff.core.records import BackboneSelection

F1_DECIMALS = 3
# An interval that reaches further than this factor to a side says nothing that a reader could use.
WIDEST_FACTOR = 3.0
TOO_WIDE = "(too few clean repeats for an interval)"
ABSENT = "–"

# Whole sequences go, so that "\x1b[31mred" leaves no "[31m" behind. One that does not end is not taken for a
# sequence: else a single stray escape would hide the rest of a name.
_ESCAPE_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, …: titles, links
    r"|\x1b[ -/]+[0-~]"  # character sets
)
_BREAKS = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029")
# Controls; halves of surrogate pairs, which no encoding takes; and what is not seen but turns or hides text,
# above all the bidi controls.
_UNSEEN = frozenset({"Cc", "Cs", "Cf"})
_JOINERS = frozenset("\u200c\u200d")  # of the same category, but some scripts cannot be written without them


def clean(text: str) -> str:
    """A text from outside, fit for one line of a terminal or page.

    Terminal sequences, controls and bidi controls are taken out; line breaks and tabs become spaces.
    """
    spaced = "".join(" " if char in _BREAKS else char for char in _ESCAPE_SEQUENCE.sub("", text))
    return "".join(char for char in spaced if char in _JOINERS or unicodedata.category(char) not in _UNSEEN)


def truncate(text: str, length: int) -> str:
    """A cleaned text of at most so many characters, with an ellipsis where something was cut."""
    cleaned = clean(text)
    return cleaned if len(cleaned) <= length else cleaned[: length - 1] + "…"


def count(number: int, singular: str, plural: str | None = None) -> str:
    """``1 candidate``, ``2,000 resamples``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def count_trials(selection: BackboneSelection) -> str:
    """``12 (1 invalid)``; ``≥ 1,320 (≥ 6 invalid)`` where only the trials that could win were read."""
    at_least = "" if selection.is_whole else "≥ "
    n_trials = sum(group.n_trials for group in selection.all_groups)
    n_invalid = sum(group.n_invalid for group in selection.all_groups)
    return f"{at_least}{n_trials:,}" + (f" ({at_least}{n_invalid:,} invalid)" if n_invalid else "")


def format_percent(share: float) -> str:
    """A share in percent; what is not quite 0 or 1 is not shown as 0% or 100%."""
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    return f"{share:.0%}" if share in {0.0, 1.0} else f"{share:.1%}"


def format_signed_percent(share: float) -> str:
    """A signed share in percent, without ``-0.0%``."""
    text = f"{share:+.1%}"
    return "0.0%" if text in {"+0.0%", "-0.0%"} else text


def format_ratio(ratio: float) -> str:
    """``3.40×``; three significant digits, and two decimals at most."""
    return f"{ratio:,.{min(_decimals(ratio), 2)}f}×"


def format_difference(value: float) -> str:
    """A signed difference of F1: ``+0.012``; one that is rounded to nothing has no sign."""
    text = f"{value:+.{F1_DECIMALS}f}"
    return text if any(digit in text for digit in "123456789") else text[1:]


def format_f1(estimate: Estimate) -> str:
    """``0.774 [0.751, 0.796]``."""
    return f"{estimate.value:.{F1_DECIMALS}f} {f1_interval(estimate)}"


def f1_interval(estimate: Estimate) -> str:
    """``[0.751, 0.796]``, of an F1 or a score; ``[0.751, ∞)`` where the data give no upper bound."""
    return _interval(estimate, F1_DECIMALS, F1_DECIMALS)


def ratio_interval(estimate: Estimate) -> str:
    """``[0.151, 0.191]``, or why there is none to show."""
    return TOO_WIDE if is_too_wide(estimate) else _interval(estimate, F1_DECIMALS, F1_DECIMALS)


def is_too_wide(estimate: Estimate) -> bool:
    """Return whether an interval of times or ratios reaches further than a factor of 3 to a side.

    One without an upper bound is shown for its lower one.
    """
    is_high = estimate.high is not None and estimate.high > WIDEST_FACTOR * estimate.value
    return is_high or estimate.low < estimate.value / WIDEST_FACTOR


def format_number_of_ms(value: float) -> str:
    """Milliseconds with three significant digits, the unit left to the heading."""
    return f"{value:,.{_decimals(value)}f}"


def format_ms(value: float) -> str:
    """``12.3 ms``."""
    return f"{format_number_of_ms(value)} ms"


def format_ns(value: float) -> str:
    """Nanoseconds in the unit that leaves one to three digits before the point: ``412 ns``, ``1.23 ms``."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if value >= size:
            return f"{value / size:,.{_decimals(value / size)}f} {unit}"
    return f"{value:.0f} ns"


def format_duration(seconds: float) -> str:
    """``8 s``, ``12 min``, ``3.4 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def format_latency(estimate: Estimate) -> str:
    """``12.3 [11.8, 12.9]``, in milliseconds, the unit left to the heading."""
    return f"{format_number_of_ms(estimate.value)} {latency_interval(estimate)}"


def format_rate(estimate: Estimate) -> str:
    """``1,240 [1,190, 1,290]``, per second, the unit left to the heading; rounded as latencies are."""
    return format_latency(estimate)


def name_limit(quantile: float, limit_ms: float) -> str:
    """What a server has to keep: ``p99 ≤ 50 ms``."""
    return f"p{quantile * 100:g} ≤ {limit_ms:g} ms"


def latency_interval(estimate: Estimate) -> str:
    """The interval alone, with as many decimals as its value has.

    One that is too wide to be of use is not shown.
    """
    if is_too_wide(estimate):
        return TOO_WIDE
    decimals = _decimals(estimate.value)
    return _interval(estimate, decimals, decimals)


def format_bytes(value: float) -> str:
    """``87.3 MiB``; three significant digits."""
    unit, size = ("GiB", 2**30) if abs(value) >= 2**30 else ("MiB", 2**20)
    return f"{value / size:,.{min(_decimals(value / size), 2)}f} {unit}"


def format_energy(value_uj: float) -> str:
    """``1.23 mJ``, of microjoules; three significant digits."""
    value = value_uj / 1000
    return f"{value:,.{_decimals(value)}f} mJ"


def format_money(value: float) -> str:
    """A number without currency, with three significant digits."""
    return f"{value:,.{_decimals(value)}f}" if value else "0"


def _interval(estimate: Estimate, low_decimals: int, high_decimals: int) -> str:
    low = f"[{_fixed(estimate.low, low_decimals)}"
    return f"{low}, {_fixed(estimate.high, high_decimals)}]" if estimate.high is not None else f"{low}, ∞)"


def _fixed(value: float, decimals: int) -> str:
    """Without the sign of a zero: -0.0001 is shown as 0.000."""
    return f"{round(value, decimals) + 0.0:,.{decimals}f}"


def _decimals(value: float) -> int:
    """Decimals that give three significant digits of the rounded value: 9.996 is shown as 10.0."""
    exponent = int(f"{value:.2e}".partition("e")[2])
    return min(max(2 - exponent, 0), 6)
