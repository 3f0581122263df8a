"""The Cedar schema of a policy: made of manifests and the names of its totals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.words.effect import Effect
from broker.registry.policy.cedar_text import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from broker.core.words.tool import Tool

CONTEXT: Final[Mapping[str, str]] = {
    "tier": "Long",
    "amount": "Long",
    "currency": "String",
    "channel": "String",
    "topics": "Set<String>",
    "customer_flags": "Set<String>",
    "locale": "String",
    "verification": "Long",
    "customer_bound": "Bool",
    "proof": "Bool",
    "standing": "Bool",
    "approved": "Bool",
    "findings": "Set<String>",
    "release": "String",
    "hour": "Long",
    "weekday": "Long",
    "chain": "Set<String>",
    "on_behalf_of": "String",
}
"""What a policy may look at, beside the totals."""

SUMS: Final = "sum_within"
COUNTS: Final = "count_within"
ATTRIBUTES: Final = frozenset({*CONTEXT, SUMS, COUNTS})


def schema_text(
    tools: Iterable[Tool],
    *,
    sums: Iterable[str] = (),
    counts: Iterable[str] = (),
    only: AbstractSet[str] = ATTRIBUTES,
) -> str:
    """Return the Cedar schema for these tools and these budget rules.

    Args:
        tools: Each is an action, in the group of its effect.
        sums: Names of budgets and totals of amounts.
        counts: Names of those that count.
        only: The attributes of the context that there are.
    """
    types = {**CONTEXT, SUMS: _record(sums), COUNTS: _record(counts)}
    context = ", ".join(f"{name}: {types[name]}" for name in types if name in only)
    groups = "\n".join(f"action {quoted(effect.value)};" for effect in Effect)
    tools = sorted(tools, key=lambda tool: tool.name)
    # A rule about an effect that no tool has yet is no mistake: give it a member.
    idle = [e.value for e in Effect if e not in {tool.effect for tool in tools}]
    members = [(tool.name, tool.effect.value) for tool in tools]
    members += [(f"no tool: {effect}", effect) for effect in idle]
    actions = "\n".join(
        f"action {quoted(name)} in [{quoted(effect)}] appliesTo "
        "{ principal: Agent, resource: Connector, context: Context };"
        for name, effect in members
    )
    return f"""
type Context = {{ {context} }};
entity Agent = {{
  owner: String, use_case: String, environment: String, tier_max: Long,
  tools: Set<String>
}};
entity Connector;
{groups}
{actions}
"""


def _record(names: Iterable[str]) -> str:
    return f"{{ {', '.join(f'{quoted(name)}: Long' for name in sorted(names))} }}"
