"""Rates: how often something may be asked, and what a check answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from broker.core.limits.scope import (
    RATE_SCOPES,
    Scope,
    check_rule,
    check_whole,
    refuse,
)

RATE_REQUESTS_MAX = 1_000_000
RATE_PERIOD_S_MAX = 31 * 86_400
RATE_BURST_MAX = 1_000_000
# Now in microseconds plus this stays below 2^53 until the year 2224.
RATE_HORIZON_US_MAX = 366 * 86_400 * 1_000_000
_SECOND_US = 1_000_000


class CountedBy(StrEnum):
    """Which counter answered a rate check; it stands in the audit entry."""

    NONE = "none"
    VALKEY = "valkey"
    SQL = "sql"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class RateRule:
    """At most ``requests`` per ``period_s``, of which ``burst`` may come at once.

    ``tools`` narrows the rule to these tools; empty means all of them, together unless
    ``per`` holds the tool.
    """

    rule_id: str
    per: frozenset[Scope]
    requests: int
    period_s: int
    burst: int
    tools: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse what no counter could keep exactly."""
        check_rule(self.rule_id, self.per)
        if not self.per <= RATE_SCOPES:
            refuse(f"{self.rule_id}: a rate counts over {sorted(RATE_SCOPES)}")
        check_whole("requests", self.requests, least=1, most=RATE_REQUESTS_MAX)
        check_whole("period_s", self.period_s, least=1, most=RATE_PERIOD_S_MAX)
        check_whole("burst", self.burst, least=1, most=RATE_BURST_MAX)
        if self.interval_us * self.burst > RATE_HORIZON_US_MAX:
            refuse(f"{self.rule_id}: the burst takes more than a year to come back")

    @property
    def interval_us(self) -> int:
        """Return the microseconds that one request costs, rounded up: never faster."""
        return -(-self.period_s * _SECOND_US // self.requests)


@dataclass(frozen=True, slots=True)
class RateKey:
    """One counter that an action is charged to, and the pace that it allows."""

    key: str
    rule_id: str
    interval_us: int
    burst: int


@dataclass(frozen=True, slots=True)
class RateAnswer:
    """Whether an action is within its rates; ``rule_id`` names the tightest one.

    ``limit`` is that rule's burst, ``window_us`` how long a whole burst takes to come
    back, ``remaining`` how many more may come at once,
    ``reset_us`` when it is full again, ``retry_after_us`` when one more may come
    (0 if allowed).
    """

    allowed: bool
    counted_by: CountedBy
    rule_id: str = ""
    limit: int = 0
    remaining: int = 0
    retry_after_us: int = 0
    reset_us: int = 0
    window_us: int = 0

    @property
    def retry_after_s(self) -> int:
        """Return whole seconds for Retry-After, rounded up."""
        return _seconds(self.retry_after_us)

    def headers(self) -> dict[str, str]:
        """Return RateLimit headers, in whole seconds; none if nothing was counted.

        The quota is the burst, its window how long an empty counter takes to fill.

        Source: draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4; RFC 9110,
        10.2.3.
        """
        if self.counted_by is CountedBy.NONE:
            return {}
        name = f'"{self.rule_id}"'
        found = {
            "RateLimit-Policy": f"{name};q={self.limit};w={_seconds(self.window_us)}",
            "RateLimit": f"{name};r={self.remaining};t={_seconds(self.reset_us)}",
        }
        if not self.allowed:
            found["Retry-After"] = str(self.retry_after_s)
        return found


def _seconds(microseconds: int) -> int:
    return -(-microseconds // _SECOND_US)
