"""A policy cannot ban approvals: a signature never hurts, and somewhere it helps.

Publishing a policy goes through people, and so does its repair; but agents under a
policy that nobody can approve anything under would stand still, unseen, until somebody
wondered why. Such a policy is refused. To stop agents there is the kill switch.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice, product
from typing import TYPE_CHECKING, Final, NoReturn

import cedarpy

from broker.core.decisions.explain import answer
from broker.core.words.decision import Deny
from broker.core.words.effect import Tier
from broker.core.words.money import AMOUNT_MINOR_UNITS_MAX
from broker.registry.appetite import given, rules
from broker.registry.policy.cedar_text import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cedarpy import pst

    from broker.core.authorize import Question, RuleBook
    from broker.core.words.tool import Tool

ELSEWHERE_CURRENCY: Final = "ZZZ"
"""Stands for a currency that no rule speaks of."""

PROBES_MAX: Final = 2_000
"""Most questions that are put to a policy to see whether anything can be approved."""


def check_approvable(
    cedar: str, book: RuleBook, tools: Sequence[Tool], places: Mapping[str, str]
) -> None:
    """Refuse a policy under which a signature bans, or under which none can help.

    Args:
        cedar: The whole policy's text.
        book: What was made from it.
        tools: Every tool that is loaded.
        places: Where each rule was written, by its ``@id``.

    Raises:
        PolicyError: with the rule and its line.
    """
    parsed = list(cedarpy.policies_to_pst(cedar).static_policies.values())
    for rule in parsed:
        name = rule.annotations.get("id") or ""
        signature = rules.misread_signature(rule)
        if signature:
            _ban(places, name, f"it turns context.{signature} against the request")
        if rule.effect == "forbid" and rules.is_unconditional(rule):
            _ban(places, name, "it forbids everything, whatever people sign")
    asking = [rule for rule in parsed if "approvers" in rule.annotations]
    if not any(rule.effect == "permit" for rule in asking):
        return
    denied: Counter[str] = Counter()
    for question in probes(parsed, book, tools):
        decision = answer(question, book)
        if not isinstance(decision, Deny):
            return
        denied.update({reason.rule for reason in decision.reasons} - {""})
    if denied:
        name = max(sorted(denied), key=lambda rule: denied[rule])
        _ban(places, name, "whatever people sign, everything is forbidden")
    msg = "the policy asks for approvals that no request can ever get"
    raise PolicyError(msg)


def probes(
    parsed: Iterable[pst.Template], book: RuleBook, tools: Sequence[Tool]
) -> Iterator[Question]:
    """Yield questions that this policy tells apart, of tools that need a signature.

    Of everything that a rule compares with, both sides are asked about.
    """
    seen: dict[str, set[str | int]] = {}
    for rule in parsed:
        for name, value in rules.literals(rule):
            seen.setdefault(name, set()).add(value)

    money = product(
        _numbers(seen, "amount", low=1, high=AMOUNT_MINOR_UNITS_MAX, usual=1),
        [*_texts(seen, "currency"), ELSEWHERE_CURRENCY],
    )
    when = product(
        _numbers(seen, "hour", low=0, high=23, usual=12),
        _numbers(seen, "weekday", low=1, high=7, usual=1),
    )
    words = product(
        [(), *((word,) for word in _texts(seen, "topics"))],
        [(), *((word,) for word in _texts(seen, "customer_flags"))],
    )
    # The last changes fastest: what most rules look at is varied before the bound.
    around = product(
        words,
        when,
        ["", *_texts(seen, "release")],
        product(["", *_texts(seen, "use_case")], ["", *_texts(seen, "channel")]),
        _numbers(seen, "verification", low=0, high=3, usual=3),
        money,
    )
    asked = [tool for tool in tools if tool.tier is Tier.CONSEQUENTIAL]
    every = ((tool, parts) for parts in around for tool in asked)
    units = dict.fromkeys(book.totals, "")
    for tool, parts in islice(every, PROBES_MAX):
        (topics, flags), (hour, weekday), release, (use_case, channel), level, paid = (
            parts
        )
        made = given.question_of({"tool": tool.name}, tools=tools, totals=units)
        has_amount = bool(tool.binding.amount)
        yield replace(
            made,
            agent=replace(made.agent, use_case=use_case),
            amount_minor_units=paid[0] if has_amount else 0,
            currency=paid[1] if has_amount else "",
            verification=level,
            customer_bound=level > 0,
            channel=channel,
            release=release,
            hour=hour,
            weekday=weekday,
            topics=topics,
            customer_flags=flags,
        )


def _texts(seen: Mapping[str, set[str | int]], name: str) -> list[str]:
    return sorted(value for value in seen.get(name, ()) if isinstance(value, str))


def _numbers(
    seen: Mapping[str, set[str | int]], name: str, *, low: int, high: int, usual: int
) -> list[int]:
    """Return the usual number, and both sides of each that a rule compares with."""
    whole = [value for value in seen.get(name, ()) if isinstance(value, int)]
    near = {value + step for value in whole for step in (0, 1)} | {usual}
    return sorted(number for number in near if low <= number <= high)


def _ban(places: Mapping[str, str], name: str, problem: str) -> NoReturn:
    msg = (
        f"{places.get(name, 'rules')}: rule {name!r} would ban approvals themselves:"
        f" {problem}"
    )
    raise PolicyError(msg)
