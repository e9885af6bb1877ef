"""Errors: the tree that the module draws is the tree that stands in the code."""

from __future__ import annotations

import errno
import importlib
import pickle
import pkgutil
import re
from pathlib import Path

import pytest

import bakeoff
from bakeoff import errors
from bakeoff.errors import (
    BakeoffError,
    CheckpointError,
    ConfigError,
    DataError,
    MissingExtraError,
    NoChampionError,
    NoWinnerError,
    StorageError,
    TrackingError,
    WorkerError,
)
from bakeoff.install import install_command

_DRAWN = re.compile(r"^ {4}(?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+)(?: +(?P<rest>.*))?$", re.MULTILINE)


def drawn_tree() -> list[tuple[str, str, int]]:
    """Each class of the drawing: its name, its parent's, its exit code or else its parent's."""
    above: list[tuple[str, int]] = [("Exception", BakeoffError.exit_code)]
    rows = []
    for line in _DRAWN.finditer(errors.__doc__ or ""):
        del above[len(line["branch"]) // 4 + 1 :]
        parent, inherited = above[-1]
        number = re.match(r"\d+", line["rest"] or "")
        code = int(number[0]) if number else inherited
        rows.append((line["name"], parent, code))
        above.append((line["name"], code))
    return rows


def code_tree(cls: type[BakeoffError] = BakeoffError) -> list[tuple[str, str, int]]:
    row = (cls.__name__, cls.__base__.__name__ if cls.__base__ else "", cls.exit_code)
    return [row, *(below for child in cls.__subclasses__() for below in code_tree(child))]


def import_everything() -> None:
    for module in pkgutil.walk_packages(bakeoff.__path__, "bakeoff."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def test_the_drawn_tree_is_the_tree_in_the_code_with_its_exit_codes() -> None:
    import_everything()  # a class that is defined elsewhere would show as one too many
    assert sorted(drawn_tree()) == sorted(code_tree())
    assert len(drawn_tree()) > 10


def test_every_error_has_its_own_docstring_and_ends_in_error() -> None:
    for name, *_ in code_tree():
        assert name.endswith("Error")
        assert getattr(errors, name).__doc__


def test_the_command_line_s_help_names_every_exit_code() -> None:
    from bakeoff.cli.main import cli

    named = set(re.findall(r"(?<!\d)(\d+) (?=[a-z])", cli.help or ""))
    assert {str(code) for _, _, code in code_tree()} <= named


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConfigError(["one.yaml:1:2: x", "two.yaml:3:4: y"]), "one.yaml:1:2: x\ntwo.yaml:3:4: y"),
        (
            DataError("test.jsonl:7", found="3 words", expected="one tag a word"),
            "test.jsonl:7: found 3 words; expected one tag a word",
        ),
        (
            CheckpointError(Path("/c"), found="no config.json", fix="give a model folder"),
            "checkpoint /c: no config.json; give a model folder",
        ),
        (
            StorageError(
                Path("/r/x.json"), action="writing", error=OSError(errno.ENOSPC, "No space left on device")
            ),
            (
                "/r/x.json: writing failed: No space left on device; complete files are unchanged, and no "
                "partial file is left; free some space there, then repeat the command"
            ),
        ),
        (
            MissingExtraError("the sweep", library="optuna", extra="hpo"),
            f"the sweep: optuna is not installed; run `{install_command('hpo')}`",
        ),
        (
            NoChampionError(["minilm: no trial"], "run `bakeoff sweep`"),
            "no backbone has a champion\n  minilm: no trial\nrun `bakeoff sweep`",
        ),
        (NoWinnerError(["a tie"]), "the decision names no winner\n  a tie"),
        (
            TrackingError("http://h", action="reading runs", found="timeout", safe="nothing was changed"),
            "tracking store http://h: reading runs failed: timeout; nothing was changed",
        ),
        (
            TrackingError("http://h", action="reading runs", found="timeout"),
            "tracking store http://h: reading runs failed: timeout",
        ),
        (WorkerError("killed", detail="signal 9"), "killed: signal 9"),
        (WorkerError("killed"), "killed"),
    ],
)
def test_a_message_says_where_what_was_found_and_what_to_do(error: BakeoffError, message: str) -> None:
    assert str(error) == message


def test_an_error_keeps_its_facts_for_whoever_catches_it() -> None:
    assert ConfigError(["a", "b"]).faults == ("a", "b")
    worker = WorkerError("killed", detail="signal 9")
    assert (worker.reason, worker.detail) == ("killed", "signal 9")


@pytest.mark.parametrize(
    "error",
    [
        ConfigError(["hpo.yaml:3:1: first", "hpo.yaml:9:1: second"]),
        DataError("data.jsonl:2", found="no tags", expected="one tag a word"),
        CheckpointError("folder", found="no config.json", fix="copy it again"),
        MissingExtraError("the sweep", library="optuna", extra="hpo"),
        TrackingError("sqlite:///m.db", action="search", found="no answer", safe="nothing is lost"),
        StorageError(Path("x"), action="write", error=OSError(errno.ENOSPC, "full")),
        WorkerError("it died", detail="killed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_another_process_says_the_same_here(error: BakeoffError) -> None:
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 - as a process pool does
    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert vars(arrived) == vars(error)
