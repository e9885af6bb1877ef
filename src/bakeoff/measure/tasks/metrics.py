"""Metrics as functions of outcomes and weights, so that every one of them has the same bootstrap.

An outcome is what is kept of one document: numbers from which each metric can be computed again. A metric
gets the outcomes by name, each an array [documents], and weights [resamples, documents]: how often each
resample holds each document. It returns one value per resample. Weights of 1 give the metric itself.

Where a quotient has the denominator 0, its value is 0, as in scikit-learn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Direction = Literal["maximize", "minimize"]
Numbers = NDArray[np.float64]
Outcomes = Mapping[str, Numbers]
Compute = Callable[[Outcomes, Numbers], Numbers]

# A change of any definition below needs a new version.
METRICS_VERSION = 1
# Columns of counts; a column of one class has the name of the class after a slash.
TRUE_POSITIVES, PREDICTED, ACTUAL = "true_positives", "predicted", "actual"
EXACT, UNITS = "exact", "units"
PREDICTION, TARGET = "prediction", "target"
SCORE = "score"


@dataclass(frozen=True)
class Metric:
    """Quality metric of a task.

    Attributes:
        name: Name in settings and results.
        label: Name for people.
        direction: ``maximize`` if more is better, ``minimize`` if less is.
        low: Least value that it can take.
        high: Greatest value that it can take.
        compute: Function of outcomes and weights [resamples, documents]; it returns [resamples].
    """

    name: str
    label: str
    compute: Compute
    direction: Direction = "maximize"
    low: float = 0.0
    high: float = 1.0

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1 and more is better, so that differences are read in points."""
        return (self.low, self.high, self.direction) == (0.0, 1.0, "maximize")

    def value_of(self, outcomes: Outcomes) -> float:
        """Return the metric of all documents."""
        n_documents = len(next(iter(outcomes.values())))
        return float(self.compute(outcomes, np.ones((1, n_documents)))[0])

    def gain(self, values: Numbers) -> Numbers:
        """Return values of which more is better."""
        return values if self.direction == "maximize" else -values


def name_class(column: str, number: int) -> str:
    """Name the column of one class."""
    return f"{column}/{number}"


def f1(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return micro F1 from counts: 2·TP / (predicted + actual)."""
    hits = weights @ outcomes[TRUE_POSITIVES]
    return _divide(2 * hits, weights @ (outcomes[PREDICTED] + outcomes[ACTUAL]))


def precision(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return micro precision from counts: TP / predicted."""
    return _divide(weights @ outcomes[TRUE_POSITIVES], weights @ outcomes[PREDICTED])


def recall(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return micro recall from counts: TP / actual."""
    return _divide(weights @ outcomes[TRUE_POSITIVES], weights @ outcomes[ACTUAL])


def macro_f1(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return the mean F1 of the classes that the resample has, in documents or predictions."""
    return _macro(*_count_classes(outcomes, weights))


def share_exact(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return the share of units that are right: words of a text, or whole documents."""
    return _divide(weights @ outcomes[EXACT], weights @ outcomes[UNITS])


def accuracy(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return the share of documents with the right label."""
    return _divide(weights @ _is_right(outcomes), weights.sum(axis=1))


def macro_f1_of_labels(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return the mean F1 of the labels that the resample has, as scikit-learn's ``f1_score(macro)``."""
    return _macro(*_count_labels(outcomes, weights))


def weighted_f1_of_labels(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return the mean F1 of the labels, weighted by their documents, as scikit-learn's ``weighted``."""
    hits, predicted, actual = _count_labels(outcomes, weights)
    scores = _divide(2 * hits, predicted + actual)
    return _divide((scores * actual).sum(axis=1), actual.sum(axis=1))


def balanced_accuracy(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return the mean recall of the labels that documents of the resample have."""
    hits, _, actual = _count_labels(outcomes, weights)
    return _divide(_divide(hits, actual).sum(axis=1), (actual > 0).sum(axis=1))


def matthews(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return Matthews' correlation coefficient of several classes.

    Source: Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006, the form that scikit-learn computes.
    """
    hits, predicted, actual = _count_labels(outcomes, weights)
    right, total = hits.sum(axis=1), weights.sum(axis=1)
    covariance = right * total - (predicted * actual).sum(axis=1)
    spread = (total**2 - (predicted**2).sum(axis=1)) * (total**2 - (actual**2).sum(axis=1))
    return _divide(covariance, np.sqrt(np.maximum(spread, 0.0)))


def pearson(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return Pearson's correlation of prediction and target; 0 if one of them is constant."""
    return _correlate(outcomes[PREDICTION], outcomes[TARGET], weights)


def spearman(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return Spearman's rank correlation: Pearson's of the ranks in each resample, ties with mean ranks."""
    return _correlate(_rank(outcomes[PREDICTION], weights), _rank(outcomes[TARGET], weights), weights)


def root_mean_squared_error(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return the root of the mean squared error, in units of the target."""
    squared = (outcomes[PREDICTION] - outcomes[TARGET]) ** 2
    return np.sqrt(_divide(weights @ squared, weights.sum(axis=1)))


def mean_absolute_error(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return the mean absolute error, in units of the target."""
    errors = np.abs(outcomes[PREDICTION] - outcomes[TARGET])
    return _divide(weights @ errors, weights.sum(axis=1))


def mean_score(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return the mean of the score that a function of yours gave each row."""
    return _divide(weights @ outcomes[SCORE], weights.sum(axis=1))


def find_wrong_counts(outcomes: Outcomes) -> str | None:
    """Find counts that are missing or impossible, in words; or return None."""
    fault = find_wrong_numbers(outcomes, (TRUE_POSITIVES, PREDICTED, ACTUAL), least=0.0)
    if fault is not None:
        return fault
    hits = outcomes[TRUE_POSITIVES]
    if (hits > outcomes[PREDICTED]).any() or (hits > outcomes[ACTUAL]).any():
        return "impossible counts"
    return None


def find_wrong_numbers(outcomes: Outcomes, names: Sequence[str], least: float = -math.inf) -> str | None:
    """Find outcomes that are missing, not finite or below a least value, in words; or return None."""
    missing = [name for name in names if name not in outcomes]
    if missing:
        return f"no outcomes {missing[0]!r}"
    values = np.concatenate([np.empty(0), *outcomes.values()])
    return None if np.isfinite(values).all() and (values >= least).all() else "impossible counts"


def by_name(metrics: Sequence[Metric]) -> Mapping[str, Metric]:
    """Return metrics by name, in their order."""
    return {metric.name: metric for metric in metrics}


def _divide(above: Numbers, below: Numbers) -> Numbers:
    quotient: Numbers = np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)
    return quotient


def _is_right(outcomes: Outcomes) -> Numbers:
    right: Numbers = (outcomes[PREDICTED] == outcomes[ACTUAL]).astype(np.float64)
    return right


def _macro(hits: Numbers, predicted: Numbers, actual: Numbers) -> Numbers:
    totals = predicted + actual
    return _divide(_divide(2 * hits, totals).sum(axis=1), (totals > 0).sum(axis=1).astype(np.float64))


def _count_classes(outcomes: Outcomes, weights: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Sum the columns of each class: true positives, predicted, actual, each [resamples, classes]."""
    n_classes = sum(name.startswith(f"{ACTUAL}/") for name in outcomes)
    hits, predicted, actual = (
        weights @ np.column_stack([outcomes[name_class(column, number)] for number in range(n_classes)])
        if n_classes
        else weights @ outcomes[column][:, None]
        for column in (TRUE_POSITIVES, PREDICTED, ACTUAL)
    )
    return hits, predicted, actual


def _count_labels(outcomes: Outcomes, weights: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Count each label: true positives, predicted, actual, each [resamples, labels]."""
    predicted, actual = outcomes[PREDICTED], outcomes[ACTUAL]
    labels = np.unique(np.concatenate([predicted, actual]))
    is_predicted, is_actual = predicted[:, None] == labels, actual[:, None] == labels
    return (
        weights @ (is_predicted & is_actual).astype(np.float64),
        weights @ is_predicted.astype(np.float64),
        weights @ is_actual.astype(np.float64),
    )


def _correlate(one: Numbers, other: Numbers, weights: Numbers) -> Numbers:
    """Return the weighted correlation; both are [documents] or [resamples, documents]."""
    total = weights.sum(axis=1, keepdims=True)
    left, right = (side - (weights * side).sum(axis=1, keepdims=True) / total for side in (one, other))
    covariance = (weights * left * right).sum(axis=1)
    spread = np.sqrt((weights * left**2).sum(axis=1) * (weights * right**2).sum(axis=1))
    return np.clip(_divide(covariance, spread), -1.0, 1.0)


def _rank(values: Numbers, weights: Numbers) -> Numbers:
    """Rank the documents of each resample [resamples, documents]; equal values share their mean rank."""
    order = np.argsort(values, kind="stable")
    is_first = np.concatenate([[True], np.diff(values[order]) != 0])
    counts = np.add.reduceat(weights[:, order], np.flatnonzero(is_first), axis=1)
    mean_ranks = np.cumsum(counts, axis=1) - (counts - 1) / 2
    group = np.empty(len(values), dtype=np.intp)
    group[order] = np.cumsum(is_first) - 1
    ranks: Numbers = mean_ranks[:, group]
    return ranks
