"""Changes that take two people: asked for, looked at, approved or rejected.

Everything that was checked when one person asked is checked again when the other one
approves: roles, owners and use cases may have changed meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from broker.api.identity.changes import (
    Why,
    draft,
    save_row,
    the_agent,
    the_person,
)
from broker.api.identity.shown import agent_json, channel_json, person_json
from broker.api.identity.widening import checks
from broker.core.words.errors import ConflictError, NotFoundError
from broker.core.words.moment import write_moment
from broker.registry.agents import (
    agent_body,
    parse_agent,
    with_delegate,
    with_new_key,
)
from broker.registry.authority import AuthorityRow
from broker.registry.changes.proposals import (
    CHANGE_KIND,
    ChangeStatus,
    Proposal,
    approved,
    change_id,
    parse_proposal,
    proposal_body,
    rejected,
)
from broker.registry.channels import parse_channel
from broker.registry.people import (
    check_may_change_person,
    check_may_narrow,
    check_may_widen,
    parse_person,
)
from broker.registry.reading import RowError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.api.identity.desk import Desk
    from broker.registry.agents import AgentRow
    from broker.registry.people import PersonRow

NEW_KEY: Final = "agent.add_key"
DELEGATE: Final = "agent.delegate"


async def propose(
    desk: Desk,
    why: Why,
    *,
    place: tuple[str, str, int],
    body: Mapping[str, Any],
    overlap_s: int = 0,
) -> dict[str, Any]:
    """Keep a change until a second person has decided about it; return it.

    Args:
        desk: The desk.
        why: Who asks, for what, and why.
        place: Kind and id of the row, and the revision that it would be made from.
        body: The row as it would be.
        overlap_s: How long the present key goes on beside a new one.

    Raises:
        InvalidError: A field is out of range.
        ConflictError: Another change of the same row waits.
    """
    kind, row_id, after = place
    draft(desk, why, kind, row_id, body)
    await checks.check_keys(desk, kind, row_id, body)
    proposal = Proposal(
        what=why.what,
        kind=kind,
        row_id=row_id,
        after=after,
        body=body,
        asked_by=why.actor.person_id,
        asked_at=desk.clock.now(),
        reason=why.reason,
        narrows=why.narrows,
        overlap_s=overlap_s,
    )
    before = await _found(desk, proposal.change_id)
    if before is not None and before.waits(now=desk.clock.now(), revision=after):
        msg = "another change of this waits for a second person"
        hint = f"counterfoil changes approve {proposal.change_id}, or reject it"
        raise ConflictError(msg, hint=hint)
    asked = replace(proposal, revision=before.revision if before else 0)
    return await _shown(desk, await _save(desk, asked, replace(why, what="change.ask")))


async def propose_agent(
    desk: Desk, agent: AgentRow, why: Why, *, overlap_s: int = 0
) -> dict[str, Any]:
    """Ask for an agent's row to become this; ``revision`` is what it is made from."""
    place = ("agent", agent.agent_id, agent.revision)
    body = agent_body(agent)
    return await propose(desk, why, place=place, body=body, overlap_s=overlap_s)


async def changes(desk: Desk) -> list[dict[str, Any]]:
    """Return the changes that wait, the earliest asked first."""
    found = []
    for row in await desk.registry.list(CHANGE_KIND):
        try:
            proposal = parse_proposal(row)
        except RowError:
            continue
        if await _waits(desk, proposal):
            found.append(proposal)
    found.sort(key=lambda one: (one.asked_at, one.change_id))
    return [await _shown(desk, one) for one in found]


async def one_change(desk: Desk, wanted: str) -> dict[str, Any]:
    """Return one change, whatever became of it.

    Raises:
        NotFoundError: There is none whose row verifies.
    """
    return await _shown(desk, await _the(desk, wanted))


async def approve(
    desk: Desk, actor: PersonRow, wanted: str, *, seen: int, reason: str
) -> dict[str, Any]:
    """Make a change true, as the second person; return it.

    Args:
        desk: The desk.
        actor: The second person.
        wanted: The change's id, which the next change of the same row has as well.
        seen: The revision that they looked at.
        reason: Why.

    Raises:
        NotFoundError: There is none whose row verifies.
        ForbiddenError: This person may not, or who asked for it may not any more.
        ConflictError: It has ended, waited too long, or its target has changed.
        InvalidError: What was asked for is not possible any more.
    """
    proposal = await _the(desk, wanted)
    if proposal.revision != seen:
        msg = "another change has taken the place of the one that was looked at"
        raise ConflictError(msg, hint=f"counterfoil changes show {wanted}")
    now = desk.clock.now()
    target = await desk.registry.get(proposal.kind, proposal.row_id)
    ended = approved(
        proposal,
        actor,
        now=now,
        revision=target.revision if target else 0,
        interested=await _interested(desk, proposal, target),
    )
    body = await _checked(desk, proposal)
    asker = await the_person(desk, proposal.asked_by)
    why = Why(
        actor,
        proposal.what,
        proposal.reason or reason,
        narrows=proposal.narrows,
        seconded=asker.person_id,
    )
    place = (proposal.kind, proposal.row_id, proposal.after)
    await save_row(desk, why, place=place, body=body, also_by=(asker.person_id,))
    # If we die here, the change is true and still says that it is open; it cannot be
    # approved again, because its target has moved on.
    await _save(desk, ended, Why(actor, "change.approve", reason))
    return await _shown(desk, ended)


async def reject(
    desk: Desk, actor: PersonRow, wanted: str, reason: str
) -> dict[str, Any]:
    """Refuse a change, or take one's own back; return it.

    Raises:
        NotFoundError: There is none whose row verifies.
        ForbiddenError: This person may not.
        ConflictError: It has ended.
    """
    ended = rejected(await _the(desk, wanted), actor)
    return await _shown(
        desk, await _save(desk, ended, Why(actor, "change.reject", reason))
    )


async def _checked(desk: Desk, proposal: Proposal) -> Mapping[str, Any]:
    """Return the body to sign, after everything was checked again."""
    asker = await the_person(desk, proposal.asked_by)
    row = draft(
        desk, Why(asker, proposal.what), proposal.kind, proposal.row_id, proposal.body
    )
    await checks.check_keys(desk, proposal.kind, proposal.row_id, proposal.body)
    if proposal.kind == "channel":
        check_may_narrow(asker)
        return proposal.body
    if proposal.kind == "person":
        if proposal.narrows:
            check_may_narrow(asker)
        else:
            check_may_change_person(asker, proposal.row_id)
        return proposal.body
    agent = parse_agent(row)
    check_may_widen(asker, agent)
    await checks.check_owner(desk, agent.owner)
    await checks.check_use_case(desk, agent)
    if proposal.what == DELEGATE:
        present = await the_agent(desk, proposal.row_id)
        (fresh_id,) = agent.delegates - present.delegates
        other = await the_agent(desk, fresh_id)
        check_may_widen(asker, other)
        return agent_body(with_delegate(present, other))
    if proposal.what == NEW_KEY:
        # The overlap begins now: when the key was asked for, nobody could use it yet.
        present = await the_agent(desk, proposal.row_id)
        kids = {slot.key.kid for slot in present.keys}
        (fresh,) = (slot for slot in agent.keys if slot.key.kid not in kids)
        now, overlap_s = desk.clock.now(), proposal.overlap_s
        return agent_body(with_new_key(present, fresh, now=now, overlap_s=overlap_s))
    return proposal.body


async def _interested(
    desk: Desk, proposal: Proposal, target: AuthorityRow | None
) -> set[str]:
    """Return who gains: the person, or owners of the agent and of its new delegates."""
    if proposal.kind == "person":
        return {proposal.row_id}
    before: Mapping[str, Any] = target.body if target else {}
    owners = {str(body["owner"]) for body in (proposal.body, before) if "owner" in body}
    fresh = {*proposal.body.get("delegates", ())} - {*before.get("delegates", ())}
    return owners | {(await the_agent(desk, one)).owner for one in fresh}


async def _save(desk: Desk, proposal: Proposal, why: Why) -> Proposal:
    place = (CHANGE_KIND, proposal.change_id, proposal.revision)
    row = await save_row(desk, why, place=place, body=proposal_body(proposal))
    return replace(proposal, revision=row.revision)


async def _found(desk: Desk, wanted: str) -> Proposal | None:
    row = await desk.registry.get(CHANGE_KIND, wanted)
    try:
        return parse_proposal(row) if row is not None else None
    except RowError:
        return None


async def _the(desk: Desk, wanted: str) -> Proposal:
    found = await _found(desk, wanted)
    if found is None:
        msg = "there is no such change"
        raise NotFoundError(
            msg, hint="`counterfoil changes list` shows those that wait"
        )
    return found


async def _waits(desk: Desk, proposal: Proposal) -> bool:
    target = await desk.registry.get(proposal.kind, proposal.row_id)
    revision = target.revision if target else 0
    return proposal.waits(now=desk.clock.now(), revision=revision)


async def _shown(desk: Desk, proposal: Proposal) -> dict[str, Any]:
    status = proposal.status.value
    if proposal.status is ChangeStatus.OPEN and not await _waits(desk, proposal):
        status = "void"
    would_be = _would_be(desk, proposal)
    return {
        "change": change_id(proposal.kind, proposal.row_id),
        "revision": proposal.revision,
        "status": status,
        "what": proposal.what,
        "kind": proposal.kind,
        "id": proposal.row_id,
        "name": would_be["name"],
        "asked_by": proposal.asked_by,
        "asked_at": write_moment(proposal.asked_at),
        "expires_at": write_moment(proposal.expires_at),
        "ended_by": proposal.ended_by or None,
        "reason": proposal.reason,
        "would_be": would_be,
    }


def _would_be(desk: Desk, proposal: Proposal) -> dict[str, Any]:
    """Return the row as it would be, as people see such rows."""
    row = AuthorityRow(
        kind=proposal.kind,
        row_id=proposal.row_id,
        revision=proposal.after,
        at=proposal.asked_at,
        by=(f"person:{proposal.asked_by}",),
        tenant=desk.tenant,
        environment=desk.environment,
        body=proposal.body,
    )
    if proposal.kind == "agent":
        return agent_json(parse_agent(row))
    if proposal.kind == "channel":
        return channel_json(parse_channel(row))
    return person_json(parse_person(row))
