"""What parameters of paths and queries mean; those that say so themselves keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_MEANINGS: Final[Mapping[tuple[str, str], str]] = {
    ("path", "action_id"): "Id of an action, as its first answer gave it.",
    ("path", "interaction_id"): "Id of a conversation, as its opening gave it.",
    ("path", "approval_id"): "Id of an approval, or of a standing approval, in a list.",
    ("path", "agent_id"): "Id of an agent, in the list of agents.",
    ("path", "instance_id"): "Id of a running copy of an agent, on the agent's row.",
    ("path", "kid"): "Id of a key: its thumbprint (RFC 7638).",
    ("path", "person_id"): "Id of a person, in the list of people.",
    ("path", "channel_id"): "Id of a channel, in the list of channels.",
    ("path", "change_id"): "Id of a change that waits, or waited, for a second person.",
    ("path", "use_case"): "Name of a use case.",
    ("path", "subscription_id"): "Id of a subscription, in the list of notifications.",
    ("path", "number"): "Number of a version of the policy.",
    ("path", "budget_id"): "Id of a budget, in the list of budgets.",
    ("path", "rule_id"): "Id of a budget's rule in the policy, like agent-day.",
    ("query", "path"): "Path of the resource; left out, the API for tools.",
    ("query", "limit"): "How many at most.",
    ("query", "wait_s"): "Seconds to wait for a change before answering as it is.",
    ("query", "order"): "By expiry, the next first; or by amount, the largest first.",
    ("query", "customer_ref"): "Only this customer, by the reference that lists show.",
    ("query", "agent"): "Only this agent, by its id.",
    ("query", "tool"): "Only this tool, by its name.",
    ("query", "cursor"): "`next_cursor` of the page before; left out, the first page.",
    ("query", "days"): "How many days back.",
    ("query", "budget"): "Only this budget, by its id or the beginning of it.",
    ("query", "rule"): "Only budgets of this rule.",
    ("query", "frozen"): "Only those that are frozen, or are not.",
    ("query", "action"): "Only this action, by its id.",
    ("query", "state"): "Only those in this state.",
    ("header", "idempotency-key"): "A new one makes an intended second action of the "
    "same call; without one, the same call is the same action.",
}


def describe(operation: Mapping[str, Any]) -> None:
    """Put into an operation what its parameters mean."""
    for one in operation.get("parameters", ()):
        meaning = _MEANINGS.get((one["in"], one["name"]))
        if meaning is not None:
            one.setdefault("description", meaning)
