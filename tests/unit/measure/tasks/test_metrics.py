"""Metrics: the numbers of seqeval, scikit-learn and scipy, and weights that equal repeated documents."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as sk
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from seqeval import metrics as seq
from seqeval.metrics import classification_report

from bakeoff.measure.tasks import Task, TextClassification, TextRegression, TokenClassification
from bakeoff.measure.tasks.documents import TaggedDocument, TextDocument
from bakeoff.measure.tasks.metrics import Outcomes

Rows = list[tuple[Any, Any]]
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
LABELS = ("a", "b", "c")
SINGLE, MULTI = TextClassification(), TextClassification(multi_label=True)
# Few values, so that ties and constant columns are common; large ones show lost digits.
NUMBERS = st.sampled_from((-1.0, 0.0, 0.1, 0.3, 1e6)) | st.floats(-1e3, 1e3, width=32)


def _pairs(values: st.SearchStrategy[Any], least: int = 1) -> st.SearchStrategy[Rows]:
    return st.lists(st.tuples(values, values), min_size=least, max_size=12)


@st.composite
def _tagged(draw: st.DrawFn) -> Rows:
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=6))
    tags = [st.lists(st.sampled_from(TAGS), min_size=size, max_size=size) for size in sizes]
    return [(draw(each), draw(each)) for each in tags]


TAGGED = _tagged()
SINGLES = _pairs(st.sampled_from(LABELS))
MULTIS = _pairs(st.frozensets(st.sampled_from(LABELS)).map(lambda some: tuple(sorted(some))))
PAIRS = _pairs(NUMBERS, least=2)


def outcomes_of(task: Task, rows: Rows) -> Outcomes:
    """Outcomes of documents, each with what is right and what was predicted."""
    if isinstance(task, TokenClassification):
        documents: Sequence[Any] = [
            TaggedDocument(tokens=("w",) * len(tags), tags=tuple(tags)) for tags, _ in rows
        ]
        return task.compare(documents, [tuple(found) for _, found in rows], ())
    if isinstance(task, TextRegression):
        documents = [TextDocument(text="t", number=number) for number, _ in rows]
        return task.compare(documents, [found for _, found in rows], ())
    both = [[(cell,) if isinstance(cell, str) else cell for cell in row] for row in rows]
    documents = [TextDocument(text="t", labels=actual) for actual, _ in both]
    return task.compare(documents, [found for _, found in both], LABELS)


def _binarize(rows: Sequence[Any]) -> NDArray[np.int64]:
    return np.array([[name in row for name in LABELS] for row in rows], dtype=np.int64)


def _of_tags(score: Callable[..., float]) -> Callable[[Rows], float]:
    return lambda rows: score(*_columns(rows), zero_division=0)


def _macro_of_tags(rows: Rows) -> float:
    actual, found = _columns(rows)
    if not any(tag != "O" for row in (*actual, *found) for tag in row):
        return 0.0
    report = classification_report(actual, found, output_dict=True, zero_division=0)
    return float(report["macro avg"]["f1-score"])


def _token_accuracy(rows: Rows) -> float:
    """Tags in BIO: an entity that begins with I- begins all the same."""
    from bakeoff.measure.tasks.label_schemes import read_entities, write_bio

    both = [
        [tag for tags in column for tag in write_bio(read_entities(tags), len(tags))]
        for column in _columns(rows)
    ]
    return float(sk.accuracy_score(*both))


def _columns(rows: Rows) -> tuple[list[Any], list[Any]]:
    return [list(one) if isinstance(one, list) else one for one, _ in rows], [other for _, other in rows]


def _of_labels(score: Callable[..., Any], **more: Any) -> Callable[[Rows], float]:
    return lambda rows: float(score(*_columns(rows), **more))


def _of_sets(score: Callable[..., Any], **more: Any) -> Callable[[Rows], float]:
    return lambda rows: float(score(*map(_binarize, _columns(rows)), **more))


def _macro_of_sets(rows: Rows) -> float:
    """Mean over the labels that occur: scikit-learn would give the others 0."""
    actual, found = map(_binarize, _columns(rows))
    occurs = (actual | found).any(axis=0)
    if not occurs.any():
        return 0.0
    scores = sk.f1_score(actual, found, average=None, zero_division=0)
    return float(np.mean(scores[occurs]))


def _correlation(score: Callable[..., Any]) -> Callable[[Rows], float]:
    def compute(rows: Rows) -> float:
        found = float(score(*_columns(rows))[0])
        return 0.0 if np.isnan(found) else found

    return compute


EXPECTED: Mapping[str, tuple[Task, Mapping[str, Callable[[Rows], float]]]] = {
    "tags": (
        TokenClassification(),
        {
            "f1": _of_tags(seq.f1_score),
            "precision": _of_tags(seq.precision_score),
            "recall": _of_tags(seq.recall_score),
            "macro_f1": _macro_of_tags,
            "token_accuracy": _token_accuracy,
        },
    ),
    "one label": (
        SINGLE,
        {
            "accuracy": _of_labels(sk.accuracy_score),
            "macro_f1": _of_labels(sk.f1_score, average="macro", zero_division=0),
            "micro_f1": _of_labels(sk.f1_score, average="micro", zero_division=0),
            "weighted_f1": _of_labels(sk.f1_score, average="weighted", zero_division=0),
            "balanced_accuracy": _of_labels(sk.balanced_accuracy_score),
            "mcc": _of_labels(sk.matthews_corrcoef),
        },
    ),
    "several labels": (
        MULTI,
        {
            "micro_f1": _of_sets(sk.f1_score, average="micro", zero_division=0),
            "macro_f1": _macro_of_sets,
            "subset_accuracy": _of_sets(sk.accuracy_score),
        },
    ),
    "numbers": (
        TextRegression(),
        {
            "spearman": _correlation(scipy.stats.spearmanr),
            "pearson": _correlation(scipy.stats.pearsonr),
            "rmse": _of_labels(sk.root_mean_squared_error),
            "mae": _of_labels(sk.mean_absolute_error),
        },
    ),
}


def assert_as_expected(kind: str, rows: Rows) -> None:
    task, expected = EXPECTED[kind]
    assert list(task.metrics) == list(expected)
    outcomes = outcomes_of(task, rows)
    assert task.find_fault(outcomes) is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, compute in expected.items():
            found, wanted = task.metrics[name].value_of(outcomes), compute(rows)
            assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9), name
            assert task.metrics[name].low <= found <= task.metrics[name].high


@given(TAGGED)
@example([(["O"], ["O"])])
@example([(["O", "O"], ["B-PER", "I-PER"])])
@example([(["B-PER"], ["B-LOC"])])
def test_metrics_of_entities_are_those_of_seqeval(rows: Rows) -> None:
    assert_as_expected("tags", rows)


@given(SINGLES)
@example([("a", "a")])
@example([("a", "a"), ("a", "b")])
@example([("a", "b"), ("b", "b"), ("c", "b")])
def test_metrics_of_one_label_are_those_of_scikit_learn(rows: Rows) -> None:
    assert_as_expected("one label", rows)


@given(MULTIS)
@example([((), ())])
@example([((), ("a",)), (("b",), ())])
def test_metrics_of_several_labels_are_those_of_scikit_learn(rows: Rows) -> None:
    assert_as_expected("several labels", rows)


@given(PAIRS)
@example([(1.0, 0.1), (2.0, 0.1), (3.0, 0.1)])
@example([(1.0, 2.0), (1.0, 3.0)])
@example([(1.0, 1.0), (2.0, 2.0), (2.0, 2.0), (3.0, 1e12)])
def test_metrics_of_numbers_are_those_of_scipy_and_scikit_learn(rows: Rows) -> None:
    wide = max(abs(each) for row in rows for each in row)
    columns: NDArray[np.float64] = np.array(rows).T
    is_flat = [(side != side[0]).any() and np.ptp(side) < 1e-5 * max(wide, 1.0) for side in columns]
    if not any(is_flat):  # scipy itself warns that such a correlation is inaccurate
        assert_as_expected("numbers", rows)


@pytest.mark.parametrize(
    ("kind", "rows"),
    [("tags", TAGGED), ("one label", SINGLES), ("several labels", MULTIS), ("numbers", PAIRS)],
)
@given(st.data())
def test_a_weight_of_two_is_a_document_that_is_there_twice(
    kind: str, rows: st.SearchStrategy[Rows], data: st.DataObject
) -> None:
    task, documents = EXPECTED[kind][0], data.draw(rows)
    n = len(documents)
    weights = data.draw(st.lists(st.lists(st.integers(0, 3), min_size=n, max_size=n), min_size=1, max_size=4))
    weights = [row if any(row) else [1] * n for row in weights]
    outcomes = outcomes_of(task, documents)
    for metric in task.metrics.values():
        drawn = metric.compute(outcomes, np.array(weights, dtype=np.float64))
        assert drawn.shape == (len(weights),)
        for found, row in zip(drawn, weights, strict=True):
            repeated = {name: np.repeat(column, row) for name, column in outcomes.items()}
            assert found == pytest.approx(metric.value_of(repeated), rel=1e-7, abs=1e-7), metric.name


def test_a_resample_with_one_value_left_has_no_correlation() -> None:
    outcomes = outcomes_of(TextRegression(), [(0.1, 0.3), (0.7, 0.2), (0.1, 0.9)])
    weights = np.array([[3.0, 0.0, 0.0], [1.0, 0.0, 2.0]])
    for name in ("spearman", "pearson"):
        assert TextRegression().metrics[name].compute(outcomes, weights).tolist() == [0.0, 0.0]


def test_an_outlier_costs_a_correlation_no_digits() -> None:
    generator = np.random.default_rng(3)
    target = generator.normal(size=60)
    found = 0.5 * target + generator.normal(size=60)
    found[0] = target[0] = 1e9
    outcomes = outcomes_of(TextRegression(), list(zip(target.tolist(), found.tolist(), strict=True)))
    weights = np.ones((1, 60))
    weights[0, 0] = 0
    drawn = TextRegression().metrics["pearson"].compute(outcomes, weights)
    assert drawn[0] == pytest.approx(scipy.stats.pearsonr(target[1:], found[1:])[0], abs=1e-9)


def test_a_gain_turns_an_error_and_no_share() -> None:
    values = np.arange(3.0)
    assert TextRegression().metrics["rmse"].gain(values).tolist() == [0.0, -1.0, -2.0]
    assert SINGLE.metrics["accuracy"].gain(values).tolist() == values.tolist()


def test_shares_are_read_in_points_and_correlations_and_errors_are_not() -> None:
    shares = {
        name
        for task in (TokenClassification(), SINGLE, MULTI, TextRegression())
        for name, metric in task.metrics.items()
        if not metric.is_share
    }
    assert shares == {"mcc", "spearman", "pearson", "rmse", "mae"}
