"""The promoted model answers texts as the runtime that was benchmarked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bakeoff.core.job import Job
from bakeoff.core.records import Measurement
from bakeoff.disk.durable import write_json
from bakeoff.errors import CheckpointError, DataError
from bakeoff.measure.backends import RowBackend
from bakeoff.measure.statistics.readings import OUTCOMES
from bakeoff.measure.tasks.documents import TaggedDocument
from bakeoff.measure.tasks.label_schemes import read_entities
from bakeoff.measure.tasks.token_classification import read_tags
from bakeoff.orchestrator import (
    Project,
    bench,
    decide,
    load_decision,
    open_project,
    promote,
    save_decision,
)
from bakeoff.orchestrator.bench.prepare import _list_more_sizes
from bakeoff.serving import SETTINGS_FILE, Predictor, ServingOptions, load_served_model
from bakeoff.stores import tags
from bakeoff.stores.tracking import create_client
from copies import copy_project
from services import HOST, free_port, serving

RUNTIMES = ("torch", "onnxruntime")
Answer = dict[str, Any]
Promote = Callable[[str], Project]
Reopen = Callable[..., Project]


IN_EIGHT_BITS = "benchmark.runtimes=[{kind: onnxruntime, precision: int8}]"


@pytest.fixture
def promote_runtime(shipped: Path, tmp_path: Path) -> Promote:
    """Decide among the candidates of one runtime, and promote the winner, in a copy of the project."""

    def act(kind: str) -> Project:
        folder = copy_project(shipped, tmp_path / kind)
        project = open_project(folder / "config", [f"benchmark.runtimes=[{{kind: {kind}}}]"])
        save_decision(project, decide(project))
        assert promote(project).is_new
        return project

    return act


def quality_of(project: Project) -> Measurement:
    """What was measured of the winner's answers."""
    winner = load_decision(project).winning_standing
    assert winner is not None
    for row in project.results.list_existing([winner.champion_run_id]):
        found = project.results.load(row.key or "", row.attempt) if row.key in winner.benchmark_keys else None
        if isinstance(found, Measurement) and found.reading(OUTCOMES) is not None:
            return found
    raise AssertionError("the winner has no quality measurement")


def find_prepared(project: Project, job: Job) -> Path | None:
    """The folder that the job's runtime made; batch sizes beyond the usual ones give one of its own."""
    settings, more = job.runtime.prepare_settings(), _list_more_sizes(project)
    if settings is None:
        return None
    sizes = {"batch_sizes": ",".join(map(str, more))} if more else {}
    return project.checkpoints.prepared_folder(job.checkpoint_digest, settings | sizes)


def tagged(project: Project) -> list[TaggedDocument]:
    return [document for document in project.corpus.test if isinstance(document, TaggedDocument)]


def benchmarked_entities(project: Project) -> list[list[tuple[str, int, int]]]:
    """The entities of each test document through the runtime as the quality scenario runs it."""
    from bakeoff.measure.model.checkpoint import open_checkpoint
    from bakeoff.measure.model.tokenizer import Encoder

    job = quality_of(project).job
    checkpoint = open_checkpoint(project.root / ".cache" / "checkpoints" / job.champion_run_id / "checkpoint")
    assert not isinstance(job.runtime, RowBackend)
    session = job.runtime.load(checkpoint, find_prepared(project, job))
    encoder = Encoder(checkpoint, job.max_length)
    encodings = [encoder.encode(document.tokens) for document in tagged(project)]
    found = read_tags(session.infer(encoder.pad(encodings)), encodings, checkpoint.labels)
    return [read_entities(row) for row in found]


def check_answers(project: Project, answers: list[Answer]) -> None:
    """The answers are those of the benchmarked runtime, and give the very counts that were measured."""
    documents = tagged(project)
    placed = [
        [(entity["type"], entity["first_word"], entity["last_word"]) for entity in answer["entities"]]
        for answer in answers
    ]
    assert placed == benchmarked_entities(project)
    for document, answer in zip(documents, answers, strict=True):
        text = " ".join(document.tokens)
        for entity in answer["entities"]:
            words = document.tokens[entity["first_word"] : entity["last_word"] + 1]
            assert entity["text"] == " ".join(words) == text[entity["start"] : entity["end"]]
    reading = quality_of(project).reading(OUTCOMES)
    assert reading is not None
    assert [len(row) for row in placed] == list(reading.columns["predicted"])
    hits = [
        len(set(row) & set(read_entities(document.tags)))
        for row, document in zip(placed, documents, strict=True)
    ]
    assert hits == list(reading.columns["true_positives"])
    assert sum(hits) > 0, "a model that finds nothing proves nothing"


def texts_of(documents: Sequence[TaggedDocument]) -> list[str]:
    return [" ".join(document.tokens) for document in documents]


@contextmanager
def served(project: Project, folder: Path, model_uri: str, **more: str) -> Iterator[str]:
    """``mlflow models serve`` in a process of its own that knows nothing of this source tree."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model_uri]
    command += ["--env-manager", "local", "-h", HOST, "-p", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # MLflow calls uvicorn by its bare name, as an activated environment has it.
    path = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    environment |= {"MLFLOW_TRACKING_URI": project.tracker.uri, "PATH": path, **more}
    with serving(command, environment, port, folder / "serve.log"):
        yield f"http://{HOST}:{port}"


def ask(uri: str, document: Mapping[str, object]) -> tuple[int, Any]:
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{uri}/invocations",
        data=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def load(project: Project) -> Any:
    """The promoted model as MLflow loads it."""
    import mlflow

    mlflow.set_tracking_uri(project.tracker.uri)
    return mlflow.pyfunc.load_model("models:/bakeoff-model@champion", suppress_warnings=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNTIMES)
def test_mlflow_serves_the_promoted_model_and_it_answers_as_the_benchmarked_runtime(
    kind: str, promote_runtime: Promote, tmp_path: Path
) -> None:
    project = promote_runtime(kind)
    documents = tagged(project)
    with served(project, tmp_path, "models:/bakeoff-model@champion") as uri:
        code, reply = ask(uri, {"dataframe_records": [{"text": text} for text in texts_of(documents)]})
        assert code == 200, reply
        check_answers(project, reply["predictions"])
        code, by_words = ask(
            uri, {"dataframe_records": [{"tokens": list(document.tokens)} for document in documents]}
        )
        assert (code, by_words) == (200, reply)
        refusals = {
            "no column text or tokens": [{"sentence": "no such column"}],
            "surrogate": [{"tokens": ["in", "\ud800"]}],  # MLflow may see it first
            "1,000,001 characters": [{"text": "a" * 1_000_001}],
            "10,001 rows": [{"text": "a"}] * 10_001,
        }
        for fault, rows in refusals.items():
            code, refused = ask(uri, {"dataframe_records": rows})
            assert (code, fault in json.dumps(refused)) == (400, True), refused
        for odd in ("\ud800", 7, {"a": 1}, ["a", ["b"]], None, True, 1e999):
            code, refused = ask(uri, {"dataframe_records": [{"text": odd}]})
            assert 400 <= code < 600, refused
        code, answered = ask(
            uri, {"dataframe_records": [{"text": "to \x00 Paris"}, {"text": "Paris " * 150_000}]}
        )
        assert (code, [each["truncated"] for each in answered["predictions"]]) == (200, [False, True])
        code, reply = ask(uri, {"dataframe_records": [{"text": text} for text in texts_of(documents)]})
        assert (code, reply) == (200, by_words)


@pytest.mark.slow
def test_a_server_may_set_other_threads_than_were_measured(promote_runtime: Promote, tmp_path: Path) -> None:
    project = promote_runtime("onnxruntime")
    options = json.dumps({"threads": 1, "batch_size": 8})
    with served(project, tmp_path, "models:/bakeoff-model@champion", SERVING_MODEL_CONFIG=options) as uri:
        code, reply = ask(uri, {"dataframe_records": [{"text": text} for text in texts_of(tagged(project))]})
        assert code == 200, reply
        check_answers(project, reply["predictions"])


@pytest.mark.parametrize("kind", RUNTIMES)
def test_pyfunc_predicts_with_the_promoted_model_as_the_benchmarked_runtime(
    kind: str, promote_runtime: Promote
) -> None:
    import pandas as pd

    project = promote_runtime(kind)
    model = load(project)
    check_answers(project, model.predict(pd.DataFrame({"text": texts_of(tagged(project))})))
    (folder,) = (project.root / ".cache" / "served").glob("*/model/data/served")
    with pytest.raises(
        DataError, match=r"model_config: threads: found 1000000000; expected at most \d+, the CP"
    ):
        load_served_model(folder, ServingOptions(threads=10**9))
    short = load_served_model(folder, ServingOptions(max_tokens=8, max_rows=1))
    assert short.predict({"text": ["Paris " * 7]})[0]["truncated"]
    with pytest.raises(DataError, match="request: found 2 rows; expected at most 1; send several requests"):
        short.predict({"text": ["a", "b"]})


def test_the_promoted_model_has_signature_example_pinned_requirements_and_no_pickle(
    promote_runtime: Promote,
) -> None:
    import onnxruntime

    project = promote_runtime("onnxruntime")
    model = load(project)
    assert [(column.name, column.required) for column in model.metadata.signature.inputs.inputs] == [
        ("text", False),
        ("tokens", False),
    ]
    assert [column.name for column in model.metadata.signature.outputs.inputs] == ["entities", "truncated"]
    (answer,) = model.predict(model.input_example)
    assert answer["truncated"] is False
    client = create_client(project.tracker.uri)
    version = client.get_model_version_by_alias("bakeoff-model", "champion")
    folder = project.tracker.download(str(version.run_id), tags.MODEL_ARTIFACT, project.root)
    requirements = (folder / "requirements.txt").read_text().split()
    assert f"onnxruntime=={onnxruntime.__version__}" in requirements
    assert not any(line.startswith("torch") for line in requirements)
    assert all("==" in line and "+" not in line for line in requirements)
    names = [path.name for path in folder.rglob("*") if path.is_file()]
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pyc", ".pt", ".bin"))]


def test_a_served_model_of_onnxruntime_runs_on_its_requirements_and_its_own_code_alone(
    promote_runtime: Promote,
) -> None:
    project = promote_runtime("onnxruntime")
    (folder,) = (project.root / ".cache" / "served").glob("*/model")
    program = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "transformers", "click", "rich", "jinja2", "optuna", "mlflow"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
sys.path.insert(0, sys.argv[1])
from bakeoff import serving
print(serving.__file__)
print(serving._load_pyfunc(sys.argv[2]).predict({"text": ["to Paris"]}))
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder / "code"), str(folder / "data" / "served")],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=project.root,
    )
    assert done.returncode == 0, done.stderr
    where, answer = done.stdout.splitlines()
    assert Path(where).is_relative_to(folder)
    assert "'entities'" in answer


@pytest.mark.slow
def test_an_answer_depends_on_its_text_alone_also_in_eight_bits(reopen: Reopen) -> None:
    project = reopen(IN_EIGHT_BITS, "benchmark.scenarios=[{kind: quality}]")
    assert bench(project).failed == ()
    tagger = tagger_of(project)
    texts = texts_of(tagged(project))
    together = tagger.predict({"text": texts})
    assert together == [tagger.predict({"text": [text]})[0] for text in texts]
    assert any(answer["entities"] for answer in together)


def tagger_of(project: Project) -> Predictor:
    from bakeoff.measure.model.checkpoint import open_checkpoint
    from bakeoff.orchestrator.checkpoints import find_champions
    from bakeoff.orchestrator.plan import build_jobs

    job, _ = build_jobs(project, find_champions(project))[0]
    checkpoint = open_checkpoint(project.root / ".cache" / "checkpoints" / job.champion_run_id / "checkpoint")
    prepared = find_prepared(project, job)
    assert prepared is not None
    assert not isinstance(job.runtime, RowBackend)
    return Predictor(job.task, job.runtime.load(checkpoint, prepared), checkpoint, max_length=job.max_length)


@pytest.fixture(scope="module")
def tagger(shipped: Path) -> Predictor:
    return tagger_of(open_project(shipped / "config", ["benchmark.runtimes=[{kind: onnxruntime}]"]))


def test_a_text_beyond_the_token_limit_is_cut_and_says_so(shipped: Path) -> None:
    project = open_project(shipped / "config", ["benchmark.runtimes=[{kind: onnxruntime}]"])
    tagger = tagger_of(project)
    limit = project.settings.data.max_length - 2  # [CLS] and [SEP]; the tokenizer knows words alone
    fits, too_long, nothing = tagger.predict({"text": ["Paris " * limit, "Paris " * (limit + 1), " \n"]})
    assert (fits["truncated"], too_long["truncated"]) == (False, True)
    assert nothing == {"entities": [], "truncated": False}
    assert all(entity["last_word"] < limit for entity in too_long["entities"])


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"text": ["fine", 7]}, "row 1: found neither text nor tokens"),
        ({"tokens": [["fine"], ["no", 7]]}, "row 1: found neither"),
        ({"text": ["a"], "tokens": [["a"]]}, "row 0: found both"),
        ({"sentence": ["a"]}, "no column text or tokens"),
        ({"tokens": [{"a": 1}]}, "row 0: found neither text nor tokens"),
        ({"tokens": [{"a"}]}, "row 0: found neither text nor tokens"),
        (
            {"text": ["fine", "to \ud800"]},
            r"row 1: text: found half of a surrogate pair; expected text; correct",
        ),
        ({"tokens": [["fine"], ["a", "\udfff"]]}, "row 1: tokens: found half of a surrogate pair"),
        (
            {"text": ["a" * 1_000_001]},
            "row 0: text: found 1,000,001 characters; expected at most 1,000,000; send",
        ),
        ({"tokens": [["a"] * 500_001]}, "row 0: tokens: found 1,000,001 characters"),
        ({"text": ["a"] * 10_001}, "request: found 10,001 rows; expected at most 10,000; send several"),
        ({"text": "Paris"}, "request: text: found one text; expected a list"),
        ({"text": [["Paris"]]}, "row 0: found neither text nor tokens"),
        ({"text": ["a", "b"], "tokens": [None]}, "request: found 2 of text and 1 of tokens"),
        ({"text": 7}, "no column text or tokens"),
        ([{"text": "Paris"}], "no column text or tokens"),
        ("text", "no column text or tokens"),
        (None, "no column text or tokens"),
    ],
    ids=lambda value: str(value)[:40].encode("ascii", "replace").decode(),
)
def test_a_row_that_is_no_text_is_refused_by_its_number(tagger: Predictor, data: Any, fault: str) -> None:
    wanted = tagger.predict({"text": ["to Paris"]})
    with pytest.raises(DataError, match=fault) as caught:
        tagger.predict(data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert tagger.predict({"text": ["to Paris"]}) == wanted


def test_odd_texts_are_answered_as_texts(tagger: Predictor) -> None:
    odd = ["to \x00 Paris", "\u2028", "e\u0301" * 500, "\U0010ffff", "a" * 400_000, "Paris " * 150_000]
    answers = tagger.predict({"text": odd})
    assert [answer["truncated"] for answer in answers] == [False, False, False, False, False, True]
    assert answers[-1] == tagger.predict({"text": ["Paris " * 1000]})[0]


def _swap_weights(folder: Path) -> None:
    path = folder / "prepared" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def _link_tokenizer(folder: Path) -> None:
    path = folder / "checkpoint" / "tokenizer.json"
    path.rename(folder / "elsewhere.json")
    path.symlink_to(folder / "elsewhere.json")


def _ask_for_code(folder: Path) -> None:
    path = folder / "checkpoint" / "config.json"
    config = json.loads(path.read_bytes())
    write_json(path, config | {"auto_map": {"AutoModelForTokenClassification": "evil.Evil"}})


def _add_setting(folder: Path) -> None:
    path = folder / SETTINGS_FILE
    write_json(path, json.loads(path.read_bytes()) | {"trust_remote_code": True})


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (_swap_weights, "its content has digest"),
        (_link_tokenizer, "symbolic link"),
        (_ask_for_code, "its content has digest"),
        (_add_setting, "not a whole record"),
        (lambda folder: (folder / SETTINGS_FILE).write_text("{"), "not a whole record"),
        (lambda folder: (folder / SETTINGS_FILE).unlink(), "no readable serving.json"),
        (lambda folder: shutil.rmtree(folder / "prepared"), "no such folder"),
        (lambda folder: (folder / "checkpoint" / "model.safetensors").unlink(), "model.safetensors"),
    ],
)
def test_a_model_folder_that_was_tampered_with_is_refused(
    promote_runtime: Promote, spoil: Callable[[Path], object], fault: str
) -> None:
    project = promote_runtime("onnxruntime")
    (folder,) = (project.root / ".cache" / "served").glob("*/model/data/served")
    spoil(folder)
    with pytest.raises(CheckpointError, match=fault):
        load_served_model(folder, ServingOptions())
