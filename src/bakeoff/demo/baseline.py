"""Baseline of the second act: TF-IDF and logistic regression, with scikit-learn."""

from __future__ import annotations

from typing import Any

from bakeoff.measure.tasks.text_documents import require_text_document
from bakeoff.orchestrator import Project
from bakeoff.stores.tracking.sklearn_models import log_sklearn_once

_NAME = "demo-tfidf"
BASELINE = f"models:/{_NAME}/1"  # as in intents/bakeoff.yaml


def log_baseline(project: Project) -> bool:
    """Fit the baseline on the training documents and log it with ``mlflow.sklearn``, once.

    Returns:
        Whether the baseline was logged now.

    Raises:
        TrackingError: The store does not answer.
    """
    experiment_id = project.ensure_benchmark_experiment()
    return log_sklearn_once(project.tracker, experiment_id, _NAME, lambda: _fit(project))


def _fit(project: Project) -> tuple[Any, Any]:
    """Return the fitted pipeline, which reads the column ``text``, and an example of its input."""
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    documents = [require_text_document(document) for document in project.corpus.train]
    texts = pd.DataFrame({"text": [document.text for document in documents]})
    words = make_column_transformer((TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), "text"))
    model = make_pipeline(words, LogisticRegression(C=10.0))
    model.fit(texts, [label for document in documents for label in document.labels or ()])
    return model, texts.head(1)
