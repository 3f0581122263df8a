"""Cut a policy into slices: for each action the rules whose scope can match it.

Cedar looks at a rule's scope before its conditions, and a scope cannot fail to be
evaluated: a rule that is about other actions neither matches nor errs, so leaving it
out changes no answer. What is left is about this action, and need not be asked whether
it is. A test compares the slices with the whole on random policies.

Source: Cedar's authorization semantics (scope before conditions; an answer names all
the rules that forbid, or, if none does, all that permit).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from cedarpy import PolicySet, pst

from broker.core.authorize import Slice
from broker.registry.policy.schema import ATTRIBUTES, COUNTS, SUMS
from broker.registry.policy.tree import looked_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from broker.core.words.tool import Tool

_APPROVED = "approved"
_RECORDS = frozenset({SUMS, COUNTS})


def slices(
    rules: Sequence[pst.Template], tools: Iterable[Tool], *, totals: AbstractSet[str]
) -> dict[str, Slice]:
    """Return the slice of each tool.

    Args:
        rules: All rules of a policy, validated; none is a template.
        tools: The actions.
        totals: The names of the totals that a rule may look at.
    """
    made: dict[tuple[str, ...], Slice] = {}
    found = {}
    for tool in tools:
        fit = [rule for rule in rules if _is_about(rule.action, tool)]
        # Most tools have the same rules as others of their effect.
        key = tuple(rule.id for rule in fit)
        if key not in made:
            made[key] = _slice(fit, totals=totals)
        found[tool.name] = made[key]
    return found


def looks(
    rules: Iterable[pst.Template], *, totals: AbstractSet[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """Return the attributes of the context that rules look at, and the totals."""
    names, fields = looked_at(rules, records=_RECORDS)
    return (
        ATTRIBUTES if names is None else names,
        frozenset(totals if fields is None else fields & totals),
    )


def _slice(rules: Sequence[pst.Template], *, totals: AbstractSet[str]) -> Slice:
    looks_at, reads = looks(rules, totals=totals)
    settled = {
        rule.id: rule
        for rule in rules
        if rule.effect == "forbid" and _APPROVED not in looks([rule], totals=totals)[0]
    }
    again = [rule for rule in rules if rule.id not in settled]
    return Slice(
        rules=_handle(rules),
        signed=_handle(again) if _APPROVED in looks_at else None,
        settled=frozenset(rule.annotations["id"] for rule in settled.values()),
        looks_at=looks_at,
        reads=reads,
    )


def _is_about(scope: pst.ActionConstraint, tool: Tool) -> bool:
    """Return whether a scope is about a tool, which is in the group of its effect."""
    match scope:
        case pst.ScopeAny():
            return True
        case pst.ActionEq(entity=entity):
            return entity.id == tool.name
        case pst.ActionIn(entities=entities):
            names = {entity.id for entity in entities}
            return not names.isdisjoint({tool.name, tool.effect.value})
        case _:
            assert_never(scope)


def _handle(rules: Sequence[pst.Template]) -> PolicySet:
    policies = {rule.id: replace(rule, action=pst.ScopeAny()) for rule in rules}
    nodes = pst.PolicySet(
        templates=pst.FrozenMap(),
        static_policies=pst.FrozenMap(policies),
        template_links=(),
    )
    return PolicySet.from_pst(nodes)
