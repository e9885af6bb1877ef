"""Run modes: whether what exists is used, made again or finished. One table for sweep and bench alike."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from bakeoff.errors import ConfigError


class RunMode(StrEnum):
    """What to do about results that exist already."""

    REUSE_IF_EXISTS = "reuse_if_exists"
    FORCE_NEW = "force_new"
    RESUME_IF_INCOMPLETE = "resume_if_incomplete"


DEFAULT_RUN_MODE = RunMode.REUSE_IF_EXISTS


def get_run_mode(config: Mapping[str, Any], default: str = DEFAULT_RUN_MODE) -> RunMode:
    """Read ``run.mode`` of a configuration mapping; missing or null gives the default.

    Raises:
        ConfigError: The value is none of the three modes.
    """
    return _own_mode(config) or RunMode(default)


def get_benchmark_run_mode(benchmark_config: Mapping[str, Any], hpo_config: Mapping[str, Any]) -> RunMode:
    """The benchmark's own mode; null inherits the one of the sweep; both null give the default.

    Raises:
        ConfigError: One of the values is none of the three modes.
    """
    return _own_mode(benchmark_config) or get_run_mode(hpo_config)


def should_reuse_existing(mode: RunMode, exists: bool, is_complete: bool) -> bool:
    """Whether what exists is built upon.

    ==================== ======= ========== =====
    mode                 nothing incomplete whole
    ==================== ======= ========== =====
    force_new            no      no         no
    reuse_if_exists      no      yes        yes
    resume_if_incomplete no      yes        no
    ==================== ======= ========== =====

    Under ``resume_if_incomplete`` a whole result is simply left as it is: there is nothing to resume.
    """
    if mode is RunMode.FORCE_NEW or not exists:
        return False
    return mode is RunMode.REUSE_IF_EXISTS or not is_complete


def has_work(mode: RunMode, exists: bool, is_complete: bool) -> bool:
    """Whether anything is to be run at all.

    ``resume_if_incomplete`` finishes what was begun and starts nothing else; ``reuse_if_exists`` runs what is
    missing; ``force_new`` always runs.
    """
    if mode is RunMode.FORCE_NEW:
        return True
    if mode is RunMode.RESUME_IF_INCOMPLETE:
        return exists and not is_complete
    return not is_complete


def _own_mode(config: Mapping[str, Any]) -> RunMode | None:
    section = config.get("run")
    if section is None:
        return None
    if not isinstance(section, Mapping):
        raise ConfigError([f"run: found {section!r}; expected a mapping such as {{mode: force_new}}"])
    value = section.get("mode")
    if value is None:
        return None
    try:
        return RunMode(value)
    except ValueError:
        expected = ", ".join(RunMode)
        raise ConfigError([f"run.mode: found {value!r}; expected one of {expected}, or null"]) from None
