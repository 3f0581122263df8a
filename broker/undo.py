"""A person has an action taken back: another action, on the same path as all of them.

The manifest names the tool that undoes, and what its arguments are made from: decided
arguments, and values of the edge's signed receipt. What is ordered is decided by
policy, takes its own budgets, is signed by people (never by the one who ordered it, nor
by the agent's owner), and is executed once. Nothing here happens by itself. The person
orders it in their own name (broker/ordered.py): the agent may be revoked by then.

Source: DESIGN, chapters 2 and 3 (invariants 5 and 7); docs/adr/0018.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from broker import flow
from broker.case import Ask
from broker.core.jwk import JwsError
from broker.core.jws import claims_of, unpack
from broker.core.words.action import ActionKind, ActionState
from broker.core.words.errors import ConflictError, ForbiddenError, NotFoundError
from broker.ordered import Undoing, may_order, recorded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.words.action import ActionRecord
    from broker.core.words.subject import Caller
    from broker.core.words.tool import Undo
    from broker.flow import Answer
    from broker.ports import Ports

UNDOS_MAX: Final = 20
"""How often it may be asked for to undo one action."""

_PLACE = re.compile(r"\{(args|receipt)\.([A-Za-z_][A-Za-z0-9_]*)\}")
_VAIN = frozenset(
    {
        ActionState.REFUSED,
        ActionState.FAILED,
        ActionState.CANCELLED,
        ActionState.EXPIRED,
    }
)


async def undo(ports: Ports, who: Caller, action_id: str, *, reason: str) -> Answer:
    """Ask in a person's name for what takes this action back.

    While one undo of it is live, or done, asking again gives that one.

    Raises:
        NotFoundError: There is no such action for this person's roles.
        ForbiddenError: The caller is no active person.
        ConflictError: It is not done, or cannot be undone; the text says why.
    """
    person = (await ports.authority.approvers()).get(who.subject_id)
    if person is None or not person.active:
        msg = "only people who are registered here have actions undone"
        raise ForbiddenError(msg)
    record = await recorded(ports, action_id)
    if record is None or not may_order(person, record):
        msg = "there is no such action for you"
        raise NotFoundError(msg)
    declared = _declared(ports, record)
    arguments = _arguments(record, declared)
    earlier = await ports.unknown.undos(action_id)
    vain = sum(state in _VAIN for _, state in earlier)
    if vain >= UNDOS_MAX:
        msg = f"it was asked for {UNDOS_MAX} times to undo it"
        raise ConflictError(msg, hint="take it back at the upstream, by hand")
    ask = Ask(
        caller=who,
        tool=declared.tool,
        arguments=arguments,
        interaction_id=record.request.interaction_id,
        reason=reason,
        idempotency_key=f"{action_id}:{vain}",
        undo=Undoing(record, person.person_id),
    )
    return await flow.submit(ports, ask)


def _declared(ports: Ports, record: ActionRecord) -> Undo:
    tool = ports.shelf.tool(record.request.tool)
    if record.simulated:
        msg = "this is simulated history: it never happened"
        raise ConflictError(msg, hint="undo an action that was executed")
    if record.state is not ActionState.DONE:
        msg = f"only what is done can be undone; this is {record.state.value}"
        raise ConflictError(msg)
    if record.request.kind is ActionKind.UNDO:
        msg = "what took something back is not taken back"
        raise ConflictError(msg, hint="ask for the first action again")
    if tool is None or tool.undo is None:
        msg = "its tool declares no undo"
        raise ConflictError(msg, hint="take it back at the upstream, by hand")
    if tool.digest != record.manifest:
        msg = "its tool was changed since, and its receipt cannot be read by that"
        raise ConflictError(msg, hint="take it back at the upstream, by hand")
    return tool.undo


def _arguments(record: ActionRecord, declared: Undo) -> Mapping[str, Any]:
    """Fill the undo's arguments; a decided argument that was not given is left out."""
    values = _receipt_values(record)
    filled: dict[str, Any] = {}
    for name, template in declared.arguments.items():
        place = _PLACE.fullmatch(template)
        if place is None:
            filled[name] = template
        elif place[1] == "args":
            if place[2] in record.request.arguments:
                filled[name] = record.request.arguments[place[2]]
        elif values.get(place[2]) is None:
            msg = f"the signed receipt does not say {place[2]!r}"
            raise ConflictError(msg, hint="take it back at the upstream, by hand")
        else:
            filled[name] = values[place[2]]
    return filled


def _receipt_values(record: ActionRecord) -> Mapping[str, Any]:
    """Return the values of the receipt that was verified before it was sealed."""
    signed = record.outcome.receipt if record.outcome else ""
    try:
        values = claims_of(unpack(signed)).get("values", {}) if signed else {}
    except JwsError:
        return {}
    return values if isinstance(values, dict) else {}
