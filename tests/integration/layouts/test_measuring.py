"""A champion of another program's sweep is measured like one of ours."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from bakeoff.core.records import Champion
from bakeoff.disk.digest import digest_folder
from bakeoff.orchestrator import bench, decide, plan, select_champions

from .conftest import ARCHIVE, Store, write_code_sweep

SCENARIOS = [{"kind": "quality"}, {"kind": "latency", "batch_sizes": [1]}]
PROTOCOL = {
    "processes": 1,
    "rounds": 3,
    "block_s": 0.001,
    "max_calls": 5,
    "warmup_min_s": 0,
    "warmup_max_s": 0.1,
}


def pack(store: Store, run_id: str, checkpoint: Path, folder: str | None = None) -> None:
    """Log a checkpoint as an archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(checkpoint, arcname="trial_2/checkpoint")
    store.log_file(run_id, "trial_2.tar.gz" if folder else ARCHIVE, packed.getvalue(), folder)


@pytest.mark.slow
def test_a_foreign_champion_is_planned_measured_reused_and_decided_on_like_one_of_ours(
    store: Store, shipped: Path, champion: Champion
) -> None:
    optuna = dict.fromkeys(("number", "datetime_start", "datetime_complete"), "0")
    tags = {**optuna, "state": "COMPLETE", "direction": "MAXIMIZE", "backbone": "tiny"}
    runs = [store.run(tags, metrics={"accuracy": 0.5 + n / 10}) for n in range(3)]
    assert champion.checkpoint_path is not None
    store.client.log_artifacts(runs[2], str(champion.checkpoint_path), "checkpoint")
    shutil.copyfile(shipped / "data" / "test.jsonl", store.folder / "test.jsonl")
    project = store.project(
        "optuna",
        {"tiny": {}},
        hpo={"objective": {"metric": "accuracy"}},
        data={"max_length": 32},
        benchmark={
            "runtimes": [{"kind": "onnxruntime", "threads": 1}],
            "scenarios": SCENARIOS,
            "protocol": PROTOCOL,
            "accept_contended": True,
        },
    )
    assert [planned.action for planned in plan(project).jobs] == ["measure"] * 2
    result = bench(project)
    assert (len(result.measured), result.failed) == (2, ())
    assert not [flag for row in result.measured for flag in row.flags if flag.invalidates]
    assert json.loads(result.result_files["tiny"].read_text())["batch_1"]["median_ms"] > 0
    assert [planned.action for planned in plan(project).jobs] == ["reuse"] * 2
    experiment_id = project.tracker.find_experiment("bakeoff-benchmark")
    assert experiment_id is not None
    logged = store.client.search_runs([experiment_id], "tags.`bakeoff.stage` = 'benchmark'")
    assert {run.data.tags["bakeoff.lineage.refit_run_id"] for run in logged} == {runs[2]}
    assert [standing.champion_run_id for standing in decide(project).standings] == [runs[2]]


@pytest.mark.parametrize("folder", [None, ARCHIVE])
def test_an_archived_checkpoint_is_acquired_whichever_way_it_was_logged(
    store: Store, champion: Champion, folder: str | None
) -> None:
    """``log_artifact(archive, NAME)`` makes a folder of that name around the archive."""
    sweep = write_code_sweep(store, (0.7, 0.8, 0.9), refit_of=2, is_archived=False)
    assert sweep.refit is not None
    assert champion.checkpoint_path is not None
    pack(store, sweep.refit, champion.checkpoint_path, folder)
    for source in ("tag", "store"):
        project = store.project("code", {"distilbert": {}}, selection={"artifact_check_source": source})
        found = select_champions(project)["distilbert"].champion
        assert found is not None
        assert found.checkpoint_digest is None
        acquired = project.checkpoints.acquire(found, project.tracker.download)
        assert digest_folder(acquired) == champion.checkpoint_digest
