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
# A variance below this share of the mean square is a rounding error.
_CONSTANT = 1e-12


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

    @property
    def is_bounded(self) -> bool:
        """Whether it lies within [-1, 1], so that three decimals say enough."""
        return self.low >= -1 and self.high <= 1

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


@dataclass(frozen=True)
class OfSums:
    """Metric that depends on sums over documents alone.

    Sums of many models are one product of matrices, so a thousand of them are drawn at once.

    Attributes:
        terms: Function of outcomes; it returns what is summed [documents, terms].
        finish: Function of the sums [..., terms]; it returns the metric [...].
    """

    terms: Callable[[Outcomes], Numbers]
    finish: Callable[[Numbers], Numbers]

    def __call__(self, outcomes: Outcomes, weights: Numbers) -> Numbers:
        """Return the metric of each resample."""
        return self.finish(weights @ self.terms(outcomes))


def _take(*names: str) -> Callable[[Outcomes], Numbers]:
    return lambda outcomes: np.column_stack([outcomes[name] for name in names])


def _share(sums: Numbers) -> Numbers:
    """Divide the first sum by the second."""
    return _divide(sums[..., 0], sums[..., 1])


def _f1_terms(outcomes: Outcomes) -> Numbers:
    return np.column_stack([2 * outcomes[TRUE_POSITIVES], outcomes[PREDICTED] + outcomes[ACTUAL]])


def _mean_of(values: Callable[[Outcomes], Numbers]) -> Callable[[Outcomes], Numbers]:
    """Return the terms of a mean over documents: the values, and 1 for each document."""

    def terms(outcomes: Outcomes) -> Numbers:
        found = values(outcomes)
        return np.column_stack([found, np.ones(len(found))])

    return terms


def _is_right(outcomes: Outcomes) -> Numbers:
    right: Numbers = (outcomes[PREDICTED] == outcomes[ACTUAL]).astype(np.float64)
    return right


def _error(outcomes: Outcomes) -> Numbers:
    return outcomes[PREDICTION] - outcomes[TARGET]


def _root_of_mean(sums: Numbers) -> Numbers:
    return np.sqrt(_share(sums))


def _count_classes(outcomes: Outcomes) -> Numbers:
    """Return the counts of each class: all true positives, all predicted, all actual."""
    n_classes = sum(name.startswith(f"{ACTUAL}/") for name in outcomes)
    columns = [
        outcomes[name]
        for column in (TRUE_POSITIVES, PREDICTED, ACTUAL)
        for name in ([name_class(column, number) for number in range(n_classes)] or [column])
    ]
    return np.column_stack(columns)


def _count_labels(outcomes: Outcomes) -> Numbers:
    """Return for each label whether it is right, predicted, actual: all of one kind after another."""
    predicted, actual = outcomes[PREDICTED], outcomes[ACTUAL]
    labels = np.unique(np.concatenate([predicted, actual]))
    is_predicted, is_actual = predicted[:, None] == labels, actual[:, None] == labels
    terms: Numbers = np.hstack([is_predicted & is_actual, is_predicted, is_actual]).astype(np.float64)
    return terms


def _thirds(sums: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    n = sums.shape[-1] // 3
    return sums[..., :n], sums[..., n : 2 * n], sums[..., 2 * n :]


def _macro(sums: Numbers) -> Numbers:
    hits, predicted, actual = _thirds(sums)
    totals = predicted + actual
    return _divide(_divide(2 * hits, totals).sum(axis=-1), (totals > 0).sum(axis=-1))


def _weighted(sums: Numbers) -> Numbers:
    hits, predicted, actual = _thirds(sums)
    scores = _divide(2 * hits, predicted + actual)
    return _divide((scores * actual).sum(axis=-1), actual.sum(axis=-1))


def _balanced(sums: Numbers) -> Numbers:
    hits, _, actual = _thirds(sums)
    return _divide(_divide(hits, actual).sum(axis=-1), (actual > 0).sum(axis=-1))


def _matthews(sums: Numbers) -> Numbers:
    hits, predicted, actual = _thirds(sums)
    right, total = hits.sum(axis=-1), actual.sum(axis=-1)
    covariance = right * total - (predicted * actual).sum(axis=-1)
    squared = [total**2 - (side**2).sum(axis=-1) for side in (predicted, actual)]
    return _divide(covariance, np.sqrt(squared[0] * squared[1]))


def _moments_of_outcomes(outcomes: Outcomes) -> Numbers:
    """Return what Pearson's correlation sums, about the medians: an outlier then costs no digits."""
    left, right = (outcomes[name] - np.median(outcomes[name]) for name in (PREDICTION, TARGET))
    products = [one * other for one, other in _pair(left, right, left, right)]
    return np.column_stack([np.ones(len(left)), left, right, *products])


def _pair(left: Numbers, right: Numbers, one: Numbers, other: Numbers) -> list[tuple[Numbers, Numbers]]:
    return [(left, one), (right, other), (left, other)]


def _correlation(sums: Numbers) -> Numbers:
    """Return the correlation from n, two sums, two sums of squares, and the sum of products."""
    total, left, right, left2, right2, product = np.moveaxis(sums, -1, 0)
    spreads = [
        np.where(square - one**2 / total > _CONSTANT * square, square - one**2 / total, 0.0)
        for one, square in ((left, left2), (right, right2))
    ]
    covariance = product - left * right / total
    return np.clip(_divide(covariance, np.sqrt(spreads[0]) * np.sqrt(spreads[1])), -1.0, 1.0)


f1 = OfSums(_f1_terms, _share)
"""Micro F1 from counts: 2·TP / (predicted + actual)."""
precision = OfSums(_take(TRUE_POSITIVES, PREDICTED), _share)
"""Micro precision from counts: TP / predicted."""
recall = OfSums(_take(TRUE_POSITIVES, ACTUAL), _share)
"""Micro recall from counts: TP / actual."""
macro_f1 = OfSums(_count_classes, _macro)
"""Mean F1 of the classes that the resample has, in documents or predictions."""
share_exact = OfSums(_take(EXACT, UNITS), _share)
"""Share of units that are right: words of a text, or whole documents."""
accuracy = OfSums(_mean_of(_is_right), _share)
"""Share of documents with the right label."""
macro_f1_of_labels = OfSums(_count_labels, _macro)
"""Mean F1 of the labels that the resample has, as scikit-learn's ``f1_score(macro)``."""
weighted_f1_of_labels = OfSums(_count_labels, _weighted)
"""Mean F1 of the labels, weighted by their documents, as scikit-learn's ``weighted``."""
balanced_accuracy = OfSums(_count_labels, _balanced)
"""Mean recall of the labels that documents of the resample have."""
matthews = OfSums(_count_labels, _matthews)
"""Matthews' correlation coefficient of several classes.

Source: Gorodkin 2004, doi:10.1016/j.compbiolchem.2004.09.006, the form that scikit-learn computes.
"""
root_mean_squared_error = OfSums(_mean_of(lambda outcomes: _error(outcomes) ** 2), _root_of_mean)
"""Root of the mean squared error, in units of the target."""
mean_absolute_error = OfSums(_mean_of(lambda outcomes: np.abs(_error(outcomes))), _share)
"""Mean absolute error, in units of the target."""
mean_score = OfSums(_mean_of(lambda outcomes: outcomes[SCORE]), _share)
"""Mean of the score that a function of yours gave each row."""


pearson = OfSums(_moments_of_outcomes, _correlation)
"""Pearson's correlation of prediction and target; 0 if one of them is constant."""


def spearman(outcomes: Outcomes, weights: Numbers) -> Numbers:
    """Return Spearman's rank correlation: Pearson's of the ranks in each resample, ties with mean ranks."""
    ranks = [_rank(outcomes[name], weights) for name in (PREDICTION, TARGET)]
    left, right = (side - side.mean() for side in ranks)
    moments = (weights, weights * left, weights * right)
    squares = ((one * other).sum(axis=1) for one, other in _pair(moments[1], moments[2], left, right))
    return _correlation(np.column_stack([*(each.sum(axis=1) for each in moments), *squares]))


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
