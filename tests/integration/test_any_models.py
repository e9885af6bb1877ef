"""Models of every kind in one contest: checkpoints, given graphs, MLflow models and Python objects."""

from __future__ import annotations

import functools
import io
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from rich.console import Console, Group, RenderableType

from bakeoff.cli.bench_tables import tables_of_measured
from bakeoff.core.records import Measurement
from bakeoff.errors import BakeoffError, ConfigError, PromotionRefusedError
from bakeoff.measure.statistics.outcomes import outcomes_of
from bakeoff.measure.statistics.readings import LATENCY, OUTCOMES
from bakeoff.orchestrator import Project, bench, decide, open_project, plan, promote, save_decision
from bakeoff.orchestrator.checkpoints import find_models
from integration.tasks.test_text_tasks import read_lines, single
from integration.test_serving import ask, served
from once import make_once

LABELS = ["book", "music", "other"]
PROTOCOL = {"processes": 2, "rounds": 2, "block_s": 0.005, "max_calls": 10, "warmup_min_s": 0.0}
BENCHMARK = {
    "accept_contended": True,
    "protocol": PROTOCOL,
    "n_texts": 20,
    "scenarios": [{"kind": "quality"}, {"kind": "latency", "batch_sizes": [1, 3]}],
    "runtimes": [{"kind": "torch"}, {"kind": "onnxruntime"}, {"kind": "openvino"}],
}
FACTORIES = """
class Rules:
    def __init__(self, answer):
        self._answer = answer

    def predict(self, rows):
        return [self._answer(row) for row in rows]


def read(row):
    return "music" if "play" in row["text"].lower() else "other"


def rules():
    return Rules(read)


def fewer():
    model = Rules(read)
    model.predict = lambda rows: ["music"]
    return model


def numbers():
    return Rules(lambda row: 1.5)


def raising():
    raise OSError("no such weights")


def breaking():
    return Rules(lambda row: row["missing"])


def empty():
    return object()


def miss(rows, predictions):
    return [abs(row["vowels"] / 10 - one) for row, one in zip(rows, predictions, strict=True)]


value = 3
"""


@pytest.fixture(scope="session")
def zoo(empty_store: Path, tiny_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one classifier in many forms, a store with logged ones, and labelled texts."""

    def make(folder: Path) -> None:
        shutil.copyfile(empty_store, folder / "mlflow.db")
        train = [single(words) for words in read_lines("train.jsonl", 160)]
        test = [single(words) for words in read_lines("test.jsonl", 40)]
        (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in test))
        (folder / "factories.py").write_text(FACTORIES)
        save_checkpoint(tiny_backbone, folder / "hf", train)
        export_graph(folder / "hf", folder / "graph")
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        try:
            (folder / "ids.json").write_text(json.dumps(log_models(train, folder)))
        finally:
            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]

    return make_once(tmp_path_factory, "zoo", make)


def save_checkpoint(backbone: Path, folder: Path, train: list[dict[str, Any]]) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        backbone, num_labels=len(LABELS), id2label=dict(enumerate(LABELS))
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(backbone / "tokenizer.json"), pad_token="[PAD]", unk_token="[UNK]"
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for start in [*range(0, len(train), 20)] * 3:
        rows = train[start : start + 20]
        batch = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
        wanted = torch.tensor([LABELS.index(row["label"]) for row in rows])
        model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=wanted
        ).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval().save_pretrained(folder)
    shutil.copyfile(backbone / "tokenizer.json", folder / "tokenizer.json")


def export_graph(checkpoint: Path, folder: Path, **options: Any) -> None:
    """Export as optimum does: the graph next to tokenizer and configuration, ids and mask as inputs."""
    import torch
    from transformers import AutoModelForSequenceClassification

    class Wrapped(torch.nn.Module):  # type: ignore[misc]
        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    folder.mkdir()
    model = Wrapped(AutoModelForSequenceClassification.from_pretrained(checkpoint)).eval()
    ids = torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]])
    free = {0: "batch", 1: "tokens"}
    settings: dict[str, Any] = {
        "input_names": ["input_ids", "attention_mask"],
        "output_names": ["logits"],
        "dynamic_axes": {"input_ids": free, "attention_mask": free, "logits": {0: "batch"}},
        **options,
    }
    torch.onnx.export(
        model, (ids, (ids > 0).long()), str(folder / "model.onnx"), dynamo=False, opset_version=17, **settings
    )
    for name in ("tokenizer.json", "config.json"):
        shutil.copyfile(checkpoint / name, folder / name)


def count_letters(text: str) -> dict[str, int]:
    """Numbers of a text, for a model that reads no text."""
    return {"letters": len(text), "vowels": sum(text.count(vowel) for vowel in "aeiou")}


def log_models(train: list[dict[str, Any]], folder: Path) -> dict[str, str]:
    """Log models as their authors would; each one's URI by name.

    Requirements are named, since MLflow finds them by loading each model in a process of its own.
    """
    import pandas as pd
    from lightgbm import LGBMRegressor
    from mlflow.models import infer_signature
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    texts, labels = [row["text"] for row in train], [row["label"] for row in train]
    table = pd.DataFrame({"text": texts})
    plain = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, labels)
    columns = ColumnTransformer([("text", TfidfVectorizer(), "text")])
    selecting = make_pipeline(columns, LogisticRegression()).fit(table, labels)
    numbered = make_pipeline(columns, LogisticRegression())
    numbered.fit(table, [LABELS.index(label) for label in labels])
    features = pd.DataFrame([count_letters(text) for text in texts])
    boosted = LGBMRegressor(n_estimators=20, verbose=-1).fit(features, features["vowels"] / 10)
    signed = infer_signature(table, selecting.predict(table))
    model = AutoModelForSequenceClassification.from_pretrained(folder / "hf")
    model.classifier.bias.data.add_(0.05)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "hf" / "tokenizer.json"), pad_token="[PAD]"
    )
    log_sklearn = functools.partial(mlflow.sklearn.log_model, pip_requirements=["scikit-learn"])
    experiment = mlflow.create_experiment("models", artifact_location=(folder / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment):
        found = {
            "plain": log_sklearn(plain, name="plain"),
            "misread": log_sklearn(plain, name="misread", signature=signed),
            "selecting": log_sklearn(selecting, name="selecting", signature=signed),
            "numbered": log_sklearn(
                numbered, name="numbered", signature=infer_signature(table, numbered.predict(table))
            ),
            "boosted": mlflow.lightgbm.log_model(
                boosted,
                name="boosted",
                signature=infer_signature(features, boosted.predict(features)),
                pip_requirements=["lightgbm"],
            ),
            "transformers": mlflow.transformers.log_model(
                {"model": model, "tokenizer": tokenizer},
                name="transformers",
                task="text-classification",
                pip_requirements=["transformers"],
            ),
        }
    return {name: info.model_uri for name, info in found.items()}


@pytest.fixture
def write(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Project]:
    """Write a project in a copy of the folder, and open it from there."""
    folder = Path(shutil.copytree(zoo, tmp_path / "project", ignore=shutil.ignore_patterns("artifacts")))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "factories", raising=False)

    def make(models: Mapping[str, Any], task: Mapping[str, Any] | None = None, **benchmark: Any) -> Project:
        config = {
            "tracking": {"benchmark_experiment": "benchmark"},
            "data": {"test": "test.jsonl", "max_length": 32, "task": task or {"kind": "text_classification"}},
            "models": dict(models),
            "benchmark": {**BENCHMARK, **benchmark},
            "decision": {"when_tied": "fastest", "resamples": 400},
        }
        (folder / "bakeoff.yaml").write_text(json.dumps(config), encoding="utf-8")
        return open_project(folder / "bakeoff.yaml")

    return make


@pytest.fixture
def ids(zoo: Path) -> dict[str, str]:
    return dict(json.loads((zoo / "ids.json").read_text()))


def show(shown: Iterable[RenderableType]) -> str:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(Group(*shown))
    return console.export_text()


def accuracies(project: Project) -> dict[str, float]:
    found = {}
    for attempt in project.results.list_attempts():
        loaded = project.results.load(attempt.job.key, attempt.attempt)
        if isinstance(loaded, Measurement) and (reading := loaded.reading(OUTCOMES)):
            outcomes = outcomes_of(reading)
            found[loaded.job.candidate] = float(np.mean(outcomes["actual"] == outcomes["predicted"]))
    return found


@pytest.mark.slow
def test_models_of_every_kind_stand_in_one_decision(
    write: Callable[..., Project], ids: dict[str, str], zoo: Path
) -> None:
    project = write(
        {
            "hf": "hf",
            "graph": "graph/model.onnx",
            "piped": ids["transformers"],
            "plain": {"source": ids["plain"], "trust_code": True},
            "selecting": {"source": ids["selecting"], "trust_code": True},
            "rules": {"factory": "factories:rules", "trust_code": True},
        }
    )
    labels = [f"{planned.job.candidate}" for planned in plan(project).jobs][::2]
    assert labels == [
        *(f"hf × {runtime}-fp32" for runtime in ("torch", "onnxruntime", "openvino")),
        *(f"graph × {runtime}" for runtime in ("onnxruntime", "openvino")),
        *(f"piped × {runtime}-fp32" for runtime in ("torch", "onnxruntime", "openvino")),
        "plain × pyfunc",
        "selecting × pyfunc",
        "rules × python",
    ]
    done = bench(project)
    assert done.failed == ()
    decision = decide(project)
    assert {standing.label for standing in decision.standings} == set(labels)
    timed = [each for each in done.measured if each.reading(LATENCY, batch_size=1)]
    assert {each.job.scenario.model_dump()["region"] for each in timed} == {"end_to_end"}
    assert len({each.heat.heat_id for each in timed if each.heat}) == 1
    assert "latency is end to end: from a row to its prediction, tokenisation included" in decision.reasons
    assert "End to end: a call is from a row to its prediction" in show(tables_of_measured(done.measured))
    # Every form of a model answers as its own library does.
    found, wanted = accuracies(project), compute_accuracies(zoo, ids)
    for label, accuracy in found.items():
        assert accuracy == pytest.approx(wanted[label.split(" × ")[0]], abs=1e-9), label
    assert bench(project).measured == ()


def compute_accuracies(zoo: Path, ids: Mapping[str, str]) -> dict[str, float]:
    """The accuracy of each model, by its own library."""
    import torch
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    rows = [json.loads(line) for line in (zoo / "test.jsonl").read_text().splitlines()]
    texts, actual = [row["text"] for row in rows], [row["label"] for row in rows]
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(zoo / "hf" / "tokenizer.json"))

    def classify(model: Any) -> list[str]:
        found = []
        for text in texts:
            encoded = tokenizer(text, truncation=True, max_length=32, return_tensors="pt")
            with torch.no_grad():
                logits = model(
                    input_ids=encoded["input_ids"], attention_mask=encoded["attention_mask"]
                ).logits
            found.append(LABELS[int(logits.argmax())])
        return found

    hf = AutoModelForSequenceClassification.from_pretrained(zoo / "hf").eval()
    predicted = {"hf": classify(hf)}
    hf.classifier.bias.data.add_(0.05)
    predicted["graph"], predicted["piped"] = predicted["hf"], classify(hf)
    mlflow.set_tracking_uri(f"sqlite:///{zoo / 'mlflow.db'}")
    try:
        import pandas as pd

        plain, selecting = (mlflow.sklearn.load_model(ids[name]) for name in ("plain", "selecting"))
        predicted["plain"] = list(plain.predict(texts))
        predicted["selecting"] = list(selecting.predict(pd.DataFrame({"text": texts})))
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    predicted["rules"] = ["music" if "play" in text.lower() else "other" for text in texts]
    return {
        name: float(np.mean([one == other for one, other in zip(actual, found, strict=True)]))
        for name, found in predicted.items()
    }


@pytest.mark.slow
def test_numbers_of_a_model_are_named_by_the_labels(
    write: Callable[..., Project], ids: dict[str, str]
) -> None:
    task = {"kind": "text_classification", "labels": LABELS}
    quality = [{"kind": "quality"}]
    project = write({"numbered": {"source": ids["numbered"], "trust_code": True}}, task, scenarios=quality)
    assert bench(project).failed == ()
    assert accuracies(project)["numbered × pyfunc"] > 0.5


@pytest.mark.slow
def test_a_boosted_model_reads_rows_of_a_task_of_your_own(
    write: Callable[..., Project], ids: dict[str, str]
) -> None:
    task = {"kind": "custom", "function": "factories:miss", "name": "miss", "direction": "minimize"}
    model = {"source": ids["boosted"], "trust_code": True}
    project = write({"boosted": model}, task, scenarios=[{"kind": "quality"}])
    rows = [count_letters(words) for words in (" ".join(each) for each in read_lines("test.jsonl", 40))]
    (project.root / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = bench(open_project(project.root / "bakeoff.yaml"))
    assert done.failed == ()
    reading = done.measured[0].reading(OUTCOMES)
    assert reading is not None
    mlflow.set_tracking_uri(f"sqlite:///{project.root / 'mlflow.db'}")
    try:
        import pandas as pd

        predicted = mlflow.lightgbm.load_model(ids["boosted"]).predict(pd.DataFrame(rows))
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    wanted = [abs(row["vowels"] / 10 - one) for row, one in zip(rows, predicted, strict=True)]
    assert outcomes_of(reading)["score"] == pytest.approx(wanted)


WRONG = {
    "misread": r"found 1 prediction for \d+ rows; .* select the text first",
    "fewer": r"found 1 prediction for \d+ rows",
    "numbers": r"prediction 1 of the model: found 1\.5",
    "raising": "raised OSError: no such weights",
    "breaking": "found KeyError: 'missing'; expected an answer",
    "empty": r"returned a object without predict\(rows\)",
    "value": "is a int; name a function",
    "gone": "cannot be imported: AttributeError",
}


@pytest.mark.slow
def test_models_that_answer_wrongly_fail_in_one_line_each_and_the_others_go_on(
    write: Callable[..., Project], ids: dict[str, str]
) -> None:
    models = {name: {"factory": f"factories:{name}", "trust_code": True} for name in ("rules", *WRONG)}
    models["misread"] = {"source": ids["misread"], "trust_code": True}
    done = bench(write(models, scenarios=[{"kind": "quality"}]))
    assert [each.job.backbone for each in done.measured] == ["rules"]
    reasons = {each.job.backbone: each.reason for each in done.failed}
    assert reasons.keys() == WRONG.keys()
    for name, message in WRONG.items():
        assert re.search(message, reasons[name]), reasons[name]
        assert "\n" not in reasons[name]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("SELECTING", "which loads pickles or code of the artifact; if you trust its author, set trust_code"),
        ({"factory": "nowhere.at_all:make", "trust_code": True}, "'nowhere.at_all' cannot be found"),
        ({"factory": "nowhere:make", "trust_code": True}, "found no module 'nowhere'; name a module"),
        (
            {"factory": "factories:rules", "trust_code": True, "files": ["weights.bin"]},
            "no file 'weights.bin'; correct its `files`",
        ),
        ("bare/model.onnx", "no tokenizer.json next to model.onnx; set `tokenizer`"),
        ({"source": "graph/model.onnx", "labels": ["a", "b"]}, "2 labels for the output logits [?, 3]"),
        ("fixed/model.onnx", "the fixed shape of the input input_ids [2, 4]; export it with free axes"),
        ("renamed/model.onnx", "the input ids [?, ?], which no tokenizer makes"),
        ("broken.onnx", "broken.onnx is not an ONNX graph"),
        ("two", "several ONNX graphs (a.onnx, b.onnx); name one of these files"),
    ],
)
def test_a_model_that_cannot_be_measured_is_told_by_plan_in_one_line(
    write: Callable[..., Project], ids: dict[str, str], zoo: Path, model: Any, message: str
) -> None:
    project = write({"good": "hf", "odd": ids["selecting"] if model == "SELECTING" else model})
    write_odd_graphs(project.root, str(model))
    odd = project.settings.models["odd"]
    alone = Project(project.root, project.settings.replace(models={"odd": odd}))
    with pytest.raises(BakeoffError) as caught:
        find_models(alone)
    assert caught.value.exit_code == 2
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [found.backbone for found in find_models(project)] == ["good"]


def write_odd_graphs(root: Path, model: str) -> None:
    if model.startswith("bare"):
        (root / "bare" / "deep").mkdir(parents=True)
        shutil.copyfile(root / "graph" / "model.onnx", root / "bare" / "model.onnx")
    if model.startswith("fixed"):
        export_graph(root / "hf", root / "fixed", dynamic_axes={})
    if model.startswith("renamed"):
        free = {0: "batch", 1: "tokens"}
        names = ["ids", "attention_mask"]
        axes = {"ids": free, "attention_mask": free}
        export_graph(root / "hf", root / "renamed", input_names=names, dynamic_axes=axes)
    if model.startswith("broken"):
        (root / "broken.onnx").write_bytes(b"not a graph")
    if model == "two":
        (root / "two").mkdir()
        for name in ("a", "b"):
            shutil.copyfile(root / "graph" / "model.onnx", root / "two" / f"{name}.onnx")


def test_code_is_never_run_without_trust(write: Callable[..., Project]) -> None:
    with pytest.raises(ConfigError, match="factories:rules is code that bakeoff would run; set trust_code"):
        write({"rules": {"factory": "factories:rules"}})


def test_an_mlmodel_in_a_checkpoint_does_not_turn_it_into_code(
    write: Callable[..., Project], zoo: Path, tmp_path: Path
) -> None:
    """A promise of safety: what a checkpoint's folder also holds is never loaded."""
    from bakeoff.measure.model.checkpoint import Checkpoint
    from bakeoff.measure.model.opening import open_model

    folder = Path(shutil.copytree(zoo / "hf", tmp_path / "odd"))
    (folder / "MLmodel").write_text("flavors: {python_function: {loader_module: evil}}")
    assert isinstance(open_model(folder, "checkpoint"), Checkpoint)


def test_the_same_function_is_the_same_model_until_its_file_changes(write: Callable[..., Project]) -> None:
    project = write({"rules": {"factory": "factories:rules", "trust_code": True}})
    (one,) = find_models(project)
    (again,) = find_models(project)
    assert one == again
    with (project.root / "factories.py").open("a") as file:
        file.write("\n# changed\n")
    (other,) = find_models(project)
    assert other.run_id != one.run_id


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["graph", "selecting", "piped"])
def test_what_is_promoted_is_served_by_mlflow_and_answers_as_measured(
    write: Callable[..., Project], ids: dict[str, str], tmp_path: Path, kind: str
) -> None:
    models: dict[str, Any] = {
        "graph": "graph/model.onnx",
        "selecting": {"source": ids["selecting"], "trust_code": True},
        "piped": ids["transformers"],
    }
    project = write({kind: models[kind]}, runtimes=[{"kind": "onnxruntime"}])
    assert bench(project).failed == ()
    save_decision(project, decide(project))
    assert promote(project).is_new
    rows = [json.loads(line) for line in (project.root / "test.jsonl").read_text().splitlines()]
    with served(project, tmp_path, "models:/bakeoff-model@champion") as uri:
        code, reply = ask(uri, {"dataframe_records": [{"text": row["text"]} for row in rows]})
    assert code == 200, reply
    answers = [answer["label"] if isinstance(answer, dict) else answer for answer in reply["predictions"]]
    right = [answer == row["label"] for answer, row in zip(answers, rows, strict=True)]
    (accuracy,) = accuracies(project).values()
    assert np.mean(right) == pytest.approx(accuracy)
    assert promote(open_project(project.root / "bakeoff.yaml")).is_new is False


def test_an_object_of_python_is_not_promoted(write: Callable[..., Project]) -> None:
    project = write({"rules": {"factory": "factories:rules", "trust_code": True}})
    assert bench(project).failed == ()
    save_decision(project, decide(project))
    with pytest.raises(PromotionRefusedError, match=r"an object of Python, .* log it with mlflow\.pyfunc"):
        promote(project)


@pytest.mark.slow
def test_a_pipeline_of_spacy_is_measured_as_mlflow_loads_it(
    write: Callable[..., Project], tmp_path: Path
) -> None:
    import spacy
    from spacy.training import Example

    nlp = spacy.blank("en")
    categories = nlp.add_pipe("textcat")
    for label in LABELS:
        categories.add_label(label)
    rows = [single(words) for words in read_lines("train.jsonl", 60)]
    examples = [
        Example.from_dict(
            nlp.make_doc(row["text"]), {"cats": {name: float(name == row["label"]) for name in LABELS}}
        )
        for row in rows
    ]
    nlp.initialize(lambda: examples)
    for _ in range(8):
        nlp.update(examples)
    mlflow.spacy.save_model(nlp, str(tmp_path / "spacy-model"), pip_requirements=["spacy"])
    model = {"source": str(tmp_path / "spacy-model"), "trust_code": True}
    project = write({"spacy": model}, scenarios=[{"kind": "quality"}])
    assert bench(project).failed == ()
    rows = [json.loads(line) for line in (project.root / "test.jsonl").read_text().splitlines()]
    best = [max(cats, key=cats.get) for cats in (nlp(row["text"]).cats for row in rows)]
    wanted = np.mean([one == row["label"] for one, row in zip(best, rows, strict=True)])
    assert accuracies(project)["spacy × pyfunc"] == pytest.approx(wanted)
