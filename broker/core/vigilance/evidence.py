"""Whether somebody misses too many canaries: a test that may be looked at at any time.

The evidence is a mixture of likelihood ratios of miss rates above the tolerated one. If
somebody misses no more than that, it is ever ALARM_AT or more with a probability of at
most 1 / ALARM_AT, however often it is looked at.

Source: notes on monitors (approver vigilance); Ville 1939. The mixture is a Beta(8, 12)
cut to rates above the tolerated one.
"""

from __future__ import annotations

from math import exp, fsum, lgamma, log
from typing import Final

TOLERATED_MISS: Final = 0.2
ALARM_AT: Final = 20.0
SEEN_MAX: Final = 400
"""How many of one person's newest canaries are counted.

Evidence grows up to fivefold with each: past 440 it would be no number any more.
"""

_A: Final = 8
_B: Final = 12


def evidence(missed: int, *, seen: int) -> float:
    """Return the evidence that somebody misses more than TOLERATED_MISS of canaries.

    Args:
        missed: Canaries that this person approved.
        seen: Canaries that this person decided, at most SEEN_MAX.

    Raises:
        ValueError: There are no such numbers.
    """
    if not 0 <= missed <= seen <= SEEN_MAX:
        msg = f"nobody misses {missed} of {seen}"
        raise ValueError(msg)
    caught = seen - missed
    return exp(
        _ln_beta(_A + missed, _B + caught)
        + _ln_above(_A + missed, _B + caught)
        - _ln_beta(_A, _B)
        - _ln_above(_A, _B)
        - missed * log(TOLERATED_MISS)
        - caught * log(1 - TOLERATED_MISS)
    )


def alarms(missed: int, *, seen: int) -> bool:
    """Return whether the evidence is enough to take the right to approve away."""
    return evidence(missed, seen=seen) >= ALARM_AT


def _ln_beta(a: int, b: int) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _ln_above(a: int, b: int) -> float:
    """Return ln P(Beta(a, b) > TOLERATED_MISS), for whole a and b.

    It is the probability of fewer than ``a`` successes in ``a + b - 1`` trials.
    """
    trials = a + b - 1
    ln_p, ln_q = log(TOLERATED_MISS), log(1 - TOLERATED_MISS)
    terms = [
        lgamma(trials + 1)
        - lgamma(k + 1)
        - lgamma(trials - k + 1)
        + k * ln_p
        + (trials - k) * ln_q
        for k in range(a)
    ]
    most = max(terms)
    return most + log(fsum(exp(term - most) for term in terms))
