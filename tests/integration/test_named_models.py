"""Models that come from no sweep: named in the configuration, identified by their content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from bakeoff.core.config.settings import HpoSettings, ObjectiveSettings, Settings
from bakeoff.core.records import Champion, NamedModel, SourceKind
from bakeoff.disk.digest import digest_folder
from bakeoff.errors import (
    BakeoffError,
    ConfigError,
    ModelSourceError,
    StaleDecisionError,
    TrackingError,
)
from bakeoff.orchestrator import (
    Project,
    bench,
    decide,
    load_decision,
    open_project,
    plan,
    promote,
    save_decision,
)
from bakeoff.orchestrator.checkpoints import find_models
from bakeoff.orchestrator.setup.doctor import check_project
from bakeoff.serving import load_served_model
from bakeoff.stores import tags
from bakeoff.stores.checkpoints import CheckpointStore
from bakeoff.stores.tracking import Tracker, create_client
from command_line import bakeoff, read_document
from copies import copy_project
from once import make_once

BOTH = [{"kind": "quality"}, {"kind": "latency", "batch_sizes": [1]}]
FAST = {"runtimes": [{"kind": "noop"}], "scenarios": BOTH}
Models = Mapping[str, Any]
Write = Callable[..., Project]


class Logged(NamedTuple):
    """Models in a store: one content each."""

    run_id: str
    model_id: str
    sklearn_id: str
    bare_run_id: str


@pytest.fixture(scope="session")
def small(champion: Champion, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that knows the labels of the test documents, and is not the champion's."""

    def make(folder: Path) -> None:
        import torch
        from transformers import AutoModelForTokenClassification

        model = AutoModelForTokenClassification.from_pretrained(champion.checkpoint_path)
        with torch.no_grad():
            model.classifier.bias.add_(0.5)
        model.save_pretrained(folder)
        shutil.copyfile(Path(str(champion.checkpoint_path), "tokenizer.json"), folder / "tokenizer.json")

    return make_once(tmp_path_factory, "small-model", make)


@pytest.fixture(scope="session")
def store(
    empty_store: Path, small: Path, champion: Champion, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a store that holds logged models: of transformers, of scikit-learn, and a bare folder."""

    def fill(folder: Path) -> None:
        from sklearn.linear_model import LogisticRegression
        from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast

        shutil.copyfile(empty_store, folder / "mlflow.db")
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        mlflow.set_tracking_uri(uri)
        try:
            client = MlflowClient(uri)
            experiment = client.create_experiment("theirs", artifact_location=(folder / "files").as_uri())
            tokenizer = PreTrainedTokenizerFast(
                tokenizer_file=str(small / "tokenizer.json"), pad_token="[PAD]", unk_token="[UNK]"
            )
            model = AutoModelForTokenClassification.from_pretrained(champion.checkpoint_path)
            with mlflow.start_run(experiment_id=experiment) as run:
                info = mlflow.transformers.log_model(
                    {"model": model, "tokenizer": tokenizer},
                    name="model",
                    task="token-classification",
                    registered_model_name="ner",
                    pip_requirements=["transformers"],
                )
                client.set_registered_model_alias("ner", "live", "1")
            with mlflow.start_run(experiment_id=experiment):
                fitted = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
                other = mlflow.sklearn.log_model(fitted, name="baseline", pip_requirements=["scikit-learn"])
            with mlflow.start_run(experiment_id=experiment) as bare:
                mlflow.log_artifacts(str(small), "out/checkpoint-900")
            ids = Logged(run.info.run_id, info.model_id, other.model_id, bare.info.run_id)
            (folder / "ids.json").write_text(json.dumps(ids._asdict()))
            found = mlflow.artifacts.download_artifacts(
                f"models:/{info.model_id}", dst_path=str(folder / "packed")
            )
            assert Path(found, "MLmodel").is_file()
        finally:
            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]

    return make_once(tmp_path_factory, "logged-models", fill)


@pytest.fixture
def logged(store: Path) -> Logged:
    return Logged(**json.loads((store / "ids.json").read_text()))


@pytest.fixture
def write(store: Path, shipped: Path, tmp_path: Path) -> Write:
    """Write a project without a sweep, with a copy of the store, and open it."""

    def make(models: Models, *, is_offline: bool = False, **benchmark: Any) -> Project:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        if not (folder / "mlflow.db").exists():
            shutil.copyfile(store / "mlflow.db", folder / "mlflow.db")
        shutil.copyfile(shipped / "data" / "test.jsonl", folder / "test.jsonl")
        protocol = {"processes": 2, "rounds": 2, "block_s": 0.005, "max_calls": 10, "warmup_min_s": 0.0}
        config = {
            "tracking": {"benchmark_experiment": "benchmark"},
            "data": {"test": "test.jsonl", "max_length": 32},
            "models": models,
            "benchmark": {"accept_contended": True, "protocol": protocol, **FAST, **benchmark},
            "decision": {"when_tied": "fastest"},
        }
        path = folder / "bakeoff.yaml"
        path.write_text(json.dumps(config), encoding="utf-8")
        return open_project(path, is_offline=is_offline)

    return make


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the requests to the store."""
    made: list[str] = []
    call = Tracker.call

    def noted(self: Tracker, action: str, function: Callable[..., object], **more: Any) -> object:
        made.append(action)
        return call(self, action, function, **more)

    monkeypatch.setattr(Tracker, "call", noted)
    return made


def test_plan_bench_and_decide_need_no_sweep(
    write: Write, small: Path, logged: Logged, tmp_path: Path
) -> None:
    models = {"new": str(small), "prod": {"source": "models:/ner/1"}}
    project = write(models)
    made = plan(project)
    assert [planned.job.label for planned in made.jobs] == [
        f"{name} × noop × {kind}" for name in models for kind in ("quality", "latency")
    ]
    assert {planned.reason for planned in made.jobs} == {"new model"}
    done = bench(project)
    assert (len(done.measured), done.failed, done.unlogged) == (4, (), 0)
    assert bench(write(models)).measured == ()
    decision = decide(project)
    assert sorted(row.backbone for row in decision.standings) == ["new", "prod"]
    document = json.loads(done.result_files["prod"].read_text())
    assert document["source"] == "models:/ner/1"
    assert document["champion_run_id"] == document["checkpoint_digest"]

    # The same content under other names and paths: nothing is measured again, and the new names are shown.
    copy = shutil.copytree(small, tmp_path / "elsewhere")
    renamed = write({"fresh": str(copy), "old": f"models:/{logged.model_id}"})
    assert {planned.action for planned in plan(renamed).jobs} == {"reuse"}
    assert bench(renamed).measured == ()
    assert sorted(row.label for row in decide(renamed).standings) == ["fresh × noop", "old × noop"]
    (first,) = (heat for heat in _heats(renamed) if heat.reference == "fresh × noop")
    assert first.candidates[0] == "fresh × noop"

    # Other content is another model.
    (copy / "notes.txt").write_text("other")
    assert {planned.action for planned in plan(renamed).jobs} == {"measure", "reuse"}


def _heats(project: Project) -> list[Any]:
    jobs = [planned.job for planned in plan(project).jobs]
    found = [project.results.load_valid(job) for job in jobs]
    return [each.heat for each in found if each is not None and each.heat is not None]


def test_every_source_of_one_model_gives_the_same_content(write: Write, logged: Logged, store: Path) -> None:
    sources = (
        "models:/ner/1",
        "models:/ner@live",
        f"models:/{logged.model_id}",
        f"runs:/{logged.run_id}/model",
        str(store / "packed"),
    )
    found = [find_models(write({"one": source})) for source in sources]
    assert len({models[0].run_id for models in found}) == 1
    assert {models[0].kind for models in found if isinstance(models[0], NamedModel)} == {
        SourceKind.TRANSFORMERS
    }
    bare = find_models(write({"one": f"runs:/{logged.bare_run_id}/out/checkpoint-900"}))[0]
    assert isinstance(bare, NamedModel)
    assert bare.kind is SourceKind.CHECKPOINT
    # A view of an MLmodel folder is whole, and the folder itself is unchanged.
    view = found[-1][0].checkpoint_path
    assert view is not None
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {each.name for each in view.iterdir()}
    assert not (store / "packed" / "config.json").exists()


def test_a_model_is_fetched_once_and_found_offline(write: Write, requests: list[str]) -> None:
    made, models = requests, {"prod": "models:/ner@live"}
    first = find_models(write(models))
    assert made.count("downloading") == 3  # MLmodel, weights, tokenizer
    made.clear()
    assert find_models(write(models)) == first
    assert made == ["reading a model version"]
    made.clear()
    assert find_models(write(models, is_offline=True)) == first
    assert {planned.action for planned in plan(write(models, is_offline=True)).jobs} == {"measure"}
    assert made == []
    with pytest.raises(ModelSourceError, match="never fetched, and bakeoff is offline; run `bakeoff plan`"):
        plan(write({"prod": "models:/ner/1"}, is_offline=True))


def test_an_alias_that_moves_means_the_new_version(write: Write, logged: Logged) -> None:
    project = write({"prod": "models:/ner@live"})
    before = find_models(project)[0]
    client = create_client(project.tracker.uri)
    source = f"runs:/{logged.bare_run_id}/out/checkpoint-900"
    made = client.create_model_version("ner", source=source, run_id=logged.bare_run_id)
    client.set_registered_model_alias("ner", "live", made.version)
    after = find_models(project)[0]
    assert after.run_id != before.run_id
    assert isinstance(after, NamedModel)
    assert after.location == source


def test_a_damaged_copy_is_fetched_again(write: Write, logged: Logged) -> None:
    models = {"prod": f"models:/{logged.model_id}"}
    first = find_models(write(models))[0]
    assert first.checkpoint_path is not None
    with (first.checkpoint_path / "model.safetensors").open("ab") as file:
        file.write(b"x")
    assert find_models(write(models)) == (first,)


@pytest.mark.slow
def test_champions_and_named_models_stand_in_one_decision(
    shipped: Path, small: Path, tmp_path: Path, champion: Champion
) -> None:
    folder = copy_project(shipped, tmp_path / "both")
    (folder / "config" / "models.yaml").write_text(
        json.dumps({"other": str(small), "twin": str(champion.checkpoint_path)})
    )
    overrides = ["benchmark.runtimes=[{kind: torch}]"]
    project = open_project(folder / "config", overrides)
    made = plan(project)
    assert {(planned.job.backbone, planned.action) for planned in made.jobs} == {
        ("tiny", "reuse"),
        ("other", "measure"),
    }
    assert bench(project).failed == ()
    decision = decide(project)
    assert sorted(row.backbone for row in decision.standings) == ["other", "tiny"]
    done = bakeoff(folder, "report")
    assert done.returncode == 0
    page = (folder / "results" / "report.html").read_text()
    assert "Models that you named" in page
    assert "How champions were selected" in page
    shown = bakeoff(folder, "champions")
    assert shown.returncode == 0
    assert "named model other" in shown.stdout


@pytest.mark.slow
def test_a_named_winner_is_promoted_and_answers_as_the_source(
    write: Write, champion: Champion, logged: Logged
) -> None:
    project = write({"prod": f"models:/{logged.model_id}"}, runtimes=[{"kind": "torch"}])
    assert bench(project).failed == ()
    save_decision(project, decide(project))
    assert promote(project, is_dry_run=True).is_new
    done = promote(project)
    assert done.is_new
    client = create_client(project.tracker.uri)
    version = client.get_model_version_by_alias("bakeoff-model", "champion")
    assert version.tags[tags.LINEAGE_SOURCE] == f"models:/{logged.model_id}"
    assert tags.LINEAGE_REFIT not in version.tags
    again = promote(project)
    assert (again.is_new, again.version) == (False, done.version)
    runs = client.search_runs([project.ensure_benchmark_experiment()])
    measured = [run for run in runs if run.data.tags.get(tags.STAGE) == "benchmark"]
    assert {run.data.tags[tags.LINEAGE_SOURCE] for run in measured} == {f"models:/{logged.model_id}"}
    assert not any(tags.LINEAGE_REFIT in run.data.tags for run in runs)

    place = client.get_model_version_download_uri("bakeoff-model", str(done.version))
    mlflow.set_tracking_uri(project.tracker.uri)
    try:
        folder = Path(mlflow.artifacts.download_artifacts(place, dst_path=str(project.root / "served")))
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    texts = {"text": [" ".join(document.inputs) for document in project.test_documents[:8]]}
    answers = load_served_model(next(folder.glob("data/*"))).predict(texts)
    assert any(answer["entities"] for answer in answers)
    winner = find_models(project)[0]
    assert winner.checkpoint_path is not None
    assert answers == _answers_of(winner.checkpoint_path, texts)

    # What was promoted is a source again: the same content, so nothing is measured.
    for source in ("models:/bakeoff-model@champion", str(folder)):
        promoted = write({"again": source}, runtimes=[{"kind": "torch"}])
        model = find_models(promoted)[0]
        assert isinstance(model, NamedModel)
        assert (model.kind, model.run_id) == (SourceKind.PROMOTED, winner.run_id)
        assert plan(promoted).todo == ()

    # Another content under the same name: the old decision no longer names a model that is there.
    moved = write({"prod": f"runs:/{logged.bare_run_id}/out/checkpoint-900"}, runtimes=[{"kind": "torch"}])
    with pytest.raises(StaleDecisionError, match="has its content"):
        promote(moved)
    renamed = write({"live": f"models:/{logged.model_id}"}, runtimes=[{"kind": "torch"}])
    with pytest.raises(StaleDecisionError, match="another name"):
        promote(renamed)
    save_decision(renamed, decide(renamed))
    assert load_decision(renamed).winner == "live × torch-fp32"
    assert promote(renamed).version == done.version


def _answers_of(checkpoint: Path, texts: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    from bakeoff.measure.backends.torch import Torch
    from bakeoff.measure.model.checkpoint import open_checkpoint
    from bakeoff.measure.tasks import TokenClassification
    from bakeoff.serving import Predictor

    opened = open_checkpoint(checkpoint)
    return Predictor(TokenClassification(), Torch().load(opened, None), opened, max_length=32).predict(texts)


@pytest.mark.slow
def test_commands_work_with_named_models_only(write: Write, small: Path) -> None:
    folder = write({"new": str(small), "prod": "models:/ner@live"}).root
    config = ("--config", "bakeoff.yaml")
    shown = bakeoff(folder, "champions", *config)
    assert (shown.returncode, shown.stdout.splitlines()) == (
        0,
        [
            "no sweep, since hpo.backbones is empty",
            f"named model new: {small}",
            "named model prod: models:/ner@live",
        ],
    )
    as_json = read_document(bakeoff(folder, "champions", *config, "--json").stdout)
    assert as_json["models"] == {"new": str(small), "prod": "models:/ner@live"}
    done = bakeoff(folder, "run", *config)
    assert done.returncode in (0, 4), done.stderr
    assert "Models that you named" in (folder / "results" / "report.html").read_text()
    assert bakeoff(folder, "plan", *config, "--offline", "--exit-code").returncode == 0
    compared = bakeoff(folder, "compare", *config, "new", "prod")
    assert compared.returncode in (0, 3, 4), compared.stderr
    swept = bakeoff(folder, "sweep", *config)
    assert swept.returncode == 2
    assert "hpo.backbones is missing; add it for `bakeoff sweep`" in swept.stderr


def test_the_doctor_checks_sources_and_fetches_no_weights(
    write: Write, small: Path, logged: Logged, requests: list[str]
) -> None:
    made = requests
    checks = {
        check.name: check
        for check in check_project(
            write(
                {
                    "new": str(small),
                    "prod": "models:/ner/1",
                    "gone": "./gone",
                    "tree": f"models:/{logged.sklearn_id}",
                }
            )
        )
    }
    assert made.count("downloading") == 2  # the MLmodel of each
    assert checks["configuration"].found.startswith("4 named models")
    assert checks["model new"].state == checks["model prod"].state == checks["labels of new"].state == "ok"
    assert checks["model prod"].found == "models:/ner/1: transformers; bench fetches it"
    assert (checks["model gone"].state, checks["model gone"].exit_code) == ("fault", 2)
    assert "flavor sklearn" in checks["model tree"].found
    assert "sweep experiment" not in checks


def test_a_model_whose_files_do_not_fit_is_skipped_before_anything_is_measured(
    write: Write, small: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Path(shutil.copytree(small, tmp_path / "broken"))
    config = json.loads((small / "config.json").read_text())
    said = f"has the token id {config['vocab_size'] - 1}, but the model knows {config['vocab_size'] - 1} ids"
    for changes, fault in (
        ({"vocab_size": config["vocab_size"] - 1}, said),
        ({"num_hidden_layers": 10**9}, "has the num_hidden_layers 1000000000, but the weights are"),
    ):
        (broken / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
        project = write({"good": str(small), "broken": str(broken)})
        checks = [check for check in check_project(project) if check.state == "fault"]
        assert [fault in check.found for check in checks] == [True]
        caplog.clear()
        assert {planned.model.backbone for planned in plan(project).jobs} == {"good"}
        assert [fault in record.message for record in caplog.records] == [True]
        with pytest.raises(BakeoffError, match=fault):
            plan(write({"broken": str(broken)}))


def faults() -> Iterator[tuple[str, str]]:
    """Sources that cannot be used, and the message after the place."""
    yield "./gone", "no such file or folder; correct the path, or set a folder"
    yield "empty", "no config.json; give a folder that save_pretrained() wrote"
    yield "models:/nobody/1", "no registered model 'nobody' in sqlite:"
    yield "models:/ner/9", "'ner' has no version 9; it has: 1; name a version or an alias that exists"
    yield "models:/ner@next", "'ner' has no alias @next; it has: @live; name a version or an alias"
    yield f"runs:/{'0' * 32}/model", "not in sqlite:"
    yield f"models:/m-{'0' * 32}", "not in sqlite:"
    yield "runs:/RUN/nothing", "the run holds no such artifact; log it, or name it as it was logged"
    yield "models:/SKLEARN", "an MLflow model of the flavor sklearn, which loads pickles or code"
    yield "graph.onnx", "graph.onnx is not an ONNX graph"
    yield "notes.txt", "a file; set a folder"
    yield "pickled", "no model.safetensors"
    yield "odd", "a broken MLmodel (it names no flavors); log the model again"
    yield "hub", "no weights, only the name of a model elsewhere ('bert-base')"
    yield "untold", "weights without a tokenizer"
    yield "leaving", "no weights, only the name of a model elsewhere"


@pytest.mark.parametrize(("source", "message"), list(faults()))
def test_a_source_that_cannot_be_used_is_named_in_one_line(
    write: Write, small: Path, logged: Logged, source: str, message: str
) -> None:
    project = write({"good": str(small)})
    _write_odd_sources(project.root, small)
    for word, found in {
        "RUN": logged.run_id,
        "BARE": logged.bare_run_id,
        "SKLEARN": logged.sklearn_id,
    }.items():
        source = source.replace(f"/{word}", f"/{found}")
    alone = write({"odd": source})
    with pytest.raises(BakeoffError) as caught:
        find_models(alone)
    assert caught.value.exit_code == 2
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"models.odd ({source}): ")
    assert "\n" not in str(caught.value)
    # The other models go on.
    both = write({"good": str(small), "odd": source})
    assert [model.backbone for model in find_models(both)] == ["good"]


def _write_odd_sources(root: Path, small: Path) -> None:
    (root / "empty").mkdir()
    (root / "graph.onnx").write_bytes(b"x")
    (root / "notes.txt").write_text("x")
    pickled = shutil.copytree(small, root / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    flavors = {
        "odd": "[]",
        "hub": json.dumps({"flavors": {"transformers": {"source_model_name": "bert-base"}}}),
        "untold": json.dumps({"flavors": {"transformers": {"model_binary": "model"}}}),
        "leaving": json.dumps({"flavors": {"transformers": {"model_binary": "../model"}}}),
    }
    for name, text in flavors.items():
        (root / name).mkdir()
        (root / name / "MLmodel").write_text(text)


def test_two_names_of_one_content_are_refused(write: Write, small: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(small, tmp_path / "copy")
    with pytest.raises(ConfigError, match=r"models\.one and models\.two: found the same content"):
        plan(write({"one": str(small), "two": str(copy)}))


def test_all_faults_are_named_if_no_model_is_left(write: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(write({"one": "./gone", "two": "./lost"}))
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "models.one (./gone)",
        "models.two (./lost)",
    ]


def test_an_outage_is_no_wrong_name(write: Write) -> None:
    project = write({"prod": "models:/ner/1"})
    down = Project(
        project.root,
        project.settings.replace(
            tracking=project.settings.tracking.replace(uri="postgresql://127.0.0.1:9/none")
        ),
    )
    with pytest.raises(TrackingError):
        plan(down)


def test_a_node_without_the_folder_fetches_the_model_by_its_location(
    write: Write, small: Path, tmp_path: Path
) -> None:
    project = write({"new": str(small), "prod": "models:/ner@live"})
    local, remote = find_models(project)
    node = CheckpointStore(tmp_path / "node")
    folder = node.acquire(remote.replace(checkpoint_path=None), project.tracker.download)
    assert folder.is_relative_to(tmp_path / "node")
    assert digest_folder(folder) == remote.checkpoint_digest
    with pytest.raises(ModelSourceError, match="the folder is not on this machine; keep it on storage"):
        node.acquire(local.replace(checkpoint_path=None), project.tracker.download)
    changed = remote.replace(checkpoint_path=None, checkpoint_digest="0" * 64)
    with pytest.raises(ModelSourceError, match=r"its content has digest .* planned was 000000000000"):
        node.acquire(changed, project.tracker.download)


def test_a_sweep_in_the_configuration_changes_no_key_of_a_named_model(write: Write, small: Path) -> None:
    project = write({"new": str(small)})
    keys = [planned.job.key for planned in plan(project).jobs]
    hpo = HpoSettings(objective=ObjectiveSettings(metric="eval_loss", direction="minimize"), seed=7)
    other = Project(project.root, project.settings.replace(hpo=hpo))
    assert [planned.job.key for planned in plan(other).jobs] == keys


def test_a_project_of_named_models_needs_no_file(small: Path, shipped: Path, tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "data": {"test": str(shipped / "data" / "test.jsonl"), "max_length": 32},
            "models": {"new": str(small)},
            "benchmark": FAST,
        }
    )
    project = Project(tmp_path / "results", settings, is_offline=True)
    assert [planned.job.candidate for planned in plan(project).jobs] == ["new × noop"] * 2
