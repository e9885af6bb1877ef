"""Parity: a runtime's outputs compared with PyTorch's on real texts, before anything is timed.

A runtime that is fast and wrong must not be measured at all. The comparison writes ``check.json`` with the
digest of every file that the runtime will load. So the files that are measured later are those that were
compared.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from bakeoff.record import Record

CHECK_FILE = "check.json"
# The same for every job: the maximum of most encoders. Few texts are longer, so nothing is compared beyond.
CHECK_MAX_LENGTH = 512
# Documents in a batch: each document runs in a batch of every size. One comes first, at many lengths, since
# compilers treat a dimension of size one differently. Three is odd, which shows what tracing has fixed. The
# others are what scenarios measure by default. The sizes that are measured come on top.
_SIZES = (1, 3, 8, 32)
_MOST_MORE_SIZES = 8
# As many documents run alone again at the end: answers must not depend on what came before.
_N_AGAIN = 3

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
_TRY_ALONE = (
    "try it in transformers with token ids and an attention mask alone; then correct its config.json or the "
    "documents, or use another model"
)
# Lines of OpenVINO's errors that name the place in its own source, not the cause.
_PLACE = re.compile(r"Exception from |Check .* failed at |FrontEnd API failed")


@dataclass(frozen=True)
class Sample:
    """Documents on which outputs are compared.

    Attributes:
        task: Task by which predictions are read from outputs.
        encodings: At least one document, as token ids.
        more_sizes: Batch sizes that are measured, besides those that are always compared.
        longest: The longest document that is measured, which PyTorch must be able to run; None for one of
            those.
        answers_file: File for PyTorch's answers: the first comparison of a model with these documents writes
            it, and the next ones read it. None lets each compute them.
    """

    task: Task
    encodings: tuple[Encoding, ...]
    longest: Encoding | None = None
    more_sizes: tuple[int, ...] = ()
    answers_file: Path | None = None

    def list_batches(self) -> Iterator[tuple[int, range]]:
        """List the documents of each batch of a comparison by their numbers, after the size of the batch.

        Only the last batch of a size may be smaller.
        """
        n_documents = len(self.encodings)
        for size in sorted({*_SIZES, *self.more_sizes}):
            for start in range(0, n_documents, size):
                yield size, range(start, min(start + size, n_documents))
            if size >= n_documents:
                break
        for number in range(min(_N_AGAIN, n_documents)):
            yield 1, range(number, number + 1)

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


def choose_more_sizes(measured: Iterable[int], n_documents: int) -> tuple[int, ...]:
    """Choose the batch sizes to compare besides those that are always compared: the largest, if too many.

    Args:
        measured: Batch sizes of the scenarios.
        n_documents: Number of documents to compare on, beyond which no batch can be filled.
    """
    more = {min(size, n_documents) for size in measured} - {*_SIZES}
    return tuple(sorted(more)[-_MOST_MORE_SIZES:])


def answer_all(reference: Session, checkpoint: Checkpoint, sample: Sample) -> list[NDArray[np.float32]]:
    """Return PyTorch's logits for all batches of a comparison, if a document's do not depend on the batch.

    Otherwise the quality of the model would depend on which documents happen to be in one batch.

    Args:
        reference: Session of PyTorch in fp32, eager.
        checkpoint: Checkpoint of the session.
        sample: Documents to run.

    Raises:
        CheckpointError: Padding or earlier calls change the logits, one is not finite, or PyTorch cannot run
            a batch.
    """
    if not sample.encodings:
        raise ValueError("no texts to compare the outputs on")
    encoder = Encoder(checkpoint, CHECK_MAX_LENGTH)
    if sample.longest is not None and len(sample.longest.ids) > CHECK_MAX_LENGTH:
        fix = "lower data.max_length, or set the number of its positions in config.json"
        _infer(reference, checkpoint, encoder.pad([sample.longest]), fix)
    alone: dict[int, NDArray[np.float32]] = {}
    answers = []
    for _, numbers in sample.list_batches():
        logits = _infer(reference, checkpoint, encoder.pad([sample.encodings[each] for each in numbers]))
        for number, row in zip(numbers, logits, strict=True):
            first = alone.setdefault(number, row)
            difference = float(np.abs(first - (row[: len(first)] if row.ndim > 1 else row)).max())
            _require_same(checkpoint, difference, is_padded=len(numbers) > 1)
        answers.append(logits)
    return answers


def read_answers(sample: Sample) -> list[NDArray[np.float32]] | None:
    """Read the answers that an earlier comparison kept; None if there are none, or the file is not whole."""
    if sample.answers_file is None:
        return None
    try:
        with np.load(sample.answers_file, allow_pickle=False) as kept:
            answers = [kept[name] for name in kept.files]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    sizes = [len(numbers) for _, numbers in sample.list_batches()]
    is_whole = [len(each) if each.ndim else 0 for each in answers] == sizes
    return answers if is_whole and all(each.dtype == np.float32 for each in answers) else None


def keep_answers(answers: Sequence[NDArray[np.float32]], sample: Sample) -> None:
    """Write PyTorch's answers for the comparisons that follow, if the sample names a file."""
    if sample.answers_file is not None:
        whole = io.BytesIO()
        np.savez(whole, *answers)  # in their order
        durable.write_bytes(sample.answers_file, whole.getvalue())


def compare(
    wanted: Sequence[NDArray[np.float32]], session: Session, checkpoint: Checkpoint, sample: Sample
) -> Agreement:
    """Compare the outputs of a session with PyTorch's, alone and in batches of several sizes.

    Args:
        wanted: PyTorch's outputs, by ``answer_all``.
        session: Session to be measured, as ``load()`` returns it.
        checkpoint: Checkpoint of both.
        sample: Documents to compare on.

    Returns:
        The largest difference, and the agreement of predictions at the batch size with the least.

    Raises:
        CheckpointError: The logits have another shape or type than PyTorch's.
    """
    return _compare(wanted, session.infer, checkpoint, sample)


def compare_with_itself(
    wanted: Sequence[NDArray[np.float32]], checkpoint: Checkpoint, sample: Sample
) -> Agreement:
    """Return the agreement of PyTorch with itself, for the runtime whose outputs are the wanted ones."""
    again = iter(wanted)
    return _compare(wanted, lambda _: next(again), checkpoint, sample)


def _compare(
    wanted: Sequence[NDArray[np.float32]],
    infer: Callable[[Batch], NDArray[np.float32]],
    checkpoint: Checkpoint,
    sample: Sample,
) -> Agreement:
    encoder = Encoder(checkpoint, CHECK_MAX_LENGTH)
    worst = 0.0
    equal: dict[int, list[int]] = {}
    for (size, numbers), theirs in zip(sample.list_batches(), wanted, strict=True):
        encodings = [sample.encodings[each] for each in numbers]
        batch = encoder.pad(encodings)
        ours = infer(batch)
        if (ours.shape, ours.dtype) != (theirs.shape, theirs.dtype):
            raise CheckpointError(
                checkpoint.folder,
                found=f"logits {ours.dtype} {ours.shape}, but PyTorch's are {theirs.dtype} {theirs.shape}",
                fix="use another runtime, and report the architecture",
            )
        mask = batch.arrays["attention_mask"].astype(bool)
        kept = mask if theirs.ndim > 2 else slice(None)  # noqa: PLR2004 - documents, tokens, labels
        # np.maximum keeps a NaN, which max() may lose.
        worst = float(np.maximum(worst, np.abs(theirs[kept] - ours[kept]).max()))
        counts = sample.task.count_equal(
            sample.task.read_predictions(ours, encodings, checkpoint.labels),
            sample.task.read_predictions(theirs, encodings, checkpoint.labels),
        )
        found = equal.setdefault(size, [0, 0])
        found[0] += counts[0]
        found[1] += counts[1]
    n_equal, n_units = min(equal.values(), key=lambda found: found[0] / found[1] if found[1] else 1.0)
    return Agreement(worst, n_equal / n_units if n_units else 1.0, len(sample.encodings), n_units)


def _require_same(checkpoint: Checkpoint, difference: float, *, is_padded: bool) -> None:
    """Check PyTorch's logits for a document against those that it gave for it alone."""
    if not np.isfinite(difference):
        raise CheckpointError(
            checkpoint.folder,
            found="PyTorch's logits for the documents are not all finite numbers",
            fix="restore its weights, or train it again",
        )
    if difference <= MAX_PADDING_DIFFERENCE:
        return
    figures = f"differ by {difference:.3g} (limit {MAX_PADDING_DIFFERENCE:g})"
    if is_padded:
        raise CheckpointError(
            checkpoint.folder,
            found=f"its logits for a document alone and in a padded batch {figures}, so padding changes its "
            "answers",
            fix="use an architecture whose attention mask hides padding",
        )
    raise CheckpointError(
        checkpoint.folder,
        found=f"its logits for a document before and after other documents {figures}, so its answers depend "
        "on what came before",
        fix="use an architecture that computes the same answer every time",
    )


def describe_error(error: Exception) -> str:
    """Return the class of a library's error, and its first line that gives a cause."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    first = next((line for line in lines if not _PLACE.match(line)), lines[0] if lines else "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _infer(
    reference: Session, checkpoint: Checkpoint, batch: Batch, fix: str = _TRY_ALONE
) -> NDArray[np.float32]:
    try:
        return reference.infer(batch)
    except Exception as error:
        shape = "{} x {} tokens".format(*batch.arrays["input_ids"].shape)
        raise CheckpointError(
            checkpoint.folder,
            found=f"transformers cannot run it on a batch of {shape} ({describe_error(error)})",
            fix=fix,
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
