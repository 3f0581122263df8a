"""Sharing the work: who works on what, and who stands in for whom.

A claim tells others to leave a card alone. It lasts CLAIM_S, and for one person on one
card CLAIM_TOTAL_S_MAX in all; it keeps nobody's no waiting, and nobody's yes after its
end. A deputy gets claims and reminders, and votes
by own right and limit: nothing here hands over any authority.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.approving.voting import asked_of, person_of
from broker.core import approve
from broker.core.approvals.timetable import CLAIM_TOTAL_S_MAX
from broker.core.words.approval import ApprovalState
from broker.core.words.errors import (
    ApprovalClaimedError,
    ConflictError,
    ForbiddenError,
    InvalidError,
)
from broker.core.words.moment import write_moment
from broker.ports.queue import Away, ClaimWord

if TYPE_CHECKING:
    from datetime import datetime

    from broker.core.words.subject import Caller
    from broker.ports import Ports
    from broker.ports.queue import Claimed

AWAY_S_MAX: Final = 60 * 86_400
"""How long somebody can be away, in seconds."""


async def claim(ports: Ports, caller: Caller, approval_id: str) -> Claimed:
    """Take an approval to work on it, or keep it for longer.

    Raises:
        NotFoundError: there is no such approval for this person's roles.
        ForbiddenError: they may not sign it, and so have no work to do on it.
        ApprovalClaimedError: somebody else works on it.
        ConflictError: it has ended, or they work on too many already.
    """
    person = await person_of(ports, caller)
    asked = await asked_of(ports, approval_id, person)
    refusal = approve.may_sign(person, asked.request, at=ports.clock.now())
    if refusal is not None:
        raise ForbiddenError(refusal.text, hint="somebody else must sign this")
    found = await ports.queue.claim(approval_id, person_id=person.person_id)
    match found.word:
        case ClaimWord.CLAIMED:
            return found
        case ClaimWord.HELD:
            until = write_moment(found.until) if found.until else "it ends"
            msg = "somebody else works on this approval"
            raise ApprovalClaimedError(msg, hint=f"wait until {until}")
        case ClaimWord.FULL:
            msg = "you work on as many approvals as one person can"
            raise ConflictError(msg, hint="vote on some, or give some back")
        case ClaimWord.SPENT:
            msg = f"you have worked on this for {CLAIM_TOTAL_S_MAX // 60} minutes"
            raise ConflictError(msg, hint="vote on it; others may by now as well")
        case ClaimWord.CLOSED | ClaimWord.UNKNOWN:
            msg = "this approval has ended"
            raise ConflictError(msg, hint="there is nothing left to sign")


async def release(ports: Ports, caller: Caller, approval_id: str) -> bool:
    """Give a claim back; False if it was not this person's, or has ended.

    Raises:
        ForbiddenError: the caller is no active person.
    """
    person = await person_of(ports, caller)
    return await ports.queue.release(approval_id, person_id=person.person_id)


async def away(ports: Ports, caller: Caller) -> Away | None:
    """Return until when this person is away, and who stands in; None if they are not.

    Raises:
        ForbiddenError: the caller is no active person.
    """
    person = await person_of(ports, caller)
    return await ports.queue.away(person.person_id)


async def leave(ports: Ports, caller: Caller, *, deputy: str, until: datetime) -> int:
    """Go away until a moment: claims and reminders go to a deputy with a same role.

    Returns how many claims were handed over; those that the deputy may not sign are
    given back for everybody.

    Raises:
        InvalidError: the moment has passed or is too far, or there is no such deputy.
    """
    person = await person_of(ports, caller)
    people = await ports.authority.approvers()
    other, now = people.get(deputy), ports.clock.now()
    if not 0 < (until - now).total_seconds() <= AWAY_S_MAX:
        msg = f"be away for up to {AWAY_S_MAX // 86_400} days from now"
        raise InvalidError(msg, pointer="/until")
    if (
        other is None
        or not other.active
        or other.person_id == person.person_id
        or other.roles.isdisjoint(person.roles)
    ):
        msg = "a deputy is another active person with one of your roles"
        raise InvalidError(msg, pointer="/deputy")
    if await ports.queue.away(deputy) is not None:
        msg = "this person is away as well"
        raise InvalidError(msg, hint="name somebody who is here", pointer="/deputy")
    gone = Away(person.person_id, deputy, until)
    await ports.queue.set_away(person.person_id, gone)
    handed = 0
    for one in await ports.queue.claims(person.person_id):
        role = one.role if one.role in other.roles else ""
        limit = other.limits.get(one.amount.currency, 0) if one.amount else 0
        fits = one.amount is None or one.amount.minor_units <= limit
        may = bool(role or one.escalated & other.roles) and deputy not in one.barred
        to = deputy if may and fits and one.state is ApprovalState.PENDING else ""
        moved = await ports.queue.release(
            one.approval_id, person_id=person.person_id, to=to
        )
        handed += bool(to) and moved
    return handed


async def come_back(ports: Ports, caller: Caller) -> None:
    """End an absence; what was handed over stays where it is.

    Raises:
        ForbiddenError: the caller is no active person.
    """
    person = await person_of(ports, caller)
    await ports.queue.set_away(person.person_id, None)
