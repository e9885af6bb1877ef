"""The errors that bakeoff raises on purpose.

    BakeoffError                      exit code
    ├── UserError                     2  your input is wrong: a setting, a file or a name
    │   ├── CandidateNotFoundError
    │   ├── ChampionError
    │   ├── ConfigError
    │   ├── DataError
    │   │   └── DamagedResultError
    │   ├── CheckpointError
    │   ├── JobNotFoundError
    │   ├── MissingExtraError
    │   ├── ModelSourceError
    │   ├── NoSweepError
    │   ├── UnknownLabelsError
    │   ├── UnsuitableLibraryError
    │   └── UnsupportedRuntimeError
    ├── AnswerIsNoError               3  a negative answer
    │   ├── NoChampionError
    │   ├── NoWinnerError
    │   ├── NothingMeasuredError
    │   ├── NothingToUndoError
    │   └── PromotionRefusedError
    ├── CannotTellError               4  the evidence is too weak for an answer
    ├── TrackingError                 5  the tracking server, or the rights on it
    ├── StudyError                    5  the study's storage, or the rights on it
    ├── StorageError                  5  the disk, or the rights on it
    ├── ClusterError                  5  the Ray cluster, or its resources
    ├── WorldMovedError               6  something changed since bakeoff looked
    │   ├── AliasMovedError
    │   └── StaleDecisionError
    └── WorkerError                   3  one job or training failed in its own process; the others continue
        └── NodeLostError

Each class builds its message from facts, always in the same order: where, what was found, what is allowed,
what to do. The last part begins with a verb.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bakeoff.install import install_command
from bakeoff.uris import mask_password


class BakeoffError(Exception):
    """Base of every error that bakeoff raises on purpose. The CLI catches this one.

    Its message shows no password, wherever it comes from.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(mask_password(message))

    def __reduce__(self) -> tuple[Callable[..., BakeoffError], tuple[object, ...], dict[str, object]]:
        """Pickle message and attributes, since ``args`` does not hold the arguments of ``__init__``."""
        return _restore, (type(self), self.args), vars(self)


def _restore(kind: type[BakeoffError], args: tuple[object, ...]) -> BakeoffError:
    error = kind.__new__(kind)
    error.args = args
    return error


class UserError(BakeoffError):
    """Wrong input from the user: a setting, a file or a name."""

    exit_code = 2


class ConfigError(UserError):
    """Unusable settings. Carries every fault, not only the first."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(map(mask_password, faults))
        super().__init__("\n".join(self.faults))


class ChampionError(UserError):
    """Unusable champions from another program. Carries every fault, not only the first."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(map(mask_password, faults))
        super().__init__("\n".join(self.faults))


class DataError(UserError):
    """A data file that bakeoff cannot use."""

    def __init__(self, place: str, *, found: str, expected: str) -> None:
        super().__init__(f"{place}: found {found}; expected {expected}")


class DamagedResultError(DataError):
    """A stored result that is not as bakeoff wrote it."""

    def __init__(self, place: str, *, found: str) -> None:
        fix = "the bytes that bakeoff wrote; run `bakeoff bench`, which sets it aside and measures again"
        super().__init__(place, found=found, expected=fix)


class CheckpointError(UserError):
    """An artifact or folder that is not a usable checkpoint."""

    def __init__(self, place: Path | str, *, found: str, fix: str) -> None:
        self.found = found
        self.fix = fix
        super().__init__(f"checkpoint {place}: {found}; {fix}")


class JobNotFoundError(UserError):
    """A name that matches no job, or several."""

    def __init__(self, text: str, candidates: Sequence[str], *, is_ambiguous: bool) -> None:
        self.candidates = tuple(candidates)
        found = "several jobs match" if is_ambiguous else "no job has this key or label"
        fix = (
            "give one of these labels or key digests:" if candidates else "check the plan, which has no jobs"
        )
        super().__init__("\n".join([f"{text!r}: {found}; {fix}", *(f"  {line}" for line in candidates)]))


class CandidateNotFoundError(UserError):
    """A name that matches no measured candidate, or several."""

    def __init__(self, text: str, candidates: Sequence[str], *, is_ambiguous: bool) -> None:
        self.candidates = tuple(candidates)
        found = "several measured candidates match" if is_ambiguous else "no measured candidate matches"
        fix = (
            "give a candidate, a key digest with or without @ATTEMPT, a file or a run. Available:"
            if candidates
            else "run `bakeoff bench`, since this project has no measurement"
        )
        super().__init__("\n".join([f"{text!r}: {found}; {fix}", *(f"  {line}" for line in candidates)]))


class MissingExtraError(UserError):
    """A missing library that an optional part needs."""

    def __init__(self, part: str, *, library: str, extra: str) -> None:
        super().__init__(f"{part}: {library} is not installed; run `{install_command(extra)}`")


class ModelSourceError(UserError):
    """A source of a named model that is missing, or holds no model that bakeoff measures."""

    def __init__(self, place: str, *, found: str, fix: str) -> None:
        super().__init__(f"{place}: {found}; {fix}")


class UnknownLabelsError(UserError):
    """Labels of the test documents that a model cannot predict. Names every model concerned."""

    def __init__(self, unknown: Mapping[str, Sequence[str]], known: Mapping[str, Sequence[str]]) -> None:
        self.unknown = {model: tuple(names) for model, names in unknown.items()}
        self.known = {model: tuple(names) for model, names in known.items()}
        super().__init__(
            "\n".join(
                f"{model}: found labels in data.test that the model does not know: {_list_some(names)}; it "
                f"knows {_list_some(self.known[model])}; measure it on data with its labels, rename the "
                "labels of the data, or remove quality from benchmark.scenarios"
                for model, names in self.unknown.items()
            )
        )


class UnsuitableLibraryError(UserError):
    """A library in a version that bakeoff does not support."""

    def __init__(self, library: str, *, found: str, needed: str) -> None:
        super().__init__(
            f"{library}: found version {found}; bakeoff needs {needed}; run `pip install '{library}{needed}'`"
        )


class NoSweepError(UserError):
    """No sweep that a worker could join began in time."""

    def __init__(self, backbone: str, *, waited_s: float, found: str) -> None:
        super().__init__(
            f"{backbone}: no sweep to join after {waited_s:.0f} s: {found}; start `bakeoff sweep` without "
            "--worker first, with the same configuration, data, tracking store and hpo.storage"
        )


class UnsupportedRuntimeError(UserError):
    """A runtime that this machine cannot run."""

    def __init__(self, label: str, *, needs: str, found: str, fix: str) -> None:
        super().__init__(f"runtime {label}: found {found}; it needs {needs}; {fix}")


class AnswerIsNoError(BakeoffError):
    """A negative answer."""

    exit_code = 3


class NoChampionError(AnswerIsNoError):
    """No backbone has a champion."""

    def __init__(self, reasons: Sequence[str], fix: str) -> None:
        super().__init__("\n".join(["no backbone has a champion", *(f"  {line}" for line in reasons), fix]))


class NothingMeasuredError(AnswerIsNoError):
    """A benchmark in which every champion failed. Carries the reason of each."""

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        fix = "correct the faults and call it again; what is on disk is kept"
        super().__init__("\n".join(["no champion was measured", *(f"  {line}" for line in reasons), fix]))


class NoWinnerError(AnswerIsNoError):
    """A promotion without a winner to promote."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("\n".join(["the decision names no winner", *(f"  {line}" for line in reasons)]))


class NothingToUndoError(AnswerIsNoError):
    """An undo where ``@champion`` and ``@previous`` do not name two versions."""

    def __init__(self, model: str, *, champion: str | None, previous: str | None) -> None:
        found = f"@champion is {_version(champion)}, @previous {_version(previous)}"
        fix = (
            "set @previous in MLflow to the version to restore" if champion else "run `bakeoff promote` first"
        )
        super().__init__(f"model {model!r}: nothing to undo: {found}; they must name two versions; {fix}")


class PromotionRefusedError(AnswerIsNoError):
    """A promotion of a winner with unsound evidence, or of a model that cannot be served."""

    def __init__(self, winner: str, *, found: str, fix: str, can_be_forced: bool = True) -> None:
        more = ", or add --force REASON" if can_be_forced else ""
        super().__init__(f"{winner} is not promoted: {found}; {fix}{more}")


class CannotTellError(BakeoffError):
    """Evidence that is too weak for an answer."""

    exit_code = 4


class TrackingError(BakeoffError):
    """A tracking server that did not answer, or refused.

    Attributes:
        is_refusal: Whether rights are missing, so that waiting does not help.
    """

    exit_code = 5

    def __init__(
        self, uri: str, *, action: str, found: str, safe: str = "", is_refusal: bool = False
    ) -> None:
        self.is_refusal = is_refusal
        tail = f"; {safe}" if safe else ""
        super().__init__(f"tracking store {uri}: {action} failed: {found}{tail}")


class StudyError(BakeoffError):
    """A study's storage, shared by its workers, that did not answer or refused."""

    exit_code = 5

    def __init__(self, storage: str, *, action: str, found: str) -> None:
        super().__init__(
            f"hpo.storage {storage}: {action} failed: {found}; finished trials are kept; check that it "
            "runs and that you have access, then repeat the command to continue"
        )


# A full disk, a spent quota, a limit on the size of files, a read-only file system.
FULL_OR_READ_ONLY = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})


class StorageError(BakeoffError):
    """A disk that is full or broken, or missing rights on it."""

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
            f"{path}: {action} failed: {found}; complete files are unchanged, and no partial file is "
            f"left; {fix}, then repeat the command"
        )


class ClusterError(BakeoffError):
    """A Ray cluster that is out of reach, or without the resources that a job needs."""

    exit_code = 5

    def __init__(self, address: str, *, found: str, fix: str) -> None:
        super().__init__(f"Ray cluster {address}: {found}; {fix}")


class WorldMovedError(BakeoffError):
    """A change since bakeoff looked."""

    exit_code = 6


class AliasMovedError(WorldMovedError):
    """A version at ``@champion`` other than the expected one."""

    def __init__(self, model: str, *, expected: str | None, found: str | None) -> None:
        super().__init__(
            f"model {model!r}: found {_version(found)} at @champion; expected {_version(expected)}; "
            "check what moved it, then repeat the command with the version that you expect now"
        )


class StaleDecisionError(WorldMovedError):
    """A decision on other evidence than today's."""

    def __init__(self, path: Path, *, found: str, can_be_forced: bool = True) -> None:
        way = ", or add --force REASON" if can_be_forced else ""
        super().__init__(f"{path}: the decision is stale: {found}; run `bakeoff decide`{way}")


def _list_some(names: Sequence[str]) -> str:
    most = 5
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(name[:40] for name in names[:most]) + rest if names else "none"


def _version(number: str | None) -> str:
    return "no version" if number is None else f"version {number}"


class WorkerError(BakeoffError):
    """A worker process that ended without a complete outcome.

    Attributes:
        is_refusal: Whether it refused its order for a reason that another try would find again.
    """

    exit_code = 3

    def __init__(self, reason: str, *, detail: str = "", is_refusal: bool = False) -> None:
        self.reason = reason
        self.detail = detail
        self.is_refusal = is_refusal
        super().__init__(f"{reason}: {detail}" if detail else reason)


class NodeLostError(WorkerError):
    """A lost node, or a lost worker process of it. Another node can do the work."""
