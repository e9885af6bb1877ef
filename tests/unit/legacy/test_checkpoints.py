"""The checkpoint of a trial in the folders that older releases wrote."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bakeoff.legacy import compute_grouping_tags, find_checkpoint_in_trial_dir

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a checkpoint at a place in the trial's folder, with metrics beside it where some are given."""

    def write_one(place: str, metrics: object = None, *, is_broken: bool = False) -> Path:
        folder = tmp_path / place / "checkpoint"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(
            json.dumps(
                {"architectures": ["BertForTokenClassification"], "id2label": {"0": "O", "1": "B-CITY"}}
            )
        )
        (folder / "tokenizer.json").write_text("{}")
        save_file({"bias": np.zeros(2, dtype=np.float32)}, folder / "model.safetensors")
        if is_broken:
            weights = folder / "model.safetensors"
            weights.write_bytes(weights.read_bytes()[:-1])
        if metrics is not None:
            text = metrics if isinstance(metrics, str) else json.dumps(metrics)
            (tmp_path / place / "metrics.json").write_text(text)
        return folder

    return write_one


def find(trial_dir: Path | str, *args: str, **kwargs: str) -> Path | None:
    with pytest.deprecated_call():
        return find_checkpoint_in_trial_dir(trial_dir, *args, **kwargs)  # type: ignore[arg-type]


def test_the_refit_is_preferred_to_folds_and_these_to_the_trials_own(write: Write, tmp_path: Path) -> None:
    own = write(".")
    assert find(tmp_path) == own
    fold = write("cv/fold0", {"f1": 0.5})
    assert find(tmp_path) == fold
    refit = write("refit")
    assert find(tmp_path) == refit
    assert find(str(tmp_path)) == refit


@pytest.mark.parametrize(
    ("direction", "best"), [("maximize", "cv/fold10/checkpoint"), ("minimize", "cv/fold2/checkpoint")]
)
def test_the_best_fold_is_the_one_of_its_metric_and_direction(
    write: Write, tmp_path: Path, direction: str, best: str
) -> None:
    for number, value in ((1, 0.5), (2, 0.2), (10, 0.9)):
        write(f"cv/fold{number}", {"loss": value, "f1": 1 - value})
    assert find(tmp_path, metric="loss", direction=direction) == tmp_path / best


def test_folds_of_one_metric_are_told_apart_by_their_number(write: Write, tmp_path: Path) -> None:
    for number in (10, 9, 11):
        write(f"cv/fold{number}", {"f1": 0.5})
    assert find(tmp_path) == tmp_path / "cv/fold9/checkpoint"


def test_a_broken_checkpoint_is_passed_over_wherever_it_lies(write: Write, tmp_path: Path) -> None:
    write("refit", is_broken=True)
    write("cv/fold0", {"f1": 0.9}, is_broken=True)
    second = write("cv/fold1", {"f1": 0.8})
    assert find(tmp_path) == second
    (second / "tokenizer.json").unlink()
    own = write(".")
    assert find(tmp_path) == own


@pytest.mark.parametrize(
    "metrics",
    [
        None,
        "not json",
        "[" * 100_000,
        [0.9],
        {"accuracy": 0.9},
        {"f1": "0.9"},
        {"f1": True},
        '{"f1": NaN}',
        '{"f1": 1.797e308}',
    ],
)
def test_a_fold_whose_metric_is_not_known_is_never_the_best(
    write: Write, tmp_path: Path, metrics: object
) -> None:
    write("cv/fold0", metrics)
    assert find(tmp_path) is None
    known = write("cv/fold1", {"f1": 0.1})
    assert find(tmp_path) == known


def test_a_folder_without_sound_checkpoint_has_none(write: Write, tmp_path: Path) -> None:
    assert find(tmp_path) is None
    assert find(tmp_path / "nowhere") is None
    write("refit", is_broken=True)
    write("cv/fold_best", {"f1": 0.9})
    write("cv/fold1b", {"f1": 0.9})
    assert find(tmp_path) is None


def test_the_deprecation_warning_points_at_the_caller_and_names_what_to_use(tmp_path: Path) -> None:
    carried = {"study_key_hash": "a", "trial_key_hash": "b", "study_family_hash": "c"}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        find_checkpoint_in_trial_dir(tmp_path)
        compute_grouping_tags(carried, {}, {})
    assert [(one.category, one.filename) for one in caught] == [(DeprecationWarning, __file__)] * 2
    assert [str(one.message) for one in caught] == [
        "find_checkpoint_in_trial_dir() is deprecated; use the checkpoint_path of a champion",
        "compute_grouping_tags() is deprecated; use the hashes of a champion",
    ]
