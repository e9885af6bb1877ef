"""Plan: build the jobs, find what is measured, and choose what to do.

The tracking store knows what exists. The disk knows what it holds, and what the store does not have yet. Both
are asked once, for all champions.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import numpy as np

from bakeoff.core.config.settings import DecisionSettings
from bakeoff.core.decision.candidates import identify_candidate
from bakeoff.core.decision.race import find_hopeless_among
from bakeoff.core.job import JOB, Hardware, Job, TimedJob, is_race, race
from bakeoff.core.plan.existing import ExistingBenchmark
from bakeoff.core.plan.jobs import (
    AskedJob,
    Explanation,
    Plan,
    PlannedJob,
    choose_twins,
    explain_job,
    find_planned,
    plan_jobs,
)
from bakeoff.core.plan.wall_time import WallTime, estimate_wall_time
from bakeoff.core.records import AnyModel, Champion, Measurement
from bakeoff.core.selection.given_champions import GivenChampions, parse_champions
from bakeoff.disk.digest import digest_folder, digest_json
from bakeoff.errors import UserError
from bakeoff.measure.heats.protocol import DECIDED, INTERVALS, Until
from bakeoff.measure.heats.timing import time_calibration_loop
from bakeoff.measure.model.session import READS_ROWS
from bakeoff.measure.scenarios import Scenario, Timed
from bakeoff.measure.tasks import Document
from bakeoff.orchestrator.checkpoints import find_models, identify_checkpoints, keep_fitting
from bakeoff.orchestrator.hardware import choose_runtimes, find_hardware
from bakeoff.orchestrator.labels import check_labels
from bakeoff.orchestrator.progress import warn
from bakeoff.orchestrator.project import Project
from bakeoff.run.machine.hardware import detect_hardware
from bakeoff.stores.documents import require_labels
from bakeoff.stores.tracking import benchmarks

# What a job takes over from its champion under the same name.
_FROM_CHAMPION = (
    "backbone", "trial_run_id", "sweep_run_id", "study_key_hash", "trial_key_hash", "data_fingerprint",
    "eval_fingerprint", "metric_name", "refit_metric",
)  # fmt: skip


def choose_until(project: Project, default: Until) -> Until:
    """Return what ends the heats; nodes of a cluster do not see each other's candidates, so none race there.

    Args:
        project: Project whose settings may say it.
        default: What ends them if the settings do not say it.
    """
    return INTERVALS if project.cluster is not None else project.settings.benchmark.until or default


def plan(project: Project) -> Plan:
    """Plan every job as ``bakeoff run`` would: measure or reuse, and why. Nothing is measured.

    Raises:
        NoChampionError: No backbone has a champion.
        TrackingError: The store does not answer; bakeoff never takes that for "nothing exists".
        UnknownLabelsError: A champion cannot predict a label of the test documents.
    """
    champions = keep_fitting(project, find_models(project))
    check_labels(project, champions)
    existing = find_existing(project, champions)
    return plan_against(project, champions, existing, choose_until(project, DECIDED))


def explain(project: Project, text: str) -> Explanation:
    """Compare one planned job with the existing benchmark nearest to it, part by part.

    Args:
        project: Project of the plan.
        text: Label, key or key digest of the job, or the beginning of key or digest.

    Raises:
        JobNotFoundError: No job matches, or several do.
        NoChampionError: No backbone has a champion.
        TrackingError: The store does not answer.
    """
    champions = find_models(project)
    existing = find_existing(project, champions)
    made = plan_against(project, champions, existing, choose_until(project, DECIDED))
    return explain_job(find_planned(made, text), existing)


def filter_missing_benchmarks(champions: GivenChampions, project: Project) -> list[Champion]:
    """Return the champions with anything left to measure; under ``force_new`` all of them.

    Tracking store and disk are asked once for all champions.

    Args:
        champions: Champions in any shape that ``parse_champions`` reads. If the digest of a checkpoint is
            unknown, the checkpoint is acquired. A champion without checkpoint is reported and skipped.
        project: Names runtimes, scenarios and stores.

    Raises:
        ChampionError: A champion is incomplete, or contradicts itself.
        TrackingError: The store does not answer; bakeoff never takes that for "nothing exists".
    """
    known = identify_checkpoints(parse_champions(champions, warn), project)
    left = plan_for(project, known).models_to_measure if known else ()
    return [model for model in left if isinstance(model, Champion)]


def plan_for(project: Project, champions: Sequence[AnyModel]) -> Plan:
    """Plan the jobs of these champions against tracking store and disk."""
    return plan_against(project, champions, find_existing(project, champions))


def plan_against(
    project: Project,
    champions: Sequence[AnyModel],
    existing: Sequence[ExistingBenchmark],
    until: Until = INTERVALS,
) -> Plan:
    """Plan the jobs of these champions against what is known to exist."""
    asked = build_jobs(project, champions)
    has_rivals = len({identify_candidate(job) for job, _ in asked}) > 1
    if until == DECIDED and has_rivals:
        asked = [AskedJob(race(job), model) for job, model in asked]
    made = plan_jobs(
        asked,
        existing,
        project.benchmark_mode,
        project.settings.benchmark.max_attempts,
        project.results.list_interrupted(),
    )
    return leave_untimed(made, load_reused(project, made), project.settings.decision)


def estimate_time(project: Project, plan: Plan) -> WallTime | None:
    """Estimate how long this machine takes to measure a plan; None on a cluster, or without work."""
    if project.cluster is not None or not plan.todo:
        return None
    settings = project.settings.benchmark
    threads = max(planned.job.runtime.threads or 1 for planned in plan.todo)
    return estimate_wall_time(
        plan,
        project.results.list_attempts(),
        probe_ns=float(np.median(time_calibration_loop())),
        n_at_once=max(1, detect_hardware(settings.cpus).usable_cpus // threads),
    )


def load_reused(project: Project, plan: Plan) -> list[Measurement]:
    """Load the measurements that a race needs to know and that are on this disk; none without a race."""
    if not any(is_race(planned.job) for planned in plan.todo):
        return []
    found = (project.results.load_valid(planned.job, {planned.attempt}) for planned in plan.reused)
    return [measurement for measurement in found if measurement is not None]


def leave_untimed(plan: Plan, known: Sequence[Measurement], settings: DecisionSettings) -> Plan:
    """Leave the timed jobs of a race whose candidates cannot win, as far as their quality is known.

    The reference of a heat is timed in any case: ratios hang on it.

    Args:
        plan: Plan of a race; any other is returned as it is.
        known: Measurements of its jobs.
        settings: Settings of the decision.
    """
    racing = [planned for planned in plan.todo if is_race(planned.job)]
    if not racing:
        return plan
    order = {planned.job.key: number for number, planned in enumerate(plan.jobs)}
    ordered = sorted(known, key=lambda each: order.get(each.job.key, len(order)))
    reasons = find_hopeless_among(ordered, settings)
    reference = identify_candidate(plan.jobs[0].job)

    def leave(planned: PlannedJob) -> PlannedJob:
        candidate = identify_candidate(planned.job)
        is_timed = isinstance(planned.job, TimedJob)
        if planned.action != "measure" or not is_timed or candidate == reference or candidate not in reasons:
            return planned
        return planned.replace(action="leave", reason=f"not timed: {reasons[candidate]}")

    return Plan(jobs=tuple(map(leave, plan.jobs)))


def find_existing(project: Project, champions: Sequence[AnyModel]) -> list[ExistingBenchmark]:
    """Find all benchmarks of these champions in tracking store and disk; offline on the disk only."""
    on_disk = project.results.list_existing(champion.run_id for champion in champions)
    if project.is_offline:
        return on_disk
    experiment_id = project.find_benchmark_experiment()
    logged = benchmarks.find_benchmarks(project.tracker, experiment_id, champions) if experiment_id else []
    return [*logged, *_follow(_ask_about_marks(project, on_disk, logged), logged)]


def build_jobs(
    project: Project, champions: Sequence[AnyModel], hardware: Hardware | None = None
) -> list[AskedJob]:
    """Build a job for every champion × runtime × scenario on one hardware.

    Args:
        project: Names runtimes, scenarios and documents.
        champions: Models to measure. As soon as one of them reads rows, all of them are timed end to end,
            from row to prediction.
        hardware: Hardware of the jobs; None is the hardware at hand, this machine or the cluster's nodes.

    Raises:
        CheckpointError: A given checkpoint folder is broken.
        ClusterError: The cluster does not answer, or has no such resource.
        ConfigError: A runtime asks for more threads than it may use, or ``cpus`` names others.
        DataError: The test file is missing or broken, or a scenario needs labels and it has none.
        MissingExtraError: A runtime's library is not installed.
    """
    settings, hardware = project.settings.benchmark, hardware or find_hardware(project)
    runtimes = [choose_runtimes(settings.runtimes, champion, hardware) for champion in champions]
    scenarios = _choose_regions(settings.scenarios, champions)
    inputs = [digest_documents(documents_for(project, scenario)) for scenario in scenarios]
    digests = [_digest_of(champion) for champion in champions]
    described = _describe_models(project, champions)
    return [
        AskedJob(
            JOB.validate_python(
                {
                    **description,
                    "champion_run_id": champion.run_id,
                    "checkpoint_digest": digest,
                    "runtime": runtime,
                    "scenario": scenario,
                    **({"protocol": settings.protocol} if scenario.is_timed else {}),
                    "task": project.settings.data.task,
                    "hardware": hardware,
                    "inputs_digest": inputs_digest,
                    "max_length": project.settings.data.max_length,
                }
            ),
            champion,
        )
        for champion, digest, description, mine in zip(champions, digests, described, runtimes, strict=True)
        for runtime in mine
        for scenario, inputs_digest in zip(scenarios, inputs, strict=True)
    ]


def _choose_regions(scenarios: Sequence[Scenario], models: Sequence[AnyModel]) -> list[Scenario]:
    """Time all models end to end as soon as one of them reads rows, since all must do the same work."""
    if not any(model.loads_as in READS_ROWS for model in models):
        return [*scenarios]
    return [
        scenario.replace(region="end_to_end") if isinstance(scenario, Timed) else scenario
        for scenario in scenarios
    ]


def choose_measured(
    project: Project, asked: Sequence[AskedJob], existing: Sequence[ExistingBenchmark]
) -> list[Job]:
    """Choose the jobs whose measurements answer these: in full, or of a race if the settings allow it."""
    jobs = [each.job for each in asked]
    if project.settings.benchmark.until == INTERVALS:
        return jobs
    done = {each.key for each in existing if each.state in ("valid", "invalid")}
    return choose_twins([race(job) for job in jobs], lambda job: job.key in done)


def documents_for(project: Project, scenario: Scenario) -> tuple[Document, ...]:
    """Return all test documents for quality, or a seeded sample with real lengths for timing.

    Raises:
        DataError: The test file is missing or broken, or has no labels and the scenario needs them.
    """
    documents = project.test_documents
    if scenario.needs_labels:
        data = project.settings.data
        require_labels(project.test_path, documents, data, f"the {scenario.kind} scenario")
    settings = project.settings.benchmark
    if not scenario.is_timed or settings.n_texts >= len(documents):
        return documents
    return tuple(random.Random(settings.protocol.seed).sample(documents, k=settings.n_texts))  # noqa: S311


def _ask_about_marks(
    project: Project, on_disk: Sequence[ExistingBenchmark], logged: Sequence[ExistingBenchmark]
) -> list[ExistingBenchmark]:
    """Check the disk's notes of logged runs against the store; one more query, only if they disagree.

    A deleted run takes its measurement with it. A run that the store does not know was logged in another
    store: the measurement counts, and waits to be logged here.
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
    """Mark copies on disk as superseded if another run counts for their key by now.

    The run of the copy is superseded then, or missing. Both may have the same attempt number, and only one
    may count.
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
        return copy.replace(state="superseded", reason=reason)

    return [follow(copy) for copy in on_disk]


def _correct(benchmark: ExistingBenchmark, lifecycle: str | None) -> ExistingBenchmark:
    if lifecycle == "active":
        return benchmark
    if lifecycle is None:
        return benchmark.replace(run_id=None)
    reason = f"its run {benchmark.run_id} was deleted"
    return benchmark.replace(state="deleted", reason=reason)


def _describe_models(project: Project, models: Sequence[AnyModel]) -> list[dict[str, object]]:
    """Return what jobs take over from each model; data and evaluation of a named model are the test's."""
    of_test: dict[str, object] = {}
    if not all(isinstance(model, Champion) for model in models):
        # The task's own metric, whichever the decision is about: outcomes serve every metric.
        metric = project.settings.data.task.default_metric
        of_test = {
            "data_fingerprint": digest_json({"test": digest_documents(project.test_documents)}),
            "eval_fingerprint": project.fingerprint_evaluation(metric),
            "metric_name": metric,
        }
    return [
        {name: getattr(model, name) for name in _FROM_CHAMPION}
        if isinstance(model, Champion)
        else {"backbone": model.backbone, "source": model.source, **of_test}
        for model in models
    ]


def _digest_of(champion: AnyModel) -> str:
    if champion.checkpoint_digest is not None:
        return champion.checkpoint_digest
    if champion.checkpoint_path is not None:
        return digest_folder(champion.checkpoint_path)
    raise UserError(
        f"champion {champion.backbone}, run {champion.run_id}: found no checkpoint digest and no folder; "
        "refit it with `bakeoff sweep`, or set checkpoint_path"
    )


def digest_documents(documents: Iterable[Document]) -> str:
    """Digest the documents that a scenario is fed; part of the key."""
    return digest_json([document.content for document in documents])
