"""Build what a channel signs: openings and turns, right or broken."""

from __future__ import annotations

from typing import Any

from broker.core.authenticate import ChannelFacts
from broker.core.jwk import PrivateKey
from broker.core.jws import sign
from broker.core.words.approval import CONFIRMATION_TYP
from broker.core.words.identity import (
    ASKING_TYP,
    ENDING_TYP,
    INTERACTION_TYP,
    TURN_TYP,
    RegisteredKey,
)
from broker.core.words.moment import write_moment
from tests.support.identities import (
    AGENT_ID,
    CHANNEL_ID,
    CHANNEL_KEY,
    INTERACTION_ID,
    ISSUER,
    NOW,
    NOW_S,
    edited,
)

USE_CASE = "retail-care"
CHANNEL = ChannelFacts(
    channel_id=CHANNEL_ID,
    keys=(RegisteredKey(CHANNEL_KEY.public()),),
    use_cases=frozenset({USE_CASE}),
    verification_max=2,
)
_COMMON = {"iss": CHANNEL_ID, "aud": ISSUER, "iat": NOW_S, "exp": NOW_S + 60}


def opening(
    *, key: PrivateKey = CHANNEL_KEY, typ: str = INTERACTION_TYP, **claims: Any
) -> str:
    """Return an opening; keyword arguments replace or (...) remove claims."""
    base = _COMMON | {
        "jti": "opening-1",
        "agent": AGENT_ID,
        "customer": "customer-7",
        "verification_level": 2,
        "channel": "webchat",
        "topics": [],
        "locale": "en-US",
        "purpose": "service",
        "consent_version": "2026-10",
        "ai_disclosed_at": write_moment(NOW),
        "evidence": {},
        "use_case": USE_CASE,
    }
    return sign(edited(base, claims), key=key, typ=typ)


def turn(*, key: PrivateKey = CHANNEL_KEY, typ: str = TURN_TYP, **claims: Any) -> str:
    """Return a turn; keyword arguments replace or (...) remove claims."""
    base = _COMMON | {
        "jti": "turn-1",
        "interaction": INTERACTION_ID,
        "speaker": "customer",
        "text": "Please refund my order.",
        "at": write_moment(NOW),
    }
    return sign(edited(base, claims), key=key, typ=typ)


def asking(
    *, key: PrivateKey = CHANNEL_KEY, typ: str = ASKING_TYP, **claims: Any
) -> str:
    """Return a question what waits; keyword arguments replace or remove claims."""
    base = _COMMON | {"jti": "asking-1", "interaction": INTERACTION_ID}
    return sign(edited(base, claims), key=key, typ=typ)


def ending(
    *, key: PrivateKey = CHANNEL_KEY, typ: str = ENDING_TYP, **claims: Any
) -> str:
    """Return an ending; keyword arguments replace or (...) remove claims."""
    base = _COMMON | {"jti": "ending-1", "interaction": INTERACTION_ID}
    return sign(edited(base, claims), key=key, typ=typ)


def confirmation(
    *, key: PrivateKey = CHANNEL_KEY, typ: str = CONFIRMATION_TYP, **claims: Any
) -> str:
    """Return a confirmation; keyword arguments replace or (...) remove claims."""
    base = _COMMON | {
        "jti": "0197a000-0000-7000-8000-00000000f001",
        "interaction": INTERACTION_ID,
        "approval": "0197a000-0000-7000-8000-00000000f002",
        "digest": "d" * 64,
        "customer": "customer-7",
        "verification_level": 2,
        "verdict": "approve",
    }
    return sign(edited(base, claims), key=key, typ=typ)
