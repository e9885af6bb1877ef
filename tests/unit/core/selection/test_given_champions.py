"""Champions as callers hand them over: one record from every shape, or one error that says what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.records import BackboneSelection, Champion
from bakeoff.core.selection.given_champions import parse_champions
from bakeoff.errors import ChampionError

RUN, TRIAL, SWEEP = "c" * 32, "7" * 32, "5" * 32


def champion(**changes: Any) -> Champion:
    values: dict[str, Any] = {
        "backbone": "tiny",
        "run_id": RUN,
        "trial_run_id": TRIAL,
        "refit_run_id": RUN,
        "sweep_run_id": SWEEP,
        "study_key_hash": "1" * 64,
        "trial_key_hash": "2" * 64,
        "metric": 0.9,
        "metric_name": "f1",
        "stable_score": 0.88,
        "fold_metrics": (),
        "schema_version": "2.0",
        "data_fingerprint": "d" * 64,
        "eval_fingerprint": "e" * 64,
        "checkpoint_path": Path("/checkpoints/tiny"),
        "checkpoint_digest": "3" * 64,
        "experiment_id": "1",
        "experiment_name": "sweep",
    }
    return Champion(**values | changes)


def nested(*without: str, **changes: Any) -> dict[str, Any]:
    """One backbone's entry of the older shape, its path as text."""
    inner = champion().model_dump(mode="json") | changes
    return {
        "champion": {name: value for name, value in inner.items() if name not in without},
        "all_groups": [{"study_key_hash": "1" * 64, "n_trials": 5}],
        "selection_metadata": {"selected_by": "somebody"},
    }


def selection(**changes: Any) -> BackboneSelection:
    values: dict[str, Any] = {
        "backbone": "tiny",
        "champion": champion(),
        "all_groups": (),
        "selection_metadata": {},
    }
    return BackboneSelection(**values | changes)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param([champion()], id="a row of champions"),
        pytest.param((one for one in [selection()]), id="an iterator of selections"),
        pytest.param({"tiny": champion()}, id="champions by backbone"),
        pytest.param({"tiny": selection()}, id="what select_champions returns"),
        pytest.param({"tiny": nested()}, id="nested mappings"),
        pytest.param({"tiny": {"champion": champion()}}, id="a record in a mapping"),
        pytest.param({"tiny": nested("backbone", "run_id", "metric_name", "fold_metrics")}, id="bare"),
        pytest.param({"tiny": nested("refit_run_id")}, id="without refit_run_id"),
        pytest.param({"tiny": nested(is_champion=True, variant=3, trial_name="t-1")}, id="more keys"),
    ],
)
def test_every_shape_of_a_champion_is_read_as_the_same_record(given: Any) -> None:
    assert parse_champions(given) == (champion(),)


@pytest.mark.parametrize(
    "field",
    [
        "trial_run_id",
        "sweep_run_id",
        "study_key_hash",
        "trial_key_hash",
        "metric",
        "stable_score",
        "schema_version",
        "data_fingerprint",
        "eval_fingerprint",
        "experiment_id",
        "experiment_name",
    ],
)
def test_a_missing_field_is_named_with_its_backbone(field: str) -> None:
    with pytest.raises(ChampionError) as caught:
        parse_champions({"tiny": nested(field)})
    assert str(caught.value).startswith(f"champion of 'tiny': {field} is missing; ")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tiny": nested(metric="good")}, "champion of 'tiny': metric: input should be a valid number"),
        (
            {"tiny": nested(metric=float("nan"))},
            "champion of 'tiny': metric: input should be a finite number",
        ),
        ({"tiny": nested(run_id=TRIAL)}, f"run_id: found {TRIAL}; expected refit_run_id, {RUN}"),
        (
            {"tiny": nested(trial_run_id="../../x")},
            "trial_run_id: found '../../x'; expected an MLflow run id",
        ),
        ({"../tiny": nested("backbone")}, "backbone: found '../tiny'; expected letters, digits"),
        ({"other": champion()}, "champion of 'other': backbone: found 'tiny'; expected its key"),
        ({"tiny": {"run_id": RUN}}, "champion of 'tiny': champion is missing"),
        ({"tiny": None}, "champion of 'tiny': champion is missing"),
        ({"tiny": {"champion": "best"}}, "champion of 'tiny': found 'best'; expected a mapping, or None"),
        ([champion(), champion()], "champion of 'tiny': given twice"),
        ([nested()], "champions: found {'champion': "),
        (champion(), "champions: found ('backbone', 'tiny') in a row"),
    ],
)
def test_a_champion_that_cannot_be_used_is_told_in_one_line(given: Any, message: str) -> None:
    with pytest.raises(ChampionError) as caught:
        parse_champions(given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_faults_of_all_champions_are_told_at_once() -> None:
    with pytest.raises(ChampionError) as caught:
        parse_champions({"tiny": nested("metric", "study_key_hash"), "mini": {"run_id": RUN}})
    assert [fault.split(" is missing")[0] for fault in caught.value.faults] == [
        "champion of 'tiny': study_key_hash",
        "champion of 'tiny': metric",
        "champion of 'mini': champion",
    ]


def test_a_backbone_without_champion_is_skipped_and_its_reason_told() -> None:
    told: list[str] = []
    given: dict[str, Any] = {
        "mini": selection(backbone="mini", champion=None, reason="the best trial has no refit"),
        "tiny": nested(),
        "nano": {"champion": None, "reason": "no finished trial"},
        "pico": {"champion": None},
    }
    found = parse_champions(given, told.append)
    assert found == (champion(),)
    assert told == [
        "mini: no champion: the best trial has no refit",
        "nano: no champion: no finished trial",
        "pico: no champion: no reason given",
    ]
