"""Run modes: one table, one reader, one inheritance."""

from __future__ import annotations

from typing import Any

import pytest

from bakeoff.core.run_mode import (
    RunMode,
    Step,
    choose_step,
    get_benchmark_run_mode,
    get_run_mode,
    should_reuse_existing,
)
from bakeoff.errors import ConfigError

REUSE, FORCE, RESUME = RunMode.REUSE_IF_EXISTS, RunMode.FORCE_NEW, RunMode.RESUME_IF_INCOMPLETE

# mode, exists, is_complete → the step, and should_reuse_existing
TABLE = [
    (REUSE, False, False, Step.START, False),
    (REUSE, True, False, Step.RESUME, True),
    (REUSE, True, True, Step.REUSE, True),
    (FORCE, False, False, Step.START, False),
    (FORCE, True, False, Step.START, False),
    (FORCE, True, True, Step.START, False),
    (RESUME, False, False, Step.LEAVE, False),
    (RESUME, True, False, Step.RESUME, True),
    (RESUME, True, True, Step.LEAVE, False),
]


@pytest.mark.parametrize(("mode", "exists", "is_complete", "step", "reuses"), TABLE)
def test_the_table_says_which_step_is_taken(
    mode: RunMode, exists: bool, is_complete: bool, step: Step, reuses: bool
) -> None:
    assert choose_step(mode, exists, is_complete) is step
    assert should_reuse_existing(mode, exists, is_complete) is reuses
    assert should_reuse_existing(str(mode.value), exists, is_complete) is reuses


def test_an_unknown_mode_reuses_nothing_but_is_refused() -> None:
    with pytest.raises(ConfigError, match="found 'forcenew'; expected one of reuse_if_exists, force_new"):
        should_reuse_existing("forcenew", True, True)
    with pytest.raises(ConfigError, match="default: found 'often'"):
        get_run_mode({}, "often")


def test_there_are_three_modes_with_fixed_names() -> None:
    assert [str(mode) for mode in RunMode] == ["reuse_if_exists", "force_new", "resume_if_incomplete"]


@pytest.mark.parametrize("mode", RunMode)
def test_a_stated_mode_is_read(mode: RunMode) -> None:
    assert get_run_mode({"run": {"mode": str(mode)}}) is mode


@pytest.mark.parametrize("config", [{}, {"run": None}, {"run": {}}, {"run": {"mode": None}}])
def test_a_missing_or_null_mode_is_the_default(config: dict[str, Any]) -> None:
    assert get_run_mode(config) is REUSE
    assert get_run_mode(config, default="force_new") is FORCE


@pytest.mark.parametrize(
    "value", ["reuse", "force", "Force_New", "force_new ", "", "null", False, 0, 1, ["force_new"], {"a": 1}]
)
def test_an_unknown_mode_is_an_error_that_lists_the_three(value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        get_run_mode({"run": {"mode": value}})
    message = str(caught.value)
    assert repr(value) in message
    assert all(str(mode) in message for mode in RunMode)


@pytest.mark.parametrize("section", ["force_new", ["mode"], 3, False])
def test_a_run_section_that_is_no_mapping_is_an_error(section: Any) -> None:
    with pytest.raises(ConfigError, match="expected a mapping"):
        get_run_mode({"run": section})


@pytest.mark.parametrize("own", [None, *RunMode])
@pytest.mark.parametrize("sweep", [None, *RunMode])
def test_a_benchmark_without_mode_inherits_the_one_of_the_sweep(
    own: RunMode | None, sweep: RunMode | None
) -> None:
    expected = own or sweep or REUSE
    assert get_benchmark_run_mode({"run": {"mode": own}}, {"run": {"mode": sweep}}) is expected


@pytest.mark.parametrize("absent", [{}, {"run": None}, {"run": {}}, {"run": {"mode": None}}])
def test_every_way_to_leave_the_mode_out_inherits(absent: dict[str, Any]) -> None:
    assert get_benchmark_run_mode(absent, {"run": {"mode": "force_new"}}) is FORCE
    assert get_benchmark_run_mode(absent, absent) is REUSE


def test_a_typo_in_either_mode_is_an_error_of_a_benchmark() -> None:
    for own, sweep in (("forcenew", None), (None, "forcenew")):
        with pytest.raises(ConfigError, match="forcenew"):
            get_benchmark_run_mode({"run": {"mode": own}}, {"run": {"mode": sweep}})
