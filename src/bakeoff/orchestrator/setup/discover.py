"""Discovery: read a tracking store, and propose a configuration for it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from bakeoff.core.config.settings import SelectionSettings
from bakeoff.core.records import Direction
from bakeoff.core.selection.select import FINISHED, hold_contests, leaders_of
from bakeoff.core.selection.study_groups import SelectionRules, is_valid_metric
from bakeoff.errors import UserError
from bakeoff.record import Record
from bakeoff.stores.layouts import (
    BUILT_IN,
    Layout,
    Recognition,
    Row,
    Sweep,
    count_metrics,
    load_layout,
    recognise,
)
from bakeoff.stores.tracking import Tracker, reading

SAMPLE_RUNS = 500
# Words in the name of a metric that was probably the objective, the likeliest first.
_LIKELY = ("f1", "accuracy", "auc", "precision", "recall", "score", "loss", "error")
_FALLING = ("loss", "error", "perplexity", "wer", "cer", "rmse", "mae", "mse")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class FoundExperiment(Record):
    """Experiment of the store.

    Attributes:
        recognised: Layout of its runs; None if no built-in layout finds a trial in the sample.
        is_taken: Whether the proposal reads this experiment.
    """

    name: str
    n_sampled: int
    recognised: Recognition | None
    is_taken: bool


class FoundBackbone(Record):
    """Backbone that trials name.

    Attributes:
        name: Name in the configuration.
        recorded_as: Name in the store, if a configuration cannot use it; else None.
        n_trials: Number of finished trials.
        n_valid: Number of finished trials with a finite metric.
        checkpoint: Artifact with the checkpoint of the best trial's refit; None if there is none.
    """

    name: str
    recorded_as: str | None
    n_trials: int
    n_valid: int
    checkpoint: str | None


class FoundObjective(Record):
    """Objective of the trials.

    Attributes:
        is_recorded: Whether the writer recorded metric and direction; else they are a guess.
        others: Other metrics that may be the objective, the likeliest first.
    """

    metric: str
    direction: Direction
    is_recorded: bool
    others: tuple[str, ...] = ()


class Proposal(Record):
    """Content of a store, and the configuration for it.

    Attributes:
        layout: Name of the layout; None if no layout fits, and only the example can be proposed.
        n_nameless: Number of finished trials without a backbone.
    """

    experiments: tuple[FoundExperiment, ...]
    layout: str | None = None
    objective: FoundObjective | None = None
    backbones: tuple[FoundBackbone, ...] = ()
    n_nameless: int = 0


def propose(
    tracker: Tracker, only: Sequence[str] = (), notify: Callable[[str], None] = lambda _: None
) -> Proposal:
    """Read every experiment, or some of them, and propose a configuration.

    Args:
        tracker: Tracking store to read.
        only: Names of the experiments to read; none means all.
        notify: Receiver of progress lines.

    Raises:
        TrackingError: The store does not answer.
        UserError: An experiment of ``only`` does not exist.
    """
    names = tracker.list_experiments()
    unknown = [name for name in only if name not in names]
    if unknown:
        raise UserError(
            f"experiment {unknown[0]!r} is not in {tracker.shown_uri}; it holds: {', '.join(names) or 'none'}"
        )
    layouts = [load_layout(name, Path()) for name in BUILT_IN]
    samples: dict[str, list[Row]] = {}
    ids: dict[str, str] = {}
    for name in only or names:
        experiment_id = tracker.find_experiment(name)
        if experiment_id is not None:
            notify(f"reading experiment {name}")
            ids[name] = experiment_id
            samples[name] = reading.sample_rows(tracker, experiment_id, name, SAMPLE_RUNS)
    recognised = {name: recognise(rows, layouts) for name, rows in samples.items()}
    layout = _pick_layout([entry for entry in recognised.values() if entry], layouts)
    experiments = tuple(
        FoundExperiment(
            name=name,
            n_sampled=len(samples[name]),
            recognised=entry,
            is_taken=layout is not None and entry is not None and entry.layout == layout.name,
        )
        for name, entry in recognised.items()
    )
    if layout is None:
        return Proposal(experiments=experiments)
    taken = {ids[found.name]: found.name for found in experiments if found.is_taken}
    candidates = _rank_metrics([samples[name] for name in taken.values()], layout)
    sweep = reading.read_sweep(tracker, taken, layout, candidates[0] if candidates else "")
    objective = _find_objective(sweep, layout, candidates)
    return Proposal(
        experiments=experiments,
        layout=layout.name,
        objective=objective,
        backbones=_find_backbones(tracker, layout, sweep, objective),
        n_nameless=sum(not trial.backbone for trial in sweep.trials if trial.status == FINISHED),
    )


def _pick_layout(recognised: Sequence[Recognition], layouts: Sequence[Layout]) -> Layout | None:
    trials: Counter[str] = Counter()
    for entry in recognised:
        trials[entry.layout] += entry.n_trials
    return max(layouts, key=lambda layout: trials[layout.name]) if trials else None


def _rank_metrics(samples: Sequence[Sequence[Row]], layout: Layout) -> list[str]:
    """List the metrics that may be the objective, the likeliest first, bookkeeping last."""
    counts: Counter[str] = Counter()
    for rows in samples:
        counts.update(count_metrics(rows, layout))

    def rank(name: str) -> tuple[int, bool, int, str]:
        return (_rank_of(name), "train" in name.lower(), -counts[name], name)

    return sorted(counts, key=rank)


def _rank_of(metric: str) -> int:
    """Return the place of the likeliest word in a metric's name; after the last if it has none."""
    return next((n for n, word in enumerate(_LIKELY) if word in metric.lower()), len(_LIKELY))


def _find_objective(sweep: Sweep, layout: Layout, candidates: Sequence[str]) -> FoundObjective:
    names = Counter(trial.metric_name for trial in sweep.trials if layout.metric and trial.metric_name)
    metric = names.most_common(1)[0][0] if names else candidates[0] if candidates else "f1"
    recorded = Counter(
        trial.direction for trial in sweep.trials if trial.direction in ("maximize", "minimize")
    )
    falls = any(word in re.split(r"[^a-z]+", metric.lower()) for word in _FALLING)
    direction = recorded.most_common(1)[0][0] if recorded else "minimize" if falls else "maximize"
    others = [name for name in (names or candidates) if name != metric]
    others = [name for name in others if _rank_of(name) < len(_LIKELY)] or others
    return FoundObjective(
        metric=metric,
        direction="minimize" if direction == "minimize" else "maximize",
        is_recorded=bool(names or len(candidates) == 1) and bool(recorded),
        others=tuple(others[:10]),
    )


def _find_backbones(
    tracker: Tracker, layout: Layout, sweep: Sweep, objective: FoundObjective
) -> tuple[FoundBackbone, ...]:
    finished = [trial for trial in sweep.trials if trial.status == FINISHED and trial.backbone]
    recorded = sorted({trial.backbone for trial in finished})
    alike = [trial for trial in finished if trial.direction in (None, objective.direction)]
    any_group = SelectionSettings(min_trials_per_group=1)
    rules = SelectionRules(any_group, objective.direction, objective.metric)
    leaders = leaders_of(hold_contests(recorded, alike, rules))
    names = _name_all(recorded)
    found = []
    for backbone in recorded:
        mine = [trial for trial in finished if trial.backbone == backbone]
        best = {leader.run_id for leader in leaders if leader.backbone == backbone}
        refits = [row for row in sweep.refits if row.of_trial_run_id in best and row.status == FINISHED]
        looked = reading.find_checkpoints(tracker, layout, refits)
        found.append(
            FoundBackbone(
                name=names[backbone],
                recorded_as=backbone if names[backbone] != backbone else None,
                n_trials=len(mine),
                n_valid=sum(is_valid_metric(trial.metric) for trial in mine),
                checkpoint=next((row.checkpoint_artifact for row in looked if row.artifact_available), None),
            )
        )
    return tuple(found)


def _name_all(recorded: Sequence[str]) -> dict[str, str]:
    """Map each recorded name to one that a configuration accepts: itself, or a similar free one."""
    names = {text: text for text in recorded if _NAME.fullmatch(text)}
    for text in recorded:
        if text not in names:
            plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:90] or "backbone"
            taken = set(names.values())
            free = [plain, *(f"{plain}-{number}" for number in range(2, len(recorded) + 2))]
            names[text] = next(name for name in free if name not in taken)
    return names
