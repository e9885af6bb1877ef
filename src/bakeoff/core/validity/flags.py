"""Flags: the facts that a reader of a measurement must know, one row each.

Everything that explains, shows or acts on a flag asks this table: validity, decision, comparison, report and
the generated reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bakeoff.core.records import Flag

Topic = Literal["machine", "samples", "quality"]
_QUIETER = "Measure again on a quieter machine"


@dataclass(frozen=True, slots=True)
class FlagKind:
    """One row of the table.

    Attributes:
        name: Fixed word, as stored with a measurement.
        topic: What the flag is about.
        raised_when: Condition with its limits, in Markdown.
        meaning: What it says about the numbers.
        fix: What you can do, beginning with a verb.
        invalidates: Whether a measurement with this flag does not count as done.
    """

    name: str
    topic: Topic
    raised_when: str
    meaning: str
    fix: str
    invalidates: bool = False

    def raised(self, detail: str, *, quantity: str = "", is_accepted: bool = False) -> Flag:
        """Make the flag of one measurement.

        Args:
            detail: The figure and its limit.
            quantity: Which figure the flag is about, such as ``p95``, if it may be several.
            is_accepted: Whether the measurement counts as done in spite of the flag.
        """
        invalidates = self.invalidates and not is_accepted
        return Flag(name=self.name, quantity=quantity, detail=detail, invalidates=invalidates)


CONTENDED = FlagKind(
    "contended",
    "machine",
    "other work disturbed more than half of the rounds; for a server, more than half of its time awake",
    "Other work ran on the machine most of the time. Latencies are upper bounds, rates are lower bounds.",
    f"{_QUIETER}, or set `benchmark.accept_contended: true`. Until then read the ratios only.",
    invalidates=True,
)
METRIC_NOT_REPRODUCED = FlagKind(
    "metric_not_reproduced",
    "quality",
    "the score differs from the refit's by more than `refit_tolerance` (0.002)",
    "The checkpoint gives other answers here than at the refit.",
    "Compare `data.test`, `data.max_length` and the checkpoint with those of the refit. Raise "
    "`refit_tolerance` if you accept a coarser precision.",
    invalidates=True,
)
MIXED_ENVIRONMENTS = FlagKind(
    "mixed_environments",
    "machine",
    "the processes of one job saw different hardware or library versions",
    "The environment changed while the job ran.",
    "Run `bakeoff bench` again, and install no packages while it runs.",
    invalidates=True,
)
DISTURBED = FlagKind(
    "disturbed",
    "machine",
    "other work disturbed more than a tenth of the rounds; for a server, more than a tenth of its time awake",
    "Other work ran on the machine at times. Disturbed rounds were repeated and excluded. A server has no "
    "rounds, so its rate is a lower bound.",
    f"{_QUIETER} for narrower intervals, or for the true rate of a server.",
)
DRIFT = FlagKind(
    "drift",
    "machine",
    "the calibration loop, one fixed computation in every process, became slower or faster over the heat",
    "The machine changed its speed during the heat. Absolute latencies hold for this session only.",
    "Read the ratios: both sides of a ratio changed alike.",
)
CPUS_APART = FlagKind(
    "cpus_apart",
    "machine",
    "candidates have a thread for every CPU, and in more than 2 % of the rounds data took more than 1.6 "
    "times as long from one CPU to the next as in the quickest tenth",
    "The host moved the CPUs of this virtual machine, so threads that share a call waited longer at times.",
    "Read the ratios: they change less. Expect the same in production on a virtual machine.",
)
THERMAL = FlagKind(
    "thermal",
    "machine",
    "the machine drifted, and its processor counted thermal throttling during the blocks",
    "The processor slowed itself down because it was hot.",
    "Cool the machine or lower its clock, and measure again. Until then read the ratios.",
)
THROTTLED = FlagKind(
    "throttled",
    "machine",
    "the CPU quota of a container or control group stopped the process for more than 1 % of the time in its "
    "blocks; for a server, of its time awake",
    "Times hold the pauses that the quota makes. A service under the same quota has them too; under another "
    "quota it is slower or faster.",
    "Raise the CPU quota, or lower `threads` below it, and measure again. Keep the quota if it is that of "
    "production.",
)
NO_FREEZE = FlagKind(
    "no_freeze",
    "machine",
    "this system cannot stop idle candidates",
    "Candidates that waited kept running, and may have disturbed the others.",
    "Measure on Linux, or set `spinning: false`.",
)
NOT_RESIDENT = FlagKind(
    "not_resident",
    "machine",
    "the candidates together need more than 60 % of the free memory, so each ran after the other",
    "Rounds of different candidates did not alternate, so ratios hold the drift between them.",
    "Free memory, or measure fewer candidates at a time.",
)
NO_REFERENCE = FlagKind(
    "no_reference",
    "machine",
    "the reference of the heat failed before one of its processes was complete",
    "The heat has absolute times of this session, and no ratios.",
    "Read the error of the reference, then measure all again with `benchmark.run.mode: force_new`.",
)
ASYM_THREADS = FlagKind(
    "asym_threads",
    "machine",
    "the candidates of a heat use different numbers of threads",
    "A ratio holds the difference in threads as well as the difference between the candidates.",
    "Give all runtimes the same `threads`, unless you want to compare thread counts.",
)
VIRTUALISED = FlagKind(
    "virtualised",
    "machine",
    "the machine is virtual",
    "Work of the host cannot be seen from inside the machine.",
    "Measure on bare metal to avoid it, or accept it: the intervals hold its effect on the rounds.",
)
NO_CPUFREQ = FlagKind(
    "no_cpufreq",
    "machine",
    "the machine is not virtual, and the system does not report the clock of its CPUs",
    "A change of the clock cannot be seen directly.",
    "Watch for the flag `drift`: the calibration loop shows a large change.",
)
POWERSAVE = FlagKind(
    "powersave",
    "machine",
    "the CPU governor is `powersave`",
    "The CPU saved power while it was timed.",
    "Set the CPU governor to `performance`, and measure again.",
)
FOLD_SPREAD = FlagKind(
    "fold_spread",
    "quality",
    "the scores of the folds of the champion's trial have a standard deviation wider than half of the "
    "interval over the test documents; on decisions only",
    "A new training could move the score by more than the interval over the documents.",
    "Do not trust a small lead in quality, or refit with more seeds.",
)
FEW_REPEATS = FlagKind(
    "few_repeats",
    "samples",
    "fewer than 5 fresh processes ran; with two, intervals miss slightly more often than 5 times in 100 if "
    "candidates differ in spread",
    "Few processes show little of the differences between processes.",
    "Set `protocol.min_repeats` to 5 or more.",
)
STOPPED_EARLY = FlagKind(
    "stopped_early",
    "samples",
    "a race (`benchmark.until: decided`) dropped the candidate, since the leader beats it or it fails a "
    "constraint",
    "It cannot win, so it has fewer repeats than the others. Its intervals are honest, and wider.",
    "If you need its figures, run `bakeoff bench`, which measures all candidates to their targets.",
)
CI_NOT_REACHED = FlagKind(
    "ci_not_reached",
    "samples",
    "a 95 % interval of this candidate alone is wider than `protocol.targets` at the end of the heat; "
    "the detail names the number of repeats that would reach the target",
    "The interval is wider than you asked for.",
    "Raise `protocol.time_budget_s` or `max_repeats`, if the decision depends on it; or widen the target.",
)
UNSUPPORTED = FlagKind(
    "unsupported",
    "samples",
    "there are too few samples for a quantile with a 95 % interval: p50 needs 6, p95 72, p99 368",
    "This quantile is not shown.",
    "Raise `protocol.min_repeats`, `rounds` or `min_calls`, if you need this quantile.",
)
BATCHED_TIMING = FlagKind(
    "batched_timing",
    "samples",
    "calls take less than 100 µs, so several share one reading of the clock",
    "Single calls are too short for the clock, so p95 and p99 are not shown.",
    "Read the median.",
)
INSTRUMENT_OVERHEAD = FlagKind(
    "overhead",
    "samples",
    "reading the clock takes more than 1 % of a call",
    "The instrument adds a visible share to each call.",
    "Keep that share in mind in comparisons of such short calls.",
)
WARMUP_NOT_STEADY = FlagKind(
    "warmup_not_steady",
    "samples",
    "calls still became faster or slower at the end of the warm-up; for a server, at any batch size",
    "Timing began before the calls were steady.",
    "Raise `protocol.warmup_max_s`.",
)
EXCLUSION_MATTERS = FlagKind(
    "exclusion_matters",
    "samples",
    "excluding rounds changes a quantile by more than 5 %",
    "With all rounds, a quantile would be different. The detail shows both figures.",
    "Read the figure of all rounds, if the machine that serves is as busy as this one.",
)
LATE_WARMUP = FlagKind(
    "late_warmup",
    "samples",
    "in half of the processes, and at least two, the first blocks are slower than the rest, by more than 5 % "
    "and three times their noise",
    "The first rounds still became faster. They are excluded for all candidates.",
    "Raise `protocol.warmup_min_s` to avoid it.",
)
RECOMPILED = FlagKind(
    "recompiled",
    "samples",
    "a compiler was still at work after the warm-up",
    "The runtime compiled code while it was timed.",
    "Raise `protocol.warmup_min_s`, or set `compile: false`.",
)
MULTIMODAL = FlagKind(
    "multimodal",
    "samples",
    "processes differ by more than 5 % and three times the noise",
    "The speed of the model depends on the process. The interval holds this.",
    "Look at the ticks of its processes, and raise `protocol.min_repeats`.",
)
LIMIT_NOT_MET = FlagKind(
    "limit_not_met",
    "samples",
    "a process of a server scenario met the limit at no rate that it tried; the detail names the lowest "
    "rate, and the number of processes with single requests over the limit",
    "No rate that was tried met the limit.",
    "Choose a faster candidate or a larger `limit_ms`. With `search_cut_short`, raise "
    "`protocol.time_budget_s`.",
)
SEARCH_CUT_SHORT = FlagKind(
    "search_cut_short",
    "samples",
    "a process of a server scenario had no time for its next trial: its share is `protocol.time_budget_s` "
    "over `min_repeats`, or twice that until it finds a rate",
    "The time ran out before the search ended, so the server may sustain a higher rate.",
    "Raise `protocol.time_budget_s`, or lower `n_queries`.",
)
QUEUE_MISMATCH = FlagKind(
    "queue_mismatch",
    "samples",
    "the mean wait of a server scenario is more than twice, or less than half, the wait by the formula of "
    "Pollaczek and Khinchine gives (single requests, load up to 0.85)",
    "Requests waited longer or shorter than their rate and service times explain.",
    f"{_QUIETER}, and do not trust this rate.",
)
HEAVY_TAIL = FlagKind(
    "heavy_tail",
    "samples",
    "p99 is more than three times p50",
    "A few calls take far longer than most. All of them count.",
    "Look at the lengths of the inputs and at the machine.",
)
TRUNCATED = FlagKind(
    "truncated",
    "quality",
    "documents are longer than `data.max_length` tokens, so words were cut off",
    "The model did not see words past the length limit.",
    "Raise `data.max_length`; all measurements are then made again.",
)
METRIC_OF_OTHER_WEIGHTS = FlagKind(
    "metric_of_other_weights",
    "quality",
    "the training recorded a best checkpoint that was not logged, or chose it by another metric",
    "The champion's metric and its weights may belong to different checkpoints.",
    "Log the best checkpoint, and set `metric_for_best_model` to the objective.",
)
NO_REFIT_METRIC = FlagKind(
    "no_refit_metric",
    "quality",
    "no score was logged with the checkpoint to compare with, or another metric",
    "Nothing shows that this is the model that was trained.",
    "Log the test metric with the checkpoint; see [layouts](../layouts.md#what-is-comparable).",
)

FLAGS: Mapping[str, FlagKind] = {
    kind.name: kind
    for kind in (
        CONTENDED,
        METRIC_NOT_REPRODUCED,
        MIXED_ENVIRONMENTS,
        DISTURBED,
        DRIFT,
        CPUS_APART,
        THERMAL,
        THROTTLED,
        NO_FREEZE,
        NOT_RESIDENT,
        NO_REFERENCE,
        ASYM_THREADS,
        VIRTUALISED,
        NO_CPUFREQ,
        POWERSAVE,
        FOLD_SPREAD,
        FEW_REPEATS,
        STOPPED_EARLY,
        CI_NOT_REACHED,
        UNSUPPORTED,
        BATCHED_TIMING,
        INSTRUMENT_OVERHEAD,
        WARMUP_NOT_STEADY,
        EXCLUSION_MATTERS,
        LATE_WARMUP,
        RECOMPILED,
        MULTIMODAL,
        LIMIT_NOT_MET,
        SEARCH_CUT_SHORT,
        QUEUE_MISMATCH,
        HEAVY_TAIL,
        TRUNCATED,
        METRIC_OF_OTHER_WEIGHTS,
        NO_REFIT_METRIC,
    )
}
