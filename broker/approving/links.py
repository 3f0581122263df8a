"""Rejecting by the link in a mail: a vote of its own kind, which can only say no."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.approving import voting
from broker.core.approvals.links import read_link
from broker.core.approvals.votes import vote_claims
from broker.core.jws import sign
from broker.core.words.approval import LINK_STRENGTH, ApprovalState, Vote, VoteWord
from broker.core.words.errors import ConflictError, NotFoundError
from broker.core.words.subject import Caller, Epochs, Grant, SubjectKind

if TYPE_CHECKING:
    from broker.approving.voting import Counted
    from broker.core.approvals.links import RejectLink
    from broker.core.jwk import PrivateKey
    from broker.ports import OnDesk, Ports


async def look(ports: Ports, token: str, *, key: PrivateKey) -> OnDesk:
    """Return what a link is about, as its columns say; nothing is done.

    Raises:
        ForbiddenError: it is no link of ours, or has ended.
        ConflictError: the approval has ended.
    """
    link = read_link(token, keys={key.kid: key.public()}, now=ports.clock.now())
    found = await ports.desk.find(link.approval_id)
    if found is None:
        msg = "there is no such approval"
        raise NotFoundError(msg)
    if found.state is not ApprovalState.PENDING:
        msg = f"this approval has ended: {found.state.value}"
        raise ConflictError(msg, hint="there is nothing left to reject")
    return found


async def reject(
    ports: Ports, token: str, *, reason: str, key: PrivateKey, environment: str
) -> Counted:
    """Cast the no that a link stands for; the same link again changes nothing.

    Raises:
        BrokerError: as of ``voting.cast``, or the link is none of ours, or has ended.
    """
    now = ports.clock.now()
    link = read_link(token, keys={key.kid: key.public()}, now=now)
    vote = Vote(
        vote_id=link.link_id,
        approval_id=link.approval_id,
        person_id=link.person_id,
        word=VoteWord.REJECT,
        digest=link.digest,
        # Nothing was shown but the notice, which names what is asked by its digest.
        shown=link.digest,
        strength=LINK_STRENGTH,
        reason=reason,
        at=now,
    )
    signed = sign(vote_claims(vote), key=key, typ=vote.typ)
    caller = _caller(ports, link, key, environment)
    return await voting.cast(ports, caller, link.approval_id, signed)


def _caller(
    ports: Ports, link: RejectLink, key: PrivateKey, environment: str
) -> Caller:
    """Return the person whom the link names, with no more rights than it."""
    return Caller(
        kind=SubjectKind.PERSON,
        subject_id=link.person_id,
        tenant=ports.tenant,
        environment=environment,
        token_id=link.link_id,
        grant_id="",
        instance_id="",
        kid=key.kid,
        proof_of_possession=False,
        expires_at=link.expires_at,
        epochs=Epochs(()),
        grant=Grant(),
    )
