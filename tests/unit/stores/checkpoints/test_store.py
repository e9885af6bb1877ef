"""Acquiring a checkpoint: once, whole, and only what the refit logged."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.records import Champion
from bakeoff.disk.digest import digest_folder
from bakeoff.disk.folders import COMPLETE_MARKER, build_folder, find_whole
from bakeoff.errors import BakeoffError, CheckpointError, StorageError, TrackingError
from bakeoff.stores.checkpoints import CheckpointStore

RUN_ID, OTHER_RUN_ID = "a" * 32, "b" * 32
ACQUIRER = Path(__file__).with_name("acquirer.py")
N_PROCESSES = 4


def make_champion(**changes: Any) -> Champion:
    values: dict[str, Any] = {
        "backbone": "minilm-l6",
        "run_id": RUN_ID,
        "trial_run_id": "7" * 32,
        "refit_run_id": RUN_ID,
        "sweep_run_id": "5" * 32,
        "study_key_hash": "1" * 64,
        "trial_key_hash": "2" * 64,
        "metric": 0.9,
        "metric_name": "f1",
        "stable_score": 0.9,
        "fold_metrics": (),
        "schema_version": "2.0",
        "data_fingerprint": "d" * 64,
        "eval_fingerprint": "e" * 64,
        "experiment_id": "1",
        "experiment_name": "sweep",
    }
    return Champion(**values | changes)


class Shelf:
    """Artifacts in a folder; handing one out is copying it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_downloads = 0

    def download(self, run_id: str, artifact: str, destination: Path) -> Path:
        del run_id
        self.n_downloads += 1
        source, target = self.folder / artifact, destination / artifact
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_file():
            shutil.copy(source, target)
        for path in sorted(source.rglob("*")):
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink() or path.is_file():
                shutil.copy(path, copy, follow_symlinks=False)
        return target


@pytest.fixture
def shelf(tmp_path: Path, make_checkpoint: Callable[..., Path]) -> Shelf:
    folder = tmp_path / "shelf"
    make_checkpoint(folder / "checkpoint")
    with tarfile.open(folder / "best_trial_checkpoint.tar.gz", "w:gz") as tar:
        tar.add(folder / "checkpoint", arcname="best_trial/checkpoint")
        tar.add(folder / "checkpoint" / "tokenizer.json", arcname="best_trial/metrics.json")
    return Shelf(folder)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(cache: Path) -> CheckpointStore:
    return CheckpointStore(cache)


def picture(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but locks, which hold nothing, and markers, which hold the time of a look."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.name != COMPLETE_MARKER
    }


def asides(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if ".aside-" in path.name]


@pytest.mark.parametrize("artifact", ["checkpoint", "best_trial_checkpoint.tar.gz"])
def test_folder_and_archive_give_the_checkpoint_alone_and_are_fetched_once(
    store: CheckpointStore, shelf: Shelf, artifact: str
) -> None:
    champion = make_champion(
        checkpoint_artifact=artifact, checkpoint_digest=digest_folder(shelf.folder / "checkpoint")
    )
    first = store.acquire(champion, shelf.download)
    assert picture(first) == picture(shelf.folder / "checkpoint")
    assert sorted(path.name for path in first.parent.iterdir()) == [COMPLETE_MARKER, "checkpoint"]
    assert store.acquire(champion, shelf.download) == first
    assert shelf.n_downloads == 1


def test_a_checkpoint_deeper_in_a_folder_artifact_is_found(store: CheckpointStore, shelf: Shelf) -> None:
    (shelf.folder / "model" / "artifacts").mkdir(parents=True)
    shutil.copytree(shelf.folder / "checkpoint", shelf.folder / "model" / "artifacts" / "checkpoint-12")
    found = store.acquire(make_champion(checkpoint_artifact="model/artifacts"), shelf.download)
    assert picture(found) == picture(shelf.folder / "checkpoint")


def test_two_artifacts_of_one_run_do_not_answer_for_each_other(
    store: CheckpointStore, shelf: Shelf, make_checkpoint: Callable[..., Path]
) -> None:
    make_checkpoint(shelf.folder / "other", model_type="roberta")
    first = store.acquire(make_champion(), shelf.download)
    second = store.acquire(make_champion(checkpoint_artifact="other"), shelf.download)
    assert digest_folder(first) != digest_folder(second)
    assert picture(store.acquire(make_champion(), shelf.download)) == picture(shelf.folder / "checkpoint")


def test_another_content_than_the_refit_recorded_is_refused_and_nothing_is_kept(
    store: CheckpointStore, shelf: Shelf, cache: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"'checkpoint' of run a+: .* the refit recorded 000000000000"):
        store.acquire(make_champion(checkpoint_digest="0" * 64), shelf.download)
    assert picture(cache) == {}


def test_a_sound_cache_that_is_not_what_is_asked_for_stays_when_the_artifact_is_not_either(
    store: CheckpointStore, shelf: Shelf, cache: Path
) -> None:
    store.acquire(make_champion(), shelf.download)
    before = picture(cache)
    with pytest.raises(CheckpointError, match="the refit recorded 000000000000"):
        store.acquire(make_champion(checkpoint_digest="0" * 64), shelf.download)
    assert picture(cache) == before


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("fault", ["flipped", "cut", "deleted", "added"])
def test_a_poisoned_cache_is_noticed_said_and_fetched_again_with_and_without_a_recorded_digest(
    cache: Path, shelf: Shelf, recorded: bool, name: str, fault: str
) -> None:
    said: list[str] = []
    store = CheckpointStore(cache, warn=said.append)
    digest = digest_folder(shelf.folder / "checkpoint") if recorded else None
    champion = make_champion(checkpoint_digest=digest)
    path = store.acquire(champion, shelf.download) / name
    data = path.read_bytes()
    match fault:
        case "flipped":
            path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        case "cut":
            path.write_bytes(data[:-1])
        case "deleted":
            path.unlink()
        case _:
            path.with_name(f"{name}.extra").write_bytes(b"")
    again = store.acquire(champion, shelf.download)
    assert picture(again) == picture(shelf.folder / "checkpoint")
    assert shelf.n_downloads == 2
    assert any("the cached copy has changed" in line for line in said)


def test_the_digest_of_an_older_writers_checkpoint_is_known_once_it_was_acquired(
    store: CheckpointStore, shelf: Shelf
) -> None:
    champion = make_champion()
    assert store.find_digest(champion) is None
    found = store.acquire(champion, shelf.download)
    assert store.find_digest(champion) == digest_folder(found)
    assert shelf.n_downloads == 1


def test_an_identified_champion_is_held_to_the_digest_that_its_plan_was_made_with(
    store: CheckpointStore, shelf: Shelf, make_checkpoint: Callable[..., Path]
) -> None:
    champion = store.identify(make_champion(), shelf.download)
    assert champion.checkpoint_digest == digest_folder(shelf.folder / "checkpoint")
    assert store.identify(champion, shelf.download) == champion
    assert shelf.n_downloads == 1
    shutil.rmtree(store.folder)
    make_checkpoint(shelf.folder / "checkpoint", model_type="roberta")
    with pytest.raises(CheckpointError, match="the refit recorded"):
        store.acquire(champion, shelf.download)


def test_a_given_folder_is_used_as_it_is_and_checked_against_the_recorded_digest(
    store: CheckpointStore, shelf: Shelf
) -> None:
    given = shelf.folder / "checkpoint"
    champion = make_champion(checkpoint_path=given)
    assert store.acquire(champion, shelf.download) == given
    assert store.find_digest(champion) == digest_folder(given)
    assert (shelf.n_downloads, sorted(path.name for path in given.iterdir())) == (
        0,
        ["config.json", "model.safetensors", "tokenizer.json"],
    )
    with pytest.raises(CheckpointError, match="the refit recorded 000000000000"):
        store.acquire(champion.model_copy(update={"checkpoint_digest": "0" * 64}), shelf.download)


def test_a_given_folder_that_is_not_there_is_no_empty_one(store: CheckpointStore, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        digest_folder(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="no such folder"):
        store.find_digest(make_champion(checkpoint_path=tmp_path / "nothing"))


@pytest.mark.parametrize("kind", ["link", "pipe", "folder-link"])
def test_a_given_folder_with_links_or_special_files_is_refused(
    store: CheckpointStore, shelf: Shelf, tmp_path: Path, kind: str
) -> None:
    given = shelf.folder / "checkpoint"
    match kind:
        case "link":
            (given / "vocab.txt").symlink_to("/etc/passwd")
        case "folder-link":
            (given / "sub").symlink_to(tmp_path)
        case _:
            os.mkfifo(given / "pipe")
    with pytest.raises(CheckpointError, match=r"is a symbolic link|is neither file nor folder"):
        store.acquire(make_champion(checkpoint_path=given), shelf.download)


@pytest.mark.parametrize(
    "run_id", ["", ".", "..", "../../etc", "/etc/passwd", "a" * 31, "A" * 32, "a" * 32 + "\n"]
)
def test_a_run_id_that_is_none_never_becomes_a_path(
    store: CheckpointStore, shelf: Shelf, run_id: str
) -> None:
    champion = make_champion(refit_run_id=run_id)
    for ask in (lambda: store.acquire(champion, shelf.download), lambda: store.find_digest(champion)):
        with pytest.raises(CheckpointError, match=r"the refit run id .* is not an MLflow run id") as caught:
            ask()
        assert "\n" not in str(caught.value)
    assert shelf.n_downloads == 0
    assert not store.folder.exists()


@pytest.mark.parametrize(
    "artifact",
    ["", "/etc/passwd", "../x", "a/../../x", "%2e%2e/x", "a\\..\\x", "a\nb", "check\u200bpoint", "a//b"],
)
def test_an_artifact_name_that_could_lead_elsewhere_is_refused(
    store: CheckpointStore, shelf: Shelf, artifact: str
) -> None:
    with pytest.raises(CheckpointError, match="unsafe artifact name") as caught:
        store.acquire(make_champion(checkpoint_artifact=artifact), shelf.download)
    assert str(caught.value).isprintable()
    assert shelf.n_downloads == 0


def put_link(folder: Path) -> None:
    (folder / "vocab.txt").symlink_to("/etc/passwd")


def put_twin(folder: Path) -> None:
    (folder / "CONFIG.json").touch()


def put_invisible(folder: Path) -> None:
    (folder / "vocab\u202e.txt").touch()


def put_bytes(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).touch()


def put_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def remove_config(folder: Path) -> None:
    (folder / "config.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (put_link, "is a symbolic link"),
        (put_twin, "differ only in case or Unicode form"),
        (put_invisible, "invisible character"),
        (put_bytes, "is not UTF-8"),
        (put_pickle, r"pytorch_model\.bin, which is pickled and never loaded"),
        (remove_config, r"no folder holds config\.json"),
    ],
)
def test_a_hostile_or_broken_artifact_is_refused_by_its_name_and_the_cache_stays_as_it_was(
    store: CheckpointStore, shelf: Shelf, cache: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    store.acquire(make_champion(), shelf.download)
    before = picture(cache)
    spoil(shelf.folder / "checkpoint")
    other = make_champion(refit_run_id=OTHER_RUN_ID)
    with pytest.raises(CheckpointError, match=reason) as caught:
        store.acquire(other, shelf.download)
    assert str(caught.value).startswith(f"checkpoint 'checkpoint' of run {OTHER_RUN_ID}: ")
    assert picture(cache) == before
    assert asides(cache) == []


@pytest.mark.parametrize(
    "hostile",
    [
        ("../../../escaped", tarfile.REGTYPE, ""),
        ("/tmp/escaped", tarfile.REGTYPE, ""),
        ("checkpoint/vocab.txt", tarfile.SYMTYPE, "/etc/passwd"),
        ("checkpoint/vocab.txt", tarfile.LNKTYPE, "checkpoint/config.json"),
        ("checkpoint/CONFIG.json", tarfile.REGTYPE, ""),
        ("checkpoint/pipe", tarfile.FIFOTYPE, ""),
        ("fold1/config.json", tarfile.REGTYPE, ""),
    ],
)
def test_a_hostile_archive_changes_neither_the_cache_nor_anything_around_it(
    store: CheckpointStore, shelf: Shelf, tmp_path: Path, hostile: tuple[str, bytes, str]
) -> None:
    store.acquire(make_champion(), shelf.download)
    with tarfile.open(shelf.folder / "hostile.tar.gz", "w:gz") as tar:
        tar.add(shelf.folder / "checkpoint", arcname="checkpoint")
        member = tarfile.TarInfo(hostile[0])
        _, member.type, member.linkname = hostile
        tar.addfile(member)
    before = picture(tmp_path)
    with pytest.raises(CheckpointError, match=r"^checkpoint 'hostile\.tar\.gz' of run b+: ") as caught:
        store.acquire(
            make_champion(refit_run_id=OTHER_RUN_ID, checkpoint_artifact="hostile.tar.gz"), shelf.download
        )
    assert "\n" not in str(caught.value)
    assert picture(tmp_path) == before
    assert asides(store.folder) == []


def test_an_artifact_that_the_run_does_not_hold_is_named(store: CheckpointStore, shelf: Shelf) -> None:
    with pytest.raises(CheckpointError, match=r"'nothing' of run a+: the run holds no such artifact"):
        store.acquire(make_champion(checkpoint_artifact="nothing"), shelf.download)


def test_an_outage_while_downloading_leaves_nothing(store: CheckpointStore, cache: Path) -> None:
    def fail(run_id: str, artifact: str, destination: Path) -> Path:
        (destination / artifact).mkdir()
        raise TrackingError("http://example.org", action="downloading", found="connection reset")

    with pytest.raises(TrackingError, match="connection reset"):
        store.acquire(make_champion(), fail)
    assert picture(cache) == {}
    assert asides(cache) == []


def test_a_prepared_export_that_changed_is_not_whole(store: CheckpointStore) -> None:
    prepared = store.prepared_folder("3" * 64, {"format": "onnx"})

    def export(aside: Path) -> None:
        (aside / "model.onnx").write_bytes(b"model")

    build_folder(prepared, export)
    assert find_whole(prepared, rehash=True) is not None
    (prepared / "model.onnx").write_bytes(b"mOdel")
    assert find_whole(prepared, rehash=True) is None


# Processes ---------------------------------------------------------------------------------------------


def start(
    cache: Path, shelf: Shelf, log: Path, go_on: Path = Path("/"), **changes: Any
) -> subprocess.Popen[str]:
    champion = make_champion(**changes).model_dump_json()
    words = [str(cache), champion, str(shelf.folder / "checkpoint"), str(log), str(go_on)]
    return subprocess.Popen([sys.executable, str(ACQUIRER), *words], stdout=subprocess.PIPE, text=True)


def wait_for_line(log: Path, count: int = 1) -> None:
    while not log.exists() or len(log.read_text(encoding="utf-8").splitlines()) < count:
        time.sleep(0.01)


def test_processes_that_want_one_checkpoint_fetch_it_once(cache: Path, shelf: Shelf, tmp_path: Path) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go-on"
    processes = [start(cache, shelf, log, go_on) for _ in range(N_PROCESSES)]
    wait_for_line(log)
    wait_for_line(tmp_path / "log.came", N_PROCESSES)
    go_on.touch()
    answers = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * N_PROCESSES
    (answer,) = answers
    assert picture(Path(answer.strip())) == picture(shelf.folder / "checkpoint")
    assert log.read_text(encoding="utf-8").splitlines() == [f"{RUN_ID} checkpoint"]


def test_threads_that_want_one_checkpoint_fetch_it_once(store: CheckpointStore, shelf: Shelf) -> None:
    barrier = threading.Barrier(8)

    def acquire() -> Path:
        barrier.wait()
        return store.acquire(make_champion(), shelf.download)

    with ThreadPoolExecutor(8) as pool:
        found = {future.result() for future in [pool.submit(acquire) for _ in range(8)]}
    assert len(found) == 1
    assert shelf.n_downloads == 1


def test_a_holder_killed_midway_leaves_nothing_that_counts_and_the_waiting_one_acquires(
    cache: Path, shelf: Shelf, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    holder = start(cache, shelf, log, tmp_path / "never")
    wait_for_line(log)
    waiting = start(cache, shelf, log)
    assert len(asides(cache)) == 1
    holder.kill()
    holder.wait()
    answer, _ = waiting.communicate()
    assert picture(Path(answer.strip())) == picture(shelf.folder / "checkpoint")
    assert log.read_text(encoding="utf-8").splitlines() == [f"{RUN_ID} checkpoint"] * 2
    assert asides(cache) == []


def test_what_dead_builders_left_is_removed_and_what_living_ones_build_is_not(
    cache: Path, shelf: Shelf, tmp_path: Path, store: CheckpointStore
) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go-on"
    living = start(cache, shelf, log, go_on, refit_run_id=OTHER_RUN_ID)
    wait_for_line(log)
    dead = start(cache, shelf, log, tmp_path / "never", refit_run_id="d" * 32)
    wait_for_line(log, 2)
    dead.kill()
    dead.wait()
    assert len(asides(cache)) == 2
    store.acquire(make_champion(), shelf.download)
    (left,) = asides(cache)
    assert left.name.startswith(f".{OTHER_RUN_ID}.")
    go_on.touch()
    answer, _ = living.communicate()
    assert living.returncode == 0
    assert picture(Path(answer.strip())) == picture(shelf.folder / "checkpoint")


@pytest.mark.slow
def test_killed_at_any_moment_the_cache_is_whole_or_does_not_count(
    cache: Path, shelf: Shelf, tmp_path: Path, make_checkpoint: Callable[..., Path]
) -> None:
    make_checkpoint(shelf.folder / "checkpoint", {"w": bytes(8_000_000)})
    champion = make_champion()
    folder = cache / "checkpoints" / RUN_ID
    for step in range(8):
        shutil.rmtree(folder, ignore_errors=True)
        log = tmp_path / f"log-{step}"
        process = start(cache, shelf, log)
        wait_for_line(log)
        time.sleep(step * 0.01)  # from the first copied file to after the marker
        process.kill()
        process.wait()
        if find_whole(folder, rehash=True) is not None:
            assert picture(folder / "checkpoint") == picture(shelf.folder / "checkpoint")
        found = CheckpointStore(cache).acquire(champion, shelf.download)
        assert picture(found) == picture(shelf.folder / "checkpoint")
        assert asides(cache) == []


# The world ---------------------------------------------------------------------------------------------


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.parametrize("artifact", ["checkpoint", "best_trial_checkpoint.tar.gz"])
def test_a_full_disk_is_named_with_its_fix_and_leaves_nothing_half_made(
    tmp_path: Path, shelf: Shelf, make_checkpoint: Callable[..., Path], artifact: str
) -> None:
    make_checkpoint(shelf.folder / "checkpoint", {"w": bytes(2**21)})
    with tarfile.open(shelf.folder / "best_trial_checkpoint.tar.gz", "w:gz") as tar:
        tar.add(shelf.folder / "checkpoint", arcname="checkpoint")
    champion = make_champion(checkpoint_artifact=artifact)
    with mounted(tmp_path / "disk", "size=1m") as disk:
        store = CheckpointStore(disk / "cache")
        with pytest.raises(StorageError, match=r"No space left on device.*free some space there") as caught:
            store.acquire(champion, shelf.download)
        assert caught.value.exit_code == 5
        assert picture(disk) == {}
        assert asides(disk) == []
        remount(disk, "size=8m")
        assert picture(store.acquire(champion, shelf.download)) == picture(shelf.folder / "checkpoint")


def test_a_full_disk_of_which_only_the_tracking_client_tells_is_still_named(store: CheckpointStore) -> None:
    def fail(run_id: str, artifact: str, destination: Path) -> Path:
        told = RuntimeError(f"##### File {artifact} #####\n[Errno {errno.ENOSPC}] No space left on device")
        raise TrackingError("http://example.org", action="downloading", found="failures") from told

    with pytest.raises(StorageError, match="downloading a checkpoint failed: No space left on device"):
        store.acquire(make_champion(), fail)


def test_a_limit_on_file_sizes_is_named_and_leaves_nothing(
    cache: Path, shelf: Shelf, tmp_path: Path, make_checkpoint: Callable[..., Path]
) -> None:
    make_checkpoint(shelf.folder / "checkpoint", {"w": bytes(2**20)})
    words = [
        str(cache),
        make_champion().model_dump_json(),
        str(shelf.folder / "checkpoint"),
        str(tmp_path / "log"),
    ]
    program = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000));"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(ACQUIRER), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "StorageError" in done.stderr.splitlines()[-1]
    assert "File too large" in done.stderr.splitlines()[-1]
    assert picture(cache) == {}
    assert asides(cache) == []


def test_a_read_only_cache_serves_what_it_holds_and_says_so_when_it_does_not(
    tmp_path: Path, shelf: Shelf
) -> None:
    champion, other = make_champion(), make_champion(refit_run_id=OTHER_RUN_ID)
    with mounted(tmp_path / "disk", "size=8m") as disk:
        store = CheckpointStore(disk / "cache")
        found = store.acquire(champion, shelf.download)
        remount(disk, "ro")
        assert store.acquire(champion, shelf.download) == found
        assert store.find_digest(champion) == digest_folder(found)
        with pytest.raises(
            StorageError, match=r"Read-only file system.*make it readable and writable"
        ) as caught:
            store.acquire(other, shelf.download)
        assert isinstance(caught.value, BakeoffError)
        assert shelf.n_downloads == 1


def test_a_cache_folder_that_is_a_file_is_named(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / "cache").write_bytes(b"not a folder")
    with pytest.raises(StorageError, match="Not a directory"):
        CheckpointStore(tmp_path / "cache").acquire(make_champion(), shelf.download)
    assert (tmp_path / "cache").read_bytes() == b"not a folder"
