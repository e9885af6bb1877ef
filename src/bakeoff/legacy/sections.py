"""Old configuration sections and arguments, translated to a project."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from bakeoff.core.config.data import DataSettings
from bakeoff.core.config.parse import parse_settings
from bakeoff.core.config.settings import BenchmarkSettings, TrackingSettings
from bakeoff.core.run_mode import get_run_mode
from bakeoff.errors import ConfigError
from bakeoff.legacy.hashes import Config
from bakeoff.orchestrator import Project
from bakeoff.record import Record

ITERATIONS, WARMUP, MAX_LENGTH = 100, 10, 512
LAYOUT = "code"
DEFAULT_METRIC = "macro-f1"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_RELATIVE_SQLITE = re.compile(r"sqlite:///(?!/)(?P<path>.+)")


class OldArguments(Record):
    """Arguments of an old call that decide what is measured; None leaves it to the sections."""

    test_data_path: Path | None = None
    batch_sizes: tuple[int, ...] | None = None
    iterations: int = ITERATIONS
    warmup: int = WARMUP
    max_length: int = MAX_LENGTH
    device: str | None = None


def name_backbone(backbone: str) -> str:
    """Return a backbone's name as bakeoff allows it: ``org/model`` becomes ``org-model``."""
    return _NOT_IN_A_NAME.sub("-", backbone).strip("-._")[:100] or "model"


def open_old_project(
    root_dir: Path | str | None,
    backbones: Iterable[str],
    *,
    data_config: Config | None = None,
    hpo_config: Config | None = None,
    benchmark_config: Config | None = None,
    selection: Config | None = None,
    arguments: OldArguments | None = None,
    sweep_experiment: object = None,
    benchmark_experiment: object = None,
    client: object = None,
) -> Project:
    """Open a project that does what an old call asks for.

    Args:
        root_dir: Folder that relative paths start from; None means the current one.
        backbones: Backbones of the call.
        data_config: Old ``data`` section.
        hpo_config: Old ``hpo`` section.
        benchmark_config: Old ``benchmark`` section: ``run``, ``benchmarking``, ``output``.
        selection: Settings of the selection.
        arguments: Arguments that decide what is measured.
        sweep_experiment: Experiment of the search: name, or mapping with a name.
        benchmark_experiment: Experiment of the benchmarks: name, or mapping with a name.
        client: MLflow client, or tracker of the old module, whose store is meant.

    Raises:
        ConfigError: A value is unusable; the error names all of them.
    """
    objective = read_objective(hpo_config or {})
    tracking = {
        "uri": find_uri(client),
        "layout": LAYOUT,
        "sweep_experiment": name_experiment(sweep_experiment),
        "benchmark_experiment": name_experiment(benchmark_experiment),
    }
    sections = {
        "tracking": {name: value for name, value in tracking.items() if value is not None},
        "data": _read_data(data_config or {}, benchmark_config or {}, arguments or OldArguments()),
        "hpo": {
            "backbones": {name_backbone(each): {"recorded_as": each} for each in backbones} or {"none": {}},
            "objective": objective,
            "run": {"mode": str(get_run_mode(hpo_config or {}))},
        },
        "selection": dict(selection or {}),
        "benchmark": _read_benchmark(benchmark_config or {}, arguments or OldArguments()),
    }
    plain = json.loads(json.dumps(sections, default=str))
    settings = parse_settings({"": ("the sections of an old call", yaml.safe_dump(plain))})
    return Project(Path(root_dir or ".").absolute(), settings)


def read_objective(config: Config) -> dict[str, str]:
    """Read metric and direction; older sections call the direction ``goal``."""
    found = config.get("objective") or {}
    return {
        "metric": found.get("metric") or DEFAULT_METRIC,
        "direction": found.get("direction") or found.get("goal") or "maximize",
    }


def name_experiment(given: object) -> str | None:
    """Return the name of an experiment: a text, a mapping or object with ``name``, or None."""
    if isinstance(given, Mapping):
        given = given.get("name") or given.get("experiment_name")
    elif given is not None and not isinstance(given, str):
        given = getattr(given, "name", None) or getattr(given, "experiment_name", None)
    return str(given) if given else None


def find_uri(client: object) -> str:
    """Return the store of a client or tracker, else the one that this process has set, else the default."""
    given = getattr(client, "tracking_uri", None)
    mlflow = sys.modules.get("mlflow")
    if not given and mlflow is not None and mlflow.is_tracking_uri_set():
        given = mlflow.get_tracking_uri()
    uri = str(given or os.environ.get("MLFLOW_TRACKING_URI") or TrackingSettings().uri)
    match = _RELATIVE_SQLITE.fullmatch(uri) if given else None  # a client's path starts at the current folder
    return f"sqlite:///{Path(match['path']).absolute()}" if match else uri


def _read_data(data: Config, benchmark: Config, arguments: OldArguments) -> dict[str, Any]:
    section = _section(benchmark, "benchmarking")
    test = arguments.test_data_path or section.get("test_data")
    known = {name: value for name, value in data.items() if name in DataSettings.model_fields}
    chosen = _choose(arguments.max_length, MAX_LENGTH, section.get("max_length"))
    return {"max_length": chosen, **known, **({"test": str(test)} if test else {})}


def _read_benchmark(config: Config, arguments: OldArguments) -> dict[str, Any]:
    """Translate ``run`` and ``benchmarking``; keys of bakeoff's own section are used as they are."""
    section = _section(config, "benchmarking")
    sizes: Sequence[int] | None = arguments.batch_sizes or section.get("batch_sizes")
    latency = {"kind": "latency", **({"batch_sizes": list(sizes)} if sizes else {})}
    own = {name: value for name, value in config.items() if name in BenchmarkSettings.model_fields}
    return {
        "accept_contended": True,  # the old module judged no noise; the flag is raised all the same
        "runtimes": [{"kind": "torch", "device": _read_device(arguments.device or section.get("device"))}],
        "scenarios": [latency],
        "protocol": {
            "preset": "quick",
            "iterations": _choose(arguments.iterations, ITERATIONS, section.get("iterations")),
            "warmup_iterations": _choose(arguments.warmup, WARMUP, section.get("warmup_iterations")),
        },
        **own,
    }


def _read_device(given: object) -> str:
    name = str(given or "cpu").partition(":")[0].lower()
    if name not in ("cpu", "cuda"):
        raise ConfigError([f"benchmarking.device: found {given!r}; expected cpu, cuda, or null for the CPU"])
    return name


def _section(config: Config, name: str) -> Config:
    found = config.get(name)
    if found is not None and not isinstance(found, Mapping):
        raise ConfigError([f"{name}: found {found!r:.80}; expected a mapping"])
    return found or {}


def _choose(given: int, default: int, configured: int | None) -> int:
    """Return an argument that differs from its default, else the section's value, else the default."""
    return given if given != default or configured is None else configured
