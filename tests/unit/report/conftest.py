"""Synthetic evidence, and the decisions that the real ``decide`` makes of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import Candidate
from bakeoff.core.decision.costs import Costs
from bakeoff.core.decision.decide import Decision, decide
from bakeoff.core.decision.production import Production
from bakeoff.core.estimate import Estimate
from bakeoff.core.job import Environment, Hardware
from bakeoff.core.records import BackboneSelection, Champion, PickedTrial, StudyGroup
from bakeoff.core.validity.flags import UNSUPPORTED
from bakeoff.measure.statistics.readings import LATENCY, Reading
from bakeoff.measure.tasks import TextRegression
from judged import quality_of
from unit.outcomes import count_entities, predict_numbers

N_DOCUMENTS = 300
SPEEDS_MS = {"minilm-l2": 3.1, "minilm-l3": 4.6, "minilm-l6": 8.8}
RECALLS = {"minilm-l2": 0.72, "minilm-l3": 0.80, "minilm-l6": 0.845}
RUNTIMES = {"torch-fp32": 1.0, "onnxruntime-fp32": 0.42}

CandidateMaker = Callable[..., Candidate]
DecisionMaker = Callable[..., Decision]
Selections = dict[str, BackboneSelection]


def make_candidate(backbone: str, runtime: str, recall: float, ms: float, **changes: Any) -> Candidate:
    values: dict[str, Any] = {
        "backbone": backbone,
        "runtime": runtime,
        "champion_run_id": _hex(backbone, 32),
        "checkpoint_digest": _hex(f"checkpoint {backbone}", 64),
        "quality_inputs_digest": "9" * 64,
        "outcomes": _entities(backbone, recall),
        # 368 samples carry a p99; those of batch size 8 do not.
        "latency": {1: _latency(f"{backbone} {runtime}", ms, 1, 80), 8: _latency(runtime, ms * 5, 8, 30)},
        "environment": Environment(
            hardware=Hardware(
                machine="x86_64", cpu_model="Example CPU @ 2.90GHz", physical_cores=4, usable_cpus=4
            ),
            libraries={"python": "3.11.7", "torch": "2.9.0", "onnxruntime": "1.23.0"},
            facts={"governor": "performance", "platform": "Linux-6.1"},
        ),
        "benchmark_keys": (f"{backbone}:{runtime}:quality", f"{backbone}:{runtime}:latency"),
        "flags": (UNSUPPORTED.raised("batch size 8: 150 samples, 368 are needed", quantity="p99"),),
    }
    return Candidate(**values | changes)


def _hex(text: str, length: int) -> str:
    return f"{random.Random(text).getrandbits(4 * length):0{length}x}"


def _entities(backbone: str, recall: float) -> Reading:
    """Three entities a document, as hard for one candidate as for another."""
    difficulty, luck = random.Random("documents"), random.Random(backbone)
    hits = [
        sum(0.8 * difficulty.random() + 0.2 * luck.random() < recall for _ in range(3))
        for _ in range(N_DOCUMENTS)
    ]
    return count_entities(hits, 3)


def _noise(name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(len(name)).normal(0, 1, N_DOCUMENTS)


def _latency(name: str, ms: float, batch_size: int, calls: int, repeats: int = 5) -> Reading:
    generator = random.Random(f"{name} {batch_size}")
    drift = [generator.gauss(0, 0.03) for _ in range(repeats)]
    return Reading(
        quantity=LATENCY,
        unit="ns",
        at={"batch_size": batch_size},
        values=tuple(
            ms * 1e6 * 2.718 ** (drift[number] + abs(generator.gauss(0, 0.15)))
            for number in range(repeats)
            for _ in range(calls)
        ),
        repeats=tuple(number for number in range(repeats) for _ in range(calls)),
    )


def make_field() -> list[Candidate]:
    return [
        make_candidate(backbone, runtime, RECALLS[backbone], SPEEDS_MS[backbone] * pace)
        for backbone in ("minilm-l6", "minilm-l3", "minilm-l2")
        for runtime, pace in RUNTIMES.items()
    ]


def make_decision(
    candidates: Sequence[Candidate] | None = None, incomplete: Sequence[str] = (), **settings: Any
) -> Decision:
    return decide(
        candidates or make_field(),
        DecisionSettings.model_validate({"resamples": 400} | settings),
        incomplete,
    )


def make_selections() -> dict[str, BackboneSelection]:
    return {
        **{name: _crowned(name) for name in ("minilm-l6", "minilm-l3", "minilm-l2")},
        "minilm-l12": BackboneSelection(
            backbone="minilm-l12",
            champion=None,
            all_groups=(_group("minilm-l12", 2, left_out="2 valid trials; at least 3 are asked for"),),
            selection_metadata={"direction": "maximize", "n_finished_trials": 5, "top_k": 3},
            reason="group 123456789abc: 2 valid trials; at least 3 are asked for",
        ),
    }


def _group(backbone: str, n_valid: int, left_out: str | None = None, version: str = "2.0") -> StudyGroup:
    return StudyGroup(
        study_key_hash=_hex(f"study {backbone} {version}", 64),
        schema_version=version,
        best_metric=0.8123,
        stable_score=None if left_out else 0.8044,
        n_trials=n_valid + 3,
        n_valid=n_valid,
        n_invalid=3,
        left_out=left_out,
    )


def _crowned(backbone: str) -> BackboneSelection:
    group = _group(backbone, 9)
    champion = Champion(
        backbone=backbone,
        run_id=_hex(backbone, 32),
        trial_run_id=_hex(f"trial {backbone}", 32),
        refit_run_id=_hex(backbone, 32),
        sweep_run_id=_hex(f"sweep {backbone}", 32),
        study_key_hash=group.study_key_hash,
        trial_key_hash=_hex(f"setting {backbone}", 64),
        metric=0.8123,
        metric_name="f1",
        stable_score=0.8044,
        fold_metrics=(0.8011, 0.8152, 0.8206),
        schema_version="2.0",
        data_fingerprint="d" * 64,
        eval_fingerprint="e" * 64,
        refit_metric=0.8467,
        checkpoint_digest=_hex(f"checkpoint {backbone}", 64),
        experiment_id="1",
        experiment_name="sweep",
    )
    old = _group(
        backbone, 4, left_out="schema version 1.0; 2.0 is there, and they are not compared", version="1.0"
    )
    return BackboneSelection(
        backbone=backbone,
        champion=champion,
        all_groups=(old, group),
        selection_metadata={
            "direction": "maximize",
            "top_k": 3,
            "tied_groups": [],
            "tied_trials": [_hex(f"twin {backbone}", 32)] if backbone == "minilm-l3" else [],
        },
        picked=PickedTrial(
            metric=0.8123,
            metric_name="f1",
            folds=(0.8011, 0.8152, 0.8206),
            params=(("learning_rate", "3e-05"), ("epochs", "3"), ("seed", "0")),
            n_varied=2,
            n_params=4,
            scores=(0.31, 0.7452, 0.7801, 0.7902, 0.7903, 0.7988, 0.8001, 0.8044, 0.8123),
            n_scores=9,
        ),
    )


@pytest.fixture(scope="session", name="make_candidate")
def _candidate_maker() -> CandidateMaker:
    """The function that makes candidates; keyword arguments replace fields."""
    return make_candidate


@pytest.fixture(scope="session", name="make_decision")
def _decision_maker() -> DecisionMaker:
    """The function that decides between candidates, or between those of ``make_field``."""
    return make_decision


@pytest.fixture(scope="session")
def field() -> list[Candidate]:
    """Three backbones, two runtimes."""
    return make_field()


@pytest.fixture(scope="session")
def selections() -> Selections:
    """Three backbones with a champion, one without."""
    return make_selections()


@pytest.fixture(scope="session")
def tie(field: list[Candidate]) -> Decision:
    """Twins that no data tell apart, and one that is beaten."""
    best = field[1]
    return make_decision([best, best.model_copy(update={"backbone": "minilm-twin"}), field[4]])


@pytest.fixture(scope="session")
def priced(field: list[Candidate]) -> Decision:
    """Two candidates with costs, of which one found no rate for its server; and a price."""
    rate = Estimate(value=200.0, low=180.0, high=220.0)
    full = Costs(
        memory_run_bytes=Estimate(value=87.31 * 2**20, low=80 * 2**20, high=90 * 2**20),
        model_size_bytes=22_900_000,
        load_ms=123.4,
        first_call_ms={1: 45.6, 8: 7.8},
        warmup_ms={1: 512.0, 8: 498.0},
        tokenize_p50_ms=0.0371,
        energy_per_document_uj=1234.5,
        max_rate_per_s=rate,
        price_per_hour=0.5,
        cost_per_million=Estimate(value=1.2345, low=1.2, high=1.27),
        cost_per_million_served=Estimate(value=0.69444, low=0.63, high=0.77),
    )
    why = "the limit was met at no rate in 5 of 5 processes"
    partial = full.model_copy(
        update={
            "max_rate_per_s": None,
            "cost_per_million_served": None,
            "absent": {"cost_per_million_served": why},
        }
    )
    return make_decision(
        [
            field[1].model_copy(update={"costs": full}),
            field[0].model_copy(update={"costs": partial}),
        ],
        price_per_hour=0.5,
    )


@pytest.fixture(scope="session")
def nobody(field: list[Candidate]) -> Decision:
    """No candidate meets the constraint."""
    return make_decision(field, constraints=[{"kind": "quality", "at_least": 0.99}])


@pytest.fixture(scope="session")
def undecided() -> Decision:
    """The data leave open whether the second candidate meets the constraint."""
    candidates = [make_candidate("a", "r", 0.84, 8.0), make_candidate("b", "r", 0.70, 3.0)]
    floor = next(quality_of(row).value for row in make_decision(candidates).standings if row.backbone == "b")
    return make_decision(candidates, constraints=[{"kind": "quality", "at_least": floor}])


def without_quality(candidate: Candidate) -> Candidate:
    """The same candidate, whose quality nobody measured."""
    return candidate.replace(
        outcomes=None, quality_inputs_digest="", benchmark_keys=candidate.benchmark_keys[1:]
    )


@pytest.fixture(scope="session")
def blind(field: list[Candidate]) -> Decision:
    """Ranked by speed alone; no quality was measured. One of them is in production."""
    made = DecisionSettings.model_validate({"resamples": 400, "objective": {"kind": "fastest"}})
    keys = field[0].benchmark_keys[1:]
    production = Production(model="m", version="3", benchmark_keys=keys, reason="")
    return decide([without_quality(each) for each in field], made, production=production)


@pytest.fixture(scope="session")
def mixed(field: list[Candidate]) -> Decision:
    """Ranked by speed alone; the quality of the fastest and of another one was not measured."""
    candidates = [without_quality(each) if n in {2, 5} else each for n, each in enumerate(field)]
    return make_decision(candidates, objective={"kind": "fastest"})


@pytest.fixture(scope="session")
def alone(field: list[Candidate]) -> Decision:
    """One candidate."""
    return make_decision(field[:1])


@pytest.fixture(scope="session")
def crowd() -> Decision:
    """Forty candidates: ten backbones on four runtimes."""
    return make_decision(
        [
            make_candidate(f"backbone-{n}", f"runtime-{m}", 0.5 + 0.04 * n, 2.0 * 1.5**n * (1 + m))
            for n in range(10)
            for m in range(4)
        ]
    )


@pytest.fixture(scope="session")
def errors() -> Decision:
    """Regressions by their RMSE, of which less is better; the closest one wins."""
    targets = np.random.default_rng(1).normal(0, 30, N_DOCUMENTS)
    candidates = [
        make_candidate(
            name,
            "torch-fp32",
            0.5,
            ms,
            task=TextRegression(),
            outcomes=predict_numbers(targets + error * _noise(name), targets),
        )
        for name, error, ms in (("close", 9.0, 8.8), ("nearer", 10.5, 7.9), ("far-off", 30.0, 3.1))
    ]
    return make_decision(
        candidates,
        metric="rmse",
        objective={"kind": "weighted", "weights": {"quality": 0.8, "latency": 0.2}},
        constraints=[
            {"kind": "quality", "at_most": 20},
            {"kind": "quality_drop", "against": "reference", "at_most": 4},
        ],
    )


@pytest.fixture(scope="session")
def decision() -> Decision:
    """Three backbones, two runtimes, a winner."""
    return make_decision(
        objective={"kind": "weighted", "weights": {"quality": 0.9, "latency": 0.1}},
        constraints=[
            {"kind": "latency", "batch_size": 1, "quantile": 0.95, "at_most_ms": 12},
            {"kind": "quality", "at_least": 0.78},
        ],
    )
