"""What runtimes of ONNX graphs share: export, comparison with PyTorch, and loading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

from bakeoff.measure.backends import parity
from bakeoff.measure.backends.availability import library_versions, require_libraries
from bakeoff.measure.backends.onnx_export import OPSET, make_and_compare
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.session import ModelKind, Session
from bakeoff.record import Record

GIVEN = "given"


class GraphRuntime(Record):
    """A runtime that runs a graph: one exported from a checkpoint once, or a given one as it is.

    A subclass has the fields of its settings, makes its files from an exported graph, and opens a graph.

    Attributes:
        libraries: Distributions that loading needs, besides those of every runtime.
        extra: Extra of bakeoff that brings the library.
        made_with: Distributions whose versions decide the files and the comparison.
        making: Libraries that making the files needs.
        format_settings: What else decides the files, as part of the key of their cache.
        model_file: Name of the file that is loaded.
    """

    libraries: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str]
    made_with: ClassVar[tuple[str, ...]]
    making: ClassVar[tuple[str, ...]]
    format_settings: ClassVar[Mapping[str, str]]
    model_file: ClassVar[str]

    kind: str
    precision: str
    device: str

    @property
    def runs(self) -> ModelKind:
        """Kind of the models that it loads."""
        return "graph" if self.precision == GIVEN else "checkpoint"

    def for_graph(self) -> Self | None:
        """Return the settings that run a given graph as it is."""
        return self.replace(precision=GIVEN)

    def require_installed(self) -> None:
        """Refuse to go on if the library is not installed, before anything is measured."""
        require_libraries(f"the {self.kind} backend", extra=self.extra, libraries=self.libraries)

    def import_libraries(self) -> None:
        """Import what loading needs, so that imports and loading are timed separately."""
        self.require_installed()
        self._import()

    def prepare_settings(self) -> dict[str, str] | None:
        """Return the settings that decide the files and the comparison: the key of their cache.

        They include library versions, so that outputs are compared again after an upgrade. A given graph
        needs no file.
        """
        if self.precision == GIVEN:
            return None
        return {
            "opset": str(OPSET),
            "precision": self.precision,
            **self.format_settings,
            **library_versions(*self.made_with),
        }

    def prepare(self, checkpoint: Checkpoint, folder: Path, sample: parity.Sample) -> None:
        """Export the checkpoint into a folder and compare the outputs with PyTorch's on real texts.

        Raises:
            CheckpointError: The outputs differ too much; nothing may be timed then.
            UnsupportedRuntimeError: The CPU does not compute in this precision.
        """
        require_libraries(
            f"preparing a model for {self.kind}", extra=self.extra, libraries=self._list_makers()
        )
        self._import()
        found, exporter = make_and_compare(
            checkpoint,
            sample,
            folder,
            lambda exported: self._make(exported, folder / self.model_file),
            lambda: self.load(checkpoint, folder, is_verified=True),
            open_graph=self.replace(precision="fp32")._open,
            runtime=self._file_label,
            precision=self.precision,
        )
        parity.write_check(
            found,
            folder,
            checkpoint,
            runtime=self._file_label,
            precision=self.precision,
            task=sample.task,
            made_by="; ".join((exporter, *self._list_steps())),
            versions=library_versions(*self.made_with),
        )

    def load(self, checkpoint: Checkpoint, prepared: Path | None, *, is_verified: bool = False) -> Session:
        """Load the exported graph, or the given one.

        Raises:
            CheckpointError: Nothing was prepared, or its files changed since the comparison; or the runtime
                cannot run the given graph.
            UnsupportedRuntimeError: The machine does not have the device, or not the precision.
        """
        self.import_libraries()
        if self.precision == GIVEN:
            return self._open(checkpoint.graph_path)
        folder = parity.find(prepared, checkpoint, is_verified=is_verified)
        return self._open(folder / self.model_file)

    def model_size_bytes(self, prepared: Path | None, checkpoint: Checkpoint) -> int:
        """Return the size of the exported or given files, graph and weights."""
        if self.precision == GIVEN:
            return checkpoint.size_bytes
        return parity.checked_size_bytes(prepared, checkpoint)

    @property
    def _file_label(self) -> str:
        """Label of the comparison, by the settings that change files or arithmetic."""
        return f"{self.kind}-{self.precision}"

    def _list_makers(self) -> tuple[str, ...]:
        """List the libraries that make the files."""
        return self.making

    def _list_steps(self) -> tuple[str, ...]:
        """Name what was done after the export, for the record of the comparison."""
        return ()

    def _import(self) -> None:
        """Import the library, without what it would do besides."""
        raise NotImplementedError

    def _make(self, exported: Path, destination: Path) -> None:
        """Make the file that is loaded from an exported graph."""
        raise NotImplementedError

    def _open(self, path: Path) -> Session:
        """Open a graph with these settings."""
        raise NotImplementedError
