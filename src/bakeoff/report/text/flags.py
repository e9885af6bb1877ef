"""Flags: what a reader of the measurements must know, each told once with the candidates it concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bakeoff.core.decision.decide import Decision


class _Advice(NamedTuple):
    """What a flag means to a reader of the numbers, and what to do."""

    meaning: str
    cure: str


_QUIET = "Measure again on a quieter machine."
_ADVICE = {
    "asym_threads": _Advice(
        "A ratio holds the difference in threads beside the difference between the candidates.",
        "Give all runtimes the same threads, unless that difference is what you ask about.",
    ),
    "batched_timing": _Advice(
        "Single calls are too short for the clock: there is no tail to be seen.",
        "Nothing; p95 and p99 are not shown.",
    ),
    "ci_not_reached": _Advice(
        "The 95% interval, of this candidate by itself, was wider than was asked for when the heat ended.",
        "Where the decision hangs on it, allow more: protocol.time_budget_s where the budget ended the heat, "
        "max_generations where the generations did.",
    ),
    "contended": _Advice(
        "Other work ran on the machine most of the time: latencies are upper bounds, rates lower ones.",
        f"{_QUIET} Until then compare ratios, never absolute values.",
    ),
    "cpus_apart": _Advice(
        "The host moved the CPUs of this machine: at times threads that share a call waited longer for it.",
        "Read the ratios, which feel it less; the machine that serves may have such times, too.",
    ),
    "disturbed": _Advice(
        "Other work ran on the machine at times. Rounds that it disturbed were repeated and left out; a "
        "server has no rounds, so its rate is too low.",
        "Nothing for rounds, of which more would count on a quieter machine; measure a server again on one.",
    ),
    "drift": _Advice(
        "The machine changed its speed meanwhile: absolute latencies are of this session alone.",
        "Read the ratios, which are free of it.",
    ),
    "few_generations": _Advice(
        "Too few fresh processes to know how much one differs from the next.",
        "Set protocol.min_generations to 5 or more.",
    ),
    "fold_spread": _Advice(
        "Trained again, the model may be better or worse by more than the test documents tell.",
        "Take a small lead in F1 for luck, or refit with further seeds.",
    ),
    "heavy_tail": _Advice(
        "A few calls take far longer than most.", "Look at the lengths of the inputs; nothing is cut off."
    ),
    "late_warmup": _Advice(
        "The first rounds were still getting faster; they are left out for all candidates.",
        "Nothing; a larger protocol.warmup_min_s avoids it.",
    ),
    "left_out_matters": _Advice(
        "With the rounds that are left out a quantile would be another.",
        "Take the figure of all rounds where the machine that serves is as busy.",
    ),
    "limit_not_met": _Advice(
        "No rate that was tried met the limit; lower ones were not tried.",
        "Take a faster candidate, or a larger limit_ms; with search_cut_short, more protocol.time_budget_s.",
    ),
    "metric_not_reproduced": _Advice(
        "The checkpoint answers otherwise here than where it was trained.",
        "Compare test file, max_length and checkpoint with those of the refit.",
    ),
    "mixed_environments": _Advice(
        "The processes of one job saw unlike hardware or libraries.",
        "Install nothing while bench runs; measure again.",
    ),
    "multimodal": _Advice(
        "It depends on the process how fast the model is.",
        "Look at the ticks of its processes; take more of them with protocol.min_generations.",
    ),
    "no_cpufreq": _Advice(
        "The system does not tell how fast its CPUs run: a change of the clock cannot be seen.",
        "Nothing; the canary would show a large one.",
    ),
    "no_freeze": _Advice(
        "Candidates that waited could not be stopped, and may have disturbed the others.",
        "Measure on Linux, or set spinning to false.",
    ),
    "no_reference": _Advice(
        "The candidate to which all are compared failed: there is no ratio, only times of this session.",
        "See why it failed, mend it, and measure again with run.mode force_new.",
    ),
    "no_refit_metric": _Advice(
        "Nothing was logged that would show whether this is the model that was trained.",
        "Log the test metric at the refit.",
    ),
    "not_resident": _Advice(
        "The candidates were not in memory together, so that their rounds do not interleave.",
        "Free memory, or measure fewer candidates at a time.",
    ),
    "overhead": _Advice("The instrument itself is not small beside a call.", "Compare such calls with care."),
    "powersave": _Advice("The CPU saved power while it was timed.", "Choose the governor performance."),
    "queue_mismatch": _Advice(
        "Requests waited longer or shorter than their rate and service times explain.",
        f"{_QUIET} Distrust the rate.",
    ),
    "recompiled": _Advice(
        "The runtime still compiled while it was timed.",
        "Raise protocol.warmup_min_s, or switch compile off.",
    ),
    "search_cut_short": _Advice(
        "The time was up before the search ended: the server may sustain a higher rate than was found.",
        "Allow more with protocol.time_budget_s, or fewer n_queries.",
    ),
    "thermal": _Advice(
        "The processor slowed itself down because it was hot.",
        "Cool it, or lower its clock; read the ratios.",
    ),
    "truncated": _Advice(
        "Words past the length limit were not seen by the model.",
        "Raise data.max_length; everything is then measured anew.",
    ),
    "unsupported": _Advice(
        "Too few samples for this quantile: it is not shown.",
        "More protocol.min_generations, rounds or min_calls, where you need it.",
    ),
    "virtualised": _Advice(
        "What the host does is not seen from inside the machine.",
        "Nothing here; measure on bare metal to be free of it.",
    ),
    "warmup_not_steady": _Advice(
        "Calls were still getting faster or slower when timing began.", "Raise protocol.warmup_max_s."
    ),
}
# Those with which a measurement does not count as done come first.
_GRAVE = frozenset({"contended", "metric_not_reproduced", "mixed_environments"})


class FlagDetail(NamedTuple):
    """One figure, with all candidates that carry it word for word."""

    detail: str
    candidates: tuple[str, ...]


class FlagGroup(NamedTuple):
    """All flags of one name.

    Attributes:
        candidates: That carry any of them, in the order of the standings.
        is_grave: Whether a measurement with it does not count as done.
    """

    name: str
    meaning: str
    cure: str
    details: tuple[FlagDetail, ...]
    candidates: tuple[str, ...]
    is_grave: bool


def group_flags(decision: Decision) -> tuple[FlagGroup, ...]:
    """Every flag of the decision once: the grave ones, then those of most candidates.

    ``ci_not_reached(p95)`` and its like are one flag, whose details say which quantity they speak of.
    """
    carriers: dict[str, dict[str, list[str]]] = {}
    for standing in decision.standings:
        for flag in dict.fromkeys(standing.flags):
            name, _, detail = flag.partition(": ")
            kind, _, quantity = name.removesuffix(")").partition("(")
            told = f"{quantity}, {detail}" if quantity else detail
            carriers.setdefault(kind, {}).setdefault(told, []).append(standing.label)
    groups = []
    for name, details in carriers.items():
        advice = _ADVICE.get(name, _Advice("", ""))
        whom = {label for labels in details.values() for label in labels}
        groups.append(
            FlagGroup(
                name,
                advice.meaning,
                advice.cure,
                tuple(FlagDetail(detail, tuple(labels)) for detail, labels in sorted(details.items())),
                tuple(row.label for row in decision.standings if row.label in whom),
                name in _GRAVE,
            )
        )
    return tuple(sorted(groups, key=lambda one: (not one.is_grave, -len(one.candidates), one.name)))
