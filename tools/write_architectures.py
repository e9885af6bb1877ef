"""Write the table of architectures: each class of transformers with a head of ours, through each backend.

``python tools/write_architectures.py`` tries them all, keeps the outcomes in ``tools/architectures.json``
and writes ``docs/reference/architectures.md``. The page says how long that takes. With names of model types
it tries these alone. With ``--page`` it tries none and writes the page from the outcomes. With ``--check`` it
writes nothing and leaves with 1 where the page is not what it would write.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from architectures_page import Kept, Outcome, write_page
from bakeoff.errors import BakeoffError
from bakeoff.measure.backends import OnnxRuntime, OpenVino, TensorBackend, Torch
from bakeoff.measure.backends.parity import CHECK_MAX_LENGTH, MAX_ABS_DIFFERENCE, Sample
from bakeoff.measure.model.checkpoint import Checkpoint, open_checkpoint
from bakeoff.measure.model.session import Session
from bakeoff.measure.model.tokenizer import Encoder, Encoding
from bakeoff.measure.tasks import Task, TextClassification, TokenClassification
from bakeoff.measure.tasks.documents import TaggedDocument, TextDocument
from tiny_models import AUTO_CLASSES, WORDS, Head, NotTriedError, first_line, make_tiny

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "architectures.md"
KEPT = ROOT / "tools" / "architectures.json"
LIBRARIES = ("transformers", "torch", "onnxruntime", "openvino")
BACKENDS: dict[str, TensorBackend] = {
    "torch": Torch(threads=1),
    "onnxruntime": OnnxRuntime(threads=1),
    "openvino": OpenVino(threads=1),
}
TASKS: dict[Head, Task] = {
    "token_classification": TokenClassification(),
    "sequence_classification": TextClassification(),
}
# Lengths in words, in an order in which neighbours differ: every batch has padding. The longest is cut.
CHECK_LENGTHS = (5, 11, 3, 17, 1, 23, 7, 2, 31, 13, 4, 9, 19, 6, 40, 8)
TRIAL_LENGTHS = (9, 2, 26, 14, 1, 80, 6, 37, 3, 21, 12, 5)
BATCHES = (2, 5, 12)
TIME_LIMIT_S = 1800.0  # the default of benchmark.timeout_s
MEMORY_LIMIT_BYTES = 8 << 30
Logits = NDArray[np.float32]


def list_architectures() -> Iterator[tuple[Head, str]]:
    """List the model types of which transformers' auto classes make a class with a head of ours."""
    from transformers.models.auto import modeling_auto

    for name in sorted(modeling_auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES):
        yield "token_classification", name
    for name in sorted(modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES):
        yield "sequence_classification", name


def has_fast_tokenizer(model_type: str) -> bool:
    """Return whether the tokenizer that transformers names for a model type is fast, or it names none."""
    import transformers
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    kind = getattr(transformers, TOKENIZER_MAPPING_NAMES.get(model_type) or "PreTrainedTokenizerFast", None)
    return isinstance(kind, type) and issubclass(kind, transformers.PreTrainedTokenizerFast)


def run_apart(head: Head, model_type: str, time_limit_s: float = TIME_LIMIT_S) -> dict[str, Outcome]:
    """Try an architecture in processes of its own: one that dies or takes too long ends no other backend."""
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
            process.join()
        is_late = process.is_alive() and time.monotonic() >= end
        if is_late:
            process.kill()
        process.join()
        for name in rest:
            if name not in found:  # the one at which the process ended
                how = f"no outcome after {time_limit_s:g} s" if is_late else describe_end(process.exitcode)
                found[name] = Outcome("refused", how)
                break
    return found


def describe_end(code: int | None) -> str:
    """Describe the end of a process without an outcome."""
    is_killed = code is not None and code < 0
    return f"its process was killed by {signal.Signals(-code).name}" if is_killed and code else f"exit {code}"


def try_architecture(head: Head, model_type: str, backends: Sequence[str], results: Connection) -> None:
    """Try an architecture in this process, and send each outcome as soon as it is known."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the exporter prints whole graphs, and runtimes every node
    os.dup2(1, 2)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        try:
            make_tiny(head, model_type, folder)
            expected = run_plainly(head, folder)
        except NotTriedError as error:
            for backend in backends:
                results.send((backend, Outcome("not tried", str(error))))
            return
        for backend in backends:
            prepared = Path(name) / backend
            prepared.mkdir()
            results.send((backend, try_backend(head, folder, BACKENDS[backend], prepared, expected)))


def run_plainly(head: Head, folder: Path) -> list[Logits | None]:
    """Return the logits of plain transformers for each document of the trial, alone; None if it cannot.

    Raises:
        NotTriedError: It cannot run a document of middle length: the model needs more than text.
    """
    import torch
    import transformers

    model = getattr(transformers, AUTO_CLASSES[head]).from_pretrained(str(folder), local_files_only=True)
    model.eval()
    found: list[Logits | None] = []
    for encoding in encode(head, open_checkpoint(folder), TRIAL_LENGTHS, seed=2):
        ids = torch.tensor([encoding.ids])
        try:
            with torch.inference_mode():
                found.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].numpy())
        except Exception as error:
            if not found:
                reason = f"transformers does not run it on token ids alone ({first_line(error)})"
                raise NotTriedError(reason) from error
            found.append(None)
    return found


def try_backend(
    head: Head, folder: Path, backend: TensorBackend, prepared: Path, expected: Sequence[Logits | None]
) -> Outcome:
    """Take a checkpoint through a backend as ``bakeoff bench`` does, and compare with plain transformers.

    Args:
        head: Head of the model.
        folder: Its checkpoint.
        backend: Backend to try.
        prepared: Empty folder for the files of the backend.
        expected: Logits of plain transformers for each document of the trial, alone.
    """
    task = TASKS[head]
    try:
        checkpoint = open_checkpoint(folder)
        task.require_head(checkpoint)
        sample = Sample(task, encode(head, checkpoint, CHECK_LENGTHS, seed=1))
        is_prepared = backend.prepare_settings() is not None
        if is_prepared:
            backend.prepare(checkpoint, prepared, sample)
        session = backend.load(checkpoint, prepared if is_prepared else None)
        worst = compare(session, checkpoint, encode(head, checkpoint, TRIAL_LENGTHS, seed=2), expected)
    except BakeoffError as error:
        return Outcome("refused", shorten(str(error), folder))
    except Exception as error:  # noqa: BLE001 - a worker reports errors of libraries so
        return Outcome("refused", shorten(first_line(error), folder))
    if max(worst.values()) <= MAX_ABS_DIFFERENCE:
        return Outcome("right")
    return Outcome("wrong", ", ".join(f"{name}: off by {value:.2g}" for name, value in worst.items()))


def compare(
    session: Session,
    checkpoint: Checkpoint,
    encodings: Sequence[Encoding],
    expected: Sequence[Logits | None],
) -> dict[str, float]:
    """Return the largest difference from the expected logits, of documents alone and in padded batches."""
    encoder = Encoder(checkpoint, CHECK_MAX_LENGTH)
    worst = dict.fromkeys(("alone", "padded"), 0.0)
    for size in (1, *BATCHES):
        name = "alone" if size == 1 else "padded"
        for start in range(0, len(encodings), size):
            rows = session.infer(encoder.pad(encodings[start : start + size]))
            for row, wanted in zip(rows, expected[start : start + size], strict=True):
                if wanted is not None:
                    kept = row[: len(wanted)] if row.ndim > 1 else row
                    worst[name] = float(np.maximum(worst[name], np.abs(kept - wanted).max()))
    return worst


def encode(head: Head, checkpoint: Checkpoint, lengths: Sequence[int], seed: int) -> tuple[Encoding, ...]:
    """Encode documents of random words, as the benchmark does."""
    encoder = Encoder(checkpoint, CHECK_MAX_LENGTH)
    random = np.random.default_rng(seed)
    rows = [tuple(str(word) for word in random.choice(WORDS, length)) for length in lengths]
    if head == "token_classification":
        return tuple(TASKS[head].encode(encoder, TaggedDocument(tokens=words)) for words in rows)
    return tuple(TASKS[head].encode(encoder, TextDocument(text=" ".join(words))) for words in rows)


def shorten(text: str, folder: Path) -> str:
    """Return the first line without paths."""
    first = next(iter(text.splitlines()), "")
    return first.replace(f"checkpoint {folder}: ", "").replace(str(folder.parent), "…")


def import_quietly() -> None:
    """Import every library once, with as little output as they allow."""
    warnings.simplefilter("ignore")
    for backend in BACKENDS.values():
        backend.import_libraries()
    import torch
    import transformers

    torch.set_num_threads(1)  # a process that forks may not have threads
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def try_all(kept: Kept, names: Sequence[str], path: Path) -> Kept:
    """Try the named model types, or all, and keep each outcome as soon as it is known."""
    import_quietly()
    versions = {name: version(name) for name in LIBRARIES}
    if names and kept.versions not in ({}, versions):
        raise SystemExit(f"{path}: made with other versions; run it without names")
    begin_s = read_cpu_s()
    outcomes = {head: dict(rows) for head, rows in kept.outcomes.items()} if names else {}
    for head, model_type in list_architectures():
        if names and model_type not in names:
            continue
        found = run_apart(head, model_type)
        outcomes.setdefault(head, {})[model_type] = found
        sys.stdout.write(f"{head} {model_type}: {', '.join(each.verdict for each in found.values())}\n")
        sys.stdout.flush()
        kept = Kept(
            versions=versions,
            cpu_minutes=kept.cpu_minutes if names else round((read_cpu_s() - begin_s) / 60, 1),
            slow_tokenizers=tuple(
                sorted({name for rows in outcomes.values() for name in rows if not has_fast_tokenizer(name)})
            ),
            outcomes=outcomes,
        )
        path.write_text(kept.to_json(), encoding="utf-8")
    return kept


def read_cpu_s() -> float:
    """Return the CPU time of this process and of those that ended, in s."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main(words: list[str]) -> int:
    """Try and write, or check."""
    parser = argparse.ArgumentParser(description="Write the table of architectures.")
    parser.add_argument("names", nargs="*", metavar="MODEL_TYPE", help="try these alone")
    parser.add_argument("--page", action="store_true", help="try none; write the page from the outcomes")
    parser.add_argument("--check", action="store_true", help="write nothing; compare the page")
    parser.add_argument("--folder", type=Path, help="keep outcomes and page in this folder instead")
    options = parser.parse_args(words)
    kept_path, page = (
        (options.folder / KEPT.name, options.folder / PAGE.name) if options.folder else (KEPT, PAGE)
    )
    kept = Kept.from_json(kept_path.read_text(encoding="utf-8")) if kept_path.exists() else Kept()
    if options.page or options.check:
        text = write_page(kept)
        is_stale = not page.exists() or page.read_text(encoding="utf-8") != text
        if options.check and is_stale:
            sys.stdout.write(f"stale: {page}\n")
            return 1
    else:
        text = write_page(try_all(kept, options.names, kept_path))
    if not options.check:
        page.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
