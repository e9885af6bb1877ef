"""Response limits: whether so many responses over a limit say that it is met, or missed."""

from __future__ import annotations

from bisect import bisect_left


def slo_is_met(n: int, n_over: int, p: float, confidence: float = 0.95) -> bool:
    """Whether so few of n responses were over the limit that its p-quantile lies within it, with confidence.

    If the share of responses within the limit were p or less, so few would be over it with probability
    P(binomial(n, 1 - p) <= n_over) at most; that must not exceed 1 - confidence. This is the rule by which
    MLPerf's LoadGen stops early (loadgen/early_stopping.cc of mlcommons/inference), which has 0.99.

    Args:
        n: Responses.
        n_over: Of them, those that took longer than the limit.
        p: The quantile that the limit is for, between 0 and 1.
        confidence: Of a positive answer.
    """
    from scipy.special import bdtrc

    # The same event counted by the responses within the limit: 1 - p would be rounded, p is not.
    return bool(bdtrc(n - n_over - 1, n, p) <= 1 - confidence)


def slo_is_missed(n: int, n_over: int, p: float, confidence: float = 0.95) -> bool:
    """Whether so many of n responses were over the limit that its p-quantile lies beyond it, with confidence.

    The other side of ``slo_is_met``: were the share of responses over the limit 1 - p or less, so many would
    be over it with probability 1 - confidence at most. Between the two nothing can be told.
    """
    return slo_is_met(n, n - n_over, 1 - p, confidence)


def most_over(n: int, p: float, confidence: float = 0.95) -> int | None:
    """Most of n responses that may be over the limit where ``slo_is_met``; None where even 0 are too many."""
    n_unmet = bisect_left(range(n + 1), x=True, key=lambda n_over: not slo_is_met(n, n_over, p, confidence))
    return n_unmet - 1 if n_unmet else None


def least_responses(p: float, n_over: int, confidence: float = 0.95) -> int:
    """Fewest responses of which so many may be over the limit where ``slo_is_met``.

    Args:
        p: The quantile that the limit is for, between 0 and 1.
        n_over: Of them, those that may take longer than the limit.
        confidence: Of a positive answer.
    """
    most = n_over + 1
    while not slo_is_met(most, n_over, p, confidence):
        most *= 2
    return bisect_left(range(most), x=True, lo=n_over + 1, key=lambda n: slo_is_met(n, n_over, p, confidence))
