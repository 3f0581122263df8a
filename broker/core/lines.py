"""The counters of one action: its rate keys, and its lines from which budgets.

A line names its budget by a hash over the rule's name, unit and window, the place and
the scope's values, so that neither a customer nor an object stands in it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker.core.limits.scope import Scope, hash_of, scope_of
from broker.core.limits.window import Window, window_start
from broker.core.words.budget import (
    COUNT_UNIT,
    CUSTOMERS_UNIT,
    READING_UNITS,
    RECORDS_UNIT,
    BudgetKey,
    BudgetRule,
    CappedObject,
    CountedBy,
    LimitFacts,
    Line,
    RateAnswer,
    RateKey,
)
from broker.core.words.errors import InvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from broker.core.gcra import RateStep
    from broker.core.words.budget import RateRule

LINES_MAX = 64
RATE_KEYS_MAX = 32
PROCESS_SHARE = 4
"""Without a common counter each replica counts for itself, so each allows this part."""

_KEY_CHARS = 32
UNCOVERED = "uncovered"
TOKEN_COUNT = "token_count"  # noqa: S105  (a rule's name)


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
    for rule in rules:
        if not concerns(rule.tools, facts.tool):
            continue
        for values in _parties(rule.per, facts):
            scope = scope_of(rule.per, values)
            if scope is None:
                continue
            name = hash_of([rule.rule_id, facts.environment, *scope])[:_KEY_CHARS]
            key = f"{{{facts.tenant}}}:{facts.environment}:rate:{rule.rule_id}:{name}"
            keys.append(RateKey(key, rule.rule_id, rule.interval_us, rule.burst))
    check_set("rate keys", [rate.key for rate in keys], most=RATE_KEYS_MAX)
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
        window_us=rate.interval_us * rate.burst,
    )


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
    lines = [
        line
        for rule in rules
        if concerns(rule.tools, facts.tool) and _unit_fits(rule, facts)
        for line in _lines(rule, facts, now=now)
    ]
    if facts.amount is not None and all(line.kind == "count" for line in lines):
        nothing = BudgetRule(
            rule_id=UNCOVERED,
            per=frozenset({Scope.TENANT}),
            unit=facts.amount.currency,
            window=Window.DAY,
            limit=0,
        )
        lines += _lines(nothing, facts, now=now)
    lines += _counted(facts, now=now)
    check_set("lines", [line.budget_id for line in lines], most=LINES_MAX)
    return tuple(sorted(lines, key=lambda line: line.key))


def watched_keys(
    rules: Sequence[BudgetRule], facts: LimitFacts, *, now: datetime
) -> Mapping[BudgetKey, str]:
    """Return the budgets that a policy may look at, each with its rule.

    Other than `lines_for` this does not ask whether the action itself would take from
    them: a policy may forbid a cancellation because of refunds. All objects count.
    """
    starts = {window: window_start(window, now) for window in Window}
    return {
        (_budget_id(rule, facts, scope), starts[rule.window]): rule.rule_id
        for rule in rules
        for _, scope in _scopes(rule, facts)
    }


def record_lines(
    rules: Sequence[BudgetRule], facts: LimitFacts, *, records: int, now: datetime
) -> tuple[Line, ...]:
    """Return where the records of a finished read are counted, beside the first.

    The first was counted when the read was admitted, before anybody knew how many
    there are.
    """
    if records <= 1:
        return ()
    return tuple(
        replace(line, amount=records - 1)
        for line in lines_for(rules, facts, now=now)
        if line.unit == RECORDS_UNIT
    )


def _counted(facts: LimitFacts, *, now: datetime) -> Iterator[Line]:
    """Give a line for each count that the token, or one above it, was limited to."""
    for name, most in facts.counts:
        place = [facts.tenant, facts.environment]
        yield Line(
            rule_id=TOKEN_COUNT,
            budget_id=hash_of([TOKEN_COUNT, COUNT_UNIT, *place, name]),
            window=Window.EVER,
            window_start=window_start(Window.EVER, now),
            unit=COUNT_UNIT,
            limit=most,
            amount=1,
            scope=(("token", name),),
        )


def _lines(rule: BudgetRule, facts: LimitFacts, *, now: datetime) -> Iterator[Line]:
    for thing, scope in _scopes(rule, facts):
        yield Line(
            rule_id=rule.rule_id,
            budget_id=_budget_id(rule, facts, scope),
            window=rule.window,
            window_start=window_start(rule.window, now),
            unit=rule.unit,
            limit=_limit(rule, thing),
            amount=_amount(rule, facts),
            scope=tuple(zip(scope[::2], scope[1::2], strict=True)),
            per_action=rule.per_action,
            member=facts.customer_ref if rule.unit == CUSTOMERS_UNIT else "",
        )


def _scopes(
    rule: BudgetRule, facts: LimitFacts
) -> Iterator[tuple[CappedObject | None, list[str]]]:
    # Naming an object twice does not move money on it twice.
    things: tuple[CappedObject | None, ...] = (None,)
    if Scope.OBJECT in rule.per:
        things = tuple(
            thing
            for thing in dict.fromkeys(facts.objects)
            if rule.object_kind in {"", thing.kind}
        )
    for values in _parties(rule.per, facts):
        for thing in things:
            named = f"{thing.kind}:{thing.ref}" if thing else ""
            scope = scope_of(rule.per, {**values, Scope.OBJECT: named})
            if scope is not None:
                yield thing, scope


def _parties(per: AbstractSet[Scope], facts: LimitFacts) -> Iterator[dict[Scope, str]]:
    """Give what an action has of each scope, for every agent that it counts for.

    What an agent has another do for it counts for both: nobody gets a second budget, or
    a second rate, by delegating.
    """
    values = scope_values(facts)
    agents = (facts.agent_id, *facts.chain) if Scope.AGENT in per else (facts.agent_id,)
    for agent in dict.fromkeys(agents):
        yield {**values, Scope.AGENT: agent}


def scope_values(facts: LimitFacts) -> dict[Scope, str]:
    """Return what an action has of each scope; empty where it has none."""
    return {
        Scope.TENANT: facts.tenant,
        Scope.USE_CASE: facts.use_case,
        Scope.AGENT: facts.agent_id,
        Scope.TOOL: facts.tool,
        Scope.CONNECTOR: facts.connector,
        Scope.CUSTOMER: facts.customer_ref,
        Scope.STANDING_APPROVAL: facts.standing_approval,
    }


def _budget_id(rule: BudgetRule, facts: LimitFacts, scope: Sequence[str]) -> str:
    # The limit and the tools are not part of it: changing them must not start anew.
    place = [facts.tenant, facts.environment]
    return hash_of([rule.rule_id, rule.unit, rule.window.value, *place, *scope])


def _unit_fits(rule: BudgetRule, facts: LimitFacts) -> bool:
    if rule.unit == COUNT_UNIT:
        return True
    if rule.unit in READING_UNITS:
        return facts.reads and bool(facts.customer_ref or rule.unit == RECORDS_UNIT)
    return facts.amount is not None and facts.amount.currency == rule.unit


def _amount(rule: BudgetRule, facts: LimitFacts) -> int:
    if facts.amount is None or not rule.of_money:
        return 1
    return facts.amount.minor_units


def _limit(rule: BudgetRule, thing: CappedObject | None) -> int:
    if rule.limit is not None:
        return rule.limit
    # No receipt has said yet what was paid for it, or it was paid in another currency.
    if thing is None or thing.ceiling is None or thing.ceiling.currency != rule.unit:
        return 0
    return thing.ceiling.minor_units


def concerns(tools: frozenset[str], tool: str) -> bool:
    """Return whether a rule that is narrowed to tools is for this one."""
    return not tools or tool in tools


def check_set(what: str, names: Sequence[str], *, most: int) -> None:
    """Refuse too many counters for one action, and one counter twice.

    Raises:
        InvalidError: more than ``most``.
        ValueError: two of them are the same.
    """
    if len(names) > most:
        detail = f"{len(names)} {what} for one action, more than {most}"
        raise InvalidError(detail, hint="name fewer objects in one action")
    if len(set(names)) != len(names):
        msg = f"two of the {what} are the same: each rule needs its own name"
        raise ValueError(msg)
