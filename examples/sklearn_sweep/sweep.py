"""Search TF-IDF classifiers of scikit-learn with Optuna, and log the sweep for bakeoff."""

import json
from importlib.resources import files
from pathlib import Path

import mlflow.sklearn
import optuna
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from bakeoff.integrations import Study, find_best, log_refit
from bakeoff.integrations.optuna import OptunaCallback

DATA = Path("data")
VECTORS = {
    "tfidf-words": {"analyzer": "word", "ngram_range": (1, 2)},
    "tfidf-chars": {"analyzer": "char_wb", "ngram_range": (2, 4)},
}


def copy_data():
    """Take the sentences and their intents from bakeoff's demo; yours are files of your own."""
    DATA.mkdir(exist_ok=True)
    for role in ("train", "test"):
        source = files("bakeoff.demo") / "data" / f"intents_{role}.jsonl"
        (DATA / f"{role}.jsonl").write_bytes(source.read_bytes())
    return pd.DataFrame([json.loads(line) for line in (DATA / "train.jsonl").read_text().splitlines()])


def make_model(backbone, C):
    """Make a pipeline that reads the column ``text``."""
    columns = make_column_transformer((TfidfVectorizer(sublinear_tf=True, **VECTORS[backbone]), "text"))
    return make_pipeline(columns, LogisticRegression(C=C, max_iter=200))


def main():
    """Search both families of models, then fit the best of each once more on all sentences."""
    table = copy_data()
    texts, labels = table[["text"]], table["intent"]

    def objective(trial):
        backbone = trial.suggest_categorical("backbone", list(VECTORS))
        model = make_model(backbone, trial.suggest_float("C", 0.1, 100.0, log=True))
        folds = cross_val_score(model, texts, labels, cv=3, scoring="accuracy")
        trial.set_user_attr("folds", folds.tolist())
        return folds.mean()

    study = Study("intents", metric="accuracy", data={"train": DATA / "train.jsonl"}, settings={"folds": 3})
    search = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    search.optimize(objective, n_trials=12, callbacks=[OptunaCallback(study)])

    for backbone in VECTORS:
        best = find_best(study, backbone)
        model = make_model(backbone, best.params["C"]).fit(texts, labels)
        folder = Path("models", backbone)
        mlflow.sklearn.save_model(
            model,
            folder,
            signature=infer_signature(texts, model.predict(texts)),
            pip_requirements=["scikit-learn", "skops", "pandas"],
        )
        log_refit(best, folder)
        print(f"{backbone}: best C {best.params['C']:.2f}, accuracy {best.metric:.3f}")


if __name__ == "__main__":
    main()
