"""Parity: a runtime's outputs compared with PyTorch's on real texts, before anything is timed.

A runtime that is fast and wrong must not be measured at all. The comparison writes ``check.json`` with the
digest of every file that the runtime will load. So the files that are measured later are those that were
compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from bakeoff.disk import durable
from bakeoff.disk.digest import digest_file
from bakeoff.errors import CheckpointError
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.session import Session
from bakeoff.measure.model.tokenizer import Batch, Encoder, Encoding
from bakeoff.measure.tasks import Task
from bakeoff.measure.tasks.task import Prediction
from bakeoff.record import Record

CHECK_FILE = "check.json"
# The same for every job: the maximum of most encoders. Few texts are longer, so nothing is compared beyond.
CHECK_MAX_LENGTH = 512
# One and three documents first: compilers treat a dimension of size one differently, and odd sizes show what
# tracing has fixed.
_FIRST_SIZES = (1, 3)
_SIZE = 8

# For fp32. Reordered sums gave up to 1.3e-5 with ONNX Runtime and 3.1e-5 with OpenVINO on fine-tuned MiniLMs
# of two, three and six layers, and changed no tag. OpenVINO computes in bf16 by default, which gave 0.06 and
# more. This limit separates the two.
MAX_ABS_DIFFERENCE = 1e-4
# Padding that the attention mask hides changes nothing but the order of sums: up to 4.8e-6 on fine-tuned
# MiniLMs. Where it leaks into a document, it changed logits of tiny models by 0.19 and more.
MAX_PADDING_DIFFERENCE = 1e-3
# For bf16 and int8 the predictions count, and the task has the limit. Logits may be far off (int8: up to 2.5
# on those models) and give the user the same predictions. The quality scenario measures
# what the others cost.
# Lines of OpenVINO's errors that name the place in its own source, not the cause.
_PLACE = re.compile(r"Exception from |Check .* failed at |FrontEnd API failed")


@dataclass(frozen=True)
class Sample:
    """Documents on which outputs are compared.

    Attributes:
        task: Task by which predictions are read from outputs.
        encodings: At least one document, as token ids.
    """

    task: Task
    encodings: tuple[Encoding, ...]

    def first_batch(self, checkpoint: Checkpoint) -> Batch:
        """Return the first two documents as a batch, to trace a model with."""
        return Encoder(checkpoint, CHECK_MAX_LENGTH).pad(self.encodings[:2])


@dataclass(frozen=True)
class Agreement:
    """Agreement of a runtime's outputs with PyTorch's.

    Attributes:
        max_abs_difference: Largest difference of a logit, at padding excepted; NaN or infinite if an output
            is.
        agreement: Share of equal predictions: of words, or of whole texts.
        n_texts: Number of texts compared.
        n_units: Number of predictions in them: words, or texts.
    """

    max_abs_difference: float
    agreement: float
    n_texts: int
    n_units: int

    def find_fault(self, precision: str, least: float) -> str | None:
        """Return the fault, with figure and limit; None if the outputs are near enough.

        Args:
            precision: Precision of the runtime.
            least: Least share of equal predictions, below fp32.
        """
        if precision == "fp32":
            if self.max_abs_difference <= MAX_ABS_DIFFERENCE:
                return None
            return f"differ from PyTorch's by {self.max_abs_difference:.3g} (limit {MAX_ABS_DIFFERENCE:g})"
        if not np.isfinite(self.max_abs_difference):
            return f"differ from PyTorch's by {self.max_abs_difference} (limit: any finite number)"
        if self.agreement >= least:
            return None
        share = f"{self.agreement:.4f} of {self.n_units} predictions"
        return f"equal PyTorch's in {share} (limit {least:g})"


class ParityCheck(Record):
    """Result of a comparison, kept as ``check.json`` next to the files, with the figures of ``Agreement``.

    Attributes:
        runtime: Label of the runtime.
        made_by: Method that made the files from the checkpoint.
        versions: Versions of the libraries that made and compared the files.
        files: SHA-256 of every file that the runtime loads, by its path in the folder.
    """

    runtime: str
    made_by: str
    max_abs_difference: float
    agreement: float
    n_texts: int
    n_units: int
    versions: Mapping[str, str]
    files: Mapping[str, str]


def compare(reference: Session, session: Session, checkpoint: Checkpoint, sample: Sample) -> Agreement:
    """Compare the outputs of two sessions on the same texts, in batches of several sizes.

    Args:
        reference: Session of PyTorch in fp32, eager.
        session: Session to be measured.
        checkpoint: Checkpoint of both sessions.
        sample: Documents to compare on.

    Raises:
        CheckpointError: The logits have another shape or type than PyTorch's.
    """
    if not sample.encodings:
        raise ValueError("no texts to compare the outputs on")
    encoder = Encoder(checkpoint, CHECK_MAX_LENGTH)
    worst = 0.0
    ours: list[Prediction] = []
    theirs: list[Prediction] = []
    for encodings in _split(sample.encodings):
        batch = encoder.pad(encodings)
        wanted, found = reference.infer(batch), session.infer(batch)
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise CheckpointError(
                checkpoint.folder,
                found=f"logits {found.dtype} {found.shape}, but PyTorch's are {wanted.dtype} {wanted.shape}",
                fix="use another runtime, and report the architecture",
            )
        mask = batch.arrays["attention_mask"].astype(bool)
        kept = mask if wanted.ndim > 2 else slice(None)  # noqa: PLR2004 - documents, tokens, labels
        # np.maximum keeps a NaN, which max() may lose.
        worst = float(np.maximum(worst, np.abs(wanted[kept] - found[kept]).max()))
        ours += sample.task.read_predictions(found, encodings, checkpoint.labels)
        theirs += sample.task.read_predictions(wanted, encodings, checkpoint.labels)
    n_equal, n_units = sample.task.count_equal(ours, theirs)
    return Agreement(worst, n_equal / n_units if n_units else 1.0, len(sample.encodings), n_units)


def require_padding_hidden(reference: Session, checkpoint: Checkpoint, sample: Sample) -> None:
    """Check that PyTorch's logits for a document are the same alone and in a padded batch.

    Otherwise the quality of the model would depend on which documents happen to be in one batch.

    Args:
        reference: Session of PyTorch in fp32, eager.
        checkpoint: Checkpoint of the session.
        sample: Documents to run.

    Raises:
        CheckpointError: Padding changes the logits, one is not finite, or PyTorch cannot run a batch.
    """
    encoder = Encoder(checkpoint, CHECK_MAX_LENGTH)
    worst = 0.0
    for encodings in _split(sample.encodings):
        alone = [_infer(reference, checkpoint, encoder.pad([each]))[0] for each in encodings]
        padded = _infer(reference, checkpoint, encoder.pad(encodings))
        for one, row in zip(alone, padded, strict=True):
            kept = row[: len(one)] if row.ndim > 1 else row
            worst = float(np.maximum(worst, np.abs(one - kept).max()))
    if not np.isfinite(worst):
        raise CheckpointError(
            checkpoint.folder,
            found="PyTorch's logits for the documents are not all finite numbers",
            fix="restore its weights, or train it again",
        )
    if worst > MAX_PADDING_DIFFERENCE:
        raise CheckpointError(
            checkpoint.folder,
            found=f"its logits for a document alone and in a padded batch differ by {worst:.3g} "
            f"(limit {MAX_PADDING_DIFFERENCE:g}), so padding changes its answers",
            fix="use an architecture whose attention mask hides padding",
        )


def describe_error(error: Exception) -> str:
    """Return the class of a library's error, and its first line that gives a cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = next((line for line in lines if not _PLACE.match(line)), lines[0] if lines else "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _infer(reference: Session, checkpoint: Checkpoint, batch: Batch) -> NDArray[np.float32]:
    try:
        return reference.infer(batch)
    except Exception as error:
        shape = "{} x {} tokens".format(*batch.arrays["input_ids"].shape)
        raise CheckpointError(
            checkpoint.folder,
            found=f"transformers cannot run it on a batch of {shape} ({describe_error(error)})",
            fix="try it in transformers with token ids and an attention mask alone; then correct its "
            "config.json or the documents, or use another model",
        ) from error


def write_check(
    agreement: Agreement,
    folder: Path,
    checkpoint: Checkpoint,
    *,
    runtime: str,
    precision: str,
    task: Task,
    made_by: str,
    versions: Mapping[str, str],
) -> None:
    """Write the comparison next to the files in the folder, or refuse them.

    Raises:
        CheckpointError: The outputs differ too much from PyTorch's; the message has figure and limit.
    """
    fault = agreement.find_fault(precision, task.least_agreement)
    if fault:
        raise CheckpointError(
            checkpoint.folder,
            found=f"outputs of {runtime} {fault}",
            fix="use another precision or runtime, or report the architecture",
        )
    check = ParityCheck(
        runtime=runtime,
        made_by=made_by,
        max_abs_difference=agreement.max_abs_difference,
        agreement=agreement.agreement,
        n_texts=agreement.n_texts,
        n_units=agreement.n_units,
        versions=versions,
        files={
            path.relative_to(folder).as_posix(): digest_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    )
    durable.write_json(folder / CHECK_FILE, check.model_dump(mode="json"))


def find(prepared: Path | None, checkpoint: Checkpoint, *, is_verified: bool) -> Path:
    """Return the folder, verified now unless it was before."""
    return _require(prepared, checkpoint) if is_verified else verify(prepared, checkpoint)


def verify(prepared: Path | None, checkpoint: Checkpoint) -> Path:
    """Return the folder, if its files are those that were compared.

    Raises:
        CheckpointError: Nothing was prepared, or a file is missing or changed since the comparison.
    """
    folder = _require(prepared, checkpoint)
    for name, expected in read_check(folder).files.items():
        path = folder / name
        if not path.is_file():
            raise CheckpointError(folder, found=f"no {name}", fix="remove this folder")
        if digest_file(path) != expected:
            raise CheckpointError(
                folder, found=f"{name} changed since it was checked", fix="remove this folder"
            )
    return folder


def read_check(prepared: Path) -> ParityCheck:
    """Read ``check.json``."""
    try:
        return ParityCheck.model_validate_json((prepared / CHECK_FILE).read_bytes())
    except FileNotFoundError:
        raise CheckpointError(prepared, found=f"no {CHECK_FILE}", fix="remove this folder") from None
    except ValidationError as error:
        found = f"{CHECK_FILE} is not a complete record (faults: {error.error_count()})"
        raise CheckpointError(prepared, found=found, fix="remove this folder") from None


def checked_size_bytes(prepared: Path | None, checkpoint: Checkpoint) -> int:
    """Return the size of the files that the runtime loads."""
    folder = _require(prepared, checkpoint)
    return sum((folder / name).stat().st_size for name in read_check(folder).files)


def _require(prepared: Path | None, checkpoint: Checkpoint) -> Path:
    if prepared is None:
        raise CheckpointError(
            checkpoint.folder, found="nothing was prepared for this runtime", fix="call prepare() first"
        )
    return prepared


def _split(texts: Sequence[Encoding]) -> Iterator[Sequence[Encoding]]:
    start = 0
    for size in _FIRST_SIZES:
        if start < len(texts):
            yield texts[start : start + size]
        start += size
    for begin in range(start, len(texts), _SIZE):
        yield texts[begin : begin + _SIZE]
