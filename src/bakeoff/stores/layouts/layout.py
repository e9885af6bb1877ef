"""Layout: a table from bakeoff's fields to the tags, params, metrics and artifacts of a sweep's writer.

Each field has an ordered list of places. The first place with a text gives the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bakeoff.core.records import Evaluation
from bakeoff.record import Record

Text = Annotated[str, Field(min_length=1, max_length=250)]


class Match(Record):
    """Conditions for the runs of one part. All of them must hold.

    Attributes:
        tags: Tags that must be present, each with its allowed values.
        has_tags: Tags that must be present, with any value.
        lacks_tags: Tags that must be absent.
        has_params: Params that must be present.
        has_metrics: Metrics that must be present.
        has_parent: Whether the run must be nested in another; null allows both.
    """

    tags: Mapping[Text, Annotated[tuple[str, ...], Field(min_length=1)]] = {}
    has_tags: tuple[Text, ...] = ()
    lacks_tags: tuple[Text, ...] = ()
    has_params: tuple[Text, ...] = ()
    has_metrics: tuple[Text, ...] = ()
    has_parent: bool | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if not (self.tags or self.has_tags or self.has_params or self.has_metrics):
            raise ValueError(
                "any run matches, as no condition is set; add tags, has_tags, has_params or has_metrics"
            )
        return self


class Source(Record):
    """One place that may hold a text.

    Attributes:
        tag: Name of a tag.
        param: Name of a param.
        field: A property of the run itself.
        of: The run to read. ``parent`` is the run around the trial. ``refit`` is the trial's refit, or else
            the earliest refit under the same parent.
        last_part: Whether only the last part of a path counts: ``bert`` of ``models/bert``.
    """

    tag: Text | None = None
    param: Text | None = None
    field: Literal["run_name", "experiment_name"] | None = None
    of: Literal["run", "parent", "refit"] = "run"
    last_part: bool = False

    @model_validator(mode="after")
    def _names_one_place(self) -> Self:
        if sum(name is not None for name in (self.tag, self.param, self.field)) != 1:
            raise ValueError("expected exactly one of tag, param and field")
        return self


Sources = tuple[Source, ...]


class FoldLayout(Match):
    """Runs of the folds of a trial, one each. They hold the trial's metric under the same name.

    Attributes:
        number: Tag with the number of the fold.
        by_trial_number: Whether a fold may stand next to its trial, under the same parent. It then belongs to
            the trial with its trial number.
    """

    number: Text
    by_trial_number: bool = False


class RefitLayout(Record):
    """Place of a trial's refit.

    Attributes:
        is_trial: Whether the trial's own run holds the checkpoint, since the writer makes no refits.
        match: Conditions for refit runs.
        of_trial: Places in a refit for the run id of its trial.
        by_trial_key: Whether a refit without that run id belongs to the trials with its trial key.
        test_metric: Metric of the test split; ``{metric}`` stands for the objective's name.
    """

    is_trial: bool = False
    match: Match | None = None
    of_trial: Sources = ()
    by_trial_key: bool = False
    test_metric: Text | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if self.is_trial == (self.match is not None):
            raise ValueError("expected either is_trial: true or match")
        return self


class CheckpointLayout(Record):
    """Place of a refit's checkpoint.

    Attributes:
        artifacts: Names of the artifact, the likeliest first. A ``*`` matches any text in one part of the
            path. The highest number wins, since writers number by steps.
        available: Tag of the refit that is ``true`` once the checkpoint is there; null asks the store.
        digest: Tag of the refit with the digest of the content.
    """

    artifacts: Annotated[tuple[Text, ...], Field(min_length=1)] = ("checkpoint",)
    available: Text | None = None
    digest: Text | None = None

    @property
    def is_certain(self) -> bool:
        """Whether the tag alone proves that the checkpoint is there, and its name is fixed."""
        return self.available is not None and "*" not in self.artifacts[0]


class Layout(Record):
    """Description of one program's sweeps.

    Attributes:
        name: Name in the configuration.
        writer: Name of the program, for messages.
        trial: Conditions for trial runs. A run nested in a trial is not a trial.
        fold: Conditions for the fold runs of a trial. A fold is never a trial.
        values_on_child: Whether a run nested in a trial may hold the trial's metric and params.
        backbone: Places of the backbone's name.
        study_key: Places of the study group's key. Without a key, bakeoff treats trials of one experiment,
            parent and backbone as comparable, and derives the key from these three.
        metric: Places of the objective's name; without one, the configuration's name counts.
        fold_metric: Name of a trial's metric for one fold, with ``{metric}`` and ``{fold}`` from 0.
        trial_number: Places of the trial's number in its study. Runs of one study with the same number and
            params are one trial.
        evaluation: How a trial without folds gets its metric.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    writer: Text
    trial: Match
    fold: FoldLayout | None = None
    values_on_child: bool = False
    backbone: Annotated[Sources, Field(min_length=1)]
    study_key: Sources = ()
    trial_key: Sources = ()
    schema_version: Sources = ()
    data_fingerprint: Sources = ()
    eval_fingerprint: Sources = ()
    direction: Sources = ()
    metric: Sources = ()
    fold_metric: Text | None = None
    trial_number: Sources = ()
    evaluation: Evaluation = "not recorded"
    refit: RefitLayout
    checkpoint: CheckpointLayout = CheckpointLayout()

    @property
    def is_read_by_tags(self) -> bool:
        """Whether queries by tag find everything, since no other run holds values of trials or refits."""
        parts = [self.trial, *([self.refit.match] if self.refit.match else [])]
        sources = (
            *self.backbone,
            *self.study_key,
            *self.trial_key,
            *self.schema_version,
            *self.data_fingerprint,
            *self.eval_fingerprint,
            *self.direction,
            *self.metric,
            *self.trial_number,
        )
        return (
            all(part.tags for part in parts)
            and self.fold is None
            and not self.values_on_child
            and all(source.of != "parent" for source in sources)
        )

    def queries(self) -> tuple[Mapping[str, str], ...]:
        """Return the tags for each query; together the queries find every run that matters."""
        if not self.is_read_by_tags:
            return ({},)
        parts = [self.trial, *([self.refit.match] if self.refit.match else [])]
        first = [next(iter(part.tags.items())) for part in parts]
        return tuple({name: value} for name, values in first for value in values)
