"""The plan: which jobs are asked for, which exist, and what is left to measure."""

from bakeoff.core.plan.jobs import (
    AskedJob,
    Explanation,
    Plan,
    PlannedJob,
    explain_job,
    find_planned,
    plan_jobs,
)

__all__ = [
    "AskedJob",
    "Explanation",
    "Plan",
    "PlannedJob",
    "explain_job",
    "find_planned",
    "plan_jobs",
]
