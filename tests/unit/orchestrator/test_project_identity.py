"""Keys of a project are bound to content: what decides a number moves its part of the key, and no other."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.core.job import Job
from bakeoff.core.plan.existing import find_differences
from bakeoff.core.records import Champion
from bakeoff.errors import DataError
from bakeoff.orchestrator import Project, open_project
from bakeoff.orchestrator.plan import build_jobs
from bakeoff.orchestrator.sweep.lead import identify_study
from bakeoff.stores.tracking.recorder import StudyIdentity

WORDS = ("fly", "to", "boston", "from", "denver", "on", "monday", "please")
Row = dict[str, list[str]]
FEW = settings(max_examples=25)


def make_rows(n: int, start: int) -> list[Row]:
    return [
        {
            "tokens": [WORDS[(start + row + word) % len(WORDS)] for word in range(3)],
            "ner_tags": ["O", "B-city", "I-city" if row % 2 else "O"],
        }
        for row in range(n)
    ]


TRAIN, TEST = make_rows(6, 0), make_rows(5, 3)


def write_project(
    folder: Path,
    *,
    train: list[Row] = TRAIN,
    test: list[Row] = TEST,
    weights: bytes = b"weights",
    names: tuple[str, str, str] = ("train.jsonl", "test.jsonl", "backbone"),
) -> Path:
    """A project with its data, a pretrained folder and a checkpoint; returns the folder."""
    for name, rows in zip(names[:2], (train, test), strict=True):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / names[2]).mkdir()
    (folder / names[2] / "model.safetensors").write_bytes(b"pretrained")
    (folder / "checkpoint").mkdir()
    (folder / "checkpoint" / "model.safetensors").write_bytes(weights)
    stages: dict[str, Any] = {
        "data": {"train": names[0], "test": names[1]},
        "hpo": {
            "backbones": {"tiny": {"pretrained": names[2]}},
            "search_space": {"learning_rate": {"kind": "float", "low": 0.001, "high": 0.01}},
        },
        "benchmark": {"n_texts": 3},
    }
    (folder / "bakeoff.yaml").write_text(yaml.safe_dump(stages))
    return folder


def open_in(folder: Path, *overrides: str) -> Project:
    return open_project(folder / "bakeoff.yaml", overrides)


def identity_of(project: Project) -> tuple[StudyIdentity, list[Job]]:
    """The study that a sweep would make, and the jobs of a champion of it whose checkpoint lies here."""
    study = identify_study(project, "tiny")
    champion = Champion(
        backbone="tiny",
        run_id="c" * 32,
        trial_run_id="7" * 32,
        refit_run_id="c" * 32,
        sweep_run_id="5" * 32,
        study_key_hash=study.study_key_hash,
        trial_key_hash="2" * 64,
        metric=0.9,
        metric_name="f1",
        stable_score=0.9,
        fold_metrics=(),
        schema_version="2.0",
        data_fingerprint=study.data_fingerprint,
        eval_fingerprint=study.eval_fingerprint,
        checkpoint_path=project.root / "checkpoint",
        experiment_id="1",
        experiment_name="sweep",
    )
    return study, [asked.job for asked in build_jobs(project, [champion])]


def changed_parts(one: list[Job], other: list[Job]) -> set[str]:
    return {name for a, b in zip(one, other, strict=True) for name in find_differences(a.parts, b.parts)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("base"))


@pytest.fixture
def fresh() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


rows_at = st.integers(0, 4)
words = st.sampled_from(["berlin", "Boston", "bostøn", "x"])


def replace_word(rows: list[Row], row: int, word: str) -> list[Row]:
    changed = [{name: list(values) for name, values in each.items()} for each in rows]
    changed[row]["tokens"][0] = word
    return changed


@FEW
@given(row=rows_at, word=words)
def test_every_word_of_the_training_file_is_in_the_study_and_in_the_benchmark_key(
    base: Path, row: int, word: str
) -> None:
    before, jobs = identity_of(open_in(base))
    with tempfile.TemporaryDirectory() as folder:
        changed = write_project(Path(folder), train=replace_word(TRAIN, row, word))
        after, other = identity_of(open_in(changed))
    assert after.data_fingerprint != before.data_fingerprint
    assert after.study_key_hash != before.study_key_hash
    assert after.eval_fingerprint == before.eval_fingerprint
    assert changed_parts(jobs, other) == {"data_fingerprint"}
    assert {job.key for job in jobs}.isdisjoint(job.key for job in other)


@FEW
@given(row=rows_at, word=words)
def test_every_word_of_the_test_file_is_in_the_key_of_the_jobs_that_read_it(
    base: Path, row: int, word: str
) -> None:
    before, jobs = identity_of(open_in(base))
    with tempfile.TemporaryDirectory() as folder:
        changed = write_project(Path(folder), test=replace_word(TEST, row, word))
        after, other = identity_of(open_in(changed))
    assert after.data_fingerprint != before.data_fingerprint
    assert changed_parts(jobs, other) == {"data_fingerprint", "inputs_digest"}
    for one, another in zip(jobs, other, strict=True):
        if one.scenario.kind == "quality":  # it reads all; a timed job reads a sample
            assert one.inputs_digest != another.inputs_digest


@FEW
@given(place=st.integers(0, 6), byte=st.integers(1, 255))
def test_every_byte_of_the_checkpoint_is_in_the_key(base: Path, place: int, byte: int) -> None:
    _, jobs = identity_of(open_in(base))
    weights = bytearray(b"weights")
    weights[place] ^= byte
    with tempfile.TemporaryDirectory() as folder:
        _, other = identity_of(open_in(write_project(Path(folder), weights=bytes(weights))))
    assert changed_parts(jobs, other) == {"checkpoint_digest"}


@pytest.mark.parametrize(
    ("override", "changes_data", "changes_eval", "parts"),
    [
        ("hpo.folds=3", True, False, {"data_fingerprint"}),
        ("hpo.seed=1", True, False, {"data_fingerprint"}),
        ("hpo.search_examples=4", True, False, {"data_fingerprint"}),
        ("data.max_length=64", False, True, {"eval_fingerprint", "max_length"}),
        ("benchmark.n_texts=4", False, False, {"inputs_digest"}),
        ("benchmark.protocol.seed=1", False, False, {"inputs_digest", "protocol.seed"}),
        ("benchmark.protocol.rounds=3", False, False, {"protocol.rounds"}),
        ("benchmark.scenarios.1.batch_sizes=[1]", False, False, {"scenario.batch_sizes"}),
        ("benchmark.runtimes.0.device=cuda", False, False, {"runtime.device"}),
    ],
)
def test_a_setting_that_decides_the_numbers_moves_the_part_that_is_named_after_it(
    base: Path, override: str, changes_data: bool, changes_eval: bool, parts: set[str]
) -> None:
    spelt_out = (
        "benchmark.scenarios=[{kind: quality}, {kind: latency}]",
        "benchmark.runtimes=[{kind: torch, threads: null}, {kind: onnxruntime}]",
    )
    before, jobs = identity_of(open_in(base, *spelt_out))
    after, other = identity_of(open_in(base, *spelt_out, override))
    assert (after.data_fingerprint != before.data_fingerprint) is changes_data
    assert (after.eval_fingerprint != before.eval_fingerprint) is changes_eval
    assert changed_parts(jobs, other) == parts


def test_a_new_label_changes_the_data_fingerprint(base: Path, fresh: Path) -> None:
    renamed = [{**row, "ner_tags": [tag.replace("city", "town") for tag in row["ner_tags"]]} for row in TRAIN]
    before, _ = identity_of(open_in(base))
    after, _ = identity_of(open_in(write_project(fresh, train=renamed)))
    assert after.data_fingerprint != before.data_fingerprint


# Sweeps of earlier versions must be found, so this changes with a reason only.
DATA_FINGERPRINT = "fc76331abcf7b2ba730a1f49063a23fe0761a6696d424ad66141e85eb9d21e40"


def test_the_fingerprint_of_bio_data_has_not_changed(base: Path) -> None:
    study, jobs = identity_of(open_in(base))
    assert study.data_fingerprint == DATA_FINGERPRINT
    same_study, same_jobs = identity_of(open_in(base, "data.task.scheme=bio"))
    assert same_study == study
    assert [job.key for job in same_jobs] == [job.key for job in jobs]


def test_a_scheme_that_reads_other_entities_changes_every_key_of_quality(base: Path) -> None:
    before, jobs = identity_of(open_in(base))
    after, other = identity_of(open_in(base, "data.task.scheme=io"))
    assert after.data_fingerprint != before.data_fingerprint
    assert after.eval_fingerprint == before.eval_fingerprint
    assert changed_parts(jobs, other) == {"data_fingerprint", "inputs_digest"}


def test_a_sweep_on_plain_labels_trains_with_prefixes(fresh: Path) -> None:
    plain = [{**row, "ner_tags": ["O", "city", "city"]} for row in TRAIN]
    corpus = open_in(write_project(fresh, train=plain, test=plain)).corpus
    assert corpus.labels == ("O", "B-city", "I-city")
    assert {document.content[1] == ["O", "B-city", "I-city"] for document in corpus.train} == {True}


def test_a_sweep_needs_labels_and_every_file(fresh: Path) -> None:
    bare = [{"tokens": row["tokens"]} for row in TRAIN]
    project = open_in(write_project(fresh, train=bare))
    with pytest.raises(
        DataError, match=r"train\.jsonl: found 6 documents without labels .*`bakeoff sweep` needs them"
    ):
        identify_study(project, "tiny")
    (fresh / "train.jsonl").unlink()
    with pytest.raises(DataError, match=r"train\.jsonl: found no such file"):
        identify_study(open_in(fresh), "tiny")


def test_the_names_of_integer_tags_are_in_the_data_fingerprint(fresh: Path) -> None:
    numbered: list[Any] = [{"tokens": row["tokens"], "ner_tags": [0, 1, 2]} for row in TRAIN]
    folder = write_project(fresh, train=numbered, test=numbered)
    one, jobs = identity_of(open_in(folder, "data.task.labels=[O, X, Y]"))
    other, others = identity_of(open_in(folder, "data.task.labels=[O, Y, X]"))
    assert one.data_fingerprint != other.data_fingerprint
    assert changed_parts(jobs, others) == {"data_fingerprint", "inputs_digest"}


def test_a_folder_of_datasets_is_train_and_test_data(fresh: Path) -> None:
    saved = Path(__file__).parents[1] / "stores" / "documents" / "files" / "saved_by_datasets"
    folder = write_project(fresh)
    shutil.copytree(saved, folder / "saved")
    project = open_in(folder, "data.train=saved", "data.test=saved")
    study, _ = identity_of(project)
    assert project.corpus.labels == ("O", "B-PER", "I-PER")
    (folder / "saved" / "cache-0a1b.arrow").write_bytes(b"a cache of datasets")
    other, _ = identity_of(open_in(folder, "data.train=saved", "data.test=saved"))
    assert other == study
    (folder / "sent.jsonl").write_text(project.encode_test_file())
    sent = open_in(folder, "data.test=sent.jsonl")
    assert sent.test_documents == project.test_documents


@pytest.mark.parametrize("mode", ["reuse_if_exists", "force_new", "resume_if_incomplete"])
@pytest.mark.parametrize("stage", ["hpo", "benchmark", "decision"])
def test_no_run_mode_is_in_any_key(base: Path, stage: str, mode: str) -> None:
    assert identity_of(open_in(base, f"{stage}.run.mode={mode}")) == identity_of(open_in(base))


@pytest.mark.parametrize(
    "override",
    [
        "benchmark.timeout_s=60",
        "benchmark.max_attempts=9",
        "hpo.storage=sqlite:///other.db",
        "hpo.n_trials=99",
        "tracking.uri=sqlite:///other.db",
        "tracking.benchmark_experiment=other",
        "selection.min_trials_per_group=1",
        "decision.confidence=0.9",
    ],
)
def test_what_decides_no_number_is_in_no_key(base: Path, override: str) -> None:
    assert identity_of(open_in(base, override)) == identity_of(open_in(base))


def test_where_files_lie_and_how_they_are_named_is_in_no_key(base: Path, tmp_path: Path) -> None:
    study, jobs = identity_of(open_in(base))
    moved = Path(shutil.copytree(base, tmp_path / "another place"))
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    write_project(renamed, names=("a.jsonl", "b.jsonl", "elsewhere"))
    for folder in (moved, renamed):
        other_study, other_jobs = identity_of(open_in(folder))
        assert other_study == study
        assert [job.key for job in other_jobs] == [job.key for job in jobs]
