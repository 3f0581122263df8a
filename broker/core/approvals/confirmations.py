"""Confirmations: what a customer said to an approval, as their channel signed it.

The channel that opened the interaction asks what waits for its customer, shows it to
them out of band, and reports their yes or no under its own key. The agent has no part
in it. A confirmation names approval, digest, interaction and customer, so that it is
evidence by itself, as a vote is.

Source: RFC 7515; DESIGN, chapters 3 (invariants 5 and 11) and 7 (Interactions).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.core.identity import channel as channels
from broker.core.identity.channel import CUSTOMER_CHARS_MAX
from broker.core.identity.claims import (
    time_claim,
)
from broker.core.words.approval import (
    CHANNEL_STRENGTH,
    CONFIRMATION_TYP,
    CUSTOMER,
    Confirmer,
    Vote,
    VoteWord,
)
from broker.core.words.errors import ForbiddenError, InvalidError, UnauthenticatedError
from broker.core.words.identity import ASKING_TYP

if TYPE_CHECKING:
    from datetime import datetime

    from broker.core.identity.channel import ChannelFacts
    from broker.core.words.identity import OneUse

SAID_NO: Final = "the customer said no"
"""The reason that people and the agent get; a customer gives none of their own here."""

_USE: Final = "confirmation"
_ASKING_FIELDS = frozenset({"iss", "aud", "iat", "exp", "jti", "interaction"})
_CONFIRMATION_FIELDS = _ASKING_FIELDS | {
    "approval",
    "digest",
    "customer",
    "verification_level",
    "verdict",
}


def verify_asking(
    assertion: str,
    *,
    interaction_id: str,
    channel: ChannelFacts,
    issuer: str,
    now: datetime,
) -> OneUse:
    """Verify that a channel asks what its customer has to confirm.

    Raises:
        UnauthenticatedError: Not this channel's, not for us, or not for now.
        ForbiddenError: It was signed for another interaction.
        InvalidError: A claim is missing, unknown, too long or of the wrong type.
    """
    claims, kid = channels.verified(assertion, ASKING_TYP, channel, now=now)
    channels.only(claims, _ASKING_FIELDS)
    return channels.used_here(
        (claims, kid),
        _USE,
        interaction_id=interaction_id,
        issuer=issuer,
        now=now,
    )


def verify_confirmation(
    assertion: str,
    *,
    interaction_id: str,
    channel: ChannelFacts,
    issuer: str,
    now: datetime,
) -> tuple[Vote, OneUse]:
    """Verify that a channel reports, just now, what its customer said to an approval.

    Raises:
        UnauthenticatedError: Not this channel's, not for us, or not for now.
        ForbiddenError: Another interaction, or a level that is not this channel's.
        InvalidError: A claim is missing, unknown, too long or of the wrong type.
    """
    claims, kid = channels.verified(assertion, CONFIRMATION_TYP, channel, now=now)
    vote = read_confirmation(assertion, channel=channel)
    here = channels.used_here(
        (claims, kid),
        _USE,
        interaction_id=interaction_id,
        issuer=issuer,
        now=now,
    )
    return vote, here


def read_confirmation(assertion: str, *, channel: ChannelFacts) -> Vote:
    """Return what a customer said to an approval, as their channel signed it then.

    It is read again whenever votes are counted. A key that was taken out of the
    channel's row takes its confirmations along, and so does a lowered level.

    Raises:
        UnauthenticatedError: Not signed by a key that this channel had at that time.
        ForbiddenError: The level is not this channel's to vouch for.
        InvalidError: A claim is missing, unknown, too long or of the wrong type.
    """
    slots = {slot.key.kid: slot for slot in channel.keys}
    keys = {kid: slot.key for kid, slot in slots.items()}
    claims, kid = channels.signed(assertion, CONFIRMATION_TYP, channel, keys)
    channels.only(claims, _CONFIRMATION_FIELDS)
    at, word, level = _at(claims), claims.get("verdict"), channels.level(claims)
    if not isinstance(word, str) or word not in {*VoteWord}:
        msg = f"the verdict is {' or '.join(VoteWord)}"
        raise InvalidError(msg, pointer="/verdict")
    if not slots[kid].valid_at(at):
        raise UnauthenticatedError(channels.REFUSED, hint="the key was not valid then")
    if level > channel.verification_max:
        msg = f"this channel may vouch for level {channel.verification_max} at most"
        raise ForbiddenError(msg, pointer="/verification_level")
    return Vote(
        vote_id=channels.uuid(claims, "jti"),
        approval_id=channels.uuid(claims, "approval"),
        person_id=CUSTOMER,
        word=VoteWord(word),
        digest=channels.text(claims, "digest"),
        shown="",
        strength=CHANNEL_STRENGTH,
        reason=SAID_NO if word == VoteWord.REJECT else "",
        at=at,
        kid=kid,
        confirms=Confirmer(
            interaction_id=channels.uuid(claims, "interaction"),
            channel_id=channel.channel_id,
            customer_id=channels.text(claims, "customer", chars_max=CUSTOMER_CHARS_MAX),
            level=level,
        ),
    )


def _at(claims: dict[str, Any]) -> datetime:
    at = time_claim(claims, "iat")
    if at is None:
        msg = "a confirmation has the claim iat"
        raise InvalidError(msg, pointer="/iat")
    return at
