"""Policies: a signed version becomes a rule book, or is refused with line and reason.

A policy's body is ``{"version", "cedar", "hold", "rates", "budgets", "votes", "author",
"approver"}``. The Cedar schema is generated from the loaded manifests and the names of
the budget rules, and the text is validated strictly against it before anything else.

Each Cedar policy carries ``@id``; optional ``@clause`` and ``@text``; and, where it
permits under ``context.approved``, ``@approvers``, ``@role`` and ``@expires_s``; there,
too, ``@remind_s("3600")`` and ``@escalate("compliance:7200 admin:10800")``,
and ``@customer_confirms("matched")``: the customer, known so well, says yes as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cedarpy

from broker.core.authorize import APPROVERS_MAX, EXPIRES_S_MAX, Rule, RuleBook
from broker.core.limit import UNCOVERED
from broker.core.words.approval import APPROVALS_PER_HOUR_MAX
from broker.core.words.budget import (
    BudgetRule,
    RateRule,
    Scope,
    Window,
)
from broker.core.words.decision import Quorum, Rung
from broker.core.words.money import is_currency
from broker.core.words.subject import VerificationLevel
from broker.registry.policy.cedar_text import RULES_MAX, PolicyError, check_text
from broker.registry.policy.schema import schema_text
from broker.registry.policy.slices import looks, slices

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cedarpy import pst

    from broker.registry.tools import Tool

__all__ = ["PolicyError", "approvals_per_hour", "limits_of", "rule_book"]

LIMITS_MAX = 32
"""Most rates, and most budgets, of one policy: each costs every action something."""

RESERVED_NAMES = frozenset({"standing", UNCOVERED})


def rule_book(body: Mapping[str, Any], tools: Iterable[Tool]) -> RuleBook:
    """Parse and strictly validate a policy.

    Raises:
        PolicyError: text too long, syntax or type error, a rule without an id or with
            somebody else's id, or an approval rule that does not say who must sign.
    """
    cedar = body["cedar"]
    check_text(cedar, name="policy")
    units = {rule["id"]: rule["unit"] for rule in body.get("budgets", [])}
    counts = frozenset(name for name, unit in units.items() if not is_currency(unit))
    sums = units.keys() - counts
    tools = tuple(tools)
    try:
        schema = cedarpy.Schema.from_str(schema_text(tools, sums=sums, counts=counts))
        parsed = cedarpy.policies_to_pst(cedar)
    except ValueError as error:
        msg = f"the policy does not parse: {error}"
        raise PolicyError(msg) from error
    checked = cedarpy.validate_policies(cedar, schema)
    if not checked.validation_passed:
        first = checked.errors[0]
        name = checked.id_annotations_by_policy_id.get(first.policy_id, "")
        msg = f"rule {name or first.policy_id}: {first.error}"
        raise PolicyError(msg, rule=name)
    rules = _rules(parsed)
    texts = tuple(parsed.static_policies.values())
    return RuleBook(
        version=int(body["version"]),
        slices=slices(texts, tools, totals=units.keys()),
        actions=cedarpy.Entities.from_json_str("[]", schema),
        rules=rules,
        totals=frozenset(units),
        reads=looks(texts, totals=units.keys())[1],
        counts=counts,
        hold=_quorum(body["hold"], where="hold"),
    )


def _rules(parsed: pst.PolicySet) -> dict[str, Rule]:
    rules: dict[str, Rule] = {}
    if parsed.templates:
        msg = "templates are not used here; write each rule out"
        raise PolicyError(msg)
    for policy in parsed.static_policies.values():
        notes = {key: value or "" for key, value in policy.annotations.items()}
        rule_id = notes.get("id", "")
        if not rule_id or rule_id in rules:
            msg = f"each rule needs its own @id; {rule_id!r} is missing or shared"
            raise PolicyError(msg, rule=rule_id)
        quorum = None
        if "approvers" in notes:
            quorum = _quorum(
                {
                    "approvers": notes["approvers"],
                    "role": notes.get("role", ""),
                    "expires_s": notes.get("expires_s", "86400"),
                    "remind_s": notes.get("remind_s", "0"),
                    "escalate": notes.get("escalate", ""),
                    "customer_confirms": notes.get("customer_confirms", ""),
                },
                where=f"rule {rule_id}",
            )
        rules[rule_id] = Rule(
            rule_id, notes.get("clause", ""), notes.get("text", rule_id), quorum
        )
    if len(rules) > RULES_MAX:
        msg = f"more than {RULES_MAX} rules"
        raise PolicyError(msg)
    return rules


def _quorum(raw: Mapping[str, Any], *, where: str) -> Quorum:
    try:
        approvers, expires_s = int(raw["approvers"]), int(raw["expires_s"])
        role = str(raw["role"])
    except (KeyError, ValueError) as error:
        msg = f"{where}: approvers, role and expires_s are needed ({error})"
        raise PolicyError(msg) from error
    if not (1 <= approvers <= APPROVERS_MAX and 1 <= expires_s <= EXPIRES_S_MAX):
        msg = f"{where}: 1..{APPROVERS_MAX} approvers, 1..{EXPIRES_S_MAX} s"
        raise PolicyError(msg)
    if not role:
        msg = f"{where}: a role is needed"
        raise PolicyError(msg)
    try:
        return Quorum(
            approvers_min=approvers,
            role=role,
            expires_s=expires_s,
            remind_s=int(raw.get("remind_s", 0)),
            ladder=_ladder(str(raw.get("escalate", ""))),
            customer=_level(str(raw.get("customer_confirms", ""))),
        )
    except ValueError as error:
        msg = f"{where}: {error}"
        raise PolicyError(msg) from error


def _level(text: str) -> int:
    """Read at which level the customer confirms as well; nothing is not at all."""
    levels = {one.name.lower(): one for one in VerificationLevel if one}
    if text and text not in levels:
        msg = f"customer_confirms is one of {', '.join(levels)}, not {text!r}"
        raise ValueError(msg)
    return int(levels[text]) if text else 0


def _ladder(text: str) -> tuple[Rung, ...]:
    """Read an escalation: roles with the seconds after which they may sign too."""
    rungs = []
    for one in text.split():
        role, _, after_s = one.partition(":")
        if not (after_s.isascii() and after_s.isdecimal()):
            msg = f"escalate is written as role:seconds, not as {one!r}"
            raise ValueError(msg)
        rungs.append(Rung(role, int(after_s)))
    return tuple(rungs)


def approvals_per_hour(body: Mapping[str, Any]) -> int:
    """Return how many yeses of one person a policy lets count within an hour.

    Raises:
        PolicyError: it is no whole number within the limit.
    """
    votes = body.get("votes", {})
    most = votes.get("approvals_per_hour", APPROVALS_PER_HOUR_MAX)
    if type(most) is not int or not 1 <= most <= APPROVALS_PER_HOUR_MAX:
        msg = f"votes: approvals_per_hour is 1 to {APPROVALS_PER_HOUR_MAX}"
        raise PolicyError(msg)
    unknown = sorted(votes.keys() - {"approvals_per_hour"})
    if unknown:
        msg = f"votes: {unknown[0]} is not known here"
        raise PolicyError(msg)
    return most


def limits_of(
    body: Mapping[str, Any],
) -> tuple[tuple[RateRule, ...], tuple[BudgetRule, ...]]:
    """Return the rates and budgets of a policy.

    Raises:
        PolicyError: a rule is malformed; the message names it.
    """
    try:
        rates = tuple(
            RateRule(
                rule_id=raw["id"],
                per=frozenset(Scope(name) for name in raw["per"]),
                requests=raw["requests"],
                period_s=raw["period_s"],
                burst=raw["burst"],
                tools=frozenset(raw.get("tools", [])),
            )
            for raw in body.get("rates", [])
        )
        budgets = tuple(
            BudgetRule(
                rule_id=raw["id"],
                per=frozenset(Scope(name) for name in raw["per"]),
                unit=raw["unit"],
                window=Window(raw["window"]),
                limit=raw.get("limit"),
                tools=frozenset(raw.get("tools", [])),
                object_kind=raw.get("object_kind", ""),
                per_action=raw.get("per_action"),
            )
            for raw in body.get("budgets", [])
        )
    except (KeyError, TypeError, ValueError) as error:
        msg = f"rates or budgets: {error}"
        raise PolicyError(msg) from error
    _own_names([rule.rule_id for rule in rates], what="rates")
    _own_names([rule.rule_id for rule in budgets], what="budgets")
    return rates, budgets


def _own_names(names: Sequence[str], *, what: str) -> None:
    if len(names) > LIMITS_MAX:
        msg = f"{what}: more than {LIMITS_MAX}"
        raise PolicyError(msg)
    taken = {name for name in names if names.count(name) > 1} | (
        RESERVED_NAMES & set(names)
    )
    if taken:
        msg = f"{what}: {min(taken)!r} is used twice, or is a name of ours"
        raise PolicyError(msg)
