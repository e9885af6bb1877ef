"""Quality: the outcome of every document in the runtime that would serve; metrics are computed from these."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bakeoff.measure.scenarios.subject import Subject
from bakeoff.measure.statistics.outcomes import read_outcomes
from bakeoff.measure.statistics.readings import Reading
from bakeoff.measure.tasks.task import Prediction
from bakeoff.record import Record


class Quality(Record):
    """Quality on the evaluation split, by the metrics of the task.

    Attributes:
        batch_size: Documents per call. A model whose answers depend on it beyond the tolerance of its
            precision is refused before.
        refit_tolerance: Largest allowed difference from the metric that the refit run logged: absolute, or a
            share of an error in units of a target.
    """

    kind: Literal["quality"] = "quality"
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    refit_tolerance: Annotated[float, Field(ge=0, le=1)] = 0.002

    @property
    def needs_labels(self) -> bool:
        """Whether the documents must be labelled: yes, since predictions are compared with labels."""
        return True

    @property
    def call_sizes(self) -> tuple[int, ...]:
        """Documents per call, for which outputs are compared with PyTorch's before."""
        return (self.batch_size,)

    @property
    def is_timed(self) -> bool:
        """Whether it is timed: no, and one process is enough, since predictions are the same every time."""
        return False

    def measure(self, subject: Subject) -> tuple[Reading, ...]:
        """Predict every document once, and return the outcome of each.

        Raises:
            CheckpointError: An output is not a finite number, or a given graph's predictions depend on the
                batch.
        """
        subject.model.require_same_alone()
        found: dict[int, Prediction] = {}
        order = sorted(range(len(subject.documents)), key=subject.model.size_of)
        for start in range(0, len(order), self.batch_size):
            picked = order[start : start + self.batch_size]
            found |= zip(picked, subject.model.predict(picked), strict=True)
        predictions = [found[number] for number in range(len(subject.documents))]
        return (read_outcomes(subject.task.compare(subject.documents, predictions, subject.model.labels)),)
