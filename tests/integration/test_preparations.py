"""Preparations of one checkpoint: PyTorch's answers are computed once, for all runtimes that need them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.orchestrator import Project, bench
from bakeoff.run.measuring import orders
from bakeoff.run.measuring.orders import MeasureOrder, PrepareOrder
from halting import Begun, OnWait

QUALITY = "benchmark.scenarios=[{kind: quality}]"
PAIR = "benchmark.runtimes=[{kind: onnxruntime, threads: 1}, {kind: torch, threads: 1}]"
BOTH = "benchmark.scenarios=[{kind: quality}, {kind: latency, batch_sizes: [1]}]"
TRIO = "benchmark.runtimes=[{kind: onnxruntime, precision: int8, threads: 1}, {kind: openvino, threads: 1}]"
DUO = "benchmark.runtimes=[{kind: onnxruntime, threads: 1}, {kind: onnxruntime, precision: int8, threads: 1}]"
ALONE = "benchmark.runtimes=[{kind: onnxruntime, threads: 1}]"


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[PrepareOrder]:
    """Orders that made files, as they began."""
    found = list[PrepareOrder]()
    begin = orders._begin

    def note(order: MeasureOrder | PrepareOrder, folder: Path, worker: str, on_wait: OnWait) -> Begun:
        if isinstance(order, PrepareOrder):
            found.append(order)
        return begin(order, folder, worker, on_wait)

    monkeypatch.setattr(orders, "_begin", note)
    return found


@pytest.fixture
def open_unprepared(reopen: Callable[..., Project], project_folder: Path) -> Callable[..., Project]:
    """Open the project with some runtimes, none of which has its files."""

    def open_it(runtimes: str, scenarios: str = QUALITY) -> Project:
        shutil.rmtree(project_folder / ".cache" / "prepared")
        return reopen(runtimes, scenarios, "benchmark.run.mode=force_new")

    return open_it


@pytest.mark.parametrize(
    ("runtimes", "labels"),
    [
        (PAIR, ["torch-fp32", "onnxruntime-fp32"]),
        (TRIO, ["torch-fp32", "onnxruntime-int8", "openvino-fp32"]),
        (ALONE, ["onnxruntime-fp32"]),
    ],
    ids=["PyTorch among them", "PyTorch not among them", "a single one"],
)
def test_one_process_computes_the_answers_and_the_others_read_them(
    open_unprepared: Callable[..., Project],
    project_folder: Path,
    prepared: list[PrepareOrder],
    runtimes: str,
    labels: list[str],
) -> None:
    benched = bench(open_unprepared(runtimes))
    assert benched.failed == ()
    assert [order.runtime.label for order in prepared] == labels
    files = {order.answers_file for order in prepared}
    assert len(files) == 1
    (file,) = files
    assert (file is None) == (len(labels) == 1)
    assert file is None or not file.parents[1].exists()  # no answers outlast the preparations
    folders = [path for path in (project_folder / ".cache" / "prepared").iterdir() if path.is_dir()]
    assert len(folders) == len(labels) - (runtimes == TRIO)


@pytest.fixture
def refuse(prepared: list[PrepareOrder], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the preparations of a runtime find another checkpoint than the one ordered."""
    del prepared
    begin = orders._begin

    def refuse_all(label: str) -> None:
        def spoil(order: MeasureOrder | PrepareOrder, folder: Path, worker: str, on_wait: OnWait) -> Begun:
            if isinstance(order, PrepareOrder) and order.runtime.label == label:
                order = order.replace(checkpoint_digest="0" * 64)
            return begin(order, folder, worker, on_wait)

        monkeypatch.setattr(orders, "_begin", spoil)

    return refuse_all


def test_what_was_refused_is_not_prepared_again_for_another_scenario(
    open_unprepared: Callable[..., Project],
    prepared: list[PrepareOrder],
    refuse: Callable[[str], None],
) -> None:
    refuse("onnxruntime-int8")
    benched = bench(open_unprepared(DUO, BOTH))
    failed = [(each.job.runtime.label, each.job.scenario.kind) for each in benched.failed]
    assert failed == [("onnxruntime-int8", "quality"), ("onnxruntime-int8", "latency")]
    assert len({each.reason for each in benched.failed}) == 1
    assert [order.runtime.label for order in prepared] == [
        "torch-fp32",
        "onnxruntime-fp32",
        "onnxruntime-int8",
    ]
    assert {each.job.runtime.label for each in benched.measured} == {"onnxruntime-fp32"}


def test_if_that_process_fails_each_of_the_others_computes_them(
    open_unprepared: Callable[..., Project],
    prepared: list[PrepareOrder],
    refuse: Callable[[str], None],
) -> None:
    refuse("torch-fp32")
    benched = bench(open_unprepared(PAIR))
    assert [failed.job.runtime.label for failed in benched.failed] == ["torch-fp32"]
    assert [order.runtime.label for order in prepared] == ["torch-fp32", "onnxruntime-fp32"]
    assert [row.job.runtime.label for row in benched.measured] == ["onnxruntime-fp32"]
