"""Run modes: reuse results, make them again or resume; one table for sweep, bench and decide."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from bakeoff.errors import ConfigError


class RunMode(StrEnum):
    """Treatment of results that exist already."""

    REUSE_IF_EXISTS = "reuse_if_exists"
    FORCE_NEW = "force_new"
    RESUME_IF_INCOMPLETE = "resume_if_incomplete"


DEFAULT_RUN_MODE = RunMode.REUSE_IF_EXISTS


def get_run_mode(config: Mapping[str, Any], default: str = DEFAULT_RUN_MODE) -> RunMode:
    """Read ``run.mode`` of a configuration mapping; missing or null gives the default.

    Raises:
        ConfigError: The value is none of the three modes.
    """
    return _own_mode(config) or read_mode(default, "default")


def get_benchmark_run_mode(benchmark_config: Mapping[str, Any], hpo_config: Mapping[str, Any]) -> RunMode:
    """Read the benchmark's mode; null inherits the sweep's, and two nulls give the default.

    Raises:
        ConfigError: A value is none of the three modes.
    """
    return inherit_mode(_own_mode(benchmark_config), _own_mode(hpo_config))


def inherit_mode(*modes: RunMode | None) -> RunMode:
    """Return the first mode that is set: a stage's own, else that of the stage before, else the default."""
    return next((mode for mode in modes if mode is not None), DEFAULT_RUN_MODE)


class Step(StrEnum):
    """Action of a stage on the results that it found."""

    START = "start"
    RESUME = "resume"
    REUSE = "reuse"
    LEAVE = "leave"


def choose_step(mode: RunMode, exists: bool, is_complete: bool) -> Step:
    """Choose the step by the one table that sweep, bench and decide follow.

    ==================== ======= ========== =====
    mode                 nothing incomplete whole
    ==================== ======= ========== =====
    reuse_if_exists      start   resume     reuse
    force_new            start   start      start
    resume_if_incomplete leave   resume     leave
    ==================== ======= ========== =====

    Under ``resume_if_incomplete`` a whole result stays as it is: there is nothing to resume, and later stages
    use it as they would after ``reuse``.

    Args:
        mode: Run mode of the stage.
        exists: Whether the stage was begun.
        is_complete: Whether nothing of it is missing; counts only if something exists.
    """
    if mode == RunMode.FORCE_NEW:
        return Step.START
    if not exists:
        return Step.LEAVE if mode == RunMode.RESUME_IF_INCOMPLETE else Step.START
    if not is_complete:
        return Step.RESUME
    return Step.LEAVE if mode == RunMode.RESUME_IF_INCOMPLETE else Step.REUSE


def should_reuse_existing(mode: str, exists: bool, is_complete: bool) -> bool:
    """Return whether the stage builds on existing results; see ``choose_step``.

    Raises:
        ConfigError: The mode is none of the three.
    """
    return choose_step(read_mode(mode, "mode"), exists, is_complete) in (Step.RESUME, Step.REUSE)


def read_mode(value: object, place: str) -> RunMode:
    """Read a run mode from its text.

    Args:
        value: Text, or a mode.
        place: Place of the value, for the message.

    Raises:
        ConfigError: The value is none of the three modes.
    """
    try:
        return RunMode(value)  # type: ignore[arg-type]
    except ValueError:
        expected = ", ".join(RunMode)
        raise ConfigError([f"{place}: found {value!r}; expected one of {expected}, or null"]) from None


def _own_mode(config: Mapping[str, Any]) -> RunMode | None:
    section = config.get("run")
    if section is None:
        return None
    if not isinstance(section, Mapping):
        raise ConfigError([f"run: found {section!r}; expected a mapping such as {{mode: force_new}}"])
    value = section.get("mode")
    return None if value is None else read_mode(value, "run.mode")
