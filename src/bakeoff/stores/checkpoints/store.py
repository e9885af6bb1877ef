"""Acquire a champion's checkpoint: from the given folder, the cache or the tracking store, then verify it."""

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
    """Cache folder with verified checkpoints, and with the files that backends made from them.

    Args:
        folder: Folder of the cache.
        notify: Receives a line for each fetch.
        warn: Receives a line for each wait, and for each copy that has changed.
    """

    def __init__(
        self,
        folder: Path,
        notify: Callable[[str], None] = lambda _: None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self._notify = notify
        self._warn = warn

    def acquire(self, champion: Champion, download: Download, *, rehash: bool = True) -> Path:
        """Return a folder with the champion's complete checkpoint, checked against the refit's digest.

        If the refit recorded no digest, bakeoff keeps the digest of the fetched files, to notice changes.

        Args:
            champion: With ``checkpoint_path`` if the folder is known.
            download: Fetches an artifact of a run into a folder; called only if the checkpoint is neither
                given nor cached.
            rehash: Whether to read every file again, as a measurement requires. Otherwise files with the same
                size, times and inode count as unchanged, which is enough for a plan.

        Raises:
            CheckpointError: It is not a checkpoint, not the one that the refit logged, or tries to leave its
                folder.
            StorageError: The disk is full, or the cache cannot be written.
            TrackingError: The download failed.
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
            self._warn(f"{place}: the cached copy has changed; fetching it again")

        def fetch(aside: Path) -> None:
            self._notify(f"{place}: fetching it")
            _fetch(champion, download, aside)

        build_folder(
            final,
            fetch,
            accept=lambda standing: _fits(standing, champion),
            on_wait=lambda holder: self._warn(f"{place}: waiting for another process to fetch it: {holder}"),
        )
        return final / _INNER

    def find_digest(self, champion: Champion) -> str | None:
        """Find the content digest of a champion's checkpoint without network, mostly without reading it.

        Returns:
            The digest that the refit recorded, or else that of the given or cached folder. None if the
            checkpoint has to be acquired first.

        Raises:
            CheckpointError: The given folder is missing or holds links or special files, or an id or name of
                the champion cannot be a path.
            StorageError: The folder cannot be read.
        """
        if champion.checkpoint_digest is not None:
            return champion.checkpoint_digest
        if champion.checkpoint_path is not None:
            return self._look_at_given(champion.checkpoint_path, rehash=False).digest()
        cached = find_whole(self._cached_folder(champion), rehash=False)
        return cached.digest(_INNER) if cached else None

    def find_local(self, champion: Champion) -> Path | None:
        """Find the folder of a champion's checkpoint on this machine, without reading it.

        Returns:
            The given folder, or the cached one if it is complete; None if the checkpoint has to be fetched.
        """
        if champion.checkpoint_path is not None:
            return champion.checkpoint_path
        cached = self._cached_folder(champion)
        return cached / _INNER if find_whole(cached, rehash=False) else None

    def identify(self, champion: Champion, download: Download) -> Champion:
        """Return the champion with its content digest, which a plan needs and older writers did not record.

        From then on the checkpoint must have this digest, also if it has to be fetched again.

        Raises:
            BakeoffError: As ``acquire`` does, if the digest is unknown until the checkpoint is acquired.
        """
        if self.find_digest(champion) is None:
            self.acquire(champion, download, rehash=False)
        return champion.replace(checkpoint_digest=self.find_digest(champion))

    def prepared_folder(self, checkpoint_digest: str, settings: dict[str, str]) -> Path:
        """Return the folder for the export of a checkpoint, which may not exist yet."""
        return self.folder / "prepared" / digest_json({"checkpoint": checkpoint_digest, "settings": settings})

    def _look_at_given(self, folder: Path, *, rehash: bool) -> Manifest:
        """Look at the user's own folder; its stamps go to the cache, so that nothing is written there."""
        if not folder.is_dir():
            open_checkpoint(folder)  # raises
        name = digest_json(os.fsencode(folder.absolute()).hex())  # a path need not be text
        return look_at(folder, self.folder / "given" / f"{name}.json", rehash=rehash)

    def _cached_folder(self, champion: Champion) -> Path:
        """Return the folder for a run and artifact, after a check that both names are safe as a path."""
        run_id, artifact = champion.refit_run_id, champion.checkpoint_artifact
        if not is_run_id(run_id):
            raise CheckpointError(
                f"of {champion.backbone!r}",
                found=f"the refit run id {run_id[:80]!r} is not an MLflow run id",
                fix="check the tags of the refit run",
            )
        if fault := find_path_fault(artifact):
            raise CheckpointError(
                f"of {champion.backbone!r}, run {run_id}",
                found=f"unsafe artifact name: {fault}",
                fix="name a folder or archive below the run's artifacts",
            )
        other = "" if artifact == CHECKPOINT_ARTIFACT else f"-{digest_json(artifact)}"
        return self.folder / "checkpoints" / f"{run_id}{other}"


def _describe(champion: Champion) -> str:
    return f"{champion.checkpoint_artifact!r} of run {champion.refit_run_id}"


def _fits(manifest: Manifest, champion: Champion) -> bool:
    return champion.checkpoint_digest in {None, manifest.digest(_INNER)}


def _fetch(champion: Champion, download: Download, aside: Path) -> None:
    """Put the checked checkpoint into a folder, alone and under its fixed name."""
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
    except CheckpointError as error:  # the message is true of the artifact, which remains
        raise CheckpointError(place, found=error.found, fix=error.fix) from error


def _unwrap(found: Path) -> Path:
    """Return the one file in a folder: ``log_artifact(archive, NAME)`` puts it into a folder NAME."""
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
            fix="restore the trained files, or run the refit again",
        )


def _find_disk_fault(error: TrackingError) -> OSError | None:
    """Find a full disk behind a failed download: MLflow mentions it only in the text of its error."""
    cause = error.__cause__
    numbers = {cause.errno} if isinstance(cause, OSError) else {int(n) for n in _ERRNO.findall(str(cause))}
    number = next((number for number in numbers if number in FULL_OR_READ_ONLY), None)
    return None if number is None else OSError(number, os.strerror(number))
