"""Discovery: read a tracking store, and propose a configuration for it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path

from bakeoff.core.config.settings import SelectionSettings
from bakeoff.core.records import Trial
from bakeoff.core.selection.select import FINISHED, hold_contests, leaders_of
from bakeoff.core.selection.study_groups import SelectionRules, is_valid_metric, merge_duplicates
from bakeoff.errors import UserError
from bakeoff.measure.tasks.metrics import Direction
from bakeoff.orchestrator.champions import SAMPLE_RUNS
from bakeoff.orchestrator.infer import ModelFacts, read_facts
from bakeoff.orchestrator.setup.guess_layout import LayoutGuess, guess_layout
from bakeoff.orchestrator.setup.guess_task import FoundTask, Labelled, guess_task
from bakeoff.orchestrator.setup.observe import SeenExperiment, describe_varying, observe, own_tags
from bakeoff.plural import count
from bakeoff.record import Record
from bakeoff.stores.layouts import (
    BUILT_IN,
    Layout,
    Recognition,
    RunRow,
    Sweep,
    count_metrics,
    count_objectives,
    count_own_metrics,
    load_layout,
    name_by_parents,
    recognise,
)
from bakeoff.stores.tracking import Tracker, reading

LISTED_RUNS = 3
NAME_FIX = "write a layout if one of them names the backbone"
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
        n_duplicates: Number of further runs that logged one of these trials.
        checkpoint: Artifact with the checkpoint of the best trial's refit; None if there is none.
        missing_location: Path of the artifact location, if it does not exist.
        runs_code: Whether the checkpoint is an MLflow model.
    """

    name: str
    recorded_as: str | None
    n_trials: int
    n_valid: int
    n_duplicates: int = 0
    checkpoint: str | None
    missing_location: str | None = None
    runs_code: bool = False


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
        layout: Name of the layout; None if no layout fits, so that nothing can be configured.
        task: Task of the models; None if no layout fits.
        n_nameless: Number of finished trials without a backbone.
        warnings: What the reader must check.
        seen: What the runs hold, by experiment, if no layout fits.
        guess: Guess of a layout for the experiment with the most metrics; None if a layout fits, or without
            any run.
    """

    experiments: tuple[FoundExperiment, ...]
    layout: str | None = None
    objective: FoundObjective | None = None
    task: FoundTask | None = None
    backbones: tuple[FoundBackbone, ...] = ()
    n_nameless: int = 0
    warnings: tuple[str, ...] = ()
    seen: tuple[SeenExperiment, ...] = ()
    guess: LayoutGuess | None = None


def propose(
    tracker: Tracker,
    only: Sequence[str] = (),
    notify: Callable[[str], None] = lambda _: None,
    layouts: Sequence[Layout] = (),
    documents: Labelled | None = None,
) -> Proposal:
    """Read every experiment, or some of them, and propose a configuration.

    Args:
        tracker: Tracking store to read.
        only: Names of the experiments to read; none means all.
        notify: Receiver of progress lines.
        layouts: Layouts to try; none means the built-in ones.
        documents: Labelled documents that show the fields of the task; None without any.

    Raises:
        TrackingError: The store does not answer.
        UserError: The store or an experiment of ``only`` does not exist.
    """
    if not tracker.is_there:
        raise UserError(
            f"{tracker.shown_uri}: the database file does not exist; correct the address of the tracking "
            "store, or run `bakeoff demo` for an example"
        )
    names = tracker.list_experiments()
    unknown = [name for name in only if name not in names]
    if unknown:
        raise UserError(
            f"experiment {unknown[0]!r} is not in {tracker.shown_uri}; it holds: {', '.join(names) or 'none'}"
        )
    layouts = layouts or [load_layout(name, Path()) for name in BUILT_IN]
    samples: dict[str, list[RunRow]] = {}
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
        return _describe_unknown(tracker, experiments, {name: rows for name, rows in samples.items() if rows})
    taken = {ids[found.name]: found.name for found in experiments if found.is_taken}
    rows = [samples[name] for name in taken.values()]
    candidates = _rank_metrics(rows, layout)
    sweep = reading.read_sweep(tracker, taken, layout, candidates[0] if candidates else "")
    objective = _find_objective(sweep, count_objectives(chain(*rows), layout), candidates)
    backbones, facts = _find_backbones(tracker, layout, sweep, objective)
    return Proposal(
        experiments=experiments,
        layout=layout.name,
        objective=objective,
        task=guess_task(facts, documents),
        backbones=backbones,
        n_nameless=sum(not trial.backbone for trial in sweep.trials if trial.status == FINISHED),
        warnings=tuple(f"{found}; {NAME_FIX}" for found in find_experiment_names(sweep.trials)),
    )


def find_experiment_names(trials: Sequence[Trial]) -> tuple[str, ...]:
    """Describe each backbone that is only the name of its experiment, with the params that vary."""
    unnamed: dict[str, list[Trial]] = defaultdict(list)
    for trial in trials:
        if trial.backbone_is_experiment and trial.status == FINISHED:
            unnamed[trial.backbone].append(trial)
    return tuple(_describe_unnamed(name, mine) for name, mine in sorted(unnamed.items()))


def _describe_unnamed(experiment: str, trials: Sequence[Trial]) -> str:
    found = f"no tag or param names the backbone of {count(len(trials), 'finished trial')}"
    varying = describe_varying(trial.params for trial in trials)
    return f"{found}, so the name of experiment {experiment!r} counts; params that vary: {varying}"


def _describe_unknown(
    tracker: Tracker, experiments: tuple[FoundExperiment, ...], samples: Mapping[str, Sequence[RunRow]]
) -> Proposal:
    """Describe the runs of unknown writers, and guess a layout for the experiment with the most metrics."""
    artifacts = {
        name: reading.list_artifacts(tracker, [row.run_id for row in _likely_holders(rows)])
        for name, rows in samples.items()
    }
    seen = tuple(observe(name, rows, artifacts[name]) for name, rows in samples.items())
    guess = None
    if seen:
        most = max(seen, key=lambda one: sum(metric.n_runs for metric in one.metrics)).name
        most_rows = samples[most]
        named = {text for row in most_rows for text in row.params.values()}
        metrics = _rank(count_own_metrics(most_rows), named)
        guess = guess_layout(most, most_rows, metrics, artifacts[most])
    return Proposal(experiments=experiments, seen=seen, guess=guess)


def _likely_holders(rows: Sequence[RunRow]) -> list[RunRow]:
    """Return some runs that may hold a checkpoint: a refit, and finished runs with the most values."""

    def rank(row: RunRow) -> tuple[bool, int, tuple[int, str]]:
        return (row.status == FINISHED, len(row.metrics) + len(row.params), row.age)

    order = sorted(rows, key=rank, reverse=True)
    refits = [row for row in order if any("refit" in text.lower() for text in own_tags(row).values())]
    return [*refits[:1], *order[:LISTED_RUNS]]


def _pick_layout(recognised: Sequence[Recognition], layouts: Sequence[Layout]) -> Layout | None:
    trials: Counter[str] = Counter()
    for entry in recognised:
        trials[entry.layout] += entry.n_trials
    return max(layouts, key=lambda layout: trials[layout.name]) if trials else None


def _rank_metrics(samples: Sequence[Sequence[RunRow]], layout: Layout) -> list[str]:
    """List the metrics that may be the objective, the likeliest first, bookkeeping last."""
    counts: Counter[str] = Counter()
    named: set[str] = set()
    for rows in samples:
        counts.update(count_metrics(rows, layout))
        named |= name_by_parents(rows, layout)
    return _rank(counts, named)


def _rank(counts: Mapping[str, int], named: Collection[str]) -> list[str]:
    """Sort metrics: those that parents name, then those with a likely word, then the most frequent."""

    def rank(name: str) -> tuple[bool, int, bool, int, str]:
        return (name not in named, _rank_of(name), "train" in name.lower(), -counts[name], name)

    return sorted(counts, key=rank)


def _rank_of(metric: str) -> int:
    """Return the place of the likeliest word in a metric's name; after the last if it has none."""
    return next((n for n, word in enumerate(_LIKELY) if word in metric.lower()), len(_LIKELY))


def _find_objective(sweep: Sweep, names: Counter[str], candidates: Sequence[str]) -> FoundObjective:
    """Find the objective: the name that most trials record, or else the likeliest metric."""
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
) -> tuple[tuple[FoundBackbone, ...], dict[str, ModelFacts]]:
    """Find the backbones, and what the checkpoint of each shows of its task."""
    finished = merge_duplicates(
        trial for trial in sweep.trials if trial.status == FINISHED and trial.backbone
    )
    recorded = sorted({trial.backbone for trial in finished})
    alike = [trial for trial in finished if trial.direction in (None, objective.direction)]
    any_group = SelectionSettings(min_trials_per_group=1)
    rules = SelectionRules(any_group, objective.direction, objective.metric)
    leaders = leaders_of(hold_contests(recorded, alike, rules))
    names, taken = _name_all(recorded), set[str]()
    found, facts = [], {}
    for backbone in recorded:
        mine = [trial for trial in finished if trial.backbone == backbone]
        best = {
            run_id
            for leader in leaders
            if leader.backbone == backbone
            for run_id in (leader.run_id, *leader.duplicates)
        }
        refits = [row for row in sweep.refits if row.of_trial_run_id in best and row.status == FINISHED]
        looked = reading.find_checkpoints(tracker, layout, refits, objective.metric)
        held = next((row for row in looked if row.artifact_available), None)
        name = names[backbone]
        files = reading.read_own_files(tracker, held.run_id, held.checkpoint_artifact) if held else None
        if files and mine[0].backbone_is_experiment:
            own = files.name
            name = own if own and _NAME.fullmatch(own) and own not in {*names.values(), *taken} else name
        taken.add(name)
        shown = read_facts(files.config, files.mlmodel) if files else None
        if shown is not None:
            facts[name] = shown
        found.append(
            FoundBackbone(
                name=name,
                recorded_as=backbone if name != backbone else None,
                n_trials=len(mine),
                n_valid=sum(is_valid_metric(trial.metric) for trial in mine),
                n_duplicates=sum(len(trial.duplicates) for trial in mine),
                checkpoint=held.checkpoint_artifact if held else None,
                missing_location=next((row.missing_location for row in looked if row.missing_location), None),
                runs_code=files is not None and files.mlmodel is not None,
            )
        )
    return tuple(found), facts


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
