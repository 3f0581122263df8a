"""Budgets and reservations: what an action may take, and what it has taken.

A rule says what is counted over which scopes; a *line* is one rule applied to one
action: this much from this budget. Amounts are integer minor units of a currency, and
whole numbers of actions ("count"), of different customers whose records were read
("customers") or of records that were read ("records"); all obey the same rule.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from broker.core.limits.rates import (
    RATE_BURST_MAX,
    RATE_HORIZON_US_MAX,
    RATE_PERIOD_S_MAX,
    RATE_REQUESTS_MAX,
    CountedBy,
    RateAnswer,
    RateKey,
    RateRule,
)
from broker.core.limits.scope import (
    RATE_SCOPES,
    Scope,
    check_rule,
    check_whole,
    refuse,
)
from broker.core.limits.window import SLIDING, Window
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX, Money, is_currency

__all__ = [
    "RATE_BURST_MAX",
    "RATE_HORIZON_US_MAX",
    "RATE_PERIOD_S_MAX",
    "RATE_REQUESTS_MAX",
    "RATE_SCOPES",
    "Admission",
    "BudgetKey",
    "BudgetRow",
    "BudgetRule",
    "CappedObject",
    "CountedBy",
    "LimitFacts",
    "Line",
    "Move",
    "RateAnswer",
    "RateKey",
    "RateRule",
    "ReservationRow",
    "ReservationState",
    "Scope",
    "Total",
    "Window",
]

COUNT_UNIT = "count"
CUSTOMERS_UNIT = "customers"
RECORDS_UNIT = "records"
READING_UNITS = frozenset({CUSTOMERS_UNIT, RECORDS_UNIT})
"""What reads are counted in: nothing is held for them, and nothing is given back."""

SCOPE_VALUE_CHARS_MAX = 200
CAPPED_OBJECTS_MAX = 32
_MOST = AMOUNT_MINOR_UNITS_MAX
_PLACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


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


@dataclass(frozen=True, slots=True)
class BudgetRule:
    """At most ``limit`` of a unit within a window, for each combination of ``per``.

    Attributes:
        rule_id: Name of the series: the counters go on under the same name when the
            limit, the tools or the version of the policy change.
        unit: ISO 4217 code for amounts, "count" for actions, "customers" or "records"
            for what is read.
        limit: In minor units, or as many. None takes each object's own ceiling and
            needs the object scope and a currency.
        tools: Narrows the rule to these tools; empty means all.
        object_kind: Narrows an object rule to one kind; empty means all.
        per_action: Most minor units of one action, None if only the sum counts.
    """

    rule_id: str
    per: frozenset[Scope]
    unit: str
    window: Window
    limit: int | None
    tools: frozenset[str] = frozenset()
    object_kind: str = ""
    per_action: int | None = None

    def __post_init__(self) -> None:
        """Refuse what could not be counted or would count nothing."""
        check_rule(self.rule_id, self.per)
        if self.unit not in {COUNT_UNIT, *READING_UNITS} and not self.of_money:
            refuse(f"{self.rule_id}: {self.unit!r} is neither a currency nor a count")
        self._check_reading()
        if self.per_action is not None:
            if not self.of_money:
                refuse(f"{self.rule_id}: per_action is for amounts of money")
            check_whole("per_action", self.per_action, least=1, most=_MOST)
        if self.limit is not None:
            check_whole("limit", self.limit, least=0, most=_MOST)
        elif Scope.OBJECT not in self.per or not self.of_money:
            refuse(f"{self.rule_id}: only an amount per object can have no limit")
        if self.object_kind and Scope.OBJECT not in self.per:
            refuse(f"{self.rule_id}: object_kind needs the object scope")

    @property
    def of_money(self) -> bool:
        """Return whether it counts an amount of a currency."""
        return is_currency(self.unit)

    def _check_reading(self) -> None:
        if self.unit not in READING_UNITS:
            return
        if self.window is Window.PENDING or Scope.OBJECT in self.per:
            refuse(f"{self.rule_id}: a read holds nothing and moves no object")
        if self.unit == CUSTOMERS_UNIT and (
            self.window in SLIDING or Scope.CUSTOMER in self.per
        ):
            refuse(f"{self.rule_id}: customers are counted in fixed windows, together")


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
    ``standing_approval`` is empty unless the action is decided under one. ``reads``
    says that it reads and changes nothing. ``chain`` are further agents on whose
    authority it is asked, which it counts for as well; ``counts`` are (name, most) of
    what the token lets it be one of.
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
    connector: str = ""
    reads: bool = False
    chain: tuple[str, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        """Refuse names that could reach into another's counters, and too many."""
        # The tenant is the hash tag of every rate key: a brace would break it.
        for name in (self.tenant, self.environment):
            if not _PLACE.fullmatch(name):
                refuse(f"{name!r} cannot name a tenant or an environment")
        if not (self.use_case and self.agent_id and self.tool):
            refuse("use_case, agent_id and tool are needed")
        values = [self.use_case, self.agent_id, self.tool, self.customer_ref]
        values += [self.standing_approval, self.connector, *self.chain]
        values += [name for name, _ in self.counts]
        values += [part for thing in self.objects for part in (thing.kind, thing.ref)]
        if max(map(len, values)) > SCOPE_VALUE_CHARS_MAX:
            refuse(f"a scope's value is longer than {SCOPE_VALUE_CHARS_MAX}")
        if len(self.objects) > CAPPED_OBJECTS_MAX:
            refuse(f"more than {CAPPED_OBJECTS_MAX} objects in one action")


BudgetKey = tuple[str, datetime]
"""Budget id (64 hex digits) and the start of its window."""


@dataclass(frozen=True, slots=True)
class Total:
    """What one budget has posted and holds; ``version`` moves with every change.

    Of a sliding window ``posted`` is what it covers now. ``known`` says that the
    customer who was asked about is counted already, ``freezes`` how often the budget
    was frozen.
    """

    posted: int = 0
    held: int = 0
    version: int = 0
    frozen: bool = False
    known: bool = False
    freezes: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """What one action takes from one budget, beside what is already taken.

    ``amount``, ``limit``, ``posted`` and ``held`` are in ``unit``; ``held`` does not
    include this very action. ``version`` is the one that the policy saw, None if it
    did not look. ``scope`` names what is counted, for people; values are opaque.
    ``per_action`` is the most that one action may take. ``member`` is the customer to
    be counted once, ``known`` if that was done before.
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
    per_action: int | None = None
    member: str = ""
    known: bool = False

    def __post_init__(self) -> None:
        """Refuse amounts that are not whole, not positive, or not exact in JSON."""
        check_whole("amount", self.amount, least=1, most=AMOUNT_MINOR_UNITS_MAX)
        check_whole("limit", self.limit, least=0, most=AMOUNT_MINOR_UNITS_MAX)
        if self.posted < 0 or self.held < 0:
            refuse("posted and held cannot be negative")
        if self.window_start.tzinfo is None:
            refuse("window_start must carry a time zone")

    @property
    def key(self) -> BudgetKey:
        """Return what the row is found by; locks are taken in this order."""
        return self.budget_id, self.window_start

    @property
    def kind(self) -> str:
        """Return "amount", or "count" for what has no currency."""
        return "amount" if is_currency(self.unit) else "count"

    @property
    def of_reading(self) -> bool:
        """Return whether it counts what is read, for which nothing is held."""
        return self.unit in READING_UNITS


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
    """A budget as it is shown to people; ``limit_seen`` is that of its newest line.

    ``simulated`` says that a simulated history has a part in it.
    """

    budget_id: str
    window_start: datetime
    rule_id: str
    window: Window
    unit: str
    scope: tuple[tuple[str, str], ...]
    total: Total
    limit_seen: int
    simulated: bool = False


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
    simulated: bool = False
