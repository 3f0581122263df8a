"""Stage 3, limit: how often, how much at once, and how much in all.

Rates are counted by GCRA and may be lost; amounts and counts are reserved in SQL and
may not. This module states both rules; a Valkey Function and SQL functions execute
them atomically, and tests compare all of them on the same random sequences.

Source: DESIGN, invariant 4 and chapter 5; docs/adr/0009.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, assert_never

from broker.core.words.budget import (
    COUNT_UNIT,
    Admission,
    BudgetKey,
    BudgetRule,
    CappedObject,
    CountedBy,
    LimitFacts,
    Line,
    RateAnswer,
    RateKey,
    RateRule,
    ReservationState,
    Scope,
    Total,
    Window,
)
from broker.core.words.errors import InvalidError
from broker.core.words.money import Money

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from broker.core.gcra import RateStep

RATE_KEYS_MAX = 32
LINES_MAX = 64
PROCESS_SHARE = 4
"""Without a common counter each replica counts for itself, so each allows this part."""

UNCOVERED = "uncovered"
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_KEY_CHARS = 32

# A reservation only moves forward. SQL executes the same table, and a test compares.
RESERVATION_MOVES: Mapping[ReservationState, frozenset[ReservationState]] = {
    ReservationState.HELD: frozenset(
        {ReservationState.EXECUTING, ReservationState.VOIDED}
    ),
    ReservationState.EXECUTING: frozenset(
        {
            ReservationState.POSTED,
            ReservationState.VOIDED,
            ReservationState.UNKNOWN,
        }
    ),
    ReservationState.UNKNOWN: frozenset(
        {ReservationState.POSTED, ReservationState.VOIDED}
    ),
    ReservationState.POSTED: frozenset(),
    ReservationState.VOIDED: frozenset(),
}


class BudgetExceededError(ValueError):
    """More is posted and pending than a budget's limit."""


def may_move(old: ReservationState, new: ReservationState) -> bool:
    """Return whether a reservation may go from one state to another."""
    return new in RESERVATION_MOVES[old]


# ------------------------------------------------------------------------- rates


def rate_keys(rules: Sequence[RateRule], facts: LimitFacts) -> tuple[RateKey, ...]:
    """Return the counters of one action, sorted by key.

    A rule over a scope that the action does not have (no customer bound yet) counts
    nothing. Every key carries the tenant as hash tag, so that one call can touch all of
    them in a cluster; values are hashed, so that no key shows whom it counts.

    Raises:
        InvalidError: more than RATE_KEYS_MAX.
        ValueError: two rules with one name.
    """
    keys = []
    values = _values(facts)
    for rule in rules:
        scope = _scope(rule.per, values)
        if scope is None or not _concerns(rule.tools, facts.tool):
            continue
        name = _hash([rule.rule_id, facts.environment, *scope])[:_KEY_CHARS]
        key = f"{{{facts.tenant}}}:{facts.environment}:rate:{rule.rule_id}:{name}"
        keys.append(RateKey(key, rule.rule_id, rule.interval_us, rule.burst))
    _check_set("rate keys", [rate.key for rate in keys], most=RATE_KEYS_MAX)
    return tuple(sorted(keys, key=lambda rate: rate.key))


def smaller(keys: Sequence[RateKey]) -> tuple[RateKey, ...]:
    """Return the pace for a replica that counts alone: slower, with a smaller burst."""
    return tuple(
        replace(
            rate,
            interval_us=rate.interval_us * PROCESS_SHARE,
            burst=max(1, rate.burst // PROCESS_SHARE),
        )
        for rate in keys
    )


def rate_answer(
    keys: Sequence[RateKey], steps: Sequence[RateStep], *, counted_by: CountedBy
) -> RateAnswer:
    """Sum up a check by its tightest counter: longest wait, else fewest remaining."""
    pairs = list(zip(keys, steps, strict=True))
    if not pairs:
        return RateAnswer(allowed=True, counted_by=CountedBy.NONE)
    rate, step = max(pairs, key=lambda p: (p[1].retry_after_us, -p[1].remaining))
    return RateAnswer(
        allowed=all(step.allowed for step in steps),
        counted_by=counted_by,
        rule_id=rate.rule_id,
        limit=rate.burst,
        remaining=step.remaining,
        retry_after_us=step.retry_after_us,
        reset_us=step.reset_us,
    )


# ----------------------------------------------------------------------- budgets


def window_start(window: Window, now: datetime) -> datetime:
    """Return when the current window began, in UTC.

    Raises:
        ValueError: ``now`` carries no time zone.
    """
    if now.tzinfo is None:
        msg = "now must carry a time zone"
        raise ValueError(msg)
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    match window:
        case Window.HOUR:
            return hour
        case Window.DAY:
            return hour.replace(hour=0)
        case Window.MONTH:
            return hour.replace(day=1, hour=0)
        case Window.EVER | Window.PENDING:
            return _EVER
        case _:
            assert_never(window)


def lines_for(
    rules: Sequence[BudgetRule], facts: LimitFacts, *, now: datetime
) -> tuple[Line, ...]:
    """Return what an action would take from which budgets, in the order of locking.

    Totals are not filled in (see `with_totals`). A rule over a scope that the action
    does not have counts nothing. An amount that no rule counts gets a line with limit
    0: money that nobody budgeted for is not there.

    Raises:
        InvalidError: the amount is 0, or more than LINES_MAX lines.
        ValueError: two rules with one name.
    """
    if facts.amount is not None and facts.amount.minor_units == 0:
        detail = "the amount must be at least one minor unit"
        raise InvalidError(detail)
    values = _values(facts)
    lines = [
        line
        for rule in rules
        if _concerns(rule.tools, facts.tool) and _unit_fits(rule, facts)
        for line in _lines(rule, facts, values, now=now)
    ]
    if facts.amount is not None and all(line.unit == COUNT_UNIT for line in lines):
        nothing = BudgetRule(
            rule_id=UNCOVERED,
            per=frozenset({Scope.TENANT}),
            unit=facts.amount.currency,
            window=Window.DAY,
            limit=0,
        )
        lines += _lines(nothing, facts, values, now=now)
    _check_set("lines", [line.budget_id for line in lines], most=LINES_MAX)
    return tuple(sorted(lines, key=lambda line: line.key))


def watched_keys(
    rules: Sequence[BudgetRule], facts: LimitFacts, *, now: datetime
) -> Mapping[BudgetKey, str]:
    """Return the budgets that a policy may look at, each with its rule.

    Other than `lines_for` this does not ask whether the action itself would take from
    them: a policy may forbid a cancellation because of refunds. All objects count.
    """
    starts = {window: window_start(window, now) for window in Window}
    values = _values(facts)
    return {
        (_budget_id(rule, facts, scope), starts[rule.window]): rule.rule_id
        for rule in rules
        for _, scope in _scopes(rule, facts, values)
    }


def totals_by_rule(
    rules: Sequence[BudgetRule],
    watched: Mapping[BudgetKey, str],
    totals: Mapping[BudgetKey, Total],
) -> dict[str, int]:
    """Return what is posted or held for each rule, 0 where nothing is counted.

    A rule with several budgets (one per object) gives the largest.
    """
    sums = dict.fromkeys((rule.rule_id for rule in rules), 0)
    for key, rule_id in watched.items():
        total = totals.get(key, Total())
        sums[rule_id] = max(sums[rule_id], total.posted + total.held)
    return sums


def with_totals(
    lines: Sequence[Line],
    totals: Mapping[BudgetKey, Total],
    *,
    looked_at: AbstractSet[str] | None = None,
) -> tuple[Line, ...]:
    """Fill in what was read; a budget without a row has taken nothing, version 0.

    Args:
        lines: What the action would take.
        totals: What was read, this action left out.
        looked_at: Rules whose totals the decision depends on; None is all of them. A
            reservation is refused as stale if one of these has moved meanwhile, so a
            busy budget that no policy looks at should not be among them.
    """
    filled = []
    for line in lines:
        total = totals.get(line.key, Total())
        depends = looked_at is None or line.rule_id in looked_at
        filled.append(
            replace(
                line,
                posted=total.posted,
                held=total.held,
                version=total.version if depends else None,
                frozen=total.frozen,
            )
        )
    return tuple(filled)


def fits(line: Line) -> bool:
    """Return whether one line has room: ``posted + held + amount <= limit``."""
    return not line.frozen and line.posted + line.held + line.amount <= line.limit


def admit(lines: Sequence[Line]) -> Admission:
    """Admit an action if every line fits; otherwise name the lines that do not.

    Raises:
        InvalidError: more than LINES_MAX lines.
        ValueError: two lines take from one budget.
    """
    _check_set("lines", [line.budget_id for line in lines], most=LINES_MAX)
    over = tuple(line for line in lines if not fits(line))
    held = lines and not over
    return Admission(over=over, state=ReservationState.HELD if held else None)


def headroom(limit: Money, *, posted: Money, pending: Sequence[Money]) -> Money:
    """Return what a budget still admits: pending amounts count in full.

    Raises:
        BudgetExceededError: it is overdrawn already.
        ValueError: the amounts are of different currencies.
    """
    if {limit.currency} != {money.currency for money in (limit, posted, *pending)}:
        msg = "a budget counts one currency"
        raise ValueError(msg)
    taken = posted.minor_units + sum(money.minor_units for money in pending)
    if taken > limit.minor_units:
        msg = f"overdrawn: {taken} of {limit.minor_units} {limit.currency} minor units"
        raise BudgetExceededError(msg)
    return Money(limit.minor_units - taken, limit.currency)


def _lines(
    rule: BudgetRule, facts: LimitFacts, values: Mapping[Scope, str], *, now: datetime
) -> Iterator[Line]:
    for thing, scope in _scopes(rule, facts, values):
        yield Line(
            rule_id=rule.rule_id,
            budget_id=_budget_id(rule, facts, scope),
            window=rule.window,
            window_start=window_start(rule.window, now),
            unit=rule.unit,
            limit=_limit(rule, thing),
            amount=_amount(rule, facts),
            scope=tuple(zip(scope[::2], scope[1::2], strict=True)),
        )


def _scopes(
    rule: BudgetRule, facts: LimitFacts, values: Mapping[Scope, str]
) -> Iterator[tuple[CappedObject | None, list[str]]]:
    if Scope.OBJECT not in rule.per:
        scope = _scope(rule.per, values)
        if scope is not None:
            yield None, scope
        return
    # Naming an object twice does not move money on it twice.
    for thing in dict.fromkeys(facts.objects):
        if rule.object_kind in {"", thing.kind}:
            named = {**values, Scope.OBJECT: f"{thing.kind}:{thing.ref}"}
            scope = _scope(rule.per, named)
            if scope is not None:
                yield thing, scope


def _values(facts: LimitFacts) -> dict[Scope, str]:
    return {
        Scope.TENANT: facts.tenant,
        Scope.USE_CASE: facts.use_case,
        Scope.AGENT: facts.agent_id,
        Scope.TOOL: facts.tool,
        Scope.CUSTOMER: facts.customer_ref,
        Scope.STANDING_APPROVAL: facts.standing_approval,
    }


def _scope(per: frozenset[Scope], values: Mapping[Scope, str]) -> list[str] | None:
    """Return names and values in a fixed order, None if a scope is missing."""
    scope: list[str] = []
    for name in sorted(per):
        value = values.get(name)
        if not value:
            return None
        scope += (name.value, value)
    return scope


def _budget_id(rule: BudgetRule, facts: LimitFacts, scope: Sequence[str]) -> str:
    # The limit and the tools are not part of it: changing them must not start anew.
    place = [facts.tenant, facts.environment]
    return _hash([rule.rule_id, rule.unit, rule.window.value, *place, *scope])


def _hash(parts: Sequence[str]) -> str:
    # A JSON list has one reading, so no two scopes share an id by clever values.
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _unit_fits(rule: BudgetRule, facts: LimitFacts) -> bool:
    if rule.unit == COUNT_UNIT:
        return True
    return facts.amount is not None and facts.amount.currency == rule.unit


def _amount(rule: BudgetRule, facts: LimitFacts) -> int:
    if rule.unit == COUNT_UNIT or facts.amount is None:
        return 1
    return facts.amount.minor_units


def _limit(rule: BudgetRule, thing: CappedObject | None) -> int:
    if rule.limit is not None:
        return rule.limit
    # No receipt has said yet what was paid for it, or it was paid in another currency.
    if thing is None or thing.ceiling is None or thing.ceiling.currency != rule.unit:
        return 0
    return thing.ceiling.minor_units


def _concerns(tools: frozenset[str], tool: str) -> bool:
    return not tools or tool in tools


def _check_set(what: str, names: Sequence[str], *, most: int) -> None:
    if len(names) > most:
        detail = f"{len(names)} {what} for one action, more than {most}"
        raise InvalidError(detail, hint="name fewer objects in one action")
    if len(set(names)) != len(names):
        msg = f"two of the {what} are the same: each rule needs its own name"
        raise ValueError(msg)
