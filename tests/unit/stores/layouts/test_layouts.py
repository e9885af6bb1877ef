"""Layouts without a store: rows in, trials and refits out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bakeoff.errors import ConfigError
from bakeoff.stores.layouts import BUILT_IN, RunRow, Sweep, load_layout, read_rows, recognise
from bakeoff.stores.tags import PARENT_RUN_ID

METRIC = "macro-f1"


def run_id(number: int) -> str:
    return f"{number:032x}"


def make_row(
    number: int, tags: Mapping[str, str] | None = None, parent: int | None = None, **more: Any
) -> RunRow:
    values: dict[str, Any] = {
        "run_id": run_id(number),
        "name": f"run {number}",
        "status": "FINISHED",
        "experiment_id": "1",
        "experiment_name": "sweep",
        "start_time_ms": 1000 + number,
        "tags": {**(tags or {}), **({PARENT_RUN_ID: run_id(parent)} if parent is not None else {})},
    }
    return RunRow(**values | more)


def read(layout: str, rows: Sequence[RunRow], metric: str = METRIC) -> Sweep:
    return read_rows(rows, load_layout(layout, Path()), metric)


def code_sweep(
    *,
    with_folds: bool,
    first: int = 0,
    backbone: str = "distilbert",
    parent_tags: Mapping[str, str] | None = None,
) -> list[RunRow]:
    """A parent, two trials with two folds or one training each, and the refit of the second."""
    shared = {"code.study_key_hash": "a" * 64}
    rows = [
        make_row(first, {"code.stage": "hpo_sweep", **(parent_tags or {})}, params={"backbone": backbone})
    ]
    for n in range(2):
        trial = first + 10 * (n + 1)
        score = 0.6 + n / 10
        own: dict[str, Any] = {"metrics": {METRIC: score}, "params": {"lr": str(n)}} if with_folds else {}
        key = {"code.trial_key_hash": str(n) * 64}
        rows.append(make_row(trial, {"code.stage": "hpo_trial", **shared, **key}, parent=first, **own))
        if with_folds:
            rows += [
                make_row(
                    trial + 1 + fold,
                    {"code.stage": "hpo_trial", "fold_idx": str(fold), **shared},
                    parent=trial,
                    metrics={METRIC: score + (fold - 0.5) / 100},
                )
                for fold in range(2)
            ]
        else:
            rows.append(
                make_row(
                    trial + 1,
                    {"code.stage": "hpo_trial"},
                    parent=trial,
                    metrics={METRIC: score},
                    params={"lr": str(n)},
                )
            )
    refit = {
        "code.stage": "hpo_refit",
        "code.trial_key_hash": "1" * 64,
        "code.refit.of_trial_run_id": run_id(first + 20),
        "code.artifact.available": "true",
    }
    return [*rows, make_row(first + 30, {**refit, **shared}, parent=first)]


# --- code -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_folds", [True, False])
def test_code_trials_have_metric_and_params_wherever_they_stand(with_folds: bool) -> None:
    sweep = read("code", code_sweep(with_folds=with_folds))
    assert [(trial.run_id, trial.metric, trial.params) for trial in sweep.trials] == [
        (run_id(10), 0.6, {"lr": "0"}),
        (run_id(20), 0.7, {"lr": "1"}),
    ]
    assert {trial.backbone for trial in sweep.trials} == {"distilbert"}
    folds = (pytest.approx(0.695), pytest.approx(0.705)) if with_folds else ()
    assert sweep.trials[1].fold_metrics == folds


def test_code_folds_and_trainings_inside_a_trial_are_no_trials() -> None:
    for with_folds in (True, False):
        assert len(read("code", code_sweep(with_folds=with_folds)).trials) == 2


def test_code_folds_stand_in_the_order_of_their_numbers() -> None:
    rows = [
        make_row(1, {"code.stage": "hpo", "code.backbone": "b"}, parent=0, metrics={METRIC: 0.5}),
        *(make_row(100 - n, {"fold_idx": str(n)}, parent=1, metrics={METRIC: n / 100}) for n in range(12)),
    ]
    (trial,) = read("code", rows).trials
    assert trial.fold_metrics == tuple(n / 100 for n in range(12))


@pytest.mark.parametrize(
    ("tags", "parent_params", "expected"),
    [
        ({"code.backbone": "a", "code.model": "b"}, {"backbone": "c"}, "a"),
        ({"code.model": "b"}, {"backbone": "c"}, "b"),
        ({}, {"backbone": "c"}, "c"),
        ({"code.backbone": ""}, {"backbone": "c"}, "c"),
        ({}, {}, ""),
    ],
)
def test_a_code_backbone_comes_from_the_first_place_that_names_one(
    tags: dict[str, str], parent_params: dict[str, str], expected: str
) -> None:
    rows = [make_row(0, params=parent_params), make_row(1, {"code.stage": "hpo_trial", **tags}, parent=0)]
    assert read("code", rows).trials[0].backbone == expected


@pytest.mark.parametrize("holder", ["run", "parent", "refit"])
def test_code_versions_fingerprints_and_direction_may_stand_on_trial_parent_or_refit(holder: str) -> None:
    facts = {
        "code.study.key_schema_version": "2.0",
        "code.fingerprint.data": "d" * 64,
        "code.fingerprint.eval": "e" * 64,
        "code.objective.direction": "minimize",
    }
    rows = code_sweep(with_folds=True)
    numbers = {"parent": (0,), "run": (10, 20), "refit": (30,)}[holder]
    rows = [
        make_row(
            int(row.run_id, 16),
            {**row.tags, **(facts if int(row.run_id, 16) in numbers else {})},
            metrics=row.metrics,
            params=row.params,
        )
        for row in rows
    ]
    for trial in read("code", rows).trials:
        assert trial.schema_version == "2.0"
        assert (trial.data_fingerprint, trial.eval_fingerprint) == ("d" * 64, "e" * 64)
        assert trial.direction == "minimize"


def test_what_says_no_schema_version_is_of_the_oldest() -> None:
    assert {trial.schema_version for trial in read("code", code_sweep(with_folds=True)).trials} == {"1.0"}


def test_a_code_refit_belongs_to_the_run_that_it_names_else_to_its_trial_key() -> None:
    named = code_sweep(with_folds=True)
    assert [refit.of_trial_run_id for refit in read("code", named).refits] == [run_id(20)]
    tags = {name: text for name, text in named[-1].tags.items() if name != "code.refit.of_trial_run_id"}
    by_key = [*named[:-1], make_row(30, tags)]
    assert [refit.of_trial_run_id for refit in read("code", by_key).refits] == [run_id(20)]
    other_study = [*named[:-1], make_row(30, {**tags, "code.study_key_hash": "b" * 64})]
    assert read("code", other_study).refits == ()


def test_the_artifact_flag_of_a_parent_says_nothing_of_its_refit() -> None:
    rows = code_sweep(with_folds=True, parent_tags={"code.artifact.available": "true"})
    tags = {name: text for name, text in rows[-1].tags.items() if name != "code.artifact.available"}
    assert [refit.artifact_available for refit in read("code", rows).refits] == [True]
    assert [r.artifact_available for r in read("code", [*rows[:-1], make_row(30, tags)]).refits] == [False]


def test_code_checkpoints_are_archives() -> None:
    (refit,) = read("code", code_sweep(with_folds=True)).refits
    assert refit.checkpoint_artifact == "best_trial_checkpoint.tar.gz"


def test_an_unfinished_training_inside_a_trial_lends_it_no_metric() -> None:
    rows = [
        make_row(1, {"code.stage": "hpo_trial"}, parent=0),
        make_row(2, parent=1, metrics={METRIC: 0.9}, status="FAILED"),
        make_row(3, parent=1, metrics={METRIC: 0.5}),
    ]
    assert read("code", rows).trials[0].metric == 0.5


# --- any layout -------------------------------------------------------------------------------------------


def test_without_a_study_key_experiment_parent_and_backbone_make_the_group_and_it_says_so() -> None:
    rows = [
        make_row(
            n,
            {"trial_name": f"t{n}", "backbone": backbone},
            parent=parent,
            experiment_id=experiment,
            metrics=METRICS,
        )
        for n, (backbone, parent, experiment) in enumerate(
            itertools.product(["a", "ab"], [None, 100, 101], ["1", "2"])
        )
    ]
    trials = read("ray", rows, "f1").trials
    assert len({trial.study_key_hash for trial in trials}) == len(rows)
    assert all(trial.study_key_is_derived and trial.schema_version == "1.0" for trial in trials)
    again = read(
        "ray", [*rows, make_row(50, {"trial_name": "t", "backbone": "a"}, metrics=METRICS)], "f1"
    ).trials
    assert again[-1].study_key_hash == trials[0].study_key_hash


METRICS = {"training_iteration": 1.0, "time_total_s": 1.0, "f1": 0.5}


def test_models_of_one_last_part_but_two_makers_are_never_in_one_group() -> None:
    rows = [
        make_row(
            n,
            params={"_name_or_path": path},
            metrics={"train_runtime": 1.0, "total_flos": 1.0, "epoch": 1.0},
        )
        for n, path in enumerate(["one/bert", "two/bert", "C:\\models\\bert\\"])
    ]
    trials = read("huggingface", rows, "eval_f1").trials
    assert {trial.backbone for trial in trials} == {"bert"}
    assert len({trial.study_key_hash for trial in trials}) == 3


@pytest.mark.parametrize(
    ("state", "is_trial"), [("COMPLETE", True), ("PRUNED", False), ("FAIL", False), ("", False)]
)
def test_only_complete_optuna_trials_are_trials(state: str, is_trial: bool) -> None:
    tags = dict.fromkeys(("number", "datetime_start", "datetime_complete"), "0") | {"direction": "MINIMIZE"}
    sweep = read("optuna", [make_row(1, {**tags, "state": state}, metrics={"value": 0.99})], "value")
    assert bool(sweep.trials) is is_trial
    assert [trial.direction for trial in sweep.trials] == (["minimize"] if is_trial else [])


@settings(max_examples=60)
@given(data=st.data(), with_folds=st.booleans())
def test_any_order_of_the_rows_gives_the_same_trials_and_refits(
    data: st.DataObject, with_folds: bool
) -> None:
    rows = code_sweep(with_folds=with_folds) + code_sweep(
        with_folds=not with_folds, first=500, backbone="distil"
    )
    shuffled = data.draw(st.permutations(rows))
    assert read("code", shuffled) == read("code", rows)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_queries_of_a_layout_bring_every_run_that_it_reads(name: str) -> None:
    layout = load_layout(name, Path())
    rows = [*code_sweep(with_folds=True), *own_sweep(), *others()]
    asked = [
        row for tags in layout.queries() for row in rows if all(row.tags.get(k) == v for k, v in tags.items())
    ]
    all_read, asked_read = read_rows(rows, layout, "f1"), read_rows(asked, layout, "f1")
    assert asked_read.trials == all_read.trials
    assert asked_read.refits == all_read.refits
    assert all_read.trials


def own_sweep() -> list[RunRow]:
    shared = {"bakeoff.backbone": "b", "bakeoff.objective.metric": "f1", "bakeoff.study_key_hash": "a" * 64}
    return [
        make_row(700, {**shared, "bakeoff.stage": "hpo_sweep"}),
        make_row(
            701, {**shared, "bakeoff.stage": "hpo_trial"}, parent=700, metrics={"f1": 0.5, "f1_fold_0": 0.4}
        ),
        make_row(702, {**shared, "bakeoff.stage": "hpo_fold"}, parent=701, metrics={"f1": 0.4}),
        make_row(
            703,
            {**shared, "bakeoff.stage": "hpo_refit", "bakeoff.refit.of_trial_run_id": run_id(701)},
            parent=700,
            metrics={"test_f1": 0.6},
        ),
    ]


def others() -> list[RunRow]:
    optuna = dict.fromkeys(("number", "datetime_start", "datetime_complete", "direction"), "0")
    return [
        make_row(800, {**optuna, "state": "COMPLETE"}, metrics={"f1": 0.5}),
        make_row(801, {"trial_name": "t"}, metrics=METRICS),
        make_row(802, metrics={"train_runtime": 1.0, "total_flos": 1.0, "epoch": 1.0}),
    ]


def test_what_bakeoff_writes_is_read_with_folds_and_the_metric_of_the_refit() -> None:
    sweep = read("bakeoff", own_sweep(), "unused")
    assert [(t.metric, t.fold_metrics, t.schema_version) for t in sweep.trials] == [(0.5, (0.4,), "1.0")]
    assert [(r.of_trial_run_id, r.test_metric) for r in sweep.refits] == [(run_id(701), 0.6)]


# --- recognition ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (own_sweep(), "bakeoff"),
        (code_sweep(with_folds=True), "code"),
        (code_sweep(with_folds=False), "code"),
        (others()[:1], "optuna"),
        (others()[1:2], "ray"),
        (others()[2:], "huggingface"),
    ],
)
def test_a_writer_is_recognised_by_its_runs(rows: list[RunRow], expected: str) -> None:
    found = recognise(rows, [load_layout(name, Path()) for name in BUILT_IN])
    assert found is not None
    assert (found.layout, found.is_sure) == (expected, True)
    words = "is a trial" if found.n_trials == 1 else "are trials"
    assert f"of {len(rows)} runs {words} of" in found.why


def test_trainings_with_the_trainer_inside_another_writers_trials_do_not_hide_that_writer() -> None:
    """Both callbacks may write to one run: then the one that knows of the search is the writer."""
    (row,) = others()[:1]
    both = make_row(
        1, row.tags, metrics={**row.metrics, "train_runtime": 1.0, "total_flos": 1.0, "epoch": 1.0}
    )
    found = recognise([both], [load_layout(name, Path()) for name in BUILT_IN])
    assert found is not None
    assert (found.layout, found.is_sure) == ("optuna", False)


def test_runs_of_no_known_writer_are_not_recognised() -> None:
    rows = [make_row(n, {"stage": "train"}, metrics={"f1": 0.5}) for n in range(5)]
    assert recognise(rows, [load_layout(name, Path()) for name in BUILT_IN]) is None
    assert recognise([], [load_layout(name, Path()) for name in BUILT_IN]) is None


# --- files ------------------------------------------------------------------------------------------------

OWN = """\
name: mine
writer: my script
trial:
  tags: {kind: [trial]}
backbone:
  - {param: arch}
refit:
  is_trial: true
"""


def test_a_layout_of_the_users_is_a_file_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(OWN)
    layout = load_layout("mine.yaml", tmp_path)
    row = make_row(1, {"kind": "trial"}, params={"arch": "bert"}, metrics={"f1": 0.5})
    sweep = read_rows([row, make_row(2, {"kind": "other"})], layout, "f1")
    assert [(trial.backbone, trial.metric) for trial in sweep.trials] == [("bert", 0.5)]
    assert [refit.run_id for refit in sweep.refits] == [row.run_id]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (("refit:", "refits:"), "mine.yaml:7:1: refits: unknown key 'refits'; did you mean refit?"),
        (
            ("{param: arch}", "{prm: arch}"),
            "mine.yaml:6:6: backbone.0.prm: unknown key 'prm'; did you mean param?",
        ),
        (("{param: arch}", "{param: arch, tag: a}"), "expected exactly one of tag, param and field"),
        (("  tags: {kind: [trial]}", "  has_parent: true"), "any run matches, as no condition is set"),
        (("  is_trial: true", "  by_trial_key: true"), "expected either is_trial: true or match"),
        (("name: mine", "name: My Layout"), "mine.yaml:1:1: name: found 'My Layout'"),
        (("name: mine", "name: [mine"), "invalid YAML"),
        (("name: mine", "name: !!python/object:os.system x"), "invalid YAML"),
        ((OWN, "- a\n"), "mine.yaml:1:1: found ['a']; expected a mapping"),
    ],
)
def test_a_fault_in_a_layout_is_told_with_file_and_line(
    tmp_path: Path, spoil: tuple[str, str], message: str
) -> None:
    (tmp_path / "mine.yaml").write_text(OWN.replace(*spoil))
    with pytest.raises(ConfigError) as caught:
        load_layout("mine.yaml", tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["optunna", "bakeoff.yml.txt", "missing.yaml", ""])
def test_a_layout_that_is_not_there_is_told_with_the_setting(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"tracking\.layout"):
        load_layout(name, tmp_path)


def test_the_example_of_the_documentation_is_a_layout(tmp_path: Path) -> None:
    page = Path(__file__).parents[4] / "docs" / "layouts.md"
    (example,) = re.findall(
        r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "mine.yaml").write_text(example)
    assert load_layout("mine.yaml", tmp_path).name == "mine"
