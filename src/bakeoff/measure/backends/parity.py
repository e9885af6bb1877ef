"""Does a runtime answer as PyTorch does? Compared on real texts before anything is timed.

A runtime that is fast and wrong must not be measured at all. The comparison leaves ``check.json`` behind,
with the digest of every file that the runtime will load: what is measured later is what was compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from bakeoff.disk import durable
from bakeoff.disk.digest import digest_file
from bakeoff.errors import CheckpointError
from bakeoff.measure.model.checkpoint import Checkpoint
from bakeoff.measure.model.session import Session
from bakeoff.measure.model.tokenizer import Encoder, read_tags
from bakeoff.record import Record

CHECK_FILE = "check.json"
# Whatever a job cuts at: beyond the maximum of most encoders nothing is compared, as few texts are longer.
CHECK_MAX_LENGTH = 512
# One and three documents first: compilers treat a dimension of size one apart, and odd sizes show what was
# fixed while tracing.
_FIRST_SIZES = (1, 3)
_SIZE = 8

# For fp32. Reordered sums gave up to 1.3e-5 with ONNX Runtime and 3.1e-5 with OpenVINO on fine-tuned MiniLMs
# of two, three and six layers, and changed no tag; OpenVINO left to itself computes in bf16, which gave 0.06
# and more. This limit tells the two apart.
MAX_ABS_DIFFERENCE = 1e-4
# For bf16 and int8, whose logits may be far off (int8: up to 2.5 on those models) without changing what the
# user reads. Over any 64 texts the share of equal tags was never below 0.983 with ONNX Runtime's int8, the
# farthest off. What the remaining words cost in quality is for the quality scenario to measure.
MIN_TAG_AGREEMENT = 0.98


@dataclass(frozen=True)
class Agreement:
    """How near a runtime's answers are to PyTorch's.

    Attributes:
        max_abs_difference: Of any logit at a token that is no padding; NaN or infinite where an answer is.
        tag_agreement: Share of words with the same tag.
        n_texts: Texts compared.
        n_words: Words in them.
    """

    max_abs_difference: float
    tag_agreement: float
    n_texts: int
    n_words: int

    def find_fault(self, precision: str) -> str | None:
        """Say what is wrong, with figure and limit; None where the answers are near enough."""
        if precision == "fp32":
            if self.max_abs_difference <= MAX_ABS_DIFFERENCE:
                return None
            return f"differ from PyTorch's by {self.max_abs_difference:.3g} (limit {MAX_ABS_DIFFERENCE:g})"
        if not np.isfinite(self.max_abs_difference):
            return f"differ from PyTorch's by {self.max_abs_difference} (limit: any finite number)"
        if self.tag_agreement >= MIN_TAG_AGREEMENT:
            return None
        share = f"{self.tag_agreement:.4f} of {self.n_words} words"
        return f"give {share} PyTorch's tag (limit {MIN_TAG_AGREEMENT:g})"


class ParityCheck(Record):
    """What was compared and found, kept as ``check.json`` beside the files.

    Attributes:
        runtime: Label of the runtime.
        made_by: How the files were made from the checkpoint.
        max_abs_difference: See ``Agreement``.
        tag_agreement: See ``Agreement``.
        n_texts: See ``Agreement``.
        n_words: See ``Agreement``.
        versions: Of the libraries that made and compared.
        files: SHA-256 of every file that the runtime loads, by its path in the folder.
    """

    runtime: str
    made_by: str
    max_abs_difference: float
    tag_agreement: float
    n_texts: int
    n_words: int
    versions: Mapping[str, str]
    files: Mapping[str, str]


def compare(
    reference: Session, session: Session, checkpoint: Checkpoint, texts: Sequence[Sequence[str]]
) -> Agreement:
    """Ask both the same texts, in batches of several sizes.

    Args:
        reference: PyTorch in fp32, eager.
        session: What is to be measured.
        checkpoint: That both run.
        texts: Documents as words; at least one.

    Raises:
        CheckpointError: The logits have another shape or type than PyTorch's.
    """
    if not texts:
        raise ValueError("no texts to compare the outputs on")
    encoder = Encoder(checkpoint, CHECK_MAX_LENGTH)
    worst, n_equal, n_words = 0.0, 0, 0
    for chunk in _split(texts):
        encodings = [encoder.encode(tokens) for tokens in chunk]
        batch = encoder.pad(encodings)
        wanted, found = reference.infer(batch), session.infer(batch)
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise CheckpointError(
                checkpoint.folder,
                found=f"logits {found.dtype} {found.shape} where PyTorch's are {wanted.dtype} {wanted.shape}",
                fix="it is not measured with this runtime; report the architecture",
            )
        kept = batch.arrays["attention_mask"].astype(bool)
        # Unlike max(), np.maximum does not lose a NaN.
        worst = float(np.maximum(worst, np.abs(wanted[kept] - found[kept]).max()))
        for ours, theirs in zip(
            read_tags(found, encodings, checkpoint.labels),
            read_tags(wanted, encodings, checkpoint.labels),
            strict=True,
        ):
            n_words += len(ours)
            n_equal += sum(one == other for one, other in zip(ours, theirs, strict=True))
    return Agreement(worst, n_equal / n_words if n_words else 1.0, len(texts), n_words)


def write_check(
    agreement: Agreement,
    folder: Path,
    checkpoint: Checkpoint,
    *,
    runtime: str,
    precision: str,
    made_by: str,
    versions: Mapping[str, str],
) -> None:
    """Keep the comparison beside the files in the folder, or refuse them.

    Raises:
        CheckpointError: The outputs are too far from PyTorch's; names the figure and the limit.
    """
    fault = agreement.find_fault(precision)
    if fault:
        raise CheckpointError(
            checkpoint.folder,
            found=f"outputs of {runtime} {fault}",
            fix="it is not measured with this runtime; take another precision, or report the architecture",
        )
    check = ParityCheck(
        runtime=runtime,
        made_by=made_by,
        max_abs_difference=agreement.max_abs_difference,
        tag_agreement=agreement.tag_agreement,
        n_texts=agreement.n_texts,
        n_words=agreement.n_words,
        versions=versions,
        files={
            path.relative_to(folder).as_posix(): digest_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    )
    durable.write_json(folder / CHECK_FILE, check.model_dump(mode="json"))


def find(prepared: Path | None, checkpoint: Checkpoint, *, is_verified: bool) -> Path:
    """Return the folder, verified now unless it was before.

    Raises:
        CheckpointError: As ``verify``; of what was verified only that nothing was prepared.
    """
    return _require(prepared, checkpoint) if is_verified else verify(prepared, checkpoint)


def verify(prepared: Path | None, checkpoint: Checkpoint) -> Path:
    """Return the folder, if its files are those that were compared.

    Raises:
        CheckpointError: Nothing was prepared, or a file is missing or changed since.
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
    """Read ``check.json``.

    Raises:
        CheckpointError: It is missing or broken.
    """
    try:
        return ParityCheck.model_validate_json((prepared / CHECK_FILE).read_bytes())
    except FileNotFoundError:
        raise CheckpointError(prepared, found=f"no {CHECK_FILE}", fix="remove this folder") from None
    except ValidationError as error:
        found = f"{CHECK_FILE} is no whole record ({error.error_count()} faults)"
        raise CheckpointError(prepared, found=found, fix="remove this folder") from None


def checked_size_bytes(prepared: Path | None, checkpoint: Checkpoint) -> int:
    """Size of the files that the runtime loads.

    Raises:
        CheckpointError: Nothing was prepared.
    """
    folder = _require(prepared, checkpoint)
    return sum((folder / name).stat().st_size for name in read_check(folder).files)


def _require(prepared: Path | None, checkpoint: Checkpoint) -> Path:
    if prepared is None:
        raise CheckpointError(
            checkpoint.folder, found="nothing was prepared for this runtime", fix="call prepare() first"
        )
    return prepared


def _split(texts: Sequence[Sequence[str]]) -> Iterator[Sequence[Sequence[str]]]:
    start = 0
    for size in _FIRST_SIZES:
        if start < len(texts):
            yield texts[start : start + size]
        start += size
    for begin in range(start, len(texts), _SIZE):
        yield texts[begin : begin + _SIZE]
