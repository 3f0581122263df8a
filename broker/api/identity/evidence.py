"""Entries of the front door: tokens issued, revoked and refused.

No token, assertion or proof stands in an entry, only their ids and the names of keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.core.authenticate import claimed_holder
from broker.core.identity.grants import write_detail
from broker.core.words.entry import AuditEntry, EntryKind
from broker.core.words.errors import UnauthenticatedError, UnavailableError
from broker.core.words.moment import write_moment
from broker.core.words.subject import SubjectKind

if TYPE_CHECKING:
    from broker.api.identity.desk import Desk
    from broker.core.identity.refusals import Refusals
    from broker.core.words.errors import BrokerError
    from broker.core.words.identity import AccessToken


def entry_of(
    desk: Desk,
    kind: EntryKind,
    detail: dict[str, Any],
    *,
    context: dict[str, Any] | None = None,
) -> AuditEntry:
    """Return an entry of this replica, now."""
    return AuditEntry(
        entry_id=desk.ids.new(),
        kind=kind,
        at=desk.clock.now(),
        tenant=desk.tenant,
        environment=desk.environment,
        context=context or {},
        detail=detail,
        replica=desk.replica,
    )


def token_entry(
    desk: Desk, token: AccessToken, *, parent: AccessToken | None = None
) -> AuditEntry:
    """Return the entry that says under which authority somebody acts from now on.

    ``parent`` is the token that it was exchanged for.
    """
    detail: dict[str, Any] = {
        "subject": token.subject,
        "token": token.token_id,
        "audience": token.audience,
        "token_type": "DPoP" if token.jkt else "Bearer",
        "expires_at": write_moment(token.expires_at),
        "epochs": dict(token.epochs.scopes),
        "policy": token.policy,
        "granted": write_detail(token.grant),
    }
    if token.may_act:
        detail["may_act"] = token.may_act
    if token.actors:
        detail["delegation"] = _delegation(token) | {
            "parent": parent.token_id if parent else None
        }
    return entry_of(desk, EntryKind.TOKEN, detail, context=_context(token))


async def note_refused_call(
    desk: Desk, error: BrokerError, *, where: str, shown: str
) -> None:
    """Write down that a call with a token was refused, tied to its holder and key.

    What a token of ours says of its holder is known, also after it ended; whoever shows
    it is not: it may have been stolen. Of any other text it is only what it claims.

    Args:
        desk: The desk that refused.
        error: Why.
        where: The path.
        shown: What was shown as a token.
    """
    try:
        token = desk.tokens.read(shown, desk.keys.tokens).token
    except UnauthenticatedError:
        claimed, kid = claimed_holder(shown)
        await note_refusal(
            desk,
            where=where,
            code=error.code,
            text=error.detail,
            claimed=claimed,
            kid=kid,
        )
        return
    detail: dict[str, Any] = {
        "reasons": [{"code": error.code, "text": error.detail}],
        "where": where,
        "subject": token.subject,
        "token": token.token_id,
    }
    if token.actors:
        detail["delegation"] = _delegation(token)
    await _note(desk, desk.holders.of(token.subject), detail, context=_context(token))


async def note_refusal(
    desk: Desk, *, where: str, code: str, text: str, claimed: str = "", kid: str = ""
) -> None:
    """Write a refusal of somebody who was not established down, within the rate.

    Args:
        desk: The desk that refused.
        where: The endpoint or path.
        code: The stable code of the answer.
        text: Why, in words of ours: nothing of the request is repeated.
        claimed: Who it said it was, if that has the form of a client id.
        kid: The key that it named, if that has the form of one; nothing verified it.
    """
    detail: dict[str, Any] = {
        "reasons": [{"code": code, "text": text}],
        "where": where,
        "claimed": claimed or None,
        "kid": kid or None,
    }
    await _note(desk, desk.refusals, detail, context={})


async def _note(
    desk: Desk, bucket: Refusals, detail: dict[str, Any], *, context: dict[str, Any]
) -> None:
    held_back = bucket.admit(desk.clock.now())
    if held_back is None:
        return
    entry = entry_of(
        desk, EntryKind.REFUSED, detail | {"held_back": held_back}, context=context
    )
    try:
        await desk.journal.record(entry)
    except UnavailableError:
        # The answer stays no. What could not be written is counted with the next one.
        bucket.held_back += held_back + 1


def _context(token: AccessToken) -> dict[str, Any]:
    context: dict[str, Any] = {
        "instance": token.instance_id,
        "kid": token.client_kid,
        "grant": token.grant_id,
        "proof_of_possession": bool(token.jkt),
    }
    if token.kind is SubjectKind.AGENT:
        context["agent"] = token.subject_id
    if token.grant.interaction_id:
        context["interaction"] = token.grant.interaction_id
    if token.customer_ref:
        context["customer_ref"] = token.customer_ref
    return context


def _delegation(token: AccessToken) -> dict[str, Any]:
    return {
        "principal": token.principal,
        "actors": list(token.actors),
        "link": token.delegation_id,
    }
