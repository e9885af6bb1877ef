"""A trial: a project whose settings come from the command line, in a results folder of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import yaml

from bakeoff.core.config.parse import parse_settings
from bakeoff.core.config.yaml_values import read_value
from bakeoff.core.records import NamedModel
from bakeoff.disk import durable
from bakeoff.errors import BakeoffError, ConfigError, DataError, MissingExtraError
from bakeoff.measure.backends import OnnxRuntime, OpenVino, Torch
from bakeoff.measure.model.checkpoint import open_checkpoint
from bakeoff.measure.model.session import READS_ROWS
from bakeoff.measure.model.user_code import FUNCTION
from bakeoff.orchestrator.infer import Inferred, ModelFacts, infer_task
from bakeoff.orchestrator.named_models import identify_model
from bakeoff.orchestrator.progress import Progress
from bakeoff.orchestrator.project import Project
from bakeoff.stores.documents import read_rows

CONFIG_NAME = "bakeoff.yaml"
# Few repeats, as for a first look, with enough rounds for an interval that says something.
PROTOCOL = {"preset": "quick", "rounds": 8, "min_calls": 10, "warmup_min_s": 0.25}
BATCH_SIZES = (1, 8)
MAX_LENGTH = 512
_SETTINGS = "settings of bakeoff try"
# A weighted score would let a model that is a hundred times faster make up for many wrong answers.
_OBJECTIVE = {"kind": "lexicographic", "accuracy_threshold": 0.01, "threshold_scale": "relative"}
_EXPLAINED = (
    "best: the fastest of those that may be within 1% of the best quality; say otherwise with "
    "--set decision.objective={kind: weighted}"
)
_URI = re.compile(r"(models|runs):/")
_NAMED = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)=(?P<source>.+)", re.DOTALL)
_ODD = re.compile(r"[^\w.-]+")
_TASK_OVERRIDE = re.compile(r"data\.task\.(?P<field>\w+)=(?P<value>.*)", re.DOTALL)


class TrialRequest(NamedTuple):
    """What the command line asks for.

    Attributes:
        models: Sources, each ``SOURCE`` or ``NAME=SOURCE``.
        data: File or folder with documents; None if ``inputs`` is given.
        inputs: npz file with tensors, for cost alone; None if ``data`` is given.
        runtimes: Labels such as ``onnxruntime-int8``; empty takes PyTorch and ONNX Runtime, as far as they
            are installed.
        trusts_code: Whether code of the models may run.
        tokenizer: Folder with the tokenizer of ONNX graphs; None looks next to them.
        tracking_uri: URI of the store that holds ``models:/`` and ``runs:/``.
        overrides: Settings to change, each ``stage.key=value``.
    """

    models: Sequence[str]
    data: Path | None = None
    inputs: Path | None = None
    runtimes: Sequence[str] = ()
    trusts_code: bool = False
    tokenizer: Path | None = None
    tracking_uri: str = "sqlite:///mlflow.db"
    overrides: Sequence[str] = ()


class OpenTrial(NamedTuple):
    """A project that is ready to measure.

    Attributes:
        project: The project; it uses this disk alone.
        remarks: What was inferred, and how to say otherwise, a line each.
        config: Settings in YAML, as a project of their own.
    """

    project: Project
    remarks: tuple[str, ...]
    config: str


def open_trial(request: TrialRequest, folder: Path, progress: Progress | None = None) -> OpenTrial:
    """Fetch and identify the models, infer task and fields, and open a project for them.

    Args:
        request: What to try.
        folder: Results folder; nothing is written elsewhere.
        progress: Receiver of progress lines.

    Raises:
        ConfigError: The models have different tasks, or a setting is wrong.
        DataError: The data cannot be read, or leave a field open.
        ModelSourceError: A source is missing, or holds no model that bakeoff measures.
        TrackingError: A source lies in a store that does not answer.
    """
    sources = _name_sources(request)
    config: dict[str, Any] = {
        "tracking": {"uri": _absolute_uri(request.tracking_uri)},
        "models": {name: _describe_source(source, request) for name, source in sources.items()},
        "data": {"max_length": MAX_LENGTH},
        "benchmark": {
            "runtimes": [_read_runtime(label) for label in request.runtimes] or _list_installed(),
            "protocol": PROTOCOL,
            "n_texts": 256,
            "accept_contended": True,  # a first look says how far it can be trusted, and is not repeated
        },
    }
    if request.inputs is not None:
        inferred = Inferred({"kind": "tensors"}, is_labelled=False)
        config["data"]["test"] = str(request.inputs.absolute())
    elif request.data is not None:
        config["data"]["test"] = str(request.data.absolute())
        inferred = _infer(request, folder, config, progress)
    else:
        raise ConfigError(["--data: missing; name a file of examples, or --inputs for cost alone"])
    config["data"]["task"] = inferred.task
    scenarios: list[dict[str, Any]] = [{"kind": "latency", "batch_sizes": list(BATCH_SIZES)}]
    remarks = [
        f"{found}; say otherwise with --set data.task.{settings}" if settings else found
        for found, settings in inferred.remarks
    ]
    if inferred.is_labelled:
        scenarios.insert(0, {"kind": "quality"})
        config["decision"] = {"objective": _OBJECTIVE}
        remarks.append(_EXPLAINED)
    else:
        config["decision"] = {"objective": {"kind": "fastest"}}
        remarks.append("no labels: quality is not measured, so the fastest is the best")
    config["benchmark"]["scenarios"] = scenarios
    text = _write(config)
    settings = parse_settings({"": (_SETTINGS, text)}, request.overrides)
    project = Project(folder.absolute(), settings, progress, is_offline=True, is_trial=True)
    return OpenTrial(project, tuple(remarks), text)


def save_trial(trial: OpenTrial) -> Path:
    """Write the settings of a trial as a project in its folder, where nothing is measured again.

    Raises:
        ConfigError: There is another configuration.
    """
    path = trial.project.root / CONFIG_NAME
    if path.is_file() and path.read_text(encoding="utf-8") != trial.config:
        raise ConfigError([f"{path}: there is another configuration; remove it, or choose another --folder"])
    durable.write_bytes(path, trial.config.encode())
    return path


def _infer(
    request: TrialRequest, folder: Path, config: Mapping[str, Any], progress: Progress | None
) -> Inferred:
    """Look at the models and at the data."""
    given = _list_given(request.overrides)
    # The task decides what a graph needs next to it; any task that reads text will do until it is known.
    settings = parse_settings({"": (_SETTINGS, _write(config))}, _list_of_sources(request.overrides))
    facts = _look_at_models(Project(folder.absolute(), settings, progress))
    path = Path(str(settings.data.test))
    try:
        rows = read_rows(path, settings.data.format)
    except DataError:
        if not path.exists():
            raise DataError(
                str(path), found="no such file or folder", expected="labelled examples; correct --data"
            ) from None
        raise
    return infer_task(facts, rows, given, str(request.data))


def _look_at_models(project: Project) -> dict[str, ModelFacts]:
    """Identify every model; all must be there, since a wrong path is a mistake and no model."""
    facts, faults = {}, list[BakeoffError]()
    for name, source in project.settings.models.items():
        try:
            facts[name] = _look_at(identify_model(project, name, source))
        except BakeoffError as error:
            faults.append(error)
    if len(faults) == 1 or any(fault.exit_code != ConfigError.exit_code for fault in faults):
        raise max(faults, key=lambda fault: fault.exit_code)
    if faults:
        raise ConfigError([str(fault) for fault in faults])
    return facts


def _look_at(model: NamedModel) -> ModelFacts:
    if model.loads_as in READS_ROWS:
        return ModelFacts(f"a model that reads rows ({model.kind})", reads_rows=True)
    if model.checkpoint_path is None:
        raise TypeError(f"{model.backbone} has no folder")
    checkpoint = open_checkpoint(model.checkpoint_path)
    described = checkpoint.architecture or checkpoint.described
    return ModelFacts(described, checkpoint.head, checkpoint.labels, checkpoint.problem_type)


def _name_sources(request: TrialRequest) -> dict[str, str]:
    """Give each source a name: the given one, or its last part."""
    found: dict[str, str] = {}
    for text in request.models:
        match = None if Path(text).exists() else _NAMED.fullmatch(text)
        source = match["source"] if match else text
        name = match["name"] if match else _name(source)
        if name in found:
            raise ConfigError([f"{text}: a second model named {name!r}; name it as NAME={source}"])
        found[name] = source
    return found


def _name(source: str) -> str:
    if _URI.match(source):
        last = source.partition(":/")[2]
    elif re.fullmatch(FUNCTION, source) and not Path(source).exists():
        last = source.rpartition(":")[2]
    else:
        path = Path(source).absolute()
        last = path.parent.name if path.stem in {"model", "model_quantized"} else path.stem
    return _ODD.sub("-", last).strip("-.") or "model"


def _describe_source(source: str, request: TrialRequest) -> dict[str, Any]:
    trusted = {"trust_code": True} if request.trusts_code else {}
    if _URI.match(source):
        return {"source": source, **trusted}
    path = Path(source)
    if not path.exists() and re.fullmatch(FUNCTION, source):
        if not request.trusts_code:
            fix = "add --trust-code if you trust it, since it can do all that you can do"
            raise ConfigError([f"{source}: a function of Python, which bakeoff would run; {fix}"])
        return {"factory": source, **trusted}
    tokenizer = {} if request.tokenizer is None else {"tokenizer": str(request.tokenizer.absolute())}
    return {"source": str(path.absolute()), **(tokenizer if path.suffix == ".onnx" else {}), **trusted}


def _read_runtime(label: str) -> dict[str, Any]:
    """Read a runtime such as ``onnxruntime-int8``."""
    known: dict[str, dict[str, Any]] = {}
    for backend in (Torch, OnnxRuntime, OpenVino):
        kind, precisions = (backend.model_fields[name] for name in ("kind", "precision"))
        known[kind.default] = {"kind": kind.default}
        for precision in get_args(precisions.annotation):
            if precision != "given":
                known[f"{kind.default}-{precision}"] = {"kind": kind.default, "precision": precision}
    if label.strip() not in known:
        raise ConfigError([f"--runtimes: found {label!r}; allowed are {', '.join(known)}"])
    return known[label.strip()]


def _list_installed() -> list[dict[str, Any]]:
    """List the runtimes of a first look that are installed."""
    found = []
    for runtime in (Torch(), OnnxRuntime()):
        try:
            runtime.require_installed()
        except MissingExtraError:
            continue
        found.append({"kind": runtime.kind})
    if not found:
        raise MissingExtraError("bakeoff try", library="torch", extra="torch,onnx")
    return found


def _list_given(overrides: Sequence[str]) -> dict[str, Any]:
    found = {}
    for override in overrides:
        if match := _TASK_OVERRIDE.fullmatch(override):
            try:
                found[match["field"]] = read_value(match["value"])
            except yaml.YAMLError:
                continue  # the settings tell the fault with its place
    return found


def _list_of_sources(overrides: Sequence[str]) -> list[str]:
    """List the overrides that decide where models and data are read from."""
    return [each for each in overrides if each.startswith(("models.", "tracking.", "data.format"))]


def _absolute_uri(uri: str) -> str:
    """Return a URI in which a relative SQLite path starts at the present folder, as MLflow reads it."""
    prefix = "sqlite:///"
    if not uri.startswith(prefix) or uri.startswith(f"{prefix}/"):
        return uri
    return f"{prefix}{Path.cwd() / uri.removeprefix(prefix)}"


def _write(config: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=110)
    return text
