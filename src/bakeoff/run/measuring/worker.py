"""The process that measures: an order in, an outcome out; no other code of ours runs meanwhile.

Started as ``python -m bakeoff.run.measuring.worker FOLDER PARENT_PID`` it writes one outcome. With two more
arguments, the pipes, it stays and answers command by command. It never imports mlflow, and it imports only
those heavy libraries that the ordered runtime needs.
"""

from __future__ import annotations

import os
import resource
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter

from bakeoff.core.job import Environment
from bakeoff.disk import durable
from bakeoff.disk.folders import build_folder
from bakeoff.disk.sealed import seal_json
from bakeoff.errors import BakeoffError
from bakeoff.measure.backends import RowBackend, TensorBackend, parity
from bakeoff.measure.backends.availability import importing
from bakeoff.measure.backends.pretrained import require_same_ids
from bakeoff.measure.heats.records import Finished, Started
from bakeoff.measure.heats.timing import (
    Counters,
    Variant,
    run_block,
    time_calibration_loop,
    time_each,
    time_instrument,
    warm_up_all,
)
from bakeoff.measure.model.checkpoint import open_checkpoint, open_verified_checkpoint
from bakeoff.measure.model.row_model import open_row_model
from bakeoff.measure.model.tokenizer import Encoder
from bakeoff.measure.scenarios import Interleaved
from bakeoff.measure.scenarios.subject import (
    NO_COUNTERS,
    RowReader,
    Subject,
    TensorModel,
    TimedSubject,
)
from bakeoff.measure.statistics.readings import CALIBRATION, OVERHEAD, Reading, read_each
from bakeoff.measure.system import memory
from bakeoff.measure.system.kernel_counters import KernelCounters
from bakeoff.run.machine.hardware import read_load, record_environment, usable_cpu_numbers
from bakeoff.run.machine.processes import die_with_parent
from bakeoff.run.measuring.orders import (
    ORDER_FILE,
    OUTCOME_FILE,
    Done,
    Failed,
    MeasureOrder,
    Order,
    PrepareOrder,
    TimedOrder,
    UntimedOrder,
)
from bakeoff.run.measuring.resident import Command, Ended, Finish, Imported, Load, Ran, Ready, RunBlock


def main(words: list[str]) -> int:
    """Carry out the order in a folder, and return the exit code."""
    folder, parent_pid = Path(words[0]), int(words[1])
    die_with_parent(parent_pid)
    if len(words) > 2:  # noqa: PLR2004 - folder and parent, then the pipes
        commands, answers, spawned_ns = (int(word) for word in words[2:])
        return _reside(folder, commands, answers, spawned_ns)
    outcome: Done | Failed
    try:
        order = _read_order(folder)
        outcome = _prepare(order) if isinstance(order, PrepareOrder) else _measure(order)
    except BaseException as error:  # noqa: BLE001 - outermost: every error becomes a recorded failure
        outcome = _record(error)
    durable.write_bytes(folder / OUTCOME_FILE, seal_json(outcome.model_dump(mode="json")))
    return 0 if isinstance(outcome, Done) else 1


def _read_order(folder: Path) -> PrepareOrder | TimedOrder | UntimedOrder:
    """Read the order; its memory limit holds from here on."""
    adapter: TypeAdapter[PrepareOrder | TimedOrder | UntimedOrder] = TypeAdapter(Order)
    order = adapter.validate_json((folder / ORDER_FILE).read_bytes())
    if order.memory_limit_bytes is not None:
        # Limits allocations, not the address space: runtimes reserve far more of that than they use.
        resource.setrlimit(resource.RLIMIT_DATA, (order.memory_limit_bytes, order.memory_limit_bytes))
    return order


def _record(error: BaseException) -> Failed:
    traceback.print_exc()
    message = str(error).encode(errors="backslashreplace").decode()  # paths need not be text
    return Failed(error=type(error).__name__, message=message, is_user_error=isinstance(error, BakeoffError))


def _prepare(order: PrepareOrder) -> Done:
    checkpoint = open_verified_checkpoint(order.checkpoint, order.checkpoint_digest)
    require_same_ids(checkpoint, order.task, order.documents, parity.CHECK_MAX_LENGTH)
    encodings, uncut = (
        tuple(order.task.encode(encoder, document) for document in order.documents)
        for encoder in (Encoder(checkpoint, parity.CHECK_MAX_LENGTH), Encoder(checkpoint, order.max_length))
    )
    longest = max(uncut, key=lambda encoding: len(encoding.ids))
    sample = parity.Sample(order.task, encodings, longest, order.more_sizes, order.answers_file)
    build_folder(order.destination, lambda aside: order.runtime.prepare(checkpoint, aside, sample))
    return Done(environment=record_environment())


def _measure(order: TimedOrder | UntimedOrder) -> Done:
    # Before anything heavy is loaded: the state of the machine and of the instrument, not of a runtime.
    calibration = (
        read_each(CALIBRATION, "ns", [(order.repeat, ns) for ns in time_calibration_loop()]),
        read_each(OVERHEAD, "ns", [(order.repeat, ns) for ns in time_instrument()]),
    )
    counters = _make_counters(order)
    with importing():
        order.runtime.import_libraries()
    subject, _ = _load(order)
    before = read_load()
    readings = _read(order, subject, counters)
    subject.model.require_finite()
    return Done(
        readings=(*readings, *calibration),
        environment=_record_environment(order, before),
        n_truncated=subject.model.n_truncated,
        facts=subject.model.session.describe(),
    )


def _reside(folder: Path, commands: int, answers: int, spawned_ns: int) -> int:
    """Import, load, warm up, then answer each command until the last."""
    for descriptor in (commands, answers):
        os.set_inheritable(descriptor, False)
    with os.fdopen(commands, "rb") as asked, os.fdopen(answers, "wb", buffering=0) as replies:
        try:
            _answer_all(folder, asked, replies, spawned_ns)
        except BaseException as error:  # noqa: BLE001 - outermost: every error becomes a recorded failure
            _reply(replies, _record(error))
            return 1
    return 0


def _answer_all(folder: Path, asked: BinaryIO, replies: BinaryIO, spawned_ns: int) -> None:
    at_ns, unix_ns, epoch_ns = time.monotonic_ns(), time.time_ns(), time.perf_counter_ns()
    load_before = read_load()
    order = _read_order(folder)
    if not isinstance(order, TimedOrder) or not isinstance(order.scenario, Interleaved):
        raise TypeError("only scenarios that run in a heat stay in memory")
    marks = {"start": memory.read_peak_bytes()}
    begin_ns = time.perf_counter_ns()
    order.runtime.import_libraries()
    import_ns = time.perf_counter_ns() - begin_ns
    marks["imports"] = memory.read_peak_bytes()
    _reply(replies, Imported(resident_bytes=memory.read_resident_bytes()))
    line = asked.readline()
    if not line:
        return  # the parent gave up this repeat
    if not isinstance(command := Command.validate_json(line), Load):
        raise TypeError(f"asked for {command.kind}; expected load")
    # From here on no other worker runs. The runtime has no thread yet, so this shows the state of the machine
    # and of the instrument, not of a runtime.
    calibration_ns, overhead_ns = time_calibration_loop(), time_instrument()
    loaded, load_ns = _load(order)
    subject = _time(order, loaded)
    marks["load"] = memory.read_peak_bytes()
    memory.reset_peak()
    variants = {variant.number: variant for variant in order.scenario.variants(subject)}
    preparations = subject.model.list_preparations()
    tokenize_ns = time_each(preparations) if preparations else ()
    warm_ups = warm_up_all(list(variants.values()), subject.protocol)
    subject.model.require_finite()  # only now, since the warm-up reports the first call
    started = Started(
        warm_ups=warm_ups,
        at_ns=unix_ns,
        spawn_ns=at_ns - spawned_ns,
        import_ns=import_ns,
        load_ns=load_ns,
        overhead_ns=overhead_ns,
        calibration_ns=calibration_ns,
        tokenize_ns=tokenize_ns,
        n_truncated=subject.model.n_truncated,
        resident_bytes=memory.read_resident_bytes(),
        memory_bytes=marks,
        facts=dict(subject.model.session.describe()),
    )
    _reply(replies, Ready(started=started, environment=_record_environment(order, load_before)))
    _answer_blocks(asked, replies, subject, order, variants, epoch_ns=epoch_ns)


def _answer_blocks(
    asked: BinaryIO,
    replies: BinaryIO,
    subject: Subject,
    order: MeasureOrder,
    variants: dict[int, Variant],
    *,
    epoch_ns: int,
) -> None:
    counters = _make_counters(order)
    energy_uj: int | None = 0
    while line := asked.readline():
        command = Command.validate_json(line)
        if isinstance(command, Finish):
            finished = Finished(
                memory_bytes={"run": memory.read_peak_bytes(), **subject.model.session.device_memory_bytes()},
                energy_uj=energy_uj if energy_uj else None,
                facts=subject.model.session.describe(),
                system=read_load(),
            )
            _reply(replies, Ended(finished=finished))
            return
        if not isinstance(command, RunBlock):
            raise TypeError(f"asked for {command.kind}; expected block")
        before_uj = memory.read_energy_uj()
        block = run_block(variants[command.request.variant], command.request, counters, epoch_ns=epoch_ns)
        after_uj = memory.read_energy_uj()
        if energy_uj is not None:
            is_known = before_uj is not None and after_uj is not None and after_uj >= before_uj
            # No figure after a counter wrapped around or fell silent: a part would pass for the whole.
            energy_uj = energy_uj + (after_uj or 0) - (before_uj or 0) if is_known else None
        _reply(replies, Ran(block=block))


def _record_environment(order: MeasureOrder, before: Mapping[str, str]) -> Environment:
    """Record the environment, with the names of variables that the configuration lets pass, never values."""
    environment = record_environment(before)
    passed = {"passed_variables": " ".join(order.variables)} if order.variables else {}
    return environment.replace(facts={**environment.facts, **passed})


def _make_counters(order: MeasureOrder) -> KernelCounters:
    return KernelCounters(order.runtime.threads or 1, usable_cpu_numbers() or range(os.cpu_count() or 1))


def _reply(replies: BinaryIO, answer: Imported | Ready | Ran | Ended | Failed) -> None:
    line = memoryview(answer.model_dump_json().encode() + b"\n")
    while line:  # a pipe takes as much as it has room for
        line = line[replies.write(line) :]


def _load(order: MeasureOrder) -> tuple[Subject, int]:
    """Load the model, and return the subject and the time in ns that the runtime took to load.

    Our own work is not timed: hashing files, and making token ids of all texts at once.
    """
    order.runtime.import_libraries()
    model, load_ns = (
        _load_row_model(order, order.runtime)
        if isinstance(order.runtime, RowBackend)
        else _load_tensor_model(order, order.runtime)
    )
    subject = Subject(model=model, task=order.task, documents=order.documents, repeat=order.repeat)
    return subject, load_ns


def _load_row_model(order: MeasureOrder, runtime: RowBackend) -> tuple[RowReader, int]:
    # Hashing the files once a job is enough.
    opened = open_row_model(order.checkpoint, order.checkpoint_digest if order.repeat == 0 else None)
    begin_ns = time.perf_counter_ns()
    session = runtime.load(opened, order.prepared)
    load_ns = time.perf_counter_ns() - begin_ns
    return RowReader(session=session, task=order.task, documents=order.documents), load_ns


def _load_tensor_model(order: MeasureOrder, runtime: TensorBackend) -> tuple[TensorModel, int]:
    if order.repeat == 0:
        checkpoint = open_verified_checkpoint(order.checkpoint, order.checkpoint_digest)
    else:  # hashing the weights once a job is enough
        checkpoint = open_checkpoint(order.checkpoint)
    order.task.require_head(checkpoint)
    if order.scenario.needs_labels:
        order.task.require_labels_known(str(order.checkpoint), checkpoint.labels, order.documents)
    encoder = order.task.make_encoder(checkpoint, order.max_length, order.documents)
    if order.prepared is not None:
        parity.verify(order.prepared, checkpoint)
    begin_ns = time.perf_counter_ns()
    session = runtime.load(checkpoint, order.prepared, is_verified=order.prepared is not None)
    load_ns = time.perf_counter_ns() - begin_ns
    loaded = TensorModel(
        session=session,
        checkpoint=checkpoint,
        encoder=encoder,
        task=order.task,
        documents=order.documents,
        encodings=tuple(map(encoder.encode, order.documents)),
    )
    return loaded, load_ns


def _time(order: TimedOrder, subject: Subject, counters: Counters = NO_COUNTERS) -> TimedSubject:
    return TimedSubject(
        **vars(subject),
        protocol=order.protocol,
        lengths=order.lengths or tuple(document.length for document in order.documents),
        counters=counters,
    )


def _read(order: TimedOrder | UntimedOrder, subject: Subject, counters: Counters) -> tuple[Reading, ...]:
    if isinstance(order, UntimedOrder):
        return order.scenario.measure(subject)
    if isinstance(order.scenario, Interleaved):
        raise TypeError(f"scenario {order.scenario.kind} runs in a heat, not alone")
    return order.scenario.measure(_time(order, subject, counters))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
