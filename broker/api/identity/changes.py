"""Changes of authority: who asks, what becomes of the row, what ends with it, why.

Narrowing ends what was issued before, in the same transaction: a token that was good
for more must not outlive the change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from broker.api.identity.evidence import entry_of
from broker.core.words.entry import EntryKind
from broker.core.words.errors import InvalidError, NotFoundError
from broker.registry.agents import agent_body, parse_agent
from broker.registry.authority import AuthorityRow
from broker.registry.changes.proposals import (
    CHANGE_DAYS_MAX,
    CHANGE_KIND,
    parse_proposal,
)
from broker.registry.channels import parse_channel
from broker.registry.emergency import kill_switch
from broker.registry.limits.beside import parse_limit
from broker.registry.limits.release import RELEASE_KIND, parse_release
from broker.registry.notices.subscriptions import parse_subscription
from broker.registry.people import parse_person, person_body
from broker.registry.reading import RowError
from broker.registry.records import Change
from broker.registry.standing import parse_standing_approval
from broker.registry.use_cases import parse_use_case
from broker.registry.vigilance.rows import (
    RIGHT_KIND,
    SWITCH_KIND,
    parse_canaries,
    parse_right,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from broker.api.identity.desk import Desk
    from broker.registry.agents import AgentRow
    from broker.registry.emergency.kill_switch import KillSwitch
    from broker.registry.people import PersonRow

_PARSERS: Final[Mapping[str, Callable[[AuthorityRow], object]]] = {
    "agent": parse_agent,
    CHANGE_KIND: parse_proposal,
    "channel": parse_channel,
    kill_switch.KIND: kill_switch.parse_kill_switch,
    "person": parse_person,
    "standing_approval": parse_standing_approval,
    "limit": parse_limit,
    RELEASE_KIND: parse_release,
    "use_case": parse_use_case,
    "subscription": parse_subscription,
    SWITCH_KIND: parse_canaries,
    RIGHT_KIND: parse_right,
}


@dataclass(frozen=True, slots=True)
class Why:
    """Who changes something, what they call it, and their reason.

    ``seconded`` is the other person, where it takes two.
    """

    actor: PersonRow
    what: str
    reason: str = ""
    narrows: bool = False
    seconded: str = ""


async def the_agent(desk: Desk, agent_id: str) -> AgentRow:
    """Return an agent.

    Raises:
        NotFoundError: There is none whose row verifies.
    """
    row = await desk.registry.get("agent", agent_id)
    try:
        if row is not None:
            return parse_agent(row)
    except RowError:
        pass
    msg = "there is no such agent"
    raise NotFoundError(msg)


async def the_person(desk: Desk, person_id: str) -> PersonRow:
    """Return a person.

    Raises:
        NotFoundError: There is none whose row verifies.
    """
    person = await desk.identities.person(person_id)
    if person is None:
        msg = "there is no such person"
        raise NotFoundError(msg)
    return person


async def who_asked(
    desk: Desk, person_id: str, *, at: datetime | None
) -> PersonRow | None:
    """Return who asked for something that takes two, as they are now.

    None if nobody did, they are gone, or it was CHANGE_DAYS_MAX ago: then it counts no
    more, because whoever confirms it may not know what it was about.
    """
    if not person_id or at is None:
        return None
    if desk.clock.now() >= at + timedelta(days=CHANGE_DAYS_MAX):
        return None
    return await desk.identities.person(person_id)


async def save_agent(desk: Desk, agent: AgentRow, why: Why) -> AgentRow:
    """Sign and store a changed agent; ``revision`` is what it was changed from.

    Raises:
        ConflictError: Somebody else changed it meanwhile.
    """
    row = draft(desk, why, "agent", agent.agent_id, agent_body(agent))
    return parse_agent(await _save(desk, replace(row, revision=agent.revision), why))


async def save_person(desk: Desk, person: PersonRow, why: Why) -> PersonRow:
    """Sign and store a changed person; ``revision`` is what it was changed from.

    Raises:
        ConflictError: Somebody else changed it meanwhile.
    """
    row = draft(desk, why, "person", person.person_id, person_body(person))
    return parse_person(await _save(desk, replace(row, revision=person.revision), why))


async def the_switch(desk: Desk) -> KillSwitch:
    """Return the kill switch; one that nobody ever used is off.

    Raises:
        RowError: Its row verifies and says nothing: then everything is stopped, and
            only stopping again mends it.
    """
    row = await desk.registry.get(kill_switch.KIND, kill_switch.ROW_ID)
    return kill_switch.parse_kill_switch(row) if row else kill_switch.KillSwitch()


async def save_switch(desk: Desk, switch: KillSwitch, why: Why) -> KillSwitch:
    """Sign and store the kill switch; throwing it ends every token there is.

    Raises:
        ConflictError: Somebody else changed it meanwhile.
    """
    body = kill_switch.kill_switch_body(switch)
    row = draft(desk, why, kill_switch.KIND, kill_switch.ROW_ID, body)
    by = (*row.by, f"person:{why.seconded}") if why.seconded else row.by
    row = replace(row, revision=switch.revision, by=by)
    return kill_switch.parse_kill_switch(await _save(desk, row, why))


async def revoke_instance(desk: Desk, agent: AgentRow, instance: str, why: Why) -> None:
    """End one running copy of an agent: its key gets no further than now."""
    detail = _detail(why) | {
        "subject": f"agent:{agent.agent_id}",
        "scopes": [f"instance:{instance}"],
    }
    entry = entry_of(desk, EntryKind.REVOCATION, detail)
    await desk.registry.revoke([f"instance:{instance}"], entry)


async def save_row(
    desk: Desk,
    why: Why,
    *,
    place: tuple[str, str, int],
    body: Mapping[str, Any],
    also_by: Sequence[str] = (),
) -> AuthorityRow:
    """Sign and store a row of another kind.

    Args:
        desk: The desk.
        why: Who changes it, and why.
        place: Its kind and id, and the revision that it was changed from.
        body: Its new body.
        also_by: Ids of people who signed with them.

    Raises:
        InvalidError: A field is out of range.
        ConflictError: Somebody else changed it meanwhile.
    """
    kind, row_id, revision = place
    row = draft(desk, why, kind, row_id, body)
    by = [f"person:{one}" for one in also_by if one != why.actor.person_id]
    return await _save(desk, replace(row, revision=revision, by=(*by, *row.by)), why)


def draft(
    desk: Desk, why: Why, kind: str, row_id: str, body: Mapping[str, Any]
) -> AuthorityRow:
    """Return a row to be signed; it still has to get the revision it comes from.

    Raises:
        InvalidError: A field is out of range. What cannot be read must not be signed.
    """
    row = AuthorityRow(
        kind=kind,
        row_id=row_id,
        revision=0,
        at=desk.clock.now(),
        by=(f"person:{why.actor.person_id}",),
        tenant=desk.tenant,
        environment=desk.environment,
        body=body,
    )
    try:
        _PARSERS[kind](row)
    except RowError as error:
        raise InvalidError(str(error)) from None
    return row


async def _save(desk: Desk, row: AuthorityRow, why: Why) -> AuthorityRow:
    scopes = (_scope(desk, row),) if why.narrows else ()
    before = await desk.registry.get(row.kind, row.row_id)
    detail = _detail(why) | {
        "kind": row.kind,
        "id": row.row_id,
        "after_revision": row.revision,
        "signed_by": list(row.by),
        "changed": _difference(before.body if before else {}, row.body),
        "scopes": list(scopes),
    }
    change = Change(
        kind=row.kind,
        row_id=row.row_id,
        body=row.body,
        by=row.by,
        at=row.at,
        after=row.revision,
        revokes=scopes,
    )
    return await desk.registry.put(change, entry_of(desk, EntryKind.AUTHORITY, detail))


def _scope(desk: Desk, row: AuthorityRow) -> str:
    """Return what ends with a narrower row: its subject, or everybody's tokens."""
    if row.kind == kill_switch.KIND:
        return f"global:{desk.environment}"
    return f"{row.kind}:{row.row_id}"


def _detail(why: Why) -> dict[str, Any]:
    seconded = {"seconded_by": f"person:{why.seconded}"} if why.seconded else {}
    return seconded | {
        "what": why.what,
        "by": f"person:{why.actor.person_id}",
        "reason": why.reason or None,
    }


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that change; names and signatures stay out, keys go by kid."""
    return {
        name: [_shown(name, old.get(name)), _shown(name, value)]
        for name, value in new.items()
        if old.get(name) != value and name not in {"name", "signatures"}
    }


def _shown(name: str, value: Any) -> Any:  # noqa: ANN401  (a field of a body)
    if name == "keys" and value is not None:
        return [key["kid"] for key in value]
    if name == "body" and value is not None:
        # What a change would sign: shown like a row of its own.
        return {one: _shown(one, value[one]) for one in value if one != "name"}
    return value
