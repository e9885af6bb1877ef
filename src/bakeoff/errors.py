"""Every error that bakeoff raises on purpose.

    BakeoffError                      exit code
    ├── UserError                     2  something that the user wrote or pointed at is wrong
    │   ├── CandidateNotFoundError
    │   ├── ChampionError
    │   ├── ConfigError
    │   ├── DataError
    │   ├── CheckpointError
    │   ├── JobNotFoundError
    │   ├── MissingExtraError
    │   ├── NoSweepError
    │   ├── UnsuitableLibraryError
    │   └── UnsupportedRuntimeError
    ├── AnswerIsNoError               3  the question was answered, and the answer is no
    │   ├── NoChampionError
    │   ├── NoWinnerError
    │   ├── NothingToUndoError
    │   └── PromotionRefusedError
    ├── CannotTellError               4  the evidence does not suffice
    ├── TrackingError                 5  the tracking server or the rights on it
    ├── StudyError                    5  the study's storage did not answer, or refused
    ├── StorageError                  5  the disk or the rights on it
    ├── ClusterError                  5  the Ray cluster, or what it has
    ├── WorldMovedError               6  what was true when we looked is no longer
    │   ├── AliasMovedError
    │   └── StaleDecisionError
    └── WorkerError                   3  one job or training failed in its own process; the others go on
        └── NodeLostError

The message is built in the class, from facts, so that every place that raises says the same thing in the
same order: where, what was found, what was expected, what to do.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path


class BakeoffError(Exception):
    """Base of every error that bakeoff raises on purpose; the CLI catches this one and no other."""

    exit_code = 1

    def __reduce__(self) -> tuple[Callable[..., BakeoffError], tuple[object, ...], dict[str, object]]:
        """Travel between processes as it is: ``__init__`` builds the message from what is not in ``args``."""
        return _restore, (type(self), self.args), vars(self)


def _restore(kind: type[BakeoffError], args: tuple[object, ...]) -> BakeoffError:
    error = kind.__new__(kind)
    error.args = args
    return error


class UserError(BakeoffError):
    """Something that the user wrote or pointed at is wrong."""

    exit_code = 2


class ConfigError(UserError):
    """Settings that cannot be used; carries all faults found, not only the first."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class ChampionError(UserError):
    """Champions that were handed over and cannot be used; carries all faults found, not only the first."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class DataError(UserError):
    """A data file that cannot be read as labelled documents."""

    def __init__(self, place: str, *, found: str, expected: str) -> None:
        super().__init__(f"{place}: found {found}; expected {expected}")


class CheckpointError(UserError):
    """What was given or logged is no usable checkpoint."""

    def __init__(self, place: Path | str, *, found: str, fix: str) -> None:
        self.found = found
        self.fix = fix
        super().__init__(f"checkpoint {place}: {found}; {fix}")


class JobNotFoundError(UserError):
    """A job was asked for by a name that no job has, or several."""

    def __init__(self, text: str, candidates: Sequence[str], *, is_ambiguous: bool) -> None:
        self.candidates = tuple(candidates)
        found = "more than one job begins so" if is_ambiguous else "no job has this key or label"
        fix = "name one of these by label or key digest:" if candidates else "nothing is planned"
        super().__init__("\n".join([f"{text!r}: {found}; {fix}", *(f"  {line}" for line in candidates)]))


class CandidateNotFoundError(UserError):
    """What was to be compared is not there, or is several things."""

    def __init__(self, text: str, candidates: Sequence[str], *, is_ambiguous: bool) -> None:
        self.candidates = tuple(candidates)
        found = "more than one thing is called so" if is_ambiguous else "nothing measured is called so"
        fix = (
            "name a candidate, a key digest with or without @ATTEMPT, a file or a run; there are:"
            if candidates
            else "this project has no measurement; run `bakeoff bench`"
        )
        super().__init__("\n".join([f"{text!r}: {found}; {fix}", *(f"  {line}" for line in candidates)]))


class MissingExtraError(UserError):
    """A library that an optional part needs is not installed."""

    def __init__(self, part: str, *, library: str, extra: str) -> None:
        super().__init__(f"{part} needs {library}, which is not installed: pip install 'bakeoff[{extra}]'")


class UnsuitableLibraryError(UserError):
    """A library is installed in a version that bakeoff is not made for."""

    def __init__(self, library: str, *, found: str, needed: str) -> None:
        super().__init__(
            f"{library} {found} is installed here; bakeoff needs {needed}: pip install '{library}{needed}'"
        )


class NoSweepError(UserError):
    """A worker waited for a sweep to join, and none came."""

    def __init__(self, backbone: str, *, waited_s: float, found: str) -> None:
        super().__init__(
            f"{backbone}: no sweep to join after {waited_s:.0f} s: {found}; start `bakeoff sweep` without "
            "--worker, with the same configuration, data, tracking store and hpo.storage, then repeat this"
        )


class UnsupportedRuntimeError(UserError):
    """A runtime that this machine cannot run."""

    def __init__(self, label: str, *, needs: str, found: str, fix: str) -> None:
        super().__init__(f"runtime {label} needs {needs}; found {found}; {fix}")


class AnswerIsNoError(BakeoffError):
    """The question was answered, and the answer is no."""

    exit_code = 3


class NoChampionError(AnswerIsNoError):
    """No backbone has a champion."""

    def __init__(self, reasons: Sequence[str], fix: str) -> None:
        super().__init__("\n".join(["no backbone has a champion", *(f"  {line}" for line in reasons), fix]))


class NoWinnerError(AnswerIsNoError):
    """A promotion was asked for, but the decision names no winner."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("\n".join(["the decision names no winner", *(f"  {line}" for line in reasons)]))


class NothingToUndoError(AnswerIsNoError):
    """An undo was asked for, but ``@champion`` or ``@previous`` names no version."""

    def __init__(self, model: str, *, champion: str | None, previous: str | None) -> None:
        found = f"@champion is {_version(champion)}, @previous {_version(previous)}"
        super().__init__(f"model {model!r}: nothing to undo: {found}; both must name a version")


class PromotionRefusedError(AnswerIsNoError):
    """A promotion was asked for, but what the winner rests on does not hold."""

    def __init__(self, winner: str, *, found: str, fix: str) -> None:
        super().__init__(f"{winner} is not promoted: {found}; {fix}, or go on with --force REASON")


class CannotTellError(BakeoffError):
    """The evidence does not suffice for an answer."""

    exit_code = 4


class TrackingError(BakeoffError):
    """The tracking server did not answer, or refused.

    Attributes:
        is_refusal: Whether rights are missing: waiting does not help.
    """

    exit_code = 5

    def __init__(
        self, uri: str, *, action: str, found: str, safe: str = "", is_refusal: bool = False
    ) -> None:
        self.is_refusal = is_refusal
        tail = f"; {safe}" if safe else ""
        super().__init__(f"tracking store {uri}: {action} failed: {found}{tail}")


class StudyError(BakeoffError):
    """The storage of the study, which its workers share, did not answer or refused."""

    exit_code = 5

    def __init__(self, storage: str, *, action: str, found: str) -> None:
        super().__init__(
            f"hpo.storage {storage}: {action} failed: {found}; finished trials are kept; see that it runs "
            "and lets you in, then repeat the command, which goes on from there"
        )


# A full disk, a spent quota, a limit on the size of files, a file system that may only be read.
FULL_OR_READ_ONLY = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


class StorageError(BakeoffError):
    """The disk is full or broken, or the rights on it are missing."""

    exit_code = 5

    def __init__(self, path: Path | str, *, action: str, error: OSError) -> None:
        found = error.strerror or str(error)
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            fix = "free some space there"
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            fix = "make it readable and writable for you"
        else:
            fix = "check the disk"
        super().__init__(
            f"{path}: {action} failed: {found}; nothing half-made was left, and what was whole before "
            f"still is; {fix}, then repeat the command"
        )


class ClusterError(BakeoffError):
    """The Ray cluster cannot be reached, or has nothing of what is asked for."""

    exit_code = 5

    def __init__(self, address: str, *, found: str, fix: str) -> None:
        super().__init__(f"Ray cluster {address}: {found}; {fix}")


class WorldMovedError(BakeoffError):
    """What was true when we looked is no longer."""

    exit_code = 6


class AliasMovedError(WorldMovedError):
    """``@champion`` names another version than was expected."""

    def __init__(self, model: str, *, expected: str | None, found: str | None) -> None:
        super().__init__(
            f"model {model!r}: expected @champion to be {_version(expected)}, found {_version(found)}; "
            "it was not moved; look who moved it, then repeat with what you expect now"
        )


class StaleDecisionError(WorldMovedError):
    """The decision was made from something else than what is there now."""

    def __init__(self, path: Path, *, found: str, can_be_forced: bool = True) -> None:
        way = ", or go on with --force REASON" if can_be_forced else ""
        super().__init__(f"{path}: the decision is stale: {found}; run `bakeoff decide`{way}")


def _version(number: str | None) -> str:
    return "no version" if number is None else f"version {number}"


class WorkerError(BakeoffError):
    """Work in a process of its own ended without a whole outcome."""

    exit_code = 3

    def __init__(self, reason: str, *, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


class NodeLostError(WorkerError):
    """The node that worked, or its process, was lost; another one can do the work."""
