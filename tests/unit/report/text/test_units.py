"""Numbers and names as a reader sees them: rounded, with units, and with nothing hidden in them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bakeoff.core.estimate import Estimate
from bakeoff.core.records import BackboneSelection
from bakeoff.plural import count
from bakeoff.report import clean
from bakeoff.report.text import units
from unit.outcomes import F1, RMSE

LATENCIES_MS = st.floats(1e-3, 1e6)
JOINERS = "\u200c\u200d"


# --- numbers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.001234, "0.00123"),
        (0.04567, "0.0457"),
        (0.9996, "1.00"),
        (1.0, "1.00"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (12.345, "12.3"),
        (99.96, "100"),
        (123.4, "123"),
        (999.7, "1,000"),
        (12345.6, "12,346"),
        (0.0, "0.00"),
    ],
)
def test_milliseconds_have_three_significant_digits(value: float, shown: str) -> None:
    assert units.format_number_of_ms(value) == shown
    assert units.format_ms(value) == f"{shown} ms"


@given(LATENCIES_MS)
@example(9.996)
def test_what_is_shown_of_a_latency_is_within_half_a_percent_of_it(value: float) -> None:
    shown = units.format_number_of_ms(value)
    assert float(shown.replace(",", "")) == pytest.approx(value, rel=0.005)
    digits = shown.replace(",", "").replace(".", "").lstrip("0")
    assert len(digits) == 3 or value >= 999.5


@given(LATENCIES_MS, st.floats(0.34, 1), st.floats(1, 2.99) | st.none())
def test_an_interval_has_the_decimals_of_its_value_and_holds_it(
    value: float, down: float, up: float | None
) -> None:
    estimate = Estimate(value=value, low=value * down, high=value * up if up is not None else None)
    middle, low, high = units.format_latency(estimate).replace(", ", " ").strip("])").split(" ")
    decimals = [len(text.partition(".")[2]) for text in (middle, low.strip("["), high) if text != "∞"]
    assert len(set(decimals)) == 1
    assert float(low.strip("[").replace(",", "")) <= float(middle.replace(",", ""))
    assert (high == "∞") == (up is None)


def test_an_interval_without_upper_bound_is_open() -> None:
    assert units.format_latency(Estimate(value=12.34, low=11.76, high=None)) == "12.3 [11.8, ∞)"
    assert units.format_latency(Estimate(value=12.34, low=11.76, high=12.91)) == "12.3 [11.8, 12.9]"


@pytest.mark.parametrize(("low", "high"), [(1.25, 9.2), (0.9, 7.39), (0.9, None), (0.0, 4.0)])
def test_an_interval_wider_than_a_factor_of_three_is_no_number(low: float, high: float | None) -> None:
    told = "(too few clean repeats for an interval)"
    assert units.format_latency(Estimate(value=3.04, low=low, high=high)) == f"3.04 {told}"
    assert units.ratio_interval(Estimate(value=3.04, low=low, high=high)) == told
    assert units.ratio_interval(Estimate(value=3.04, low=1.1, high=9.1)) == "[1.100, 9.100]"


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (12.345, 11.04, 13.9, "12.3 [11.0, 13.9]"),
        (0.012345, 0.011, 0.0139, "0.0123 [0.0110, 0.0139]"),
        (41234.2, 40000.2, 42000.0, "41,234 [40,000, 42,000]"),
    ],
)
def test_an_error_has_three_significant_digits_and_its_ends_as_many_decimals(
    value: float, low: float, high: float, text: str
) -> None:
    assert units.quality_with_interval(Estimate(value=value, low=low, high=high), RMSE) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.1234, "+0.123"), (-12.34, "-12.3"), (0.0, "0.00"), (1234.0, "+1,234")]
)
def test_a_difference_of_errors_has_a_sign_unless_it_is_nothing(value: float, text: str) -> None:
    assert units.format_difference(Estimate(value=value, low=value, high=value), RMSE) == text


def test_f1_has_three_decimals_and_so_have_its_ends() -> None:
    assert (
        units.quality_with_interval(Estimate(value=0.7736, low=0.75149, high=0.8), F1)
        == "0.774 [0.751, 0.800]"
    )


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (0.0, "0%"),
        (0.0004, "<0.1%"),
        (0.0012, "0.1%"),
        (0.482, "48.2%"),
        (0.9985, "99.9%"),
        (0.9995, ">99.9%"),
        (1.0, "100%"),
    ],
)
def test_percent_says_none_and_all_only_where_it_is_none_or_all(share: float, shown: str) -> None:
    assert units.format_percent(share) == shown


@given(st.floats(0, 1))
def test_only_0_is_0_percent_and_only_1_is_100_percent(share: float) -> None:
    shown = units.format_percent(share)
    assert (shown in {"0%", "0.0%"}) == (share == 0)
    assert (shown in {"100%", "100.0%"}) == (share == 1)


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [(1.0, "1.00×"), (3.4, "3.40×"), (12.34, "12.3×"), (1234.5, "1,234×"), (9.999, "10.0×")],
)
def test_ratios_have_three_significant_digits(ratio: float, shown: str) -> None:
    assert units.format_ratio(ratio) == shown


def test_counts_are_singular_or_plural_and_grouped() -> None:
    assert count(1, "candidate") == "1 candidate"
    assert count(0, "candidate") == "0 candidates"
    assert count(2000, "resample") == "2,000 resamples"
    assert count(2, "study", "studies") == "2 studies"


# --- names ------------------------------------------------------------------------------------------------


@given(st.text())
def test_a_cleaned_text_holds_nothing_unseen_and_is_clean_for_good(text: str) -> None:
    cleaned = clean(text)
    assert all(
        char in JOINERS or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        for char in cleaned
    )
    assert clean(cleaned) == cleaned
    cleaned.encode()


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S"])))
def test_what_can_be_seen_is_left_as_it_is(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b1;31mred\x9b0m", "red"),
        ("\x1b]0;title\x07name", "name"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1$r0m\x1b\\name", "name"),
        ("\x1b(0name", "name"),
        ("\x1b[2J\x1b[1;1Hname", "name"),
        ("a stray \x1bescape", "a stray escape"),
        ("\x1b]an unfinished title", "]an unfinished title"),
        ("\x1b\x1b[31m[31mtwice", "[31mtwice"),
        ("model\u202egnp.exe", "modelgnp.exe"),
        ("\u2066\u2067x\u2069", "x"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("one\r\nline\tof\u2028text", "one  line of text"),
        ("back\x08\x7fspace\x00", "backspace"),
        ("half \ud83c", "half "),
        ("ش\u200cک", "ش\u200cک"),
        ("minilm × größer ≥ 模型 😀", "minilm × größer ≥ 模型 😀"),
    ],
)
def test_terminal_sequences_controls_and_bidi_marks_are_taken_out(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text(), st.integers(1, 30))
def test_a_truncated_name_is_never_longer_and_says_that_it_was_cut(text: str, length: int) -> None:
    shown = units.truncate(text, length)
    assert len(shown) <= length
    assert shown == clean(text) or shown.endswith("…")


def test_counts_of_trials_say_whether_they_are_lower_bounds(
    selections: Mapping[str, BackboneSelection],
) -> None:
    whole = selections["minilm-l12"]
    assert units.count_trials(whole) == "5 (3 invalid)"
    assert units.count_trials(whole.model_copy(update={"is_whole": False})) == "≥ 5 (≥ 3 invalid)"
