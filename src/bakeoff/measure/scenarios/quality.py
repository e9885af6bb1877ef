"""Quality: the task's metric through the very runtime that would serve, document by document."""

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
        batch_size: Documents at once; decides speed, not the answers.
        refit_tolerance: How far the metric may be from the one that the refit run logged (absolute).
    """

    kind: Literal["quality"] = "quality"
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    refit_tolerance: Annotated[float, Field(ge=0, le=1)] = 0.002

    @property
    def is_timed(self) -> bool:
        """Quality needs one process: the same answers come every time."""
        return False

    def measure(self, subject: Subject) -> tuple[Reading, ...]:
        """Predict every document once; returns the entity counts of each."""
        rows = []
        order = sorted(range(len(subject.encodings)), key=lambda i: len(subject.encodings[i].ids))
        for start in range(0, len(order), self.batch_size):
            picked = order[start : start + self.batch_size]
            encodings = [subject.encodings[i] for i in picked]
            logits = subject.session.infer(subject.encoder.pad(encodings))
            predicted = read_tags(logits, encodings, subject.checkpoint.labels)
            rows += [
                (i, count_entities(subject.documents[i].tags, tags))
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
    """Micro F1 of an entity-count reading, in [0, 1]."""
    total = sum(reading.columns["predicted"]) + sum(reading.columns["actual"])
    return 2 * sum(reading.values) / total if total else 0.0
