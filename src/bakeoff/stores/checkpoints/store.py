"""Acquire a model's checkpoint: from the given folder, the cache or the tracking store, then verify it.

checkpoints/RUN/       the checkpoint of a champion
named/DIGEST/          the checkpoint of a named model, and what its source holds
given/                 looks at folders of the user
prepared/              files that backends made
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from bakeoff.core.identity import is_run_id
from bakeoff.core.records import AnyModel, NamedModel, SomeModel, SourceKind
from bakeoff.disk import durable
from bakeoff.disk.digest import digest_file, digest_json
from bakeoff.disk.durable import storage_faults
from bakeoff.disk.folders import Manifest, build_folder, find_whole, look_at
from bakeoff.disk.inputs import MAX_RECORD_BYTES, read_regular
from bakeoff.disk.names import find_path_fault
from bakeoff.errors import CheckpointError, ModelSourceError
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.model.graph import GRAPH_FILE, Graph
from bakeoff.measure.model.row_model import FACTORY_FILE, Factory
from bakeoff.stores.checkpoints.fetch import (
    CONTENT,
    INNER,
    Download,
    check_model,
    describe,
    fetch_checkpoint,
    fetch_source,
    finish_source,
    make_model,
    open_content,
)
from bakeoff.stores.checkpoints.sources import Content, assemble, link
from bakeoff.stores.tags import CHECKPOINT_ARTIFACT


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

    def acquire(self, model: AnyModel, download: Download, *, rehash: bool = True) -> Path:
        """Return a folder with the model's complete checkpoint, checked against its digest.

        If a refit recorded no digest, bakeoff keeps the digest of the fetched files, to notice changes.

        Args:
            model: With ``checkpoint_path`` if the folder is known.
            download: Fetches an artifact of a run or location into a folder; called only if the checkpoint is
                neither given nor cached.
            rehash: Whether to read every file again, as a measurement requires. Otherwise files with the same
                size, times and inode count as unchanged, which is enough for a plan.

        Raises:
            CheckpointError: It is not a checkpoint, not the one that the refit logged, or tries to leave its
                folder.
            ModelSourceError: A named model is a folder of another machine, or its artifact has changed.
            StorageError: The disk is full, or the cache cannot be written.
            TrackingError: The download failed.
        """
        if model.checkpoint_path is not None:
            found = self._look_at_given(model.checkpoint_path, rehash=rehash).digest()
            check_model(model, model.checkpoint_path, found)
            return model.checkpoint_path
        return self._keep(
            self._cached_folder(model),
            lambda aside: fetch_checkpoint(model, download, aside),
            place=describe(model),
            kind=model.kind if isinstance(model, NamedModel) else SourceKind.CHECKPOINT,
            expected=model.checkpoint_digest,
            rehash=rehash,
        )

    def acquire_source(self, location: str, content: Content, download: Download, place: str) -> NamedModel:
        """Return a named model, without its name, whose checkpoint lies at a location of MLflow.

        Args:
            location: URI of the artifact, which never changes.
            content: What it holds.
            download: Fetches an artifact of a location into a folder.
            place: Setting of the source, for messages; it becomes name and source of the model.

        Raises:
            BakeoffError: As ``acquire`` does.
        """
        final = self._named_folder(location)
        self._keep(
            final,
            lambda aside: fetch_source(location, content, download, aside, place=place, expected=None),
            place=place,
            kind=content.kind,
        )
        return self._as_model(final, location, place)

    def find_source(self, location: str, place: str) -> NamedModel | None:
        """Find a named model that was fetched from a location, as ``acquire_source`` returns it."""
        final = self._named_folder(location)
        return self._as_model(final, location, place) if find_whole(final, rehash=False) else None

    def look_at_source(self, folder: Path, content: Content, place: str) -> NamedModel:
        """Return a named model, without its name, from a folder of this machine.

        It stays where it is. Several folders that are one together become a view in the cache.

        Raises:
            CheckpointError: The folder is not a checkpoint.
            ModelSourceError: Its folders do not make one checkpoint.
            StorageError: A folder cannot be read, or the cache cannot be written.
        """
        parts = {part: folder / part if part else folder for part in content.parts}
        if list(parts) == [""]:
            open_content(folder, content.kind)
            digest = self._look_at_given(folder, rehash=False).digest()
            return make_model(place, folder, digest, content.kind)
        looks = [self._look_at_given(part, rehash=False) for part in parts.values()]
        digests = {name: digest for look in looks for name, digest in look.digests.items()}
        final = self.folder / "named" / digest_json(digests)

        def build(aside: Path) -> None:
            assemble(parts, aside / INNER, place)
            finish_source(aside, content, place, None)

        self._keep(final, build, place=place, kind=content.kind)
        return self._as_model(final, "", place)

    def keep_graph(self, files: Mapping[str, Path], graph: Graph, place: str) -> NamedModel:
        """Return a named model, without its name, from an ONNX graph of this machine.

        Args:
            files: Files of the model by their names in its folder: graph, weights, tokenizer.
            graph: What is known of the graph.
            place: Setting of the source, for messages.

        Raises:
            StorageError: A file cannot be read, or the cache cannot be written.
        """
        with storage_faults(self.folder, "reading"):
            digests = {name: digest_file(path) for name, path in files.items()}

        def fill(inner: Path) -> None:
            for name, path in files.items():
                (inner / name).parent.mkdir(parents=True, exist_ok=True)
                link(path, inner / name)
            durable.write_json(inner / GRAPH_FILE, graph.model_dump(mode="json"))

        name = digest_json({"files": digests, "graph": graph.model_dump(mode="json")})
        return self._keep_made(name, fill, Content(kind=SourceKind.ONNX, graph=graph.file), place)

    def keep_factory(self, factory: Factory, place: str) -> NamedModel:
        """Return a named model, without its name, that a function makes.

        Raises:
            StorageError: The cache cannot be written.
        """
        known = factory.model_dump(mode="json")

        def fill(inner: Path) -> None:
            durable.write_json(inner / FACTORY_FILE, known)

        return self._keep_made(digest_json(known), fill, Content(kind=SourceKind.PYTHON), place)

    def _keep_made(self, name: str, fill: Callable[[Path], None], content: Content, place: str) -> NamedModel:
        """Return a named model whose folder is made here, under a name that its content decides."""
        final = self.folder / "named" / name

        def build(aside: Path) -> None:
            (aside / INNER).mkdir()
            fill(aside / INNER)
            finish_source(aside, content, place, None)

        self._keep(final, build, place=place, kind=content.kind, says_so=False)
        return self._as_model(final, "", place)

    def _as_model(self, final: Path, location: str, place: str) -> NamedModel:
        whole = find_whole(final, rehash=False)
        try:
            content = Content.model_validate_json(read_regular(final / CONTENT, MAX_RECORD_BYTES))
        except (OSError, ValidationError):
            content = None
        if whole is None or content is None:
            raise ModelSourceError(
                place, found=f"{final} changed while it was read", fix="repeat the command"
            )
        return make_model(place, final / INNER, whole.digest(INNER), content.kind, location)

    def _keep(
        self,
        final: Path,
        fetch: Callable[[Path], None],
        *,
        place: str,
        kind: SourceKind,
        expected: str | None = None,
        rehash: bool = False,
        says_so: bool = True,
    ) -> Path:
        """Return the model in a folder of the cache; fetch it if it is missing or has changed."""

        def fits(manifest: Manifest) -> bool:
            return expected in {None, manifest.digest(INNER)}

        def build(aside: Path) -> None:
            if says_so:
                self._notify(f"{place}: fetching it")
            fetch(aside)

        cached = find_whole(final, rehash=rehash)
        if cached is not None and fits(cached):
            open_content(final / INNER, kind)
            return final / INNER
        if final.exists():
            self._warn(f"{place}: the cached copy has changed; fetching it again")
        build_folder(
            final,
            build,
            accept=fits,
            on_wait=lambda holder: self._warn(f"{place}: waiting for another process to fetch it: {holder}"),
        )
        return final / INNER

    def find_digest(self, model: AnyModel) -> str | None:
        """Find the content digest of a model's checkpoint without network, mostly without reading it.

        Returns:
            The digest that the refit recorded, or else that of the given or cached folder. None if the
            checkpoint has to be acquired first.

        Raises:
            CheckpointError: The given folder is missing or holds links or special files, or an id or name of
                the model cannot be a path.
            StorageError: The folder cannot be read.
        """
        if model.checkpoint_digest is not None:
            return model.checkpoint_digest
        if model.checkpoint_path is not None:
            return self._look_at_given(model.checkpoint_path, rehash=False).digest()
        cached = find_whole(self._cached_folder(model), rehash=False)
        return cached.digest(INNER) if cached else None

    def find_local(self, model: AnyModel) -> Path | None:
        """Find the folder of a model's checkpoint on this machine, without reading it.

        Returns:
            The given folder, or the cached one if it is complete; None if the checkpoint has to be fetched.
        """
        if model.checkpoint_path is not None:
            return model.checkpoint_path
        cached = self._cached_folder(model)
        return cached / INNER if find_whole(cached, rehash=False) else None

    def identify(self, model: SomeModel, download: Download) -> SomeModel:
        """Return the model with its content digest, which a plan needs and older writers did not record.

        From then on the checkpoint must have this digest, also if it has to be fetched again.

        Raises:
            BakeoffError: As ``acquire`` does, if the digest is unknown until the checkpoint is acquired.
        """
        if self.find_digest(model) is None:
            self.acquire(model, download, rehash=False)
        return model.replace(checkpoint_digest=self.find_digest(model))

    def prepared_folder(self, checkpoint_digest: str, settings: dict[str, str]) -> Path:
        """Return the folder for the export of a checkpoint, which may not exist yet."""
        return self.folder / "prepared" / digest_json({"checkpoint": checkpoint_digest, "settings": settings})

    def _look_at_given(self, folder: Path, *, rehash: bool) -> Manifest:
        """Look at the user's own folder; its stamps go to the cache, so that nothing is written there."""
        if not folder.is_dir():
            open_checkpoint(folder)  # raises
        name = digest_json(os.fsencode(folder.absolute()).hex())  # a path need not be text
        return look_at(folder, self.folder / "given" / f"{name}.json", rehash=rehash)

    def _named_folder(self, location: str) -> Path:
        return self.folder / "named" / digest_json({"location": location})

    def _cached_folder(self, model: AnyModel) -> Path:
        """Return the folder for a run and artifact, after a check that both names are safe as a path."""
        if isinstance(model, NamedModel):
            if not model.location:
                raise ModelSourceError(
                    describe(model),
                    found="the folder is not on this machine",
                    fix="keep it on storage that all nodes reach, or log it with MLflow",
                )
            return self._named_folder(model.location)
        champion = model
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
