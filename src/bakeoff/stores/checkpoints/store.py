"""Acquire a champion's checkpoint: given folder, else cache, else the tracking store; verified, then kept."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from bakeoff.core.identity import is_run_id
from bakeoff.core.records import Champion
from bakeoff.disk.digest import digest_folder, digest_json, list_files, shorten
from bakeoff.disk.folders import Manifest, build_folder, find_whole, look_at
from bakeoff.disk.names import NameRegister, find_path_fault
from bakeoff.errors import FULL_OR_READ_ONLY, CheckpointError, StorageError, TrackingError
from bakeoff.measure.model.checkpoint import CONFIG_FILE, open_checkpoint
from bakeoff.stores.checkpoints.archives import find_checkpoint_folder, unpack
from bakeoff.stores.tags import CHECKPOINT_ARTIFACT

Download = Callable[[str, str, Path], Path]

_INNER = "checkpoint"
_ERRNO = re.compile(r"\[Errno (\d+)\]")


class CheckpointStore:
    """Verified checkpoints, and what backends made from them, in a cache folder.

    Args:
        folder: Of the cache.
        notify: Told what is fetched, and why.
    """

    def __init__(self, folder: Path, notify: Callable[[str], None] = lambda _: None) -> None:
        self.folder = folder
        self._notify = notify

    def acquire(self, champion: Champion, download: Download, *, rehash: bool = True) -> Path:
        """Return a folder with the champion's checkpoint, whole and with the digest that the refit recorded.

        Where it recorded none, the digest of what was fetched is kept beside it, so that a change is noticed.

        Args:
            champion: With ``checkpoint_path`` if the folder is known.
            download: Fetches an artifact of a run into a folder; called only if the checkpoint is neither
                given nor cached.
            rehash: Read every file again, as is due before anything is measured. Without it, files whose
                size, times and inode are as they were are taken for unchanged: enough for a plan.

        Raises:
            CheckpointError: It is no checkpoint, or not the one that the refit logged, or tries to leave its
                folder.
            StorageError: The disk is full or the cache cannot be written.
            TrackingError: It had to be fetched, and could not.
        """
        if champion.checkpoint_path is not None:
            found = self._look_at_given(champion.checkpoint_path, rehash=rehash).digest()
            _check(champion.checkpoint_path, found, champion.checkpoint_digest)
            return champion.checkpoint_path
        final, place = self._cached_folder(champion), _describe(champion)
        cached = find_whole(final, rehash=rehash)
        if cached is not None and _fits(cached, champion):
            open_checkpoint(final / _INNER)
            return final / _INNER
        if final.exists():
            self._notify(f"{place}: the cached copy is not what was acquired; it is fetched again")

        def fetch(aside: Path) -> None:
            self._notify(f"{place}: fetching it")
            _fetch(champion, download, aside)

        build_folder(
            final,
            fetch,
            accept=lambda standing: _fits(standing, champion),
            on_wait=lambda: self._notify(f"{place}: another process is fetching it; waiting"),
        )
        return final / _INNER

    def find_digest(self, champion: Champion) -> str | None:
        """Content digest of a champion's checkpoint without network and, as a rule, without reading it.

        Returns:
            What the refit recorded, else what lies in the given or the cached folder; None if it has to be
            acquired first.

        Raises:
            CheckpointError: The given folder holds links or special files, or is none; or an id or name of
                the champion can be no path.
            StorageError: The folder cannot be read.
        """
        if champion.checkpoint_digest is not None:
            return champion.checkpoint_digest
        if champion.checkpoint_path is not None:
            return self._look_at_given(champion.checkpoint_path, rehash=False).digest()
        cached = find_whole(self._cached_folder(champion), rehash=False)
        return cached.digest(_INNER) if cached else None

    def identify(self, champion: Champion, download: Download) -> Champion:
        """The champion with its content digest, which a plan needs and older writers did not record.

        From then on the digest is what the checkpoint must have, also if the cache has to be fetched again.

        Raises:
            BakeoffError: As ``acquire`` does, if the checkpoint has to be acquired to know its digest.
        """
        if self.find_digest(champion) is None:
            self.acquire(champion, download, rehash=False)
        return champion.model_copy(update={"checkpoint_digest": self.find_digest(champion)})

    def prepared_folder(self, checkpoint_digest: str, settings: dict[str, str]) -> Path:
        """Where the export of a checkpoint stands, or will stand."""
        return self.folder / "prepared" / digest_json({"checkpoint": checkpoint_digest, "settings": settings})

    def _look_at_given(self, folder: Path, *, rehash: bool) -> Manifest:
        """A folder of the user's: nothing is written there, so its stamps are kept in the cache."""
        if not folder.is_dir():
            open_checkpoint(folder)  # says so
        name = digest_json(os.fsencode(folder.absolute()).hex())  # a path need not be text
        return look_at(folder, self.folder / "given" / f"{name}.json", rehash=rehash)

    def _cached_folder(self, champion: Champion) -> Path:
        """A place for each run and artifact; what others wrote is checked before it becomes a path."""
        run_id, artifact = champion.refit_run_id, champion.checkpoint_artifact
        if not is_run_id(run_id):
            raise CheckpointError(
                f"of {champion.backbone!r}",
                found=f"the refit run id {run_id[:80]!r} is none",
                fix="an MLflow run id has 32 hex digits; look at the tags of the refit run",
            )
        if fault := find_path_fault(artifact):
            raise CheckpointError(
                f"of {champion.backbone!r}, run {run_id}",
                found=f"the artifact's name is refused: {fault}",
                fix="name a folder or archive below the run's artifacts",
            )
        other = "" if artifact == CHECKPOINT_ARTIFACT else f"-{digest_json(artifact)}"
        return self.folder / "checkpoints" / f"{run_id}{other}"


def _describe(champion: Champion) -> str:
    return f"{champion.checkpoint_artifact!r} of run {champion.refit_run_id}"


def _fits(manifest: Manifest, champion: Champion) -> bool:
    return champion.checkpoint_digest in {None, manifest.digest(_INNER)}


def _fetch(champion: Champion, download: Download, aside: Path) -> None:
    """Put the checked checkpoint into a folder, under its fixed name and with nothing beside it."""
    place = _describe(champion)
    received, unpacked = aside / "received", aside / "unpacked"
    received.mkdir()
    try:
        download(champion.refit_run_id, champion.checkpoint_artifact, received)
    except TrackingError as error:
        if fault := _find_disk_fault(error):
            raise StorageError(aside.parent, action="downloading a checkpoint", error=fault) from error
        if getattr(error.__cause__, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            raise _nothing_there(place) from error
        raise
    found = received / champion.checkpoint_artifact
    if found.is_symlink() or not found.exists():
        raise _nothing_there(place)
    found = _unwrap(found)
    if found.is_file():
        unpacked.mkdir()
        unpack(found, unpacked, place)
        found = find_checkpoint_folder(unpacked, place)
    elif not (found / CONFIG_FILE).is_file():
        found = find_checkpoint_folder(found, place)
    inner = found.rename(aside / _INNER)
    for rest in (received, unpacked):
        shutil.rmtree(rest, ignore_errors=True)
    try:
        _check_names(inner)
        _check(inner, digest_folder(inner), champion.checkpoint_digest)
    except CheckpointError as error:  # what it says of this folder is true of the artifact, which will remain
        raise CheckpointError(place, found=error.found, fix=error.fix) from error


def _unwrap(found: Path) -> Path:
    """The one file in a folder: ``log_artifact(archive, NAME)`` makes a folder NAME around the archive."""
    inside = list(found.iterdir()) if found.is_dir() else []
    is_wrapped = len(inside) == 1 and inside[0].is_file() and not inside[0].is_symlink()
    return inside[0] if is_wrapped and inside[0].name != CONFIG_FILE else found


def _nothing_there(place: str) -> CheckpointError:
    return CheckpointError(
        place, found="the run holds no such artifact", fix="log it, or name it as it was logged"
    )


def _check_names(folder: Path) -> None:
    names = NameRegister()
    for name in list_files(folder):
        if fault := names.find_fault(name, is_folder=False):
            raise CheckpointError(folder, found=f"a file's name: {fault}", fix="rename it and log it again")


def _check(folder: Path, found: str, expected: str | None) -> None:
    open_checkpoint(folder)
    if expected not in {None, found}:
        raise CheckpointError(
            folder,
            found=f"its content has digest {shorten(found)}, the refit recorded {shorten(str(expected))}",
            fix="it is not what was trained; restore it, or run the refit again",
        )


def _find_disk_fault(error: TrackingError) -> OSError | None:
    """A full disk under a download: MLflow tells of it only in the words of its own error."""
    cause = error.__cause__
    numbers = {cause.errno} if isinstance(cause, OSError) else {int(n) for n in _ERRNO.findall(str(cause))}
    number = next((number for number in numbers if number in FULL_OR_READ_ONLY), None)
    return None if number is None else OSError(number, os.strerror(number))
