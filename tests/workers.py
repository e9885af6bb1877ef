"""Worker processes with the rim as it is, around a session whose calls do what a test says."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bakeoff.disk.digest import digest_folder
from bakeoff.measure.backends import Noop
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.scenarios import Latency
from bakeoff.measure.tasks.documents import TaggedDocument
from bakeoff.run.machine import processes
from bakeoff.run.measuring.orders import TimedOrder
from bakeoff.run.measuring.resident import ResidentWorker

MakeWorker = Callable[..., ResidentWorker]
QUICK = {"warmup_min_s": 0.0, "warmup_max_s": 0.1}

# The worker's rim as it is, around a session that we decide.
PROGRAM = """
import os, sys, threading, time
import bakeoff.run.measuring.worker as worker
from bakeoff.measure.backends import Noop
from bakeoff.measure.backends.noop import NoopSession

def is_armed():
    return os.path.exists({armed!r})

{body}

class Session(NoopSession):
    def __init__(self, n_labels):
        super().__init__(n_labels)
        self.n_calls = 0

    def infer(self, batch):
        self.n_calls += 1
        act(self.n_calls)
        return super().infer(batch)

Noop.load = lambda self, checkpoint, prepared, **_: Session(len(checkpoint.labels))
sys.exit(worker.main(sys.argv[1:]))
"""


@pytest.fixture
def make_worker(
    champion_copy: Path,
    documents: tuple[TaggedDocument, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[MakeWorker]:
    """Workers over the noop backend, whose calls do what the given code says; all ended after the test."""
    made: list[ResidentWorker] = []
    # How a process ended is told when it has: a busy machine may take long over it.
    monkeypatch.setattr(processes, "GRACE_S", 60.0)
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *_python_path()]))

    def make(
        body: str = "def act(number): pass",
        *,
        threads: int = 1,
        timeout_s: float = 300.0,
        memory_limit_bytes: int | None = None,
        prepared: Path | None = None,
    ) -> ResidentWorker:
        name = f"program_{len(made)}"
        (folder / f"{name}.py").write_text(
            PROGRAM.format(body=textwrap.dedent(body), armed=str(folder / "armed"))
        )
        order = TimedOrder(
            runtime=Noop(threads=threads),
            scenario=Latency(batch_sizes=(1,)),
            protocol=TimingProtocol.model_validate(QUICK),
            checkpoint=champion_copy,
            checkpoint_digest=digest_folder(champion_copy),
            prepared=prepared,
            documents=documents[:8],
            max_length=32,
            repeat=0,
            memory_limit_bytes=memory_limit_bytes,
        )
        worker = ResidentWorker(name, order, tmp_path / name, timeout_s, worker=name)
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.kill()


def _python_path() -> list[str]:
    import bakeoff

    return [str(Path(bakeoff.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]


@pytest.fixture
def arm(tmp_path: Path) -> Callable[[], None]:
    """Let the workers do from now on what they are told to do when armed."""
    return (tmp_path / "programs" / "armed").touch
