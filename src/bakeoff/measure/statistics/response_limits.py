"""Response limits: decide from the responses over a limit whether it is met, or missed."""

from __future__ import annotations

from bisect import bisect_left


def slo_is_met(n: int, n_over: int, p: float, confidence: float = 0.95) -> bool:
    """Return whether the p-quantile of n responses lies within the limit, with confidence.

    If the share of responses within the limit were p or less, so few would be over it with probability
    P(binomial(n, 1 - p) <= n_over) at most. That must not exceed 1 - confidence. MLPerf's LoadGen stops early
    by this rule (loadgen/early_stopping.cc of mlcommons/inference), with 0.99.

    Args:
        n: Number of responses.
        n_over: Number of responses that took longer than the limit.
        p: Quantile that the limit applies to, between 0 and 1.
        confidence: Confidence of a positive answer.
    """
    from scipy.special import bdtrc

    # The same event counted by the responses within the limit: 1 - p would be rounded, p is not.
    return bool(bdtrc(n - n_over - 1, n, p) <= 1 - confidence)


def slo_is_missed(n: int, n_over: int, p: float, confidence: float = 0.95) -> bool:
    """Return whether the p-quantile of n responses lies beyond the limit, with confidence.

    It is the other side of ``slo_is_met``: if the share of responses over the limit were 1 - p or less, so
    many would be over it with probability 1 - confidence at most. Between the two, nothing is certain.
    """
    return slo_is_met(n, n - n_over, 1 - p, confidence)


def most_over(n: int, p: float, confidence: float = 0.95) -> int | None:
    """Return how many of n responses may be over the limit at most; None if even 0 are too many."""
    n_unmet = bisect_left(range(n + 1), x=True, key=lambda n_over: not slo_is_met(n, n_over, p, confidence))
    return n_unmet - 1 if n_unmet else None


def least_responses(p: float, n_over: int, confidence: float = 0.95) -> int:
    """Return the fewest responses of which so many may be over the limit, by ``slo_is_met``.

    Args:
        p: Quantile that the limit applies to, between 0 and 1.
        n_over: Number of responses that may take longer than the limit.
        confidence: Confidence of a positive answer.
    """
    most = n_over + 1
    while not slo_is_met(most, n_over, p, confidence):
        most *= 2
    return bisect_left(range(most), x=True, lo=n_over + 1, key=lambda n: slo_is_met(n, n_over, p, confidence))
