"""Costs of real processes: told, logged, written, decided on; and the most that a model takes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bakeoff.core.config.data import DataSettings
from bakeoff.core.records import Measurement
from bakeoff.errors import CheckpointError
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.model.tokenizer import Encoder
from bakeoff.measure.tasks import TokenClassification
from bakeoff.orchestrator import Project, bench, decide, open_project, sweep
from bakeoff.run.machine.hardware import detect_hardware
from bakeoff.run.training.hugging_face import HuggingFaceTrainer
from bakeoff.run.training.trainer import TrainingOrder
from bakeoff.stores.documents import read_documents

Reopen = Callable[..., Project]


def test_a_decision_says_what_each_candidate_takes_and_what_a_million_documents_cost(reopen: Reopen) -> None:
    decision = decide(reopen("decision.price_per_hour=3.6"))
    for standing in decision.standings:
        costs = standing.costs
        assert costs is not None
        assert costs.memory_run_bytes is not None
        assert costs.memory_peak_bytes is not None
        assert 0 < costs.memory_run_bytes.value < costs.memory_peak_bytes.value
        assert costs.model_size_bytes
        assert costs.load_ms
        assert costs.import_ms
        assert sorted(costs.first_call_ms) == [1, 2]
        assert costs.cost_per_million
        assert costs.cost_per_million_served is None
        assert costs.absent["cost_per_million_served"] == "no server scenario was measured"


def test_constraints_on_memory_decide_who_may_win(reopen: Reopen) -> None:
    def outcome(bytes_: int) -> str:
        limit = f"decision.constraints=[{{kind: memory, at_most_bytes: {bytes_}}}]"
        return decide(reopen(limit)).outcome

    assert (outcome(2**50), outcome(1)) == ("winner", "none")


@pytest.mark.slow
def test_what_a_measurement_cost_is_logged_under_names_that_end_in_units(reopen: Reopen) -> None:
    project = reopen(
        "benchmark.runtimes=[{kind: noop}]",
        "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}, {kind: throughput, batch_size: 4}, "
        "{kind: server, limit_ms: 60000, n_queries: 473}]",
    )
    result = bench(project)
    assert result.failed == ()
    experiment_id = project.tracker.ensure_experiment("benchmark")
    runs = project.tracker.search_runs(experiment_id, {"bakeoff.runtime": "noop"})
    logged = {run.data.tags["bakeoff.scenario"]: run.data.metrics for run in runs}
    latency = logged["latency"]
    names = {"memory_run_bytes", "memory_peak_bytes", "model_size_bytes", "load_ms", "import_ms"}
    assert names <= set(latency)
    assert {"first_call_ms.batch_1", "warmup_ms.batch_1", "tokenize_p50_ms"} <= set(latency)
    assert logged["throughput"]["documents_per_s"] > 0
    served = logged["server"]
    assert 0 < served["response_p50_ms"] <= served["response_p99_ms"]
    assert served["max_rate_per_s"] > 0
    document = json.loads(result.result_files["tiny"].read_text())
    assert (
        document["runtimes"]["noop"]["costs"]["documents_per_s"]["value"]
        == (logged["throughput"]["documents_per_s"])
    )


def test_every_candidate_of_a_heat_with_unlike_threads_is_flagged(reopen: Reopen) -> None:
    project = reopen(
        "benchmark.runtimes=[{kind: noop, threads: 1}, {kind: noop, threads: 2}]",
        "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]",
    )
    measured = bench(project).measured
    assert len(measured) == 2
    for measurement in measured:
        assert measurement.heat is not None
        assert measurement.heat.threads == (1, 2)
        assert "asym_threads" in {flag.name for flag in measurement.flags}


USABLE_CPUS = detect_hardware().usable_cpus


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot choose a CPU")
@pytest.mark.skipif(USABLE_CPUS < 2, reason="one CPU")
@pytest.mark.parametrize("threads", [1, USABLE_CPUS])
def test_hand_overs_are_read_before_each_round_where_a_candidate_has_a_thread_for_every_cpu(
    reopen: Reopen, threads: int
) -> None:
    runtimes = ", ".join(f"{{kind: noop, threads: {each}}}" for each in sorted({1, threads}))
    project = reopen(
        f"benchmark.runtimes=[{runtimes}]", "benchmark.scenarios=[{kind: latency, batch_sizes: [1]}]"
    )
    (heat, *_) = (each.heat for each in bench(project).measured)
    assert heat is not None
    if threads == USABLE_CPUS:
        assert len(heat.core_to_core_ns) >= heat.repeats
        assert min(heat.core_to_core_ns) > 0
    else:
        assert heat.core_to_core_ns == ()


@pytest.mark.slow
def test_texts_beyond_the_maximum_of_the_model_are_cut_counted_and_told(
    reopen: Reopen, project_folder: Path
) -> None:
    lengthen(project_folder / "data" / "test.jsonl")
    project = reopen(
        "data.max_length=512",
        "benchmark.runtimes=[{kind: onnxruntime}, {kind: openvino}]",
        "benchmark.scenarios=[{kind: quality}]",
    )
    result = bench(project)
    assert result.failed == ()
    for measurement in result.measured:
        assert truncated(measurement) == "1 document longer than 64 tokens, the maximum of this model"


def test_training_cuts_at_the_maximum_of_the_backbone(tiny_backbone: Path, project_folder: Path) -> None:
    lengthen(project_folder / "data" / "train.jsonl")
    documents = read_documents(project_folder / "data" / "train.jsonl", DataSettings(train="", test=""))
    outcome = HuggingFaceTrainer().train(
        TrainingOrder(
            pretrained=tiny_backbone,
            labels=TokenClassification().list_labels(documents),
            train=documents,
            evaluation=documents[:2],
            hyper_parameters={"epochs": 1},
            max_length=512,
            seed=0,
        )
    )
    assert (outcome.token_limit, outcome.n_truncated) == (64, 2)  # it is the first, and judged too


def test_a_sweep_says_how_many_training_texts_the_backbone_could_not_hold(
    tiny_backbone: Path,
    make_project: Callable[..., Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = make_project(tmp_path, {"tiny": tiny_backbone}, {"data": {"max_length": 512}})
    lengthen(tmp_path / "data" / "train.jsonl")
    small = ("hpo.n_trials=1", "hpo.search_examples=8", "hpo.training.epochs=1")
    (result,) = sweep(open_project(config, small))
    assert result.failure is None
    assert "tiny: 1 of 72 documents cut at 64 tokens; the model does not see the rest" in caplog.messages


def test_a_roberta_takes_as_many_tokens_as_its_encoder_lets_through_and_not_one_more(
    champion_copy: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import RobertaConfig, RobertaForTokenClassification

    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    model = RobertaForTokenClassification(
        RobertaConfig(vocab_size=4000, max_position_embeddings=34, num_labels=3, **shape)
    )
    model.save_pretrained(tmp_path, safe_serialization=True)
    shutil.copyfile(champion_copy / "tokenizer.json", tmp_path / "tokenizer.json")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.max_positions == 32
    encoding = Encoder(checkpoint, 512).encode(["word"] * 100)
    assert (len(encoding.ids), encoding.is_truncated) == (32, True)
    with torch.inference_mode():
        model(input_ids=torch.full((1, 32), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, 33), 5))


def test_a_maximum_that_cannot_be_one_is_refused(champion_copy: Path) -> None:
    path = champion_copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"max_position_embeddings": "all"}))
    with pytest.raises(CheckpointError, match="has the max_position_embeddings 'all'"):
        open_checkpoint(champion_copy)


def lengthen(path: Path) -> None:
    """Make the first document of a file longer than the tiny model takes."""
    first, *others = path.read_text(encoding="utf-8").splitlines()
    document = json.loads(first)
    extra = 80
    document["tokens"] += ["the"] * extra
    document["ner_tags"] += ["O"] * extra
    path.write_text("\n".join([json.dumps(document), *others]) + "\n", encoding="utf-8")


def truncated(measurement: Measurement) -> str:
    (detail,) = (flag.detail for flag in measurement.flags if flag.name == "truncated")
    return detail


@pytest.mark.slow
def test_every_measurement_has_the_calibration_loop_and_the_cost_of_the_instrument(
    reopen: Reopen, quiet_machine: None
) -> None:
    project = reopen(
        "benchmark.runtimes=[{kind: noop}]",
        "benchmark.scenarios=[{kind: quality}, {kind: latency, batch_sizes: [1]}, "
        "{kind: server, limit_ms: 50, n_queries: 473, batch_max: 3, precision: 0.5}]",
    )
    measured = {each.job.scenario.kind: each for each in bench(project).measured}
    assert sorted(measured) == ["latency", "quality", "server"]
    for measurement in measured.values():
        repeats = {0} if measurement.job.scenario.kind == "quality" else {0, 1}
        for quantity in ("calibration", "overhead"):
            (reading,) = (each for each in measurement.readings if each.quantity == quantity)
            assert set(reading.repeats) >= repeats  # a heat replaces a repeat that was disturbed
            assert all(value > 0 for value in reading.values)
    (trials,) = (each for each in measured["server"].readings if each.quantity == "probed_rate")
    assert all(ns > 0 for ns in trials.columns["awake_ns"])
    (rate,) = (each for each in measured["server"].readings if each.quantity == "max_rate")
    assert all(value > 0 for value in rate.values)
