"""Write the table of architectures: each class of transformers with a head of ours, through each backend.

``python tools/write_architectures.py`` tries them all, keeps the outcomes in ``architectures.json`` next to this
file, and writes docs/reference/architectures.md. It takes about half an hour of CPU time. With names of model types
it tries these alone. ``--page`` writes the page from the kept outcomes; ``--check`` writes nothing and leaves with
1 where the page is not what it would write.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from tiny_models import LABELS, WORDS, Head, NotTriedError, first_line, make_tiny

from bakeoff.errors import BakeoffError
from bakeoff.measure.backends import Backend, OnnxRuntime, OpenVino, Torch
from bakeoff.measure.backends.parity import CHECK_MAX_LENGTH, MAX_ABS_DIFFERENCE, Sample
from bakeoff.measure.model.checkpoint import Checkpoint, open_checkpoint
from bakeoff.measure.model.session import Session
from bakeoff.measure.model.tokenizer import Encoder, Encoding
from bakeoff.measure.tasks import TextClassification, TokenClassification
from bakeoff.measure.tasks.documents import TaggedDocument, TextDocument

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "architectures.md"
KEPT = Path(__file__).parent / "architectures.json"
BACKENDS: dict[str, Backend] = {
    "torch": Torch(threads=1),
    "onnxruntime": OnnxRuntime(threads=1),
    "openvino": OpenVino(threads=1),
}
TASKS = {"token_classification": TokenClassification(), "sequence_classification": TextClassification()}
# Lengths in words, in an order in which neighbours differ: every batch has padding.
CHECK_LENGTHS = (5, 11, 3, 17, 1, 23, 7, 2, 31, 13, 4, 9, 19, 6, 40, 8)
TRIAL_LENGTHS = (9, 2, 26, 14, 1, 80, 6, 37, 3, 21, 12, 5)
BATCHES = (2, 5, 12)
TIME_LIMIT_S = 180.0
MEMORY_LIMIT_BYTES = 8 << 30


@dataclass(frozen=True)
class Outcome:
    """What became of one architecture in one backend.

    Attributes:
        verdict: ``right``, ``refused``, ``wrong`` or ``not tried``.
        reason: One line; empty if it is right.
    """

    verdict: str
    reason: str = ""


def make_documents(head: Head, lengths: Sequence[int], seed: int) -> tuple[TaggedDocument | TextDocument, ...]:
    """Make unlabelled documents of random words, with as many words as given."""
    random = np.random.default_rng(seed)
    rows = [tuple(str(word) for word in random.choice(WORDS, length)) for length in lengths]
    if head == "token_classification":
        return tuple(TaggedDocument(tokens=words, tags=("O",) * len(words)) for words in rows)
    return tuple(TextDocument(text=" ".join(words)) for words in rows)


def encode(head: Head, checkpoint: Checkpoint, lengths: Sequence[int], seed: int) -> tuple[Encoding, ...]:
    """Encode random documents as the benchmark does."""
    encoder = Encoder(checkpoint, CHECK_MAX_LENGTH)
    return tuple(TASKS[head].encode(encoder, document) for document in make_documents(head, lengths, seed))


def try_backend(head: Head, folder: Path, backend: Backend, prepared: Path, expected: list[Any]) -> Outcome:
    """Take a checkpoint through a backend as ``bakeoff bench`` does, and compare with plain transformers.

    Args:
        head: Head of the model.
        folder: Its checkpoint.
        backend: Backend to try.
        prepared: Empty folder for the files of the backend.
        expected: Logits of plain transformers for each document of the trial, alone.
    """
    try:
        checkpoint = open_checkpoint(folder)
        task = TASKS[head]
        task.require_head(checkpoint)
        is_prepared = backend.prepare_settings() is not None
        if is_prepared:
            backend.prepare(checkpoint, prepared, Sample(task, encode(head, checkpoint, CHECK_LENGTHS, seed=1)))
        session = backend.load(checkpoint, prepared if is_prepared else None)
        worst = compare(session, checkpoint, encode(head, checkpoint, TRIAL_LENGTHS, seed=2), expected)
    except BakeoffError as error:
        return Outcome("refused", shorten(str(error), folder))
    except Exception as error:  # noqa: BLE001 - the worker reports any other error so
        return Outcome("refused", "UNCLEAR " + shorten(first_line(error), folder))
    if max(worst.values()) <= MAX_ABS_DIFFERENCE:
        return Outcome("right")
    return Outcome("wrong", ", ".join(f"{name}: off by {value:.2g}" for name, value in worst.items()))


def compare(
    session: Session, checkpoint: Checkpoint, encodings: Sequence[Encoding], expected: Sequence[Any]
) -> dict[str, float]:
    """Return the largest difference from the expected logits, of documents alone and in padded batches."""
    encoder = Encoder(checkpoint, CHECK_MAX_LENGTH)
    worst = dict.fromkeys(("alone", "padded"), 0.0)
    for size in (1, *BATCHES):
        for start in range(0, len(encodings), size):
            rows = session.infer(encoder.pad(encodings[start : start + size]))
            for row, wanted in zip(rows, expected[start : start + size], strict=True):
                if wanted is None:
                    raise LookupError("plain transformers refuses one document")
                kept = row[: len(wanted)] if row.ndim > 1 else row
                name = "alone" if size == 1 else "padded"
                worst[name] = float(np.maximum(worst[name], np.abs(kept - wanted).max()))
    return worst


def run_plainly(head: Head, folder: Path) -> list[Any]:
    """Return the logits of plain transformers for each document of the trial, alone."""
    import torch
    import transformers
    from tiny_models import AUTO_CLASSES

    model = getattr(transformers, AUTO_CLASSES[head]).from_pretrained(str(folder), local_files_only=True).eval()
    found = []
    with torch.inference_mode():
        for encoding in encode(head, open_checkpoint(folder), TRIAL_LENGTHS, seed=2):
            ids = torch.tensor([encoding.ids])
            try:
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
            except Exception:
                if not any(each is not None for each in found):
                    raise
                found.append(None)
            else:
                found.append(logits.float().numpy())
    return found


def try_architecture(head: Head, model_type: str, backends: Sequence[str], results: Connection) -> None:
    """Try one architecture in this process, and send each outcome as soon as it is known."""
    import torch

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the exporter prints whole graphs
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        try:
            make_tiny(head, model_type, folder)
            try:
                expected = run_plainly(head, folder)
            except Exception as error:
                found = shorten(first_line(error), folder)
                raise NotTriedError(f"transformers itself does not run it on token ids alone: {found}") from error
        except NotTriedError as error:
            for backend in backends:
                results.send((backend, Outcome("not tried", str(error)[:300])))
            return
        for backend in backends:
            prepared = Path(name) / backend
            prepared.mkdir()
            results.send((backend, try_backend(head, folder, BACKENDS[backend], prepared, expected)))


def run_apart(head: Head, model_type: str, time_limit_s: float = TIME_LIMIT_S) -> dict[str, Outcome]:
    """Try one architecture in processes of its own; one that dies or takes too long ends no other backend."""
    context = multiprocessing.get_context("fork")  # the libraries are imported once, before
    found: dict[str, Outcome] = {}
    while len(found) < len(BACKENDS):
        rest = [name for name in BACKENDS if name not in found]
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=try_architecture, args=(head, model_type, rest, theirs))
        process.start()
        theirs.close()
        end = time.monotonic() + time_limit_s
        try:
            while len(found) < len(BACKENDS) and ours.poll(max(end - time.monotonic(), 0)):
                name, outcome = ours.recv()
                found[name] = outcome
        except EOFError:
            pass
        is_late = process.is_alive() and time.monotonic() >= end
        if is_late:
            process.kill()
        process.join()
        if len(found) < len(BACKENDS):
            how = f"no outcome after {time_limit_s:g} s" if is_late else describe_end(process.exitcode)
            found[next(name for name in BACKENDS if name not in found)] = Outcome("refused", how)
    return found


def describe_end(code: int | None) -> str:
    """Describe the end of a process without an outcome."""
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"


def shorten(text: str, folder: Path) -> str:
    """Return the first line without the path of the checkpoint."""
    return text.splitlines()[0].replace(f"checkpoint {folder}: ", "").replace(str(folder), "FOLDER")[:400]


def list_architectures() -> Iterator[tuple[Head, str]]:
    """List the classes that transformers' auto classes make, by head and model type."""
    from transformers.models.auto import modeling_auto

    yield from (("token_classification", name) for name in sorted(modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES))
    yield from (("sequence_classification", name) for name in sorted(modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES))


def import_quietly() -> None:
    """Import every library once, with as little output as they allow."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    warnings.simplefilter("ignore")
    for backend in BACKENDS.values():
        backend.import_libraries()
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--head")
    parser.add_argument("--out", default=str(KEPT))
    options = parser.parse_args(words)
    import_quietly()
    out = Path(options.out)
    kept = json.loads(out.read_text()) if out.exists() else {}
    for head, name in list_architectures():
        if (options.names and name not in options.names) or (options.head and options.head != head):
            continue
        begin = time.monotonic()
        outcomes = run_apart(head, name)
        kept.setdefault(head, {})[name] = {backend: asdict(outcome) for backend, outcome in outcomes.items()}
        print(head[:3], name, f"{time.monotonic()-begin:.1f}s", *(f"\n    {b}: {o.verdict} {o.reason}" for b, o in outcomes.items()), flush=True)
        out.write_text(json.dumps(kept, indent=1))
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    print("CPU minutes", (u.ru_utime + u.ru_stime) / 60)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
