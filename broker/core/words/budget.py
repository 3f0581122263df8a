"""Rates, budgets and reservations: what an action may take, and what it has taken.

A rule says what is counted over which scopes; a *line* is one rule applied to one
action: this much from this budget. Amounts are integer minor units of a currency,
counts are whole numbers in the unit "count", and both obey the same rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, Money, is_currency

COUNT_UNIT = "count"
RATE_REQUESTS_MAX = 1_000_000
RATE_PERIOD_S_MAX = 31 * 86_400
RATE_BURST_MAX = 1_000_000
# Now in microseconds plus this stays below 2^53 until the year 2224.
RATE_HORIZON_US_MAX = 366 * 86_400 * 1_000_000
SCOPE_VALUE_CHARS_MAX = 200
CAPPED_OBJECTS_MAX = 32
_RULE_ID = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_PLACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_SECOND_US = 1_000_000


class Scope(StrEnum):
    """What a rule counts over; several together count each combination apart."""

    TENANT = "tenant"
    USE_CASE = "use_case"
    AGENT = "agent"
    TOOL = "tool"
    CUSTOMER = "customer"
    STANDING_APPROVAL = "standing_approval"
    OBJECT = "object"


RATE_SCOPES = frozenset(
    {Scope.TENANT, Scope.USE_CASE, Scope.AGENT, Scope.TOOL, Scope.CUSTOMER}
)


class Window(StrEnum):
    """For how long a budget counts; all but the last two start anew, in UTC.

    ``EVER`` never starts anew. ``PENDING`` counts only what is held, executing or
    unknown: what was posted or voided is gone from it.
    """

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"
    EVER = "ever"
    PENDING = "pending"


class ReservationState(StrEnum):
    """Where a reservation is; ``POSTED`` and ``VOIDED`` are ends.

    Money counts as held in the first three states: nobody knows yet that it is not
    spent.
    """

    HELD = "held"
    EXECUTING = "executing"
    UNKNOWN = "unknown"
    POSTED = "posted"
    VOIDED = "voided"


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
        _check_rule(self.rule_id, self.per)
        if not self.per <= RATE_SCOPES:
            _refuse(f"{self.rule_id}: a rate counts over {sorted(RATE_SCOPES)}")
        _check_whole("requests", self.requests, least=1, most=RATE_REQUESTS_MAX)
        _check_whole("period_s", self.period_s, least=1, most=RATE_PERIOD_S_MAX)
        _check_whole("burst", self.burst, least=1, most=RATE_BURST_MAX)
        if self.interval_us * self.burst > RATE_HORIZON_US_MAX:
            _refuse(f"{self.rule_id}: the burst takes more than a year to come back")

    @property
    def interval_us(self) -> int:
        """Return the microseconds that one request costs, rounded up: never faster."""
        return -(-self.period_s * _SECOND_US // self.requests)


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """At most ``limit`` of a unit within a window, for each combination of ``per``.

    Attributes:
        rule_id: Name of the series: the counters go on under the same name when the
            limit, the tools or the version of the policy change.
        unit: ISO 4217 code for amounts, "count" for actions.
        limit: In minor units, or in actions. None takes each object's own ceiling and
            needs the object scope and a currency.
        tools: Narrows the rule to these tools; empty means all.
        object_kind: Narrows an object rule to one kind; empty means all.
    """

    rule_id: str
    per: frozenset[Scope]
    unit: str
    window: Window
    limit: int | None
    tools: frozenset[str] = frozenset()
    object_kind: str = ""

    def __post_init__(self) -> None:
        """Refuse what could not be counted or would count nothing."""
        _check_rule(self.rule_id, self.per)
        if self.unit != COUNT_UNIT and not is_currency(self.unit):
            _refuse(f"{self.rule_id}: {self.unit!r} is neither a currency nor count")
        if self.limit is not None:
            _check_whole("limit", self.limit, least=0, most=AMOUNT_MINOR_UNITS_MAX)
        elif Scope.OBJECT not in self.per or self.unit == COUNT_UNIT:
            _refuse(f"{self.rule_id}: only an amount per object can have no limit")
        if self.object_kind and Scope.OBJECT not in self.per:
            _refuse(f"{self.rule_id}: object_kind needs the object scope")


@dataclass(frozen=True, slots=True)
class CappedObject:
    """An upstream object that an action moves money on.

    ``ref`` is a keyed hash of the object's id, so that budgets do not carry ids in
    clear. ``ceiling`` is what the edge's receipts say may ever be moved on it (what
    was paid for an order), None while no receipt has said so.
    """

    kind: str
    ref: str
    ceiling: Money | None


@dataclass(frozen=True, slots=True)
class LimitFacts:
    """What the broker derived about one action, for its limits.

    ``customer_ref`` is opaque (a keyed hash), empty while no customer is bound;
    ``standing_approval`` is empty unless the action is decided under one.
    """

    tenant: str
    environment: str
    use_case: str
    agent_id: str
    tool: str
    customer_ref: str = ""
    standing_approval: str = ""
    amount: Money | None = None
    objects: tuple[CappedObject, ...] = ()

    def __post_init__(self) -> None:
        """Refuse names that could reach into another's counters, and too many."""
        # The tenant is the hash tag of every rate key: a brace would break it.
        for name in (self.tenant, self.environment):
            if not _PLACE.fullmatch(name):
                _refuse(f"{name!r} cannot name a tenant or an environment")
        if not (self.use_case and self.agent_id and self.tool):
            _refuse("use_case, agent_id and tool are needed")
        values = [self.use_case, self.agent_id, self.tool, self.customer_ref]
        values += [self.standing_approval]
        values += [part for thing in self.objects for part in (thing.kind, thing.ref)]
        if max(map(len, values)) > SCOPE_VALUE_CHARS_MAX:
            _refuse(f"a scope's value is longer than {SCOPE_VALUE_CHARS_MAX}")
        if len(self.objects) > CAPPED_OBJECTS_MAX:
            _refuse(f"more than {CAPPED_OBJECTS_MAX} objects in one action")


BudgetKey = tuple[str, datetime]
"""Budget id (64 hex digits) and the start of its window."""


@dataclass(frozen=True, slots=True)
class Total:
    """What one budget has posted and holds; ``version`` moves with every change."""

    posted: int = 0
    held: int = 0
    version: int = 0
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """What one action takes from one budget, beside what is already taken.

    ``amount``, ``limit``, ``posted`` and ``held`` are in ``unit``; ``held`` does not
    include this very action. ``version`` is the one that the policy saw, None if it
    did not look. ``scope`` names what is counted, for people; values are opaque.
    """

    rule_id: str
    budget_id: str
    window: Window
    window_start: datetime
    unit: str
    limit: int
    amount: int
    posted: int = 0
    held: int = 0
    version: int | None = None
    frozen: bool = False
    scope: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Refuse amounts that are not whole, not positive, or not exact in JSON."""
        _check_whole("amount", self.amount, least=1, most=AMOUNT_MINOR_UNITS_MAX)
        _check_whole("limit", self.limit, least=0, most=AMOUNT_MINOR_UNITS_MAX)
        if self.posted < 0 or self.held < 0:
            _refuse("posted and held cannot be negative")
        if self.window_start.tzinfo is None:
            _refuse("window_start must carry a time zone")

    @property
    def key(self) -> BudgetKey:
        """Return what the row is found by; locks are taken in this order."""
        return self.budget_id, self.window_start

    @property
    def kind(self) -> str:
        """Return "count" or "amount"."""
        return "count" if self.unit == COUNT_UNIT else "amount"


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether an action's lines all fit, and if not, which ones do not.

    ``over`` are lines without room (or frozen), with the totals that said so;
    ``stale`` are lines whose budget moved after the policy had looked at it. ``state``
    is where the action's reservation is now, None if it has none.
    """

    over: tuple[Line, ...] = ()
    stale: tuple[Line, ...] = ()
    state: ReservationState | None = None

    @property
    def admitted(self) -> bool:
        """Return whether the action may go on: everything fits and is (still) held."""
        settled = self.state not in {
            None,
            ReservationState.HELD,
            ReservationState.EXECUTING,
        }
        return not (self.over or self.stale or settled)


@dataclass(frozen=True, slots=True)
class Move:
    """What became of a wish to move a reservation on.

    ``made`` says whether it is now in the wished state; ``state`` is where it is, None
    if there is no reservation. ``alarms`` are stable words that somebody must look at:
    ``posted_above_reserved``, ``currency_mismatch``, ``posted_differs``. ``frozen``
    are the budgets that admit nothing any more.
    """

    made: bool
    state: ReservationState | None
    alarms: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """A budget as it is shown to people; ``limit_seen`` is that of its newest line."""

    budget_id: str
    window_start: datetime
    rule_id: str
    window: Window
    unit: str
    scope: tuple[tuple[str, str], ...]
    total: Total
    limit_seen: int


@dataclass(frozen=True, slots=True)
class ReservationRow:
    """What one action takes from one budget; ``posted`` is None until it is posted."""

    action_id: str
    budget_id: str
    window_start: datetime
    amount: int
    posted: int | None
    state: ReservationState
    updated_at: datetime


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

    ``limit`` is that rule's burst, ``remaining`` how many more may come at once,
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

    @property
    def retry_after_s(self) -> int:
        """Return whole seconds for Retry-After, rounded up."""
        return -(-self.retry_after_us // _SECOND_US)

    def headers(self) -> dict[str, str]:
        """Return RateLimit headers, in whole seconds; none if nothing was counted.

        Source: draft-ietf-httpapi-ratelimit-headers-03, section 3; RFC 9110, 10.2.3.
        """
        if self.counted_by is CountedBy.NONE:
            return {}
        found = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(-(-self.reset_us // _SECOND_US)),
        }
        if not self.allowed:
            found["Retry-After"] = str(self.retry_after_s)
        return found


def _check_rule(rule_id: str, per: frozenset[Scope]) -> None:
    if not _RULE_ID.fullmatch(rule_id):
        _refuse(f"{rule_id!r} cannot name a rule")
    if not per:
        _refuse(f"{rule_id}: a rule counts over at least one scope")


def _check_whole(name: str, value: int, *, least: int, most: int) -> None:
    # A bool is an int in Python, and a float may look whole: ask for the exact type.
    if type(value) is not int or not least <= value <= most:
        _refuse(f"{name} must be a whole number within {least}..{most}")


def _refuse(problem: str) -> None:
    raise ValueError(problem)
