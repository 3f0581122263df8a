"""The console's part of approvals: votes that the broker signs for a signed-in person.

A vote from the console goes the way of every vote (voting.cast): the same digest,
the same card, the same people who may not sign, the same limits and quorum, and it is
verified again at settlement. Only its signature is another: it is the broker's, with a
``typ`` of its own, names the session, and carries how strongly that was signed in. It
counts where the person's signed row lets the console vote for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from broker.approving import voting
from broker.approving.views import Onlooker
from broker.core.approvals.votes import vote_claims
from broker.core.jws import sign
from broker.core.words.approval import Vote, VoteWord
from broker.core.words.errors import ApprovalStaleError, ForbiddenError, NotFoundError

if TYPE_CHECKING:
    from broker.approving.voting import Counted
    from broker.core.identity.tickets import Ticket
    from broker.core.words.subject import Caller
    from broker.ports import OnDesk, Ports

ENDED_SHOWN_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class Choice:
    """What a person chose on a card: ``digest`` and ``shown`` are the card's."""

    approval_id: str
    word: VoteWord
    digest: str
    shown: str
    reason: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A card as the console shows it.

    ``card`` is None when the action cannot be executed any more: ``stale`` says why.
    """

    desk: OnDesk
    card: dict[str, Any] | None
    stale: str = ""


async def vote(
    ports: Ports, caller: Caller, session: Ticket, choice: Choice
) -> Counted:
    """Sign a vote on behalf of the person in this session, and count it.

    Raises:
        ForbiddenError: console votes do not count here, or not for this person.
        BrokerError: as of ``voting.cast``.
    """
    voter = await ports.desk.voter(caller.subject_id)
    if ports.console_key is None or not voter.console:
        msg = "the console may not sign votes for you"
        hint = "sign with your own key: `counterfoil approvals approve`"
        raise ForbiddenError(msg, hint=hint)
    one = Vote(
        vote_id=ports.ids.new(),
        approval_id=choice.approval_id,
        person_id=caller.subject_id,
        word=choice.word,
        digest=choice.digest,
        shown=choice.shown,
        strength=session.strength,
        reason=choice.reason,
        at=ports.clock.now(),
        session=session.ticket_id,
    )
    signed = sign(vote_claims(one), key=ports.console_key, typ=one.typ)
    return await voting.cast(ports, caller, choice.approval_id, signed)


async def reject(
    ports: Ports, caller: Caller, session: Ticket, approval_id: str, *, reason: str
) -> Counted:
    """Sign a no to what is asked now, of which its row in the queue was shown.

    Raises:
        ApprovalStaleError: the action cannot be executed any more.
        BrokerError: as of ``vote``.
    """
    seen = await look(ports, caller, approval_id)
    if seen.card is None:
        raise ApprovalStaleError(seen.stale, hint="there is nothing left to reject")
    digest = seen.card["asked"]["digest"]
    # A no needs no card: what was shown is named by what is asked, and by no card.
    choice = Choice(approval_id, VoteWord.REJECT, digest, shown=digest, reason=reason)
    return await vote(ports, caller, session, choice)


async def look(
    ports: Ports, caller: Caller, approval_id: str, *, session: Ticket | None = None
) -> Seen:
    """Return a card for the screen, or why there is none any more.

    With the session that it is shown in, that is recorded; what is redrawn around a
    card is no view of it.

    Raises:
        NotFoundError: there is no such approval for this person's roles.
    """
    stale, card, shown_to = "", None, None
    if session is not None:
        shown_to = Onlooker(
            caller.subject_id, "console", session.strength, session.ticket_id
        )
    try:
        card = await voting.card(ports, caller, approval_id, shown_to=shown_to)
    except ApprovalStaleError as error:
        stale = error.detail
    found = await ports.desk.find(approval_id)
    if found is None:
        msg = "there is no such approval for you"
        raise NotFoundError(msg)
    return Seen(found, card, stale)


async def lately(ports: Ports, caller: Caller) -> list[OnDesk]:
    """Return what ended for this person's roles, the latest first."""
    people = await ports.authority.approvers()
    person = people.get(caller.subject_id)
    roles = sorted(person.roles) if person else []
    return [*await ports.desk.ended(roles=roles, limit=ENDED_SHOWN_MAX)]
