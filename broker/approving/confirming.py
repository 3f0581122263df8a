"""Confirming: the customer says yes or no as well, out of band, through the channel.

What waits for them, and what they said to it, goes over the channel's own signed words;
the agent has no part in it. A confirmation is stored and counted as votes are, in the
same transaction, and is verified again whenever they are.

Source: DESIGN, chapters 3 (invariants 5 and 11) and 7 (Interactions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker import conversation
from broker.approving import voting
from broker.approving.ballots import Signed, note_refused
from broker.core import approve
from broker.core.approvals.card import level_name
from broker.core.approvals.confirmations import verify_asking, verify_confirmation
from broker.core.words.errors import (
    ApprovalStaleError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
)
from broker.core.words.moment import write_moment

if TYPE_CHECKING:
    from broker.approving.ballots import Asked
    from broker.approving.voting import Counted
    from broker.ports import Ports

WAITING_MAX: Final = 20
"""Most approvals of one interaction that a channel is told of at once."""


async def waiting(
    ports: Ports, interaction_id: str, assertion: str, *, issuer: str
) -> list[dict[str, Any]]:
    """Return what the customer of an interaction has to confirm, as JSON.

    Raises:
        UnauthenticatedError: not signed by the channel, or used before.
        NotFoundError: there is no such interaction for this channel.
    """
    await ports.journal.ready()
    channel, _ = await conversation.where(ports, interaction_id, assertion)
    use = verify_asking(
        assertion,
        interaction_id=interaction_id,
        channel=channel,
        issuer=issuer,
        now=ports.clock.now(),
    )
    await conversation.only_once(ports, use)
    found = []
    for approval_id in await ports.desk.here(interaction_id, limit=WAITING_MAX):
        try:
            asked = await _asked(ports, approval_id, interaction_id)
        except (ApprovalStaleError, NotFoundError):
            # It ended meanwhile, or is asked anew.
            continue
        if asked.request.confirmer is not None:
            found.append(_json(asked))
    return found


async def confirm(
    ports: Ports, interaction_id: str, assertion: str, *, issuer: str
) -> Counted:
    """Count what the customer said to an approval, as their channel reports it.

    Raises:
        UnauthenticatedError: not signed by the channel, or used before.
        NotFoundError: there is no such interaction, or no such approval in it.
        ForbiddenError: it is another customer's, or they are not known well enough.
        ApprovalStaleError: it was signed for something else than what is asked now.
        ConflictError: the approval has ended, or does not ask the customer.
    """
    await ports.journal.ready()
    channel, _ = await conversation.where(ports, interaction_id, assertion)
    vote, use = verify_confirmation(
        assertion,
        interaction_id=interaction_id,
        channel=channel,
        issuer=issuer,
        now=ports.clock.now(),
    )
    await conversation.only_once(ports, use)
    asked = await _asked(ports, vote.approval_id, interaction_id)
    if asked.request.confirmer is None:
        msg = "the customer is not asked to confirm this"
        raise ConflictError(msg, hint="people sign it alone")
    assert vote.confirms is not None  # noqa: S101  (it is a confirmation)
    refusal = approve.may_confirm(vote.confirms, asked.request)
    if refusal is not None:
        await note_refused(ports, asked, vote, refusal)
        raise ForbiddenError(refusal.text, hint="the customer of the interaction does")
    if vote.digest != asked.request.digest:
        msg = "the customer was shown something else than what is asked"
        raise ApprovalStaleError(msg, hint="fetch what waits, and ask them anew")
    return await voting.count(ports, asked, Signed(assertion, vote, {}))


async def _asked(ports: Ports, approval_id: str, interaction_id: str) -> Asked:
    return await voting.opened(
        ports, approval_id, lambda one: one.request.interaction_id == interaction_id
    )


def _json(asked: Asked) -> dict[str, Any]:
    request, amount = asked.request, asked.request.amount
    return {
        "approval": request.approval_id,
        "digest": request.digest,
        "verb": asked.case.tool.title,
        "amount": str(amount) if amount else None,
        "arguments": dict(asked.record.request.arguments),
        "verification_level": request.quorum.customer,
        "level_name": level_name(request.quorum),
        "expires_at": write_moment(request.expires_at),
    }
