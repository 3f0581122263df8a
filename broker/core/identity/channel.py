"""Channel assertions: a conversation began, somebody said something, it is over.

A channel signs each with its own key; an agent has no part in them. That is why the
customer of an interaction, its level and the customer's words can be believed as far as
the channel can be.

Source: DESIGN, chapter 7 (Interactions).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from broker.core.canonical import canonical
from broker.core.identity.claims import (
    ASSERTION_LIFE_S_MAX,
    CLOCK_AHEAD_S_MAX,
    check_audience,
    check_times,
    jti_of,
    one_use,
    text_claim,
)
from broker.core.jwk import JwsError
from broker.core.jws import claims_of, unpack, verify
from broker.core.words.errors import ForbiddenError, InvalidError, UnauthenticatedError
from broker.core.words.identity import (
    ENDING_TYP,
    INTERACTION_TYP,
    TURN_TYP,
    InteractionOpening,
    TurnReport,
)
from broker.core.words.moment import read_moment
from broker.core.words.subject import VerificationLevel

if TYPE_CHECKING:
    from datetime import datetime

    from broker.core.jwk import PublicKey
    from broker.core.words.identity import OneUse, RegisteredKey

WORD_CHARS_MAX: Final = 100
"""Longest short text in an opening: channel, topic, purpose, version, locale."""

CUSTOMER_CHARS_MAX: Final = 200
TOPICS_MAX: Final = 16
CUSTOMER_FLAGS_MAX: Final = 16
EVIDENCE_BYTES_MAX: Final = 4_096
TURN_CHARS_MAX: Final = 8_000
TURN_AGE_S_MAX: Final = 86_400
"""Oldest turn that may still be reported, in seconds."""

SPEAKERS: Final = frozenset({"customer", "agent"})

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
REFUSED = "the channel's assertion could not be verified"
_OPENING_FIELDS = frozenset(
    {
        "iss",
        "aud",
        "iat",
        "exp",
        "jti",
        "agent",
        "customer",
        "verification_level",
        "channel",
        "topics",
        "customer_flags",
        "locale",
        "purpose",
        "consent_version",
        "ai_disclosed_at",
        "evidence",
        "use_case",
    }
)
_ENDING_FIELDS = frozenset({"iss", "aud", "iat", "exp", "jti", "interaction"})
_TURN_FIELDS = frozenset(
    {"iss", "aud", "iat", "exp", "jti", "interaction", "speaker", "text", "at"}
)


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """What the signed row of a channel lets it say; no keys if it may say nothing."""

    channel_id: str
    keys: tuple[RegisteredKey, ...]
    use_cases: frozenset[str]
    verification_max: int


def claimed_channel(assertion: str) -> str:
    """Return the channel that an assertion says it is from; nothing is verified.

    Raises:
        UnauthenticatedError: It cannot be read.
    """
    try:
        issuer = claims_of(unpack(assertion)).get("iss")
    except JwsError as error:
        msg = f"{REFUSED} ({error.problem})"
        raise UnauthenticatedError(msg) from None
    if not isinstance(issuer, str) or not _UUID.fullmatch(issuer):
        raise UnauthenticatedError(REFUSED, hint="iss is the channel's id")
    return issuer


def verify_interaction_assertion(
    assertion: str, *, channel: ChannelFacts, issuer: str, now: datetime
) -> InteractionOpening:
    """Verify that a channel opened an interaction, and that it may say what it says.

    Args:
        assertion: The compact serialization.
        channel: The channel of its ``iss``.
        issuer: Our issuer identifier, the only audience.
        now: The moment of the request.

    Returns:
        The opening. The caller must still learn that ``one_use`` is the first.

    Raises:
        UnauthenticatedError: Not this channel's, not for us, or not for now.
        ForbiddenError: The use case or the verification level is not this channel's.
        InvalidError: A claim is missing, unknown, too long or of the wrong type.
    """
    claims, kid = verified(assertion, INTERACTION_TYP, channel, now=now)
    only(claims, _OPENING_FIELDS)
    check_audience(claims, issuer)
    times = check_times(claims, now=now, life_s_max=ASSERTION_LIFE_S_MAX)
    known = level(claims)
    use_case = text(claims, "use_case")
    if use_case not in channel.use_cases:
        msg = "this channel may not open interactions of this use case"
        raise ForbiddenError(msg, pointer="/use_case")
    if known > channel.verification_max:
        msg = f"this channel may vouch for level {channel.verification_max} at most"
        raise ForbiddenError(msg, pointer="/verification_level")
    customer = text(claims, "customer", chars_max=CUSTOMER_CHARS_MAX, empty=True)
    if known > VerificationLevel.NONE and not customer:
        msg = "a verification level needs a customer"
        raise InvalidError(msg, pointer="/verification_level")
    return InteractionOpening(
        channel_id=channel.channel_id,
        kid=kid,
        agent_id=uuid(claims, "agent"),
        use_case=use_case,
        customer=customer,
        verification=known,
        channel=text(claims, "channel"),
        topics=_words(claims, "topics", count_max=TOPICS_MAX),
        customer_flags=_words(claims, "customer_flags", count_max=CUSTOMER_FLAGS_MAX),
        locale=text(claims, "locale", empty=True),
        purpose=text(claims, "purpose", empty=True),
        consent_version=text(claims, "consent_version", empty=True),
        ai_disclosed_at=_disclosed(claims, now=now),
        evidence=_evidence(claims),
        issued_at=times.issued_at or now,
        one_use=one_use(
            "interaction", key=kid, jti=jti_of(claims), until=times.expires_at
        ),
    )


def verify_turn(
    assertion: str,
    *,
    interaction_id: str,
    channel: ChannelFacts,
    issuer: str,
    now: datetime,
) -> TurnReport:
    """Verify what a channel reports as said in one interaction.

    Raises:
        UnauthenticatedError: Not this channel's, not for us, or not for now.
        ForbiddenError: It was signed for another interaction.
        InvalidError: A claim is missing, unknown, too long or of the wrong type.
    """
    claims, kid = verified(assertion, TURN_TYP, channel, now=now)
    only(claims, _TURN_FIELDS)
    use = used_here(
        (claims, kid), "turn", interaction_id=interaction_id, issuer=issuer, now=now
    )
    speaker = text(claims, "speaker")
    if speaker not in SPEAKERS:
        msg = "the speaker is customer or agent"
        raise InvalidError(msg, pointer="/speaker")
    at = _moment(claims, "at")
    age_s = (now - at).total_seconds()
    if not -CLOCK_AHEAD_S_MAX <= age_s <= TURN_AGE_S_MAX:
        msg = f"a turn is reported within {TURN_AGE_S_MAX} s, and not ahead of time"
        raise InvalidError(msg, pointer="/at")
    return TurnReport(
        channel_id=channel.channel_id,
        kid=kid,
        interaction_id=interaction_id,
        speaker=speaker,
        text=text(claims, "text", chars_max=TURN_CHARS_MAX),
        at=at,
        one_use=use,
    )


def verify_ending(
    assertion: str,
    *,
    interaction_id: str,
    channel: ChannelFacts,
    issuer: str,
    now: datetime,
) -> OneUse:
    """Verify that a channel says that one interaction is over.

    Raises:
        UnauthenticatedError: Not this channel's, not for us, or not for now.
        ForbiddenError: It was signed for another interaction.
        InvalidError: A claim is missing, unknown, too long or of the wrong type.
    """
    claims, kid = verified(assertion, ENDING_TYP, channel, now=now)
    only(claims, _ENDING_FIELDS)
    return used_here(
        (claims, kid), "ending", interaction_id=interaction_id, issuer=issuer, now=now
    )


def used_here(
    signed: tuple[dict[str, Any], str],
    use: str,
    *,
    interaction_id: str,
    issuer: str,
    now: datetime,
) -> OneUse:
    """Require that it is for us, for now and of this interaction; name its one use.

    Args:
        signed: What `verified` returned.
        use: What it may be used for, once.
        interaction_id: The interaction that was called.
        issuer: Ours.
        now: The time.

    Raises:
        UnauthenticatedError: It is not for us, or not for now.
        ForbiddenError: It was signed for another interaction.
    """
    claims, kid = signed
    check_audience(claims, issuer)
    times = check_times(claims, now=now, life_s_max=ASSERTION_LIFE_S_MAX)
    if claims.get("interaction") != interaction_id:
        msg = "it was signed for another interaction"
        raise ForbiddenError(msg, pointer="/interaction")
    return one_use(use, key=kid, jti=jti_of(claims), until=times.expires_at)


def verified(
    assertion: str, typ: str, channel: ChannelFacts, *, now: datetime
) -> tuple[dict[str, Any], str]:
    """Return claims and kid of what a channel signed with a key that it has now.

    Raises:
        UnauthenticatedError: it did not.
    """
    keys = {slot.key.kid: slot.key for slot in channel.keys if slot.valid_at(now)}
    return signed(assertion, typ, channel, keys)


def signed(
    assertion: str, typ: str, channel: ChannelFacts, keys: dict[str, PublicKey]
) -> tuple[dict[str, Any], str]:
    """Return claims and kid of what a channel signed with one of these keys.

    Raises:
        UnauthenticatedError: it did not.
    """
    try:
        claims = verify(assertion, keys=keys, typ=typ)
        kid = unpack(assertion).kid
    except JwsError as error:
        msg = f"{REFUSED} ({error.problem})"
        raise UnauthenticatedError(msg) from None
    if claims.get("iss") != channel.channel_id:
        raise UnauthenticatedError(REFUSED, hint="iss is the channel's id")
    return claims, kid


def only(claims: dict[str, Any], known: frozenset[str]) -> None:
    """Require that there is no other claim.

    Raises:
        InvalidError: there is one.
    """
    unknown = sorted(claims.keys() - known)
    if unknown:
        msg = "the assertion has a claim that is not known here"
        raise InvalidError(msg, pointer=f"/{unknown[0][:WORD_CHARS_MAX]}")


def text(
    claims: dict[str, Any],
    name: str,
    *,
    chars_max: int = WORD_CHARS_MAX,
    empty: bool = False,
) -> str:
    """Return a short text.

    Raises:
        InvalidError: it is missing, empty, too long or no text.
    """
    try:
        return text_claim(claims, name, chars_max=chars_max, empty=empty)
    except UnauthenticatedError as error:
        raise InvalidError(error.detail, pointer=f"/{name}") from None


def uuid(claims: dict[str, Any], name: str) -> str:
    """Return an id.

    Raises:
        InvalidError: it is something else.
    """
    value = text(claims, name)
    if not _UUID.fullmatch(value):
        msg = f"the claim {name} is no id"
        raise InvalidError(msg, pointer=f"/{name}")
    return value


def level(claims: dict[str, Any]) -> VerificationLevel:
    """Return how well the customer is known.

    Raises:
        InvalidError: it is no level.
    """
    value = claims.get("verification_level")
    if type(value) is not int or value not in {*VerificationLevel}:
        msg = f"the level is a whole number from 0 to {max(VerificationLevel)}"
        raise InvalidError(msg, pointer="/verification_level")
    return VerificationLevel(value)


def _words(claims: dict[str, Any], name: str, *, count_max: int) -> tuple[str, ...]:
    words = claims.get(name, [])
    if not isinstance(words, list) or len(words) > count_max:
        msg = f"{name} are a list of up to {count_max} words"
        raise InvalidError(msg, pointer=f"/{name}")
    for word in words:
        if not isinstance(word, str) or not 0 < len(word) <= WORD_CHARS_MAX:
            msg = f"{name} are words of up to {WORD_CHARS_MAX} characters"
            raise InvalidError(msg, pointer=f"/{name}")
    return tuple(words)


def _moment(claims: dict[str, Any], name: str) -> datetime:
    try:
        return read_moment(claims.get(name))
    except ValueError as error:
        raise InvalidError(str(error), pointer=f"/{name}") from None


def _disclosed(claims: dict[str, Any], *, now: datetime) -> datetime | None:
    """Return when the customer was told that an AI answers; absent or "" if never."""
    if claims.get("ai_disclosed_at", "") in {"", None}:
        return None
    moment = _moment(claims, "ai_disclosed_at")
    if moment > now + timedelta(seconds=CLOCK_AHEAD_S_MAX):
        msg = "ai_disclosed_at is in the future"
        raise InvalidError(msg, pointer="/ai_disclosed_at")
    return moment


def _evidence(claims: dict[str, Any]) -> dict[str, Any]:
    evidence = claims.get("evidence", {})
    if not isinstance(evidence, dict) or len(canonical(evidence)) > EVIDENCE_BYTES_MAX:
        msg = f"evidence is an object of up to {EVIDENCE_BYTES_MAX} bytes"
        raise InvalidError(msg, pointer="/evidence")
    return evidence
