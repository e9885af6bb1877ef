"""A candidate that stays in memory between its blocks, in a fresh process each repeat.

The process reads its order from a file. Commands and answers follow as lines of JSON over two separate pipes,
so no output of a library can pass for an answer.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from bakeoff.core.job import Environment
from bakeoff.disk import durable
from bakeoff.errors import WorkerError
from bakeoff.measure.heats.records import Block, BlockRequest, Finished, Started
from bakeoff.record import Record
from bakeoff.run.machine import processes
from bakeoff.run.measuring.orders import ORDER_FILE, WORKER, Failed, MeasureOrder, environment_for

MIN_BLOCK_TIMEOUT_S = 30.0
BLOCK_TIMEOUT_FACTOR = 20.0
_NS_PER_S = 1_000_000_000
_READ_BYTES = 1 << 20


class Load(Record):
    """Command to load the model and warm up; no other worker runs now."""

    kind: Literal["load"] = "load"


class RunBlock(Record):
    """Command to run one block."""

    kind: Literal["block"] = "block"
    request: BlockRequest


class Finish(Record):
    """Command to report the last figures and end."""

    kind: Literal["finish"] = "finish"


Command: TypeAdapter[Load | RunBlock | Finish] = TypeAdapter(
    Annotated[Load | RunBlock | Finish, Field(discriminator="kind")]
)


class Imported(Record):
    """Answer after the import of the libraries.

    Attributes:
        resident_bytes: Memory of the process now, in bytes.
    """

    kind: Literal["imported"] = "imported"
    resident_bytes: int


class Ready(Record):
    """Answer after loading and warming up."""

    kind: Literal["ready"] = "ready"
    started: Started
    environment: Environment


class Ran(Record):
    """Answer after a block."""

    kind: Literal["ran"] = "ran"
    block: Block


class Ended(Record):
    """The last answer."""

    kind: Literal["ended"] = "ended"
    finished: Finished


Answer: TypeAdapter[Imported | Ready | Ran | Ended | Failed] = TypeAdapter(
    Annotated[Imported | Ready | Ran | Ended | Failed, Field(discriminator="kind")]
)


class ResidentWorker:
    """A participant of a heat, in a separate process.

    Args:
        name: Name of the candidate, unique in the heat.
        order: Order of every repeat, except for the repeat's number.
        folder: Parent of one folder a repeat, with order and output.
        timeout_s: Longest time to import, and longest time to load and warm up.
        worker: Module that the process runs.
        on_wait: Called about once a second while it imports, loads and warms up, and never during a block.

    Attributes:
        environments: Environment of each repeat's process, by its number.
    """

    def __init__(
        self,
        name: str,
        order: MeasureOrder,
        folder: Path,
        timeout_s: float,
        *,
        worker: str = WORKER,
        on_wait: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._order = order
        self._folder = folder
        self._timeout_s = timeout_s
        self._worker = worker
        self._on_wait = on_wait
        self._process: subprocess.Popen[bytes] | None = None
        self._commands = self._answers = -1
        self._buffer = b""
        self._current = folder
        self._begun: int | None = None
        self._imported: int | None = None
        self._deadline_s = self._next_call_s = 0.0
        self._slowest_call_ns = 0.0
        self.environments: dict[int, Environment] = {}

    @property
    def name(self) -> str:
        """Name, unique in the heat."""
        return self._name

    def begin(self, repeat: int) -> None:
        """Start a fresh process that imports its libraries and waits; return at once."""
        folder = self._folder / f"repeat-{repeat}"
        order = self._order.replace(repeat=repeat)
        durable.write_bytes(folder / ORDER_FILE, order.model_dump_json().encode())
        theirs_in, self._commands = os.pipe()
        self._answers, theirs_out = os.pipe()
        self._buffer = b""
        began_ns = str(time.monotonic_ns())
        words = (str(folder.absolute()), str(os.getpid()), str(theirs_in), str(theirs_out), began_ns)
        try:
            self._process = processes.start_process(
                self._worker,
                words,
                folder,
                environment_for(order),
                named=order.variables,
                pass_fds=(theirs_in, theirs_out),
                cpus=order.cpus,
            )
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self._current, self._begun, self._imported = folder, repeat, None
        self._deadline_s = time.monotonic() + self._timeout_s
        self._next_call_s = time.monotonic() + processes.CALL_S

    def wait_imported(self, longest_s: float) -> int | None:
        """Wait until the libraries are imported and the process is stopped.

        Args:
            longest_s: Longest wait.

        Returns:
            Memory of the process in bytes; None if it still imports.
        """
        if self._imported is not None:
            return self._imported
        if self._on_wait is not None and time.monotonic() >= self._next_call_s:
            self._next_call_s = time.monotonic() + processes.CALL_S
            self._on_wait()
        left_s = self._deadline_s - time.monotonic()
        if left_s > 0 and not processes.wait_readable(self._answers, min(longest_s, left_s)):
            return None
        answer = self._receive(self._current, max(0.0, self._deadline_s - time.monotonic()))
        if not isinstance(answer, Imported):
            raise self._complain(self._current, f"answered {answer.kind}; expected imported")
        if self._process is not None:
            processes.freeze(self._process)
        self._imported = answer.resident_bytes
        return self._imported

    def start(self, repeat: int) -> Started:
        """Let the process load and warm up, begin it if necessary, and return after it is stopped."""
        if self._begun != repeat:
            self.begin(repeat)
        while self.wait_imported(processes.CALL_S) is None:
            pass
        answer = self._ask(Load(), self._timeout_s, self._on_wait)
        if not isinstance(answer, Ready):
            raise self._complain(self._current, f"answered {answer.kind}; expected ready")
        self.environments[repeat] = answer.environment
        self._slowest_call_ns = max(row.median_ns for row in answer.started.warm_ups)
        return answer.started

    def run_block(self, request: BlockRequest) -> Block:
        """Let the process run one block."""
        expected_s = self._slowest_call_ns * (request.samples * request.calls_per_sample + 1) / _NS_PER_S
        answer = self._ask(
            RunBlock(request=request), max(MIN_BLOCK_TIMEOUT_S, BLOCK_TIMEOUT_FACTOR * expected_s)
        )
        if not isinstance(answer, Ran):
            raise self._complain(self._current, f"answered {answer.kind}; expected ran")
        return answer.block

    def finish(self) -> Finished:
        """Let the process report its last figures and end."""
        answer = self._ask(Finish(), MIN_BLOCK_TIMEOUT_S)
        if not isinstance(answer, Ended):
            raise self._complain(self._current, f"answered {answer.kind}; expected ended")
        self.kill()
        return answer.finished

    def kill(self) -> None:
        """End the process at once, if there is one."""
        self._begun = None
        if self._process is not None:
            processes.end_process(self._process, grace_s=0.0)
            self._process = None
        for descriptor in (self._commands, self._answers):
            if descriptor >= 0:
                os.close(descriptor)
        self._commands = self._answers = -1

    def _ask(
        self,
        command: Load | RunBlock | Finish,
        timeout_s: float,
        on_wait: Callable[[], None] | None = None,
    ) -> Imported | Ready | Ran | Ended:
        if self._process is None:
            raise WorkerError(f"{self._name}: no process to ask")
        processes.thaw(self._process)
        with suppress(BrokenPipeError):  # it died: reading its answer finds the cause
            os.write(self._commands, command.model_dump_json().encode() + b"\n")
        answer = self._receive(self._current, timeout_s, on_wait)
        processes.freeze(self._process)
        return answer

    def _receive(
        self, folder: Path, timeout_s: float, on_wait: Callable[[], None] | None = None
    ) -> Imported | Ready | Ran | Ended:
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._buffer:
            if not processes.wait_readable(self._answers, deadline - time.monotonic(), on_wait):
                raise self._complain(folder, f"no answer after {timeout_s:g} s")
            read = os.read(self._answers, _READ_BYTES)
            if not read:
                raise self._complain(folder, None)
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            answer = Answer.validate_json(line)
        except ValidationError:
            raise self._complain(folder, "a broken answer") from None
        if isinstance(answer, Failed):
            self.kill()
            raise WorkerError(answer.text)
        return answer

    def _complain(self, folder: Path, reason: str | None) -> WorkerError:
        """End the process and return its error; without a reason, that error describes its own end."""
        process = self._process
        if process is not None and reason is None:
            processes.wait_for(process, processes.GRACE_S)
        self.kill()
        if reason is None and process is not None:
            reason = processes.describe_end(process)
            reason += " and no outcome" if process.returncode >= 0 else ""
        return WorkerError(reason or "no process", detail=processes.read_tail(folder))
