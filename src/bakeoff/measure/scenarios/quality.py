"""Quality: the task's metric in the runtime that would serve, document by document."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bakeoff.measure.model.tokenizer import read_tags
from bakeoff.measure.scenarios.subject import Subject
from bakeoff.measure.statistics.readings import ENTITIES, Reading
from bakeoff.measure.tasks.token_classification import count_entities
from bakeoff.record import Record


class Quality(Record):
    """Entity-level F1 on the evaluation split.

    Attributes:
        batch_size: Documents per call; it affects the speed, not the predictions.
        refit_tolerance: Largest allowed difference from the metric that the refit run logged (absolute).
    """

    kind: Literal["quality"] = "quality"
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    refit_tolerance: Annotated[float, Field(ge=0, le=1)] = 0.002

    @property
    def needs_labels(self) -> bool:
        """Whether the documents must be labelled: yes, since predictions are compared with labels."""
        return True

    @property
    def is_timed(self) -> bool:
        """Whether it is timed: no, and one process is enough, since predictions are the same every time."""
        return False

    def measure(self, subject: Subject) -> tuple[Reading, ...]:
        """Predict every document once, and return the entity counts of each."""
        rows = []
        order = sorted(range(len(subject.encodings)), key=lambda i: len(subject.encodings[i].ids))
        for start in range(0, len(order), self.batch_size):
            picked = order[start : start + self.batch_size]
            encodings = [subject.encodings[i] for i in picked]
            logits = subject.session.infer(subject.encoder.pad(encodings))
            predicted = read_tags(logits, encodings, subject.checkpoint.labels)
            rows += [
                (i, count_entities(subject.documents[i].tags, tags, subject.checkpoint.scheme))
                for i, tags in zip(picked, predicted, strict=True)
            ]
        counts = [count for _, count in sorted(rows, key=lambda row: row[0])]
        return (
            Reading(
                quantity=ENTITIES,
                unit="count",
                values=tuple(float(count.true_positives) for count in counts),
                repeats=tuple(0 for _ in counts),
                columns={
                    "predicted": tuple(count.predicted for count in counts),
                    "actual": tuple(count.actual for count in counts),
                },
            ),
        )


def f1_of(reading: Reading) -> float:
    """Return micro F1 of an entity-count reading, in [0, 1]."""
    total = sum(reading.columns["predicted"]) + sum(reading.columns["actual"])
    return 2 * sum(reading.values) / total if total else 0.0
