"""The picked trial: its hyper-parameters and the scores of its group, both of bounded size."""

from __future__ import annotations

import math

from bakeoff.core.selection.picked import MOST_CHARS, MOST_PARAMS, MOST_SCORES, describe_picked

from .test_select import make_group, make_trial, select


def test_a_selection_holds_the_scores_of_the_group_that_won_in_order() -> None:
    trials = make_group("a", [0.5, 0.9, math.nan, 0.7]) + make_group("b", [0.1, 0.2, 0.3], first=10)
    picked = select(trials, []).picked
    assert picked is not None
    assert (picked.metric, picked.metric_name, picked.scores, picked.n_scores) == (
        0.9,
        "f1",
        (0.5, 0.7, 0.9),
        3,
    )
    assert select([], []).picked is None


def test_hyper_parameters_that_the_trials_vary_come_first() -> None:
    group = [
        make_trial(n, 0.5 + n / 100, params={"lr": str(n), "epochs": "3", "batch": str(n % 2)})
        for n in range(4)
    ]
    picked = describe_picked(group[3], group)
    assert picked.params == (("batch", "1"), ("lr", "3"), ("epochs", "3"))
    assert (picked.n_varied, picked.n_params) == (2, 3)


def test_100_000_trials_leave_some_hundreds_with_both_ends() -> None:
    trial = make_trial(1, 0.5)
    group = [trial.model_copy(update={"metric": n / 100_000}) for n in range(100_000)]
    picked = describe_picked(group[-1], group)
    assert (len(picked.scores), picked.n_scores) == (MOST_SCORES, 100_000)
    assert (picked.scores[0], picked.scores[-1]) == (0.0, 0.99999)
    gaps = [b - a for a, b in zip(picked.scores, picked.scores[1:], strict=False)]
    assert max(gaps) < 1.1 * min(gaps)


def test_many_and_long_hyper_parameters_are_cut() -> None:
    trial = make_trial(1, 0.5, params={f"{n:04d}" + "n" * 500: "v" * 6000 for n in range(500)})
    picked = describe_picked(trial, [trial])
    assert (len(picked.params), picked.n_params) == (MOST_PARAMS, 500)
    assert {len(text) for pair in picked.params for text in pair} == {MOST_CHARS}


def test_folds_that_are_not_numbers_are_no_folds() -> None:
    trial = make_trial(1, 0.5, fold_metrics=(0.4, math.nan, 0.6, math.inf))
    assert describe_picked(trial, [trial]).folds == (0.4, 0.6)
