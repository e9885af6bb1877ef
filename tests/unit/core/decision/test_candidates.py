"""Candidates: what they are called, and which numbers keep one from being ranked."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.decision.candidates import Candidate, name_runtimes
from bakeoff.core.job import Job
from bakeoff.errors import CannotTellError
from bakeoff.measure.backends import OnnxRuntime, Torch
from bakeoff.measure.backends.onnxruntime import OnnxRuntime as Onnx
from judged import outcomes_in
from unit.core.field import make_candidate, make_exact, rule, standing_of


def names_of(make_job: Callable[..., Job], *runtimes: Any) -> list[str]:
    names = name_runtimes(make_job(runtime=runtime) for runtime in runtimes)
    return [names[runtime.model_dump_json()] for runtime in runtimes]


def test_a_runtime_is_named_by_its_label_where_that_tells_it_from_all_others(
    make_job: Callable[..., Job],
) -> None:
    assert names_of(make_job, Torch(threads=2), OnnxRuntime(threads=1)) == ["torch-fp32", "onnxruntime-fp32"]


def test_runtimes_of_one_label_are_named_with_what_tells_them_apart_and_no_more(
    make_job: Callable[..., Job],
) -> None:
    runtimes = (Torch(threads=1), Torch(threads=2), Onnx(threads=1), Onnx(threads=1, spinning=False))
    assert names_of(make_job, *runtimes) == [
        "torch-fp32 (threads 1)",
        "torch-fp32 (threads 2)",
        "onnxruntime-fp32",
        "onnxruntime-fp32-nospin",
    ]


def spoil_latency(value: float) -> Candidate:
    sound = make_exact("spoilt", hits=4, ms=0.1)
    reading = sound.latency[1]
    spoilt = reading.model_copy(update={"values": (value, *reading.values[1:])})
    return sound.model_copy(update={"latency": {1: spoilt}})


def spoil_entities(value: float) -> Candidate:
    sound = make_exact("spoilt", hits=4, ms=0.1)
    columns = outcomes_in(sound).columns
    hits = (value, *columns["true_positives"][1:])
    spoilt = outcomes_in(sound).model_copy(update={"columns": {**columns, "true_positives": hits}})
    return sound.model_copy(update={"outcomes": spoilt})


SOUND = make_exact("sound", hits=1, ms=50.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_a_time_that_is_no_number_above_0_never_wins_and_is_told(value: float) -> None:
    decision = rule([spoil_latency(value), SOUND])
    assert decision.winner == SOUND.label
    line = (
        "spoilt × torch-fp32: not ranked: latency at batch size 1 holds times that are not finite numbers "
        "above 0; measure it again"
    )
    assert decision.incomplete == (line,)
    assert line in decision.reasons


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 5.0])
def test_counts_that_cannot_be_never_win_and_are_told(value: float) -> None:
    decision = rule([spoil_entities(value), SOUND])
    assert decision.winner == SOUND.label
    assert "not ranked: the quality measurement holds impossible counts" in decision.incomplete[0]


def test_where_no_candidate_is_sound_there_is_no_answer_and_each_reason_is_told() -> None:
    with pytest.raises(CannotTellError) as caught:
        rule([spoil_latency(math.nan)])
    assert "spoilt × torch-fp32: not ranked" in str(caught.value)


def test_folds_stand_beside_the_quality_and_change_nothing_of_it() -> None:
    plain = make_candidate("one", 0.8)
    folded = plain.model_copy(update={"fold_metrics": (0.80, 0.82, 0.81)})
    with_folds, without = standing_of(rule([folded]), "one"), standing_of(rule([plain]), "one")
    assert with_folds.folds is not None
    assert with_folds.folds.mean == pytest.approx(0.81)
    assert with_folds.folds.deviation == pytest.approx(0.01)
    assert with_folds.quality == without.quality
    assert without.folds is None
    assert not any(flag.name == "fold_spread" for flag in with_folds.flags)


def test_folds_that_spread_more_than_the_documents_tell_are_flagged() -> None:
    folded = make_candidate("one", 0.8, fold_metrics=(0.6, 0.9, 0.75))
    (flag,) = standing_of(rule([folded]), "one").flags
    assert flag.name == "fold_spread"
    assert flag.detail.startswith("F1 over 3 folds has a standard deviation of 0.150 (limit 0.0")


SCRIPT = """
import sys
from unit.core.field import make_candidate, rule
field = [make_candidate(name, 0.5 + 0.1 * n, 2.0 + n) for n, name in enumerate("abcd")]
for objective in ({"kind": "weighted"}, {"kind": "lexicographic", "accuracy_threshold": 0.1}):
    sys.stdout.write(rule(field, objective=objective).model_dump_json())
"""


def test_two_processes_make_the_same_decision_byte_for_byte() -> None:
    tests = Path(__file__).parents[3]
    path = os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])
    made = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            check=True,
            capture_output=True,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": path},
        ).stdout
        for seed in ("1", "2")
    ]
    assert made[0]
    assert made[0] == made[1]
