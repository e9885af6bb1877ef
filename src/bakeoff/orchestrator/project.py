"""A project: a folder with a configuration, and the stores that the configuration names."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bakeoff.core.config.execution import RayExecution
from bakeoff.core.config.parse import STAGES, parse_settings
from bakeoff.core.config.settings import Settings
from bakeoff.core.identity import compute_data_fingerprint, compute_eval_fingerprint
from bakeoff.core.run_mode import RunMode, inherit_mode
from bakeoff.disk.digest import digest_file
from bakeoff.errors import ConfigError
from bakeoff.measure.tasks.token_classification import Document, evaluator_version, label_list
from bakeoff.orchestrator.progress import Progress, Quiet
from bakeoff.run.cluster import RayCluster
from bakeoff.run.machine import lock as machine_lock
from bakeoff.stores.checkpoints import CheckpointStore
from bakeoff.stores.claims.claims import Claims
from bakeoff.stores.claims.ledger import Ledger
from bakeoff.stores.documents import read_documents
from bakeoff.stores.results.store import ResultStore
from bakeoff.stores.tracking import Tracker
from bakeoff.uris import is_database

# Of two letters at least: a drive of Windows is a path.
_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_RELATIVE_SQLITE = re.compile(r"sqlite:///(?!/)(?P<path>.+)")


@dataclass(frozen=True)
class Corpus:
    """The project's documents and what identifies them."""

    train: tuple[Document, ...]
    test: tuple[Document, ...]
    labels: tuple[str, ...]
    data_fingerprint: str
    eval_fingerprint: str


class Project:
    """An open project; opening it reads the configuration and nothing else.

    Args:
        root: Relative paths of the configuration are taken from here.
        settings: Of all stages.
        progress: Who is told what goes on.
        config: Folder or file of the configuration, for messages.
        is_offline: The disk answers instead of the tracking store, which is never asked.
    """

    def __init__(
        self,
        root: Path,
        settings: Settings,
        progress: Progress | None = None,
        *,
        config: Path | None = None,
        is_offline: bool = False,
    ) -> None:
        self.root = root
        self.is_offline = is_offline
        self._config = config
        self.settings = settings
        self.progress: Progress = progress or Quiet()
        uri = self.resolve_uri(settings.tracking.uri)
        self.tracker = Tracker(uri, self.artifact_location, self.progress.say, is_offline=is_offline)
        self.results = ResultStore(root / "results")
        self.claims = self.make_claims(self._identify_machine)
        self.checkpoints = CheckpointStore(root / ".cache", self.progress.say)

    def make_claims(self, identify: Callable[[], str]) -> Claims:
        """Claims in the ledger of this project's store.

        Args:
            identify: Names the machine, or whatever else a lock keeps for one process at a time.
        """
        tracking = self.settings.tracking
        ledger = Ledger(self.tracker, tracking.benchmark_experiment)
        return Claims(ledger, machine_lock.describe_command(), identify, expiry_s=tracking.claim_expiry_s)

    def find_benchmark_experiment(self) -> str | None:
        """Return the id of the experiment of benchmark runs; None if it does not exist yet."""
        return self.tracker.find_experiment(self.settings.tracking.benchmark_experiment)

    def ensure_benchmark_experiment(self) -> str:
        """Return the id of the experiment of benchmark runs; it is made if it does not exist."""
        return self.tracker.ensure_experiment(self.settings.tracking.benchmark_experiment)

    @cached_property
    def cluster(self) -> RayCluster | None:
        """Where jobs are measured, if not on this machine; not connected yet."""
        execution = self.settings.benchmark.execution
        return RayCluster(execution) if isinstance(execution, RayExecution) else None

    @property
    def settings_for_nodes(self) -> Settings:
        """The settings as other machines must read them: no path is relative to a folder of this one."""
        tracking = self.settings.tracking
        absolute = tracking.model_copy(
            update={"uri": self.resolve_uri(tracking.uri), "artifact_location": self.artifact_location}
        )
        return self.settings.model_copy(update={"tracking": absolute})

    @property
    def artifact_location(self) -> str | None:
        """URI below which new experiments keep their files; None where the tracking server says it."""
        tracking = self.settings.tracking
        if tracking.artifact_location is None and not is_database(tracking.uri):
            return None
        given = tracking.artifact_location or "mlartifacts"  # MLflow's own is in whatever folder we run in
        return given if _HAS_SCHEME.match(given) else (self.root / given).as_uri()

    @property
    def test_path(self) -> Path:
        """The file with the test documents.

        Raises:
            ConfigError: The configuration names none.
        """
        if self.settings.data.test is None:
            raise ConfigError(
                [self.missing("data.test", "sweep, plan, bench and decide need labelled documents")]
            )
        return self.root / self.settings.data.test

    @property
    def sweep_mode(self) -> RunMode:
        """Run mode of the sweep."""
        return inherit_mode(self.settings.hpo.run.mode)

    @property
    def benchmark_mode(self) -> RunMode:
        """Run mode of the benchmark; null inherits the sweep's."""
        return inherit_mode(self.settings.benchmark.run.mode, self.settings.hpo.run.mode)

    @property
    def decision_mode(self) -> RunMode:
        """Run mode of the decision; null inherits the benchmark's."""
        return inherit_mode(self.settings.decision.run.mode, self.benchmark_mode)

    @property
    def config_name(self) -> str | None:
        """File or folder of the configuration, below ``root``; None where the project was made without."""
        return self._config.name if self._config else None

    @property
    def selection_path(self) -> Path:
        """Where the last selection of champions stands."""
        return self.root / "results" / "champions.json"

    @property
    def report_path(self) -> Path:
        """Where the HTML report stands."""
        return self.root / "results" / "report.html"

    @property
    def decision_path(self) -> Path:
        """Where the last decision stands."""
        return self.root / "results" / "decision.json"

    @cached_property
    def corpus(self) -> Corpus:
        """The documents, read once.

        Raises:
            ConfigError: The configuration names no test file.
            DataError: A file is missing or broken.
        """
        data, hpo = self.settings.data, self.settings.hpo
        paths = {"test": self.test_path}
        if data.train is not None:
            paths["train"] = self.root / data.train
        documents = {role: read_documents(path, data) for role, path in sorted(paths.items(), reverse=True)}
        train, test = documents.get("train", ()), documents["test"]
        labels = label_list((*train, *test))
        return Corpus(
            train=train,
            test=test,
            labels=labels,
            data_fingerprint=compute_data_fingerprint(
                files={role: digest_file(path) for role, path in paths.items()},
                label_map={label: number for number, label in enumerate(labels)},
                split={
                    "tokens_field": data.tokens_field,
                    "tags_field": data.tags_field,
                    "search_examples": hpo.search_examples,
                    "folds": hpo.folds,
                    "seed": hpo.seed,
                },
            ),
            eval_fingerprint=compute_eval_fingerprint(
                metric=hpo.objective.metric,
                options={
                    "average": "micro",
                    "scheme": "BIO",
                    "mode": "conlleval",
                    "max_length": data.max_length,
                },
                evaluator=evaluator_version(),
            ),
        )

    def place(self, stage: str) -> str:
        """The file in which the settings of a stage stand, for messages."""
        if self._config is None:
            return "configuration"
        return str(self._config / f"{stage}.yaml" if self._config.is_dir() else self._config)

    def missing(self, key: str, why: str) -> str:
        """A message about a setting that has no value and is needed now."""
        return f"{self.place(key.partition('.')[0])}: {key} is missing; {why}"

    def resolve_uri(self, uri: str) -> str:
        """A URI whose relative SQLite path is taken from the project folder."""
        match = _RELATIVE_SQLITE.fullmatch(uri)
        return f"sqlite:///{self.root / match['path']}" if match else uri

    def _identify_machine(self) -> str:
        """Under which lock this command measures; on a cluster that is the project's, which it holds."""
        return machine_lock.identify_machine(self.results.lock_path if self.cluster else None)


def open_project(
    config: Path,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    *,
    is_offline: bool = False,
) -> Project:
    """Open a project by its configuration.

    Args:
        config: A folder with one YAML file a stage, or one YAML file with the stages as top-level keys.
        overrides: ``stage.key=value`` each.
        progress: Who is told what goes on.
        is_offline: The disk answers instead of the tracking store, which is never asked.

    Raises:
        ConfigError: With every fault of the configuration.
    """
    config = config.absolute()
    if config.is_dir():
        files = {stage: config / f"{stage}.yaml" for stage in STAGES}
        unknown = sorted(path.name for path in config.glob("*.y*ml") if path not in files.values())
        if unknown:
            raise ConfigError(
                [f"{config / unknown[0]}: no stage has this name; expected {', '.join(STAGES)}"]
            )
        sections = {stage: _read(path) for stage, path in files.items() if path.is_file()}
        if not sections:
            raise ConfigError(
                [f"{config}: no configuration in this folder; expected {', '.join(STAGES)}.yaml"]
            )
    elif config.is_file():
        sections = {"": _read(config)}
    else:
        raise ConfigError([f"{config}: no such file or folder; name the configuration with --config"])
    settings = parse_settings(sections, overrides)
    return Project(config.parent, settings, progress, config=config, is_offline=is_offline)


def _read(path: Path) -> tuple[str, str]:
    try:
        return str(path), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error
