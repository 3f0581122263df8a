"""Say where a manifest lets out, or lets in, more than its effect needs.

A manifest that loads may still be too broad. Each rule here looks at one way, and gives
findings: a code, a sentence, and what to do. `[[accepted]]` in the manifest takes a
finding back, with a reason. Rules look at what a manifest says and never at what
somebody meant; what they cannot see is listed in docs/connectors.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.registry.kit import rules_in, rules_out
from broker.registry.kit.reach import never_shown

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from broker.core.words.tool import Tool
    from broker.registry.kit.rules_in import Told

STALE: Final = "stale-acceptance"
UNSEEN: Final = "never-shown"
_SHOW: Final = "give the id shows = '...' in a tool that lists them for the customer"


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where a manifest is broader than it should be."""

    tool: str
    code: str
    where: str
    says: str
    todo: str


RULES: Final[Mapping[str, tuple[Callable[[Tool], Iterable[Told]], str]]] = {
    "free-path": (
        rules_in.free_path,
        "give it an anchored pattern (^[A-Z][0-9]{7}$) or an enum",
    ),
    "free-query": (
        rules_in.free_query,
        "give it a pattern or an enum, so that a filter cannot become another question",
    ),
    "unbounded-text": (
        rules_in.unbounded_text,
        "give it maxLength, a pattern or an enum",
    ),
    "unbounded-list": (
        rules_in.unbounded_list,
        "give it maxItems, and every object in it additionalProperties = false",
    ),
    "unread-text": (
        rules_in.unread_text,
        "name it in binding.text: guards and approvers look at what stands there",
    ),
    "unbound-object": (
        rules_in.unbound_object,
        "name it in binding.objects with its kind, or in binding.provenance",
    ),
    "hidden-amount": (
        rules_in.hidden_amount,
        "make the effect money and bind amount and currency, or take it out",
    ),
    "amount-range": (
        rules_in.amount_range,
        "make it an integer with minimum = 1 and a maximum",
    ),
    "free-currency": (
        rules_in.free_currency,
        "list the currencies that the upstream takes in an enum",
    ),
    "no-ceiling": (
        rules_in.no_ceiling,
        "name in binding.objects the receipt value that caps it (cap = 'paid')",
    ),
    "wide-method": (
        rules_out.wide_method,
        "use GET, or declare what it can cause",
    ),
    "no-refused": (
        rules_out.no_refused,
        "list the statuses that the upstream documents as 'nothing happened'",
    ),
    "unsure-refused": (
        rules_out.unsure_refused,
        "take it out of refused: the outcome is unknown then, and stays held",
    ),
    "no-key": (
        rules_out.no_key,
        "name the upstream's idempotency header, or accept that it has none",
    ),
    "wide-budget": (
        rules_out.wide_budget,
        "lower requests_max to what one call needs",
    ),
    "wide-answer": (
        rules_out.wide_answer,
        "lower response_bytes_max, or ask the upstream for a smaller page",
    ),
    "any-customer": (
        rules_out.any_customer,
        "set needs_customer, or release only public and internal fields",
    ),
    "customer-not-asked": (
        rules_out.customer_not_asked,
        "put {customer} into the request, or bind the object that it names",
    ),
    "object-not-read": (
        rules_out.object_not_read,
        "point the receipt value 'object' at the id in the answer",
    ),
    "trusted-text": (
        rules_out.trusted_text,
        "label it third_party: whoever wrote it may have written instructions",
    ),
    "secret-released": (
        rules_out.secret_released,
        "do not release it",
    ),
}
"""Every rule by its code, with what to do about a finding."""


def lint(
    tool: Tool,
    *,
    accepted: Mapping[str, str],
    shown: Collection[str] | None = None,
) -> tuple[Finding, ...]:
    """Return what is too broad in a tool and not accepted, in the order of the rules.

    Args:
        tool: A manifest that loads.
        accepted: Reasons by code, or by ``code:where`` for one place alone.
        shown: Kinds of object that the whole catalogue can show; without it nobody
            looks whether what the tool names is ever shown.
    """
    findings: list[Finding] = []
    used: set[str] = set()
    told = [
        (code, where, says, todo)
        for code, (rule, todo) in RULES.items()
        for where, says in rule(tool)
    ]
    if shown is None:
        used |= {name for name in accepted if name.partition(":")[0] == UNSEEN}
    else:
        told += [(UNSEEN, *one, _SHOW) for one in never_shown(tool, shown)]
    for code, where, says, todo in told:
        names = {code, f"{code}:{where}"} & set(accepted)
        used |= names
        if not names:
            findings.append(Finding(tool.name, code, where, says, todo))
    findings.extend(
        Finding(
            tool.name,
            STALE,
            name,
            "is accepted, and there is no such finding",
            "take it out of [[accepted]]",
        )
        for name in sorted(set(accepted) - used)
    )
    return tuple(findings)
