"""Checkpoints in a real tracking store: as a folder, as an archive, in shards, poisoned and out of reach."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.records import Champion
from bakeoff.disk.digest import digest_folder
from bakeoff.disk.folders import build_folder, find_whole
from bakeoff.errors import CheckpointError, StorageError, TrackingError
from bakeoff.measure.backends import OnnxRuntime
from bakeoff.measure.backends.pretrained import load_model
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.tasks.documents import TaggedDocument
from bakeoff.run.measuring.orders import PrepareOrder, run_in_process
from bakeoff.stores.checkpoints import CheckpointStore
from bakeoff.stores.tracking import Tracker
from disks import small_disk
from samples import sample_of

ARCHIVE = "best_trial_checkpoint.tar.gz"
N_PROCESSES = 3
# Counts the downloads of all processes together: each appends a line to one file.
ACQUIRE = """
import sys
from pathlib import Path
from bakeoff.core.records import Champion
from bakeoff.stores.checkpoints import CheckpointStore
from bakeoff.stores.tracking import Tracker

uri, cache, champion, log = sys.argv[1:]
tracker = Tracker(uri)

def download(run_id, artifact, destination):
    with open(log, "a") as file:
        file.write("one\\n")
    return tracker.download(run_id, artifact, destination)

print(CheckpointStore(Path(cache)).acquire(Champion.model_validate_json(champion), download))
"""


@pytest.fixture(scope="module")
def tiny_classifier(tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A token classifier that transformers wrote."""
    from transformers import BertConfig, BertForTokenClassification

    folder = tmp_path_factory.mktemp("tiny") / "classifier"
    config = BertConfig.from_pretrained(tiny_backbone, id2label={0: "O", 1: "B-PER"})
    BertForTokenClassification(config).save_pretrained(folder)
    shutil.copy(tiny_backbone / "tokenizer.json", folder)
    return folder


@pytest.fixture(scope="module")
def tracker(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    folder = tmp_path_factory.mktemp("tracking")
    shutil.copy(empty_store, folder)
    return Tracker(f"sqlite:///{folder}/mlflow.db", (folder / "artifacts").as_uri())


@pytest.fixture(scope="module")
def log_run(tracker: Tracker, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Log a checkpoint folder into a new run, as a folder artifact and as the predecessor's archive."""

    def log(checkpoint: Path) -> str:
        experiment_id = tracker.ensure_experiment("sweep")
        run_id = tracker.create_run(experiment_id, "refit", {}, nonce=os.urandom(8).hex())
        tracker.log_files(run_id, [checkpoint], "checkpoint")
        archive = tmp_path_factory.mktemp("packed") / ARCHIVE
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(checkpoint, arcname="best_trial/checkpoint")
        tracker.log_files(run_id, [archive], "")
        tracker.end_run(run_id, "FINISHED")
        return run_id

    return log


@pytest.fixture(scope="module")
def run_id(log_run: Callable[..., str], tiny_classifier: Path) -> str:
    return log_run(tiny_classifier)


def make_champion(run_id: str, **changes: Any) -> Champion:
    values: dict[str, Any] = {
        "backbone": "tiny",
        "run_id": run_id,
        "trial_run_id": "7" * 32,
        "refit_run_id": run_id,
        "sweep_run_id": "5" * 32,
        "study_key_hash": "1" * 64,
        "trial_key_hash": "2" * 64,
        "metric": 0.9,
        "metric_name": "f1",
        "stable_score": 0.9,
        "fold_metrics": (),
        "schema_version": "1.0",
        "data_fingerprint": "",
        "eval_fingerprint": "",
        "experiment_id": "1",
        "experiment_name": "sweep",
    }
    return Champion(**values | changes)


@pytest.mark.parametrize("artifact", ["checkpoint", ARCHIVE])
def test_what_a_run_holds_as_folder_or_archive_is_acquired_and_loads(
    tracker: Tracker, run_id: str, tiny_classifier: Path, tmp_path: Path, artifact: str
) -> None:
    store = CheckpointStore(tmp_path / "cache")
    champion = make_champion(run_id, checkpoint_artifact=artifact)
    found = store.acquire(champion, tracker.download)
    assert digest_folder(found) == digest_folder(tiny_classifier) == store.find_digest(champion)
    before = tracker.n_requests
    assert store.acquire(champion, tracker.download) == found
    assert tracker.n_requests == before
    assert load_model(open_checkpoint(found)).config.id2label == {0: "O", 1: "B-PER"}


@pytest.mark.parametrize("artifact", ["checkpoint", ARCHIVE])
def test_a_poisoned_cache_is_fetched_from_the_store_again(
    tracker: Tracker, run_id: str, tiny_classifier: Path, tmp_path: Path, artifact: str
) -> None:
    store = CheckpointStore(tmp_path / "cache")
    champion = make_champion(run_id, checkpoint_artifact=artifact)  # no digest was recorded
    weights = store.acquire(champion, tracker.download) / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    status = weights.stat()
    weights.write_bytes(data)
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest_folder(store.acquire(champion, tracker.download)) == digest_folder(tiny_classifier)


def test_processes_fetch_a_checkpoint_from_the_store_once(
    tracker: Tracker, run_id: str, tiny_classifier: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    champion = make_champion(run_id, checkpoint_artifact=ARCHIVE).model_dump_json()
    words = [sys.executable, "-c", ACQUIRE, tracker.uri, str(tmp_path / "cache"), champion, str(log)]
    processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(N_PROCESSES)]
    (answer,) = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * N_PROCESSES
    assert digest_folder(Path(answer)) == digest_folder(tiny_classifier)
    assert log.read_text(encoding="utf-8") == "one\n"


def test_a_checkpoint_in_shards_is_acquired_and_loads_with_every_weight(
    tracker: Tracker, log_run: Callable[..., str], tiny_classifier: Path, tmp_path: Path
) -> None:
    from transformers import BertForTokenClassification

    sharded = tmp_path / "sharded"
    model = BertForTokenClassification.from_pretrained(tiny_classifier)
    model.save_pretrained(sharded, max_shard_size="40KB")
    shutil.copy(tiny_classifier / "tokenizer.json", sharded)
    index = json.loads((sharded / "model.safetensors.index.json").read_text(encoding="utf-8"))
    found = CheckpointStore(tmp_path / "cache").acquire(make_champion(log_run(sharded)), tracker.download)
    checkpoint = open_checkpoint(found)
    assert set(checkpoint.weight_files) == set(index["weight_map"].values())
    assert len(checkpoint.weight_files) > 1
    loaded = load_model(checkpoint).state_dict()
    assert all(loaded[name].equal(tensor) for name, tensor in model.state_dict().items())


def test_pickled_weights_in_the_store_are_refused_with_the_way_to_convert_them(
    tracker: Tracker, log_run: Callable[..., str], tiny_classifier: Path, tmp_path: Path
) -> None:
    import torch

    pickled = Path(shutil.copytree(tiny_classifier, tmp_path / "pickled"))
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    champion = make_champion(log_run(pickled))
    with pytest.raises(CheckpointError, match="pickled and never loaded; convert the weights"):
        CheckpointStore(tmp_path / "cache").acquire(champion, tracker.download)


@pytest.mark.parametrize("artifact", ["nothing", "nothing.tar.gz", "checkpoint/nothing"])
def test_an_artifact_that_the_run_lacks_is_named_at_once_and_leaves_nothing(
    tracker: Tracker, run_id: str, tmp_path: Path, artifact: str
) -> None:
    champion, before = make_champion(run_id, checkpoint_artifact=artifact), tracker.n_requests
    with pytest.raises(CheckpointError, match=f"{artifact}' of run {run_id}: the run holds no such artifact"):
        CheckpointStore(tmp_path / "cache").acquire(champion, tracker.download)
    assert tracker.n_requests == before + 1
    assert [
        path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"
    ] == []


@pytest.mark.parametrize("artifact", ["checkpoint", ARCHIVE])
def test_a_disk_that_fills_up_under_a_download_is_named(
    tracker: Tracker, run_id: str, tmp_path: Path, artifact: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, "size=64k"):
        with pytest.raises(StorageError, match="No space left on device"):
            CheckpointStore(disk / "cache").acquire(
                make_champion(run_id, checkpoint_artifact=artifact), tracker.download
            )
        assert [path for path in disk.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_a_store_that_cannot_be_read_is_an_outage_and_not_a_missing_artifact(
    tracker: Tracker, run_id: str, tmp_path: Path
) -> None:
    store = CheckpointStore(tmp_path / "cache")
    artifacts = Path(tracker.uri.removeprefix("sqlite:///")).with_name("artifacts")
    source = artifacts / "sweep" / run_id / "artifacts" / "checkpoint" / "config.json"
    away = source.with_name("away")
    source.rename(away)
    source.symlink_to(source)  # whoever opens it is told of too many links, as by a broken file server
    try:
        with pytest.raises(TrackingError, match="downloading failed"):
            store.acquire(make_champion(run_id), tracker.download)
    finally:
        source.unlink()
        away.rename(source)
    assert store.find_digest(make_champion(run_id)) is None


def test_an_export_that_changed_on_disk_is_not_taken_and_is_made_again(
    tiny_classifier: Path, tmp_path: Path
) -> None:
    prepared = CheckpointStore(tmp_path).prepared_folder("3" * 64, {"format": "onnx"})
    order = PrepareOrder(
        runtime=OnnxRuntime(threads=1),
        checkpoint=tiny_classifier,
        checkpoint_digest=digest_folder(tiny_classifier),
        destination=prepared,
        max_length=32,
        documents=(TaggedDocument(tokens=("Anna", "lives", "in", "Rome")), TaggedDocument(tokens=("Yes",))),
    )
    checkpoint = open_checkpoint(tiny_classifier)
    sample = sample_of(checkpoint, (("Anna", "lives", "in", "Rome"), ("Yes",)))
    build_folder(prepared, lambda aside: order.runtime.prepare(checkpoint, aside, sample))
    model = prepared / "model.onnx"
    assert find_whole(prepared, rehash=True) is not None
    model.write_bytes(model.read_bytes()[:-1])
    assert find_whole(prepared, rehash=True) is None
    (tmp_path / "work").mkdir()
    run_in_process(order, tmp_path / "work", timeout_s=300)
    assert find_whole(prepared, rehash=True) is not None
    OnnxRuntime(threads=1).load(checkpoint, prepared)


def test_all_artifacts_of_a_run_come_with_their_hidden_folders(tracker: Tracker, tmp_path: Path) -> None:
    run_id = tracker.create_run(tracker.ensure_experiment("sweep"), "hidden", {}, nonce="h" * 16)
    file = tmp_path / "index"
    file.write_text("content", encoding="utf-8")
    tracker.log_files(run_id, [file], ".kept/inner")
    (tmp_path / "fetched").mkdir()
    found = tracker.download(run_id, "", tmp_path / "fetched")
    assert (found / ".kept" / "inner" / "index").read_text(encoding="utf-8") == "content"
