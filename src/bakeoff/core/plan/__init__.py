"""The plan: which jobs are asked for, which exist, and what is left to measure."""

from bakeoff.core.plan.jobs import (
    Explanation,
    Plan,
    PlannedJob,
    champions_to_measure,
    explain_job,
    find_planned,
    plan_jobs,
)

__all__ = [
    "Explanation",
    "Plan",
    "PlannedJob",
    "champions_to_measure",
    "explain_job",
    "find_planned",
    "plan_jobs",
]
