"""Project: a folder with a configuration, and the stores that the configuration names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from os.path import lexists
from pathlib import Path

from bakeoff.core.config.execution import RayExecution
from bakeoff.core.config.parse import STAGES, parse_settings
from bakeoff.core.config.settings import Settings
from bakeoff.core.config.yaml_values import MAX_CHARS
from bakeoff.core.identity import compute_data_fingerprint, compute_eval_fingerprint
from bakeoff.core.run_mode import RunMode, inherit_mode
from bakeoff.disk import durable
from bakeoff.disk.inputs import UnsuitableFileError, read_regular, refuse_escape
from bakeoff.errors import ConfigError, DataError
from bakeoff.measure.tasks import Document
from bakeoff.orchestrator.progress import Progress, Quiet, warn
from bakeoff.run.cluster import RayCluster
from bakeoff.run.machine import lock as machine_lock
from bakeoff.stores.checkpoints import CheckpointStore
from bakeoff.stores.claims.claims import Claims
from bakeoff.stores.claims.ledger import Ledger
from bakeoff.stores.documents import (
    digest_data,
    name_fields,
    read_document_file,
    read_rows,
    require_labels,
    write_rows,
)
from bakeoff.stores.results.store import ResultStore
from bakeoff.stores.tracking import Tracker
from bakeoff.uris import is_database

# A scheme has two letters at least: "C:" is a drive of Windows.
_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_RELATIVE_SQLITE = re.compile(r"sqlite:///(?!/)(?P<path>.+)")


@dataclass(frozen=True)
class Corpus:
    """Labelled documents of a sweep, and their fingerprints."""

    train: tuple[Document, ...]
    test: tuple[Document, ...]
    labels: tuple[str, ...]
    data_fingerprint: str
    eval_fingerprint: str


class Project:
    """An open project; opening it reads the configuration and nothing else.

    Args:
        root: Folder that relative paths of the configuration start from.
        settings: Settings of all stages.
        progress: Receiver of progress lines and bars; None shows none. Warnings go to the ``bakeoff`` logger
            in either case.
        config: Folder or file of the configuration, for messages.
        is_offline: Whether to use the disk alone and never ask the tracking store.
        is_trial: Whether results stay on this disk on purpose, so that nothing reminds of the tracking store.
    """

    def __init__(
        self,
        root: Path,
        settings: Settings,
        progress: Progress | None = None,
        *,
        config: Path | None = None,
        is_offline: bool = False,
        is_trial: bool = False,
    ) -> None:
        self.root = root
        self.is_trial = is_trial
        self.is_offline = is_offline
        self._config = config
        self.settings = settings
        self.progress: Progress = progress or Quiet()
        self._warned = set[str]()
        uri = self.resolve_uri(settings.tracking.uri)
        self.tracker = Tracker(uri, self.artifact_location, warn, is_offline=is_offline)
        self.results = ResultStore(root / "results", self.warn_once)
        self.claims = self.make_claims(self._identify_machine)
        self.checkpoints = CheckpointStore(root / ".cache", self.progress.say, warn)

    def make_claims(self, identify: Callable[[], str]) -> Claims:
        """Claims in the ledger of this project's store.

        Args:
            identify: Function that returns the id of the machine, or of what else a lock protects.
        """
        tracking = self.settings.tracking
        ledger = Ledger(self.tracker, tracking.benchmark_experiment)
        return Claims(ledger, machine_lock.describe_command(), identify, expiry_s=tracking.claim_expiry_s)

    def find_benchmark_experiment(self) -> str | None:
        """Return the id of the experiment of benchmark runs; None if it does not exist yet."""
        return self.tracker.find_experiment(self.settings.tracking.benchmark_experiment)

    def ensure_benchmark_experiment(self) -> str:
        """Return the id of the experiment of benchmark runs; create it if it does not exist."""
        return self.tracker.ensure_experiment(self.settings.tracking.benchmark_experiment)

    @cached_property
    def cluster(self) -> RayCluster | None:
        """Cluster that measures the jobs, not connected yet; None if this machine measures."""
        execution = self.settings.benchmark.execution
        return RayCluster(execution) if isinstance(execution, RayExecution) else None

    @property
    def settings_for_nodes(self) -> Settings:
        """Settings for other machines, in which no path is relative to a folder of this machine."""
        tracking = self.settings.tracking
        absolute = tracking.replace(
            uri=self.resolve_uri(tracking.uri), artifact_location=self.artifact_location
        )
        return self.settings.replace(tracking=absolute)

    @property
    def artifact_location(self) -> str | None:
        """URI under which new experiments keep their files; None if the tracking server decides."""
        tracking = self.settings.tracking
        if tracking.artifact_location is None and not is_database(tracking.uri):
            return None
        given = tracking.artifact_location or "mlartifacts"  # MLflow's default is the current folder
        return given if _HAS_SCHEME.match(given) else (self.root / given).as_uri()

    @property
    def test_path(self) -> Path:
        """File or folder with the test documents.

        Raises:
            ConfigError: The configuration names no test file.
        """
        if self.settings.data.test is None:
            raise ConfigError([self.missing("data.test", "sweep, plan, bench and decide")])
        return self._locate(self.settings.data.test)

    def encode_test_file(self) -> str:
        """Write the rows of the test file as JSON Lines, for machines that do not have it.

        Raises:
            ConfigError: The configuration names no test file.
            DataError: The file is missing or broken, or JSON cannot hold one of its values.
        """
        data = self.settings.data
        return write_rows(read_rows(self.test_path, data.format, name_fields(data)))

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
        """Name of the configuration file or folder below ``root``; None if the project has none."""
        return self._config.name if self._config else None

    @property
    def selection_path(self) -> Path:
        """File of the last selection of champions."""
        return self.root / "results" / "champions.json"

    @property
    def report_path(self) -> Path:
        """File of the HTML report."""
        return self.root / "results" / "report.html"

    @property
    def decision_path(self) -> Path:
        """File of the last decision."""
        return self.root / "results" / "decision.json"

    @cached_property
    def test_documents(self) -> tuple[Document, ...]:
        """Documents that champions are measured on, read once; they need not be labelled.

        Raises:
            ConfigError: The configuration names no test file.
            DataError: The file is missing or broken.
        """
        return self._read_documents(self.test_path)

    @cached_property
    def train_documents(self) -> tuple[Document, ...]:
        """Documents of search and refit, read once; none if the configuration names no file.

        Raises:
            DataError: The file is missing or broken.
        """
        path = self.settings.data.train
        return () if path is None else self._read_documents(self._locate(path))

    @cached_property
    def corpus(self) -> Corpus:
        """Labelled documents and fingerprints of a sweep; all other stages do without.

        Raises:
            ConfigError: The configuration names no test file.
            DataError: A file is missing or broken, or a document has no labels.
        """
        data, hpo = self.settings.data, self.settings.hpo
        paths = {"test": self.test_path}
        if data.train is not None:
            paths["train"] = self._locate(data.train)
        train, test = self.train_documents, self.test_documents
        for role, documents in {"train": train, "test": test}.items():
            if role in paths:
                require_labels(paths[role], documents, data, "`bakeoff sweep`")
        labels = data.task.list_labels((*train, *test))
        return Corpus(
            train=train,
            test=test,
            labels=labels,
            data_fingerprint=compute_data_fingerprint(
                files={role: digest_data(path) for role, path in paths.items()},
                label_map={label: number for number, label in enumerate(labels)},
                split={
                    "task": data.task.reading,
                    "search_examples": hpo.search_examples,
                    "folds": hpo.folds,
                    "seed": hpo.seed,
                },
            ),
            eval_fingerprint=self.fingerprint_evaluation(hpo.objective.metric),
        )

    def fingerprint_evaluation(self, metric: str) -> str:
        """Fingerprint the evaluation of quality by a metric."""
        data = self.settings.data
        return compute_eval_fingerprint(
            metric=metric,
            options={"task": data.task.identity, "max_length": data.max_length},
            evaluator=data.task.evaluator,
        )

    @property
    def worker_variables(self) -> tuple[str, ...]:
        """Names of variables that worker processes get besides the usual ones."""
        return self._list_variables("benchmark", self.settings.benchmark.environment)

    @property
    def training_variables(self) -> tuple[str, ...]:
        """Names of variables that the training process gets besides the usual ones."""
        return self._list_variables("hpo", self.settings.hpo.environment)

    def _list_variables(self, stage: str, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in os.environ:
                self.warn_once(
                    f"{self.place(stage)}: {stage}.environment: {name} is not set; set it, or remove it"
                )
        return names

    def warn_once(self, line: str) -> None:
        """Warn, unless an earlier stage on this project has shown the same line."""
        if line not in self._warned:
            self._warned.add(line)
            warn(line)

    def _locate(self, name: str) -> Path:
        """Return the path of a data file; a link must not lead out of the project."""
        path = self.root / name
        try:
            refuse_escape(path, self.root)
        except UnsuitableFileError as error:
            raise DataError(str(path), found=str(error), expected="a file in the project") from None
        return path

    def _read_documents(self, path: Path) -> tuple[Document, ...]:
        found = read_document_file(path, self.settings.data)
        for remark in found.remarks:
            warn(f"{path}: {remark}")
        return found.documents

    def place(self, stage: str) -> str:
        """Return the file with the settings of a stage, for messages."""
        if self._config is None:
            return "configuration"
        return str(self._config / f"{stage}.yaml" if self._config.is_dir() else self._config)

    def missing(self, key: str, needed_by: str) -> str:
        """Return the message for a setting that has no value and is needed now."""
        return f"{self.place(key.partition('.')[0])}: {key} is missing; add it for {needed_by}"

    def resolve_uri(self, uri: str) -> str:
        """Return a URI in which a relative SQLite path starts at the project folder."""
        match = _RELATIVE_SQLITE.fullmatch(uri)
        return f"sqlite:///{self.root / match['path']}" if match else uri

    def _identify_machine(self) -> str:
        """Return the id of the lock that this command measures under; on a cluster, the project's lock."""
        return machine_lock.identify_machine(self.results.lock_path if self.cluster else None)


@contextmanager
def waiting_to_measure(project: Project) -> Iterator[None]:
    """Hold the lock of the one process that measures in this project; warn of a holder to wait for.

    Damaged results are set aside first, so that they are measured again; what a killed process left half
    written is removed.
    """
    with durable.exclusive(
        project.results.lock_path,
        lambda holder: warn(f"waiting for another process that measures in this project: {holder}"),
    ):
        project.results.remove_leftovers()
        project.results.set_damaged_aside()
        yield


def open_project(
    config: Path | str,
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
    *,
    is_offline: bool = False,
) -> Project:
    """Open a project by its configuration.

    Args:
        config: Folder with one YAML file a stage, or one YAML file with the stages as top-level keys.
        overrides: Settings to change, each as ``stage.key=value``.
        progress: Receiver of progress lines and bars; None shows none. Warnings go to the ``bakeoff`` logger
            in either case: what is skipped, failed or waited for.
        is_offline: Whether to use the disk alone and never ask the tracking store.

    Raises:
        ConfigError: The configuration is faulty; the error names every fault.
    """
    config = Path(config).absolute()
    if config.is_dir():
        files = {stage: config / f"{stage}.yaml" for stage in STAGES}
        unknown = sorted(path.name for path in config.glob("*.y*ml") if path not in files.values())
        if unknown:
            raise ConfigError(
                [f"{config / unknown[0]}: not the name of a stage; rename it to one of {_list_files()}"]
            )
        sections = {stage: _read(path, config.parent) for stage, path in files.items() if lexists(path)}
        if not sections:
            raise ConfigError(
                [f"{config}: no configuration in this folder; write at least one of {_list_files()}"]
            )
    elif lexists(config):
        sections = {"": _read(config, config.parent)}
    else:
        raise ConfigError([f"{config}: no such file or folder; name the configuration with --config"])
    settings = parse_settings(sections, overrides)
    return Project(config.parent, settings, progress, config=config, is_offline=is_offline)


def _list_files() -> str:
    return ", ".join(f"{stage}.yaml" for stage in STAGES)


def _read(path: Path, root: Path) -> tuple[str, str]:
    try:
        refuse_escape(path, root)
        return str(path), read_regular(path, MAX_CHARS).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path}: cannot be read: {error}"]) from error
