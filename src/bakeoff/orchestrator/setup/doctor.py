"""Doctor: check everything that the pipeline needs before it needs it."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from bakeoff.core.records import AnyModel, BackboneSelection, Champion, NamedModel
from bakeoff.core.selection.select import FINISHED
from bakeoff.disk.digest import shorten
from bakeoff.errors import BakeoffError, DataError, NoChampionError, TrackingError, UnsuitableLibraryError
from bakeoff.install import install_command
from bakeoff.measure.model.session import READS_ROWS
from bakeoff.orchestrator.champions import SAMPLE_RUNS, find_experiments, read_sweep, select_from
from bakeoff.orchestrator.hardware import ask_nodes
from bakeoff.orchestrator.labels import compare_labels, needs_labels, require_fitting_files
from bakeoff.orchestrator.named_models import look_at_source
from bakeoff.orchestrator.project import Project
from bakeoff.orchestrator.setup.discover import NAME_FIX, find_experiment_names
from bakeoff.plural import count
from bakeoff.record import Record
from bakeoff.run.cluster import RayCluster
from bakeoff.run.machine.hardware import default_threads, detect_hardware
from bakeoff.stores.documents import read_document_file, require_labels
from bakeoff.stores.layouts import BUILT_IN, Layout, Sweep, load_layout, recognise
from bakeoff.stores.tracking import reading
from bakeoff.stores.tracking.versions import (
    OLDEST_SERVER,
    check_installed,
    is_server,
    is_too_old,
    read_server_version,
)

# The disk holds a checkpoint up to three times: fetched, exported, and a half-made copy of either.
LOW_SPACE_BYTES = 5 * 1024**3
NO_SPACE_BYTES = 256 * 1024**2

EXIT_CONFIG, EXIT_ANSWER_IS_NO, EXIT_TRACKING = 2, 3, 5


class Check(Record):
    """One check.

    Attributes:
        found: Finding.
        fix: Fix, as an imperative; empty if nothing is wrong.
        exit_code: Exit code of a fault.
    """

    name: str
    state: Literal["ok", "warning", "fault"]
    found: str
    fix: str = ""
    exit_code: int = 0


def check_project(project: Project) -> Iterator[Check]:
    """Check everything that the pipeline needs; yield each check as soon as it is done."""
    settings = project.settings
    counts = [
        count(len(found), noun)
        for found, noun in ((settings.hpo.backbones, "backbone"), (settings.models, "named model"))
        if found
    ]
    yield _ok("configuration", f"{', '.join(counts)}; all keys are valid")
    is_up = True
    for check in _check_store(project):
        is_up = is_up and check.state != "fault"
        yield check
    champions = (yield from _check_sweep(project)) if is_up and settings.hpo.backbones else ()
    named = yield from _check_named(project, is_up=is_up)
    if (yield from _check_data(project)):
        yield from _check_labels(project, (*champions, *named))
    yield from _check_runtimes(project)
    yield from _check_disk(project)


def worst_exit_code(checks: list[Check]) -> int:
    """Return 5 for a fault of the store, else 2 for configuration or machine, else 3; 0 without faults."""
    codes = {check.exit_code for check in checks if check.state == "fault"}
    return next((code for code in (EXIT_TRACKING, EXIT_CONFIG, EXIT_ANSWER_IS_NO) if code in codes), 0)


def fault_from(name: str, error: BakeoffError) -> Iterator[Check]:
    """Turn an error into checks, one for each of its lines."""
    for line in str(error).splitlines():
        yield Check(name=name, state="fault", found=line, exit_code=error.exit_code)


def _ok(name: str, found: str) -> Check:
    return Check(name=name, state="ok", found=found)


def _warning(name: str, found: str, fix: str) -> Check:
    return Check(name=name, state="warning", found=found, fix=fix)


def _fault(name: str, found: str, fix: str, exit_code: int = EXIT_CONFIG) -> Check:
    return Check(name=name, state="fault", found=found, fix=fix, exit_code=exit_code)


def _check_store(project: Project) -> Iterator[Check]:
    try:
        check_installed()
    except UnsuitableLibraryError as error:
        yield from fault_from("MLflow", error)
        return
    tracker, ours = project.tracker, version("mlflow")
    if not tracker.is_there and not project.settings.hpo.backbones:
        yield _ok("tracking store", f"{tracker.shown_uri}: not there yet; the first bench creates it")
        return
    if not tracker.is_there:
        fix = "run `bakeoff sweep` to create it, or correct tracking.uri"
        yield _fault("tracking store", f"{tracker.shown_uri}: no such file", fix, EXIT_ANSWER_IS_NO)
        return
    try:
        n_experiments = len(tracker.list_experiments())
    except TrackingError as error:
        yield _fault("tracking store", str(error), "start the store, or correct tracking.uri", EXIT_TRACKING)
        return
    known = f"{tracker.shown_uri} answers; {count(n_experiments, 'experiment')}; MLflow {ours} here"
    yield _check_server(tracker.uri, known, ours)
    yield from _check_artifacts(project)
    try:
        tracker.call("reading the registry", lambda client: client.search_registered_models(max_results=1))
    except TrackingError as error:
        fix = "check the registry and your rights on it, since promote needs it"
        yield _fault("model registry", str(error), fix, EXIT_TRACKING)
    else:
        model = project.settings.tracking.registered_model
        yield _ok("model registry", f"answers; promote registers the winner as {model}")
    name = project.settings.tracking.benchmark_experiment
    stage = tracker.find_lifecycle_stage(name)
    if stage == "deleted":
        fix = "restore it, or set another name in tracking.benchmark_experiment"
        yield _fault("benchmark experiment", f"{name!r} was deleted", fix, EXIT_CONFIG)
    else:
        found = f"{name!r} exists" if stage else f"{name!r}; the first sweep or bench creates it"
        yield _ok("benchmark experiment", found)


def _check_server(uri: str, known: str, ours: str) -> Check:
    """Check the version of a server; ``known`` describes the store so far."""
    if not is_server(uri):
        return _ok("tracking store", known)
    theirs, fix = read_server_version(uri), f"upgrade the server to MLflow {OLDEST_SERVER} or newer"
    if theirs is None:
        return _ok("tracking store", f"{known}; the version of the server could not be read")
    if not theirs:
        return _warning("tracking store", f"{known}; the server does not report its version", fix)
    known = f"{known}, {theirs} on the server"
    if is_too_old(theirs):
        return _fault("tracking store", known, fix, EXIT_TRACKING)
    if theirs.partition(".")[0] != ours.partition(".")[0]:
        return _warning("tracking store", known, "install the same major version on both sides")
    return _ok("tracking store", known)


def _check_artifacts(project: Project) -> Iterator[Check]:
    """Check where new experiments keep their files; a SQLite store serves one machine, so it is fine."""
    location, uri = project.artifact_location, project.tracker.uri
    if location is None or uri.startswith("sqlite"):
        return
    name, found = "artifacts", f"new experiments of this machine keep their files in {location}"
    if is_server(uri) and location.startswith("file:"):
        fix = "remove tracking.artifact_location to send them to the server, unless all machines reach it"
        yield _warning(name, f"{found}, not on the server", fix)
    elif project.settings.tracking.artifact_location is None:
        fix = (
            "set tracking.artifact_location to storage that all machines reach, or tracking.uri to an "
            "`mlflow server`, if other machines use this database"
        )
        yield _warning(name, found, fix)
    else:
        yield _ok(name, found)


def _check_sweep(project: Project) -> Generator[Check, None, tuple[Champion, ...]]:
    """Check the sweep, and return its champions."""
    try:
        experiments = find_experiments(project)
    except NoChampionError as error:
        fix = "correct tracking.sweep_experiment, or run `bakeoff init` to list the experiments"
        yield _fault("sweep experiment", str(error).splitlines()[1].strip(), fix, EXIT_ANSWER_IS_NO)
        return ()
    yield _ok("sweep experiment", ", ".join(repr(name) for name in experiments.values()))
    try:
        layout = load_layout(project.settings.tracking.layout, project.root)
        sweep = read_sweep(project, layout)
        yield _check_layout(project, sweep, experiments)
        yield from _check_names(project, sweep)
        selections = select_from(project, layout, sweep) if sweep.trials else {}
        yield from _check_champions(project, layout, selections)
    except BakeoffError as error:
        yield from fault_from("selection", error)
        return ()
    backbones = project.settings.hpo.backbones
    return tuple(
        selection.champion
        for name, selection in selections.items()
        if selection.champion and not backbones[name].trust_code  # only the answers of code name labels
    )


def _check_named(project: Project, *, is_up: bool) -> Generator[Check, None, tuple[NamedModel, ...]]:
    """Check every named model without fetching weights, and return those that are on this machine."""
    here = list[NamedModel]()
    for name, source in project.settings.models.items():
        title = f"model {name}"
        if source.is_uri and not is_up:
            yield _warning(title, f"{source.shown}: not checked", "correct the tracking store first")
            continue
        try:
            seen = look_at_source(project, name, source)
        except BakeoffError as error:
            yield from fault_from(title, error)
            continue
        found = f"{source.shown}: {seen.content.kind}"
        if seen.model is None:
            yield _ok(title, f"{found}; bench fetches it")
        else:
            here.append(seen.model.replace(backbone=name))
            yield _ok(title, f"{found}, content {shorten(seen.model.run_id)}")
    return tuple(here)


def _check_layout(project: Project, sweep: Sweep, experiments: dict[str, str]) -> Check:
    name = project.settings.tracking.layout
    if sweep.trials:
        trials, refits = count(len(sweep.trials), "trial"), count(len(sweep.refits), "refit")
        return _ok("layout", f"{name}: {trials} and {refits} in {count(sweep.n_runs, 'run')}")
    layouts = [load_layout(name, Path()) for name in BUILT_IN]
    fits = {
        entry.layout
        for experiment_id, experiment in experiments.items()
        if (
            entry := recognise(
                reading.sample_rows(project.tracker, experiment_id, experiment, SAMPLE_RUNS), layouts
            )
        )
    }
    fix = (
        f"set tracking.layout to {' or '.join(sorted(fits))}"
        if fits
        else "run the sweep, or write a layout for its runs"
    )
    return _fault("layout", f"{name}: no trial in {count(sweep.n_runs, 'run')}", fix, EXIT_ANSWER_IS_NO)


def _check_names(project: Project, sweep: Sweep) -> Iterator[Check]:
    """Warn of trials without a configured backbone."""
    for found in find_experiment_names(sweep.trials):
        yield _warning("backbones", found, NAME_FIX)
    counts = Counter(trial.backbone for trial in sweep.trials if trial.status == FINISHED)
    nameless = counts.pop("", 0)
    if nameless:
        found = f"{count(nameless, 'finished trial')} without a backbone, not read"
        yield _warning("backbones", found, "write a layout that says where the backbone is recorded")
    others = {name: n for name, n in sorted(counts.items()) if name not in project.settings.hpo.backbones}
    if others:
        listed = ", ".join(f"{name!r} ({count(n, 'trial')})" for name, n in others.items())
        yield _warning("backbones", f"not configured: {listed}", "add them to hpo.backbones, or ignore this")


def _check_champions(
    project: Project, layout: Layout, selections: dict[str, BackboneSelection]
) -> Iterator[Check]:
    have_any = any(selection.champion for selection in selections.values())
    for backbone, selection in selections.items():
        name, champion = f"champion of {backbone}", selection.champion
        if champion is None:
            reason = selection.reason or "none"
            fix = "finish its sweep and refit, or remove it from hpo.backbones"
            out = _warning(name, reason, fix) if have_any else _fault(name, reason, fix, EXIT_ANSWER_IS_NO)
            yield out
            continue
        artifact = reading.find_checkpoint(project.tracker, champion.run_id, layout.checkpoint.artifacts)
        found = f"run {champion.run_id}, {champion.metric_name} {champion.metric:.4f}"
        if artifact is None:
            location = reading.find_missing_location(project.tracker, champion.run_id)
            missing = f"{found}; the run has no artifact {' or '.join(layout.checkpoint.artifacts)}"
            fix = "log the checkpoint to that run"
            if location:
                missing = f"{found}; its artifact location {location} does not exist"
                fix = "mount or restore it, or run bakeoff where it exists"
            yield _fault(name, missing, fix, EXIT_ANSWER_IS_NO)
        elif champion.flags:
            flag = champion.flags[0]
            yield _warning(name, f"{found}; {flag.name}: {flag.detail}", "log the best checkpoint too")
        elif not project.settings.hpo.backbones[backbone].trust_code and reading.holds_mlflow_model(
            project.tracker, champion.run_id, artifact
        ):
            fix = f"if you trust its author, set hpo.backbones.{backbone}.trust_code: true"
            yield _fault(name, f"{found}; {artifact} is an MLflow model, which runs code", fix)
        else:
            yield _ok(name, f"{found}; checkpoint {champion.checkpoint_artifact}")


def _check_data(project: Project) -> Generator[Check, None, bool]:
    """Check the data files, and return whether the test documents can be compared with predictions."""
    data, is_comparable = project.settings.data, False
    for role, path in (("test", data.test), ("train", data.train)):
        name = f"data.{role}"
        if path is None:
            if role == "test":
                yield _fault(name, "is missing", f"add it to {project.place('data')}; bench needs it")
            elif project.settings.hpo.search_space:
                yield _fault(name, "is missing", f"add it to {project.place('data')}; sweep needs it")
            continue
        try:
            found = read_document_file(project.root / path, data)
            if role == "train" or needs_labels(project):
                needed_by = "sweep" if role == "train" else "the quality scenario"
                require_labels(project.root / path, found.documents, data, needed_by)
        except DataError as error:
            yield _fault(name, str(error), "correct the file or its name")
            continue
        is_comparable = is_comparable or (role == "test" and needs_labels(project))
        yield _ok(name, f"{path}: {found.described}")
        for remark in found.remarks:
            yield _warning(name, remark, "correct the spans, or ignore this")
    return is_comparable


def _check_labels(project: Project, champions: Iterable[AnyModel]) -> Iterator[Check]:
    """Check that models whose checkpoint is here know the labels of the test documents."""
    for champion in champions:
        if champion.loads_as in READS_ROWS:
            continue  # only its answers name labels
        name = f"labels of {champion.backbone}"
        try:
            require_fitting_files(project, champion)
            known = compare_labels(project, champion)
        except BakeoffError as error:
            yield from fault_from(name, error)
            continue
        if known is None:
            yield _ok(name, "the checkpoint is not here yet; bakeoff compares its labels once it is fetched")
        else:
            yield _ok(name, "the model knows all labels of data.test")


def _check_nodes(project: Project, cluster: RayCluster) -> Iterator[Check]:
    try:
        nodes = ask_nodes(project, cluster)
    except BakeoffError as error:
        yield from fault_from("nodes", error)
    else:
        yield _ok(
            "nodes", f"{count(len(nodes), 'node')} of {nodes[0].hardware.label}; all runtimes are installed"
        )


def _check_runtimes(project: Project) -> Iterator[Check]:
    if project.cluster is not None:
        yield from _check_nodes(project, project.cluster)
    else:
        yield from _check_libraries(project)
    if project.settings.hpo.search_space and importlib.util.find_spec("optuna") is None:
        yield _fault("sweep", "not installed: optuna", f"run `{install_command('hpo')}`")


def _check_libraries(project: Project) -> Iterator[Check]:
    hardware = detect_hardware(project.settings.benchmark.cpus)
    for runtime in project.settings.benchmark.runtimes:
        name, threads = f"runtime {runtime.label}", runtime.threads or default_threads(hardware)
        libraries = (*runtime.libraries, *runtime.build_libraries)
        missing = [library for library in libraries if importlib.util.find_spec(library) is None]
        if missing:
            fix = f"run `{install_command(*runtime.extras)}`"
            yield _fault(name, f"not installed: {', '.join(missing)}", fix)
        elif threads > hardware.usable_cpus:
            usable = count(hardware.usable_cpus, "CPU")
            found = f"asks for {count(threads, 'thread')}; this process may use {usable}"
            yield _fault(name, found, "lower its threads, or set them to null")
        else:
            yield _ok(name, f"installed; {threads} of {hardware.usable_cpus} CPUs")


def _check_disk(project: Project) -> Iterator[Check]:
    root = project.root
    free = shutil.disk_usage(root).free
    found = f"{free / 1024**3:.1f} GiB free at {root}"
    if free < NO_SPACE_BYTES:
        yield _fault("disk space", found, "free some space; .cache keeps checkpoints and exports")
    elif free < LOW_SPACE_BYTES:
        yield _warning("disk space", found, "free some space; .cache keeps each checkpoint and its export")
    else:
        yield _ok("disk space", found)
    for folder in (root / "results", root / ".cache"):
        nearest = folder if folder.is_dir() else root
        try:
            with tempfile.TemporaryFile(dir=nearest):
                pass
        except OSError as error:
            yield _fault(
                f"write {folder.name}", f"{nearest}: {error.strerror}", "give this user write access"
            )
        else:
            yield _ok(f"write {folder.name}", str(folder))
