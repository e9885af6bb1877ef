"""Plan: which jobs there are, what of them is measured, and what is left to do.

The tracking store says what exists; the disk says what it holds and what the store has not heard of yet. Both
are asked once, for all champions.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from bakeoff.core.plan.existing import ExistingBenchmark
from bakeoff.core.plan.jobs import (
    Explanation,
    Plan,
    champions_to_measure,
    explain_job,
    find_planned,
    plan_jobs,
)
from bakeoff.core.records import Champion, Hardware, Job
from bakeoff.core.selection.parse_champions import GivenChampions, parse_champions
from bakeoff.disk.digest import digest_folder, digest_json
from bakeoff.errors import UserError
from bakeoff.measure.scenarios import Scenario
from bakeoff.measure.tasks.token_classification import Document
from bakeoff.orchestrator.checkpoints import find_champions, identify_checkpoints
from bakeoff.orchestrator.hardware import find_hardware, fix_threads
from bakeoff.orchestrator.project import Project
from bakeoff.stores.tracking import benchmarks


def plan(project: Project) -> Plan:
    """Say of every job whether it would be measured or reused, and why; measures nothing.

    Raises:
        NoChampionError: No backbone has a champion.
        TrackingError: The store does not answer: that is never read as "nothing exists".
    """
    return plan_for(project, find_champions(project))


def explain(project: Project, text: str) -> Explanation:
    """Set one planned job beside the existing benchmark that is nearest to it, part by part.

    Args:
        project: Whose plan.
        text: The job's label, its key, the key's digest, or the beginning of either.

    Raises:
        JobNotFoundError: No job is meant, or several.
        NoChampionError: No backbone has a champion.
        TrackingError: The store does not answer.
    """
    champions = find_champions(project)
    existing = find_existing(project, champions)
    return explain_job(find_planned(plan_against(project, champions, existing), text), existing)


def filter_missing_benchmarks(champions: GivenChampions, project: Project) -> list[Champion]:
    """The champions for which anything is left to measure; under ``force_new`` that is all of them.

    Tracking store and disk are asked once for all champions, not once each.

    Args:
        champions: In any shape that ``parse_champions`` reads. One of unknown digest is acquired for it; one
            whose checkpoint cannot be had is reported and left out.
        project: Names runtimes, scenarios and stores.

    Raises:
        ChampionError: A champion lacks something, or contradicts itself.
        TrackingError: The store does not answer: that is never read as "nothing exists".
    """
    known = identify_checkpoints(parse_champions(champions, project.progress.say), project)
    return champions_to_measure(known, plan_for(project, known)) if known else []


def plan_for(project: Project, champions: Sequence[Champion]) -> Plan:
    """Plan the jobs of these champions against tracking store and disk."""
    return plan_against(project, champions, find_existing(project, champions))


def plan_against(
    project: Project, champions: Sequence[Champion], existing: Sequence[ExistingBenchmark]
) -> Plan:
    """Plan the jobs of these champions against what is known to exist."""
    return plan_jobs(
        build_jobs(project, champions),
        existing,
        project.benchmark_mode,
        project.settings.benchmark.max_attempts,
        project.results.list_interrupted(),
    )


def find_existing(project: Project, champions: Sequence[Champion]) -> list[ExistingBenchmark]:
    """All benchmarks of these champions: of tracking store and disk, or offline of the disk alone."""
    on_disk = project.results.list_existing(champion.run_id for champion in champions)
    if project.is_offline:
        return on_disk
    experiment_id = project.tracker.find_experiment(project.settings.tracking.benchmark_experiment)
    logged = benchmarks.find_benchmarks(project.tracker, experiment_id, champions) if experiment_id else []
    return [*logged, *_follow(_ask_about_marks(project, on_disk, logged), logged)]


def build_jobs(
    project: Project, champions: Sequence[Champion], hardware: Hardware | None = None
) -> list[Job]:
    """Every champion × runtime × scenario on one hardware.

    Args:
        project: Names runtimes, scenarios and documents.
        champions: Whose.
        hardware: None means what would be measured now: this machine, or the nodes of the cluster.

    Raises:
        CheckpointError: A given checkpoint is no sound folder.
        ClusterError: The cluster does not answer, or has nothing of what is asked for.
        ConfigError: A runtime asks for more threads than may be used, or ``cpus`` for others.
        DataError: The test file is missing or broken.
        MissingExtraError: A runtime's library is not installed.
    """
    settings, hardware = project.settings.benchmark, hardware or find_hardware(project)
    runtimes = [fix_threads(runtime, hardware) for runtime in settings.runtimes]
    inputs = [digest_documents(documents_for(project, scenario)) for scenario in settings.scenarios]
    return [
        Job(
            backbone=champion.backbone,
            champion_run_id=champion.run_id,
            trial_run_id=champion.trial_run_id,
            sweep_run_id=champion.sweep_run_id,
            study_key_hash=champion.study_key_hash,
            trial_key_hash=champion.trial_key_hash,
            checkpoint_digest=digest,
            data_fingerprint=champion.data_fingerprint,
            eval_fingerprint=champion.eval_fingerprint,
            runtime=runtime,
            scenario=scenario,
            protocol=settings.protocol if scenario.is_timed else None,
            hardware=hardware,
            inputs_digest=inputs_digest,
            max_length=project.settings.data.max_length,
            metric_name=champion.metric_name,
            refit_metric=champion.refit_metric,
        )
        for champion, digest in [(champion, _digest_of(champion)) for champion in champions]
        for runtime in runtimes
        for scenario, inputs_digest in zip(settings.scenarios, inputs, strict=True)
    ]


def documents_for(project: Project, scenario: Scenario) -> tuple[Document, ...]:
    """All test documents for quality; a seeded sample of them, with their real lengths, for timing."""
    documents = project.corpus.test
    settings = project.settings.benchmark
    if not scenario.is_timed or settings.n_texts >= len(documents):
        return documents
    return tuple(random.Random(settings.protocol.seed).sample(documents, k=settings.n_texts))  # noqa: S311


def _ask_about_marks(
    project: Project, on_disk: Sequence[ExistingBenchmark], logged: Sequence[ExistingBenchmark]
) -> list[ExistingBenchmark]:
    """Hold what the disk says was logged against the store; one query more, and only if they disagree.

    A run that was deleted takes its measurement with it. A run that the store never heard of was logged
    elsewhere: the measurement counts, and waits to be logged here.
    """
    listed = {benchmark.run_id for benchmark in logged}
    settled = {benchmark.key for benchmark in logged if benchmark.state == "valid"}
    marks = {
        benchmark.run_id: mark
        for benchmark in on_disk
        if benchmark.run_id is not None
        and benchmark.run_id not in listed
        and benchmark.key is not None
        and benchmark.key not in settled
        and (mark := project.results.find_logged(benchmark.key, benchmark.attempt)) is not None
    }
    if not marks:
        return list(on_disk)
    lifecycles = project.tracker.find_lifecycles(
        [mark.run_id for mark in marks.values()], [mark.experiment_id for mark in marks.values()]
    )
    return [
        _correct(benchmark, lifecycles.get(benchmark.run_id or ""))
        if benchmark.run_id in marks
        else benchmark
        for benchmark in on_disk
    ]


def _follow(
    on_disk: Sequence[ExistingBenchmark], logged: Sequence[ExistingBenchmark]
) -> list[ExistingBenchmark]:
    """A copy on disk counts no more when another run counts for its key by now.

    Its own run is superseded then, or not there: the two may have the same number, and only one may win.
    """
    listed = {benchmark.run_id: benchmark for benchmark in logged}
    counting = {benchmark.key: benchmark.run_id for benchmark in logged if benchmark.state == "valid"}

    def follow(copy: ExistingBenchmark) -> ExistingBenchmark:
        run = listed.get(copy.run_id)
        if run is not None and run.state == "superseded":
            reason = run.reason
        elif run is None and copy.run_id is not None and copy.state == "valid" and copy.key in counting:
            reason = f"run {counting[copy.key]} counts instead"
        else:
            return copy
        return copy.model_copy(update={"state": "superseded", "reason": reason})

    return [follow(copy) for copy in on_disk]


def _correct(benchmark: ExistingBenchmark, lifecycle: str | None) -> ExistingBenchmark:
    if lifecycle == "active":
        return benchmark
    if lifecycle is None:
        return benchmark.model_copy(update={"run_id": None})
    reason = f"its run {benchmark.run_id} was deleted"
    return benchmark.model_copy(update={"state": "deleted", "reason": reason})


def _digest_of(champion: Champion) -> str:
    if champion.checkpoint_digest is not None:
        return champion.checkpoint_digest
    if champion.checkpoint_path is not None:
        return digest_folder(champion.checkpoint_path)
    raise UserError(
        f"champion {champion.backbone}, run {champion.run_id}: neither a checkpoint digest nor a folder "
        "is known; refit it with `bakeoff sweep`, or set checkpoint_path"
    )


def digest_documents(documents: Iterable[Document]) -> str:
    """Digest of the documents that a scenario is fed, which is part of the key."""
    return digest_json([[list(document.tokens), list(document.tags)] for document in documents])
