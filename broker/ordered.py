"""What a person orders in their own name: the authority that an undo stands on.

An undo takes back what an agent did, and is wanted most where that agent was hijacked
and then revoked. So it stands on the person's authority and not on the agent's: what
voids their token voids it, their standing is looked at again before anything is sent,
and what is counted for each agent is counted for them. Of the agent's signed row,
active or not, only what people need is taken: its use case, and its owner, who may not
sign.

Source: docs/adr/0018.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from broker.core.approvals.resolutions import role_of
from broker.core.words.action import ActionKind
from broker.core.words.decision import Reason
from broker.core.words.effect import Tier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.words.action import ActionRecord
    from broker.core.words.approval import Approver
    from broker.ports import AuthorityView, Ports

SEES_ALL: Final = frozenset({"security", "admin"})
_NOT_THEIRS = Reason("orderer_inactive", "whoever ordered this may not any more")


@dataclass(frozen=True, slots=True)
class Undoing:
    """Which action a person wants taken back."""

    of: ActionRecord
    person_id: str

    @property
    def action_id(self) -> str:
        """Return its id."""
        return self.of.request.action_id


def may_order(person: Approver | None, of: ActionRecord) -> bool:
    """Return whether this person may have that action taken back."""
    if person is None or not person.active:
        return False
    return role_of(of) in person.roles or bool(person.roles & SEES_ALL)


async def view_of(
    ports: Ports, undoing: Undoing, scopes: Sequence[str], *, tool: str
) -> AuthorityView | Reason:
    """Return what holds now for an order, or why that person may not give it.

    The grant is the one tool that the undone action's tool declares. No standing
    approval covers it: it was signed for what agents ask.
    """
    people = await ports.authority.approvers()
    if not may_order(people.get(undoing.person_id), undoing.of):
        return _NOT_THEIRS
    agent_id = undoing.of.requester.agent_id
    view = await ports.authority.view(agent_id, scopes, ended=True)
    if view.agent is None:
        return view
    granted = replace(view.agent, tools=frozenset({tool}), tier_max=int(max(Tier)))
    return replace(view, agent=granted, standing=())


async def view_again(
    ports: Ports, stored: ActionRecord, scopes: Sequence[str]
) -> AuthorityView | Reason:
    """Return the same for an order that was stored, from signed rows of now."""
    of = await recorded(ports, stored.request.reversal_of)
    if of is None:
        return Reason("original_gone", "what it takes back cannot be read any more")
    undoing = Undoing(of, stored.request.asked_by)
    return await view_of(ports, undoing, scopes, tool=stored.request.tool)


def is_order(stored: ActionRecord) -> bool:
    """Return whether a person ordered this, and no agent has a part in it."""
    return stored.request.kind is ActionKind.UNDO


async def recorded(ports: Ports, action_id: str) -> ActionRecord | None:
    """Return an action, None if there is none, or if what it said was erased."""
    try:
        return await ports.store.action(action_id)
    except LookupError:
        return None
