"""Layout: a table from our fields to the tags, params, metrics and artifacts of the writer of a sweep.

Every field has an ordered list of places to look at; the first that holds a text gives the value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bakeoff.record import Record

Text = Annotated[str, Field(min_length=1, max_length=250)]


class Match(Record):
    """Which runs play a part; every condition that is given must hold.

    Attributes:
        tags: Each of these tags has one of its values.
        has_tags: Each of these tags is there, whatever it says.
        lacks_tags: None of these tags is there.
        has_params: Each of these params is there.
        has_metrics: Each of these metrics is there.
        has_parent: Whether the run is nested in another; null does not ask.
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
            raise ValueError("a part that any run plays; name tags, has_tags, has_params or has_metrics")
        return self


class Source(Record):
    """One place where a text may stand.

    Attributes:
        tag: Name of a tag.
        param: Name of a param.
        field: A property of the run itself.
        of: Whose. ``parent`` is the run in which the trial is nested; ``refit`` is the trial's refit, or else
            the earliest one under the same parent.
        last_part: Whether of ``models/bert`` only ``bert`` counts.
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
    """Runs nested in a trial, each of one fold; they hold the trial's metric under the same name.

    Attributes:
        number: Tag that numbers them.
    """

    number: Text


class RefitLayout(Record):
    """Where the refit of a trial is.

    Attributes:
        is_trial: The writer has no refits: the trial's own run holds the checkpoint.
        match: Which runs are refits.
        of_trial: Where a refit names the run of its trial.
        by_trial_key: Whether a refit that names no run belongs to the trials with its trial key.
        test_metric: Name of the metric of the test split, with ``{metric}`` for the objective's.
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
    """Where the checkpoint of a refit is.

    Attributes:
        artifacts: Names of the artifact, the likeliest first. A ``*`` stands for a part that the store is
            asked for; of several the one with the highest number counts, as writers number by steps.
        available: Tag of the refit that says ``true`` once the checkpoint is there; null asks the store.
        digest: Tag of the refit with the digest of the content.
    """

    artifacts: Annotated[tuple[Text, ...], Field(min_length=1)] = ("checkpoint",)
    available: Text | None = None
    digest: Text | None = None

    @property
    def is_certain(self) -> bool:
        """Whether the tag alone can tell that the checkpoint is there, and under which name."""
        return self.available is not None and "*" not in self.artifacts[0]


class Layout(Record):
    """How one program writes its sweeps.

    Attributes:
        name: By which a configuration asks for it.
        writer: The program, for eyes.
        trial: Which runs are trials; one that is nested in a trial is none.
        fold: Which runs are folds of a trial; never trials themselves.
        values_on_child: Whether metric and params of a trial that has none stand on a run nested in it.
        backbone: Where the name of the backbone stands.
        study_key: Where the key of the study group stands. Where none does, trials of one experiment, parent
            and backbone are taken for comparable, and the key is derived from these.
        metric: Where the name of the objective stands; without it the configuration's counts.
        fold_metric: Name of a trial's metric of one fold, with ``{metric}`` and ``{fold}`` from 0.
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
    refit: RefitLayout
    checkpoint: CheckpointLayout = CheckpointLayout()

    @property
    def is_read_by_tags(self) -> bool:
        """Whether trials and refits can be asked for by their tags, as no other run says anything of them."""
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
        )
        return (
            all(part.tags for part in parts)
            and self.fold is None
            and not self.values_on_child
            and all(source.of != "parent" for source in sources)
        )

    def queries(self) -> tuple[Mapping[str, str], ...]:
        """Tags to ask for, one set a query, so that every run that matters comes; ``({},)`` asks for all."""
        if not self.is_read_by_tags:
            return ({},)
        parts = [self.trial, *([self.refit.match] if self.refit.match else [])]
        first = [next(iter(part.tags.items())) for part in parts]
        return tuple({name: value} for name, values in first for value in values)
