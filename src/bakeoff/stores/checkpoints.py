"""Acquire a champion's checkpoint: given folder, else cache, else the tracking store; verified, then kept."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from bakeoff import durable
from bakeoff.core.records import Champion
from bakeoff.digest import digest_folder, digest_json
from bakeoff.errors import CheckpointError
from bakeoff.measure.checkpoint import open_checkpoint
from bakeoff.stores.tags import CHECKPOINT_ARTIFACT

Download = Callable[[str, str, Path], Path]


class CheckpointStore:
    """Verified checkpoints, and what backends made from them, in a cache folder.

    Args:
        folder: Of the cache.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def acquire(self, champion: Champion, download: Download) -> Path:
        """Return a folder with the champion's checkpoint, whole and with the digest that the refit recorded.

        Args:
            champion: With ``checkpoint_path`` if the folder is known.
            download: Fetches an artifact folder of a run; called only if it is neither given nor cached.

        Raises:
            CheckpointError: It is no checkpoint, or not the one that the refit logged.
            TrackingError: It had to be fetched, and could not.
        """
        if champion.checkpoint_path is not None:
            _verify(champion.checkpoint_path, champion.checkpoint_digest)
            return champion.checkpoint_path
        final = self.folder / "checkpoints" / champion.refit_run_id
        inner = final / CHECKPOINT_ARTIFACT
        with durable.exclusive(final.with_suffix(".lock")):
            if durable.is_complete(final) and _is_sound(inner, champion.checkpoint_digest):
                return inner

            def fetch(aside: Path) -> None:
                found = download(champion.refit_run_id, CHECKPOINT_ARTIFACT, aside)
                if found != aside / CHECKPOINT_ARTIFACT:
                    shutil.move(found, aside / CHECKPOINT_ARTIFACT)
                _verify(aside / CHECKPOINT_ARTIFACT, champion.checkpoint_digest)

            durable.build_folder(final, fetch)
        return inner

    def prepared_folder(self, checkpoint_digest: str, settings: dict[str, str]) -> Path:
        """Where the export of a checkpoint stands, or will stand."""
        return self.folder / "prepared" / digest_json({"checkpoint": checkpoint_digest, "settings": settings})


def _verify(folder: Path, expected_digest: str | None) -> None:
    open_checkpoint(folder)
    if expected_digest is None:
        return
    found = digest_folder(folder)
    if found != expected_digest:
        raise CheckpointError(
            folder,
            found=f"its content has digest {found[:12]}, the refit recorded {expected_digest[:12]}",
            cure="it is not what was trained; restore it, or run the refit again",
        )


def _is_sound(folder: Path, expected_digest: str | None) -> bool:
    try:
        _verify(folder, expected_digest)
    except CheckpointError:
        return False  # a poisoned or truncated cache is fetched again
    return True
