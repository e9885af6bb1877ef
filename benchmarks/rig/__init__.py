"""What the benchmarks of bakeoff itself share: small real candidates, and the last line of each script."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bakeoff.core.config.data import DataSettings
from bakeoff.demo.backbones import make_backbone
from bakeoff.disk.digest import digest_folder
from bakeoff.measure.backends import OnnxRuntime, Torch
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.model.tokenizer import Encoder
from bakeoff.measure.scenarios import Latency
from bakeoff.measure.statistics.outcomes import read_outcomes
from bakeoff.measure.statistics.readings import Reading
from bakeoff.measure.tasks import Document, TokenClassification
from bakeoff.run.measuring.orders import WORKER, PrepareOrder, TimedOrder, run_in_process
from bakeoff.run.measuring.resident import ResidentWorker
from bakeoff.stores.documents import read_documents

TIMEOUT_S = 600.0
N_TEXTS = 256
MAX_LENGTH = 64
TASK = TokenClassification()


def report(name: str, figure: str, bar: str, holds: bool) -> int:
    """Print the line that a benchmark ends with; returns the exit code."""
    print(f"{name}: {figure} (bar {bar}) {'holds' if holds else 'falls short'}", flush=True)
    return 0


def time_import_mlflow(repeats: int = 3) -> float:
    """Return the CPU seconds of `import mlflow` in a fresh process, the median of some.

    It is the unit of bars: a second says nothing without the machine, and every command pays this import.
    """
    return statistics.median(_time_child("import mlflow") for _ in range(repeats))


def _time_child(program: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def read_texts() -> tuple[Document, ...]:
    """Texts of the demo, with their real lengths."""
    path = Path(str(files("bakeoff.demo").joinpath("data", "test.jsonl")))
    return read_documents(path, DataSettings(task=TASK, train="", test=""))[:N_TEXTS]


def make_checkpoint(backbone: str, folder: Path) -> Path:
    """Make a checkpoint of one of the demo's backbones with a fresh head: as fast as a trained one."""
    from bakeoff.run.training.hugging_face import build_model

    pretrained, final = folder / "backbones" / backbone, folder / "checkpoints" / backbone
    if not final.is_dir():
        make_backbone(backbone, pretrained)
        model = build_model(pretrained, TASK, TASK.list_labels(read_texts()), None)
        model.save_pretrained(str(final), safe_serialization=True)
        (final / "tokenizer.json").write_bytes((pretrained / "tokenizer.json").read_bytes())
    return final


def make_worker(
    name: str,
    checkpoint: Path,
    folder: Path,
    *,
    runtime: OnnxRuntime | Torch | None = None,
    protocol: TimingProtocol | None = None,
    batch_sizes: Sequence[int] = (1, 8),
    worker: str = WORKER,
) -> ResidentWorker:
    """Make a participant for a heat, with its export made once."""
    threads = min(2, len(os.sched_getaffinity(0)))
    runtime = runtime or OnnxRuntime(threads=threads)
    digest, texts = digest_folder(checkpoint), read_texts()
    prepared = None
    if runtime.prepare_settings() is not None:
        prepared = folder / "prepared" / f"{checkpoint.name}-{runtime.label}"
        if not prepared.is_dir():
            preparation = PrepareOrder(
                runtime=runtime,
                checkpoint=checkpoint,
                checkpoint_digest=digest,
                destination=prepared,
                task=TASK,
                documents=texts[:16],
                max_length=MAX_LENGTH,
            )
            work = folder / "work" / f"prepare-{checkpoint.name}"
            work.mkdir(parents=True, exist_ok=True)
            run_in_process(preparation, work, TIMEOUT_S)
    encoder = Encoder(open_checkpoint(checkpoint), MAX_LENGTH)
    order = TimedOrder(
        runtime=runtime,
        scenario=Latency(batch_sizes=tuple(batch_sizes)),
        protocol=protocol or TimingProtocol(),
        checkpoint=checkpoint,
        checkpoint_digest=digest,
        prepared=prepared,
        task=TASK,
        documents=texts,
        max_length=MAX_LENGTH,
        repeat=0,
        lengths=tuple(len(TASK.encode(encoder, document).ids) for document in texts),
    )
    return ResidentWorker(name, order, folder / "work" / name, TIMEOUT_S, worker=worker)


def count_entities(hits: NDArray[np.int64], n_entities: int) -> Reading:
    """Entity counts of documents that hold, and are said to hold, so many entities each.

    Args:
        hits: [documents], how many of them are right.
        n_entities: In each document.
    """
    of = np.full(len(hits), float(n_entities))
    return read_outcomes({"true_positives": hits.astype(np.float64), "predicted": of, "actual": of})


def let_workers_find_the_rig() -> None:
    """Put this folder on the path of the processes that we start."""
    here = str(Path(__file__).parents[1])
    sys.path.insert(0, here)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


__all__ = [
    "count_entities",
    "let_workers_find_the_rig",
    "make_checkpoint",
    "make_worker",
    "read_texts",
    "report",
    "time_import_mlflow",
]
