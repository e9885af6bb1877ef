"""Validity of the server scenario: a complete, warm, undisturbed search that found a rate."""

from __future__ import annotations

from collections.abc import Sequence

from bakeoff.core.records import Flag
from bakeoff.core.validity.flags import LIMIT_NOT_MET, QUEUE_MISMATCH, SEARCH_CUT_SHORT, WARMUP_NOT_STEADY
from bakeoff.core.validity.noise import judge_share, judge_throttling
from bakeoff.measure.heats.protocol import TimingProtocol
from bakeoff.measure.scenarios.server import Server
from bakeoff.measure.statistics.readings import MAX_DIRTY_SHARE, MAX_RATE, PROBE, WARN_DIRTY_SHARE, Reading
from bakeoff.measure.statistics.response_limits import slo_is_missed

# How many times the mean wait may be off the formula, either way. Of five processes of 700 requests each at a
# load of 0.8, one simulated queue in 200 is off by 1.4; nearer to 1 the mean varies too much.
MAX_WAIT_FACTOR = 2.0
MAX_LOAD_OF_CHECK_PERMILLE = 850


def judge_server(
    scenario: Server,
    protocol: TimingProtocol,
    readings: Sequence[Reading],
    *,
    accepts_contention: bool = False,
) -> list[Flag]:
    """Find the flags that only a server has.

    Args:
        scenario: Server scenario that was measured.
        protocol: Its protocol.
        readings: Its readings.
        accepts_contention: Whether a measurement on a busy machine counts as done; it is flagged in any case.
    """
    flags: list[Flag] = []
    for reading in readings:
        if reading.quantity == MAX_RATE:
            flags += _judge_rate(scenario, protocol, reading, readings)
        elif reading.quantity == PROBE:
            flags += _judge_trials(reading, accepts_contention=accepts_contention)
            flags += judge_throttling([reading], "awake_ns")
    return flags


def _judge_rate(
    scenario: Server, protocol: TimingProtocol, reading: Reading, readings: Sequence[Reading]
) -> list[Flag]:
    """Flag a process that was not steady, queued oddly, did not finish its search, or found no rate.

    A search that found none is still valid.
    """
    flags = _judge_queue(reading)
    n, columns = len(reading.values), reading.columns
    n_drifting = columns.get("is_steady", ()).count(0)
    if n_drifting:
        detail = f"calls were not steady when warm-up ended, in {n_drifting} of {n} processes"
        flags.append(WARMUP_NOT_STEADY.raised(detail))
    n_cut_short = sum(columns.get("is_cut_short", ()))
    if n_cut_short:
        detail = (
            f"no time for the next trial in {n_cut_short} of {n} processes: each had "
            f"{scenario.search_budget_s(protocol):g} s, and twice that until it found a rate"
        )
        flags.append(SEARCH_CUT_SHORT.raised(detail))
    if any(value <= 0 for value in reading.values):
        flags.append(LIMIT_NOT_MET.raised(_tell_unmet(scenario, reading, readings)))
    return flags


def _tell_unmet(scenario: Server, reading: Reading, readings: Sequence[Reading]) -> str:
    """Count the processes without a rate, and those in which single calls are too slow.

    Includes the lowest rate that was tried.
    """
    columns = reading.columns
    unmet = {
        repeat: number
        for number, (repeat, value) in enumerate(zip(reading.repeats, reading.values, strict=True))
        if value <= 0
    }
    detail = (
        f"no rate met {scenario.limit_ms:g} ms at p{scenario.quantile * 100:g} in "
        f"{len(unmet)} of {len(reading.values)} processes"
    )
    tried = [
        rate
        for probes in readings
        if probes.quantity == PROBE
        for repeat, rate in zip(probes.repeats, probes.values, strict=True)
        if repeat in unmet
    ]
    if tried:
        detail += f" (lowest tried: {min(tried):.3g} per second)"
    alone = [
        (columns["n_late_alone"][number], columns["n_alone"][number])
        for number in unmet.values()
        if "n_late_alone" in columns
    ]
    n_too_slow = sum(slo_is_missed(n, n_late, scenario.quantile) for n_late, n in alone)
    if n_too_slow:
        n_late, n_calls = (sum(each) for each in zip(*alone, strict=True))
        detail += (
            f"; in {n_too_slow} of them a single request alone takes too long ({n_late} of {n_calls} calls)"
        )
    return detail


def _judge_trials(reading: Reading, *, accepts_contention: bool) -> list[Flag]:
    """Flag other work during the trials of a server, by the limits that hold for rounds.

    Trials count by the time in which the server was awake: one that failed at once weighs little.
    """
    columns = reading.columns
    awake_ns = sum(columns.get("awake_ns", ()))
    if not awake_ns:
        return []
    rows = zip(columns["awake_ns"], columns["is_disturbed"], strict=True)
    share = sum(ns for ns, is_disturbed in rows if is_disturbed) / awake_ns
    waited = f"it waited for a CPU for {sum(columns['run_delay_ns']) / awake_ns:.1%} of all"
    busy = f"other work disturbed {share:.0%} of the time in which the server was awake"
    return judge_share(
        share,
        contended=f"{busy} (limit {MAX_DIRTY_SHARE:.0%}), {waited}: the rate is a lower bound",
        disturbed=f"{busy} (limit {WARN_DIRTY_SHARE:.0%}), {waited}",
        accepts_contention=accepts_contention,
    )


def _judge_queue(reading: Reading) -> list[Flag]:
    """Compare mean waits with Pollaczek and Khinchine's formula: the server scenario's self-test."""
    columns = reading.columns
    loads = columns.get("load_permille", ())
    expected = sum(columns.get("expected_wait_ns", ()))
    if not expected or max(loads) > MAX_LOAD_OF_CHECK_PERMILLE:
        return []
    factor = sum(columns["mean_wait_ns"]) / expected
    if 1 / MAX_WAIT_FACTOR <= factor <= MAX_WAIT_FACTOR:
        return []
    detail = (
        f"requests waited {factor:.1f} times as long as the formula of Pollaczek and Khinchine says "
        f"(limit {MAX_WAIT_FACTOR:g} times either way)"
    )
    return [QUEUE_MISMATCH.raised(detail)]
