"""Stores in which a reader that sees a part of the runs, or the server's order, finds the wrong champion."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from bakeoff.core.records import BackboneSelection
from bakeoff.orchestrator import select_champions
from bakeoff.stores.tags import PARENT_RUN_ID
from filling import Run, make_id, write_runs

from .conftest import CodeSweep, Store, write_code_sweep

N_TRIALS, N_FOLDS, N_NEWER = 170, 5, 180
LIMIT = 1000  # Runs that a reader sees who takes one page, newest first.


def select(store: Store, *backbones: str) -> dict[str, BackboneSelection]:
    return select_champions(store.project("code", {name: {} for name in backbones}))


def fill(store: Store, seed: int) -> CodeSweep:
    """170 five-fold trials whose best is among the oldest, and 180 newer runs of another backbone."""
    rng = random.Random(seed)
    scores = [0.95, 0.94, 0.93, *(rng.uniform(0.5, 0.78) for _ in range(N_TRIALS - 3))]
    best = rng.randrange(10)
    scores[0], scores[best] = scores[best], scores[0]
    sweep = write_code_sweep(store, scores, folds=N_FOLDS, refit_of=best)
    for number in range(N_NEWER):
        tags = {
            "code.stage": "hpo_trial",
            "code.backbone": "distilbert-large",
            "code.study_key_hash": "c" * 64,
        }
        store.run(tags, parent=sweep.parent, metrics={"macro-f1": 0.5 + number / 1000})
    return sweep


@dataclass
class QuickStore(Store):
    """A store into which runs inside others come by SQL: a thousand requests take half a minute."""

    waiting: list[Run] = field(default_factory=list)

    def run(self, tags: Mapping[str, str], *, parent: str | None = None, **values: Any) -> str:
        if parent is None or tags["code.stage"] == "hpo_refit":
            return super().run(tags, parent=parent, **values)
        self.clock_ms += 1000
        run_id, start_ms = make_id("quick", len(self.waiting)), values.get("start_ms") or self.clock_ms
        written = (values.get("metrics") or {}, values.get("params") or {})
        self.waiting.append(Run(run_id, "a run", start_ms, {**tags, PARENT_RUN_ID: parent}, *written))
        return run_id

    def write(self) -> None:
        write_runs(self.uri, self.experiments["sweep"], self.waiting)


@pytest.mark.parametrize(
    ("seed", "is_quick"),
    [
        (0, True),
        pytest.param(1, False, marks=pytest.mark.slow),
        pytest.param(2, False, marks=pytest.mark.slow),
    ],
)
def test_the_best_of_170_five_fold_trials_is_found_among_1200_runs(
    store: Store, seed: int, is_quick: bool
) -> None:
    if is_quick:
        store = quick = QuickStore(store.folder, store.client)
        sweep = fill(quick, seed)
        quick.write()
    else:
        sweep = fill(store, seed)
    newest = store.client.search_runs([store.experiments["sweep"]], max_results=LIMIT)
    seen = {run.info.run_id for run in newest}
    assert len(seen) == LIMIT
    selection = select(store, "distilbert")["distilbert"]
    assert selection.champion is not None, selection.reason
    assert selection.champion.run_id == sweep.refit
    assert selection.champion.trial_run_id not in seen  # a page does not show it
    assert (selection.champion.metric, selection.champion.stable_score) == (0.95, 0.94)
    assert selection.all_groups[0].n_trials == N_TRIALS


@pytest.mark.parametrize("seed", range(3))
def test_a_tie_asks_for_the_refit_of_the_trial_that_the_sweep_refitted(store: Store, seed: int) -> None:
    """The server gives the newest of the tied first; the sweep refitted the one that started first."""
    rng = random.Random(seed)
    n_tied = rng.randrange(2, 5)
    scores = [0.9] * n_tied + [rng.uniform(0.5, 0.8) for _ in range(4)]
    starts = [1_600_000_000_000 + rng.randrange(10**6) for _ in scores]
    if seed == 2:
        starts = [1_600_000_000_000] * len(scores)
    tied = write_code_sweep(store, scores, start_ms=starts)
    first = min(range(n_tied), key=lambda number: (starts[number], tied.trials[number]))
    tags = {"code.stage": "hpo_refit", "code.refit.of_trial_run_id": tied.trials[first]}
    refit = store.run({**tags, "code.artifact.available": "true"}, parent=tied.parent)
    other = write_code_sweep(store, (0.6, 0.7, 0.8), backbone="roberta", study="b", refit_of=2)
    selections = select(store, "distilbert", "roberta")
    champions = {name: row.champion.run_id for name, row in selections.items() if row.champion}
    assert champions == {"distilbert": refit, "roberta": other.refit}
    expected = sorted(tied.trials[number] for number in range(n_tied) if number != first)
    assert selections["distilbert"].selection_metadata["tied_trials"] == expected
